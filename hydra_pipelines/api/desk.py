"""The desk at a glance, and what it may do: status, limits, breakers, controls."""

from __future__ import annotations

from hydra_pipelines.api.monitoring import NOT_CHECKED, latest_status
from hydra_pipelines.api.rows import Row
from hydra_pipelines.control import Control
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger.store import LedgerMissing, Rows


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
        "drift": NOT_CHECKED,
        "agent": "paused" if control.agent_paused else "running",
        "kill_switch": control.kill_switch,
        "breakers": [vars(breaker) for breaker in control.tripped()],
    }
    try:
        with desk.ledger.snapshot() as rows:
            out["last_cycle"] = _last_cycle(rows)
            out["drift"] = latest_status(rows)
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


def risk(desk: Desk, denials: int = 10) -> Row:
    """What the desk may do: limits with their use, breakers, controls, denials, last alerts.

    Uses and values are as of the last synchronisation (`as_of`, None before the first); what is not
    known is None. `denials` are the latest, with the reasons by their names.
    """
    from hydra_pipelines.execution.positions import worst_realised_loss
    from hydra_pipelines.execution.risk.overview import Facts, breaker_views, limit_uses
    from hydra_pipelines.ledger import orders as order_rows
    from hydra_pipelines.ledger import trades as trade_rows

    control = desk.control
    account, held, facts, denied = None, [], {}, []
    try:
        with desk.ledger.snapshot() as rows:
            account = rows.one(
                "SELECT * EXCLUDE (recorded_at) FROM account_snapshots "
                "ORDER BY session DESC, recorded_at DESC LIMIT 1"
            )
            held = rows.query("SELECT symbol, market_value FROM live_positions")
            facts = {
                "rejects_in_a_row": order_rows.rejects_in_a_row(rows),
                "unknown_orders": _unknown_orders(rows),
                "data_age_sessions": rows.value(
                    # A refusal before any review has no state.
                    "SELECT (inputs ->> '$.state.data_age_sessions')::INTEGER FROM risk_decisions "
                    "WHERE (inputs -> '$.state') IS NOT NULL ORDER BY occurred_at DESC LIMIT 1"
                ),
            }
            if account:
                session = account["session"]
                fills = trade_rows.fills(rows, account["account"], traded_in=session)
                facts["worst_trade_loss"] = worst_realised_loss(fills, session)
            denied = rows.query(
                "SELECT occurred_at, order_ref, inputs ->> '$.order.symbol' AS symbol, "
                "inputs ->> '$.order.side' AS side, "
                "(inputs ->> '$.order.quantity')::BIGINT AS quantity, reasons "
                "FROM risk_decisions WHERE NOT approved ORDER BY occurred_at DESC LIMIT ?",
                [denials],
            )
    except LedgerMissing:
        pass
    known = Facts(
        account=account,
        positions=held,
        agent_paused=control.agent_paused,
        kill_switch=control.kill_switch,
        **{"worst_trade_loss": None, "rejects_in_a_row": None, "unknown_orders": None,
           "data_age_sessions": None, **facts},
    )  # fmt: skip
    views = breaker_views(desk.risk_limits, known, control.tripped(), control.levels())
    return {
        "mode": desk.settings.mode,
        "as_of": account["session"] if account else None,
        "account": account,
        "limits": [vars(use) for use in limit_uses(desk.risk_limits, known)],
        "breakers": [vars(view) for view in views],
        "kill_switch": switch(control, known.kill_switch, "kill_switch_on"),
        "agent_paused": switch(control, known.agent_paused, "agent_paused"),
        "denials": denied,
        "alert_channels": desk.alerts.channels,
        "alerts": [vars(alert) for alert in desk.alerts.recent()],
    }


def switch(control: Control, on: bool, event: str) -> Row:
    """A switch, and of the journal who turned it on, when and why."""
    entry = control.last(event) if on else None
    return {
        "on": on,
        "by": entry.actor if entry else None,
        "since": entry.occurred_at if entry else None,
        "why": entry.details.get("why") if entry else None,
    }
