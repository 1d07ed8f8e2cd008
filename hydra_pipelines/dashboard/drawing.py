"""Pictures as SVG text: scatter, calendar, sparkline, meter. Pure.

Colours come from classes, so that they follow the page in light and dark, and no picture needs an
inline style. What a picture shows is said in words too, by `label` and in a table beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from markupsafe import Markup, escape

from hydra_pipelines.dashboard.cells import figure, shown, where

WIDTH, HEIGHT = 640, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 26, 40


def scatter(points: Sequence[Mapping[str, Any]]) -> Markup:
    """Fills with `predicted` across and `actual` upwards, bps; circles are BUY, squares SELL.

    points: at least one. The scales span 98 % of the values; what is beyond stands at the edge, and
    the label says how many do. On the dashed line the prediction was right.
    """
    x_low, x_high = _span([p["predicted"] for p in points])
    y_low, y_high = _span([p["actual"] for p in points] + [0.0])
    beyond = sum(
        not (x_low <= p["predicted"] <= x_high and y_low <= p["actual"] <= y_high) for p in points
    )

    def across(value: float) -> float:
        share = (min(max(value, x_low), x_high) - x_low) / (x_high - x_low)
        return _LEFT + share * (WIDTH - _LEFT - _RIGHT)

    def up(value: float) -> float:
        share = (min(max(value, y_low), y_high) - y_low) / (y_high - y_low)
        return HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM)

    label = f"Predicted against actual slippage of {len(points)} fills, in basis points" + (
        f"; {beyond} of them are beyond the edges" if beyond else ""
    )
    parts = [_open("scatter", WIDTH, HEIGHT, label)]
    for value in _ticks(y_low, y_high):
        y = up(value)
        parts.append(f'<path class="rule" d="M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}"/>')
        parts.append(_text(_LEFT - 6, y + 4, "end", figure(value, 0)))
    for value in _ticks(x_low, x_high):
        x = across(value)
        parts.append(_text(x, HEIGHT - _BOTTOM + 16, "middle", figure(value, 0)))
    low, high = max(x_low, y_low), min(x_high, y_high)
    if low < high:
        parts.append(
            f'<path class="ideal" d="M{across(low):.1f} {up(low):.1f}L{across(high):.1f} '
            f'{up(high):.1f}"/>'
        )
    for p in points:
        x, y = across(p["predicted"]), up(p["actual"])
        if p["side"] == "BUY":
            parts.append(f'<circle class="buy" cx="{x:.1f}" cy="{y:.1f}" r="2.6"/>')
        else:
            parts.append(
                f'<rect class="sell" x="{x - 2.4:.1f}" y="{y - 2.4:.1f}" width="4.8" height="4.8"/>'
            )
    parts.append(_text((_LEFT + WIDTH) / 2, HEIGHT - 6, "middle", "predicted, bps"))
    parts.append(_text(4, 12, "start", "actual, bps"))
    parts.append("</svg>")
    return Markup("".join(parts))


def sparkline(values: Sequence[float | None], label: str) -> Markup:
    """A line without scales, the last value marked; empty for fewer than two values."""
    known = [(i, v) for i, v in enumerate(values) if v is not None and v - v == 0]
    if len(known) < 2:
        return Markup("")
    width, height = 96, 22
    low, high = min(v for _, v in known), max(v for _, v in known)
    spread = (high - low) or 1.0
    last = max(1, len(values) - 1)
    points = [
        (2 + i * (width - 6) / last, height - 3 - (v - low) / spread * (height - 6))
        for i, v in known
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    x, y = points[-1]
    return Markup(
        _open("spark", width, height, label)
        + f'<polyline points="{line}"/><circle cx="{x:.1f}" cy="{y:.1f}" r="2"/></svg>'
    )


def meter(value: float | None, limit: float, label: str, warn_at: float = 0.75) -> Markup:
    """How much of a limit is taken: a bar with a mark at the limit. value None draws it empty."""
    width, height, room = 240, 10, 200
    share = 0.0 if value is None or limit <= 0 else max(0.0, value / limit)
    tone = "bad" if share >= 1 else "warn" if share >= warn_at else "good"
    filled = min(share, width / room) * room
    return Markup(
        _open("meter", width, height, label)
        + f'<rect class="track" x="0" y="2" width="{room}" height="6" rx="3"/>'
        + f'<rect class="{tone}" x="0" y="2" width="{filled:.1f}" height="6" rx="3"/>'
        + f'<path class="limit" d="M{room} 0V{height}"/></svg>'
    )


def bars(rows: Sequence[tuple[str, float]], label: str, unit: str) -> Markup:
    """Values around zero, oldest at the left; each bar has its own words."""
    width, height, middle = WIDTH, 160, 80.0
    if not rows:
        return Markup("")
    top = max(abs(value) for _, value in rows) or 1.0
    step = (width - _LEFT - _RIGHT) / len(rows)
    parts = [_open("bars", width, height, label)]
    for value in (top, 0.0, -top):
        y = middle - value / top * (middle - 14)
        parts.append(f'<path class="rule" d="M{_LEFT} {y:.1f}H{width - _RIGHT}"/>')
        parts.append(_text(_LEFT - 6, y + 4, "end", figure(value, 1, signed=True)))
    for i, (name, value) in enumerate(rows):
        length = abs(value) / top * (middle - 14)
        y = middle - length if value > 0 else middle
        tone = "bad" if value > 0 else "good"
        parts.append(
            f'<rect class="{tone}" x="{_LEFT + i * step + step * 0.1:.1f}" y="{y:.1f}" '
            f'width="{max(0.8, step * 0.8):.1f}" height="{max(length, 0.5):.1f}">'
            f"<title>{_words(name)}: {figure(value, 1, signed=True)} {_words(unit)}</title></rect>"
        )
    parts.append(_text(_LEFT, height - 2, "start", rows[0][0]))
    parts.append(_text(width - _RIGHT, height - 2, "end", rows[-1][0]))
    parts.append("</svg>")
    return Markup("".join(parts))


def calendar(
    days: Iterable[Mapping[str, Any]], months: int, chosen: date | None, path: str
) -> list[tuple[str, Markup]]:
    """(month, picture) of the last months that have sessions, the latest first.

    days: rows with session, profit (USD) and fills. A day links to `path?session=…`.
    """
    by_month: dict[tuple[int, int], dict[date, Mapping[str, Any]]] = {}
    for row in days:
        at = row["session"]
        by_month.setdefault((at.year, at.month), {})[at] = row
    largest = max(
        (abs(float(r["profit"])) for month in by_month.values() for r in month.values()), default=0
    )
    return [
        (f"{date(*month, 1):%B %Y}", _month(month, by_month[month], largest, chosen, path))
        for month in sorted(by_month, reverse=True)[:months]
    ]


def _month(
    month: tuple[int, int],
    days: Mapping[date, Mapping[str, Any]],
    largest: float,
    chosen: date | None,
    path: str,
) -> Markup:
    cell_w, cell_h, head = 56, 40, 18
    first = date(*month, 1)
    weeks = (
        (date(first.year + first.month // 12, first.month % 12 + 1, 1) - timedelta(days=1)).day
        + first.weekday()
        + 6
    ) // 7
    width, height = 5 * cell_w, head + weeks * cell_h
    parts = [_open("calendar", width, height, f"Profit by session, {first:%B %Y}", role="group")]
    for i, name in enumerate(("Mon", "Tue", "Wed", "Thu", "Fri")):
        parts.append(_text(i * cell_w + cell_w / 2, 12, "middle", name))
    for at, row in sorted(days.items()):
        week = (at.day + first.weekday() - 1) // 7
        if at.weekday() > 4:
            continue
        x, y = at.weekday() * cell_w, head + week * cell_h
        profit = float(row["profit"])
        level = 0 if not profit or not largest else 1 + min(2, int(abs(profit) / largest * 3))
        tone = "good" if profit > 0 else "bad" if profit < 0 else "flat"
        told = f"{at}: {figure(profit, 2, signed=True)} USD, {row['fills']} fills"
        here = ' aria-current="date"' if at == chosen else ""
        parts.append(
            f'<a href="{escape(where(path, session=at))}"{here}><title>{told}</title>'
            f'<rect class="{tone} level{level}" x="{x + 1}" y="{y + 1}" width="{cell_w - 2}" '
            f'height="{cell_h - 2}" rx="4"/>'
            f'<text class="day" x="{x + 6}" y="{y + 14}">{at.day}</text>'
            f'<text class="sum" x="{x + cell_w - 6}" y="{y + 31}" text-anchor="end">'
            f"{_short(profit)}</text></a>"
        )
    parts.append("</svg>")
    return Markup("".join(parts))


def _short(amount: float) -> str:
    if abs(amount) >= 1e6:
        return figure(amount / 1e6, 1, signed=True) + "M"
    if abs(amount) >= 1000:
        return figure(amount / 1000, 1, signed=True) + "k"
    return figure(amount, 0, signed=True)


def _open(kind: str, width: int, height: int, label: str, role: str = "img") -> str:
    return (
        f'<svg class="{kind}" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'role="{role}" aria-label="{_words(label)}">'
    )


def _text(x: float, y: float, anchor: str, text: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{_words(text)}</text>'


def _words(text: str) -> Markup:
    return escape(shown(text))


def _span(values: Sequence[float]) -> tuple[float, float]:
    ordered = sorted(values)
    low = ordered[int(0.01 * (len(ordered) - 1))]
    high = ordered[-1 - int(0.01 * (len(ordered) - 1))]
    margin = 0.05 * (high - low) or 0.5
    return low - margin, high + margin


def _ticks(low: float, high: float) -> list[float]:
    return [low + (high - low) * i / 4 for i in range(5)]
