"""Positions, cash and the equity curve as synchronised from the broker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from hydra_pipelines.ledger.store import Rows, Transaction

OPENING = "opening"
PAID_IN_AND_OUT = (OPENING, "deposit", "withdrawal")
"""Kinds of cash movements that are no profit and no loss."""
INCOME = ("dividend", "cash_in_lieu", "interest", "fee", "correction")
"""Kinds of cash movements that are."""


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


def position_history(rows: Rows, account: str) -> list[dict[str, Any]]:
    """session, symbol, quantity and market value of every position synchronised, oldest first."""
    return rows.query(
        "SELECT as_of AS session, symbol, quantity, market_value FROM position_history "
        "WHERE account = ? ORDER BY as_of, symbol",
        [account],
    )


def record_opening_balance(tx: Transaction, account: str, session: date, cash: Decimal) -> None:
    """The cash that the account began with, once."""
    if not tx.value("SELECT count(*) FROM cash_movements WHERE account = ?", [account]):
        record_cash(tx, account, session, cash, OPENING, "opening balance")


def record_cash(
    tx: Transaction,
    account: str,
    session: date,
    amount: Decimal,
    kind: str,
    reason: str,
    *,
    symbol: str | None = None,
    action_session: date | None = None,
    actor: str = "system",
) -> None:
    """Money that came (above 0) or went without a trade; kind as in the schema."""
    tx.insert(
        "cash_movements",
        [
            {
                "account": account,
                "session": session,
                "amount": amount,
                "reason": reason,
                "recorded_at": datetime.now(UTC),
                "kind": kind,
                "symbol": symbol,
                "action_session": action_session,
                "actor": actor,
            }
        ],
    )


def cash_movements(rows: Rows, account: str) -> list[dict[str, Any]]:
    """Oldest first. The opening balance of an early version carries no kind: it gets its own."""
    return rows.query(
        "SELECT * REPLACE (coalesce(kind, $2) AS kind) FROM cash_movements WHERE account = $1 "
        "ORDER BY session, recorded_at",
        [account, OPENING],
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


def cash_flows(
    rows: Rows, account: str, since_session: date, until_session: date | None = None
) -> Decimal:
    """What was paid into the account less what was taken out, in sessions after `since_session`.

    Deposits and withdrawals, and shares that moved without a trade at the price they were booked
    at; USD. until_session: the last session that counts, None for all.
    """
    until = until_session or date.max
    return rows.value(
        """
        SELECT coalesce((SELECT sum(amount) FROM cash_movements
                         WHERE account = $1 AND session > $2 AND session <= $3
                         AND coalesce(kind, 'opening') IN ('opening', 'deposit', 'withdrawal')), 0)
             + coalesce((SELECT sum(quantity * price) FROM position_adjustments
                         WHERE account = $1 AND session > $2 AND session <= $3), 0)
        """,
        [account, since_session, until],
    )


def after_flows(before: Mapping[str, Any], flows: Decimal) -> tuple[Decimal, Decimal]:
    """Equity and peak of a row of the curve, as if `flows` had been in the account already.

    The peak moves in proportion, so that the drawdown is that of a unit of the account, whatever
    was paid in or out: peak' = peak (equity + flows) / equity, to the cent.
    """
    equity = before["equity"] + flows
    if before["equity"] <= 0 or equity <= 0:
        return equity, equity
    return equity, (before["peak"] * equity / before["equity"]).quantize(Decimal("0.01"))


def snapshots(rows: Rows, account: str) -> list[dict[str, Any]]:
    """The equity curve, oldest first."""
    return rows.query(
        "SELECT * FROM account_snapshots WHERE account = ? ORDER BY session", [account]
    )


def latest_equity(rows: Rows) -> Decimal | None:
    """Equity in USD of the last session that an account was read in; None before the first."""
    return rows.value(
        "SELECT equity FROM account_snapshots ORDER BY session DESC, recorded_at DESC LIMIT 1"
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
    """Write the session's row of the equity curve, P&L and drawdown against the rows before it.

    Money paid in or out since the row before is no profit: see `after_flows`.
    """
    before = snapshot_before(tx, account, session)
    row = {
        "account": account,
        "session": session,
        "equity": equity,
        "cash": cash,
        "gross": gross,
        "net": net,
        **_against(tx, account, before, session, equity),
        "positions": positions,
        "recorded_at": datetime.now(UTC),
    }
    tx.execute(
        "DELETE FROM account_snapshots WHERE account = ? AND session = ?", [account, session]
    )
    tx.insert("account_snapshots", [row])
    return row


def redraw_curve(tx: Transaction, account: str, since_session: date) -> None:
    """P&L, peak and drawdown of the rows from a session on, after a movement was recorded late."""
    for row in snapshots(tx, account):
        if row["session"] < since_session:
            continue
        before = snapshot_before(tx, account, row["session"])
        if before is None:
            continue
        new = _against(tx, account, before, row["session"], row["equity"])
        tx.execute(
            "UPDATE account_snapshots SET daily_pnl = ?, peak = ?, drawdown = ? "
            "WHERE account = ? AND session = ?",
            [new["daily_pnl"], new["peak"], new["drawdown"], account, row["session"]],
        )


def _against(
    rows: Rows, account: str, before: Mapping[str, Any] | None, session: date, equity: Decimal
) -> dict[str, Any]:
    if before is None:
        return {"daily_pnl": Decimal(0), "peak": equity, "drawdown": 0.0}
    flows = cash_flows(rows, account, before["session"], session)
    start, peak = after_flows(before, flows)
    peak = max(equity, peak)
    return {
        "daily_pnl": equity - start,
        "peak": peak,
        "drawdown": float(1 - equity / peak) if peak else 0.0,
    }


def record_adjustments(tx: Transaction, rows: Sequence[Mapping[str, Any]]) -> None:
    """Append rows of `position_adjustments`."""
    now = datetime.now(UTC)
    tx.insert("position_adjustments", [{**row, "recorded_at": now} for row in rows])


def adjustments(rows: Rows, account: str) -> list[dict[str, Any]]:
    """Oldest first."""
    return rows.query(
        "SELECT * FROM position_adjustments WHERE account = ? ORDER BY effective_at, recorded_at",
        [account],
    )


def record_breaks(
    tx: Transaction, account: str, session: date, breaks: Sequence[Mapping[str, Any]]
) -> None:
    """Keep what differs now: a difference seen before stays as it was, one that is gone ends.

    breaks: symbol (None for cash), kind, ours, brokers, explained, why. An explained one is over
    with its explanation.
    """
    now = datetime.now(UTC)
    known = {_difference(row): row for row in open_breaks(tx, account)}
    still = {_difference(row) for row in breaks if not row["explained"]}
    for difference, row in known.items():
        if difference not in still:
            tx.execute(
                "UPDATE position_breaks SET ended_at = ? WHERE account = ? AND recorded_at = ? "
                "AND symbol IS NOT DISTINCT FROM ? AND kind = ? AND ended_at IS NULL",
                [now, account, row["recorded_at"], row["symbol"], row["kind"]],
            )
    tx.insert(
        "position_breaks",
        [
            {
                "account": account,
                "session": session,
                **row,
                "recorded_at": now,
                "ended_at": now if row["explained"] else None,
            }
            for row in breaks
            if row["explained"] or _difference(row) not in known
        ],
    )


def open_breaks(rows: Rows, account: str) -> list[dict[str, Any]]:
    """Differences that nothing explains and that the last synchronisation still saw."""
    return rows.query(
        "SELECT * FROM position_breaks WHERE account = ? AND ended_at IS NULL "
        "ORDER BY symbol NULLS FIRST",
        [account],
    )


def _difference(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["symbol"], row["kind"], Decimal(row["ours"]), Decimal(row["brokers"])
