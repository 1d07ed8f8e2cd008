from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from hydra_pipelines.desk import Desk
from hydra_pipelines.features.panel import FeaturePanel, read_features, update_features
from hydra_pipelines.market.bars import BarPanel
from hydra_pipelines.market.ingest import bar_panel, ingest
from hydra_pipelines.market.lake import Lake
from hydra_pipelines.market.sources import open_source
from hydra_pipelines.models.registry import Registry
from hydra_pipelines.models.strategies import StrategySpec
from hydra_pipelines.models.training import TrainedModel, train
from hydra_pipelines.sessions import Calendar
from hydra_pipelines.settings import load_settings

AS_OF = date(1999, 6, 30)
DESK = Desk(load_settings())
DEPLOYED = DESK.strategies
RIDGE, MOMENTUM, BOOSTING, EQUAL = DESK.candidates
# Few trees, deep enough to differ, so that tests stay fast.
SMALL_BOOSTING = replace(BOOSTING, parameters={"max_iter": 12, "max_leaf_nodes": 6, "seed": 3})
FAMILIES = (RIDGE, MOMENTUM, SMALL_BOOSTING, EQUAL)


@dataclass(frozen=True)
class Market:
    features: FeaturePanel
    bars: BarPanel


def market_until(folder: Path, last: date) -> Market:
    """The sample to a session."""
    bars, features = Lake(folder / "bars"), Lake(folder / "features")
    calendar = Calendar.load("XNYS", folder)
    now = datetime(last.year, last.month, last.day, 22, 0, tzinfo=UTC)
    ingest(open_source("sample"), bars, last, calendar, now)
    update_features(bars, features, last)
    return Market(read_features(features), bar_panel(bars.view()))


@pytest.fixture(scope="session")
def market(tmp_path_factory) -> Market:
    """The sample to the end of 1999, half a year beyond the session that training is as of."""
    return market_until(tmp_path_factory.mktemp("lake"), date(1999, 12, 31))


@pytest.fixture(scope="session")
def registry(tmp_path_factory) -> Registry:
    """A registry in a folder with a space and a percent sign in its name."""
    folder = tmp_path_factory.mktemp("runs") / "100% ours"
    return Registry(f"sqlite:///{folder}/mlflow.db", folder / "artifacts")


@pytest.fixture(scope="session")
def trained(market, registry) -> dict[str, TrainedModel]:
    def model(spec: StrategySpec) -> TrainedModel:
        return train(spec, market.features, market.bars, AS_OF, registry, code_version="1.0+test")

    return {spec.id: model(spec) for spec in FAMILIES}
