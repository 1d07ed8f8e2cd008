"""The read side, for people and for the faces: what the desk did and what it holds.

Everything comes from the published snapshot and the control store, never from the live ledger, so
reading never stands in the way of trading. Rows are dicts with the columns of the ledger's tables:
money and prices are Decimal in USD, sessions are dates, instants are UTC.
"""

from __future__ import annotations

from datetime import date, datetime
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


def position_breaks(desk: Desk) -> list[Row]:
    """Differences between journal and broker that nothing explains, by the last synchronisation.

    symbol is None for cash; `kind` and `why` say what is likely behind one.
    """
    with desk.ledger.snapshot() as rows:
        return rows.query(
            "SELECT * FROM position_breaks WHERE ended_at IS NULL ORDER BY symbol NULLS FIRST"
        )


def profits(desk: Desk, since: date | None = None) -> Row:
    """Profit by session, symbol and strategy, from an execution session on; see `day.profits`."""
    from hydra_pipelines.day.profits import profits as told

    with desk.ledger.snapshot() as rows:
        return told(rows, since)


def order_plan(desk: Desk, session: date) -> Row | None:
    """The plan of a session with its rows and notes, or None."""
    from hydra_pipelines.ledger import decisions

    with desk.ledger.snapshot() as rows:
        return decisions.plan(rows, session)


def predictions(desk: Desk, session: date) -> list[Row]:
    """Predictions of a session by strategy and symbol, with the version that made each."""
    from hydra_pipelines.ledger import decisions

    with desk.ledger.snapshot() as rows:
        return decisions.predictions(rows, session)


def models(desk: Desk, history: int = 10) -> Row:
    """Strategies with their champions, challengers and previous versions, and the last moves.

    The columns are those of `day.showing.list_models`.
    """
    from hydra_pipelines.day.showing import list_models

    return list_models(desk, history)


def model_version(desk: Desk, strategy_id: str, version: int) -> Row:
    """One version: training, figures, the gate's verdict. Raises NoSuchVersion."""
    from hydra_pipelines.day.showing import describe_version

    return describe_version(desk, strategy_id, version)


def orders(
    desk: Desk, session: date | None = None, state: str | None = None, limit: int = 50
) -> list[Row]:
    """Orders of a session's plan with their states, and plan rows that were denied, with reasons.

    session: None takes the latest plan's, or with `state` (one of `day.listing.STATES`) all, the
    latest first. The columns are those of `day.listing.list_orders`.
    """
    from hydra_pipelines.day.listing import list_orders

    with desk.ledger.snapshot() as rows:
        return list_orders(rows, session, state, limit)


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
                fills = trade_rows.fills(rows, account["account"])
                facts["worst_trade_loss"] = worst_realised_loss(fills, account["session"])
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
        "kill_switch": _switch(control, known.kill_switch, "kill_switch_on"),
        "agent_paused": _switch(control, known.agent_paused, "agent_paused"),
        "denials": denied,
        "alert_channels": desk.alerts.channels,
        "alerts": [vars(alert) for alert in desk.alerts.recent()],
    }


def _switch(control: Control, on: bool, event: str) -> Row:
    """A switch, and of the journal who turned it on, when and why."""
    entry = control.last(event) if on else None
    return {
        "on": on,
        "by": entry.actor if entry else None,
        "since": entry.occurred_at if entry else None,
        "why": entry.details.get("why") if entry else None,
    }


def fills(
    desk: Desk,
    symbol: str | None = None,
    since: date | datetime | None = None,
    limit: int = 20,
) -> list[Row]:
    """Fills with their slippage and how their orders were worked, the latest first.

    since: an execution session, or an instant. Positive slippage is a cost: `actual_slippage_bps`
    against the order price, `shortfall_bps` against the arrival price, both in basis points.
    """
    from hydra_pipelines.ledger import calibrations

    with desk.ledger.snapshot() as rows:
        return calibrations.latest_fills(rows, symbol=symbol, since=since, limit=limit)


def reconciliation(
    desk: Desk, symbol: str | None = None, since: date | datetime | None = None
) -> Row:
    """Predicted against actual slippage: of the window of the settings, or from `since` on.

    `summary` has four lines: the fills of all orders as predicted at the time, their executions
    singly, the orders that the model in force predicted, and all as that model predicts. `by` has
    the lines of each symbol, side, algo and hour (New York's). Slippage in basis points; figures of
    fewer than 20 fills are None, and `message` says so. `left_out` counts fills by the reason why
    they can't be compared. `calibration` is the one in force, or None.
    """
    from hydra_pipelines.day.slippage import slippage_report
    from hydra_pipelines.ledger import calibrations

    with desk.ledger.snapshot() as rows:
        report = slippage_report(desk, rows, symbol=symbol, since=since)
        calibration = calibrations.in_force(rows, desk.slippage_by(None).parameters())
    return {
        "first_session": report.first,
        "last_session": report.last,
        "fills": report.journalled,
        "left_out": dict(report.left_out),
        "model": report.model.parameters(),
        "calibration": calibration,
        "summary": [line.row() for line in report.summary],
        "by": {name: [line.row() for line in lines] for name, lines in report.groups.items()},
    }


def slippage_calibrations(desk: Desk) -> list[Row]:
    """Every calibration of the slippage model and what undid it, the latest first."""
    from hydra_pipelines.ledger import calibrations

    with desk.ledger.snapshot() as rows:
        return calibrations.history(rows)


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
