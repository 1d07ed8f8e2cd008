"""What came of a plan: the report that the order manager hands back, and how it is made. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from hydra_pipelines.execution.broker.order_state import State
from hydra_pipelines.execution.orders.book import BookedOrder


@dataclass(frozen=True)
class OrderOutcome:
    order_ref: str
    symbol: str
    side: str
    quantity: int
    filled: int
    state: str
    reason: str


@dataclass(frozen=True)
class ExecutionReport:
    """What came of a plan. `sent` counts the orders that this run wrote to the socket."""

    plan_id: str
    session: date
    execution_session: date
    orders: tuple[OrderOutcome, ...]
    notes: tuple[str, ...]
    sent: int

    @property
    def unknown(self) -> tuple[OrderOutcome, ...]:
        return tuple(o for o in self.orders if o.state == State.UNKNOWN.value)


def make_report(
    plan: Mapping[str, Any], orders: Iterable[BookedOrder], notes: Sequence[str], sent: int
) -> ExecutionReport:
    """The report of a plan from the orders of a book; those of other plans are left out."""
    outcomes = [
        OrderOutcome(
            order.ref,
            order.intent["symbol"],
            order.intent["side"],
            order.intent["quantity"],
            order.view.filled,
            order.view.state.value,
            order.view.reason,
        )
        for order in orders
        if order.intent["plan_id"] == plan["plan_id"]
    ]
    return ExecutionReport(
        plan_id=plan["plan_id"],
        session=plan["session"],
        execution_session=plan["execution_session"],
        orders=tuple(outcomes),
        notes=tuple(notes),
        sent=sent,
    )
