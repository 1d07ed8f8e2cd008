"""From detectors to a cause: data first, then what the decisive checks say, and never more."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_pipelines.agent.diagnosis import (
    MODEL_FAMILIES,
    Cause,
    Check,
    Diagnosis,
    Flaw,
    Market,
    diagnose,
    market_of,
)

NAMES = ("HYP-2026-001", "HYP-2026-002")
DAY = date(2020, 3, 27)
CALM, WILD = Market(0.12, 0.50), Market(0.80, 0.99)


def check(family: str, subject: str, state: str = "alarm", **others: object) -> Check:
    values = {"strategy_id": NAMES[0], "model_version": 3, "detector": "psi", **others}
    values.setdefault("decisive", state == "alarm")
    return Check(family=family, subject=subject, state=state, **values)  # type: ignore[arg-type]


def flaw(check: str, severity: str = "warning", symbol: str | None = "AAPL") -> Flaw:
    return Flaw(check, severity, symbol, DAY, "odd")


def first(*checks: Check, market: Market = CALM) -> Diagnosis:
    return diagnose(checks, (), market, NAMES)[0]


@pytest.mark.parametrize(
    ("checks", "market", "cause"),
    [
        ([check("concept", "residual")], CALM, Cause.CONCEPT_DRIFT),
        ([check("performance", "rank_ic")], CALM, Cause.CONCEPT_DRIFT),
        ([check("feature", "return_5d")], CALM, Cause.COVARIATE_SHIFT),
        ([check("prediction", "prediction")], CALM, Cause.COVARIATE_SHIFT),
        ([check("feature", "volatility_21d")], CALM, Cause.REGIME_CHANGE),
        ([check("concept", "residual")], WILD, Cause.REGIME_CHANGE),
        ([check("feature", "beta_63d")], WILD, Cause.REGIME_CHANGE),
        ([check("concept", "residual", "warning")], WILD, Cause.NONE),
        ([check("concept", "residual", "ok")], WILD, Cause.NONE),
        ([check("concept", "residual", decisive=False)], WILD, Cause.NONE),
        ([check("concept", "residual", "not_enough_data")], WILD, Cause.NOT_KNOWN),
        ([], CALM, Cause.NOT_KNOWN),
    ],
)
def test_the_cause_is_what_the_decisive_checks_and_the_market_say(checks, market, cause):
    assert first(*checks, market=market).cause is cause


def test_other_causes_and_the_evidence_are_told():
    found = first(
        check("feature", "volatility_21d", value=0.4, alarm_at=0.3),
        check("performance", "rank_ic", value=-0.1, alarm_at=0.0),
        market=WILD,
    )
    assert found.cause is Cause.REGIME_CHANGE
    assert found.also == (Cause.CONCEPT_DRIFT, Cause.COVARIATE_SHIFT)
    assert found.drifting == ("volatility_21d",) and found.model_version == 3
    assert found.evidence[0].startswith("the market's volatility is 80.0% a year")
    assert "psi of rank_ic is -0.1, its alarm is at 0" in found.evidence
    assert first().evidence == ("it was not checked",)


def test_execution_is_the_desks_and_says_nothing_of_its_models():
    slip = check("execution", "slippage", strategy_id=None, detector="slippage_bias")
    ok = check("concept", "residual", "ok")
    found = diagnose([ok, slip], (), WILD, NAMES[:1])
    assert [(d.strategy_id, d.cause) for d in found] == [
        (NAMES[0], Cause.NONE),
        (None, Cause.EXECUTION),
    ]


@pytest.mark.parametrize("name", ["price", "range", "return", "missing session", "stale"])
def test_damaged_data_comes_first_and_alone(name):
    checks = [check("concept", "residual"), check("execution", "slippage", strategy_id=None)]
    (found,) = diagnose(checks, [flaw(name)], WILD, NAMES)
    assert (found.strategy_id, found.cause) == (None, Cause.DATA_QUALITY)
    assert not found.cause.has_cure and found.evidence[0].startswith(name)


def test_what_is_only_odd_spoils_nothing():
    odd = [flaw("volume"), flaw("source", symbol=None), flaw("coverage")]
    assert not any(one.spoils for one in odd)
    assert flaw("coverage", symbol=None).spoils and flaw("volume", "error").spoils
    assert first(check("concept", "residual")).cause is Cause.CONCEPT_DRIFT


def checks() -> st.SearchStrategy[Check]:
    return st.builds(
        Check,
        strategy_id=st.sampled_from((*NAMES, "HYP-2026-009", None)),
        model_version=st.none() | st.integers(1, 5),
        family=st.sampled_from((*MODEL_FAMILIES, "execution")),
        detector=st.sampled_from(("psi", "ks", "adwin", "cusum", "hit_rate")),
        subject=st.sampled_from(("return_5d", "volatility_21d", "residual", "rank_ic")),
        state=st.sampled_from(("ok", "warning", "alarm", "not_enough_data")),
        decisive=st.booleans(),
        value=st.none() | st.floats(-1, 1),
        alarm_at=st.none() | st.floats(-1, 1),
    )


@given(st.lists(checks(), max_size=12), st.sampled_from((CALM, WILD, Market())), st.randoms())
def test_one_diagnosis_a_strategy_whatever_the_order(found, market, random):
    told = diagnose(found, (), market, NAMES)
    assert [d.strategy_id for d in told][: len(NAMES)] == list(NAMES)
    for one in told:
        mine = [c for c in found if c.strategy_id == one.strategy_id]
        decisive = [c for c in mine if c.decisive and c.family in MODEL_FAMILIES]
        if one.strategy_id is not None:
            assert one.cause.has_cure == bool(decisive)
        if one.cause is Cause.NOT_KNOWN:
            assert all(c.state == "not_enough_data" or c.family == "execution" for c in mine)
        assert not one.cause.has_cure or one.evidence, "no cause without evidence"
        assert one.cause not in one.also
    shuffled = list(found)
    random.shuffle(shuffled)
    again = diagnose(shuffled, (), market, NAMES)
    assert [(d.strategy_id, d.cause, set(d.also)) for d in again] == [
        (d.strategy_id, d.cause, set(d.also)) for d in told
    ]


def test_the_market_is_held_against_its_own_history():
    random = np.random.default_rng(1)
    quiet = random.normal(0, 0.01, (1500, 5))
    wild = quiet.copy()
    wild[-21:] *= 6
    prices = [100 * np.cumprod(1 + r, axis=0) for r in (quiet, wild)]
    assert not market_of(prices[0]).volatile or market_of(prices[0]).percentile < 1
    assert market_of(prices[1]).volatile and market_of(prices[1]).percentile == 1.0
    gone = prices[1].copy()
    gone[:, 2] = np.nan
    assert market_of(gone).volatile, "a name without prices is left out"
    assert market_of(prices[1][-300:]) == Market(), "too short to tell is not known"
