"""Prices and names of intended orders."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_pipelines.execution.broker.messages import Quote
from hydra_pipelines.execution.orders.intents import (
    NoPrice,
    arrival_price,
    marketable_limit,
    order_ref,
)

TICKS = st.sampled_from([Decimal("0.01"), Decimal("0.0001"), Decimal("0.05"), Decimal("0.005")])
PRICES = st.decimals("0.01", "3000", places=4)


def quote(bid: object = None, ask: object = None, last: object = None) -> Quote:
    def price(value: object) -> Decimal | None:
        return None if value is None else Decimal(str(value))

    return Quote(
        "AAPL", price(bid), price(ask), price(last), None, "live", datetime(2019, 1, 3, tzinfo=UTC)
    )


@given(PRICES, PRICES, st.floats(0.0001, 0.05), TICKS, st.sampled_from(["BUY", "SELL"]))
def test_a_limit_is_on_the_grid_and_never_worse_than_the_collar(a, b, collar, tick, side):
    market = quote(bid=min(a, b), ask=max(a, b))
    limit = marketable_limit(side, market, collar, tick)
    assert limit % tick == 0
    assert limit >= tick or side == "BUY"
    share = Decimal(str(collar))
    if side == "BUY":
        assert limit <= market.ask * (1 + share)
        assert limit > market.ask * (1 + share) - tick
    else:
        assert limit >= market.bid * (1 - share)
        assert limit < market.bid * (1 - share) + tick or limit == tick


@pytest.mark.parametrize(
    ("side", "market"),
    [
        ("BUY", quote(bid=10)),
        ("SELL", quote(ask=10)),
        ("BUY", quote(bid=10, ask=0)),
        ("SELL", quote(bid=0, ask=10)),
        ("BUY", quote(bid=10.02, ask=10)),
        ("SELL", quote(bid=10.02, ask=10)),
        ("BUY", quote(last=10)),
    ],
)
def test_no_order_without_a_sane_far_touch(side, market):
    with pytest.raises(NoPrice, match="AAPL"):
        marketable_limit(side, market, 0.005, Decimal("0.01"))


def test_one_side_is_enough_for_that_side():
    assert marketable_limit("BUY", quote(ask=100), 0.005, Decimal("0.01")) == Decimal("100.50")
    assert marketable_limit("SELL", quote(bid=100), 0.005, Decimal("0.01")) == Decimal("99.50")


def test_arrival_is_the_mid_else_the_last():
    assert arrival_price(quote(bid=10, ask=10.02, last=11)) == Decimal("10.01")
    assert arrival_price(quote(bid=10, last=11)) == Decimal("11")
    with pytest.raises(NoPrice, match="neither"):
        arrival_price(quote(bid=10))


def test_a_ref_is_the_same_on_every_run_and_names_its_order():
    parts = (date(2019, 1, 2), "DU1", "BRK B", "BUY", 0, 1)
    assert order_ref(*parts) == "20190102.DU1.BRK-B.BUY.0.1"


@given(
    st.lists(
        st.tuples(
            st.dates(date(2019, 1, 1), date(2019, 3, 1)),
            st.sampled_from(["DU1", "DU12"]),
            st.sampled_from(["A", "AA", "BRK B", "BF.B"]),
            st.sampled_from(["BUY", "SELL"]),
            st.integers(0, 12),
            st.integers(1, 12),
        ),
        unique=True,
    )
)
def test_no_two_orders_have_the_same_ref(parts):
    assert len({order_ref(*p) for p in parts}) == len(parts)
