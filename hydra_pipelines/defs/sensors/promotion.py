"""A champion that was moved by hand gets into the history, and predicts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg

from hydra_pipelines import day
from hydra_pipelines.defs.sensors.calm import Answer, calm
from hydra_pipelines.desk import Desk

if TYPE_CHECKING:
    from hydra_pipelines.day.champions import StrategyModel

INTERVAL_S = 15
"""A champion that was moved by hand is to be in the history, and to predict, within a minute."""
DATA_VERSION_TAG = "dagster/data_version"
"""Dagster's own, on an observation: by which version what comes after was made, or wasn't."""


def promotion_sensor(
    jobs: Sequence[dg.UnresolvedAssetJobDefinition],
) -> dg.SensorDefinition:
    return dg.sensor(
        name="promotion_sensor",
        jobs=jobs,
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Looks at the alias `champion` of every strategy. A move made in the MLflow UI gets "
            "into the promotion history, and the predictions of the session due, with the plan if "
            "one was drafted, are made anew by the new champion."
        ),
    )(calm(look_at_champions))


def look_at_champions(context: dg.SensorEvaluationContext, desk: Desk) -> Answer:
    looked, outdated = day.watch_champions(desk)
    said = "; ".join(
        [
            f"{move.strategy_id}: {move.from_version} → {move.to_version}, {move.reason}"
            for model in looked
            for move in model.found
        ]
        + [f"{m.strategy_id} stands still, {m.state}: {m.why}" for m in looked if m.stopped]
    )
    events = [_observed(looked, said)] if any(model.found for model in looked) else []
    if outdated is None:
        reason = said or "every champion is the one that the history names"
        return dg.SensorResult(skip_reason=reason, asset_events=events)
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                run_key=outdated.key,
                job_name="plan" if outdated.planned else "predict",
                partition_key=outdated.session.isoformat(),
            )
        ],
        asset_events=events,
    )


def _observed(looked: Sequence[StrategyModel], said: str) -> dg.AssetObservation:
    version = ",".join(f"{model.strategy_id}:{model.champion}" for model in looked)
    return dg.AssetObservation(
        "champion_models", metadata={"found": said}, tags={DATA_VERSION_TAG: version}
    )
