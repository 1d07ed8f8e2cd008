"""Profit and loss of the desk, from the ledger's rows to what faces show."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Any

from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger import accounts, trades
from hydra_pipelines.ledger.store import LedgerMissing, Rows

if TYPE_CHECKING:
    from hydra_pipelines.monitoring.performance import Parts, Profits

CENT = Decimal("0.01")


def tell_profits(desk: Desk) -> dict[str, Any] | None:
    """`profits` of the published ledger; None where nothing was traded yet."""
    from hydra_pipelines.monitoring.performance import BooksIncomplete

    try:
        with desk.ledger.snapshot() as rows:
            return profits(rows)
    except (BooksIncomplete, LedgerMissing):
        return None


def session_profits(rows: Rows, since: date | None = None) -> Profits:
    """The account that was synchronised last, from an execution session on.

    Raises BooksIncomplete where nothing was traded yet.
    """
    from hydra_pipelines.monitoring.performance import profits as told

    account = rows.value(
        "SELECT account FROM account_snapshots ORDER BY session DESC, recorded_at DESC LIMIT 1"
    )
    return told(
        accounts.snapshots(rows, account),
        trades.attributed_fills(rows, account),
        accounts.cash_movements(rows, account),
        accounts.position_history(rows, account),
        since,
    )


def profits(rows: Rows, since: date | None = None) -> dict[str, Any]:
    """The same as plain rows, money to the cent.

    sessions: oldest first. by_symbol, by_strategy: name ("" for none) and parts. total: the sum.
    state: the last row of the curve. figures: what the curve amounts to, None where there are not
    enough sessions. rolling: (session, Sharpe, hit rate). unexplained: sessions that do not add up.
    The parts of a table may differ from its total by cents, each being rounded alone.
    """
    from hydra_pipelines.monitoring.performance import figures, rolling

    found = session_profits(rows, since)
    return {
        "sessions": [vars(one) for one in found.sessions],
        "by_symbol": _table(found.by_symbol),
        "by_strategy": _table(found.by_strategy),
        "total": _parts(found.total),
        "paid_in_and_out": sum((one.paid_in_and_out for one in found.sessions), Decimal(0)),
        "state": rows.one(
            "SELECT * EXCLUDE (recorded_at) FROM account_snapshots "
            "ORDER BY session DESC, recorded_at DESC LIMIT 1"
        ),
        "figures": vars(figures(found.sessions)),
        "rolling": [
            (session, sharpe, hits)
            for session, sharpe, hits in rolling(found.sessions)
            if sharpe is not None
        ],
        "unexplained": [vars(one) for one in found.unexplained],
    }


def _table(parts: Mapping[str, Parts]) -> list[dict[str, Any]]:
    rows = [(name, _parts(one)) for name, one in parts.items()]
    # What rounding leaves to nobody is no line of its own.
    return [{"name": name, "parts": amounts} for name, amounts in rows if any(amounts.values())]


def _parts(parts: Parts) -> dict[str, Decimal]:
    named = {**vars(parts), "total": parts.total}
    return {name: amount.quantize(CENT, ROUND_HALF_UP) for name, amount in named.items()}
