"""What reconciliation concludes from the broker's reply: a table, and what never happens."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_pipelines.execution.broker.messages import (
    BrokerState,
    Execution,
    Position,
    WorkingOrder,
)
from hydra_pipelines.execution.broker.order_state import Kind, OrderEvent, State, fold, heard_of
from hydra_pipelines.execution.orders.reconcile import positions_of, reconcile

AT = datetime(2019, 1, 3, 15, tzinfo=UTC)
REF = "20190102.DU1.AAPL.BUY.0.1"
INTENT = {"order_ref": REF, "symbol": "AAPL", "side": "BUY", "quantity": 100}


def event(kind: Kind, **details: object) -> OrderEvent:
    return OrderEvent(REF, kind, AT, details)


def working(
    status: str = "Submitted", ref: str = REF, perm_id: int = 77, filled: int | None = None
) -> WorkingOrder:
    return WorkingOrder(ref, 5, perm_id, "DU1", "AAPL", "BUY", 100, filled, None, status, 17)


def executed(serial: int, shares: int, correction: int = 1, ref: str = REF) -> Execution:
    exec_id = f"00a1.{serial:04d}.01.{correction:02d}"
    return Execution(exec_id, ref, 5, 77, "DU1", "AAPL", "BUY", shares, Decimal(10), AT, 17)


def state(opened=(), completed=(), executions=(), held: int = 0) -> BrokerState:
    positions = (Position("AAPL", 1, held, Decimal(10)),) if held else ()
    return BrokerState(tuple(opened), tuple(completed), tuple(executions), positions)


PENDING = [event(Kind.PENDING)]
SENDING = [*PENDING, event(Kind.SENDING)]
ACKED = [*SENDING, event(Kind.SUBMITTED, perm_id=77)]
DOUBT = [*SENDING, event(Kind.UNKNOWN)]
DOUBT_ACKED = [*ACKED, event(Kind.UNKNOWN)]
FILL_40 = event(
    Kind.FILL, exec_key="00a1.0001.01", correction=1, quantity=40, price="10", perm_id=77
)
GONE = [*ACKED, event(Kind.CANCELLED)]


@pytest.mark.parametrize(
    ("past", "broker", "second_look", "journal", "kinds"),
    [
        # Never announced as being sent: it was not.
        (PENDING, state(), False, 0, [Kind.NEVER_SENT]),
        # Sent perhaps, and the broker has it.
        (SENDING, state([working()]), False, 0, [Kind.SUBMITTED]),
        (DOUBT, state([working()]), True, 0, [Kind.SUBMITTED]),
        (SENDING, state([working("PendingCancel")]), False, 0, [Kind.SUBMITTED]),
        (ACKED, state([working()]), False, 0, []),
        # Sent perhaps, and the broker does not show it.
        (SENDING, state(), False, 0, [Kind.UNKNOWN]),
        (DOUBT, state(), False, 0, []),
        (DOUBT, state(), True, 0, [Kind.NEVER_ARRIVED]),
        (SENDING, state(), True, 0, [Kind.NEVER_ARRIVED]),
        (DOUBT, state(held=100), True, 0, []),
        (DOUBT, state(), True, 7, []),
        # It has executions: they are the truth.
        (SENDING, state(executions=[executed(1, 100)], held=100), False, 100, [Kind.FILL]),
        (
            SENDING,
            state([working()], executions=[executed(1, 40)], held=40),
            False,
            40,
            [Kind.FILL],
        ),
        ([*ACKED, FILL_40], state([working()], executions=[executed(1, 40)]), False, 40, []),
        (
            [*ACKED, FILL_40],
            state([working()], executions=[executed(1, 35, correction=2)]),
            False,
            35,
            [Kind.FILL],
        ),
        # An execution without a ref is found by the permanent id.
        (ACKED, state([working()], executions=[executed(1, 40, ref="")]), False, 40, [Kind.FILL]),
        (SENDING, state([working(ref="", perm_id=78)]), False, 0, [Kind.UNKNOWN]),
        (ACKED, state([working(ref="")]), False, 0, []),
        # Completed while we were not looking.
        (SENDING, state(completed=[working("Cancelled")]), False, 0, [Kind.CANCELLED]),
        (DOUBT_ACKED, state(completed=[working("Cancelled")]), True, 0, [Kind.CANCELLED]),
        (ACKED, state(completed=[working("Cancelled", ref="")]), False, 0, [Kind.CANCELLED]),
        (
            [*ACKED, FILL_40],
            state(completed=[working("Cancelled", filled=40)]),
            False,
            0,
            [Kind.CANCELLED],
        ),
        # Cancelled after fills that nobody tells of.
        (ACKED, state(completed=[working("Cancelled", filled=9)]), True, 0, [Kind.UNKNOWN]),
        (ACKED, state(completed=[working("Cancelled")], held=9), True, 0, [Kind.UNKNOWN]),
        (DOUBT_ACKED, state(completed=[working("Inactive", filled=9)], held=9), True, 0, []),
        # Completed as filled, but its executions are not to be had: frozen, for a person.
        (ACKED, state(completed=[working("Filled")], held=100), True, 0, [Kind.UNKNOWN]),
        (DOUBT_ACKED, state(completed=[working("Filled")], held=100), True, 0, []),
        (DOUBT_ACKED, state(completed=[working("Filled")]), True, 0, []),
        # Acknowledged once, gone without a trace: it arrived, so it is never sent again.
        (ACKED, state(), False, 0, [Kind.UNKNOWN]),
        (DOUBT_ACKED, state(), True, 0, [Kind.CANCELLED]),
        (DOUBT_ACKED, state(held=100), True, 0, []),
        ([*DOUBT, FILL_40], state(held=40), True, 40, [Kind.CANCELLED]),
        # The broker contradicts our book.
        (GONE, state([working()]), False, 0, [Kind.UNKNOWN, Kind.SUBMITTED]),
        ([*DOUBT, event(Kind.NEVER_ARRIVED)], state([working()]), False, 0, [Kind.SUBMITTED]),
        ([*PENDING, event(Kind.NEVER_SENT)], state([working()]), False, 0, [Kind.SUBMITTED]),
        # What is over stays over, and a late fill counts.
        (GONE, state(), True, 0, []),
        (GONE, state(executions=[executed(1, 40)], held=40), False, 40, [Kind.FILL]),
    ],
)
def test_table(past, broker, second_look, journal, kinds):
    found = reconcile([(INTENT, past)], broker, {"AAPL": journal}, AT, second_look=second_look)
    assert [e.kind for e in found] == kinds


fill_events = st.builds(
    lambda serial, shares: event(
        Kind.FILL,
        exec_key=f"00a1.{serial:04d}.01",
        correction=1,
        quantity=shares,
        price="10",
        perm_id=77,
    ),
    st.integers(1, 3),
    st.integers(1, 60),
)
pasts = st.tuples(
    st.sampled_from([PENDING, SENDING]),
    st.lists(
        st.one_of(
            fill_events,
            st.sampled_from(
                [
                    event(Kind.SUBMITTED, perm_id=77),
                    event(Kind.CANCELLED),
                    event(Kind.REJECTED),
                    event(Kind.UNKNOWN),
                    event(Kind.NEVER_ARRIVED),
                    event(Kind.NOTICE),
                ]
            ),
        ),
        max_size=5,
    ),
).map(lambda parts: [*parts[0], *parts[1]])
statuses = st.sampled_from(["PreSubmitted", "Submitted", "PendingCancel"])
ended = st.sampled_from(["Filled", "Cancelled", "Inactive"])
refs = st.sampled_from([REF, "", "other"])
brokers = st.builds(
    state,
    st.lists(st.builds(working, statuses, refs, st.sampled_from([77, 78])), max_size=2),
    st.lists(st.builds(working, ended, refs, st.sampled_from([77, 78])), max_size=2),
    st.lists(
        st.builds(executed, st.integers(1, 3), st.integers(1, 60), st.integers(1, 2), refs),
        max_size=3,
        unique_by=lambda e: e.exec_id,
    ),
    st.integers(-50, 150),
)


@given(pasts, brokers, st.integers(-50, 150), st.booleans())
def test_what_never_happens(past, broker, journal, second_look):
    found = reconcile([(INTENT, past)], broker, {"AAPL": journal}, AT, second_look=second_look)
    agrees = broker.held.get("AAPL", 0) == journal
    for e in found:
        assert e.order_ref == REF
        if e.kind is Kind.NEVER_ARRIVED:
            assert second_look and agrees
            assert not heard_of([*past, *found])
        if e.kind is Kind.NEVER_SENT:
            assert fold(100, past).state is State.PENDING
    after = fold(100, [*past, *found])
    shown = {o.order_ref for o in broker.open_orders}
    if REF in shown and after.state is not State.FILLED:
        assert after.state is State.SUBMITTED


@given(pasts, brokers, st.integers(-50, 150), st.booleans())
def test_a_second_time_it_has_nothing_to_say(past, broker, journal, second_look):
    def look(events: list[OrderEvent]) -> list[OrderEvent]:
        return reconcile([(INTENT, events)], broker, {"AAPL": journal}, AT, second_look=second_look)

    assert look([*past, *look(past)]) == []


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "symbol": st.sampled_from(["AAPL", "MSFT"]),
                "side": st.sampled_from(["BUY", "SELL"]),
                "quantity": st.integers(1, 100),
            }
        )
    )
)
def test_positions_of_the_journal(fills):
    positions = positions_of(fills)
    for symbol in ("AAPL", "MSFT"):
        bought, sold = (
            sum(f["quantity"] for f in fills if (f["symbol"], f["side"]) == (symbol, side))
            for side in ("BUY", "SELL")
        )
        assert positions.get(symbol, 0) == bought - sold
    assert 0 not in positions.values()
