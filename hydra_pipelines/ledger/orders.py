"""Order intents, their events, and the risk gate's decisions. Intents are written before a send."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from hydra_pipelines.ledger.store import Rows, Transaction


def insert_intents(tx: Transaction, intents: Sequence[Mapping[str, Any]]) -> None:
    """New intents; an order_ref that exists already fails the transaction."""
    tx.insert("order_intents", intents)


def append_events(
    tx: Transaction, events: Sequence[tuple[str, str, Mapping[str, Any], datetime]]
) -> None:
    """Append (order_ref, event, details, occurred_at) in the order given."""
    tx.insert(
        "order_events",
        [
            {
                "order_ref": ref,
                "event": event,
                "details": json.dumps(details, default=str),
                "occurred_at": occurred_at,
            }
            for ref, event, details, occurred_at in events
        ],
    )


def insert_risk_decisions(tx: Transaction, decisions: Sequence[Mapping[str, Any]]) -> None:
    """Append decisions, approved or not; their `inputs` are the gate's, with the `order` judged."""
    tx.insert(
        "risk_decisions",
        [
            {
                **decision,
                "plan_row": decision["inputs"]["order"]["plan_row"],
                "inputs": json.dumps(decision["inputs"], default=str),
            }
            for decision in decisions
        ],
    )


def orders(
    rows: Rows, *, session: date | None = None, unfinished: bool = False
) -> list[dict[str, Any]]:
    """Intents with their events under `events`, oldest first.

    session: those of one signal session; unfinished: those the book is not closed on.
    """
    where, parameters = "TRUE", []
    if session is not None:
        where, parameters = "session = ?", [session]
    if unfinished:
        where += (
            " AND order_ref NOT IN (SELECT order_ref FROM order_events "
            "WHERE event IN ('finished', 'reopened') "
            "GROUP BY order_ref HAVING arg_max(event, seq) = 'finished')"
        )
    intents = rows.query(
        f"SELECT * FROM order_intents WHERE {where} ORDER BY recorded_at, order_id", parameters
    )
    events: dict[str, list[dict[str, Any]]] = {i["order_ref"]: [] for i in intents}
    if events:
        for event in rows.query(
            "SELECT order_ref, event, details, occurred_at FROM order_events "
            "WHERE order_ref IN (SELECT unnest(?)) ORDER BY seq",
            [list(events)],
        ):
            event["details"] = json.loads(event["details"])
            events[event.pop("order_ref")].append(event)
    return [{**intent, "events": events[intent["order_ref"]]} for intent in intents]


def announced(rows: Rows, session: date) -> bool:
    """Whether an order of a signal session was announced as being sent and not taken back."""
    return rows.value(
        "SELECT count(*) > 0 FROM order_intents i WHERE session = ? AND EXISTS (FROM order_events "
        "e WHERE e.order_ref = i.order_ref AND e.event = 'sending') AND NOT EXISTS (FROM "
        "order_events e WHERE e.order_ref = i.order_ref AND e.event = 'never_sent')",
        [session],
    )


def session_of(rows: Rows, order_ref: str) -> date | None:
    """The signal session of an order; None where there is no such order."""
    return rows.value("SELECT session FROM order_intents WHERE order_ref = ?", [order_ref])


def unknown(rows: Rows) -> list[str]:
    """Refs of unfinished orders whose latest event of weight is `unknown`, oldest first."""
    found = rows.query(
        "SELECT order_ref FROM order_events WHERE event NOT IN ('notice', 'cancel_requested', "
        "'finished', 'reopened') GROUP BY order_ref HAVING arg_max(event, seq) = 'unknown' "
        "ORDER BY min(seq)"
    )
    return [row["order_ref"] for row in found]


def highest_order_id(rows: Rows) -> int:
    """The highest order id ever used: ids are never issued twice, whatever the broker offers."""
    return rows.value("SELECT coalesce(max(order_id), 0) FROM order_intents")


def refs_since(rows: Rows, instant: datetime) -> frozenset[str]:
    """Refs of every intent written since an instant."""
    found = rows.query("SELECT order_ref FROM order_intents WHERE recorded_at >= ?", [instant])
    return frozenset(row["order_ref"] for row in found)


def forget_contract(tx: Transaction, symbol: str) -> None:
    """Ask the broker anew which contract a symbol is: the one it was has another name now."""
    tx.execute("DELETE FROM contracts WHERE symbol = ?", [symbol])


def contracts(rows: Rows, symbols: Sequence[str]) -> dict[str, dict[str, Any]]:
    found = rows.query(
        "SELECT * FROM contracts WHERE symbol IN (SELECT unnest(?))", [list(symbols)]
    )
    return {row["symbol"]: row for row in found}


def insert_contracts(tx: Transaction, found: Sequence[Mapping[str, Any]]) -> None:
    tx.insert("contracts", found)


def rejects_in_a_row(rows: Rows) -> int:
    """How many of the latest finished orders were rejected, back to the last that was not."""
    return rows.value(
        """
        WITH finished AS (
            SELECT seq, details ->> '$.state' = 'rejected' AS rejected
            FROM order_events WHERE event = 'finished')
        SELECT count(*) FROM finished
        WHERE seq > (SELECT coalesce(max(seq), 0) FROM finished WHERE NOT rejected)
        """
    )
