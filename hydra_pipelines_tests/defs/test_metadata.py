"""Tables and plots beside a materialisation: whatever the rows hold, a browser can show them."""

from __future__ import annotations

import base64
import math
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from xml.etree import ElementTree

import dagster as dg
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hydra_pipelines.defs.metadata import MAX_ROWS, line_plot, table

SVG = "{http://www.w3.org/2000/svg}"


def test_a_table_has_the_columns_asked_for_and_plain_values() -> None:
    rows = [
        {
            "symbol": "AAPL",
            "price": Decimal("39.48"),
            "session": date(2019, 1, 2),
            "at": datetime(2019, 1, 2, 21, tzinfo=UTC),
            "weight": 1 / 3,
            "nan": math.nan,
            "inf": -math.inf,
            "flag": True,
            "n": 5,
            "numpy": np.int64(7),
            "float": np.float64(0.5),
            "left out": object(),
        },
        {"symbol": "KO"},
    ]
    columns = [name for name in rows[0] if name != "left out"]
    made = table(rows, columns)
    assert [column.name for column in made.schema.columns] == columns
    assert made.records[0].data == {
        "symbol": "AAPL",
        "price": 39.48,
        "session": "2019-01-02",
        "at": "2019-01-02T21:00:00+00:00",
        "weight": 0.333333,
        "nan": None,
        "inf": None,
        "flag": True,
        "n": 5,
        "numpy": "7",
        "float": 0.5,
    }
    assert made.records[1].data == dict.fromkeys(columns) | {"symbol": "KO"}


def test_a_table_is_small() -> None:
    assert len(table([{"n": n} for n in range(MAX_ROWS + 5)], ["n"]).records) == MAX_ROWS
    assert table([], ["n"]).records == []


def image(made: dg.MetadataValue) -> ElementTree.Element:
    (encoded,) = re.findall(r"\(data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)\)$", made.md_str)
    return ElementTree.fromstring(base64.b64decode(encoded).decode())


def points(svg: ElementTree.Element) -> list[tuple[float, float]]:
    line = svg.find(f"{SVG}polyline")
    assert line is not None
    return [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]


def texts(svg: ElementTree.Element) -> list[str]:
    return [text.text or "" for text in svg.findall(f"{SVG}text")]


def test_a_plot_says_what_it_shows() -> None:
    svg = image(line_plot([1000.0, 1500.5, 900.0], ["a", "b", "c"], "Equity (USD)"))
    assert texts(svg) == ["Equity (USD): 900.00 (low 900.00, high 1,500.50)", "a", "c"]
    (x1, y1), (x2, y2), (x3, y3) = points(svg)
    assert x1 < x2 < x3 and y2 < y1 < y3, "up is less in an image"


@pytest.mark.parametrize("values", [[7.0], [7.0, 7.0, 7.0], [0.0], [-1e300, 1e300]])
def test_a_plot_of_few_or_equal_values_is_one(values: list[float]) -> None:
    svg = image(line_plot(values, ["x"] * len(values), "t"))
    assert len(points(svg)) == len(values)
    assert all(math.isfinite(v) for point in points(svg) for v in point)


@example(values=[1.0], title="P&L <b>[x]\\</b>")
@given(
    values=st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=30),
    title=st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc", "Cn"])),
)
def test_whatever_it_is_called_the_image_is_whole(values: list[float], title: str) -> None:
    labels = [f"<b>&\"'{title}"] * len(values)
    made = line_plot(values, labels, title)
    svg = image(made)
    width, height = float(svg.attrib["width"]), float(svg.attrib["height"])
    assert all(0 <= x <= width and 0 <= y <= height for x, y in points(svg))
    assert texts(svg)[0].startswith(title) and texts(svg)[1:] == [labels[0], labels[0]]
    unescaped = re.sub(r"\\.", "", made.md_str.removeprefix("!["), flags=re.DOTALL)
    assert "[" not in unescaped and unescaped.count("]") == 1
