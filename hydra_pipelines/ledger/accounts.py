"""Positions, cash and the equity curve as synchronised from the broker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from hydra_pipelines.ledger.store import Rows, Transaction


def replace_positions(
    tx: Transaction, account: str, as_of: date, positions: Sequence[Mapping[str, Any]]
) -> None:
    """Put the broker's positions in the place of the live ones; the history keeps each session."""
    now = datetime.now(UTC)
    rows = [{"account": account, **p, "as_of": as_of, "updated_at": now} for p in positions]
    tx.execute("DELETE FROM live_positions WHERE account = ?", [account])
    tx.insert("live_positions", rows)
    tx.execute("DELETE FROM position_history WHERE account = ? AND as_of = ?", [account, as_of])
    tx.insert("position_history", rows)


def record_opening_balance(tx: Transaction, account: str, session: date, cash: Decimal) -> None:
    """The cash that the account began with, once."""
    if not tx.value("SELECT count(*) FROM cash_movements WHERE account = ?", [account]):
        tx.insert(
            "cash_movements",
            [
                {
                    "account": account,
                    "session": session,
                    "amount": cash,
                    "reason": "opening balance",
                    "recorded_at": datetime.now(UTC),
                }
            ],
        )


def cash(rows: Rows, account: str) -> Decimal | None:
    """Cash by our own books: movements plus what trades brought or took. None before any."""
    return rows.value(
        """
        SELECT (SELECT sum(amount) FROM cash_movements WHERE account = $1)
             + coalesce((
                 SELECT sum(CASE side WHEN 'SELL' THEN 1 ELSE -1 END * quantity * price
                            - coalesce(commission, 0))
                 FROM executed_trades WHERE account = $1), 0)
        """,
        [account],
    )


def snapshots(rows: Rows, account: str) -> list[dict[str, Any]]:
    """The equity curve, oldest first."""
    return rows.query(
        "SELECT * FROM account_snapshots WHERE account = ? ORDER BY session", [account]
    )


def snapshot_before(rows: Rows, account: str, session: date) -> dict[str, Any] | None:
    """The last row of the equity curve before a session."""
    return rows.one(
        "SELECT * FROM account_snapshots WHERE account = ? AND session < ? "
        "ORDER BY session DESC LIMIT 1",
        [account, session],
    )


def record_snapshot(
    tx: Transaction,
    account: str,
    session: date,
    *,
    equity: Decimal,
    cash: Decimal,
    gross: Decimal,
    net: Decimal,
    positions: int,
) -> dict[str, Any]:
    """Write the session's row of the equity curve, P&L and drawdown against the rows before it."""
    before = snapshot_before(tx, account, session)
    peak = max(equity, before["peak"]) if before else equity
    row = {
        "account": account,
        "session": session,
        "equity": equity,
        "cash": cash,
        "gross": gross,
        "net": net,
        "daily_pnl": equity - before["equity"] if before else Decimal(0),
        "peak": peak,
        "drawdown": float(1 - equity / peak) if peak else 0.0,
        "positions": positions,
        "recorded_at": datetime.now(UTC),
    }
    tx.execute(
        "DELETE FROM account_snapshots WHERE account = ? AND session = ?", [account, session]
    )
    tx.insert("account_snapshots", [row])
    return row
