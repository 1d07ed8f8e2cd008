"""One picture: what orders cost against what was predicted, a dot each, as SVG text.

Drawn by hand, since importing a plotting library costs more than the rest of the step.
"""

from __future__ import annotations

import numpy as np

WIDTH, HEIGHT = 440, 300
"""Pixels: what Dagster shows of a picture on an asset's page is about 460 wide."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 14, 46, 40
_COLOURS = {"BUY": "#16a34a", "SELL": "#dc2626"}
_SHOWN = (0.01, 0.99)
_GREY = 'fill="#555"'
MAX_DOTS = 1000


def slippage_scatter(predicted: np.ndarray, actual: np.ndarray, side: np.ndarray) -> str:
    """Orders with their prediction across and their cost upwards, in basis points.

    All of shape (n,), n at least 1; side is BUY or SELL. Where there are more than `MAX_DOTS` the
    latest are drawn. The scales span 98 % of the values; a dot beyond them stands at the edge, and
    how many do is said. On the dashed line the prediction was right.
    """
    predicted, actual, side = predicted[-MAX_DOTS:], actual[-MAX_DOTS:], side[-MAX_DOTS:]
    x_low, x_high = _span(predicted)
    y_low, y_high = _span(np.append(actual, 0.0))

    def across(value: np.ndarray) -> np.ndarray:
        share = (np.clip(value, x_low, x_high) - x_low) / (x_high - x_low)
        return _LEFT + share * (WIDTH - _LEFT - _RIGHT)

    def up(value: np.ndarray) -> np.ndarray:
        share = (np.clip(value, y_low, y_high) - y_low) / (y_high - y_low)
        return HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM)

    outside = int(
        np.count_nonzero(
            (predicted < x_low) | (predicted > x_high) | (actual < y_low) | (actual > y_high)
        )
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{_LEFT}" y="18" {_GREY}>{len(actual)} orders'
        + (f", {outside} of them beyond the edges" if outside else "")
        + "</text>",
        f'<text x="{_LEFT}" y="34" {_GREY}>BUY green, SELL red; dashed: as predicted</text>',
    ]
    for value in np.linspace(y_low, y_high, 5).tolist():
        y = float(up(np.array(value)))
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}" stroke="#e5e7eb"/>')
        parts.append(
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" {_GREY}>{value:.1f}</text>'
        )
    for value in np.linspace(x_low, x_high, 5).tolist():
        x = float(across(np.array(value)))
        parts.append(
            f'<text x="{x:.1f}" y="{HEIGHT - 22}" text-anchor="middle" {_GREY}>{value:.1f}</text>'
        )
    parts.append(
        f'<text x="{(WIDTH + _LEFT) / 2:.0f}" y="{HEIGHT - 6}" text-anchor="middle" {_GREY}>'
        "predicted bps (across), actual bps against arrival (upwards)</text>"
    )
    low, high = max(x_low, y_low), min(x_high, y_high)
    if low < high:
        ends = np.array([low, high])
        (x1, x2), (y1, y2) = across(ends).tolist(), up(ends).tolist()
        parts.append(
            f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="#555" stroke-dasharray="5 4"/>'
        )
    for x, y, name in zip(
        across(predicted).tolist(), up(actual).tolist(), side.tolist(), strict=True
    ):
        colour = _COLOURS.get(name, "#555")
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}" fill-opacity="0.5"/>'
        )
    return "\n".join([*parts, "</svg>", ""])


def _span(values: np.ndarray) -> tuple[float, float]:
    low, high = (float(q) for q in np.quantile(values, _SHOWN))
    margin = 0.05 * (high - low) or 0.5
    return low - margin, high + margin
