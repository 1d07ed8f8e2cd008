"""What a person sees beside a materialisation: small tables and plots made of plain rows."""

from __future__ import annotations

import base64
import html
import math
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import dagster as dg

MAX_ROWS = 50

Told = dg.MaterializeResult | dg.AssetCheckResult
"""What a step tells Dagster of its result."""


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> dg.MetadataValue:
    """The first rows as a table of the named columns."""
    return dg.MetadataValue.table(
        records=[
            dg.TableRecord({column: _cell(row.get(column)) for column in columns})
            for row in rows[:MAX_ROWS]
        ],
        schema=dg.TableSchema(columns=[dg.TableColumn(column) for column in columns]),
    )


def links(places: Mapping[str, str]) -> dg.MetadataValue:
    """Words -> address, as a list that can be clicked."""
    return dg.MetadataValue.md("\n".join(f"- [{text}]({url})" for text, url in places.items()))


def line_plot(values: Sequence[float], labels: Sequence[str], title: str) -> dg.MetadataValue:
    """A line with its last, lowest and highest value, as an image in Markdown.

    values: one at least, labelled one by one. Drawn by hand, since importing a plotting library
    costs more than the rest of the step.
    """
    # As wide as the column of the asset's page leaves room for.
    width, height, left, bottom = 460, 180, 8, 24
    values = [value + 0.0 for value in values]  # no "-0.00"
    low, high = min(values), max(values)
    spread = (high - low) or 1.0
    steps = max(len(values) - 1, 1)
    points = " ".join(
        f"{left + i * (width - 2 * left) / steps:.1f},"
        f"{height - bottom - (value - low) / spread * (height - 2 * bottom):.1f}"
        for i, value in enumerate(values)
    )
    text = 'font-family="sans-serif" font-size="12" fill="#555"'
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">'
        f'<rect width="{width}" height="{height}" fill="#fff"/>'
        f'<polyline points="{points}" fill="none" stroke="#2563eb" stroke-width="1.5"/>'
        f'<text x="{left}" y="14" {text}>{html.escape(title)}: {values[-1]:,.2f} '
        f"(low {low:,.2f}, high {high:,.2f})</text>"
        f'<text x="{left}" y="{height - 6}" {text}>{html.escape(labels[0])}</text>'
        f'<text x="{width - left}" y="{height - 6}" text-anchor="end" {text}>'
        f"{html.escape(labels[-1])}</text>"
        "</svg>"
    )
    return image(svg, title)


def image(svg: str, title: str) -> dg.MetadataValue:
    """SVG text as an image in Markdown; title is what is read where it isn't shown."""
    data = base64.b64encode(svg.encode()).decode()
    alternative = re.sub(r"([\\\[\]])", r"\\\1", title)
    return dg.MetadataValue.md(f"![{alternative}](data:image/svg+xml;base64,{data})")


def _cell(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, date | datetime):
        return value.isoformat()
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value if isinstance(value, str | int | bool) or value is None else str(value)
