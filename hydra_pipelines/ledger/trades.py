"""The fill journal: each execution once, corrections in place of what they correct."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date
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
    # Of each key the number of the highest correction: in the journal, then of those taken here.
    highest = {
        row["exec_key"]: _correction(row["exec_id"])
        for row in tx.query(*_by_key([e["exec_key"] for e in executions]))
    }
    known = frozenset(highest)
    latest: dict[str, Mapping[str, Any]] = {}
    for execution in executions:
        key, correction = execution["exec_key"], _correction(execution["exec_id"])
        if correction > highest.get(key, -1):
            latest[key], highest[key] = execution, correction
    corrected = [key for key in latest if key in known]
    if corrected:
        tx.execute("DELETE FROM executed_trades WHERE exec_key IN (SELECT unnest(?))", [corrected])
    tx.insert("executed_trades", list(latest.values()))
    return list(latest)


def _by_key(keys: Sequence[str]) -> tuple[str, list[Any]]:
    select = "SELECT exec_key, exec_id FROM executed_trades WHERE exec_key IN"
    if len(keys) > FEW:
        return f"{select} (SELECT unnest(?))", [list(keys)]
    return f"{select} ({', '.join('?' * len(keys))})", list(keys)


FEW = 20
"""Of so few keys a list is planned faster than a query."""


def set_commissions(tx: Transaction, commissions: Mapping[str, Decimal]) -> None:
    """Fill in commissions by execution id; they come after their fills, sometimes much later."""
    if commissions:
        tx.execute(
            "UPDATE executed_trades SET commission = c.commission FROM (SELECT "
            "unnest(?) AS exec_id, unnest(CAST(? AS DECIMAL(18, 4)[])) AS commission) c "
            "WHERE executed_trades.exec_id = c.exec_id",
            [list(commissions), list(commissions.values())],
        )


def fills(
    rows: Rows, account: str, *, traded_in: date | None = None, of: Collection[str] = ()
) -> list[dict[str, Any]]:
    """All fills of an account in the order they happened: what positions are folded from.

    traded_in: only of the symbols that were traded in that session, and of those in `of`, each
    from when it was last not held before that session.

    With them come changes of the shares held without a trade, as rows of the same columns: `kind`
    is then `split`, `symbol_change` or `accepted` (NULL for a fill), price 0 where the cost stays
    what it was, and `from_symbol` the name that shares had before.
    """
    if traded_in is None:
        return rows.query(_FILLS.format(shares="", joins=""), [account])
    if _adjusted(rows, account):
        # With a changed name the history is under another: then all of it.
        renamed = "SELECT 1 FROM position_adjustments WHERE account = $1 AND kind = 'symbol_change'"
        return rows.query(
            f"SELECT * FROM ({_FILLS.format(shares='', joins='')}) WHERE {_TRADED} OR "
            f"EXISTS ({renamed}) {_IN_ORDER}",
            [account, traded_in, list(of)],
        )
    return rows.query(
        _SINCE_NOT_HELD.format(where=f"AND {_TRADED}", before="AND session < $2"),
        [account, traded_in, list(of)],
    )


def open_fills(rows: Rows, account: str) -> list[dict[str, Any]]:
    """Of `fills` those that positions held now are folded from: each symbol's since it was last
    not held; all of them where shares have changed without a trade."""
    if _adjusted(rows, account):
        return fills(rows, account)
    return rows.query(_SINCE_NOT_HELD.format(where="", before=""), [account])


def _adjusted(rows: Rows, account: str) -> bool:
    return rows.value("SELECT count(*) > 0 FROM position_adjustments WHERE account = ?", [account])


def held(rows: Rows, account: str) -> dict[str, int]:
    """Signed shares by symbol, without those that are gone: the sum of `fills`."""
    found = rows.query(
        """
        SELECT symbol, CAST(sum(shares) AS BIGINT) AS shares FROM (
            SELECT symbol, CASE side WHEN 'BUY' THEN quantity ELSE -quantity END AS shares
            FROM executed_trades WHERE account = $1
            UNION ALL SELECT symbol, quantity FROM position_adjustments WHERE account = $1)
        GROUP BY symbol
        """,
        [account],
    )
    return {row["symbol"]: row["shares"] for row in found if row["shares"]}


def attributed_fills(rows: Rows, account: str) -> list[dict[str, Any]]:
    """The same with `strategy_shares` of the plan's row behind a fill: JSON, NULL if unknown."""
    return rows.query(
        _FILLS.format(
            shares=", p.strategy_shares",
            joins="LEFT JOIN order_intents i USING (order_ref) LEFT JOIN plan_rows p "
            "ON p.plan_id = i.plan_id AND p.symbol = i.symbol AND p.side = i.side",
        ),
        [account],
    )


_FILLS = """
    SELECT exec_key, exec_id, t.session, executed_at, t.symbol, t.side, t.quantity, price,
           commission, t.strategies, NULL AS kind, NULL AS from_symbol{shares}
    FROM executed_trades t {joins} WHERE t.account = $1
    UNION ALL BY NAME
    SELECT kind || ' ' || symbol || ' ' || session AS exec_key, exec_key AS exec_id, session,
           effective_at AS executed_at, symbol, CASE WHEN quantity < 0 THEN 'SELL' ELSE 'BUY' END
           AS side, abs(quantity) AS quantity, coalesce(price, 0) AS price,
           CAST(0 AS DECIMAL(18, 4)) AS commission, kind, from_symbol
    FROM position_adjustments WHERE account = $1
    ORDER BY executed_at, from_symbol NULLS FIRST, exec_key
"""
_TRADED = """symbol IN (
    SELECT symbol FROM executed_trades WHERE account = $1 AND session = $2
    UNION ALL SELECT unnest(CAST($3 AS VARCHAR[])))"""
_IN_ORDER = "ORDER BY executed_at, from_symbol NULLS FIRST, exec_key"
_SINCE_NOT_HELD = """
    SELECT * EXCLUDE (n, held) FROM (
        SELECT exec_key, exec_id, session, executed_at, symbol, side, quantity, price, commission,
               strategies, NULL AS kind, NULL AS from_symbol, row_number() OVER history AS n,
               sum(CASE side WHEN 'BUY' THEN quantity ELSE -quantity END) OVER history AS held
        FROM executed_trades WHERE account = $1 {where}
        WINDOW history AS (PARTITION BY symbol ORDER BY executed_at, exec_key
                           ROWS UNBOUNDED PRECEDING))
    QUALIFY n > coalesce(max(n) FILTER (WHERE held = 0 {before}) OVER (PARTITION BY symbol), 0)
    ORDER BY executed_at, exec_key
"""


def foreign_fills(rows: Rows, account: str) -> list[dict[str, Any]]:
    """Fills that the desk did not order and that no finding names yet."""
    return rows.query(
        "SELECT * FROM executed_trades t WHERE account = ? AND order_ref IS NULL AND NOT EXISTS "
        "(FROM position_breaks b WHERE b.account = t.account AND b.exec_key = t.exec_key) "
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
