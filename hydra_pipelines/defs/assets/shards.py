"""Parts of the universe's features, as assets of their own, for desks with several workers."""

from collections.abc import Iterator

import dagster as dg

from hydra_pipelines import day
from hydra_pipelines.defs.policies import IN_ONE_RUN
from hydra_pipelines.defs.resources import DeskResource
from hydra_pipelines.defs.running import session_of
from hydra_pipelines.defs.steps import step_tried_again


def shard_names(of: int) -> list[str]:
    """Names of the assets of so many parts; none where the universe is not divided."""
    return [f"features_part_{number + 1}_of_{of}" for number in range(of)] if of > 1 else []


def feature_shard(partitions: dg.PartitionsDefinition, number: int, of: int) -> dg.AssetsDefinition:
    """number: of the part, from 0."""

    @dg.asset(
        name=shard_names(of)[number],
        group_name="features",
        kinds={"numpy"},
        owners=["team:desk"],
        partitions_def=partitions,
        deps=["bars"],
        backfill_policy=IN_ONE_RUN,
        description=(
            "Features of a part of the symbols before ranks and scores, which need all of them "
            "and are made by `features`. Only where many sessions are to be made at once."
        ),
    )
    @step_tried_again
    def asset(context: dg.AssetExecutionContext, desk: DeskResource) -> Iterator[object]:
        report = day.make_feature_shard(desk.desk, session_of(context), number, of)
        yield dg.MaterializeResult(
            metadata={"symbols": report.symbols, "sessions": report.sessions}
        )

    return asset
