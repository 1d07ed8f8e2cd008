"""Orders that work at the broker and that no run looks after are brought up to date."""

from __future__ import annotations

import dagster as dg

from hydra_pipelines.day.watching import orders_left
from hydra_pipelines.defs.sensors.calm import Answer, calm, now
from hydra_pipelines.desk import Desk

INTERVAL_S = 60


def fills_sensor(job: dg.UnresolvedAssetJobDefinition) -> dg.SensorDefinition:
    return dg.sensor(
        name="fills_sensor",
        job=job,
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Looks for orders that are not finished and that no run works on: left by a run that "
            "was killed, for example. They, their fills and the positions are brought up to date "
            "with the broker by the job `reconcile`, which sends nothing; at IBKR every five "
            "minutes while they work, else once for each change."
        ),
    )(calm(look_for_fills))


def look_for_fills(context: dg.SensorEvaluationContext, desk: Desk) -> Answer:
    left = orders_left(desk, now())
    if left is None:
        return dg.SkipReason("no order is left unfinished")
    if context.cursor == left.key:
        return dg.SkipReason(
            f"nothing is new of {', '.join(left.refs)}: it needs a person, `hydra orders`"
        )
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(run_key=f"fills-{left.key}", partition_key=left.session.isoformat())
        ],
        cursor=left.key,
    )
