"""A run that failed is told to a person, once, whoever started it and whoever notices first.

Two notice: the run's own process when it closes its desk, which works without any daemon, and the
sensor of `sensors.failures`, which also sees runs that never came to a step or whose process was
killed. A hook on each step would do the first as well, at the price of an event for every step that
did not fail.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from typing import Any

import dagster as dg

from hydra_pipelines.alerts import AlertKind, Outcome
from hydra_pipelines.desk import Desk

_log = logging.getLogger(__name__)


def tell_at_the_end(
    desk: Callable[[], Desk], instance: dg.DagsterInstance, run: dg.DagsterRun
) -> None:
    """Tell of the run whose process this is, where a step of it has failed for good. Never raises:
    a run ends as it ends, whatever becomes of the telling."""
    try:
        why = what_failed(instance, run.run_id)
        if why:
            tell_of_failed_run(desk(), instance, run, why)
    except Exception:
        _log.exception("it could not be told that run %s failed", run.run_id)


def tell_of_failed_run(
    desk: Desk, instance: dg.DagsterInstance, run: dg.DagsterRun, said: str = ""
) -> Outcome | None:
    """Tell of a failed run; None where a person was told of it before.

    said: what to say where none of its steps failed.
    """
    run_id = run.run_id
    try:
        if desk.alerts.told(AlertKind.JOB_FAILURE, run_id):
            return None
    except sqlite3.Error:
        # Where it can't be known, twice is better than never.
        pass
    session = run.tags.get("dagster/partition", "")
    of = f" of session {session}" if session else ""
    why = what_failed(instance, run_id) or said or "no step ran"
    return desk.alerts.send(
        AlertKind.JOB_FAILURE,
        run_id,
        f"hydra: {run.job_name}{of} failed",
        f"{why}\n\nRun {run_id}; its log is in the Dagster UI under Runs.",
    )


def what_failed(instance: dg.DagsterInstance, run_id: str) -> str:
    """The first failed step with its reason, or the blocking checks that stopped the run."""
    for event in _events(instance, run_id, dg.DagsterEventType.STEP_FAILURE):
        data: Any = event.event_specific_data
        if data.user_failure_data:
            return f"{event.step_key}: {data.user_failure_data.description}"
        if data.error and data.error.cls_name == "DagsterAssetCheckFailedError":
            found = _failed_checks(instance, run_id)
            return f"{event.step_key}: stopped by a check. {found}"
        text = data.error.message.strip() if data.error else "failed"
        return f"{event.step_key}: {text}"
    return ""


def _failed_checks(instance: dg.DagsterInstance, run_id: str) -> str:
    checks: list[Any] = [
        event.event_specific_data
        for event in _events(instance, run_id, dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    ]
    return "; ".join(
        f"{check.asset_key.to_user_string()}, {check.check_name}: {check.description}"
        for check in checks
        if not check.passed and check.blocking
    )


def _events(
    instance: dg.DagsterInstance, run_id: str, kind: dg.DagsterEventType
) -> list[dg.DagsterEvent]:
    records = instance.get_records_for_run(run_id, of_type=kind).records
    return [r.event_log_entry.dagster_event for r in records if r.event_log_entry.dagster_event]
