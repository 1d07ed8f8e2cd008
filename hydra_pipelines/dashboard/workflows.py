"""Runs as the pages see them: Dagster's record, which is slow to import, and the webserver."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

from hydra_pipelines.dashboard.graphql import Webserver, WebserverDown
from hydra_pipelines.dashboard.reading import ReadingDesk
from hydra_pipelines.ledger.reading import fingerprint
from hydra_pipelines.sessions import NEW_YORK
from hydra_pipelines.settings import Settings
from hydra_pipelines.webguard import is_loopback

if TYPE_CHECKING:
    from hydra_pipelines.defs.history import History, Run, RunStory

_log = logging.getLogger(__name__)
_KNOWN_S = 3.0
"""How long the answer to whether the webserver is there is good for."""


@dataclass(frozen=True)
class Trading:
    """on: whether the schedule fires. next: when it is due, New York; None where that is beyond
    the calendar."""

    on: bool
    next: datetime | None


class Workflows:
    """The runs of one desk."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self._desk = ReadingDesk(settings)
        self._guard = threading.Lock()
        self._down: tuple[float, str] = (-1e9, "")

    @cached_property
    def history(self) -> History:
        from hydra_pipelines.defs.history import History

        return History(self._desk)

    def warm_up(self) -> None:
        """Import what the pages need, before somebody waits for it. Never raises."""
        try:
            history = self.history
            if self.settings.dagster_home.exists():
                history.runs(limit=1)
        except Exception as error:
            _log.info("Dagster's record can't be read yet: %s", error)

    def state(self) -> Hashable:
        """Changes when a run does, where runs are kept in files; else with the seconds."""
        if self.settings.dagster.storage != "sqlite":
            return int(time.monotonic())
        history = self.settings.dagster_home / "history"
        return tuple(
            fingerprint(history / name) for name in ("runs.db", "runs.db-wal", "runs.db-journal")
        )

    def trading(self) -> Trading:
        """Whether the daemon trades by itself, and when next. Raises what reading runs raises."""
        from hydra_pipelines.day import timetable

        s, desk = self.settings, self._desk
        slots = timetable.timetable(s.schedule, s.execution.start)
        slot = next(slot for slot in slots if slot.name == "trading")
        on = slot.on
        # Where nobody ever switched one there is no such file, and nothing to import for it.
        if s.dagster.storage != "sqlite" or (s.dagster_home / "schedules").exists():
            on = self.history.is_on(slot)
        found = timetable.next_run(slot, datetime.now(UTC), desk.calendar)
        return Trading(on, found[0].astimezone(NEW_YORK) if found else None)

    def runs(self, *, status: str | None, job: str | None, since: datetime | None) -> list[Run]:
        return self.history.runs(status=status, job=job, since=since)

    def story(self, run_id: str) -> RunStory | None:
        return self.history.story(run_id)

    @property
    def webserver(self) -> Webserver:
        """The one that registered itself, if it is on loopback; else the settings'."""
        from hydra_pipelines.control import ControlError

        try:
            for part in self._desk.components.all():
                c = part.component
                if c.kind == "webserver" and c.port and is_loopback(c.host):
                    host = f"[{c.host}]" if ":" in c.host else c.host
                    return Webserver(f"http://{host}:{c.port}")
        except ControlError:
            pass
        return Webserver(self.settings.dashboard.dagster_url)

    def why_not_launch(self) -> str:
        """Why no run can be launched now; empty where one can."""
        with self._guard:
            at, why = self._down
            if time.monotonic() - at < _KNOWN_S:
                return why
            try:
                self.webserver.location()
                why = ""
            except WebserverDown as error:
                why = str(error)
            except RuntimeError as error:
                why = f"the Dagster webserver can't be used: {error}"
            self._down = (time.monotonic(), why)
            return why

    def launch(self, job: str, tags: Mapping[str, str]) -> str:
        return self.webserver.launch(job, tags)
