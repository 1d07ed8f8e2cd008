"""What the broker holds against what we wrote: which events bring each open order up to date.

Pure. An order is found by its order_ref among open orders, completed orders and executions. One
that can't be found is not taken as rejected: only the position can prove that it never arrived,
and only on a second look, after a grace period.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hydra_pipelines.execution.broker.messages import (
    Executed,
    Execution,
    OrderOpened,
    WorkingOrder,
)
from hydra_pipelines.execution.broker.order_state import Kind, OrderEvent, State, fold, translate


@dataclass(frozen=True)
class BrokerView:
    """Complete replies of the broker, taken together."""

    open_orders: Sequence[WorkingOrder]
    completed_orders: Sequence[WorkingOrder]
    executions: Sequence[Execution]
    positions: Mapping[str, int]


def reconcile(
    orders: Iterable[tuple[Mapping[str, Any], Sequence[OrderEvent]]],
    broker: BrokerView,
    journal_positions: Mapping[str, int],
    at: datetime,
) -> list[OrderEvent]:
    """Events that the orders (intent, events so far) have missed.

    journal_positions: shares by symbol according to the fill journal, with the executions of
    `broker` already in it. An order that is in doubt gets UNKNOWN at the first look; where it is
    UNKNOWN already and the broker's position equals the journal's, NEVER_ARRIVED.
    """
    opened = {row.order_ref: row for row in broker.open_orders if row.order_ref}
    completed = {row.order_ref: row for row in broker.completed_orders if row.order_ref}
    out: list[OrderEvent] = []
    for intent, past in orders:
        ref, symbol = intent["order_ref"], intent["symbol"]
        fills = [
            event
            for execution in broker.executions
            if execution.order_ref == ref
            and (event := translate(Executed(execution), ref, at)) is not None
        ]
        out += fills
        view = fold(intent["quantity"], [*past, *fills])
        if view.final:
            continue
        if ref in opened:
            event = translate(OrderOpened(opened[ref]), ref, at)
            out += [event] if event else []
            continue
        position_agrees = broker.positions.get(symbol, 0) == journal_positions.get(symbol, 0)
        if view.state is State.PENDING:
            out.append(OrderEvent(ref, Kind.NEVER_SENT, at, {"text": "the run ended before it"}))
        elif ref in completed and completed[ref].status != "Filled":
            out.append(
                OrderEvent(ref, Kind.CANCELLED, at, {"text": f"broker: {completed[ref].status}"})
            )
        elif view.state is State.SUBMITTED and position_agrees and ref not in completed:
            # Acknowledged once, now gone without a trace: a DAY order of an earlier day.
            out.append(
                OrderEvent(ref, Kind.CANCELLED, at, {"text": "gone at the broker, position agrees"})
            )
        elif view.state is State.UNKNOWN and position_agrees and ref not in completed:
            out.append(
                OrderEvent(
                    ref,
                    Kind.NEVER_ARRIVED,
                    at,
                    {"text": "not known to the broker, position agrees"},
                )
            )
        elif view.state is not State.UNKNOWN:
            out.append(
                OrderEvent(
                    ref,
                    Kind.UNKNOWN,
                    at,
                    {
                        "text": "the broker does not show it; "
                        f"position {broker.positions.get(symbol, 0)} at the broker, "
                        f"{journal_positions.get(symbol, 0)} in the journal"
                    },
                )
            )
    return out


def positions_of(fills: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Shares by symbol from rows of the fill journal; closed positions are left out."""
    out: dict[str, int] = {}
    for fill in fills:
        signed = fill["quantity"] if fill["side"] == "BUY" else -fill["quantity"]
        out[fill["symbol"]] = out.get(fill["symbol"], 0) + signed
    return {symbol: quantity for symbol, quantity in out.items() if quantity}
