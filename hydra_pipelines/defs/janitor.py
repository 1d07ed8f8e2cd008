"""Runs whose process was killed: found by evidence, and marked as what they are.

Until then such a run would go on for Dagster, keep its place in the queue, and hold up the next
one. What tells is the process that the run's own events name: where that one lives, or where
nothing is known of it, the run is left alone, since it may have orders out.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg
from dagster import DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter

from hydra_pipelines.defs.engines import PROCESS_TAG
from hydra_pipelines.operations.processes import is_the_one

_UNFINISHED = [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]
_PROCESS = re.compile(r"^(?:Started process for run|Executing steps in process) \(pid: (\d+)\)")
_FEW = 100
"""The first events of a run name its process."""


def free_dead_runs(instance: DagsterInstance) -> list[str]:
    """Mark runs whose process is gone as failed, or as cancelled where that was asked for.

    Returns a sentence on each. Where the records are no files of this machine, processes may be on
    others, too: of these runs only those are looked after that say that theirs is on this one.
    """
    said = []
    for run in instance.get_runs(RunsFilter(statuses=_UNFINISHED)):
        process = _process_of(instance, run)
        if process is None:
            continue
        pid, seen = process
        if is_the_one(pid, seen):
            continue
        # Again, now that the process is known to be over: it may have ended in order since.
        fresh = instance.get_run_by_id(run.run_id)
        if fresh is None or fresh.is_finished:
            continue
        why = f"its process {pid} was killed or ended without a word"
        if fresh.status is DagsterRunStatus.CANCELING:
            instance.report_run_canceled(fresh, f"The run was to be cancelled, and {why}")
        else:
            instance.report_run_failed(
                fresh,
                f"The run did not end: {why}. If it had sent orders, the next run of the session "
                "reconciles them before it goes on.",
            )
        said.append(f"run {run.run_id} of {run.job_name} is over: {why}")
    return said


def _is_local(instance: DagsterInstance) -> bool:
    from dagster._core.storage.runs import SqliteRunStorage

    return isinstance(instance.run_storage, SqliteRunStorage)


def _process_of(instance: DagsterInstance, run: DagsterRun) -> tuple[int, datetime] | None:
    """The process that works on a run, and when it said so; None where that isn't known."""
    if not _is_local(instance):
        return _process_tagged(run)
    return max(_processes_named(instance, run), key=lambda known: known[1], default=None)


def _process_tagged(run: DagsterRun) -> tuple[int, datetime] | None:
    match run.tags.get(PROCESS_TAG, "").split():
        case [host, pid, seen] if host == socket.gethostname():
            return int(pid), datetime.fromisoformat(seen)
    return None


def _processes_named(instance: DagsterInstance, run: DagsterRun) -> Iterator[tuple[int, datetime]]:
    records = instance.get_records_for_run(
        run.run_id, of_type=DagsterEventType.ENGINE_EVENT, limit=_FEW, ascending=True
    ).records
    for record in records:
        entry: dg.EventLogEntry = record.event_log_entry
        event = entry.dagster_event
        if found := _PROCESS.match((event.message if event else None) or entry.user_message or ""):
            yield int(found.group(1)), datetime.fromtimestamp(entry.timestamp, UTC)
