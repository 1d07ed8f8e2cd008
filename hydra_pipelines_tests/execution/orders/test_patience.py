"""Limit-patience: on the grid, within the bound, never back, and a function of time alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_pipelines.execution.broker.messages import Quote
from hydra_pipelines.execution.orders.intents import NoPrice
from hydra_pipelines.execution.orders.patience import Patience, patient_limit, worst_price

CENT = Decimal("0.01")
AT = datetime(2019, 1, 3, 15, 0, tzinfo=UTC)


def quote(bid: str | Decimal | None, ask: str | Decimal | None) -> Quote:
    prices = [None if price is None else Decimal(price) for price in (bid, ask)]
    return Quote("ALFA", *prices, last=None, close=None, at=AT, kind="live")


def limits(side: str, quoted: Quote, arrival: str, **changes: object) -> list[Decimal]:
    """The price after each step."""
    patience = Patience(**{"steps": 4, "max_slippage_bps": 25.0, **changes})
    return [
        patient_limit(side, quoted, Decimal(arrival), step, CENT, patience)
        for step in range(patience.steps + 1)
    ]


def test_from_the_mid_to_the_far_touch() -> None:
    wide = quote("99.90", "100.10")
    assert limits("BUY", wide, "100.00") == [
        Decimal(p) for p in ("100.00", "100.02", "100.05", "100.07", "100.10")
    ]
    assert limits("SELL", wide, "100.00") == [
        Decimal(p) for p in ("100.00", "99.98", "99.95", "99.93", "99.90")
    ]


def test_from_the_near_touch() -> None:
    got = limits("BUY", quote("99.90", "100.10"), "100.00", rest_at="near_touch", steps=2)
    assert got == [Decimal("99.90"), Decimal("100.00"), Decimal("100.10")]


def test_never_beyond_the_bound_of_the_arrival_price() -> None:
    """The market has run away: the order waits at its bound, 25 bps from where it was decided."""
    assert set(limits("BUY", quote("101.90", "102.10"), "100.00")) == {Decimal("100.25")}
    assert set(limits("SELL", quote("97.90", "98.10"), "100.00")) == {Decimal("99.75")}


prices = st.integers(100, 100_000).map(lambda cents: Decimal(cents) / 100)


@given(
    side=st.sampled_from(["BUY", "SELL"]),
    bid=prices,
    spread=st.integers(0, 500),
    arrival=prices,
    step=st.integers(0, 6),
    tick=st.sampled_from([CENT, Decimal("0.05"), Decimal("0.005")]),
    bound=st.floats(0.5, 400),
    rest_at=st.sampled_from(["mid", "near_touch"]),
)
def test_on_the_grid_within_the_bound_and_not_beyond_the_far_touch(
    side: str,
    bid: Decimal,
    spread: int,
    arrival: Decimal,
    step: int,
    tick: Decimal,
    bound: float,
    rest_at: str,
) -> None:
    patience = Patience(steps=6, max_slippage_bps=bound, rest_at=rest_at)
    ask = bid + Decimal(spread) / 100
    try:
        price = patient_limit(side, quote(bid, ask), arrival, step, tick, patience)
    except NoPrice:
        assert side == "SELL" and arrival * Decimal(bound) >= 0
        return
    assert price % tick == 0 and price > 0
    reach = arrival * Decimal(str(bound)) / 10_000
    if side == "BUY":
        assert price <= max(arrival + reach, tick) and price <= max(ask, tick)
    else:
        assert price >= arrival - reach and price >= bid
    assert (price != 0 and worst_price(side, arrival, bound, tick) > 0) or side == "BUY"


@given(seconds=st.lists(st.floats(0, 2000), min_size=2, max_size=20))
def test_steps_come_with_time_and_never_go_back(seconds: list[float]) -> None:
    patience = Patience(patience_s=300, steps=4, step_s=60)
    steps = [patience.step_at(timedelta(seconds=s)) for s in sorted(seconds)]
    assert steps == sorted(steps)
    assert all(0 <= step <= 4 for step in steps)


def test_each_step_is_due_when_it_says() -> None:
    patience = Patience(patience_s=300, steps=4, step_s=60)
    now, due = timedelta(0), []
    while (at := patience.next_step(now)) is not None:
        assert at > now
        assert patience.step_at(at) == patience.step_at(now) + 1
        due.append(at.total_seconds())
        now = at
    assert due == [300, 360, 420, 480]
    assert patience.length == timedelta(seconds=540)


@given(minutes=st.floats(0.1, 60))
def test_less_time_is_the_same_course_in_less(minutes: float) -> None:
    short = Patience().within(timedelta(minutes=minutes))
    assert short.length <= min(timedelta(minutes=minutes), Patience().length) + timedelta(seconds=1)
    assert short.steps == Patience().steps
    assert short.step_at(short.length) == short.steps


@pytest.mark.parametrize(("bid", "ask"), [(None, "10"), ("10", None), ("10.02", "10.01")])
def test_without_a_market_there_is_no_price(bid: str | None, ask: str | None) -> None:
    with pytest.raises(NoPrice, match="ALFA"):
        limits("BUY", quote(bid, ask), "10.00")


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"step_s": 0}, {"patience_s": -1}, {"max_slippage_bps": 0}]
)
def test_settings_that_can_not_be(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="patience"):
        Patience(**wrong)
