"""The order book over a real ledger: what is news, what is written, and what comes late."""

from __future__ import annotations

import time as wall
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from hydra_pipelines.execution.broker.messages import Execution
from hydra_pipelines.execution.broker.order_state import Kind, OrderEvent, State
from hydra_pipelines.execution.orders.book import WITHIN_S, OrderBook
from hydra_pipelines.ledger import orders, trades
from hydra_pipelines.ledger.store import Ledger

AT = datetime(2019, 1, 3, 15, tzinfo=UTC)
SESSION, NEXT = date(2019, 1, 2), date(2019, 1, 3)
REF = "20190102.DU1.ALFA.BUY.0.1"
INTENT = {
    "order_ref": REF, "plan_id": "p", "session": SESSION, "execution_session": NEXT,
    "account": "DU1", "symbol": "ALFA", "side": "BUY", "quantity": 100,
    "limit_price": Decimal("10.05"), "tif": "DAY", "arrival_price": Decimal("10.00"),
    "arrival_at": AT, "predicted_slippage_bps": 3.0, "routing": "marketable", "strategies": "H",
    "slice": 0, "attempt": 1, "order_id": 5, "run_id": "run", "recorded_at": AT,
}  # fmt: skip
FILL = Execution("00a1.0001.01.01", REF, 5, 77, "DU1", "ALFA", "BUY", 100, Decimal("10.01"), AT, 17)


def event(kind: Kind, **details: object) -> OrderEvent:
    return OrderEvent(REF, kind, AT, details)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "desk.duckdb", 5)


@pytest.fixture
def book(ledger: Ledger) -> OrderBook:
    made = OrderBook(ledger, "run")
    made.open([INTENT], [], AT)
    made.note([event(Kind.SENDING), event(Kind.SUBMITTED, perm_id=77)])
    made.commit(NEXT)
    return made


def reopen(ledger: Ledger, session: date = SESSION) -> OrderBook:
    again = OrderBook(ledger, "next run")
    again.load(session)
    return again


def journal(ledger: Ledger) -> list[dict]:
    with ledger.transaction() as tx:
        return trades.fills(tx, "DU1")


def as_event(execution: Execution) -> OrderEvent:
    return event(
        Kind.FILL,
        exec_key=execution.key,
        correction=execution.correction,
        quantity=execution.quantity,
        price=str(execution.price),
        perm_id=execution.perm_id,
    )


def test_what_is_committed_is_there_for_the_next_process(book: OrderBook, ledger: Ledger):
    book.note([as_event(FILL)])
    assert reopen(ledger).orders[REF].view.state is State.SUBMITTED, "not committed yet"
    book.note_executions([FILL], {FILL.exec_id: 12.0})
    book.note_commissions({FILL.exec_id: Decimal("1.00")})
    book.commit(NEXT)
    again = reopen(ledger).orders[REF]
    assert (again.view.state, again.finished) == (State.FILLED, True)
    (row,) = journal(ledger)
    assert (row["quantity"], row["commission"]) == (100, Decimal("1.0000"))


def test_the_broker_may_repeat_itself(book: OrderBook, ledger: Ledger):
    for _ in range(3):
        book.note([event(Kind.SUBMITTED, perm_id=77), as_event(FILL), event(Kind.NOTICE, text="x")])
        book.note_executions([FILL], {})
        book.commit(NEXT)
    book.note([event(Kind.CANCELLED)])
    book.commit(NEXT)
    with ledger.transaction() as tx:
        (row,) = orders.orders(tx, session=SESSION)
    assert [e["event"] for e in row["events"]] == [
        "pending", "sending", "submitted", "fill", "notice", "finished",
    ]  # fmt: skip
    assert len(journal(ledger)) == 1


def test_a_correction_replaces_its_fill_and_gets_its_own_commission(
    book: OrderBook, ledger: Ledger
):
    correction = replace(FILL, exec_id="00a1.0001.01.02", quantity=90, price=Decimal("10.02"))
    for execution in (FILL, correction, FILL):
        book.note([as_event(execution)])
        book.note_executions([execution], {})
        book.commit(NEXT)
    book.note_commissions({correction.exec_id: Decimal("0.90")})
    book.commit(NEXT)
    (row,) = journal(ledger)
    assert (row["exec_id"], row["quantity"], row["price"], row["commission"]) == (
        correction.exec_id, 90, Decimal("10.0200"), Decimal("0.9000"),
    )  # fmt: skip
    assert reopen(ledger).orders[REF].view.filled == 90


def test_a_fill_after_the_cancellation_is_journalled_and_counts(book: OrderBook, ledger: Ledger):
    book.note([event(Kind.CANCELLED)])
    book.commit(NEXT)
    assert book.orders[REF].finished
    part = replace(FILL, quantity=40)
    book.note([as_event(part)])
    book.note_executions([part], {})
    book.commit(NEXT)
    view = reopen(ledger).orders[REF].view
    assert (view.state, view.filled) == (State.CANCELLED, 40)
    assert journal(ledger)[0]["quantity"] == 40


def test_an_order_that_turns_up_after_all_is_reopened_and_kept_in_view(ledger: Ledger):
    book = OrderBook(ledger, "run")
    book.open([INTENT], [], AT)
    book.note([event(Kind.SENDING), event(Kind.UNKNOWN), event(Kind.NEVER_ARRIVED)])
    book.commit(NEXT)
    with ledger.transaction() as tx:
        assert orders.orders(tx, unfinished=True) == []
    book.note([event(Kind.SUBMITTED, perm_id=77)])
    book.commit(NEXT)
    # Whatever session the next run works, it has the order before its eyes.
    later = reopen(ledger, NEXT).orders[REF]
    assert (later.view.state, later.finished) == (State.SUBMITTED, False)
    book.note([event(Kind.CANCELLED)])
    book.commit(NEXT)
    with ledger.transaction() as tx:
        assert orders.orders(tx, unfinished=True) == []


def test_news_are_written_in_time_and_together(
    book: OrderBook, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was said goes to the ledger by itself once it is old enough, with all since then."""
    clock = 100.0
    monkeypatch.setattr(wall, "monotonic", lambda: clock)
    before = ledger.transactions
    book.commit_in_time(NEXT)
    book.note([as_event(FILL)])
    clock += WITHIN_S - 0.1
    book.note_executions([FILL], {})
    book.commit_in_time(NEXT)
    assert ledger.transactions == before, "it is not time yet"
    clock += 0.1
    book.commit_in_time(NEXT)
    assert ledger.transactions == before + 1
    assert reopen(ledger).orders[REF].view.filled == FILL.quantity
    assert [row["quantity"] for row in journal(ledger)] == [FILL.quantity]
    written = ledger.transactions
    clock += 10
    book.commit_in_time(NEXT)
    assert ledger.transactions == written, "there is nothing new"


def test_what_changes_rows_of_the_journal_is_counted(book: OrderBook) -> None:
    """Who has read the journal has to read it again then."""
    book.note_executions([FILL], {})
    book.commit(NEXT)
    assert ([row["exec_id"] for row in book.journalled], book.amended) == ([FILL.exec_id], 0)
    book.note_commissions({FILL.exec_id: Decimal("1.00")})
    book.commit(NEXT)
    assert book.amended == 1
    book.note_executions([replace(FILL, exec_id="00a1.0001.01.02", quantity=60)], {})
    book.commit(NEXT)
    assert book.amended == 2


def test_executions_of_others_are_journalled_without_an_intent(book: OrderBook, ledger: Ledger):
    by_hand = replace(FILL, exec_id="00a1.0002.01.01", order_ref="by hand")
    book.note([replace_ref(as_event(by_hand))])
    book.note_executions([by_hand], {})
    book.commit(NEXT)
    with ledger.transaction() as tx:
        (row,) = tx.query("SELECT order_ref, session, shortfall_bps FROM executed_trades")
    assert row == {"order_ref": None, "session": NEXT, "shortfall_bps": None}
    assert book.orders.keys() == {REF}


def replace_ref(made: OrderEvent) -> OrderEvent:
    return OrderEvent("by hand", made.kind, made.occurred_at, made.details)


def test_an_intent_is_written_once(book: OrderBook, ledger: Ledger):
    with pytest.raises(Exception, match=r"Duplicate key|constraint"):
        book.open([INTENT], [], AT)
    assert [e.kind for e in reopen(ledger).orders[REF].events] == [
        Kind.PENDING, Kind.SENDING, Kind.SUBMITTED,
    ]  # fmt: skip
