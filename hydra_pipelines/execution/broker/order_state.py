"""The state of one order: a fold over its events, and nothing else.

                 ┌─────────────► never_sent        (a crash before the socket write)
    pending ─► sending ─► submitted ─► filled
                 │            ├──────► cancelled   (perhaps with a part filled)
                 │            └──────► rejected
                 └─► unknown ─┴──────► never_arrived (proven by the position; may be tried again)

Executions are the truth for quantity: an order is filled when they add up to it, whatever the
broker's status messages say, and a fill that comes after a cancellation still counts. An order
that the broker ended stays ended, whatever acknowledgement comes late; but while it says that more
was filled than its executions tell of, the order is unknown. That one never got there
is our own conclusion only, so a word of the broker about it takes it back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from hydra_pipelines.execution.broker.messages import (
    Executed,
    OrderError,
    OrderOpened,
    OrderStatus,
    RawEvent,
)


class State(StrEnum):
    PENDING = "pending"
    SENDING = "sending"
    SUBMITTED = "submitted"
    FILLED = "filled"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    NEVER_SENT = "never_sent"
    NEVER_ARRIVED = "never_arrived"


FINAL = frozenset(
    {State.FILLED, State.CANCELLED, State.REJECTED, State.NEVER_SENT, State.NEVER_ARRIVED}
)

_ENDED = frozenset({State.CANCELLED, State.REJECTED})
_UNHEARD_OF = frozenset({State.PENDING, State.SENDING, State.UNKNOWN})


class Kind(StrEnum):
    """What happened to an order; the states of the same name, and facts that change no state."""

    PENDING = "pending"
    SENDING = "sending"
    SUBMITTED = "submitted"
    FILL = "fill"
    REPRICING = "repricing"
    """A new limit price is being written; it may or may not have got there."""
    CANCEL_REQUESTED = "cancel_requested"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    NEVER_SENT = "never_sent"
    NEVER_ARRIVED = "never_arrived"
    NOTICE = "notice"
    FINISHED = "finished"
    """The desk has closed the book on the order; a late fill is still journalled."""
    REOPENED = "reopened"
    """The broker speaks of an order that the book was closed on as never arrived."""


@dataclass(frozen=True)
class OrderEvent:
    order_ref: str
    kind: Kind
    occurred_at: datetime
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class OrderView:
    """What is known of an order after its events."""

    state: State
    filled: int
    overfilled: bool
    cancel_requested: bool
    reason: str
    """The broker's last words on it, for people."""

    @property
    def final(self) -> bool:
        return self.state in FINAL


def fold(quantity: int, events: Iterable[OrderEvent]) -> OrderView:
    """The state after `events` (in order) of an order over `quantity` shares."""
    state = State.PENDING
    fills: dict[str, tuple[int, int]] = {}
    cancel_requested = False
    told = 0
    reason = ""
    for event in events:
        kind, details = event.kind, event.details
        if kind is Kind.FILL:
            # A correction has the same key and replaces what it corrects.
            have = fills.get(details["exec_key"])
            if have is None or details["correction"] >= have[0]:
                fills[details["exec_key"]] = (details["correction"], details["quantity"])
            if state not in _ENDED:
                state = State.SUBMITTED
        elif kind is Kind.SUBMITTED:
            if state not in _ENDED:
                state = State.SUBMITTED
        elif kind in (Kind.CANCELLED, Kind.REJECTED):
            if state not in _ENDED:
                state = State(kind.value)
            told = details.get("filled", told)
            reason = str(details.get("text", reason))
        elif kind is Kind.SENDING:
            if state is State.PENDING:
                state = State.SENDING
        elif kind in (Kind.NEVER_SENT, Kind.NEVER_ARRIVED):
            if state in _UNHEARD_OF:
                state = State(kind.value)
            reason = str(details.get("text", reason))
        elif kind is Kind.UNKNOWN:
            state = State.UNKNOWN
            reason = str(details.get("text", reason))
        elif kind is Kind.CANCEL_REQUESTED:
            cancel_requested = True
        elif kind is Kind.NOTICE:
            reason = str(details.get("text", reason))
    filled = sum(shares for _, shares in fills.values())
    if filled >= quantity and fills:
        state = State.FILLED
    elif state in _ENDED and filled < told:
        state = State.UNKNOWN
        reason = f"ended with {told} shares filled, of which executions tell {filled}"
    return OrderView(state, filled, filled > quantity, cancel_requested, reason)


def heard_of(events: Iterable[OrderEvent]) -> bool:
    """Whether the broker has ever acknowledged the order: then it did arrive."""
    return any(e.kind in (Kind.SUBMITTED, Kind.FILL, Kind.CANCELLED, Kind.REJECTED) for e in events)


def doubt_is_written(events: Iterable[OrderEvent]) -> bool:
    """Whether the last word on the order's state is that it is unknown."""
    words = [e.kind for e in events if e.kind in _WORDS]
    return bool(words) and words[-1] is Kind.UNKNOWN


_WORDS = frozenset({Kind(state.value) for state in State if state is not State.FILLED})

# The order is refused for certain. Other codes (10349, 399, 404 ...) may come with an order that
# goes on to fill.
_REJECTS = frozenset({103, 110, 200, 201, 203})
_ORDER_CANCELLED = 202
_CANCELLED = frozenset({"Cancelled", "ApiCancelled"})
_ACKNOWLEDGED = frozenset({"PreSubmitted", "Submitted", "Filled"})


def translate(raw: RawEvent, order_ref: str, at: datetime) -> OrderEvent | None:
    """The order event that a broker message stands for, or None where it says nothing of one."""
    match raw:
        case OrderOpened(order):
            return _by_status(order_ref, at, order.status, order.perm_id)
        case OrderStatus(perm_id=perm_id, status=status, filled=filled):
            return _by_status(order_ref, at, status, perm_id, filled)
        case Executed(execution):
            return OrderEvent(
                order_ref,
                Kind.FILL,
                at,
                {
                    "exec_key": execution.key,
                    "correction": execution.correction,
                    "quantity": execution.quantity,
                    "price": str(execution.price),
                    "perm_id": execution.perm_id,
                },
            )
        case OrderError(_, code, text):
            kind = Kind.REJECTED if code in _REJECTS else Kind.NOTICE
            if code == _ORDER_CANCELLED:
                kind = Kind.CANCELLED
            return OrderEvent(order_ref, kind, at, {"code": code, "text": f"{code}: {text}"})
    return None


def _by_status(
    order_ref: str, at: datetime, status: str, perm_id: int, filled: int | None = None
) -> OrderEvent:
    if status in _CANCELLED:
        told = {} if filled is None else {"filled": filled}
        return OrderEvent(order_ref, Kind.CANCELLED, at, {"perm_id": perm_id, **told})
    if status in _ACKNOWLEDGED:
        return OrderEvent(order_ref, Kind.SUBMITTED, at, {"perm_id": perm_id})
    # PendingSubmit, PendingCancel, Inactive: said on the way, and nothing is decided yet.
    text = {"perm_id": perm_id, "text": f"broker status {status}"}
    return OrderEvent(order_ref, Kind.NOTICE, at, text)
