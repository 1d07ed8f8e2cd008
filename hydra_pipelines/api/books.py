"""What the desk holds and did: positions, fills, orders, the equity curve, profit, slippage."""

from __future__ import annotations

from datetime import date, datetime

from hydra_pipelines.api.rows import Row
from hydra_pipelines.desk import Desk


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
