"""The small shared state that must work when all else fails: kill switch, agent state, breakers.

SQLite in WAL mode, always writable, independent of the ledger and its lock. A breaker stays
tripped over restarts until it is reset.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

_TIMEOUT_S = 5.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS switches (
    name TEXT PRIMARY KEY, value TEXT NOT NULL, reason TEXT NOT NULL, changed_at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS breakers (
    name TEXT PRIMARY KEY, reason TEXT NOT NULL, session TEXT NOT NULL, tripped_at TEXT NOT NULL
);
"""


class ControlError(RuntimeError):
    """The control store can't be used, which stops trading."""


@dataclass(frozen=True)
class TrippedBreaker:
    name: str
    reason: str
    session: str
    tripped_at: str


class Control:
    """The control store of one desk."""

    def __init__(self, path: Path):
        self.path = path

    @property
    def kill_switch(self) -> bool:
        return self._switch("kill_switch", "off") != "off"

    def set_kill_switch(self, on: bool, reason: str) -> None:
        self._set_switch("kill_switch", "on" if on else "off", reason)

    @property
    def agent_paused(self) -> bool:
        return self._switch("agent", "running") != "running"

    def set_agent_paused(self, paused: bool, reason: str) -> None:
        self._set_switch("agent", "paused" if paused else "running", reason)

    def trip(self, name: str, reason: str, session: str) -> bool:
        """Trip a breaker; false where it is tripped already (its first reason stays)."""
        with self._connect() as connection:
            cursor = connection.execute(
                "INSERT INTO breakers VALUES (?, ?, ?, ?) ON CONFLICT (name) DO NOTHING",
                (name, reason, session, datetime.now(UTC).isoformat()),
            )
            return cursor.rowcount == 1

    def reset(self, name: str) -> bool:
        """Reset a breaker; false where it is not tripped."""
        with self._connect() as connection:
            return connection.execute("DELETE FROM breakers WHERE name = ?", (name,)).rowcount == 1

    def tripped(self) -> tuple[TrippedBreaker, ...]:
        with self._connect() as connection:
            rows = connection.execute(
                "SELECT name, reason, session, tripped_at FROM breakers ORDER BY tripped_at"
            ).fetchall()
        return tuple(TrippedBreaker(*row) for row in rows)

    def _switch(self, name: str, default: str) -> str:
        with self._connect() as connection:
            row = connection.execute(
                "SELECT value FROM switches WHERE name = ?", (name,)
            ).fetchone()
        return row[0] if row else default

    def _set_switch(self, name: str, value: str, reason: str) -> None:
        with self._connect() as connection:
            connection.execute(
                "INSERT INTO switches VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET "
                "value = excluded.value, reason = excluded.reason, "
                "changed_at = excluded.changed_at",
                (name, value, reason, datetime.now(UTC).isoformat()),
            )

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, timeout=_TIMEOUT_S, isolation_level=None)
            try:
                _prepare(connection)
                yield connection
            finally:
                connection.close()
        except (sqlite3.Error, OSError) as error:
            raise ControlError(
                f"control store {self.path} can't be used ({error}): nothing is traded without it"
            ) from error


def _prepare(connection: sqlite3.Connection) -> None:
    """WAL and tables, once for a file; processes that are first at the same time take turns."""
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    deadline = time.monotonic() + _TIMEOUT_S
    while mode != "wal":
        try:
            # SQLite does not wait for its lock here, whatever the time-out.
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    connection.executescript(_SCHEMA)
