"""Money, matching and positions: what must hold for any trade."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from hydra_pipelines.paper_gateway.book import Position
from hydra_pipelines.paper_gateway.matching import FillModel, Quote, fill_price, reaches
from hydra_pipelines.paper_gateway.money import (
    cents,
    commission_cents,
    dollars,
    exact,
    tick_size,
    to_units,
)

amounts = st.integers(-(10**13) + 1, 10**13 - 1)
shares = st.integers(1, 100_000)
price_units = st.integers(1, 5_000_000).map(lambda p: p // tick_size(p) * tick_size(p))


@given(amounts)
def test_money_survives_text(units: int) -> None:
    assert to_units(dollars(units)) == units == to_units(exact(units))
    assert abs(Fraction(cents(units)) - Fraction(units, 10_000)) <= Fraction(1, 200)


def test_what_is_no_amount() -> None:
    for text in ("", "x", "NaN", "Infinity", "1.00001", "1e999999999", "10000000000"):
        assert to_units(text) is None


def test_commission_schedule() -> None:
    assert commission_cents(100, 100 * 50_0000) == 100
    assert commission_cents(1_000, 1_000 * 50_0000) == 500
    assert commission_cents(10, 10 * 2_0000) == 20
    assert commission_cents(1_000, 1_000 * 2000) == 200
    assert commission_cents(201, 201 * 50_0000) == 101


@given(st.lists(st.tuples(shares, price_units), min_size=1, max_size=6))
def test_an_order_is_charged_once_however_it_fills(parts: list[tuple[int, int]]) -> None:
    filled = notional = charged = 0
    for count, price in parts:
        filled, notional = filled + count, notional + count * price
        more = commission_cents(filled, notional) - charged
        assert more >= 0
        charged += more
    assert charged == commission_cents(filled, notional)
    assert charged * 100 <= notional // 100 + 50


trades = st.lists(
    st.tuples(st.integers(-500, 500).filter(bool), price_units, st.integers(0, 20_000)), max_size=30
)


@given(trades)
def test_positions_conserve_money(done: list[tuple[int, int, int]]) -> None:
    position, cash, realized_sum = Position(7), 0, 0
    for count, price, fee in done:
        cash -= count * price + fee
        position, realized = position.after(count, abs(count) * price, fee)
        realized_sum += realized or 0
        assert cash == realized_sum - position.cost
        if position.quantity == 0:
            assert position.cost == 0
    assert position.quantity == sum(count for count, _, _ in done)


def test_average_cost_includes_commission_and_stays_on_sales() -> None:
    bought, realized = Position(7).after(100, 100 * 10_0000, 1_0000)
    assert realized is None and bought.cost == 1_001_0000
    left, realized = bought.after(-40, 40 * 11_0000, 1_0000)
    assert left == Position(7, 60, 600_6000)
    assert realized == 440_0000 - 1_0000 - 400_4000


quotes = st.builds(
    lambda bid, width, sigma, adv: Quote(
        bid=bid // tick_size(bid) * tick_size(bid),
        ask=(bid // tick_size(bid) + width) * tick_size(bid),
        last=bid,
        bid_depth=100,
        ask_depth=100,
        sigma=sigma,
        adv=adv,
    ),
    st.integers(20_000, 5_000_000),
    st.integers(1, 50),
    st.floats(0.001, 0.2),
    st.floats(1_000, 1e9),
)


@given(
    quotes,
    st.integers(0, 30),
    st.sampled_from(["BUY", "SELL"]),
    st.booleans(),
    shares,
    st.floats(-4, 4),
)
def test_fills_keep_to_the_limit_and_the_grid(
    quote: Quote, ticks: int, action: str, resting: bool, count: int, draw: float
) -> None:
    away = ticks * tick_size(quote.bid)
    limit = quote.ask + away if action == "BUY" else max(quote.bid - away, 1_0000)
    assert reaches(action, limit, quote)
    price = fill_price(
        FillModel(),
        action=action,
        limit=limit,
        resting=resting,
        shares_so_far=count,
        quote=quote,
        draw=draw,
    )
    assert price % tick_size(price) == 0 and price > 0
    assert price <= limit if action == "BUY" else price >= limit
    assert not resting or price == limit


@given(quotes, shares, shares)
def test_impact_grows_with_size(quote: Quote, one: int, other: int) -> None:
    def price(action: str, count: int) -> int:
        far = 10**9 // 100 * 100 if action == "BUY" else 100
        return fill_price(
            FillModel(), action=action, limit=far, resting=False, shares_so_far=count,
            quote=quote, draw=0.0,
        )  # fmt: skip

    small, large = sorted((one, other))
    assert quote.ask <= price("BUY", small) <= price("BUY", large)
    assert quote.bid >= price("SELL", small) >= price("SELL", large)
