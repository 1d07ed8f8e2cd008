"""Fills beside what was predicted of them, and the calibrations that followed from that.

Here belongs what is stored and read; the arithmetic is `monitoring`'s. A calibration is never
changed: what undoes one is a row of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from hydra_pipelines.ledger.store import LedgerError, Rows, Transaction

_JSON = ("settings", "before", "after", "notes")


def observations(
    rows: Rows,
    *,
    symbol: str | None = None,
    since: date | datetime | None = None,
    until: date | None = None,
    sessions: int | None = None,
) -> list[dict[str, Any]]:
    """Every fill with its order's prediction and the terms of it, as floats, oldest first.

    since, until: execution sessions, both included; since may be an instant too. sessions: at most
    so many execution sessions back from the last one with fills. Columns of the order (`plan_id`,
    `routing`, `routing_reason`, `quoted_half_spread_bps`, `unit_impact_bps`) are None for a fill
    that the desk did not order.
    """
    return rows.query(
        """
        SELECT t.order_ref, t.session, t.executed_at, t.symbol, t.side, t.quantity,
               CAST(t.arrival_price AS DOUBLE) AS arrival_price, t.predicted_slippage_bps,
               t.shortfall_bps, t.actual_slippage_bps, i.plan_id, i.routing, i.routing_reason,
               i.quoted_half_spread_bps, i.unit_impact_bps
        FROM executed_trades t LEFT JOIN order_intents i USING (order_ref)
        WHERE ($1 IS NULL OR t.symbol = $1) AND ($2 IS NULL OR t.session >= $2)
          AND ($3 IS NULL OR t.executed_at >= $3) AND ($4 IS NULL OR t.session <= $4)
          AND ($5 IS NULL OR t.session >= (
                SELECT min(session) FROM (
                    SELECT DISTINCT session FROM executed_trades ORDER BY session DESC LIMIT $5)))
        ORDER BY t.executed_at, t.exec_key
        """,
        [symbol, *split_since(since), until, sessions],
    )


def latest_fills(
    rows: Rows, *, symbol: str | None, since: date | datetime | None, limit: int
) -> list[dict[str, Any]]:
    """Rows of the journal with the `routing` of their orders, the latest first."""
    return rows.query(
        "SELECT t.*, i.routing FROM executed_trades t LEFT JOIN order_intents i USING (order_ref) "
        "WHERE ($1 IS NULL OR t.symbol = $1) AND ($2 IS NULL OR t.session >= $2) "
        "AND ($3 IS NULL OR t.executed_at >= $3) "
        "ORDER BY t.executed_at DESC, t.exec_key DESC LIMIT $4",
        [symbol, *split_since(since), limit],
    )


def split_since(since: date | datetime | None) -> tuple[date | None, datetime | None]:
    """(session, instant) of which at most one is given: a time of day makes it an instant."""
    return (None, since) if isinstance(since, datetime) else (since, None)


def record(tx: Transaction, calibration: Mapping[str, Any]) -> int:
    """Append a calibration (columns of `slippage_calibrations`); returns its number."""
    return _append(tx, {name: calibration.get(name) for name in _COLUMNS})


def undo(
    tx: Transaction, settings: Mapping[str, Any], *, actor: str, reason: str
) -> dict[str, Any] | None:
    """Undo the calibration in force; returns it, or None where there is none.

    The one before it is in force again, or the settings where there was none.
    """
    latest = in_force(tx, settings)
    if latest is not None:
        _append(tx, {"undoes": latest["id"], "actor": actor, "reason": reason})
    return latest


def in_force(rows: Rows, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """The latest calibration that was not undone, if it was made under these settings.

    settings: those of the predictor. Whoever changes them has the last word: a calibration made
    under others is passed over, and counts again when they are put back.
    """
    return next(
        (
            row
            for row in history(rows)
            if row["undoes"] is None and not row["undone"] and row["settings"] == dict(settings)
        ),
        None,
    )


def history(rows: Rows) -> list[dict[str, Any]]:
    """All calibrations and what undid them, the latest first; `undone` says which don't count."""
    found = rows.query(
        "SELECT *, id IN (SELECT undoes FROM slippage_calibrations WHERE undoes IS NOT NULL) "
        "AS undone FROM slippage_calibrations ORDER BY id DESC"
    )
    for row in found:
        for name in _JSON:
            row[name] = None if row[name] is None else json.loads(row[name])
    return found


_COLUMNS = (
    "settings",
    "before",
    "after",
    "first_session",
    "last_session",
    "fills",
    "orders",
    "relative_bias_before",
    "relative_bias_after",
    "notes",
    "actor",
    "reason",
    "run_id",
)


def _append(tx: Transaction, row: Mapping[str, Any]) -> int:
    plain = {
        name: json.dumps(value) if name in _JSON and value is not None else value
        for name, value in row.items()
    }
    tx.insert("slippage_calibrations", [{**plain, "recorded_at": datetime.now(UTC)}])
    number = tx.value("SELECT max(id) FROM slippage_calibrations")
    if number is None:
        raise LedgerError("the calibration was not written")
    return number
