"""Sensors: what the daemon looks at between the schedules."""

from __future__ import annotations

import dagster as dg

from hydra_pipelines import day
from hydra_pipelines.defs.resources import DeskResource
from hydra_pipelines.ledger.store import LedgerError

PROMOTION_INTERVAL_S = 15
"""A champion that was moved by hand is to be in the history, and to predict, within a minute."""


def all_sensors(jobs: list[dg.UnresolvedAssetJobDefinition]) -> list[dg.SensorDefinition]:
    """Every sensor of the project. jobs: all of the project's, from which they pick theirs."""
    by_name = {job.name: job for job in jobs}
    return [_promotion_sensor([by_name["predict"], by_name["plan"]])]


def _promotion_sensor(jobs: list[dg.UnresolvedAssetJobDefinition]) -> dg.SensorDefinition:
    @dg.sensor(
        name="promotion_sensor",
        jobs=jobs,
        minimum_interval_seconds=PROMOTION_INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Looks at the alias `champion` of every strategy. A move made in the MLflow UI gets "
            "into the promotion history, and the predictions of the session due, with the plan if "
            "one was drafted, are made anew by the new champion."
        ),
    )
    def sensor(desk: DeskResource) -> dg.SensorResult | dg.SkipReason:
        try:
            looked, outdated = day.watch_champions(desk.desk)
        except LedgerError as error:
            return dg.SkipReason(f"the promotion history can't be read just now: {error}")
        said = "; ".join(
            [
                f"{move.strategy_id}: {move.from_version} → {move.to_version}, {move.reason}"
                for model in looked
                for move in model.found
            ]
            + [f"{m.strategy_id} stands still, {m.state}: {m.why}" for m in looked if m.stopped]
        )
        events = [
            dg.AssetObservation("champion_models", metadata={"found": said})
            for model in looked[:1]
            if any(model.found for model in looked)
        ]
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

    return sensor
