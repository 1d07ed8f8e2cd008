from __future__ import annotations

import dataclasses

import pytest

from hydra_pipelines.decision.signals import SignalRule
from hydra_pipelines.models.strategies import StrategyError, StrategySpec
from hydra_pipelines_tests.models.conftest import BOOSTING, DEPLOYED, DESK, EQUAL, RIDGE


def test_a_fresh_desk_deploys_two_strategies():
    assert [spec.family for spec in DEPLOYED] == ["ridge", "momentum"]
    assert all(spec.status == "deployed" for spec in DEPLOYED)
    assert sum(spec.capital_weight for spec in DEPLOYED) == 1.0
    assert len(RIDGE.features) >= 12


def test_the_other_families_are_one_word_from_being_deployed():
    assert [spec.family for spec in DESK.candidates[2:]] == [
        "hist_gradient_boosting",
        "equal_weight",
    ]
    assert {spec.status for spec in DESK.candidates[2:]} == {"research"}
    assert set(BOOSTING.features) == set(RIDGE.features)


def test_defaults_fill_what_is_not_said():
    assert dataclasses.replace(RIDGE, parameters={}).model_parameters == {"alpha": 1000.0}
    spec = dataclasses.replace(RIDGE, parameters={"alpha": 7.0, "half_life_sessions": 500})
    assert spec.model_parameters == {"alpha": 7.0, "half_life_sessions": 500.0}
    trees = dataclasses.replace(BOOSTING, parameters={"max_iter": 7.0}).model_parameters
    assert trees["max_iter"] == 7 and isinstance(trees["max_iter"], int)
    assert (trees["seed"], trees["max_leaf_nodes"], "window_sessions" in trees) == (0, 8, False)
    assert EQUAL.model_parameters == {}


def test_a_universe_says_what_is_traded():
    assert RIDGE.trades("AAPL") and RIDGE.universe == ()
    spec = dataclasses.replace(RIDGE, universe=["AAPL", "KO"])
    assert spec.universe == ("AAPL", "KO")
    assert spec.trades("KO") and not spec.trades("MSFT")


def test_a_list_of_features_becomes_a_tuple():
    assert dataclasses.replace(RIDGE, features=["return_1d"]).features == ("return_1d",)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"id": "my strategy"}, "strategy my strategy: id is not written like HYP-2026-001"),
        ({"title": " "}, "title"),
        ({"features": ()}, "features is empty"),
        ({"features": ("return_2d",)}, "features.*'return_2d'"),
        ({"features": ("return_1d_zscore",)}, "features.*'return_1d_zscore'"),
        ({"features": ("return_1d", "return_1d")}, "features.*twice"),
        ({"label_horizon": 0}, "label_horizon"),
        ({"label_horizon": 2.5}, "label_horizon"),
        ({"label_horizon": 300}, "label_horizon"),
        ({"family": "forest"}, "family.*'forest'.*ridge or hist_gradient_boosting or"),
        ({"family": "momentum", "parameters": {}}, "features has 15"),
        ({"parameters": {"lambda": 1.0}}, r"parameters\.lambda is 1.0: ridge takes .*alpha"),
        ({"parameters": {"window_sessions": 100}}, r"parameters\.window_sessions is 100"),
        ({"parameters": {"half_life_sessions": 0}}, r"parameters\.half_life_sessions"),
        ({"family": "equal_weight", "parameters": {}}, "features has 15.*equal_weight takes one"),
        ({"signal": SignalRule("all")}, r"signal\.method is 'all'"),
        ({"universe": ("KO", "KO")}, "universe has 'KO' twice"),
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


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"max_iter": 0}, "max_iter is 0"),
        ({"max_iter": 1.5}, "max_iter is 1.5"),
        ({"max_leaf_nodes": 65}, "max_leaf_nodes is 65"),
        ({"learning_rate": 2}, "learning_rate is 2"),
        ({"max_features": 0}, "max_features is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"alpha": 1}, "alpha is 1: hist_gradient_boosting takes .*max_iter"),
    ],
)
def test_parameters_of_trees_are_bounded(parameters, named):
    with pytest.raises(StrategyError, match=named) as caught:
        dataclasses.replace(BOOSTING, parameters=parameters)
    assert caught.value.path == ("parameters", *parameters)


def test_equal_weight_trades_by_all_and_nothing_else():
    assert EQUAL.signal.method == "all"
    with pytest.raises(StrategyError, match=r"signal\.method is 'rank'; family equal_weight takes"):
        dataclasses.replace(EQUAL, signal=SignalRule("rank"))
