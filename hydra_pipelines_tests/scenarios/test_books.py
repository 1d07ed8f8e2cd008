"""What happens to an account beside our own trades, over a real socket: found, explained, booked.

One small market of CSV files with a split, a fraction and dividends, and a desk of its own a test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from hydra_pipelines import api, day
from hydra_pipelines.day.asking import known
from hydra_pipelines.day.books import PositionsResult, open_books
from hydra_pipelines.day.explaining import (
    CashCorrection,
    CorrectionRefused,
    Reply,
    ShareCorrection,
    explain,
)
from hydra_pipelines.desk import Desk
from hydra_pipelines.execution.breaks import BreakKind, frozen_by_breaks
from hydra_pipelines.execution.orders.book import OrderBook
from hydra_pipelines.execution.positions import fold_fills
from hydra_pipelines.ledger import accounts, orders, trades
from hydra_pipelines.paper_gateway.control import GatewayControl
from hydra_pipelines_tests.scenarios.conftest import MakeDesk
from hydra_pipelines_tests.scenarios.days import venue_cash, venue_positions

ACCOUNT = "DU0000001"
FIRST, SECOND, SPLIT, DIVIDEND = (date(2019, 1, d) for d in (2, 3, 4, 7))
PRICES = {"ALFA": 90.0, "BETA": 40.0}


def write_market(folder: Path) -> Path:
    """ALFA is split 3 for 2 on SPLIT; both pay on DIVIDEND. Prices hardly move."""
    path = folder / "bars.csv"
    lines = ["date,symbol,open,high,low,close,volume,split_ratio,cash_dividend"]
    days = [date(2018, 12, d) for d in (17, 18, 19, 20, 21, 24, 26, 27, 28, 31)]
    days += [date(2019, 1, d) for d in (2, 3, 4, 7, 8, 9, 10, 11, 14, 15)]
    for n, when in enumerate(days):
        for symbol, start in PRICES.items():
            price = start / (1.5 if symbol == "ALFA" and when >= SPLIT else 1) + 0.1 * (n % 3)
            ratio = 1.5 if (symbol, when) == ("ALFA", SPLIT) else 1
            paid = {"ALFA": 0.31, "BETA": 0.25}[symbol] if when == DIVIDEND else 0
            bar = (price, price * 1.01, price * 0.99, price, 2_000_000, ratio, paid)
            lines.append(",".join([when.isoformat(), symbol, *(f"{v:.4f}" for v in bar)]))
    path.write_text("\n".join(lines) + "\n")
    return path


MakeBooks = Callable[[], "Books"]


class Books:
    """A desk whose account was opened on the first session, and its owner's other hand."""

    def __init__(self, desk: Desk):
        self.desk = desk
        self.owner = GatewayControl(desk.venue)
        with desk.broker() as broker:
            account = known(broker.account(), "account")
        with desk.ledger.transaction() as tx:
            open_books(desk, tx, account, FIRST)

    def go_to(self, session: date) -> None:
        self.desk.clock.wait_until(self.desk.calendar.close(session))

    def sync(self, correction: Any = None) -> PositionsResult:
        result = day.sync_positions(self.desk, FIRST, "test", correction=correction)
        venue = self.owner.truth()
        assert {p["symbol"]: p["quantity"] for p in api.positions(self.desk)} == (
            venue_positions(venue)
        ), "what is shown is the broker's, explained or not"
        assert result.account["cash"] == round(venue_cash(venue), 2)
        return result

    def row(self) -> dict[str, Any]:
        return api.equity_curve(self.desk)[-1]

    def frozen(self) -> frozenset[str]:
        return frozen_by_breaks(api.position_breaks(self.desk))

    def check_agreement(self) -> None:
        """Our books, from the journal and what stands beside it, are the venue's; and add up."""
        venue = self.owner.truth()
        with self.desk.ledger.snapshot() as rows:
            fills = trades.fills(rows, ACCOUNT)
            held = {s: lot.quantity for s, lot in fold_fills(fills).items()}
            assert held == venue_positions(venue)
            ours = accounts.cash(rows, ACCOUNT)
        assert ours is not None and abs(ours - venue_cash(venue)) <= Decimal("0.005")
        assert not api.position_breaks(self.desk)
        assert not api.profits(self.desk)["unexplained"]


@pytest.fixture
def books(make_desk: MakeDesk, tmp_path: Path) -> Books:
    options = {"path": str(write_market(tmp_path))}
    return Books(
        make_desk(market={"source": "files", "options": options}, broker={"request_timeout_s": 0.5})
    )


def test_a_trade_by_hand_is_journalled_as_not_ours_and_told_once(books: Books) -> None:
    books.go_to(SECOND)
    books.owner.trade("BUY", "ALFA", 101)
    result = books.sync()
    (found,) = result.explained
    assert (found.kind, found.symbol, found.ours, found.brokers) == (
        BreakKind.MANUAL_TRADE, "ALFA", 0, 101,
    )  # fmt: skip
    (fill,) = api.trades(books.desk)
    assert (fill["order_ref"], fill["strategies"], fill["quantity"]) == (None, None, 101)
    assert not result.breaks and not books.frozen()
    assert not books.sync().explained, "told once"
    books.check_agreement()
    assert [row["name"] for row in api.profits(books.desk)["by_strategy"]] == [""]


def test_a_deposit_is_unexplained_until_a_person_records_it(books: Books) -> None:
    books.go_to(SECOND)
    books.owner.pay("5000")
    (found,) = books.sync().breaks
    assert (found.symbol, found.brokers - found.ours) == (None, 5000)
    assert found.kind is BreakKind.UNEXPLAINED and not books.frozen()
    assert books.row()["daily_pnl"] == 5000, "not known to be a deposit yet"
    assert [u["unexplained"] for u in api.profits(books.desk)["unexplained"]] == [5000]

    for wrong in ("-5000", "10000", "0.00"):
        with pytest.raises(CorrectionRefused, match="smaller"):
            books.sync(CashCorrection(Decimal(wrong), "deposit", "guess", "user:test"))
    assert len(api.position_breaks(books.desk)) == 1

    result = books.sync(CashCorrection(Decimal("5000"), "deposit", "my savings", "user:test"))
    assert not result.breaks
    row = books.row()
    assert (row["daily_pnl"], row["peak"], row["drawdown"]) == (0, 1_005_000, 0.0)
    books.check_agreement()
    assert api.profits(books.desk)["paid_in_and_out"] == 5000
    with pytest.raises(CorrectionRefused, match="nothing to correct"):
        books.sync(CashCorrection(Decimal("1"), "deposit", "again", "user:test"))
    with books.desk.ledger.snapshot() as rows:
        (event,) = rows.query("SELECT * FROM audit_events WHERE event = 'manual_action'")
        assert accounts.cash_flows(rows, ACCOUNT, FIRST) == 5000
        assert accounts.cash_flows(rows, ACCOUNT, SECOND) == 0
    assert event["actor"] == "user:test" and "my savings" in event["details"]


def test_a_withdrawal_recorded_late_belongs_to_the_session_that_showed_it(books: Books) -> None:
    books.go_to(SECOND)
    books.owner.pay("-250000")
    books.sync()
    assert books.row()["drawdown"] == 0.25
    books.go_to(SPLIT)
    books.sync()
    books.sync(CashCorrection(Decimal("-250000"), "withdrawal", "a house", "user:test"))
    curve = api.equity_curve(books.desk)
    assert [row["session"] for row in curve] == [FIRST, SECOND, SPLIT]
    assert [row["daily_pnl"] for row in curve] == [0, 0, 0]
    assert [row["drawdown"] for row in curve] == [0, 0, 0]
    assert [row["peak"] for row in curve] == [1_000_000, 750_000, 750_000]
    books.check_agreement()


def test_splits_and_dividends_are_found_in_the_data_and_booked(books: Books) -> None:
    books.go_to(SECOND)
    books.owner.trade("BUY", "ALFA", 101)
    books.owner.trade("BUY", "BETA", 200)
    books.sync()
    before = books.row()["equity"]

    books.go_to(SPLIT)
    result = books.sync()
    assert not result.breaks
    kinds = {(b.symbol, b.kind): b for b in result.explained}
    split = kinds["ALFA", BreakKind.SPLIT]
    assert (split.ours, split.brokers) == (101, 151)
    lieu = kinds[None, BreakKind.CASH_IN_LIEU]
    assert Decimal(25) < lieu.brokers - lieu.ours < Decimal(35), "half a share of about 60 USD"
    assert abs(books.row()["equity"] - before) < 100, "of 9,000 USD, but for the prices"
    books.check_agreement()
    with books.desk.ledger.snapshot() as rows:
        (adjustment,) = accounts.adjustments(rows, ACCOUNT)
    assert (adjustment["session"], adjustment["quantity"]) == (SPLIT, 50)
    assert len(api.trades(books.desk)) == 2, "the journal itself stays as it was"

    books.go_to(DIVIDEND)
    result = books.sync()
    paid = {b.brokers - b.ours for b in result.explained}
    assert {b.kind for b in result.explained} == {BreakKind.DIVIDEND} and not result.breaks
    assert sum(paid) == Decimal("96.81"), "151 at 0.31 and 200 at 0.25"
    books.check_agreement()
    assert not books.sync().explained, "booked once"
    told = api.profits(books.desk)
    assert told["total"]["income"] == Decimal("96.81") + lieu.brokers - lieu.ours
    assert {r["name"]: r["parts"]["income"] for r in told["by_symbol"]}["BETA"] == 50

    books.go_to(date(2019, 1, 8))
    books.owner.trade("SELL", "ALFA", 151)
    books.sync()
    books.check_agreement()
    realised = {r["name"]: r["parts"] for r in api.profits(books.desk)["by_symbol"]}["ALFA"]
    assert realised["unrealised"] == 0
    assert abs(realised["realised"]) < 100, "101 shares bought at 90 are 151 sold at 60"


def test_shares_that_nothing_explains_freeze_their_symbol_until_accepted(books: Books) -> None:
    books.go_to(SECOND)
    books.owner.trade("BUY", "ALFA", 10)
    books.sync()
    books.owner.move_shares("BETA", 30)
    books.owner.move_shares("ALFA", -4)
    result = books.sync()
    assert {(b.symbol, b.ours, b.brokers) for b in result.breaks} == {
        ("ALFA", 10, 6), ("BETA", 0, 30),
    }  # fmt: skip
    assert books.frozen() == {"ALFA", "BETA"}
    assert api.profits(books.desk)["unexplained"]
    books.sync()
    assert len(api.position_breaks(books.desk)) == 2, "a difference that stays is one row"

    books.sync(ShareCorrection("BETA", None, "moved from another broker", "user:test"))
    assert books.frozen() == {"ALFA"}
    with pytest.raises(CorrectionRefused, match="BETA are the same"):
        books.sync(ShareCorrection("BETA", None, "again", "user:test"))
    books.sync(ShareCorrection("ALFA", Decimal("90"), "given away", "user:test"))
    assert not books.frozen()
    books.check_agreement()
    assert books.row()["drawdown"] < 0.001, "shares moved are neither profit nor loss"
    assert abs(books.row()["daily_pnl"]) < 20


def test_a_trade_that_the_broker_tells_no_more_is_a_missing_fill(books: Books) -> None:
    """A gateway tells executions of the current day only."""
    books.go_to(SECOND)
    books.owner.trade("BUY", "BETA", 10)
    books.go_to(SPLIT)
    result = books.sync()
    assert {b.symbol for b in result.breaks} == {"BETA", None}
    assert books.frozen() == {"BETA"}
    cash = next(b for b in result.breaks if b.symbol is None)
    books.sync(ShareCorrection("BETA", Decimal("40.30"), "by the statement", "user:test"))
    paid = cash.brokers - cash.ours
    books.sync(CashCorrection(paid, "withdrawal", "for those shares", "user:test"))
    books.check_agreement()


def test_a_change_of_name_is_known_by_its_contract(books: Books) -> None:
    """The stand-in has no such thing, so its reply is told with the other name."""
    desk = books.desk
    books.go_to(SECOND)
    books.owner.trade("BUY", "ALFA", 10)
    books.sync()
    with desk.broker() as broker:
        contract = known(broker.contract("ALFA"), "contract")
        account, held = known(broker.account(), "account"), known(broker.positions(), "positions")
    with desk.ledger.transaction() as tx:
        orders.insert_contracts(tx, [{**vars(contract), "recorded_at": desk.clock.now()}])
        reply = Reply(account, tuple(replace(p, symbol="OMEGA") for p in held), (), SECOND)
        found = explain(desk, tx, reply, OrderBook(desk.ledger, "test"), None, "test")
        assert {(b.symbol, b.kind, b.explained) for b in found} == {
            ("ALFA", BreakKind.SYMBOL_CHANGE, True), ("OMEGA", BreakKind.SYMBOL_CHANGE, True),
        }  # fmt: skip
        lots = fold_fills(trades.fills(tx, ACCOUNT))
        assert {s: lot.quantity for s, lot in lots.items()} == {"OMEGA": 10}
        assert orders.contracts(tx, ["ALFA"]) == {}, "asked for anew: the name may be another's now"
        assert explain(desk, tx, reply, OrderBook(desk.ledger, "test"), None, "test") == []


@pytest.mark.parametrize("kind", ["positions", "account"])
def test_a_reply_that_does_not_end_changes_nothing(books: Books, kind: str) -> None:
    desk = books.desk
    books.go_to(SECOND)
    books.owner.trade("BUY", "ALFA", 10)
    books.sync()
    before = (api.positions(desk), api.equity_curve(desk), api.trades(desk))
    books.go_to(SPLIT)
    books.owner.set_faults([{"fault": "missing_end", "of": kind}])
    with pytest.raises(day.BrokerStateUnknown, match="can't be read"):
        day.sync_positions(desk, FIRST, "test")
    assert (api.positions(desk), api.equity_curve(desk), api.trades(desk)) == before
    books.owner.set_faults([])
    desk.close()
    assert not books.sync().breaks
    books.check_agreement()
