"""Runs whose process was killed: found by evidence, and marked as what they are.

Until then such a run would go on for Dagster, keep its place in the queue, and hold up the next
one. What tells is the process that is noted on the run, or that its own events name: where that one
lives, is of another machine, or isn't known, the run is left alone, since it may have orders out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg
from dagster import DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter
from dagster._core.storage.tags import GRPC_INFO_TAG

from hydra_pipelines.defs.whereabouts import Whereabouts, noted
from hydra_pipelines.operations.processes import machine

_UNFINISHED = [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]
_PROCESS = re.compile(r"^Started process for run \(pid: (\d+)\)")
_FEW = 100
"""The first events of a run name its process."""


def free_dead_runs(instance: DagsterInstance) -> list[str]:
    """Mark runs whose process is gone as failed, or as cancelled where that was asked for.

    Returns a sentence on each. Only runs of this machine, or of this container, are looked after:
    elsewhere a process id is another process's.
    """
    said = []
    for run in instance.get_runs(RunsFilter(statuses=_UNFINISHED)):
        process = noted(run) or _launched_here(instance, run)
        if process is None or not process.is_here or process.lives:
            continue
        # Again, now that the process is known to be over: it may have ended in order since.
        fresh = instance.get_run_by_id(run.run_id)
        if fresh is None or fresh.is_finished:
            continue
        why = f"its process {process.pid} was killed or ended without a word"
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


def _launched_here(instance: DagsterInstance, run: DagsterRun) -> Whereabouts | None:
    """The process of a run that a code server of this machine has launched, by the run's events."""
    if f"/hydra-{machine()}-" not in run.tags.get(GRPC_INFO_TAG, ""):
        return None
    return max(_processes_named(instance, run), key=lambda known: known.seen, default=None)


def _processes_named(instance: DagsterInstance, run: DagsterRun) -> Iterator[Whereabouts]:
    records = instance.get_records_for_run(
        run.run_id, of_type=DagsterEventType.ENGINE_EVENT, limit=_FEW, ascending=True
    ).records
    for record in records:
        entry: dg.EventLogEntry = record.event_log_entry
        event = entry.dagster_event
        if found := _PROCESS.match((event.message if event else None) or entry.user_message or ""):
            seen = datetime.fromtimestamp(entry.timestamp, UTC)
            yield Whereabouts(machine(), int(found.group(1)), seen)
