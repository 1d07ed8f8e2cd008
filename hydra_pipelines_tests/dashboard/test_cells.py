"""Numbers, times and pictures as people read them."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from datetime import date
from decimal import Decimal

import pytest

from hydra_pipelines.dashboard import cells, drawing, tables
from hydra_pipelines.dashboard.cells import NOTHING
from hydra_pipelines.dashboard.rendering import finite


@pytest.mark.parametrize(
    ("value", "digits", "signed", "shown"),
    [
        (Decimal("1070585.18"), 2, False, "1,070,585.18"),
        (-132.19, 2, True, "−132.19"),
        (0.004, 2, True, "0.00"),
        (-0.004, 2, False, "0.00"),
        (12, 0, True, "+12"),
        (None, 2, False, NOTHING),
        (float("nan"), 2, False, NOTHING),
        (float("inf"), 2, False, NOTHING),
        (True, 2, False, "yes"),
    ],
)
def test_a_number(value: object, digits: int, signed: bool, shown: str) -> None:
    assert cells.figure(value, digits, signed=signed) == shown


def test_a_tone_is_never_alone() -> None:
    assert cells.usd(Decimal("-1"), signed=True) == cells.Cell("−1.00", "num", tone="bad")
    assert cells.usd(Decimal("1"), signed=True) == cells.Cell("+1.00", "num", tone="good")
    assert cells.usd(Decimal(0), signed=True).tone == ""
    assert cells.side("SELL").text == "SELL"
    assert tables.cost(3.14) == cells.Cell("+3.1", "num", tone="bad")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, NOTHING), (0.44, "0.4 s"), (59.4, "59 s"), (61, "1 min 1 s"), (3600, "1 h"),
     (90_061, "1 d 1 h"), (-5, "0.0 s")],
)  # fmt: skip
def test_a_duration(seconds: float | None, shown: str) -> None:
    assert cells.duration(seconds) == shown


def test_a_latency_is_told_in_milliseconds_until_it_is_a_wait() -> None:
    shown = [tables.latency(ms) for ms in (None, 39.6, 59_999.0, 540_000.0)]
    assert shown == [NOTHING, "40 ms", "59,999 ms", "9 min"]


def test_what_hides_in_a_text_is_made_visible() -> None:
    assert cells.shown("safe\u202egnp.exe") == "safe\\u202egnp.exe"
    assert cells.shown("a\x00b\x1b[31m\u2028") == "a\\u0000b\\u001b[31m\\u2028"
    assert cells.shown("tab\tand\nline") == "tab\tand\nline"
    assert cells.shown("x" * 10_000) == "x" * 400 + "… (10,000 characters)"
    assert cells.shown("\ud800") == "\\ud800"
    assert cells.shown(7) == 7


def test_a_link_is_quoted() -> None:
    assert cells.where("/orders", "a/b?c#d") == "/orders/a%2Fb%3Fc%23d"
    assert cells.where("/fills", symbol="A&B=C", page=None) == "/fills?symbol=A%26B%3DC"


def pictures() -> list[str]:
    points = [
        {"predicted": 5.0 + i % 3, "actual": float(i % 40 - 20), "side": "BUY" if i % 2 else "SELL"}
        for i in range(500)
    ]
    days = [
        {"session": date(2024, 2, d), "profit": Decimal(d * 100 - 1500), "fills": d}
        for d in (1, 2, 5, 12, 15, 29)
    ]
    return [
        drawing.scatter(points),
        drawing.scatter(points[:1]),
        drawing.sparkline([1.0, None, 2.0, 3.0], "<b>&\"'"),
        drawing.meter(0.2, 0.1, "over"),
        drawing.meter(None, 0.1, "unknown"),
        drawing.bars([("2024-01-02", 1.5), ("<i>", -2.0)], "bias", "bps"),
        *(picture for _, picture in drawing.calendar(days, 3, date(2024, 2, 5), "/positions")),
    ]


@pytest.mark.parametrize("picture", pictures())
def test_a_picture_is_well_formed_says_what_it_is_and_has_no_style(picture: str) -> None:
    svg = ET.fromstring(picture)
    assert svg.get("aria-label") and svg.get("role") in ("img", "group")
    assert not re.search(r"\sstyle=|<style|<script|\son\w+=", picture)
    for element in svg.iter():
        for name in ("x", "y", "width", "height", "cx", "cy"):
            value = element.get(name)
            assert value is None or float(value) >= 0, (element.tag, name, value)


def test_a_calendar_has_a_day_where_it_belongs() -> None:
    days = [{"session": date(2024, 2, d), "profit": 10, "fills": 1} for d in (1, 29)]
    ((name, picture),) = drawing.calendar(days, 3, None, "/positions")
    assert name == "February 2024"
    svg = ET.fromstring(picture)
    cells_of = {a.get("href"): a.find("{*}rect") for a in svg.iter("{http://www.w3.org/2000/svg}a")}
    first = cells_of["/positions?session=2024-02-01"]
    last = cells_of["/positions?session=2024-02-29"]
    # Both are Thursdays, four weeks apart.
    assert first.get("x") == last.get("x") == "169"
    assert float(last.get("y")) - float(first.get("y")) == 4 * 40


def test_json_has_no_nan() -> None:
    assert finite({"a": [float("nan"), 1.0, (float("inf"),)]}) == {"a": [None, 1.0, [None]]}
