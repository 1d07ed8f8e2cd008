"""Drift that the daily check found starts the self-healing agent, once for each check."""

from __future__ import annotations

import dagster as dg

from hydra_pipelines.day.watching import latest_drift
from hydra_pipelines.defs.sensors.calm import Answer, calm
from hydra_pipelines.desk import Desk

INTERVAL_S = 60


def drift_sensor(job: dg.UnresolvedAssetJobDefinition) -> dg.SensorDefinition:
    return dg.sensor(
        name="drift_sensor",
        job=job,
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Looks at the latest drift check. Where it found drift, one cycle of the self-healing "
            "agent is started for it; whether that may experiment again so soon is the agent's "
            "own cool-down, and what it may do its level of autonomy."
        ),
    )(calm(look_for_drift))


def look_for_drift(context: dg.SensorEvaluationContext, desk: Desk) -> Answer:
    found = latest_drift(desk)
    if found is None:
        return dg.SkipReason("the latest drift check found none, or there was none yet")
    key = f"drift-{found.run_no}"
    if context.cursor == key:
        return dg.SkipReason(f"the drift of session {found.session} was handed on already")
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                run_key=key,
                partition_key=found.session.isoformat(),
                tags={"hydra/drift_run": str(found.run_no)},
            )
        ],
        cursor=key,
    )
