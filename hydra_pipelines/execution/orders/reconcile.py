"""What the broker holds against what we wrote: which events bring each order up to date.

Pure. An order is found by its order_ref, else by its permanent id, among open orders, completed
orders and executions. One that can't be found is not taken as rejected: only the position can
prove that it never arrived, and only on a second look, after a grace period.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Any

from hydra_pipelines.execution.broker.messages import (
    BrokerState,
    Executed,
    Execution,
    WorkingOrder,
)
from hydra_pipelines.execution.broker.order_state import (
    Kind,
    OrderEvent,
    State,
    doubt_is_written,
    fold,
    heard_of,
    translate,
)


def reconcile(
    orders: Iterable[tuple[Mapping[str, Any], Sequence[OrderEvent]]],
    broker: BrokerState,
    journal_positions: Mapping[str, int],
    at: datetime,
    *,
    second_look: bool,
) -> list[OrderEvent]:
    """Events that the orders (intent, events so far) have missed; none for what is known.

    journal_positions: shares by symbol according to the fill journal, with the executions of
    `broker` already in it. second_look: the broker was asked before, a grace period ago, and the
    orders hold what came of it. An order that it doesn't show is UNKNOWN after the first look.
    After the second it is NEVER_ARRIVED where the broker never spoke of it, CANCELLED where it
    did, if the broker's position equals the journal's; else it stays UNKNOWN.
    """
    held = broker.held
    out: list[OrderEvent] = []
    for intent, past in orders:
        perm_ids = _perm_ids(intent["order_ref"], past, broker)
        news = _fills(intent["order_ref"], past, broker.executions, perm_ids, at)
        out += news
        agrees = held.get(intent["symbol"], 0) == journal_positions.get(intent["symbol"], 0)
        out += _standing(intent, [*past, *news], broker, perm_ids, agrees, second_look, at)
    return out


def _fills(
    ref: str,
    past: Sequence[OrderEvent],
    executions: Iterable[Execution],
    perm_ids: AbstractSet[int],
    at: datetime,
) -> list[OrderEvent]:
    """Executions of the order that are not among its events."""
    known = {e.details["exec_key"]: e.details["correction"] for e in past if e.kind is Kind.FILL}
    out = []
    for execution in sorted(executions, key=lambda e: e.correction):
        ours = execution.order_ref == ref if execution.order_ref else execution.perm_id in perm_ids
        if ours and execution.correction > known.get(execution.key, -1):
            known[execution.key] = execution.correction
            event = translate(Executed(execution), ref, at)
            out += [event] if event else []
    return out


def _standing(
    intent: Mapping[str, Any],
    events: Sequence[OrderEvent],
    broker: BrokerState,
    perm_ids: AbstractSet[int],
    position_agrees: bool,
    second_look: bool,
    at: datetime,
) -> list[OrderEvent]:
    """What the broker's reply says of one order beyond its fills."""
    ref = intent["order_ref"]

    def event(kind: Kind, text: str, **details: Any) -> OrderEvent:
        return OrderEvent(ref, kind, at, {**details, "text": text})

    view = fold(intent["quantity"], events)
    opened = _find(ref, perm_ids, broker.open_orders)
    if view.state is State.FILLED:
        return []
    if opened is not None:
        if view.state is State.SUBMITTED:
            return []
        news = [event(Kind.SUBMITTED, "open at the broker", perm_id=opened.perm_id)]
        if view.state in (State.CANCELLED, State.REJECTED):
            # Only doubt takes back what the broker said itself.
            news.insert(0, event(Kind.UNKNOWN, f"open at the broker, {view.state} in our book"))
        return news
    if view.final:
        return []
    if view.state is State.PENDING:
        return [event(Kind.NEVER_SENT, "the run ended before it")]
    completed = _find(ref, perm_ids, broker.completed_orders)
    if completed is not None and completed.status != "Filled":
        # Shares that it filled before and that no execution tells of would be lost from sight.
        told = position_agrees if completed.filled is None else completed.filled == view.filled
        if told:
            text = f"broker: {completed.status}"
            return [event(Kind.CANCELLED, text, perm_id=completed.perm_id)]
    if second_look and position_agrees and completed is None:
        if heard_of(events):
            # A DAY order of an earlier day, for example.
            return [event(Kind.CANCELLED, "gone at the broker, position agrees")]
        return [event(Kind.NEVER_ARRIVED, "not known to the broker, position agrees")]
    if view.state is State.UNKNOWN:
        # Also where it follows from what the broker said: others read the last word only.
        return [] if doubt_is_written(events) else [event(Kind.UNKNOWN, view.reason)]
    agreement = "agrees with" if position_agrees else "differs from"
    text = f"the broker does not show it; position {agreement} the journal's"
    return [event(Kind.UNKNOWN, text)]


def _find(
    ref: str, perm_ids: AbstractSet[int], rows: Iterable[WorkingOrder]
) -> WorkingOrder | None:
    for row in rows:
        if row.order_ref == ref if row.order_ref else row.perm_id in perm_ids:
            return row
    return None


def _perm_ids(ref: str, events: Iterable[OrderEvent], broker: BrokerState) -> set[int]:
    """The broker's own ids of the order, as far as we were ever told; 0 is none."""
    rows: tuple[WorkingOrder | Execution, ...] = (
        *broker.open_orders,
        *broker.completed_orders,
        *broker.executions,
    )
    told = {e.details.get("perm_id", 0) for e in events}
    return (told | {row.perm_id for row in rows if row.order_ref == ref}) - {0}


def positions_of(fills: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Shares by symbol from rows of the fill journal; closed positions are left out."""
    out: dict[str, int] = {}
    for fill in fills:
        signed = fill["quantity"] if fill["side"] == "BUY" else -fill["quantity"]
        out[fill["symbol"]] = out.get(fill["symbol"], 0) + signed
    return {symbol: quantity for symbol, quantity in out.items() if quantity}
