"""Runs that failed, whoever started them, are told to a person."""

from __future__ import annotations

import dagster as dg

from hydra_pipelines.defs.failures import tell_of_failed_run
from hydra_pipelines.defs.resources import DeskResource

INTERVAL_S = 15


def failure_sensor() -> dg.SensorDefinition:
    @dg.run_failure_sensor(
        name="failure_sensor",
        minimum_interval_seconds=INTERVAL_S,
        # Runs of `dagster job execute` and of the CLI have another origin than the daemon's.
        monitor_all_code_locations=True,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Tells a person of every run that failed, with the step and the reason; also of those "
            "that `hydra` or `dagster job execute` started, and of those whose process was "
            "killed. What a run has told by itself is not told again."
        ),
    )
    def failure(context: dg.RunFailureSensorContext, desk: DeskResource) -> dg.SkipReason | None:
        run = context.dagster_run
        said = context.failure_event.message or ""
        outcome = tell_of_failed_run(desk.desk, context.instance, run, said)
        if outcome is None:
            return dg.SkipReason(f"run {run.run_id} has told of its failure itself")
        # Without an answer Dagster keeps it as the reaction to that run.
        return None

    return failure
