"""The picture of predicted against actual slippage: every fill on it, whatever the figures."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from hydra_pipelines.monitoring.scatter import HEIGHT, MAX_DOTS, WIDTH, slippage_scatter

SVG = "{http://www.w3.org/2000/svg}"
BPS = st.floats(-1e6, 1e6)


def drawn(pairs: list[tuple[float, float]], side: str = "BUY") -> ElementTree.Element:
    predicted, actual = np.array(pairs, dtype=float).T
    return ElementTree.fromstring(slippage_scatter(predicted, actual, np.full(len(pairs), side)))


@given(st.lists(st.tuples(BPS, BPS), min_size=1, max_size=40))
@example([(0.0, 0.0)])
@example([(3.0, 3.0)] * 5)
@example([(1e-300, -1e6), (1.0, 1e6)])
def test_every_order_has_its_dot_within_the_frame(pairs):
    svg = drawn(pairs)
    dots = svg.findall(f"{SVG}circle")
    assert len(dots) == len(pairs)
    for dot in dots:
        assert 0 <= float(dot.get("cx")) <= WIDTH
        assert 0 <= float(dot.get("cy")) <= HEIGHT


def test_sides_differ_in_colour_and_the_line_is_where_the_prediction_was_right():
    pairs = [(float(i), float(i)) for i in range(2, 30)]
    svg = drawn(pairs)
    (line,) = [p for p in svg.findall(f"{SVG}path") if p.get("stroke-dasharray")]
    (x1, y1), (x2, y2) = (map(float, end.split()) for end in line.get("d")[1:].split("L"))
    for dot in svg.findall(f"{SVG}circle")[1:-1]:
        x, y = float(dot.get("cx")), float(dot.get("cy"))
        assert abs(y - (y1 + (x - x1) / (x2 - x1) * (y2 - y1))) < 0.3
    colours = {s: drawn(pairs, s).find(f"{SVG}circle").get("fill") for s in ("BUY", "SELL")}
    assert colours["BUY"] != colours["SELL"]


def test_what_stands_at_the_edge_is_said_and_the_latest_are_drawn():
    pairs = [(2.0, 5.0 + i % 7) for i in range(200)]
    assert "beyond" not in drawn(pairs).find(f"{SVG}text").text
    wild = drawn([*pairs[1:], (2.0, 9e5)])
    assert "200 orders, 1 of them beyond the edges" in wild.find(f"{SVG}text").text
    assert min(float(dot.get("cy")) for dot in wild.findall(f"{SVG}circle")) > 0
    many = drawn([(1.0, 1.0)] * MAX_DOTS + [(2.0, 2.0)])
    assert f"{MAX_DOTS} orders" in many.find(f"{SVG}text").text
    assert len(many.findall(f"{SVG}circle")) == MAX_DOTS
