"""What the paper gate goes by: where sessions were traded, and what happened meanwhile.

Rows as they are stored; what they add up to is `monitoring.paper_gate`'s part.
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import Any

from hydra_pipelines.ledger.audit import AuditEvent
from hydra_pipelines.ledger.store import Rows, Transaction


def record_venue(
    tx: Transaction,
    session: date,
    execution_session: date,
    *,
    account: str,
    mode: str,
    venue: str,
    server_version: int,
    run_id: str,
) -> None:
    """That a run works the session's plan at a venue; mode and venue as in the schema."""
    tx.insert(
        "session_venues",
        [
            {
                "session": session,
                "execution_session": execution_session,
                "account": account,
                "mode": mode,
                "venue": venue,
                "server_version": server_version,
                "run_id": run_id,
                "recorded_at": datetime.now(UTC),
            }
        ],
    )


def latest_account(rows: Rows, venue: str) -> str | None:
    """The account of the latest paper session at a venue; None before any."""
    return rows.value(
        "SELECT account FROM session_venues WHERE venue = ? AND mode = 'paper' "
        "ORDER BY recorded_at DESC LIMIT 1",
        [venue],
    )


def sessions(rows: Rows, venue: str, account: str) -> list[dict[str, Any]]:
    """Paper sessions of an account at a venue, by their execution session.

    began_at: when the first run worked it, wall time. status: of its plan. read: whether the
    account was read in or after the execution session.
    """
    return rows.query(
        """
        SELECT v.session, v.execution_session, v.began_at, p.status,
               EXISTS (FROM account_snapshots a WHERE a.account = $2
                       AND a.session >= v.execution_session) AS read
        FROM (SELECT session, any_value(execution_session) AS execution_session,
                     min(recorded_at) AS began_at
              FROM session_venues WHERE venue = $1 AND account = $2 AND mode = 'paper'
              GROUP BY session) v
        LEFT JOIN plans p ON p.session = v.session AND p.account = $2
        ORDER BY v.execution_session
        """,
        [venue, account],
    )


def first_live_after(rows: Rows, instant: datetime) -> datetime | None:
    """When live trading began after an instant; None where it did not."""
    return rows.value(
        "SELECT min(recorded_at) FROM session_venues WHERE mode = 'live' AND recorded_at > ?",
        [instant],
    )


def last_contact(rows: Rows, venue: str) -> datetime | None:
    """When a session was last worked at a venue, live or not; wall time."""
    return rows.value("SELECT max(recorded_at) FROM session_venues WHERE venue = ?", [venue])


def decided_experiments(rows: Rows, since: datetime) -> list[dict[str, Any]]:
    """Experiments of complete healing cycles that ended in a decision, oldest first.

    Columns decided_at, decision (promoted, rejected or rolled_back), mutation_type, strategy_id.
    """
    return rows.query(
        "SELECT e.decided_at, e.decision, e.mutation_type, e.strategy_id "
        "FROM experiments e JOIN healing_cycles c USING (cycle_id) WHERE c.stage = 'done' "
        "AND e.decision IN ('promoted', 'rejected', 'rolled_back') AND e.decided_at >= ? "
        "ORDER BY e.decided_at",
        [since],
    )


def deeds_of_people(rows: Rows, since: datetime) -> list[dict[str, Any]]:
    """Audit events whose actor is a person, oldest first: occurred_at, event, actor, details."""
    return _decoded(
        rows.query(
            "SELECT occurred_at, event, actor, details FROM audit_events "
            "WHERE actor LIKE 'user:%' AND occurred_at >= ? ORDER BY occurred_at, seq",
            [since],
        )
    )


def events(rows: Rows, event: AuditEvent, since: datetime | None = None) -> list[dict[str, Any]]:
    """Audit events of one kind, oldest first: seq, occurred_at, actor, details."""
    return _decoded(
        rows.query(
            "SELECT seq, occurred_at, actor, details FROM audit_events "
            "WHERE event = $1 AND ($2 IS NULL OR occurred_at >= $2) ORDER BY occurred_at, seq",
            [event.value, since],
        )
    )


def foreign_sessions(rows: Rows, account: str) -> list[dict[str, Any]]:
    """Execution sessions with fills that the desk did not order, and how many there were."""
    return rows.query(
        "SELECT session, count(*) AS fills FROM executed_trades "
        "WHERE account = ? AND order_ref IS NULL GROUP BY session ORDER BY session",
        [account],
    )


def denied_by(rows: Rows, reason: str, execution_session: date) -> int:
    """Decisions of the risk gate in an execution session that denied for a reason, by its name."""
    return rows.value(
        "SELECT count(*) FROM risk_decisions r JOIN plans p ON starts_with(r.plan_row, p.plan_id) "
        "WHERE NOT r.approved AND p.execution_session = ? "
        "AND list_contains(string_split(r.reasons, ','), ?)",
        [execution_session, reason],
    )


def unknown_orders(rows: Rows, account: str) -> list[str]:
    """Refs of the account's orders of which it is not known what became."""
    found = rows.query(
        "SELECT order_ref FROM order_events JOIN order_intents USING (order_ref) "
        "WHERE account = ? AND event NOT IN ('notice', 'cancel_requested', 'finished', 'reopened') "
        "GROUP BY order_ref HAVING arg_max(event, seq) = 'unknown' ORDER BY min(seq)",
        [account],
    )
    return [row["order_ref"] for row in found]


def _decoded(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**row, "details": json.loads(row["details"])} for row in found]
