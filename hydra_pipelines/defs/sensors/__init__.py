"""Sensors: what the daemon looks at between the schedules, one file a topic."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from hydra_pipelines.defs.sensors.drift import drift_sensor
from hydra_pipelines.defs.sensors.failures import failure_sensor
from hydra_pipelines.defs.sensors.fills import fills_sensor
from hydra_pipelines.defs.sensors.health import broker_sensor, data_sensor
from hydra_pipelines.defs.sensors.missed import missed_schedule_sensor
from hydra_pipelines.defs.sensors.promotion import promotion_sensor
from hydra_pipelines.settings import Settings


def all_sensors(
    settings: Settings, jobs: Sequence[dg.UnresolvedAssetJobDefinition]
) -> list[dg.SensorDefinition]:
    """Every sensor of the project. jobs: all of the project's, from which they pick theirs."""
    by_name = {job.name: job for job in jobs}
    sensors = [
        promotion_sensor([by_name["predict"], by_name["plan"]]),
        fills_sensor(by_name["reconcile"]),
        failure_sensor(),
        broker_sensor(),
        data_sensor(),
        missed_schedule_sensor(settings),
    ]
    if "self_heal" in by_name:
        sensors.append(drift_sensor(by_name["self_heal"]))
    return sensors


__all__ = ["all_sensors"]
