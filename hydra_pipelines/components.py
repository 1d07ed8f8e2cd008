"""The parts of a desk that run for long, and when each of them last said that it lives.

They are kept in the table `components` of the control store's file, so that a part can be seen
while everything else is down. A heartbeat costs about a millisecond and never fails whoever sends
it. Whether a part is well follows from the age of its last heartbeat alone: nobody is asked.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from hydra_pipelines.control import Control, ControlError
from hydra_pipelines.kept import connected

_TABLE = """
CREATE TABLE IF NOT EXISTS components (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL,
    host TEXT NOT NULL, port INTEGER, url TEXT NOT NULL, capabilities TEXT NOT NULL,
    ttl_s REAL NOT NULL, pid INTEGER, detail TEXT NOT NULL,
    registered_at TEXT NOT NULL, last_beat TEXT NOT NULL
)
"""
_TIMEOUT_S = 0.5
"""A heartbeat that can't be written in this time is left out: the next one comes soon."""
TTL_S = 30.0
"""Default of how long a heartbeat is good for."""
_BEATS_PER_TTL = 3
_DEAD_AFTER_TTLS = 3

_log = logging.getLogger(__name__)


class Health(StrEnum):
    """WELL: the last heartbeat is within its time to live. LATE: not longer than two more of
    these ago, which a machine under load may come to. DEAD: older than that."""

    WELL = "well"
    LATE = "late"
    DEAD = "dead"


@dataclass(frozen=True)
class Component:
    """What a part says of itself.

    id: the same after a restart of the part, so that it takes its own place again. kind: `daemon`,
    `webserver`, `code server`, `gateway`, `dashboard`, `worker`, … port: None where it doesn't
    listen. url: of its API's documents, empty where it has none. capabilities: words on what it can
    do. ttl_s: seconds for which a heartbeat is good. detail: what else a person should know of it.
    """

    id: str
    kind: str
    name: str
    host: str = "127.0.0.1"
    port: int | None = None
    url: str = ""
    capabilities: tuple[str, ...] = ()
    ttl_s: float = TTL_S
    pid: int | None = None
    detail: str = ""


@dataclass(frozen=True)
class Registered:
    """A part as it is kept; both times in UTC."""

    component: Component
    registered_at: datetime
    last_beat: datetime

    def age_s(self, now: datetime) -> float:
        """Seconds since the last heartbeat."""
        return max(0.0, (now - self.last_beat).total_seconds())

    def health(self, now: datetime) -> Health:
        age, ttl = self.age_s(now), self.component.ttl_s
        if age <= ttl:
            return Health.WELL
        return Health.LATE if age <= _DEAD_AFTER_TTLS * ttl else Health.DEAD


class Components:
    """The registry of one desk. path: of the control store's file."""

    def __init__(self, path: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)):
        self._path = path
        self._now = now

    def beat(self, component: Component) -> bool:
        """Register the part, or renew its heartbeat. Never raises; false where it wasn't kept."""
        at, c = self._now().isoformat(), component
        try:
            with self._connect() as connection:
                # A heartbeat that a power failure takes is no loss: it isn't worth a sync.
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.execute(
                    "INSERT INTO components VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
                    "ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, name = excluded.name, "
                    "host = excluded.host, port = excluded.port, url = excluded.url, "
                    "capabilities = excluded.capabilities, ttl_s = excluded.ttl_s, "
                    "pid = excluded.pid, detail = excluded.detail, "
                    # A part under another process id has begun anew.
                    "registered_at = CASE WHEN pid IS excluded.pid THEN registered_at "
                    "ELSE excluded.registered_at END, last_beat = excluded.last_beat",
                    (c.id, c.kind, c.name, c.host, c.port, c.url, json.dumps(c.capabilities),
                     c.ttl_s, c.pid, c.detail, at, at),
                )  # fmt: skip
        except Exception as error:
            _log.warning("heartbeat of %s was not kept: %s", c.id, error)
            return False
        return True

    def all(self) -> tuple[Registered, ...]:
        """Every part, by kind and name; empty where none ever registered. Raises ControlError."""
        if not self._path.exists():
            return ()
        try:
            with self._connect() as connection:
                rows = connection.execute(
                    "SELECT id, kind, name, host, port, url, capabilities, ttl_s, pid, detail, "
                    "registered_at, last_beat FROM components ORDER BY kind, name, id"
                ).fetchall()
        except (sqlite3.Error, OSError) as error:
            raise ControlError(f"the components in {self._path} can't be read: {error}") from error
        return tuple(_registered(row) for row in rows)

    def leave(self, component_id: str) -> None:
        """Take a part off that ends in order. Never raises."""
        with suppress(sqlite3.Error, OSError), self._connect() as connection:
            connection.execute("DELETE FROM components WHERE id = ?", (component_id,))

    def deregister(self, component_id: str, actor: str) -> bool:
        """Take a part off by a person's word, which is noted in the control store's journal.

        False where there is none of that id. A part that lives is back with its next heartbeat.
        Raises ControlError.
        """
        try:
            with self._connect() as connection:
                cursor = connection.execute("DELETE FROM components WHERE id = ?", (component_id,))
                if cursor.rowcount == 0:
                    return False
        except (sqlite3.Error, OSError) as error:
            raise ControlError(f"{component_id} can't be taken off: {error}") from error
        Control(self._path).note("component_deregistered", actor, {"component": component_id})
        return True

    def forget_all(self) -> None:
        """Take every part off, as in a store that was made elsewhere. Never raises."""
        with suppress(sqlite3.Error, OSError), self._connect() as connection:
            connection.execute("DELETE FROM components")

    @contextmanager
    def beating(
        self, component: Component, refreshed: Callable[[Component], Component] = lambda c: c
    ) -> Iterator[None]:
        """Send heartbeats of this process's part from a thread while the block runs, then leave.

        refreshed: asked before each of them for what the part says of itself by then.
        """
        component = replace(component, pid=component.pid or os.getpid())
        over = threading.Event()

        def keep_beating() -> None:
            while True:
                try:
                    current = refreshed(component)
                except Exception as error:
                    current = replace(component, detail=f"{type(error).__name__}: {error}")
                self.beat(current)
                if over.wait(component.ttl_s / _BEATS_PER_TTL):
                    return

        thread = threading.Thread(target=keep_beating, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(timeout=2 * _TIMEOUT_S)
            self.leave(component.id)

    def _connect(self) -> AbstractContextManager[sqlite3.Connection]:
        return connected(self._path, _TABLE, _TIMEOUT_S)


def _registered(row: tuple[object, ...]) -> Registered:
    *described, registered_at, last_beat = row
    described[6] = tuple(json.loads(str(described[6])))
    return Registered(
        Component(*described),  # type: ignore[arg-type]
        datetime.fromisoformat(str(registered_at)),
        datetime.fromisoformat(str(last_beat)),
    )
