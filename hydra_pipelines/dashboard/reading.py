"""What pages read: through `hydra_pipelines.api`, kept until the stores change, and never an error.

A value is made once for a state of the stores, however many ask for it. A figure that takes long to
make (`figure`) is not waited for when there is an older one: pages say of when it is. Whatever
can't be read is told as a sentence in its place, so that one broken store leaves the rest of a page
as it is.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

from hydra_pipelines.control import ControlError
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger.reading import SnapshotReader, fingerprint
from hydra_pipelines.ledger.store import LedgerError, LedgerMissing
from hydra_pipelines.sessions import ClockError, NotASession, UnknownCalendar
from hydra_pipelines.settings import Settings, SettingsError

T = TypeVar("T")
PATIENCE_S = 0.06
"""So long a page waits for a new figure when it has an older one."""
SLOW_S = 0.03
"""A figure that took longer is not waited for, and"""
REST = 60
"""made anew at most once in so many times as long as it takes,"""
LONGEST_REST_S = 60.0
"""though after a minute in any case."""
KEPT = 400
"""Values kept at a time; the one that was asked for longest ago goes first."""

_log = logging.getLogger(__name__)


class ReadingDesk(Desk):
    """A desk that reads from a snapshot kept open, and can write nothing to the ledger."""

    @cached_property
    def ledger(self) -> SnapshotReader:
        return SnapshotReader(self.settings.ledger_path)


@dataclass(frozen=True)
class Reading(Generic[T]):
    """A value, or why there is none. as_of: when it was read, UTC.

    missing: nothing is wrong, there is just nothing yet. stale: of an older state of the stores
    than now, since making it takes long.
    """

    value: T | None
    why: str = ""
    as_of: datetime | None = None
    missing: bool = False
    stale: bool = False

    @property
    def known(self) -> bool:
        return self.value is not None


@dataclass
class _Kept:
    value: Any
    state: Hashable
    at: datetime
    made: float
    cost: float
    asked: float


class Readings:
    """All that the pages of one desk read."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.desk = ReadingDesk(settings)
        self._kept: dict[Hashable, _Kept] = {}
        self._making: dict[Hashable, Future[_Kept]] = {}
        self._guard = threading.Lock()
        self._control_seen: tuple[Hashable, Hashable] = ((), None)

    def state(self) -> Hashable:
        """Changes when anything does that pages show; not with every heartbeat."""
        s = self.settings
        return (
            self.desk.ledger.fingerprint(),
            self._control_state(),
            fingerprint(s.mlruns_path / "mlflow.db"),
        )

    def _control_state(self) -> Hashable:
        path = self.settings.control_path
        files = fingerprint(path), fingerprint(path.with_name(f"{path.name}-wal"))
        seen, state = self._control_seen
        if files != seen:
            # Heartbeats are in the same file, every few seconds.
            state = _journalled(path)
            self._control_seen = files, state
        return state

    @property
    def published_at(self) -> datetime | None:
        """When the desk last published its ledger; None where it never did."""
        found = self.desk.ledger.fingerprint()
        return datetime.fromtimestamp(found[1] / 1e9, UTC) if found else None

    def read(
        self,
        what: Callable[..., T],
        *arguments: Hashable,
        none: str = "there is nothing yet",
        **named: Hashable,
    ) -> Reading[T]:
        """`what(desk, *arguments, **named)`; never raises. none: why a None is no value."""
        return self._read(what, arguments, named, none, patience=None)

    def figure(self, what: Callable[..., T], *arguments: Hashable, **named: Hashable) -> Reading[T]:
        """The same for what may be of some moments ago, since it takes long to make."""
        return self._read(what, arguments, named, "there is nothing yet", patience=PATIENCE_S)

    def _read(
        self,
        what: Callable[..., T],
        arguments: tuple[Hashable, ...],
        named: dict[str, Hashable],
        none: str,
        patience: float | None,
    ) -> Reading[T]:
        key = (f"{what.__module__}.{what.__qualname__}", arguments, tuple(sorted(named.items())))
        try:
            kept, stale = self._get(key, lambda: what(self.desk, *arguments, **named), patience)
        except Exception as error:
            return Reading(None, why_not(error), datetime.now(UTC), _is_missing(error))
        if kept.value is None:
            return Reading(None, none, kept.at, missing=True)
        return Reading(kept.value, "", kept.at, stale=stale)

    def _get(
        self, key: Hashable, make: Callable[[], Any], patience: float | None
    ) -> tuple[_Kept, bool]:
        state, now = self.state(), time.monotonic()
        with self._guard:
            kept = self._kept.get(key)
            if kept is not None:
                kept.asked = now
                if kept.state == state:
                    return kept, False
                resting = now < kept.made + min(REST * kept.cost, LONGEST_REST_S)
                if patience is not None and kept.cost > SLOW_S and resting:
                    return kept, True
            future = self._making.get(key)
            if future is None:
                future = self._making[key] = Future()
                threading.Thread(
                    target=self._make, args=(key, state, make, future), daemon=True
                ).start()
        if kept is not None and patience is not None and kept.cost > SLOW_S:
            try:
                return future.result(patience), False
            except NotYet:
                return kept, True
        return future.result(), False

    def _make(
        self, key: Hashable, state: Hashable, make: Callable[[], Any], future: Future[_Kept]
    ) -> None:
        started = time.monotonic()
        try:
            value = make()
        except BaseException as error:
            with self._guard:
                self._making.pop(key, None)
                # What can't be read now is not told as if it could.
                self._kept.pop(key, None)
            future.set_exception(error)
            return
        ended = time.monotonic()
        kept = _Kept(value, state, datetime.now(UTC), ended, ended - started, ended)
        with self._guard:
            self._making.pop(key, None)
            self._kept[key] = kept
            if len(self._kept) > KEPT:
                del self._kept[min(self._kept, key=lambda k: self._kept[k].asked)]
        future.set_result(kept)


def _journalled(path: Path) -> Hashable:
    """How far the control store's journal and alerts are; None where that can't be read."""
    if not path.exists():
        return None
    try:
        connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=0.2)
        try:
            found: list[Hashable] = []
            for table, what in (("journal", "max(seq)"), ("alerts", "max(id), total(repeats)")):
                try:
                    found.append(connection.execute(f"SELECT {what} FROM {table}").fetchone())
                except sqlite3.OperationalError:
                    found.append(None)
            return tuple(found)
        finally:
            connection.close()
    except sqlite3.Error as error:
        return str(error)


def why_not(error: Exception) -> str:
    """A sentence for a person. Of an error that nobody expected its kind; the log has it all."""
    from hydra_pipelines.models.registry import RegistryError

    known = (
        LedgerError,
        ControlError,
        RegistryError,
        SettingsError,
        NotASession,
        UnknownCalendar,
        ClockError,
    )
    if isinstance(error, known):
        return str(error)
    if isinstance(error, OSError | sqlite3.Error):
        return f"{type(error).__name__}: {error}"
    _log.error("a page's part could not be read", exc_info=error)
    return f"it could not be read ({type(error).__name__}); the dashboard's log says more"


def _is_missing(error: Exception) -> bool:
    return isinstance(error, LedgerMissing)
