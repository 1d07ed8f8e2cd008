"""The fill journal by pages, days and figures: for whoever looks through it piece by piece."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from hydra_pipelines.api.rows import Row
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger.store import Rows


@dataclass(frozen=True)
class FillFilter:
    """Which fills: all that are given have to hold. session: of the execution; first and last of
    these, both included. side: BUY or SELL."""

    symbol: str | None = None
    side: str | None = None
    session: date | None = None
    first: date | None = None
    last: date | None = None
    strategy: str | None = None
    order_ref: str | None = None

    def where(self) -> tuple[str, list[object]]:
        """The condition on executed_trades `t`, and its parameters."""
        tests = {
            "t.symbol = ?": self.symbol,
            "t.side = ?": self.side,
            "t.session = ?": self.session,
            "t.session >= ?": self.first,
            "t.session <= ?": self.last,
            "list_contains(string_split(coalesce(t.strategies, ''), ','), ?)": self.strategy,
            "t.order_ref = ?": self.order_ref,
        }
        given = {test: value for test, value in tests.items() if value is not None}
        return " AND ".join(given) or "TRUE", list(given.values())


def fill_page(desk: Desk, wanted: FillFilter = FillFilter(), page: int = 1, size: int = 50) -> Row:
    """One page of the fills, the latest first.

    Returns `rows` (columns of executed_trades and the order's `routing`), `total` (of all pages),
    `page` (within what there is), `pages`, and `journalled`, the number of all fills.
    """
    where, parameters = wanted.where()
    with desk.ledger.snapshot() as rows:
        journalled = fill_count(rows)
        total = (
            journalled
            if wanted == FillFilter()
            else rows.value(f"SELECT count(*) FROM executed_trades t WHERE {where}", parameters)
        )
        pages = max(1, -(-total // size))
        page = min(max(1, page), pages)
        found = rows.query(
            "SELECT t.*, i.routing, i.session AS signal_session FROM ("
            f"SELECT t.* FROM executed_trades t WHERE {where} "
            "ORDER BY t.executed_at DESC, t.exec_key DESC LIMIT ? OFFSET ?) t "
            "LEFT JOIN order_intents i USING (order_ref) "
            "ORDER BY t.executed_at DESC, t.exec_key DESC",
            [*parameters, size, (page - 1) * size],
        )
    return {"rows": found, "total": total, "page": page, "pages": pages, "journalled": journalled}


def fill_count(rows: Rows) -> int:
    """How many executions the journal has."""
    return int(rows.value("SELECT count(*) FROM executed_trades"))


def fill_days(desk: Desk, days: int = 260) -> list[Row]:
    """Sessions with the account's profit and the number of fills, oldest first.

    Columns: session, profit (USD, without money paid in or out), equity, fills.
    """
    with desk.ledger.snapshot() as rows:
        return rows.query(
            "SELECT a.session, a.daily_pnl AS profit, a.equity, coalesce(f.fills, 0) AS fills "
            "FROM (SELECT * FROM account_snapshots ORDER BY session DESC LIMIT ?) a "
            "LEFT JOIN (SELECT session, count(*) AS fills FROM executed_trades GROUP BY session) f "
            "USING (session) ORDER BY a.session",
            [days],
        )


def slippage_points(desk: Desk, latest: int = 1000) -> list[Row]:
    """The latest fills that have a prediction, oldest first, in basis points.

    Columns: session, symbol, side, predicted (of the order), actual (against the arrival price;
    positive is a cost), exec_id.
    """
    with desk.ledger.snapshot() as rows:
        return rows.query(
            "SELECT session, symbol, side, predicted_slippage_bps AS predicted, "
            "shortfall_bps AS actual, exec_id FROM ("
            "SELECT * FROM executed_trades WHERE predicted_slippage_bps IS NOT NULL "
            "AND shortfall_bps IS NOT NULL ORDER BY executed_at DESC, exec_key DESC LIMIT ?) "
            "ORDER BY executed_at, exec_key",
            [latest],
        )


def slippage_bias(desk: Desk, sessions: int = 260) -> list[Row]:
    """By execution session, oldest first: mean actual less mean predicted slippage, in bps.

    Columns: session, bias, predicted, actual, fills; weighted by the value of the fills.
    """
    with desk.ledger.snapshot() as rows:
        return rows.query(
            "SELECT session, actual - predicted AS bias, predicted, actual, fills FROM ("
            "SELECT session, count(*) AS fills, "
            "sum(predicted_slippage_bps * w) / sum(w) AS predicted, "
            "sum(shortfall_bps * w) / sum(w) AS actual FROM ("
            "SELECT *, CAST(price AS DOUBLE) * quantity AS w FROM executed_trades "
            "WHERE predicted_slippage_bps IS NOT NULL AND shortfall_bps IS NOT NULL "
            ") GROUP BY session ORDER BY session DESC LIMIT ?) ORDER BY session",
            [sessions],
        )


def run_costs(desk: Desk, run_ids: list[str]) -> dict[str, Row]:
    """By run id, of the orders that the run sent: fills, commissions and slippage, in USD.

    slippage is against the arrival price; positive is a cost. A run without fills is not in it.
    """
    with desk.ledger.snapshot() as rows:
        found = rows.query(
            "SELECT i.run_id, count(*) AS fills, coalesce(sum(t.commission), 0) AS commissions, "
            "sum(t.shortfall_bps / 1e4 * t.arrival_price * t.quantity) AS slippage "
            "FROM order_intents i JOIN executed_trades t USING (order_ref) "
            "WHERE i.run_id IN (SELECT unnest(?)) GROUP BY i.run_id",
            [run_ids],
        )
    return {row["run_id"]: row for row in found}
