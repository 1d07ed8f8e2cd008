"""Bars, universe and features of a session."""

from collections.abc import Iterator

import dagster as dg

from hydra_pipelines import day
from hydra_pipelines.day.research import BarsResult, FeaturesResult
from hydra_pipelines.day.supply import FEATURES, PRICES
from hydra_pipelines.defs import metadata
from hydra_pipelines.defs.assets.shards import shard_names
from hydra_pipelines.defs.engines import STEP_AT_THE_BROKER
from hydra_pipelines.defs.jobs import TRADING_JOBS
from hydra_pipelines.defs.metadata import Told
from hydra_pipelines.defs.policies import FRESH, IN_ONE_RUN, enough, enough_spec
from hydra_pipelines.defs.resources import DeskResource
from hydra_pipelines.defs.running import is_dry_run, readable_errors, session_of
from hydra_pipelines.defs.steps import step_tried_again


def bars(partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    @dg.asset(
        name="bars",
        op_tags=STEP_AT_THE_BROKER,
        group_name="market",
        kinds={"numpy"},
        owners=["team:desk"],
        partitions_def=partitions,
        backfill_policy=IN_ONE_RUN,
        freshness_policy=FRESH,
        check_specs=[
            enough_spec("bars", PRICES),
            dg.AssetCheckSpec(
                "quality",
                asset="bars",
                blocking=True,
                description="No price of the session is missing, impossible or unexplained.",
            ),
        ],
        description="Daily bars of all symbols up to the session, in the lake.",
    )
    @step_tried_again
    def asset(context: dg.AssetExecutionContext, desk: DeskResource) -> Iterator[object]:
        from hydra_pipelines.market.bars import MarketDataError
        from hydra_pipelines.market.lake import LakeError

        session = session_of(context)
        with readable_errors():
            if context.job_name in TRADING_JOBS:
                day.check_session(desk.desk, session, dry_run=is_dry_run(context))
        with readable_errors(LakeError):
            try:
                result = day.ingest_bars(desk.desk, session)
            except MarketDataError as error:
                raise dg.Failure(description=str(error)) from error
        yield from tell_bars(result)

    return asset


def tell_bars(result: BarsResult) -> Iterator[Told]:
    """What is shown of a session's bars, and whether they may be traded on."""
    report = result.report
    yield dg.MaterializeResult(
        data_version=dg.DataVersion(report.snapshot),
        metadata={
            "symbols": report.symbols,
            "sessions": report.sessions,
            "sessions_added": report.appended,
            "values_corrected": report.corrected,
            "left_out_by_source": len(report.problems),
            "source": report.source,
            "data_snapshot": report.snapshot,
            "closes": metadata.table(result.closes, ("symbol", "close", "return")),
        },
    )
    yield dg.AssetCheckResult(
        check_name="quality",
        asset_key="bars",
        passed=not result.errors,
        severity=dg.AssetCheckSeverity.ERROR,
        description="; ".join(f"{f.symbol or f.session}: {f.detail}" for f in result.errors)
        or None,
        metadata={
            "findings": metadata.table(
                # The blocking ones first: a table shows no more than so many rows.
                sorted(map(vars, result.findings), key=lambda row: row["severity"]),
                ("check", "severity", "symbol", "session", "detail"),
            ),
            "errors": len(result.errors),
            "warnings": len(result.findings) - len(result.errors),
        },
    )
    yield enough("bars", result.supply)


def universe(partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    @dg.asset(
        name="universe",
        group_name="market",
        kinds={"numpy"},
        owners=["team:desk"],
        partitions_def=partitions,
        deps=["bars"],
        backfill_policy=IN_ONE_RUN,
        check_specs=[
            dg.AssetCheckSpec(
                "has_members",
                asset="universe",
                blocking=True,
                description="At least one symbol can be traded.",
            )
        ],
        description="The symbols that can be traded, by what was known on the session.",
    )
    @step_tried_again
    def asset(context: dg.AssetExecutionContext, desk: DeskResource) -> Iterator[object]:
        members = day.session_members(desk.desk, session_of(context))
        yield from tell_universe(members)

    return asset


def tell_universe(members: tuple[str, ...]) -> Iterator[Told]:
    """What is shown of a session's universe, and whether there is one."""
    yield dg.MaterializeResult(metadata={"symbols": len(members), "members": ", ".join(members)})
    yield dg.AssetCheckResult(
        check_name="has_members",
        asset_key="universe",
        passed=bool(members),
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{len(members)} symbols" if members else "no symbol has a price to trade at",
    )


def features(partitions: dg.PartitionsDefinition, shards: int = 1) -> dg.AssetsDefinition:
    """shards: parts of the universe that are made as assets of their own before."""

    @dg.asset(
        name="features",
        group_name="features",
        kinds={"numpy"},
        owners=["team:desk"],
        partitions_def=partitions,
        deps=["bars", *shard_names(shards)],
        backfill_policy=IN_ONE_RUN,
        check_specs=[enough_spec("features", FEATURES)],
        description="Features of every symbol up to the session, from their look-back alone.",
    )
    @step_tried_again
    def asset(context: dg.AssetExecutionContext, desk: DeskResource) -> Iterator[object]:
        yield from tell_features(day.make_features(desk.desk, session_of(context)))

    return asset


def tell_features(result: FeaturesResult) -> Iterator[Told]:
    """What is shown of a session's features, and whether they are enough to predict from."""
    report = result.report
    yield dg.MaterializeResult(
        metadata={
            "features": report.features,
            "sessions": report.sessions,
            "sessions_added": report.added,
            "catalogue_version": report.version,
            "unavailable": metadata.table(
                [
                    {"feature": name, "reason": reason}
                    for name, reason in report.unavailable.items()
                ],
                ("feature", "reason"),
            ),
        }
    )
    yield enough("features", result.supply)
