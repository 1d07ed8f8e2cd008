"""Whether the stores of a desk are what they should be: they open, and their rows fit together.

Cheap enough for every start. The invariants are those that trading relies on: where one is broken,
the next order would be based on a history that can't be. Unfinished business, such as fills that
positions were not read after yet, breaks none.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hydra_pipelines.ledger import trades
from hydra_pipelines.ledger.store import Ledger, LedgerBusy, LedgerError, Rows

if TYPE_CHECKING:
    from hydra_pipelines.desk import Desk

_EXAMPLES = 3
_WHAT_TO_DO = (
    "Stop what uses it, move it aside, and go on from the last good copy: `hydra restore FILE` "
    "(docs/operations.md, When a store is damaged)"
)


class StoreDamaged(LedgerError):
    """A store can't be used as it is; the message names it and says what to do."""


@dataclass(frozen=True)
class Finding:
    """What was found of one store."""

    store: str
    ok: bool
    detail: str


_RULES = {
    "orders without their plan": (
        "SELECT order_ref FROM order_intents ANTI JOIN plans USING (plan_id)"
    ),
    "rows of a plan that isn't there": (
        "SELECT plan_id || '-' || sequence FROM plan_rows ANTI JOIN plans USING (plan_id)"
    ),
    "events of an order that was never intended": (
        "SELECT DISTINCT order_ref FROM order_events ANTI JOIN order_intents USING (order_ref)"
    ),
    "events with the number of another": (
        "SELECT seq FROM order_events GROUP BY seq HAVING count(*) > 1"
    ),
    "orders written down twice": (
        "SELECT order_ref FROM order_intents GROUP BY order_ref HAVING count(*) > 1"
    ),
    "executions written down twice": (
        "SELECT exec_key FROM executed_trades GROUP BY exec_key HAVING count(*) > 1"
    ),
    "executions that are no trade": (
        "SELECT exec_key FROM executed_trades "
        "WHERE quantity <= 0 OR price <= 0 OR side NOT IN ('BUY', 'SELL')"
    ),
    "executions of one of our orders in another name or direction": (
        "SELECT t.exec_key FROM executed_trades t JOIN order_intents i USING (order_ref) "
        "WHERE (t.symbol, t.side, t.account) <> (i.symbol, i.side, i.account)"
    ),
}
"""What must not be there -> the keys of the rows that are it."""


def broken_rules(rows: Rows) -> Iterator[str]:
    """What does not fit together in a ledger, in words; nothing where all does."""
    numbers = [row["number"] for row in rows.query("SELECT number FROM schema_versions ORDER BY 1")]
    if numbers != list(range(1, len(numbers) + 1)):
        yield f"steps of its schema are missing: it has {numbers}"
    for name, sql in _RULES.items():
        yield from _said(name, [str(key) for row in rows.query(sql) for key in row.values()])
    for row in rows.query(
        "SELECT account, max(updated_at) AS synced FROM live_positions GROUP BY account"
    ):
        yield from _said(
            f"positions of {row['account']} that its trades don't add up to",
            _positions_off(rows, row["account"], row["synced"]),
        )


def _positions_off(rows: Rows, account: str, synced: object) -> list[str]:
    """Symbols whose position, as last read, isn't the sum of what was traded until then.

    Differences that reconciliation has noted are known, and not damage.
    """
    later = rows.value(
        "SELECT (SELECT count(*) FROM executed_trades WHERE account = $1 AND recorded_at > $2) + "
        "(SELECT count(*) FROM position_adjustments WHERE account = $1 AND recorded_at > $2)",
        [account, synced],
    )
    if later:
        return []
    known = {
        row["symbol"]
        for row in rows.query(
            "SELECT DISTINCT symbol FROM position_breaks WHERE account = ? AND ended_at IS NULL",
            [account],
        )
    }
    live = {
        row["symbol"]: row["quantity"]
        for row in rows.query(
            "SELECT symbol, quantity FROM live_positions WHERE account = ?", [account]
        )
    }
    held = trades.held(rows, account)
    return [
        f"{symbol} ({live.get(symbol, 0)}, traded {held.get(symbol, 0)})"
        for symbol in sorted((live.keys() | held.keys()) - known)
        if live.get(symbol, 0) != held.get(symbol, 0)
    ]


def _said(name: str, broken: list[str]) -> Iterator[str]:
    if broken:
        more = f" and {len(broken) - _EXAMPLES} more" if len(broken) > _EXAMPLES else ""
        yield f"{name}: {', '.join(broken[:_EXAMPLES])}{more}"


def look_at_ledger(path: Path, patience_s: float) -> str:
    """The ledger's state in words. Raises StoreDamaged, or LedgerBusy after patience_s.

    The live file is looked at, which alone says whether the next cycle can write; a schema of
    before is brought forward by that.
    """
    import duckdb

    if not path.exists():
        return "none yet, made by the first cycle"
    try:
        with Ledger(path, lock_timeout_s=patience_s).transaction() as tx:
            wrong = list(broken_rules(tx))
            number = tx.value("SELECT max(number) FROM schema_versions")
            plans = tx.value("SELECT count(*) FROM plans")
    except LedgerBusy:
        raise
    except (duckdb.Error, LedgerError) as error:
        raise StoreDamaged(f"the ledger {path} is damaged: {error}. {_WHAT_TO_DO}") from error
    if wrong:
        raise StoreDamaged(
            f"the ledger {path} does not fit together: {'; '.join(wrong)}. {_WHAT_TO_DO}"
        )
    return f"schema {number}, {plans} sessions planned"


def look_at_sqlite(path: Path, what: str) -> str:
    """The state of a SQLite file in words. Raises StoreDamaged."""
    if not path.exists():
        return "none yet"
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as connection:
            (said, *_) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        raise StoreDamaged(f"{what} {path} is damaged: {error}. {_WHAT_TO_DO}") from error
    if said != "ok":
        raise StoreDamaged(f"{what} {path} is damaged: {said}. {_WHAT_TO_DO}")
    return f"{path.stat().st_size / 1e6:.1f} MB"


def look_at_stores(desk: Desk, patience_s: float) -> Iterator[Finding]:
    """What there is to say of every store, one after the other."""
    settings = desk.settings
    files = {
        "control store": settings.control_path,
        "model registry": settings.mlruns_path / "mlflow.db",
        "paper venue": settings.venue_path / "venue.sqlite",
    }
    try:
        yield Finding("ledger", True, look_at_ledger(settings.ledger_path, patience_s))
    except LedgerError as error:
        yield Finding("ledger", False, str(error))
    for store, path in files.items():
        try:
            yield Finding(store, True, look_at_sqlite(path, f"the {store}"))
        except StoreDamaged as error:
            yield Finding(store, False, str(error))


def require_sound_stores(desk: Desk) -> None:
    """Raises StoreDamaged naming every store that can't be used as it is."""
    patience_s = desk.settings.ledger.lock_timeout_s
    wrong = [finding.detail for finding in look_at_stores(desk, patience_s) if not finding.ok]
    if wrong:
        raise StoreDamaged("\n".join(wrong))
