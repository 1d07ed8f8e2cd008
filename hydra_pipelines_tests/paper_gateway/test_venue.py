"""The venue without sockets: prices, time, determinism, and books that always add up."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hydra_pipelines.market.bars import BarPanel
from hydra_pipelines.paper_gateway import requests, wire
from hydra_pipelines.paper_gateway.account import VenueError
from hydra_pipelines.paper_gateway.money import dollars, tick_size
from hydra_pipelines.paper_gateway.prices import NoPricesError, VenuePrices
from hydra_pipelines.paper_gateway.venue import Venue
from hydra_pipelines.sessions import Calendar
from hydra_pipelines_tests.paper_gateway.served import SYMBOLS, TERMS, make_panel, make_venue
from hydra_pipelines_tests.paper_gateway.test_wire import sent

DAY = date(2019, 1, 3)
OPEN = datetime(2019, 1, 3, 14, 30, tzinfo=UTC)


def place_request(
    order_id: int, symbol: str, action: str, shares: int, limit: int, tif: str = "DAY"
) -> requests.PlaceOrder:
    from ib_insync import LimitOrder, Stock

    order = LimitOrder(action, shares, float(dollars(limit)), tif=tif, orderRef=f"ref{order_id}")
    fields = sent(176, Stock(symbol, "SMART", "USD"), order)
    fields[1] = str(order_id)
    return requests.place_order(wire.Fields(fields[1:]), 176)


def quotes_of(prices: VenuePrices, symbol: str, day: date, steps: int = 390) -> list[object]:
    return [prices.quote(symbol, day, minute) for minute in range(steps + 1)]


@pytest.mark.parametrize("only_closes", [True, False])
def test_paths_keep_to_their_bar(calendar: Calendar, only_closes: bool) -> None:
    panel = make_panel(calendar, only_closes=only_closes)
    prices = VenuePrices(panel, calendar, seed=7)
    row = int(np.searchsorted(panel.sessions, np.datetime64(DAY)))
    for column, symbol in enumerate(SYMBOLS):
        quotes = quotes_of(prices, symbol, DAY)
        bar = {name: values[row, column] * 10_000 for name, values in panel.fields.items()}
        for quote in quotes:
            tick = tick_size(quote.ask)
            assert quote.bid < quote.ask and quote.bid % tick_size(quote.bid) == 0
            assert quote.ask % tick == 0 and quote.last % tick_size(quote.last) == 0
            assert quote.bid_depth >= 1 and quote.ask_depth >= 1
            if not only_closes:
                assert bar["low"] - tick <= quote.last <= bar["high"] + tick
        assert abs(quotes[-1].last - bar["close"]) <= tick_size(quotes[-1].last)
        if not only_closes:
            seen = [quote.last for quote in quotes]
            assert abs(seen[0] - bar["open"]) <= tick_size(seen[0])
            assert max(seen) >= bar["high"] - tick_size(seen[0])
            assert min(seen) <= bar["low"] + tick_size(seen[0])


def test_a_missing_or_partial_bar(calendar: Calendar) -> None:
    panel = make_panel(calendar)
    row = int(np.searchsorted(panel.sessions, np.datetime64(DAY)))
    fields = {name: values.copy() for name, values in panel.fields.items()}
    fields["close"][row, 0] = np.nan
    fields["high"][row, 1] = np.nan
    fields["volume"][:, 1] = np.nan
    prices = VenuePrices(BarPanel(panel.sessions, SYMBOLS, fields), calendar, seed=7)
    assert prices.quote("ALFA", DAY, 10) is None
    assert prices.close("ALFA", DAY) == round(fields["close"][row - 1, 0] * 10_000)
    assert prices.quote("BETA", DAY, 390).last > 0
    assert prices.bars("ALFA", DAY, 1, adjusted=False)[0].session == date(2019, 1, 2)


def test_an_early_close_has_fewer_minutes(calendar: Calendar) -> None:
    prices = VenuePrices(make_panel(calendar), calendar, seed=7)
    half = date(2018, 12, 24)
    assert prices.quote("ALFA", half, 210).last > 0
    with pytest.raises(IndexError):
        prices.quote("ALFA", half, 211)


def test_quotes_depend_on_nothing_later(calendar: Calendar) -> None:
    panel = make_panel(calendar)
    whole = VenuePrices(panel, calendar, seed=7)
    cut = VenuePrices(panel.up_to(DAY), calendar, seed=7)
    other = VenuePrices(panel, calendar, seed=8)
    for symbol in SYMBOLS:
        assert quotes_of(whole, symbol, DAY) == quotes_of(cut, symbol, DAY)
        assert quotes_of(whole, symbol, DAY) != quotes_of(other, symbol, DAY)


def day_of_trading(venue: Venue) -> str:
    """A day of orders of all kinds; the books at its end as text."""
    venue.advance(OPEN + timedelta(minutes=5))
    for i, symbol in enumerate(SYMBOLS):
        market = venue.view.market(venue.listing.named(symbol))
        near = market.quote.bid // tick_size(market.quote.bid) * tick_size(market.quote.bid)
        venue.place(1, place_request(10 * i + 1, symbol, "BUY", 900, near))
        venue.place(1, place_request(10 * i + 2, symbol, "BUY", 500, market.quote.ask))
    for minute in (20, 60, 200, 389):
        venue.advance(OPEN + timedelta(minutes=minute))
        for symbol in SYMBOLS:
            market = venue.view.market(venue.listing.named(symbol))
            order_id = venue.next_order_id(1)
            venue.place(1, place_request(order_id, symbol, "SELL", 50, market.quote.bid))
    venue.advance(OPEN + timedelta(days=1))
    return json.dumps(venue.truth())


def test_the_future_changes_nothing_before_it(calendar: Calendar, tmp_path: Path) -> None:
    panel = make_panel(calendar)
    future = panel.sessions > np.datetime64("2019-01-04")
    fields = {n: np.where(future[:, None], v * 3, v) for n, v in panel.fields.items()}
    other = BarPanel(panel.sessions, SYMBOLS, fields)
    one = day_of_trading(make_venue(calendar, tmp_path / "a.sqlite", panel=panel))
    two = day_of_trading(make_venue(calendar, tmp_path / "b.sqlite", panel=other))
    assert one == two and json.loads(one)["executions"]


def test_the_seed_decides(calendar: Calendar, tmp_path: Path) -> None:
    runs = [
        day_of_trading(make_venue(calendar, tmp_path / f"{name}.sqlite", terms=terms))
        for name, terms in (("a", TERMS), ("b", TERMS), ("c", replace(TERMS, seed=8)))
    ]
    assert runs[0] == runs[1] != runs[2]


def test_a_restart_at_any_point_changes_nothing(calendar: Calendar, tmp_path: Path) -> None:
    whole = day_of_trading(make_venue(calendar, tmp_path / "a.sqlite"))

    class Restarting:
        """Opens the account anew for every call."""

        def __getattr__(self, name: str) -> object:
            return getattr(make_venue(calendar, tmp_path / "b.sqlite"), name)

    assert day_of_trading(Restarting()) == whole  # type: ignore[arg-type]


def test_time_goes_forward_and_not_beyond_the_prices(calendar: Calendar, tmp_path: Path) -> None:
    venue = make_venue(calendar, tmp_path / "a.sqlite")
    venue.advance(OPEN)
    with pytest.raises(VenueError, match=r"2019-01-03T14:30.*forward only.*2019-01-03T14:29"):
        venue.advance(OPEN - timedelta(minutes=1))
    last_close = calendar.close(venue.prices.last)
    following = calendar.open(calendar.next(venue.prices.last))
    with pytest.raises(NoPricesError, match="no prices for session"):
        venue.advance(following)
    assert venue.now == OPEN
    venue.advance(following - timedelta(seconds=1))
    assert venue.session == venue.prices.last and venue.now > last_close


def test_long_jumps_walk_through_every_close(calendar: Calendar, tmp_path: Path) -> None:
    venue = make_venue(calendar, tmp_path / "a.sqlite")
    venue.place(1, place_request(1, "ALFA", "BUY", 10, 1_0000))
    venue.place(1, place_request(2, "ALFA", "BUY", 10, 1_0000, tif="GTC"))
    venue.advance(OPEN + timedelta(days=7))
    day, gtc = venue.truth()["orders"]
    assert (day["status"], day["done_at"]) == ("Cancelled", "2019-01-03T21:00:00+00:00")
    assert gtc["status"] == "Submitted"
    assert len(venue.milestones(venue.now + timedelta(days=4))) == 3


def test_another_account_in_the_same_file_is_refused(calendar: Calendar, tmp_path: Path) -> None:
    make_venue(calendar, tmp_path / "a.sqlite").store.close()
    with pytest.raises(VenueError, match="opened with seed 7, not 9"):
        make_venue(calendar, tmp_path / "a.sqlite", terms=replace(TERMS, seed=9))
    with pytest.raises(NoPricesError, match="no prices for session 2017-01-03"):
        make_venue(
            calendar, tmp_path / "b.sqlite", terms=replace(TERMS, first_session=date(2017, 1, 3))
        )
    venue = make_venue(calendar, tmp_path / "c.sqlite")
    venue.advance(OPEN + timedelta(days=4))
    venue.store.close()
    early = make_panel(calendar).up_to(DAY)
    with pytest.raises(NoPricesError, match="no prices for session 2019-01-04"):
        make_venue(calendar, tmp_path / "c.sqlite", panel=early)


def test_prices_must_have_what_the_account_holds(calendar: Calendar, tmp_path: Path) -> None:
    venue = make_venue(calendar, tmp_path / "a.sqlite")
    venue.place(1, place_request(1, "BETA", "BUY", 10, 1_0000))
    venue.store.close()
    panel = make_panel(calendar)
    fewer = BarPanel(panel.sessions, SYMBOLS[:1], {"close": panel.fields["close"][:, :1]})
    with pytest.raises(NoPricesError, match="holds or works BETA"):
        make_venue(calendar, tmp_path / "a.sqlite", panel=fewer)


def test_a_resting_order_fills_at_its_limit_and_a_taker_pays(
    calendar: Calendar, tmp_path: Path
) -> None:
    venue = make_venue(calendar, tmp_path / "a.sqlite")
    venue.advance(OPEN + timedelta(minutes=5))
    deep = venue.listing.named("DEEP")
    quote = venue.view.market(deep).quote
    venue.place(1, place_request(1, "DEEP", "BUY", 100, quote.bid))
    venue.place(1, place_request(2, "DEEP", "BUY", 100, quote.ask + 5_0000))
    venue.advance(OPEN + timedelta(minutes=389))
    fills = {e["order_id"]: e for e in venue.truth()["executions"]}
    assert fills[2]["maker"] is False and Decimal(fills[2]["price"]) * 10_000 >= quote.ask - 100
    if 1 in fills:
        assert fills[1]["maker"] is True and Decimal(fills[1]["price"]) * 10_000 == quote.bid


@pytest.mark.parametrize("restart", [False, True])
def test_what_is_visible_in_a_minute_is_taken_once(
    calendar: Calendar, tmp_path: Path, restart: bool
) -> None:
    venue = make_venue(calendar, tmp_path / "a.sqlite")
    venue.advance(OPEN + timedelta(minutes=5))
    quote = venue.view.market(venue.listing.named("ALFA")).quote
    part = quote.ask_depth * 2 // 3
    limit = quote.ask + 1_0000
    venue.place(1, place_request(1, "ALFA", "BUY", part, limit))
    if restart:
        venue.store.close()
        venue = make_venue(calendar, tmp_path / "a.sqlite")
    venue.place(1, place_request(2, "ALFA", "BUY", part, limit))
    venue.place(1, place_request(3, "ALFA", "BUY", part, limit))
    assert [e["shares"] for e in venue.truth()["executions"]] == [part, quote.ask_depth - part]
    venue.advance(OPEN + timedelta(minutes=6))
    assert len(venue.truth()["executions"]) > 2


def test_realised_profit_is_that_of_the_day(calendar: Calendar, tmp_path: Path) -> None:
    venue = make_venue(calendar, tmp_path / "a.sqlite")

    def realized() -> Decimal:
        values = {tag: value for tag, value, _ in venue.account_values()}
        return Decimal(values["RealizedPnL"])

    venue.advance(OPEN)
    venue.place(1, place_request(1, "DEEP", "BUY", 100, 300_0000))
    venue.place(1, place_request(2, "DEEP", "SELL", 60, 100_0000))
    today = realized()
    assert today == sum(Decimal(e["realized"] or 0) for e in venue.truth()["executions"]) < 0
    venue.store.close()
    venue = make_venue(calendar, tmp_path / "a.sqlite")
    assert realized() == today
    venue.advance(OPEN + timedelta(days=1))
    assert realized() == 0


def test_short_sales_where_they_are_allowed(calendar: Calendar, tmp_path: Path) -> None:
    terms = replace(TERMS, allow_short=True)
    venue = make_venue(calendar, tmp_path / "a.sqlite", terms=terms)
    venue.advance(OPEN)
    venue.place(1, place_request(1, "DEEP", "SELL", 100, 100_0000))
    (position,) = venue.truth()["positions"]
    assert position["quantity"] == -100 and Decimal(position["cost"]) < 0


actions = st.lists(
    st.tuples(
        st.sampled_from(["BUY", "SELL", "CANCEL", "MODIFY", "ADVANCE"]),
        st.sampled_from(SYMBOLS),
        st.integers(1, 20_000),
        st.integers(-30, 30),
    ),
    max_size=25,
)


@settings(max_examples=40, deadline=None)
@given(actions)
def test_the_books_add_up_whatever_is_done(
    calendar: Calendar, tmp_path_factory: pytest.TempPathFactory, steps: list[tuple]
) -> None:
    venue = make_venue(calendar, tmp_path_factory.mktemp("book") / "venue.sqlite")
    venue.advance(OPEN)
    modified: set[int] = set()
    for what, symbol, size, offset in steps:
        market = venue.view.market(venue.listing.named(symbol))
        limit = max(round(market.close * (1 + offset / 1000)), 1)
        limit = max(limit // tick_size(limit) * tick_size(limit), 1)
        working = venue.open_orders(1)
        if what == "ADVANCE":
            venue.advance(min(venue.now + timedelta(minutes=size % 400), OPEN + timedelta(days=20)))
        elif what in ("CANCEL", "MODIFY") and working:
            order = working[size % len(working)]
            if what == "CANCEL":
                venue.cancel(1, order.order_id)
            else:
                modified.add(order.perm_id)
                changed = place_request(order.order_id, order.symbol, order.action, size, limit)
                venue.place(1, changed)
        elif what in ("BUY", "SELL"):
            venue.place(1, place_request(venue.next_order_id(1), symbol, what, size, limit))
        check_books(venue, modified)
    restarted = make_venue(calendar, venue.store.path)
    assert restarted.truth() == venue.truth()


def check_books(venue: Venue, modified: set[int]) -> None:
    truth = venue.truth()
    cash, held = Decimal(1_000_000), dict.fromkeys(SYMBOLS, 0)
    filled: dict[int, int] = {}
    for fill in truth["executions"]:
        sign = 1 if fill["action"] == "BUY" else -1
        cash -= sign * fill["shares"] * Decimal(fill["price"]) + Decimal(fill["commission"])
        held[fill["symbol"]] += sign * fill["shares"]
        filled[fill["perm_id"]] = filled.get(fill["perm_id"], 0) + fill["shares"]
    assert Decimal(truth["cash"]) == cash >= 0
    assert {p["symbol"]: p["quantity"] for p in truth["positions"]} == {
        symbol: count for symbol, count in held.items() if count
    }
    for order in truth["orders"]:
        assert order["filled"] == filled.get(order["perm_id"], 0) <= order["quantity"]
        assert (order["status"] == "Filled") == (order["filled"] == order["quantity"])
    limits = {o["perm_id"]: Decimal(o["limit"]) for o in truth["orders"]}
    for fill in truth["executions"]:
        beyond = Decimal(fill["price"]) - limits[fill["perm_id"]]
        if fill["perm_id"] not in modified:
            assert beyond <= 0 if fill["action"] == "BUY" else beyond >= 0
    values = {(tag, currency): value for tag, value, currency in venue.account_values()}
    marked = sum(p["quantity"] * Decimal(p["mark"]) for p in truth["positions"])
    assert abs(Decimal(values["NetLiquidation", "USD"]) - cash - marked) <= Decimal("0.005")
    assert Decimal(values["AvailableFunds", "USD"]) >= 0
