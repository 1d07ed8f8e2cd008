from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime

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
DEPLOYED = Desk(load_settings()).strategies
RIDGE, MOMENTUM = DEPLOYED


@dataclass(frozen=True)
class Market:
    features: FeaturePanel
    bars: BarPanel


@pytest.fixture(scope="session")
def market(tmp_path_factory) -> Market:
    """The sample to the end of 1999, half a year beyond the session that training is as of."""
    folder = tmp_path_factory.mktemp("lake")
    bars, features = Lake(folder / "bars"), Lake(folder / "features")
    calendar = Calendar.load("XNYS", folder)
    now = datetime(1999, 12, 31, 22, 0, tzinfo=UTC)
    ingest(open_source("sample"), bars, date(1999, 12, 31), calendar, now)
    update_features(bars, features, date(1999, 12, 31))
    return Market(read_features(features), bar_panel(bars.view()))


@pytest.fixture(scope="session")
def registry(tmp_path_factory) -> Registry:
    """A registry in a folder with a space and a percent sign in its name."""
    folder = tmp_path_factory.mktemp("runs") / "100% ours"
    return Registry(f"sqlite:///{folder}/mlflow.db", folder / "artifacts")


@pytest.fixture(scope="session")
def trained(market, registry) -> dict[str, TrainedModel]:
    def model(spec: StrategySpec) -> TrainedModel:
        return train(spec, market.features, market.bars, AS_OF, registry, code_version="1.0+test")

    return {spec.id: model(spec) for spec in DEPLOYED}
