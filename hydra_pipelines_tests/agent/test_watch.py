"""The watch: the better version stays, the worse goes, and nothing is said too early."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hydra_pipelines.agent.watch import Comparison, Outlook, compare, judge

HORIZON = 5


def market(sessions: int, seed: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Skill (S, N) that is right of the returns to come, labels with their end unknown, prices."""
    random = np.random.default_rng(seed)
    daily = random.normal(0, 0.01, (sessions, 20))
    prices = 100 * np.cumprod(1 + daily, axis=0)
    labels = np.full(prices.shape, np.nan)
    known = sessions - 1 - HORIZON
    raw = prices[1 + HORIZON :] / prices[1 : 1 + known] - 1
    labels[:known] = raw - raw.mean(axis=1, keepdims=True)
    skill = np.where(np.isnan(labels), 0.0, labels)
    return skill, labels, prices


def held_against(new: np.ndarray, old: np.ndarray, labels: np.ndarray, prices: np.ndarray):
    return compare(new, old, labels, prices, horizon=HORIZON, top=4, replaced_top=4)


def test_foresight_is_kept_and_its_opposite_goes():
    skill, labels, prices = market(30)
    noise = np.random.default_rng(5).normal(size=skill.shape)
    good = held_against(skill, noise, labels, prices)
    assert good.sessions == 24 and good.rank_ic > 0.99
    assert judge(good, sessions=20, margin=0.05) is Outlook.KEPT
    bad = held_against(-skill, noise, labels, prices)
    assert bad.rank_ic < -0.99 and bad.return_difference < 0
    assert judge(bad, sessions=20, margin=0.05) is Outlook.WORSE
    assert "over 24 sessions" in bad.sentence


def test_the_same_model_twice_differs_in_nothing():
    skill, labels, prices = market(30)
    same = held_against(skill, skill, labels, prices)
    assert same.rank_ic_difference == 0 and same.return_difference == 0
    assert judge(same, sessions=20, margin=0.05) is Outlook.KEPT


def test_predictions_without_an_order_are_judged_by_what_they_earned():
    skill, labels, prices = market(30)
    flat = held_against(np.zeros_like(skill), skill, labels, prices)
    assert np.isnan(flat.rank_ic) and flat.figures["rank_ic"] is None
    assert judge(flat, sessions=20, margin=0.05) is Outlook.WORSE


def seen(sessions: int, ic: float, net: float) -> Comparison:
    return Comparison(sessions, ic, 0.0, net, 0.0)


def test_both_have_to_be_lower_and_early_by_more():
    assert judge(seen(20, -0.06, -0.1), sessions=20, margin=0.05) is Outlook.WORSE
    assert judge(seen(20, -0.04, -0.1), sessions=20, margin=0.05) is Outlook.KEPT
    assert judge(seen(20, -0.30, +0.1), sessions=20, margin=0.05) is Outlook.KEPT
    assert judge(seen(10, -0.06, -0.1), sessions=20, margin=0.05) is Outlook.TOO_EARLY
    assert judge(seen(10, -0.11, -0.1), sessions=20, margin=0.05) is Outlook.WORSE
    assert judge(seen(9, -0.90, -0.9), sessions=20, margin=0.05) is Outlook.TOO_EARLY


@given(
    st.integers(0, 60),
    st.floats(-1, 1) | st.just(float("nan")),
    st.floats(-3, 3),
    st.integers(10, 60),
    st.floats(0.01, 0.5),
)
def test_no_verdict_before_half_of_the_sessions_and_none_missing_at_the_end(
    sessions, ic, net, asked, margin
):
    outlook = judge(seen(sessions, ic, net), sessions=asked, margin=margin)
    if sessions * 2 < asked:
        assert outlook is Outlook.TOO_EARLY
    if sessions >= asked:
        assert outlook is not Outlook.TOO_EARLY
    if net >= 0 or ic > 0:
        assert outlook is not Outlook.WORSE
    stricter = judge(seen(sessions, ic, net), sessions=asked, margin=margin / 2)
    assert outlook is not Outlook.WORSE or stricter is Outlook.WORSE
