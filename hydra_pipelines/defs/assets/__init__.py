"""The daily story as assets; each is made for a set of session partitions."""

from collections.abc import Callable
from functools import partial

import dagster as dg

from hydra_pipelines.defs.assets.agent import diagnosis, experiments, healing_cycle, model_watches
from hydra_pipelines.defs.assets.decision import order_plan, predictions, signals
from hydra_pipelines.defs.assets.drift import drift_report
from hydra_pipelines.defs.assets.execution import account, executions, positions
from hydra_pipelines.defs.assets.market import bars, features, universe
from hydra_pipelines.defs.assets.models import champion_models, trained_models
from hydra_pipelines.defs.assets.performance import performance
from hydra_pipelines.defs.assets.shards import feature_shard
from hydra_pipelines.defs.assets.slippage import slippage_reconciliation

AssetBuilder = Callable[[dg.PartitionsDefinition], dg.AssetsDefinition]

ALL_ASSETS = (
    bars,
    universe,
    features,
    champion_models,
    trained_models,
    predictions,
    signals,
    order_plan,
    executions,
    positions,
    account,
    performance,
    slippage_reconciliation,
    drift_report,
    model_watches,
    diagnosis,
    experiments,
    healing_cycle,
)


def asset_builders(feature_shards: int = 1) -> tuple[AssetBuilder, ...]:
    """What makes every asset of the project for a set of partitions.

    feature_shards: parts of the universe whose features are made first, as assets of their own.
    """
    if feature_shards == 1:
        return ALL_ASSETS
    parts = tuple(
        partial(feature_shard, number=n, of=feature_shards) for n in range(feature_shards)
    )
    joined = partial(features, shards=feature_shards)
    return (*(joined if build is features else build for build in ALL_ASSETS), *parts)


__all__ = ["ALL_ASSETS", "asset_builders"]
