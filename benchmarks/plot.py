"""The figures as one picture: how far each is from its bar, on a logarithmic scale."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

_ROW, _LEFT, _WIDTH = 22, 470, 360
_DECADES = 2
"""The bar stands in the middle; so many powers of ten are shown on each side."""


def drawn(rows: Sequence[Mapping[str, Any]]) -> str:
    """An SVG: right of the line in the middle is better than the bar; strokes span the repeats."""
    barred = [row for row in rows if row["limit"] is not None]
    height = _ROW * (len(barred) + 3)
    middle = _LEFT + _WIDTH / 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + 150}" '
        f'height="{height}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for power in range(-_DECADES, _DECADES + 1):
        x = _LEFT + _WIDTH * (power / _DECADES + 1) / 2
        label = "the bar" if power == 0 else f"{10.0**power:g} ×"
        parts += [
            f'<line x1="{x}" x2="{x}" y1="{_ROW}" y2="{height - _ROW}" '
            f'stroke="{"black" if power == 0 else "#ccc"}"/>',
            f'<text x="{x}" y="15" text-anchor="middle">{label}</text>',
        ]
    for i, row in enumerate(barred):
        y = _ROW * (i + 2)
        ends = [_at(row, row[key]) for key in ("low", "high")]
        point = _at(row, row["figure"])
        color, word = ("#1a7f37", "met") if row["met"] else ("#b42318", "missed")
        parts += [
            f'<text x="{_LEFT - 10}" y="{y + 4}" text-anchor="end">'
            f"{escape((row['bar'] + ' ' + row['work']).strip())}</text>",
            f'<line x1="{middle}" x2="{point:.1f}" y1="{y}" y2="{y}" stroke="{color}" '
            'stroke-width="8" opacity="0.5"/>',
            f'<line x1="{ends[0]:.1f}" x2="{ends[1]:.1f}" y1="{y}" y2="{y}" stroke="black"/>',
            f'<circle cx="{point:.1f}" cy="{y}" r="4" fill="{color}"/>',
            f'<text x="{_LEFT + _WIDTH + 10}" y="{y + 4}">'
            f"{row['figure']:.3g} {escape(row['unit'])}, {word}</text>",
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _at(row: Mapping[str, Any], figure: float) -> float:
    better = figure / row["limit"] if row["higher"] else row["limit"] / figure
    power = max(-_DECADES, min(_DECADES, math.log10(better)))
    return _LEFT + _WIDTH * (power / _DECADES + 1) / 2
