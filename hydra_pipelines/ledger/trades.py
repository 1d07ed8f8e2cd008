"""The fill journal: each execution once, corrections in place of what they correct."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from hydra_pipelines.ledger.store import Rows, Transaction


def record(tx: Transaction, executions: Sequence[Mapping[str, Any]]) -> list[str]:
    """Journal executions (rows of `executed_trades`); returns the keys that are new or corrected.

    An execution that is known is left alone. One with the same key and a higher id is a
    correction and replaces the row.
    """
    if not executions:
        return []
    known = {
        row["exec_key"]: row["exec_id"]
        for row in tx.query(
            "SELECT exec_key, exec_id FROM executed_trades WHERE exec_key IN (SELECT unnest(?))",
            [[e["exec_key"] for e in executions]],
        )
    }
    latest: dict[str, Mapping[str, Any]] = {}
    for execution in executions:
        key = execution["exec_key"]
        if _correction(execution["exec_id"]) > _correction(known.get(key, "")) and (
            key not in latest
            or _correction(execution["exec_id"]) > _correction(latest[key]["exec_id"])
        ):
            latest[key] = execution
    corrected = [key for key in latest if key in known]
    if corrected:
        tx.execute("DELETE FROM executed_trades WHERE exec_key IN (SELECT unnest(?))", [corrected])
    tx.insert("executed_trades", list(latest.values()))
    return list(latest)


def set_commissions(tx: Transaction, commissions: Mapping[str, Decimal]) -> None:
    """Fill in commissions by execution id; they come after their fills, sometimes much later."""
    if commissions:
        tx.execute(
            "UPDATE executed_trades SET commission = c.commission FROM (SELECT "
            "unnest(?) AS exec_id, unnest(CAST(? AS DECIMAL(18, 4)[])) AS commission) c "
            "WHERE executed_trades.exec_id = c.exec_id",
            [list(commissions), list(commissions.values())],
        )


def fills(rows: Rows, account: str) -> list[dict[str, Any]]:
    """All fills of an account in the order they happened: what positions are folded from."""
    return rows.query(
        "SELECT exec_key, exec_id, session, executed_at, symbol, side, quantity, price, "
        "commission, strategies FROM executed_trades WHERE account = ? "
        "ORDER BY executed_at, exec_key",
        [account],
    )


def missing_commissions(rows: Rows, account: str) -> int:
    return rows.value(
        "SELECT count(*) FROM executed_trades WHERE account = ? AND commission IS NULL", [account]
    )


def _correction(exec_id: str) -> int:
    tail = exec_id.rpartition(".")[2]
    return int(tail) if tail.isdecimal() else (0 if exec_id else -1)
