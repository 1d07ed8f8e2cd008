"""The read side, for people and for the faces: what the desk did and what it holds.

Everything comes from the published snapshot and the control store, never from the live ledger, so
reading never stands in the way of trading. Rows are dicts with the columns of the ledger's tables:
money and prices are Decimal in USD, sessions are dates, instants are UTC.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

from hydra_pipelines.control import Control
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger.store import LedgerMissing, Rows

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]


def status(desk: Desk) -> Row:
    """The desk at a glance: the last planned session and what came of it, money, and controls.

    `last_cycle` and `account` are None before the first cycle. Its `orders` are those that may have
    reached the broker. `next_session_due` is what a cycle without an explicit session takes.
    """
    control = Control(desk.settings.control_path)
    out: Row = {
        "mode": desk.settings.mode,
        "venue": desk.settings.broker.venue,
        "next_session_due": desk.next_session_due(),
        "last_cycle": None,
        "account": None,
        "drift": "not_checked",
        "agent": "paused" if control.agent_paused else "running",
        "kill_switch": control.kill_switch,
        "breakers": [vars(breaker) for breaker in control.tripped()],
    }
    try:
        with desk.ledger.snapshot() as rows:
            out["last_cycle"] = _last_cycle(rows)
            out["account"] = rows.one(
                "SELECT * EXCLUDE (recorded_at) FROM account_snapshots "
                "ORDER BY session DESC, recorded_at DESC LIMIT 1"
            )
    except LedgerMissing:
        pass
    return out


def _last_cycle(rows: Rows) -> Row | None:
    plan = rows.one(
        "SELECT plan_id, session, execution_session, status, dry_run FROM plans "
        "ORDER BY session DESC LIMIT 1"
    )
    if plan is None:
        return None
    session = [plan["session"]]
    return {
        **plan,
        "predictions": rows.value("SELECT count(*) FROM predictions WHERE session = ?", session),
        "strategies": rows.value(
            "SELECT count(DISTINCT strategy_id) FROM predictions WHERE session = ?", session
        ),
        "planned_orders": rows.value(
            "SELECT count(*) FROM plan_rows WHERE plan_id = ?", [plan["plan_id"]]
        ),
        "orders": rows.value(
            "SELECT count(*) FROM order_intents WHERE session = ? AND order_ref NOT IN ("
            "SELECT order_ref FROM order_events WHERE event IN ('never_sent', 'never_arrived'))",
            session,
        ),
        "denied": rows.value(
            "SELECT count(*) FROM (SELECT r.plan_row FROM risk_decisions r JOIN plan_rows p "
            "ON r.plan_row = format('{}-{:04d}', p.plan_id, p.sequence) WHERE p.plan_id = ? "
            "GROUP BY r.plan_row HAVING NOT bool_or(r.approved))",
            [plan["plan_id"]],
        ),
        "unknown_orders": _unknown_orders(rows),
        "fills": rows.value(
            "SELECT count(*) FROM executed_trades t JOIN order_intents i USING (order_ref) "
            "WHERE i.session = ?",
            session,
        ),
    }


def _unknown_orders(rows: Rows) -> int:
    return rows.value(
        "SELECT count(*) FROM (SELECT order_ref, arg_max(event, seq) AS last FROM order_events "
        "WHERE event NOT IN ('notice', 'cancel_requested') GROUP BY order_ref) "
        "WHERE last = 'unknown'"
    )


def positions(desk: Desk) -> list[Row]:
    """Live positions by symbol, as of the last synchronisation with the broker."""
    with desk.ledger.snapshot() as rows:
        return rows.query("SELECT * FROM live_positions ORDER BY symbol")


def trades(
    desk: Desk,
    symbol: str | None = None,
    start: date | None = None,
    end: date | None = None,
    limit: int = 50,
) -> list[Row]:
    """Fills, the latest first; `start` and `end` are execution sessions, both included."""
    with desk.ledger.snapshot() as rows:
        return rows.query(
            "SELECT * FROM executed_trades WHERE ($1 IS NULL OR symbol = $1) "
            "AND ($2 IS NULL OR session >= $2) AND ($3 IS NULL OR session <= $3) "
            "ORDER BY executed_at DESC, exec_key DESC LIMIT $4",
            [symbol, start, end, limit],
        )


def equity_curve(desk: Desk) -> list[Row]:
    """One row per session, oldest first."""
    with desk.ledger.snapshot() as rows:
        return rows.query("SELECT * FROM account_snapshots ORDER BY session")


def order_plan(desk: Desk, session: date) -> Row | None:
    """The plan of a session with its rows and notes, or None."""
    from hydra_pipelines.ledger import decisions

    with desk.ledger.snapshot() as rows:
        return decisions.plan(rows, session)


def trace_fill(desk: Desk, exec_id: str) -> Row | None:
    """From a fill back to its data; None where there is no such fill.

    Returns the fill, its order intent with events, the plan and its row, the predictions behind it
    with their model versions, and the data snapshot. Parts are None for a fill that the desk did
    not order.
    """
    with desk.ledger.snapshot() as rows:
        fill = rows.one(
            "SELECT * FROM executed_trades WHERE exec_id = $1 OR exec_key = $1", [exec_id]
        )
        if fill is None:
            return None
        intent = rows.one("SELECT * FROM order_intents WHERE order_ref = ?", [fill["order_ref"]])
        if intent is None:
            return {"fill": fill, "intent": None}
        at = [intent["session"], intent["symbol"]]
        return {
            "fill": fill,
            "intent": intent,
            "events": rows.query(
                "SELECT event, details, occurred_at FROM order_events WHERE order_ref = ? "
                "ORDER BY seq",
                [fill["order_ref"]],
            ),
            "risk": rows.query(
                "SELECT approved, reasons, inputs FROM risk_decisions WHERE order_ref = ?",
                [fill["order_ref"]],
            ),
            "plan": rows.one("SELECT * FROM plans WHERE plan_id = ?", [intent["plan_id"]]),
            "plan_row": rows.one(
                "SELECT * FROM plan_rows WHERE plan_id = ? AND symbol = ?",
                [intent["plan_id"], intent["symbol"]],
            ),
            "predictions": rows.query(
                "SELECT p.*, m.mlflow_run_id, m.artifact_sha256, m.trained_through "
                "FROM predictions p LEFT JOIN model_versions m "
                "ON m.strategy_id = p.strategy_id AND m.version = p.model_version "
                "WHERE p.session = ? AND p.symbol = ? "
                "AND list_contains(string_split(?, ','), p.strategy_id) ORDER BY p.strategy_id",
                [*at, intent["strategies"]],
            ),
            "data": rows.one(
                "SELECT * FROM data_snapshots WHERE session = ? ORDER BY recorded_at DESC LIMIT 1",
                [intent["session"]],
            ),
        }


def frame(rows: list[Row]) -> pd.DataFrame:
    """Rows of any function here as a pandas frame, money as float64."""
    from decimal import Decimal

    import pandas as pd

    return pd.DataFrame(
        [{k: float(v) if isinstance(v, Decimal) else v for k, v in row.items()} for row in rows]
    )
