"""The small shared state that must work when all else fails: kill switch, agent state, breakers.

SQLite in WAL mode, always writable, independent of the ledger and its lock. A breaker stays
tripped over restarts until it is reset. Every change is kept in a journal that is only appended
to: what was done, by whom, why and when. `day.carrying` takes it over into the ledger's audit
trail, so whoever changes something here need not write that down a second time.
"""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from hydra_pipelines.kept import KeptConnection

_TIMEOUT_S = 5.0
_VERSION = 3
_SCHEMA = """
CREATE TABLE IF NOT EXISTS switches (
    name TEXT PRIMARY KEY, value TEXT NOT NULL, reason TEXT NOT NULL, changed_at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS breakers (
    name TEXT PRIMARY KEY, reason TEXT NOT NULL, session TEXT NOT NULL, tripped_at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS journal (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    occurred_at TEXT NOT NULL, event TEXT NOT NULL, actor TEXT NOT NULL, details TEXT NOT NULL
);
CREATE TRIGGER IF NOT EXISTS journal_is_not_changed BEFORE UPDATE ON journal
    BEGIN SELECT RAISE(ABORT, 'the journal is only appended to'); END;
CREATE TRIGGER IF NOT EXISTS journal_is_not_cut BEFORE DELETE ON journal
    BEGIN SELECT RAISE(ABORT, 'the journal is only appended to'); END;
CREATE TABLE IF NOT EXISTS identity (store TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS levels (
    breaker TEXT PRIMARY KEY, value REAL NOT NULL, session TEXT NOT NULL, acknowledged_at TEXT
);
"""


class ControlError(RuntimeError):
    """The control store can't be used, which stops trading."""


class ControlEvent(StrEnum):
    """What the store writes into its journal by itself; `note` takes any other name."""

    KILL_SWITCH_ON = "kill_switch_on"
    KILL_SWITCH_OFF = "kill_switch_off"
    AGENT_PAUSED = "agent_paused"
    AGENT_RESUMED = "agent_resumed"
    BREAKER_TRIPPED = "breaker_tripped"
    BREAKER_RESET = "breaker_reset"


@dataclass(frozen=True)
class TrippedBreaker:
    name: str
    reason: str
    session: str
    tripped_at: str


@dataclass(frozen=True)
class Level:
    """The value that a tripped breaker was last seen at, in a session.

    acknowledged_at: when a person reset it at that value; None while it is tripped.
    """

    value: float
    session: str
    acknowledged_at: str | None


@dataclass(frozen=True)
class JournalEntry:
    """One change. seq: ascending in one store. actor: `system`, `agent` or `user:NAME`."""

    seq: int
    occurred_at: datetime
    event: str
    actor: str
    details: Mapping[str, Any]


class Control:
    """The control store of one desk."""

    def __init__(self, path: Path):
        self.path = path
        self._kept: KeptConnection | None = None

    @property
    def kill_switch(self) -> bool:
        return self._switch("kill_switch", "off") != "off"

    def set_kill_switch(self, on: bool, reason: str, actor: str = "system") -> None:
        event = ControlEvent.KILL_SWITCH_ON if on else ControlEvent.KILL_SWITCH_OFF
        with self._change() as connection:
            _set_switch(connection, "kill_switch", "on" if on else "off", reason, event, actor)

    @property
    def agent_paused(self) -> bool:
        return self._switch("agent", "running") != "running"

    def set_agent_paused(self, paused: bool, reason: str, actor: str = "system") -> None:
        event = ControlEvent.AGENT_PAUSED if paused else ControlEvent.AGENT_RESUMED
        with self._change() as connection:
            value = "paused" if paused else "running"
            _set_switch(connection, "agent", value, reason, event, actor)

    def halt(self, reason: str, actor: str) -> None:
        """Kill switch on and agent paused, both or neither."""
        on, paused = ControlEvent.KILL_SWITCH_ON, ControlEvent.AGENT_PAUSED
        with self._change() as connection:
            _set_switch(connection, "kill_switch", "on", reason, on, actor)
            _set_switch(connection, "agent", "paused", f"halt: {reason}", paused, actor)

    def trip(self, name: str, reason: str, session: str, actor: str = "system") -> bool:
        """Trip a breaker; false where it is tripped already (its first reason stays)."""
        with self._change() as connection:
            cursor = connection.execute(
                "INSERT INTO breakers VALUES (?, ?, ?, ?) ON CONFLICT (name) DO NOTHING",
                (name, reason, session, _now()),
            )
            if tripped := cursor.rowcount == 1:
                details = {"breaker": name, "why": reason, "session": session}
                _append(connection, ControlEvent.BREAKER_TRIPPED, actor, details)
            return tripped

    def reset(
        self, name: str, reason: str = "", actor: str = "system", *, acknowledge: bool = False
    ) -> bool:
        """Reset a breaker; false where it is not tripped.

        acknowledge: whoever does it knows the value that it was last seen at, which is kept.
        """
        with self._change() as connection:
            row = connection.execute(
                "SELECT reason, session FROM breakers WHERE name = ?", (name,)
            ).fetchone()
            if row is None:
                return False
            connection.execute("DELETE FROM breakers WHERE name = ?", (name,))
            if acknowledge:
                connection.execute(
                    "UPDATE levels SET acknowledged_at = ? WHERE breaker = ?", (_now(), name)
                )
            else:
                connection.execute("DELETE FROM levels WHERE breaker = ?", (name,))
            details = {"breaker": name, "why": reason, "tripped_by": row[0], "session": row[1]}
            _append(connection, ControlEvent.BREAKER_RESET, actor, details)
            return True

    def tripped(self) -> tuple[TrippedBreaker, ...]:
        with self._connect() as connection:
            rows = connection.execute(
                "SELECT name, reason, session, tripped_at FROM breakers ORDER BY tripped_at"
            ).fetchall()
        return tuple(TrippedBreaker(*row) for row in rows)

    def set_level(self, name: str, value: float, session: str) -> None:
        """Note the value that a breaker is seen at; for one that is not tripped nothing."""
        with self._change() as connection:
            connection.execute(
                "INSERT INTO levels SELECT ?, ?, ?, NULL "
                "WHERE EXISTS (SELECT 1 FROM breakers WHERE name = ?) "
                "ON CONFLICT (breaker) DO UPDATE SET value = excluded.value, "
                "session = excluded.session, acknowledged_at = NULL",
                (name, value, session, name),
            )

    def forget_level(self, name: str) -> None:
        with self._change() as connection:
            connection.execute("DELETE FROM levels WHERE breaker = ?", (name,))

    def levels(self) -> dict[str, Level]:
        """By breaker: the values that tripped ones were last seen at, and others were reset at."""
        with self._connect() as connection:
            rows = connection.execute(
                "SELECT breaker, value, session, acknowledged_at FROM levels"
            ).fetchall()
        return {name: Level(*row) for name, *row in rows}

    def note(self, event: str, actor: str, details: Mapping[str, Any]) -> int:
        """Append to the journal what changes nothing else here; its serial number."""
        with self._change() as connection:
            return _append(connection, event, actor, details)

    def journal(self, since: int = 0) -> tuple[JournalEntry, ...]:
        """Entries after the serial number `since`, oldest first."""
        with self._connect() as connection:
            rows = connection.execute(
                "SELECT seq, occurred_at, event, actor, details FROM journal WHERE seq > ? "
                "ORDER BY seq",
                (since,),
            ).fetchall()
        return tuple(_entry(row) for row in rows)

    def last(self, *events: str) -> JournalEntry | None:
        """The latest entry of any of these events."""
        marks = ", ".join("?" * len(events))
        with self._connect() as connection:
            row = connection.execute(
                "SELECT seq, occurred_at, event, actor, details FROM journal "
                f"WHERE event IN ({marks}) ORDER BY seq DESC LIMIT 1",
                events,
            ).fetchone()
        return _entry(row) if row else None

    @property
    def store_id(self) -> str:
        """Names this store for ever: serial numbers begin anew where its file was lost."""
        with self._connect() as connection:
            (store,) = connection.execute("SELECT store FROM identity").fetchone()
        return str(store)

    def _switch(self, name: str, default: str) -> str:
        with self._connect() as connection:
            row = connection.execute(
                "SELECT value FROM switches WHERE name = ?", (name,)
            ).fetchone()
        return row[0] if row else default

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """A connection whose changes are made together with their entry in the journal."""
        with self._connect() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextmanager
    def kept_open(self) -> Iterator[None]:
        """Within the block one connection is kept: the kill switch is asked for all the time.

        For whoever holds the connection to the broker: who moves the store away, as a restore
        does, has that first. SQLite must not have a file open that is moved.
        """
        if self._kept is not None:
            yield
            return
        kept = self._kept = KeptConnection(self.path, self._open)
        try:
            yield
        finally:
            self._kept = None
            kept.drop()

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        try:
            if self._kept is not None:
                with self._kept.use() as connection:
                    yield connection
            else:
                with closing(self._open()) as connection:
                    yield connection
        except (sqlite3.Error, OSError) as error:
            raise ControlError(
                f"control store {self.path} can't be used ({error}): nothing is traded without it"
            ) from error

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path, timeout=_TIMEOUT_S, isolation_level=None)
        try:
            _prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection


def _set_switch(
    connection: sqlite3.Connection,
    name: str,
    value: str,
    reason: str,
    event: ControlEvent,
    actor: str,
) -> None:
    connection.execute(
        "INSERT INTO switches VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET "
        "value = excluded.value, reason = excluded.reason, changed_at = excluded.changed_at",
        (name, value, reason, _now()),
    )
    _append(connection, event, actor, {"why": reason})


def _append(
    connection: sqlite3.Connection, event: str, actor: str, details: Mapping[str, Any]
) -> int:
    cursor = connection.execute(
        "INSERT INTO journal (occurred_at, event, actor, details) VALUES (?, ?, ?, ?)",
        (_now(), str(event), actor, json.dumps(dict(details), default=str)),
    )
    return int(cursor.lastrowid or 0)


def _entry(row: tuple[int, str, str, str, str]) -> JournalEntry:
    seq, occurred_at, event, actor, details = row
    return JournalEntry(seq, datetime.fromisoformat(occurred_at), event, actor, json.loads(details))


def _now() -> str:
    return datetime.now(UTC).isoformat()


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
    if _version(connection) >= _VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        if _version(connection) < _VERSION:
            for statement in _statements(_SCHEMA):
                connection.execute(statement)
            connection.execute(
                "INSERT INTO identity SELECT ? WHERE NOT EXISTS (SELECT 1 FROM identity)",
                (uuid.uuid4().hex,),
            )
            connection.execute(f"PRAGMA user_version = {_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _statements(script: str) -> Iterator[str]:
    """The statements of a script: `executescript` would commit the transaction first."""
    statement = ""
    for line in script.splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
