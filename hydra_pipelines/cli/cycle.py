"""`hydra cycle`: one daily cycle as a Dagster run in this process, with its progress."""

from __future__ import annotations

import logging
import time
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hydra_pipelines.cli.output import (
    FAILURE,
    REFUSED,
    Json,
    fail,
    print_json,
    readable_errors,
    say,
)

if TYPE_CHECKING:
    from dagster import ExecuteInProcessResult

    from hydra_pipelines.desk import Desk


def cycle(
    session: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"],
            help="Session whose close decides; without it, the next one due.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write the plan, send nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run one daily cycle: data, predictions, plan, orders, positions, account."""
    from hydra_pipelines import api, day
    from hydra_pipelines.desk import Desk

    with readable_errors():
        desk = Desk.open()
        chosen = session.date() if session else desk.next_session_due()
        desk.calendar.index(chosen)
        if desk.embedded:
            say("Starting the paper venue …")
        try:
            day.check_session(desk, chosen, dry_run=dry_run)
        except day.SessionRefused as error:
            fail(str(error), REFUSED)
        say(f"Cycle of session {chosen} ({desk.settings.mode}, {desk.settings.broker.venue} venue)")
        failure, findings = _run(desk, chosen, dry_run=dry_run)
        state = api.status(desk)
    if as_json:
        print_json(state)
    if failure:
        fail(f"the cycle of {chosen} failed: {failure}", FAILURE)
    if not as_json:
        from hydra_pipelines.cli.read import print_status

        typer.echo()
        print_status(state)
        typer.echo()
        typer.echo("Look next:   hydra positions, hydra trades, hydra cycle (the next session)")
    if findings:
        fail("the cycle ran, and found what needs a person: " + "; ".join(findings), REFUSED)


def _run(desk: Desk, session: date, *, dry_run: bool) -> tuple[str | None, list[str]]:
    """Execute the job; what failed, if anything did, and the checks that failed with an error."""
    from hydra_pipelines.defs.instance import desk_instance

    say("Loading Dagster …")
    import dagster as dg

    from hydra_pipelines.definitions import build_defs
    from hydra_pipelines.defs.jobs import DRY_RUN_TAG

    progress = dg.LoggerDefinition(lambda _: _progress_logger())
    with desk_instance(desk) as instance:
        job = build_defs(desk.settings, loggers={"progress": progress}).resolve_job_def(
            "daily_cycle"
        )
        result = job.execute_in_process(
            instance=instance,
            partition_key=session.isoformat(),
            tags={DRY_RUN_TAG: "true"} if dry_run else {},
            run_config={"loggers": {"progress": {}}},
            raise_on_error=False,
        )
        findings = [
            f"{check.asset_key.to_user_string()}, {check.check_name}: {check.description}"
            for check in result.get_asset_check_evaluations()
            if not check.passed and check.severity is dg.AssetCheckSeverity.ERROR
        ]
        return None if result.success else _what_failed(result, findings), findings


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


class _Progress(logging.Handler):
    """Steps as they end, with their seconds, and what the steps say in between."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._started: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        meta: dict[str, Any] = getattr(record, "dagster_meta", {})
        event, step = meta.get("dagster_event"), meta.get("step_key")
        if event is None:
            # Of what is logged outside a running step, people have the same in plainer words.
            if (
                step in self._started
                and meta.get("orig_message")
                and record.levelno >= logging.INFO
            ):
                say(f"               · {meta['orig_message']}")
            return
        kind = event.event_type_value
        if kind == "STEP_START":
            self._started[step] = time.perf_counter()
        elif kind in ("STEP_SUCCESS", "STEP_FAILURE"):
            seconds = time.perf_counter() - self._started.pop(step, time.perf_counter())
            mark = "ok" if kind == "STEP_SUCCESS" else "FAILED"
            say(f"  {step:<18} {mark:<6} {seconds:6.2f} s")
        elif kind == "ASSET_CHECK_EVALUATION":
            check = event.event_specific_data
            if not check.passed:
                say(f"               ! check {check.check_name}: {check.description or 'failed'}")


def _progress_logger() -> logging.Logger:
    logger = logging.Logger("hydra.cycle", logging.DEBUG)
    logger.addHandler(_Progress())
    return logger
