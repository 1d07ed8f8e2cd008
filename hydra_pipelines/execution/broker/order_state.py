"""The state of one order: a fold over its events, and nothing else.

                 ┌─────────────► never_sent        (a crash before the socket write)
    pending ─► sending ─► submitted ─► filled
                 │            ├──────► cancelled   (perhaps with a part filled)
                 │            └──────► rejected
                 └─► unknown ─┴──────► never_arrived (proven by the position; may be tried again)

Executions are the truth for quantity: an order is filled when they add up to it, whatever the
broker's status messages say, and a fill that comes after a cancellation still counts.
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


class Kind(StrEnum):
    """What happened to an order; the states of the same name, and facts that change no state."""

    PENDING = "pending"
    SENDING = "sending"
    SUBMITTED = "submitted"
    FILL = "fill"
    CANCEL_REQUESTED = "cancel_requested"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    NEVER_SENT = "never_sent"
    NEVER_ARRIVED = "never_arrived"
    NOTICE = "notice"
    FINISHED = "finished"
    """The desk has closed the book on the order; a late fill is still journalled."""


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
    reason = ""
    for event in events:
        kind, details = event.kind, event.details
        if kind is Kind.FILL:
            # A correction has the same key and replaces what it corrects.
            have = fills.get(details["exec_key"])
            if have is None or details["correction"] >= have[0]:
                fills[details["exec_key"]] = (details["correction"], details["quantity"])
            if state in (State.SENDING, State.UNKNOWN, State.PENDING):
                state = State.SUBMITTED
        elif kind is Kind.CANCEL_REQUESTED:
            cancel_requested = True
        elif kind is Kind.FINISHED:
            continue
        elif kind is Kind.NOTICE:
            reason = str(details.get("text", reason))
        elif kind is Kind.SUBMITTED:
            # An acknowledgement that arrives late doesn't open a finished order again.
            if state not in FINAL:
                state = State.SUBMITTED
        else:
            state = State(kind.value)
            reason = str(details.get("text", reason))
    filled = sum(shares for _, shares in fills.values())
    if filled >= quantity and fills:
        state = State.FILLED
    return OrderView(state, filled, filled > quantity, cancel_requested, reason)


# The order is refused for certain. Other codes may come with an order that goes on to fill.
_REJECTS = frozenset({103, 110, 200, 201, 203})
_CANCELLED = frozenset({"Cancelled", "ApiCancelled"})
_ACKNOWLEDGED = frozenset({"PreSubmitted", "Submitted", "Filled"})


def translate(raw: RawEvent, order_ref: str, at: datetime) -> OrderEvent | None:
    """The order event that a broker message stands for, or None where it says nothing new."""
    match raw:
        case OrderOpened(order):
            if order.status in _CANCELLED:
                return OrderEvent(order_ref, Kind.CANCELLED, at, {"perm_id": order.perm_id})
            return OrderEvent(order_ref, Kind.SUBMITTED, at, {"perm_id": order.perm_id})
        case OrderStatus(_, perm_id, status, _, _) if status in _CANCELLED:
            return OrderEvent(order_ref, Kind.CANCELLED, at, {"perm_id": perm_id})
        case OrderStatus(_, perm_id, status, _, _) if status in _ACKNOWLEDGED:
            return OrderEvent(order_ref, Kind.SUBMITTED, at, {"perm_id": perm_id})
        case OrderStatus(_, _, status, _, _):
            return OrderEvent(order_ref, Kind.NOTICE, at, {"text": f"broker status {status}"})
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
                },
            )
        case OrderError(_, code, text):
            kind = Kind.REJECTED if code in _REJECTS else Kind.NOTICE
            return OrderEvent(order_ref, kind, at, {"code": code, "text": f"{code}: {text}"})
    return None
