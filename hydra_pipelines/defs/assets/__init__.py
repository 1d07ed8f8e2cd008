"""The daily story as assets; each is made for a set of session partitions."""

from hydra_pipelines.defs.assets.decision import order_plan, predictions, signals
from hydra_pipelines.defs.assets.execution import account, executions, positions
from hydra_pipelines.defs.assets.market import bars, features, universe
from hydra_pipelines.defs.assets.models import champion_models, trained_models
from hydra_pipelines.defs.assets.performance import performance
from hydra_pipelines.defs.assets.slippage import slippage_reconciliation

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
)

__all__ = ["ALL_ASSETS"]
