"""The playbook: every change is a real one, can be trained, and is not tried again too soon."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_pipelines.agent.diagnosis import Cause, Diagnosis
from hydra_pipelines.agent.playbook import (
    PLAYBOOK,
    RECENT_WINDOW,
    differences,
    key_of,
    proposals,
    shared,
)
from hydra_pipelines.decision.signals import SignalRule
from hydra_pipelines.models.families import build_pipeline
from hydra_pipelines.models.strategies import StrategySpec

RIDGE = StrategySpec(
    id="HYP-2026-001",
    title="a ridge",
    features=("return_5d_rank", "return_21d_rank", "volatility_21d", "beta_63d_rank", "rsi_14"),
    label_horizon=5,
    family="ridge",
    parameters={"alpha": 1000.0, "window_sessions": 252},
    signal=SignalRule(top_fraction=0.25),
)
RECENT = replace(RIDGE, parameters={"alpha": 1000.0, "window_sessions": RECENT_WINDOW})
"""What one of the mutations would make of it already."""
TREES = replace(RIDGE, family="hist_gradient_boosting", parameters={})
RULE = replace(RIDGE, family="momentum", features=("momentum_12_1_z",), parameters={})
CURABLE = [cause for cause in Cause if cause.has_cure and cause is not Cause.EXECUTION]


def ill(cause: Cause, *drifting: str, strategy: str | None = RIDGE.id) -> Diagnosis:
    return Diagnosis(strategy, cause, ("a detector",), (), drifting)


def kinds(found: object) -> list[str]:
    return [p.mutation_type for p in found]  # type: ignore[attr-defined]


@given(
    st.sampled_from((RIDGE, RECENT, TREES, RULE)),
    st.sampled_from(CURABLE),
    st.sets(st.sampled_from(RIDGE.features)),
    st.integers(0, 12),
)
def test_each_proposal_is_a_change_that_can_be_trained(champion, cause, drifting, skip):
    found = proposals(ill(cause, *drifting), champion, ())
    configurations = [p.configuration for p in found]
    assert len(set(configurations)) == len(found) and champion.configuration not in configurations
    for one in found:
        made = champion.as_configured(one.configuration)
        build_pipeline(made)
        assert made.configuration == one.configuration and made.id == champion.id
        assert one.difference == differences(champion.configuration, one.configuration)
        assert one.difference and one.hypothesis and one.cause is cause
        assert made.label_horizon == champion.label_horizon and made.universe == champion.universe
    tried = {p.key for p in found[:skip]}
    again = proposals(ill(cause, *drifting), champion, tried)
    assert not tried & {p.key for p in again}
    assert {p.key for p in found[skip:]} <= {p.key for p in again}, "the others still come"


def test_which_mutations_apply_depends_on_the_cause():
    shift = kinds(proposals(ill(Cause.COVARIATE_SHIFT, "volatility_21d"), RIDGE, ()))
    assert shift[0] == "drop_drifting_features" and "other_threshold" not in shift
    drift = kinds(proposals(ill(Cause.CONCEPT_DRIFT), RIDGE, ()))
    assert drift[0] == "recent_window" and "drop_drifting_features" not in drift
    regime = kinds(proposals(ill(Cause.REGIME_CHANGE), RIDGE, ()))
    assert regime[0] == "other_window"
    first_round = regime[: len(set(regime))]
    assert len(set(first_round)) == len(first_round), "one of each before the second of any"
    for cause in (Cause.NONE, Cause.NOT_KNOWN, Cause.DATA_QUALITY):
        assert proposals(ill(cause), RIDGE, ()) == ()


def test_a_rule_of_thumb_learns_nothing_and_is_not_retrained():
    assert set(kinds(proposals(ill(Cause.CONCEPT_DRIFT), RULE, ()))) == {"other_threshold"}
    assert proposals(ill(Cause.COVARIATE_SHIFT), RULE, ()) == ()


def test_drifting_features_go_and_enough_stay():
    (drop,) = (
        p
        for p in proposals(ill(Cause.COVARIATE_SHIFT, "volatility_21d"), RIDGE, ())
        if p.mutation_type == "drop_drifting_features"
    )
    kept = json.loads(drop.configuration or "")["features"]
    assert kept == [f for f in RIDGE.features if f != "volatility_21d"]
    most = ill(Cause.COVARIATE_SHIFT, *RIDGE.features[:3])
    assert "drop_drifting_features" not in kinds(proposals(most, RIDGE, ()))


def test_execution_asks_for_another_slippage_model_and_no_other_model():
    (one,) = proposals(ill(Cause.EXECUTION, strategy=None), None, ())
    assert (one.mutation_type, one.strategy_id, one.configuration) == (
        "slippage_pessimism",
        None,
        None,
    )
    assert proposals(ill(Cause.EXECUTION, strategy=None), None, {one.key}) == ()
    assert proposals(ill(Cause.CONCEPT_DRIFT), None, ()) == (), "without a champion, nothing"


def test_keys_survive_the_ledger():
    for one in proposals(ill(Cause.CONCEPT_DRIFT), RIDGE, ()):
        stored = json.loads(json.dumps(one.difference))
        assert key_of(one.strategy_id, one.mutation_type, stored) == one.key


def test_the_budget_is_shared():
    a, b = (
        proposals(ill(Cause.CONCEPT_DRIFT), replace(RIDGE, id=name), ())
        for name in ("HYP-2026-001", "HYP-2026-002")
    )
    assert shared([a, b], 3) == (a[0], b[0], a[1])
    assert shared([a[:1], b], 4) == (a[0], *b[:3])
    assert shared([], 3) == shared([a], 0) == ()


@pytest.mark.parametrize("mutation", PLAYBOOK, ids=lambda m: m.name)
def test_every_mutation_has_a_cause_that_asks_for_it_and_makes_something(mutation):
    for cause in mutation.causes:
        desk = mutation.make_for_desk is not None
        champions = (None,) if desk else (RIDGE, TREES)
        made = [
            p
            for champion in champions
            for p in proposals(
                ill(cause, "rsi_14", strategy=None if desk else RIDGE.id), champion, ()
            )
            if p.mutation_type == mutation.name
        ]
        assert made, f"{mutation.name} never comes up for {cause}"
