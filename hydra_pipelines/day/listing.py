"""Orders for people: each with its state, what filled, and why it is as it is.

Rows of a plan that no order was made of are listed too, with the reasons that denied them. Reads
only; which orders may be sent is the order manager's business.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from hydra_pipelines.execution.broker.order_state import Kind, OrderEvent, State, fold
from hydra_pipelines.execution.risk.checks import DenialReason
from hydra_pipelines.ledger import decisions, orders
from hydra_pipelines.ledger.store import Rows

DENIED, PLANNED, NOT_SENT = "denied", "planned", "not_sent"
"""States of a row of a plan without an order: denied by the risk gate; not worked yet; worked, and
no order was made of it (the run's notes say why)."""
WORKING = "working"
"""Stands for all states of an order that may still fill."""
ALIASES = {WORKING: {State.PENDING.value, State.SENDING.value, State.SUBMITTED.value}}
STATES = (*(state.value for state in State), WORKING, DENIED, PLANNED, NOT_SENT)

Row = dict[str, Any]


def list_orders(rows: Rows, session: date | None, state: str | None, limit: int) -> list[Row]:
    """Orders and unordered plan rows, those of the latest session first, in the order of the plan.

    session: of the plan; None takes the latest, or with `state` all of them. state: one of
    `STATES`. Columns: session, execution_session, symbol, side, state, quantity, filled,
    limit_price (in force, USD), routing, routing_reason, reasons (names of denials), reason (in
    words), order_ref, slice, attempt, strategies.
    """
    wanted = ALIASES.get(state, {state}) if state is not None else set(STATES)
    found: list[Row] = []
    for one in _sessions(rows, session, state):
        found += [row for row in _of_session(rows, one) if row["state"] in wanted]
        if len(found) >= limit:
            break
    return found[:limit]


def _sessions(rows: Rows, session: date | None, state: str | None) -> list[date]:
    """Sessions to look into, the latest first; of those that can't have the state, few."""
    if session is not None:
        return [session]
    if state is None:
        latest = rows.value("SELECT max(session) FROM plans")
        return [latest] if latest else []
    if state in (DENIED, PLANNED, NOT_SENT):
        found = rows.query("SELECT DISTINCT session FROM plans ORDER BY session DESC")
    else:
        events = sorted(
            ALIASES.get(state, {state}) | ({"fill"} if state == State.FILLED else set())
        )
        found = rows.query(
            "SELECT DISTINCT session FROM order_intents WHERE order_ref IN (SELECT order_ref FROM "
            "order_events WHERE event IN (SELECT unnest(?))) ORDER BY session DESC",
            [events],
        )
    return [row["session"] for row in found]


def _of_session(rows: Rows, session: date) -> Iterator[Row]:
    plan = decisions.plan(rows, session)
    made = orders.orders(rows, session=session)
    by_row: dict[tuple[str, str], list[Row]] = {}
    for order in made:
        by_row.setdefault((order["symbol"], order["side"]), []).append(_order(order))
    if plan:
        denials = _denials(rows, plan["plan_id"])
        for row in plan["rows"]:
            ordered = by_row.pop((row["symbol"], row["side"]), None)
            if ordered:
                yield from ordered
            else:
                yield _unordered(plan, row, denials.get(row["sequence"], ()))
    for rest in by_row.values():
        yield from rest


def _order(order: Mapping[str, Any]) -> Row:
    events = [
        OrderEvent(order["order_ref"], Kind(e["event"]), e["occurred_at"], e["details"])
        for e in order["events"]
    ]
    view = fold(order["quantity"], events)
    limits = [e.details["limit_price"] for e in events if "limit_price" in e.details]
    return {
        "session": order["session"],
        "execution_session": order["execution_session"],
        "symbol": order["symbol"],
        "side": order["side"],
        "state": view.state.value,
        "quantity": order["quantity"],
        "filled": view.filled,
        "limit_price": Decimal(str(limits[-1])) if limits else order["limit_price"],
        "routing": order["routing"],
        "routing_reason": order.get("routing_reason"),
        "reasons": [],
        "reason": view.reason,
        "order_ref": order["order_ref"],
        "slice": order["slice"],
        "attempt": order["attempt"],
        "strategies": order["strategies"],
    }


def _unordered(plan: Mapping[str, Any], row: Mapping[str, Any], reasons: tuple[str, ...]) -> Row:
    worked = plan["status"] in ("done", "expired")
    return {
        "session": plan["session"],
        "execution_session": plan["execution_session"],
        "symbol": row["symbol"],
        "side": row["side"],
        "state": DENIED if reasons else NOT_SENT if worked else PLANNED,
        "quantity": row["quantity"],
        "filled": 0,
        "limit_price": None,
        "routing": row["routing"],
        "routing_reason": None,
        "reasons": list(reasons),
        "reason": "; ".join(map(_explained, reasons)),
        "order_ref": None,
        "slice": None,
        "attempt": None,
        "strategies": row["strategies"],
    }


def _denials(rows: Rows, plan_id: str) -> dict[int, tuple[str, ...]]:
    """Why the gate denied rows of a plan, by their sequence; what it said last counts."""
    found = rows.query(
        "SELECT plan_row, arg_max(reasons, occurred_at) AS reasons, "
        "arg_max(approved, occurred_at) AS approved FROM risk_decisions "
        "WHERE starts_with(plan_row, ?) GROUP BY plan_row",
        [f"{plan_id}-"],
    )
    return {
        int(row["plan_row"].removeprefix(f"{plan_id}-")): tuple(row["reasons"].split(","))
        for row in found
        if not row["approved"]
    }


def _explained(reason: str) -> str:
    try:
        return DenialReason(reason).explanation
    except ValueError:
        return reason
