"""Splits and dividends at the venue: shares, cash and orders at the open of the ex-date."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ib_insync import IB

from hydra_pipelines.market.bars import BarPanel
from hydra_pipelines.paper_gateway.book import Position
from hydra_pipelines.paper_gateway.prices import VenuePrices
from hydra_pipelines.paper_gateway.venue import Venue
from hydra_pipelines.sessions import Calendar
from hydra_pipelines_tests.paper_gateway.served import (
    TERMS,
    ErrorLog,
    Served,
    make_panel,
    make_venue,
)
from hydra_pipelines_tests.paper_gateway.test_client import contract, place

EX_DATE = date(2019, 1, 4)


def panel_with(calendar: Calendar, ratio: float, dividend: float) -> BarPanel:
    """ALFA is split and pays on the ex-date; its traded prices say so."""
    panel = make_panel(calendar)
    row = int(np.flatnonzero(panel.sessions == np.datetime64(EX_DATE))[0])
    fields = dict(panel.fields)
    for name in ("open", "high", "low", "close"):
        fields[name] = fields[name].copy()
        fields[name][row:, 0] /= ratio
    splits, dividends = np.full((2, *fields["close"].shape), np.nan)
    splits[row, 0], dividends[row, 0] = ratio, dividend
    return BarPanel(
        panel.sessions,
        panel.symbols,
        {**fields, "split_ratio": splits, "cash_dividend": dividends},
    )


def holding(calendar: Calendar, path: Path, shares: int, ratio: float, dividend: float) -> Venue:
    """A venue after the session before the ex-date, with shares of ALFA bought for nothing."""
    venue = make_venue(calendar, path, panel=panel_with(calendar, ratio, dividend))
    contract = venue.listing.named("ALFA")
    with venue.store.transaction():
        venue.store.save_position("ALFA", Position(contract.con_id, shares, shares * 50_0000))
    venue.store.close()
    venue = make_venue(calendar, path, panel=panel_with(calendar, ratio, dividend))
    venue.advance(calendar.close(date(2019, 1, 3)))
    return venue


@settings(max_examples=25)
@given(
    st.integers(1, 500),
    st.sampled_from([1.0, 2.0, 4.0, 1.5, 0.1, 1 / 3]),
    st.sampled_from([0.0, 0.25, 1.07]),
)
def test_shares_and_cash_change_at_the_open_and_nothing_is_lost(
    calendar: Calendar, tmp_path_factory: pytest.TempPathFactory, shares: int, ratio: float,
    dividend: float,
) -> None:  # fmt: skip
    venue = holding(calendar, tmp_path_factory.mktemp("v") / "v.sqlite", shares, ratio, dividend)
    before, close = venue.truth(), venue.holdings()[0].mark
    venue.advance(calendar.open(EX_DATE) - timedelta(seconds=1))
    assert venue.truth()["positions"] == before["positions"]
    venue.advance(calendar.open(EX_DATE))
    after = venue.truth()
    quantity = sum(p["quantity"] for p in after["positions"])
    paid = Decimal(after["cash"]) - Decimal(before["cash"])
    value = Decimal(quantity) * close / 10_000 / Decimal(ratio) + paid
    worth = Decimal(shares) * (Decimal(close) / 10_000 + Decimal(str(dividend)))
    assert abs(value - worth) < Decimal("0.02") + worth * Decimal("1e-4")
    assert quantity == int(shares * ratio + 1e-9)
    venue.advance(calendar.close(date(2019, 1, 8)))
    assert venue.truth()["cash"] == after["cash"], "booked once"
    assert len(after["actions"]) == (ratio != 1 or dividend != 0)


def test_an_action_is_no_move_of_the_market(calendar: Calendar) -> None:
    plain = VenuePrices(make_panel(calendar), calendar, TERMS.seed)
    split = VenuePrices(panel_with(calendar, 4.0, 0.0), calendar, TERMS.seed)
    for minute in (0, 100, 389):
        whole = plain.quote("ALFA", date(2019, 1, 8), minute)
        quarter = split.quote("ALFA", date(2019, 1, 8), minute)
        assert whole and quarter
        assert whole.sigma == pytest.approx(quarter.sigma)
        assert quarter.last * 4 == pytest.approx(whole.last, rel=2e-3)


def test_an_account_without_the_symbol_is_left_alone(calendar: Calendar, tmp_path: Path) -> None:
    panel = panel_with(calendar, 2.0, 1.0)
    venue = make_venue(calendar, tmp_path / "venue.sqlite", panel=panel)
    venue.advance(calendar.close(EX_DATE))
    truth = venue.truth()
    assert (truth["cash"], truth["actions"], truth["positions"]) == ("1000000.0000", [], [])


def test_a_split_ends_the_orders_in_its_symbol_and_no_others(
    served: Served, client: Callable[[int], IB], calendar: Calendar
) -> None:
    ib = client(5)
    alfa, beta = contract(ib, "ALFA"), contract(ib, "BETA")
    served.advance(calendar.close(date(2019, 1, 3)))
    split = place(ib, alfa, "BUY", 10, 5.0, tif="GTC")
    other = place(ib, beta, "BUY", 10, 5.0, tif="GTC")
    served.advance(calendar.open(EX_DATE))
    ib.reqCurrentTime()
    assert (split.orderStatus.status, other.orderStatus.status) == ("Cancelled", "Submitted")


@pytest.fixture
def served(calendar: Calendar, tmp_path: Path, errors: ErrorLog) -> Iterator[Served]:
    panel = panel_with(calendar, 2.0, 0.0)
    server = Served(lambda: make_venue(calendar, tmp_path / "venue.sqlite", panel=panel))
    yield server
    server.stop()
