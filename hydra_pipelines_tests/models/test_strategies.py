from __future__ import annotations

import dataclasses

import pytest

from hydra_pipelines.models.strategies import PARAMETERS, StrategyError, StrategySpec
from hydra_pipelines_tests.models.conftest import DEPLOYED, RIDGE


def test_a_fresh_desk_deploys_two_strategies():
    assert [spec.family for spec in DEPLOYED] == ["ridge", "momentum"]
    assert all(spec.status == "deployed" for spec in DEPLOYED)
    assert sum(spec.capital_weight for spec in DEPLOYED) == 1.0
    assert len(RIDGE.features) >= 12


def test_defaults_fill_what_is_not_said():
    assert dataclasses.replace(RIDGE, parameters={}).model_parameters == PARAMETERS["ridge"]
    spec = dataclasses.replace(RIDGE, parameters={"alpha": 7.0})
    assert spec.model_parameters == {"alpha": 7.0}


def test_a_list_of_features_becomes_a_tuple():
    assert dataclasses.replace(RIDGE, features=["return_1d"]).features == ("return_1d",)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"id": "my strategy"}, "'my strategy'"),
        ({"title": " "}, "title"),
        ({"features": ()}, "features is empty"),
        ({"features": ("return_2d",)}, "features.*'return_2d'"),
        ({"features": ("return_1d_zscore",)}, "features.*'return_1d_zscore'"),
        ({"features": ("return_1d", "return_1d")}, "features.*twice"),
        ({"label_horizon": 0}, "label_horizon"),
        ({"label_horizon": 2.5}, "label_horizon"),
        ({"label_horizon": 300}, "label_horizon"),
        ({"family": "forest"}, "family.*'forest'.*ridge or momentum"),
        ({"family": "momentum", "parameters": {}}, "features has 15"),
        ({"parameters": {"lambda": 1.0}}, "'lambda'.*alpha"),
        ({"parameters": {"alpha": -1.0}}, r"parameters\.alpha"),
        ({"parameters": {"alpha": float("nan")}}, r"parameters\.alpha"),
        ({"capital_weight": 1.1}, "capital_weight"),
        ({"status": "live"}, "status.*'live'.*deployed"),
    ],
)
def test_a_wrong_field_is_named(change, named):
    with pytest.raises(StrategyError, match=named) as caught:
        dataclasses.replace(RIDGE, **change)
    assert str(change.get("id", RIDGE.id)) in str(caught.value)


def test_the_shortest_declaration_is_enough():
    spec = StrategySpec("HYP-2027-010", "Momentum", ("momentum_12_1_rank",), 21, "momentum")
    assert (spec.status, spec.capital_weight) == ("research", 1.0)
    assert (spec.signal.method, spec.signal.top_fraction) == ("rank", 0.10)
