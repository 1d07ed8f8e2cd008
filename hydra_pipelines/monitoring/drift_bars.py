"""How far each input of a model has moved, as a picture: bars in units of its own alarm level.

Drawn by hand, since importing a plotting library costs more than the check.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

_COLOURS = {"ok": "#94a3b8", "warning": "#d97706", "alarm": "#dc2626"}
_LEFT, _WIDTH, _ROW = 260, 420, 16
_MOST = 3.0
"""Scores beyond it end at the edge."""


def drift_bars(checks: Sequence[Mapping[str, Any]], rows: int = 40) -> str:
    """SVG of the scores of checks (rows of `drift_checks`), the largest first.

    1 is a check's alarm level; those without a score are left out.
    """
    scored = [check for check in checks if check["details"].get("score") is not None]
    scored.sort(key=lambda check: -check["details"]["score"])
    shown = scored[:rows]
    height = 34 + _ROW * max(len(shown), 1)
    text = 'font-family="sans-serif" font-size="11" fill="#333"'
    alarm = _LEFT + _WIDTH / _MOST
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + 60}" '
        f'height="{height}"><rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="{alarm:.0f}" y="14" text-anchor="middle" {text}>alarm level</text>',
    ]
    for i, check in enumerate(shown):
        score, y = check["details"]["score"], 22 + i * _ROW
        width = _WIDTH * min(max(score, 0.0), _MOST) / _MOST
        name = html.escape(f"{check['subject']}, {check['detector']}")
        parts.append(
            f'<text x="{_LEFT - 6}" y="{y + 11}" text-anchor="end" {text}>{name}</text>'
            f'<rect x="{_LEFT}" y="{y + 1}" width="{width:.1f}" height="{_ROW - 4}" '
            f'fill="{_COLOURS[check["state"]]}"/>'
            f'<text x="{_LEFT + width + 4:.1f}" y="{y + 11}" {text}>{score:.2f}</text>'
        )
    if not shown:
        parts.append(f'<text x="8" y="32" {text}>nothing to compare yet</text>')
    parts.append(
        f'<line x1="{alarm:.0f}" x2="{alarm:.0f}" y1="18" y2="{height - 4}" '
        'stroke="#dc2626" stroke-dasharray="3,3"/></svg>'
    )
    return "".join(parts)
