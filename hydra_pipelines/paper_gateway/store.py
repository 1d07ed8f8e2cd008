"""The account's file: SQLite in WAL mode, one writer, everything the venue has acknowledged.

Each change of the venue is one transaction, committed before anybody is told. A killed process
loses nothing that was committed (a power cut may lose the last moments: no fsync per order).
Only rows in and out belong here.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from hydra_pipelines.paper_gateway.book import ACTIVE, ActionBooked, Execution, Order, Position

SCHEMA_VERSION = "1"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS orders (
    perm_id INTEGER PRIMARY KEY, client_id INTEGER NOT NULL, order_id INTEGER NOT NULL,
    con_id INTEGER NOT NULL, symbol TEXT NOT NULL, action TEXT NOT NULL,
    quantity INTEGER NOT NULL, "limit" INTEGER NOT NULL, tif TEXT NOT NULL,
    order_ref TEXT NOT NULL, placed_at INTEGER NOT NULL, expires INTEGER, fields TEXT NOT NULL,
    exchange TEXT NOT NULL, status TEXT NOT NULL, filled INTEGER NOT NULL,
    notional INTEGER NOT NULL, commission INTEGER NOT NULL, last_price INTEGER NOT NULL,
    resting INTEGER NOT NULL, done_at INTEGER, reason TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS orders_address ON orders (client_id, order_id);
CREATE INDEX IF NOT EXISTS orders_done ON orders (done_at);
CREATE TABLE IF NOT EXISTS executions (
    serial INTEGER PRIMARY KEY, exec_id TEXT NOT NULL UNIQUE, perm_id INTEGER NOT NULL,
    client_id INTEGER NOT NULL, order_id INTEGER NOT NULL, order_ref TEXT NOT NULL,
    con_id INTEGER NOT NULL, symbol TEXT NOT NULL, exchange TEXT NOT NULL, action TEXT NOT NULL,
    time INTEGER NOT NULL, shares INTEGER NOT NULL, price INTEGER NOT NULL,
    cum_quantity INTEGER NOT NULL, cum_notional INTEGER NOT NULL, commission INTEGER NOT NULL,
    realized INTEGER, maker INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS executions_time ON executions (time);
CREATE TABLE IF NOT EXISTS positions (
    symbol TEXT PRIMARY KEY, con_id INTEGER NOT NULL, quantity INTEGER NOT NULL,
    cost INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS actions (
    session TEXT NOT NULL, symbol TEXT NOT NULL, ratio TEXT NOT NULL,
    quantity_before INTEGER NOT NULL, quantity_after INTEGER NOT NULL, cash INTEGER NOT NULL,
    PRIMARY KEY (session, symbol)
) STRICT;
CREATE TABLE IF NOT EXISTS clients (
    client_id INTEGER PRIMARY KEY, highest_order_id INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS requests (
    serial INTEGER PRIMARY KEY, time INTEGER NOT NULL, client_id INTEGER NOT NULL,
    kind TEXT NOT NULL, order_id INTEGER
) STRICT;
"""

_ORDER_COLUMNS = (
    "perm_id", "client_id", "order_id", "con_id", "symbol", "action", "quantity", "limit", "tif",
    "order_ref", "placed_at", "expires", "fields", "exchange", "status", "filled", "notional",
    "commission", "last_price", "resting", "done_at", "reason",
)  # fmt: skip
_EXECUTION_COLUMNS = (
    "serial", "exec_id", "perm_id", "client_id", "order_id", "order_ref", "con_id", "symbol",
    "exchange", "action", "time", "shares", "price", "cum_quantity", "cum_notional", "commission",
    "realized", "maker",
)  # fmt: skip


def _insert(table: str, columns: Iterable[str]) -> str:
    names = list(columns)
    quoted = ", ".join(f'"{name}"' for name in names)
    marks = ", ".join(f":{name}" for name in names)
    return f"INSERT OR REPLACE INTO {table} ({quoted}) VALUES ({marks})"


class AccountStore:
    """The file of one venue account."""

    def __init__(self, path: Path) -> None:
        """Opens or makes the file; raises ValueError for one that another version made."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._depth = 0
        with self.transaction():
            for statement in _SCHEMA.split(";\n"):
                self._db.execute(statement)
            made_by = self.meta().get("schema")
            if made_by is None:
                self.set_meta(schema=SCHEMA_VERSION)
        if made_by not in (None, SCHEMA_VERSION):
            raise ValueError(
                f"{path} has schema {made_by}, this version reads {SCHEMA_VERSION}; "
                "use the version that made it or another home"
            )

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; an inner transaction is part of the outer one."""
        if self._depth:
            yield
            return
        self._db.execute("BEGIN IMMEDIATE")
        self._depth = 1
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        else:
            self._db.execute("COMMIT")
        finally:
            self._depth = 0

    def meta(self) -> dict[str, str]:
        return dict(self._db.execute("SELECT name, value FROM meta").fetchall())

    def set_meta(self, **values: str) -> None:
        self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", list(values.items()))

    def save_order(self, order: Order) -> None:
        row = {name: getattr(order, name) for name in _ORDER_COLUMNS}
        row["fields"] = json.dumps(order.fields, separators=(",", ":"))
        for name in ("placed_at", "expires", "done_at"):
            row[name] = _epoch(row[name])
        self._db.execute(_insert("orders", _ORDER_COLUMNS), row)

    def active_orders(self) -> list[Order]:
        return self._orders("status IN (?, ?)", ACTIVE)

    def orders_done(self, since: datetime, until: datetime) -> list[Order]:
        """Orders that ended in [since, until)."""
        return self._orders("done_at >= ? AND done_at < ?", (_epoch(since), _epoch(until)))

    def order_of(self, client_id: int, order_id: int) -> Order | None:
        """The latest order at an address."""
        found = self._orders("client_id = ? AND order_id = ?", (client_id, order_id))
        return found[-1] if found else None

    def orders(self) -> list[Order]:
        return self._orders("1", ())

    def last_perm_id(self) -> int | None:
        return self._db.execute("SELECT max(perm_id) FROM orders").fetchone()[0]

    def save_execution(self, execution: Execution) -> None:
        row: dict[str, Any] = {name: getattr(execution, name) for name in _EXECUTION_COLUMNS}
        row["time"] = _epoch(execution.time)
        self._db.execute(_insert("executions", _EXECUTION_COLUMNS), row)

    def executions(self, since: datetime, until: datetime) -> list[Execution]:
        """Executions in [since, until), in the order they happened."""
        return self._executions("time >= ? AND time < ?", (_epoch(since), _epoch(until)))

    def all_executions(self) -> list[Execution]:
        return self._executions("1", ())

    def last_serial(self) -> int:
        return self._db.execute("SELECT coalesce(max(serial), 0) FROM executions").fetchone()[0]

    def save_position(self, symbol: str, position: Position) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO positions VALUES (?, ?, ?, ?)",
            (symbol, position.con_id, position.quantity, position.cost),
        )

    def positions(self) -> dict[str, Position]:
        rows = self._db.execute("SELECT symbol, con_id, quantity, cost FROM positions")
        return {symbol: Position(*rest) for symbol, *rest in rows.fetchall()}

    def save_action(self, action: ActionBooked) -> None:
        self._db.execute(
            "INSERT INTO actions VALUES (?, ?, ?, ?, ?, ?)",
            (action.session.isoformat(), *list(vars(action).values())[1:]),
        )

    def actions(self) -> list[ActionBooked]:
        rows = self._db.execute("SELECT * FROM actions ORDER BY session, symbol")
        return [ActionBooked(date.fromisoformat(day), *rest) for day, *rest in rows]

    def highest_order_id(self, client_id: int) -> int:
        found = self._db.execute(
            "SELECT highest_order_id FROM clients WHERE client_id = ?", (client_id,)
        ).fetchone()
        return found[0] if found else 0

    def use_order_id(self, client_id: int, order_id: int) -> None:
        self._db.execute(
            "INSERT INTO clients VALUES (?, ?) ON CONFLICT (client_id) DO UPDATE "
            "SET highest_order_id = max(highest_order_id, excluded.highest_order_id)",
            (client_id, order_id),
        )

    def forget_order_ids(self) -> None:
        self._db.execute("DELETE FROM clients")

    def log_request(self, at: datetime, client_id: int, kind: str, order_id: int | None) -> None:
        self._db.execute(
            "INSERT INTO requests (time, client_id, kind, order_id) VALUES (?, ?, ?, ?)",
            (_epoch(at), client_id, kind, order_id),
        )

    def requests(self, after: int) -> list[dict[str, Any]]:
        """The log of order requests received, from serial number `after` on."""
        rows = self._db.execute("SELECT * FROM requests WHERE serial > ? ORDER BY serial", (after,))
        return [{**dict(row), "time": _instant(row["time"]).isoformat()} for row in rows]

    def request_count(self) -> int:
        return self._db.execute("SELECT coalesce(max(serial), 0) FROM requests").fetchone()[0]

    def _orders(self, where: str, values: tuple[Any, ...]) -> list[Order]:
        found = []
        for row in self._db.execute(f"SELECT * FROM orders WHERE {where} ORDER BY perm_id", values):
            record = dict(row)
            record["fields"] = json.loads(record["fields"])
            record["resting"] = bool(record["resting"])
            for name in ("placed_at", "expires", "done_at"):
                record[name] = None if record[name] is None else _instant(record[name])
            found.append(Order(**record))
        return found

    def _executions(self, where: str, values: tuple[Any, ...]) -> list[Execution]:
        rows = self._db.execute(f"SELECT * FROM executions WHERE {where} ORDER BY serial", values)
        return [
            Execution(**{**dict(row), "time": _instant(row["time"]), "maker": bool(row["maker"])})
            for row in rows
        ]


def _epoch(instant: datetime | None) -> int | None:
    return None if instant is None else int(instant.timestamp())


def _instant(epoch: int) -> datetime:
    return datetime.fromtimestamp(epoch, UTC)
