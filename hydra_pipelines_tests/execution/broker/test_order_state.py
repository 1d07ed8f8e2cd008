"""The fold over an order's events, and what each broker message stands for."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_pipelines.execution.broker.messages import (
    CommissionReported,
    Executed,
    Execution,
    OrderError,
    OrderOpened,
    OrderStatus,
    SocketClosed,
    WorkingOrder,
)
from hydra_pipelines.execution.broker.order_state import (
    Kind,
    OrderEvent,
    State,
    fold,
    heard_of,
    translate,
)

AT = datetime(2019, 1, 3, 15, tzinfo=UTC)
REF = "20190102.DU1.AAPL.BUY.0.1"


def event(kind: Kind, **details: object) -> OrderEvent:
    return OrderEvent(REF, kind, AT, details)


def fill(key: str, shares: int, correction: int = 1) -> OrderEvent:
    return event(Kind.FILL, exec_key=key, correction=correction, quantity=shares, price="1")


SENT = [event(Kind.PENDING), event(Kind.SENDING)]
ACK = event(Kind.SUBMITTED, perm_id=1)
CANCELLED = event(Kind.CANCELLED, text="cancelled")
REJECTED = event(Kind.REJECTED, text="rejected")

fills = st.builds(fill, st.sampled_from("abcde"), st.integers(1, 50), st.integers(1, 3))
others = st.sampled_from(
    [ACK, CANCELLED, REJECTED, event(Kind.NOTICE, text="399"), event(Kind.CANCEL_REQUESTED)]
)


@given(st.lists(st.one_of(fills, others), max_size=12), st.integers(1, 120), st.randoms())
def test_quantity_is_what_the_executions_say_however_they_come(events, quantity, random):
    latest: dict[str, tuple[int, int]] = {}
    for e in events:
        if e.kind is Kind.FILL:
            key, correction = e.details["exec_key"], e.details["correction"]
            if key not in latest or correction > latest[key][0]:
                latest[key] = (correction, e.details["quantity"])
    # One shape per execution id: what is repeated is repeated as it was.
    events = [
        e
        for e in events
        if e.kind is not Kind.FILL
        or e.details["correction"] < latest[e.details["exec_key"]][0]
        or e.details["quantity"] == latest[e.details["exec_key"]][1]
    ]
    shuffled = events + [e for e in events if e.kind is Kind.FILL]
    random.shuffle(shuffled)
    view = fold(quantity, [*SENT, *shuffled])
    want = sum(shares for _, shares in latest.values())
    assert view.filled == want
    assert (view.state is State.FILLED) == (bool(latest) and want >= quantity)
    assert view.overfilled == (want > quantity)


@given(st.lists(st.one_of(fills, others), max_size=10), st.sampled_from([CANCELLED, REJECTED]))
def test_what_the_broker_ended_is_never_opened_again(events, end):
    view = fold(10_000, [*SENT, ACK, end, *events])
    assert view.final
    assert view.state.value == end.kind.value
    assert fold(10_000, [*SENT, ACK, end, *events, ACK, ACK]).state is view.state


@given(st.lists(st.one_of(fills, others), max_size=8))
def test_our_own_first_events_never_lead_back(events):
    assert fold(100, [*SENT, *events, *SENT]).state is fold(100, [*SENT, *events]).state


@pytest.mark.parametrize(
    ("events", "state", "filled"),
    [
        ([], State.PENDING, 0),
        (SENT, State.SENDING, 0),
        ([*SENT, ACK], State.SUBMITTED, 0),
        ([*SENT, fill("a", 40)], State.SUBMITTED, 40),
        ([*SENT, fill("a", 100)], State.FILLED, 100),
        ([*SENT, ACK, fill("a", 40), CANCELLED], State.CANCELLED, 40),
        ([*SENT, ACK, CANCELLED, fill("a", 40)], State.CANCELLED, 40),
        ([*SENT, ACK, CANCELLED, fill("a", 100)], State.FILLED, 100),
        ([*SENT, ACK, REJECTED, fill("a", 100)], State.FILLED, 100),
        ([*SENT, ACK, fill("a", 40), REJECTED], State.REJECTED, 40),
        ([*SENT, ACK, fill("a", 60), fill("b", 60)], State.FILLED, 120),
        ([*SENT, ACK, fill("a", 100), fill("a", 90, correction=2)], State.SUBMITTED, 90),
        ([*SENT, event(Kind.UNKNOWN)], State.UNKNOWN, 0),
        ([*SENT, event(Kind.UNKNOWN), ACK], State.SUBMITTED, 0),
        ([*SENT, event(Kind.UNKNOWN), fill("a", 1)], State.SUBMITTED, 1),
        ([*SENT, event(Kind.UNKNOWN), event(Kind.NEVER_ARRIVED)], State.NEVER_ARRIVED, 0),
        ([*SENT, event(Kind.NEVER_ARRIVED), ACK], State.SUBMITTED, 0),
        ([*SENT, event(Kind.NEVER_ARRIVED), fill("a", 1)], State.SUBMITTED, 1),
        ([*SENT, ACK, event(Kind.NEVER_ARRIVED)], State.SUBMITTED, 0),
        ([*SENT, ACK, CANCELLED, event(Kind.NEVER_SENT)], State.CANCELLED, 0),
        ([*SENT, ACK, CANCELLED, event(Kind.UNKNOWN)], State.UNKNOWN, 0),
        ([*SENT, ACK, CANCELLED, REJECTED], State.CANCELLED, 0),
    ],
)
def test_states(events, state, filled):
    view = fold(100, events)
    assert (view.state, view.filled) == (state, filled)


def test_the_last_words_are_kept_for_people():
    view = fold(1, [*SENT, event(Kind.NOTICE, text="399: held"), event(Kind.CANCEL_REQUESTED)])
    assert view.reason == "399: held"
    assert view.cancel_requested


def test_heard_of_is_any_word_of_the_broker():
    assert not heard_of([*SENT, event(Kind.UNKNOWN), event(Kind.NOTICE)])
    for word in (ACK, fill("a", 1), CANCELLED, REJECTED):
        assert heard_of([*SENT, word])


def order(status: str) -> WorkingOrder:
    return WorkingOrder(REF, 5, 77, "DU1", "AAPL", "BUY", 100, None, Decimal("10"), status, 17)


EXECUTION = Execution(
    "00a1.0001.01.02", REF, 5, 77, "DU1", "AAPL", "BUY", 30, Decimal("9.99"), AT, 17
)


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (OrderOpened(order("PreSubmitted")), Kind.SUBMITTED),
        (OrderOpened(order("Submitted")), Kind.SUBMITTED),
        (OrderOpened(order("Filled")), Kind.SUBMITTED),
        (OrderOpened(order("Cancelled")), Kind.CANCELLED),
        (OrderOpened(order("ApiCancelled")), Kind.CANCELLED),
        (OrderOpened(order("Inactive")), Kind.NOTICE),
        (OrderOpened(order("PendingCancel")), Kind.NOTICE),
        (OrderStatus(5, 77, 17, "PendingSubmit"), Kind.NOTICE),
        (OrderStatus(5, 77, 17, "PreSubmitted"), Kind.SUBMITTED),
        (OrderStatus(5, 77, 17, "Filled"), Kind.SUBMITTED),
        (OrderStatus(5, 77, 17, "Cancelled"), Kind.CANCELLED),
        (OrderError(5, 202, "Order Canceled"), Kind.CANCELLED),
        *[(OrderError(5, code, "no"), Kind.REJECTED) for code in (103, 110, 200, 201, 203)],
        # The library takes these for the end of an order that then fills.
        *[(OrderError(5, code, "hm"), Kind.NOTICE) for code in (10349, 105, 321, 329, 399, 404)],
        *[(OrderError(5, code, "hm"), Kind.NOTICE) for code in (161, 10147, 10148, 2109)],
        (Executed(EXECUTION), Kind.FILL),
    ],
)
def test_each_message_is_one_event_of_its_order(raw, kind):
    said = translate(raw, REF, AT)
    assert said is not None
    assert (said.kind, said.order_ref, said.occurred_at) == (kind, REF, AT)


def test_messages_that_say_nothing_of_an_order():
    assert translate(CommissionReported("x", Decimal(1)), REF, AT) is None
    assert translate(SocketClosed(), REF, AT) is None


def test_an_execution_carries_its_key_and_correction():
    said = translate(Executed(EXECUTION), REF, AT)
    assert said is not None
    assert said.details == {
        "exec_key": "00a1.0001.01",
        "correction": 2,
        "quantity": 30,
        "price": "9.99",
        "perm_id": 77,
    }


def test_status_10349_and_then_a_fill_is_a_fill():
    raws = [
        OrderError(5, 10349, "Order TIF was set to DAY based on order preset."),
        OrderStatus(5, 77, 17, "PreSubmitted"),
        Executed(EXECUTION),
    ]
    events = [e for raw in raws if (e := translate(raw, REF, AT)) is not None]
    view = fold(30, [*SENT, *events])
    assert (view.state, view.filled) == (State.FILLED, 30)


def test_an_end_that_tells_of_more_shares_than_its_executions_is_a_doubt() -> None:
    """Executions that the broker has forgotten: cancelled with ten shares filled, none told."""
    status = translate(OrderStatus(5, 77, 17, "Cancelled", filled=10), REF, AT)
    assert status is not None
    sent = [OrderEvent(REF, Kind.SENDING, AT), OrderEvent(REF, Kind.SUBMITTED, AT), status]
    doubtful = fold(100, sent)
    assert doubtful.state is State.UNKNOWN and not doubtful.final
    assert "10 shares filled, of which executions tell 0" in doubtful.reason
    fill = {"exec_key": "a", "correction": 1, "quantity": 10, "price": "50", "perm_id": 77}
    assert fold(100, [*sent, OrderEvent(REF, Kind.FILL, AT, fill)]).state is State.CANCELLED
    said_by_a_person = OrderEvent(REF, Kind.CANCELLED, AT, {"filled": 0})
    assert fold(100, [*sent, said_by_a_person]).state is State.CANCELLED
