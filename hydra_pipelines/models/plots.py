"""One kind of picture for a training run: lines over sessions, as SVG.

Here belongs drawing without a plotting library, which would cost more to import than to train.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape

import numpy as np

_WIDTH, _HEIGHT = 760, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 40, 30
_COLOURS = ("#1f6feb", "#8b949e", "#d29922")


def line_chart(title: str, sessions: np.ndarray, lines: Mapping[str, np.ndarray]) -> str:
    """SVG text of named lines over sessions (datetime64[D]), at most one per colour.

    Each line has a value per session; NaN leaves a gap. Years are marked below, values at the left.
    """
    days = sessions.astype("datetime64[D]").astype(np.int64)
    finite = [values[np.isfinite(values)] for values in lines.values()]
    low = min((float(v.min()) for v in finite if len(v)), default=0.0)
    high = max((float(v.max()) for v in finite if len(v)), default=1.0)
    if high == low:
        low, high = low - 0.5, high + 0.5
    span = max(int(days[-1] - days[0]), 1)

    def across(day: float) -> float:
        return _LEFT + (day - days[0]) / span * (_WIDTH - _LEFT - _RIGHT)

    def down(value: float) -> float:
        return _TOP + (high - value) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="20" font-size="14">{escape(title)}</text>',
    ]
    for value in np.linspace(low, high, 5):
        y = down(float(value))
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="#d0d7de"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.4g}</text>')
    years = np.unique(sessions.astype("datetime64[Y]"))[1:]
    for year in years[:: max(1, len(years) // 8)]:
        x = across(int(year.astype("datetime64[D]").astype(np.int64)))
        parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - 8}" text-anchor="middle">{year}</text>')
    for i, (name, values) in enumerate(lines.items()):
        colour = _COLOURS[i]
        parts.append(
            f'<path d="{_path(values, days, across, down)}" fill="none" stroke="{colour}"/>'
        )
        x = _WIDTH - _RIGHT - 110 * (len(lines) - i)
        parts.append(f'<text x="{x}" y="20" fill="{colour}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _path(
    values: np.ndarray,
    days: np.ndarray,
    across: Callable[[float], float],
    down: Callable[[float], float],
) -> str:
    steps, pen_up = [], True
    for day, value in zip(days, values, strict=True):
        if np.isfinite(value):
            steps.append(f"{'M' if pen_up else 'L'}{across(day):.1f} {down(value):.1f}")
        pen_up = not np.isfinite(value)
    return "".join(steps)
