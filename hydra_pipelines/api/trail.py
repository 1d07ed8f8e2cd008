"""The audit trail and the orders behind it: what happened, in words and in full."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from hydra_pipelines.api.rows import Row
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger.audit import AuditEvent


@dataclass(frozen=True)
class AuditFilter:
    """Which events: all that are given have to hold. text: anywhere in the details, any case."""

    event: str | None = None
    actor: str | None = None
    strategy: str | None = None
    first: date | None = None
    last: date | None = None
    text: str | None = None
    before: int | None = None
    """Only events with a smaller number, for the next page."""


def audit_events(desk: Desk, wanted: AuditFilter = AuditFilter(), limit: int = 50) -> list[Row]:
    """Events of the audit trail, the latest first; details decoded, and `text`, a sentence.

    Columns: seq, occurred_at, event, actor, strategy_id, run_id, details, text.
    """
    tests = {
        "event = ?": wanted.event,
        "contains(lower(actor), lower(?))": wanted.actor,
        "strategy_id = ?": wanted.strategy,
        "occurred_at::DATE >= ?": wanted.first,
        "occurred_at::DATE <= ?": wanted.last,
        "contains(lower(details::VARCHAR), lower(?))": wanted.text,
        "seq < ?": wanted.before,
    }
    given = {test: value for test, value in tests.items() if value is not None}
    query = (
        "SELECT seq, occurred_at, event, actor, strategy_id, run_id, details FROM audit_events "
        "WHERE {} ORDER BY seq DESC LIMIT ?"
    )
    with desk.ledger.snapshot() as rows:
        found: list[Row] = []
        if not given.keys() - {"seq < ?"}:
            # The latest of all are among the last numbers, unless many of these were left out.
            bound = "seq >= coalesce(?, (SELECT max(seq) + 1 FROM audit_events)) - 2 * ?"
            near = " AND ".join([*given, bound])
            found = rows.query(query.format(near), [*given.values(), wanted.before, limit, limit])
        if len(found) < limit:
            every = " AND ".join(given) or "TRUE"
            found = rows.query(query.format(every), [*given.values(), limit])
    for row in found:
        row["details"] = json.loads(row["details"])
        row["text"] = sentence(row["event"], row["details"], row["strategy_id"])
    return found


def recent_activity(desk: Desk, limit: int = 12) -> list[Row]:
    """What happened last, as `audit_events` gives it, with runs of one kind told once.

    Fills and orders of one run, and session where they name it, are dozens of events: `count` says
    how many were told in one, and the row is the latest of them.
    """
    out: list[Row] = []
    told: dict[tuple[Any, ...], Row] = {}
    for row in audit_events(desk, limit=limit * 25):
        key = (row["event"], row["run_id"], row["actor"], row["details"].get("session"))
        if row["event"] in _MANY and key in told:
            first = told[key]
            first["count"] += 1
            first["text"] = f"{first['count']} {_MANY[row['event']]}"
        elif len(out) < limit:
            told[key] = {**row, "count": 1}
            out.append(told[key])
    return out


_MANY = {
    AuditEvent.FILL_RECORDED.value: "fills recorded",
    AuditEvent.ORDER_SUBMITTED.value: "orders sent",
    AuditEvent.ORDER_STATE_CHANGED.value: "orders changed their state",
    AuditEvent.PREDICTION_GENERATED.value: "strategies predicted",
}


def carried_journal(desk: Desk) -> list[Row]:
    """Entries of the control store's journal that are not in the published trail yet.

    The latest first, in the columns of `audit_events`; seq is None. Raises ControlError.
    """
    from hydra_pipelines.ledger.store import LedgerError

    control = desk.control
    last = 0
    try:
        with desk.ledger.snapshot() as rows:
            last = rows.value(
                "SELECT coalesce(max(control_seq), 0) FROM audit_events WHERE control_store = ?",
                [control.store_id],
            )
    except LedgerError:
        last = max(0, _last_seq(desk) - 50)
    return [
        {
            "seq": None,
            "occurred_at": entry.occurred_at,
            "event": entry.event,
            "actor": entry.actor,
            "strategy_id": None,
            "run_id": None,
            "details": dict(entry.details),
            "text": sentence(entry.event, {"action": entry.event, **entry.details}, None),
        }
        for entry in reversed(control.journal(since=last))
    ]


def _last_seq(desk: Desk) -> int:
    entries = desk.control.journal()
    return entries[-1].seq if entries else 0


def sentence(event: str, details: Mapping[str, Any], strategy: str | None) -> str:
    """An event in a few words."""
    get = details.get
    who = f"{strategy}: " if strategy else ""
    if event == AuditEvent.FILL_RECORDED:
        return f"{get('side')} {get('quantity')} {get('symbol')} filled at {get('price')}"
    if event == AuditEvent.ORDER_STATE_CHANGED:
        return f"order {get('order_ref')} is {get('state')}"
    if event == AuditEvent.ORDER_SUBMITTED:
        return f"order {get('order_ref')} sent"
    if event == AuditEvent.PLAN_MADE:
        return f"plan of {get('session')}: {get('orders')} orders"
    if event == AuditEvent.PREDICTION_GENERATED:
        return f"{who}{get('rows')} predictions of {get('session')} by version {_version(get)}"
    if event == AuditEvent.POSITION_SYNCED:
        breaks = get("breaks") or []
        found = f", {len(breaks)} differences to the journal" if breaks else ", no differences"
        return f"positions of {get('as_of')}: {get('positions')} held{found}"
    if event in (AuditEvent.MODEL_PROMOTED, AuditEvent.MODEL_ROLLED_BACK):
        was = f" after {get('from')}" if get("from") is not None else ""
        return f"{who}version {get('to')} trades{was}: {get('reason')}"
    if event == AuditEvent.MODEL_STOPPED:
        return f"{who}no version trades any more: {get('reason')}"
    if event in (AuditEvent.BREAKER_TRIPPED, AuditEvent.BREAKER_RESET):
        done = "tripped" if event == AuditEvent.BREAKER_TRIPPED else "reset"
        return f"breaker {get('breaker')} {done}: {get('why')}"
    if event == AuditEvent.AGENT_PAUSED:
        return f"agent paused: {get('why')}"
    words = str(get("action", event)).replace("_", " ")
    about = get("why") or get("reason") or get("outcome") or get("session")
    return f"{who}{words}" + (f": {about}" if about else "")


def _version(get: Any) -> Any:
    return get("model_version", "?")


def order(desk: Desk, order_ref: str) -> Row | None:
    """One order whole: its intent, events, risk decisions, fills, plan and plan row; or None."""
    with desk.ledger.snapshot() as rows:
        intent = rows.one("SELECT * FROM order_intents WHERE order_ref = ?", [order_ref])
        if intent is None:
            return None
        events = rows.query(
            "SELECT event, details, occurred_at FROM order_events WHERE order_ref = ? ORDER BY seq",
            [order_ref],
        )
        for event in events:
            event["details"] = json.loads(event["details"])
        return {
            "intent": intent,
            "state": _state(intent["quantity"], order_ref, events),
            "events": events,
            "risk": rows.query(
                "SELECT approved, reasons, occurred_at FROM risk_decisions WHERE order_ref = ? "
                "ORDER BY occurred_at",
                [order_ref],
            ),
            "fills": rows.query(
                "SELECT * FROM executed_trades WHERE order_ref = ? ORDER BY executed_at, exec_key",
                [order_ref],
            ),
            "plan": rows.one("SELECT * FROM plans WHERE plan_id = ?", [intent["plan_id"]]),
            "plan_row": rows.one(
                "SELECT * FROM plan_rows WHERE plan_id = ? AND symbol = ?",
                [intent["plan_id"], intent["symbol"]],
            ),
        }


def _state(quantity: int, order_ref: str, events: list[Row]) -> Row:
    from hydra_pipelines.execution.broker.order_state import Kind, OrderEvent, fold

    view = fold(
        quantity,
        [OrderEvent(order_ref, Kind(e["event"]), e["occurred_at"], e["details"]) for e in events],
    )
    return {"state": view.state.value, "filled": view.filled, "reason": view.reason}
