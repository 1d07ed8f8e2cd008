"""A job of the Dagster project as a run in this process, with its progress on stderr.

What runs is in `defs`; which job a command runs, and what it says at the end, is the command's.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import IO, TYPE_CHECKING, Any

from hydra_pipelines.cli.output import say

if TYPE_CHECKING:
    from dagster import ExecuteInProcessResult

    from hydra_pipelines.desk import Desk


@dataclass(frozen=True)
class JobOutcome:
    """What came of a run.

    failure: what failed, None where nothing did. findings: checks that failed with an error,
    also of a run that went to its end.
    """

    run_id: str
    failure: str | None
    findings: tuple[str, ...]


def run_job(
    desk: Desk, job: str, session: date, *, dry_run: bool = False, tags: Mapping[str, str] = {}
) -> JobOutcome:
    """Execute a job of the project for a session, in this process, and wait for its end."""
    from hydra_pipelines.defs.instance import desk_instance

    say("Loading Dagster …")
    import dagster as dg

    from hydra_pipelines.definitions import build_defs
    from hydra_pipelines.defs.jobs import DRY_RUN_TAG

    out = _own_stderr()
    progress = dg.LoggerDefinition(lambda _: _progress_logger(out))
    with desk_instance(desk) as instance:
        definition = build_defs(desk.settings, loggers={"progress": progress}).resolve_job_def(job)
        result = definition.execute_in_process(
            instance=instance,
            partition_key=session.isoformat(),
            tags={**tags, **({DRY_RUN_TAG: "true"} if dry_run else {})},
            run_config={"loggers": {"progress": {}}},
            raise_on_error=False,
        )
        findings = [
            f"{check.asset_key.to_user_string()}, {check.check_name}: {check.description}"
            for check in result.get_asset_check_evaluations()
            if not check.passed and check.severity is dg.AssetCheckSeverity.ERROR
        ]
        failure = None if result.success else _what_failed(result, findings)
        return JobOutcome(result.dagster_run.run_id, failure, tuple(findings))


def _what_failed(result: ExecuteInProcessResult, findings: list[str]) -> str:
    """The first failed step and its message; the trace of an error that nobody expected."""
    for event in result.all_events:
        if event.is_step_failure:
            data: Any = event.event_specific_data
            if data.user_failure_data:
                return f"{event.step_key}: {data.user_failure_data.description}"
            if data.error and data.error.cls_name == "DagsterAssetCheckFailedError":
                return "; ".join(findings)
            return f"{event.step_key}: {data.error_display_string}"
    return next((e.message for e in result.all_events if e.is_failure and e.message), "no step ran")


def _own_stderr() -> IO[str]:
    """The error output as it is now, past the capture of each step.

    Dagster lets a process of its own show what it captures, and ends that with the run: on a busy
    machine the last lines are lost.
    """
    try:
        number = os.dup(sys.stderr.fileno())
    except (OSError, ValueError):
        # No file of the system: nothing can capture it.
        return sys.stderr
    return os.fdopen(number, "w", encoding=sys.stderr.encoding, errors="backslashreplace")


class _Progress(logging.Handler):
    """Steps as they end, with their seconds, and what the steps say in between."""

    def __init__(self, out: IO[str]) -> None:
        super().__init__(logging.DEBUG)
        self._out = out
        self._started: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        meta: dict[str, Any] = getattr(record, "dagster_meta", {})
        event, step = meta.get("dagster_event"), meta.get("step_key") or ""
        if event is None:
            # Of what is logged outside a running step, people have the same in plainer words.
            if (
                step in self._started
                and meta.get("orig_message")
                and record.levelno >= logging.INFO
            ):
                self._say(f"               · {meta['orig_message']}")
            return
        kind = event.event_type_value
        if kind == "STEP_START":
            self._started[step] = time.perf_counter()
        elif kind in ("STEP_SUCCESS", "STEP_FAILURE"):
            seconds = time.perf_counter() - self._started.pop(step, time.perf_counter())
            mark = "ok" if kind == "STEP_SUCCESS" else "FAILED"
            self._say(f"  {step:<24} {mark:<6} {seconds:6.2f} s")
        elif kind == "ASSET_CHECK_EVALUATION":
            check = event.event_specific_data
            if not check.passed:
                self._say(
                    f"               ! check {check.check_name}: {check.description or 'failed'}"
                )

    def _say(self, text: str) -> None:
        print(text, file=self._out, flush=True)


def _progress_logger(out: IO[str]) -> logging.Logger:
    logger = logging.Logger("hydra.run", logging.DEBUG)
    logger.addHandler(_Progress(out))
    return logger
