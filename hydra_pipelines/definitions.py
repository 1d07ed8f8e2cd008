"""The front door of the Dagster project: everything put together by one function.

`defs`, for this environment's settings, is built when it is first asked for.
"""

from __future__ import annotations

import functools
import gc
from collections.abc import Mapping
from typing import Any

import dagster as dg

from hydra_pipelines.defs.assets import asset_builders
from hydra_pipelines.defs.engines import executor_of
from hydra_pipelines.defs.jobs import all_jobs
from hydra_pipelines.defs.partitions import session_partitions
from hydra_pipelines.defs.resources import DeskResource
from hydra_pipelines.defs.schedules import all_schedules
from hydra_pipelines.defs.sensors import all_sensors
from hydra_pipelines.desk import Desk
from hydra_pipelines.settings import Settings, load_settings


def build_defs(
    settings: Settings | None = None,
    resources: Mapping[str, Any] | None = None,
    loggers: Mapping[str, dg.LoggerDefinition] | None = None,
    executor: dg.ExecutorDefinition | None = None,
) -> dg.Definitions:
    """The project's definitions, for the settings of this environment unless others are given.

    resources, loggers: replace or add to the default ones, by key. Raises NotASession where the
    desk's first session is none.
    """
    desk = Desk(settings or load_settings())
    partitions = session_partitions(desk.calendar, desk.settings.embedded.first_session)
    resource = DeskResource.of(settings) if settings else DeskResource()
    due = desk.next_session_due()
    jobs = all_jobs(due, desk.last_session_worked())
    builders = asset_builders(desk.settings.dagster.feature_shards)
    return dg.Definitions(
        assets=[build(partitions) for build in builders],
        jobs=jobs,
        schedules=all_schedules(desk.settings, jobs),
        sensors=all_sensors(desk.settings, jobs),
        resources={"desk": resource, **(resources or {})},
        loggers=loggers,
        executor=executor or executor_of(desk.settings),
    )


@functools.cache
def _defs_of_this_environment() -> dg.Definitions:
    defs = build_defs()
    # All that was imported and built stays for as long as the process: the collector need not walk
    # through it again and again, which would be a tenth of a daily run.
    gc.freeze()
    return defs


def __getattr__(name: str) -> Any:
    if name == "defs":
        return _defs_of_this_environment()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    # Dagster looks for definitions among the names that a module lists.
    return [*globals(), "defs"]
