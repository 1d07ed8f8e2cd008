"""Dagster's record of runs as plain values, for faces that show it; and the end of a run.

Reads an instance that is there and makes none. Launching is not here: that needs a code location,
which the webserver has.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
from dagster import DagsterEventType, DagsterRunStatus, RunsFilter

from hydra_pipelines.day.timetable import Slot
from hydra_pipelines.defs.engines import lend_secrets
from hydra_pipelines.defs.jobs import PARTITION_TAG
from hydra_pipelines.defs.switching import is_on
from hydra_pipelines.desk import Desk

ACTIVE = (
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
)
STATUSES = tuple(status.value for status in DagsterRunStatus)
LOGS = 400
"""Log lines of a run that are read, the latest."""
_LAUNCHED = ".dagster/grpc_info"
"""Tag of a run whose process was started by a code server, which can be told to end it."""
_PARENT = "dagster/parent_run_id"


class HistoryMissing(RuntimeError):
    """There is no Dagster instance yet: nothing ever ran."""


@dataclass(frozen=True)
class Run:
    """One run. Instants in UTC, None where it did not come to that. why_not: why it can't be
    cancelled from here, empty where it can be. rows: of all that it materialised, as far as said.
    """

    run_id: str
    job: str
    status: str
    created: datetime
    started: datetime | None
    ended: datetime | None
    partition: str | None
    tags: Mapping[str, str]
    why_not: str
    parent: str | None
    rows: int | None = None

    @property
    def active(self) -> bool:
        return self.status in {status.value for status in ACTIVE}

    def seconds(self, now: datetime) -> float | None:
        if self.started is None:
            return None
        return ((self.ended or now) - self.started).total_seconds()


@dataclass(frozen=True)
class Step:
    key: str
    status: str
    started: datetime | None
    seconds: float | None


@dataclass(frozen=True)
class Line:
    """One line of a run's log. level: ERROR, WARNING, INFO or DEBUG."""

    at: datetime
    level: str
    step: str
    text: str


@dataclass(frozen=True)
class Made:
    """What a run materialised: an asset, and what was said beside it, as words."""

    at: datetime
    asset: str
    partition: str | None
    said: Mapping[str, str]


@dataclass(frozen=True)
class Check:
    asset: str
    name: str
    passed: bool
    severity: str
    text: str


@dataclass(frozen=True)
class RunStory:
    """A run with all that is known of it."""

    run: Run
    steps: Sequence[Step] = ()
    lines: Sequence[Line] = ()
    made: Sequence[Made] = ()
    checks: Sequence[Check] = ()
    failure: str = ""


@dataclass
class History:
    """The runs of one desk. Threads may share it."""

    desk: Desk
    _instance: dg.DagsterInstance | None = None
    _rows: dict[str, int | None] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    @property
    def home(self) -> Path:
        return self.desk.settings.dagster_home

    def runs(
        self,
        *,
        status: str | None = None,
        job: str | None = None,
        since: datetime | None = None,
        limit: int = 50,
    ) -> list[Run]:
        """Runs, the latest first. Raises HistoryMissing, or ValueError for an unknown status."""
        wanted = RunsFilter(
            statuses=[DagsterRunStatus(status)] if status else None,
            job_name=job,
            created_after=since,
        )
        records = self._open().get_run_records(wanted, limit=limit)
        return [self._run(record) for record in records]

    def is_on(self, slot: Slot) -> bool:
        """Whether the daemon fires a schedule of the timetable. Raises HistoryMissing."""
        return is_on(self._open(), slot)

    def jobs(self) -> list[str]:
        """Names of jobs that ran lately."""
        records = self._open().get_run_records(limit=200)
        return sorted({record.dagster_run.job_name for record in records})

    def story(self, run_id: str) -> RunStory | None:
        """A run with its steps, log and materialisations; None where there is none."""
        record = self._open().get_run_record_by_id(run_id)
        if record is None:
            return None
        return self._story(record)

    def cancel(self, run_id: str) -> str:
        """Ask the run to end. Returns what came of it; the status says when it has ended.

        Never forced: a worker that goes on may be working orders. Once asked is enough: the steps
        look at the run's status.
        """
        instance = self._open()
        record = instance.get_run_record_by_id(run_id)
        if record is None:
            return "There is no such run"
        run = self._run(record)
        if not run.active:
            return f"It has ended already ({run.status.lower()})"
        if run.why_not:
            return f"Not cancelled: {run.why_not}"
        if not _reachable(record.dagster_run):
            return (
                "Not cancelled: the code server that started the run does not answer, so nobody "
                "can tell its process to end"
            )
        done = instance.run_coordinator.cancel_run(run_id)
        return "The run was told to end" if done else "The run did not take it: its process is gone"

    def _open(self) -> dg.DagsterInstance:
        with self._guard:
            if self._instance is None:
                if not (self.home / "dagster.yaml").exists():
                    raise HistoryMissing(
                        "no run was recorded yet: run a first cycle, `hydra cycle`"
                    )
                lend_secrets(self.desk.settings)
                self._instance = dg.DagsterInstance.from_config(str(self.home))
            return self._instance

    def _run(self, record: Any) -> Run:
        run = record.dagster_run
        status = run.status
        tags = {key: value for key, value in run.tags.items() if not key.startswith(".dagster/")}
        return Run(
            run_id=run.run_id,
            job=run.job_name,
            status=status.value,
            created=_utc(record.create_timestamp),
            started=_instant(record.start_time),
            ended=_instant(record.end_time),
            partition=run.tags.get(PARTITION_TAG),
            tags=tags,
            why_not=self._why_not(run),
            parent=run.tags.get(_PARENT),
            rows=self._rows_of(run),
        )

    def _why_not(self, run: dg.DagsterRun) -> str:
        if run.status not in ACTIVE:
            return "it has ended"
        if run.status is DagsterRunStatus.QUEUED:
            return ""
        if run.status is DagsterRunStatus.CANCELING:
            return "it was told to end, and does after its current work"
        launcher = type(self._open().run_launcher).__name__
        if launcher == "DefaultRunLauncher" and _LAUNCHED not in run.tags:
            return "it was started from a terminal: end it there, with Ctrl-C"
        return ""

    def _rows_of(self, run: dg.DagsterRun) -> int | None:
        """Rows that the run's materialisations tell of; kept once it has ended."""
        if run.run_id in self._rows:
            return self._rows[run.run_id]
        found = self._open().get_records_for_run(
            run.run_id, of_type=DagsterEventType.ASSET_MATERIALIZATION, limit=200
        )
        counts = [
            entry.value
            for record in found.records
            if (made := record.asset_materialization) is not None
            for name, entry in made.metadata.items()
            if name == "rows" and isinstance(entry.value, int)
        ]
        total = sum(counts) if counts else None
        if run.is_finished:
            self._rows[run.run_id] = total
        return total

    def _story(self, record: Any) -> RunStory:
        run_id = record.dagster_run.run_id
        instance = self._open()
        logs = instance.get_records_for_run(run_id, limit=LOGS, ascending=False).records
        lines, failure = [], ""
        for one in reversed(logs):
            entry = one.event_log_entry
            text = entry.user_message or (entry.dagster_event and entry.dagster_event.message) or ""
            event = entry.dagster_event
            if event is not None and event.is_step_failure:
                data: Any = event.event_specific_data
                text = _why_failed(data) or text
                failure = failure or f"{event.step_key}: {text}"
            lines.append(
                Line(
                    at=_utc_of(entry.timestamp),
                    level=_level(entry.level),
                    step=entry.step_key or "",
                    text=text,
                )
            )
        steps = [
            Step(
                key=stats.step_key,
                status=stats.status.value if stats.status else "WAITING",
                started=_instant(stats.start_time),
                seconds=(stats.end_time - stats.start_time)
                if stats.end_time and stats.start_time
                else None,
            )
            for stats in instance.get_run_step_stats(run_id)
        ]
        return RunStory(
            run=self._run(record),
            steps=sorted(steps, key=lambda step: (step.started is None, step.started or 0)),
            lines=lines,
            made=self._made(run_id),
            checks=self._checks(run_id),
            failure=failure,
        )

    def _made(self, run_id: str) -> list[Made]:
        found = self._open().get_records_for_run(
            run_id, of_type=DagsterEventType.ASSET_MATERIALIZATION, limit=200
        )
        return [
            Made(
                at=_utc_of(record.timestamp),
                asset=made.asset_key.to_user_string(),
                partition=made.partition,
                said=dict(_said(made.metadata)),
            )
            for record in found.records
            if (made := record.asset_materialization) is not None
        ]

    def _checks(self, run_id: str) -> list[Check]:
        found = self._open().get_records_for_run(
            run_id, of_type=DagsterEventType.ASSET_CHECK_EVALUATION, limit=200
        )
        out = []
        for record in found.records:
            event = record.event_log_entry.dagster_event
            data: Any = event.event_specific_data if event else None
            if data is not None:
                out.append(
                    Check(
                        asset=data.asset_key.to_user_string(),
                        name=data.check_name,
                        passed=data.passed,
                        severity=data.severity.value,
                        text=data.description or "",
                    )
                )
        return out


def _reachable(run: dg.DagsterRun) -> bool:
    """Whether the code server that started a run answers; Dagster marks the run before it asks."""
    import json

    from dagster._grpc.client import DagsterGrpcClient

    where = run.tags.get(_LAUNCHED)
    if where is None:
        return True
    at = json.loads(where)
    client = DagsterGrpcClient(
        port=at.get("port"),
        socket=at.get("socket"),
        host=at.get("host"),
        use_ssl=bool(at.get("use_ssl", False)),
    )
    try:
        client.ping("here")
    except Exception:
        return False
    return True


def _why_failed(data: Any) -> str:
    """What a person reads of a failed step: its message, not its trace."""
    with suppress(AttributeError):
        if data.user_failure_data and data.user_failure_data.description:
            return str(data.user_failure_data.description)
        if data.error:
            cause = data.error.cause or data.error
            return str(cause.message).strip()
    return ""


def _said(metadata: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Metadata that fits in a line; tables, images and pages are for the Dagster UI."""
    for name, entry in metadata.items():
        value = entry.value
        if name.startswith("dagster/") or not isinstance(value, str | int | float | bool):
            continue
        if isinstance(value, str) and (len(value) > 200 or value.startswith("![")):
            continue
        yield name, str(value)


def _level(level: int | str) -> str:
    import logging

    if isinstance(level, str):
        return level
    return logging.getLevelName(level)


def _instant(seconds: float | None) -> datetime | None:
    return None if seconds is None else _utc_of(seconds)


def _utc_of(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _utc(at: datetime) -> datetime:
    return at if at.tzinfo else at.replace(tzinfo=UTC)
