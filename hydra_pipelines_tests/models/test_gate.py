"""The gate's statistics against published examples and plain computations; each reason alone."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hydra_pipelines.models.gate import (
    Contender,
    GateLimits,
    GateReason,
    annual_sharpe,
    bootstrap_lower_bound,
    deflated_sharpe,
    expected_best_sharpe,
    judge,
    probabilistic_sharpe,
    report,
)

SESSIONS = 2520


def noise(seed: int, mean: float = 0.0, sessions: int = SESSIONS) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 0.01, sessions)


def contender(name: str, returns: np.ndarray, **figures: float) -> Contender:
    values = {"rank_ic": 0.02, "turnover": 20.0, "adv_share": 0.001, **figures}
    return Contender(name, np.atleast_2d(returns), **values)


CHAMPION = contender("champion", noise(1, 0.0008))
# Moves with the champion and earns 8 % a year more than it, with some noise of its own.
BETTER = contender("better", CHAMPION.returns[0] + noise(2) / 5 + 0.08 / 252)
TRIALS = [annual_sharpe(BETTER.returns[0]), annual_sharpe(CHAMPION.returns[0])]


# published examples


@pytest.mark.parametrize(
    ("trials", "skew", "kurtosis", "expected"),
    [(100, -3.0, 10.0, 0.9004), (46, -3.0, 10.0, 0.9505), (88, 0.0, 3.0, 0.9505)],
)
def test_deflated_sharpe_of_the_paper(
    trials: int, skew: float, kurtosis: float, expected: float
) -> None:
    """Bailey & López de Prado, "The Deflated Sharpe Ratio" (2014), numerical example: annual
    Sharpe ratio 2.5 over 1,250 sessions, variance of the trials' ratios 0.5 a year."""
    best = expected_best_sharpe(trials, 0.5 / 250)
    if trials == 100:
        assert best == pytest.approx(0.1132, abs=5e-5)
    got = probabilistic_sharpe(2.5 / math.sqrt(250), best, 1250, skew, kurtosis)
    assert got == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize(
    ("skew", "kurtosis", "expected"), [(0.0, 3.0, 0.982), (-2.448, 10.164, 0.913)]
)
def test_probabilistic_sharpe_of_the_paper(skew: float, kurtosis: float, expected: float) -> None:
    """Bailey & López de Prado, "The Sharpe Ratio Efficient Frontier" (2012): 24 months with a
    monthly Sharpe ratio of 0.458."""
    assert probabilistic_sharpe(0.458, 0.0, 24, skew, kurtosis) == pytest.approx(expected, abs=5e-4)


def test_the_best_of_many_worthless_trials_is_as_good_as_expected() -> None:
    """By simulation: the expectation is that of the largest of N normal variables."""
    draws = np.random.default_rng(0).normal(0, 0.3, (20_000, 50)).max(axis=1).mean()
    assert expected_best_sharpe(50, 0.09) == pytest.approx(draws, rel=0.03)


# plain computations


def test_the_bound_is_that_of_blocks_drawn_one_by_one() -> None:
    differences, block, resamples = noise(3, 0.0002, 300), 21, 500
    starts = np.random.default_rng(9).integers(0, 300, (resamples, 15))
    means = [
        np.concatenate([differences[(start + np.arange(block)) % 300] for start in row])[
            :300
        ].mean()
        for row in starts
    ]
    got = bootstrap_lower_bound(
        differences, confidence=0.95, block=block, resamples=resamples, seed=9
    )
    assert got == pytest.approx(np.quantile(means, 0.05) * 252, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(
    shift=st.floats(-0.01, 0.01),
    scale=st.floats(0.1, 10),
    block=st.integers(1, 400),
    sessions=st.integers(2, 300),
)
def test_the_bound_moves_and_scales_with_the_differences(
    shift: float, scale: float, block: int, sessions: int
) -> None:
    differences = noise(4, sessions=sessions)

    def bound(x: np.ndarray) -> float:
        return bootstrap_lower_bound(x, confidence=0.9, block=block, resamples=200)

    expected = scale * bound(differences) + shift * 252
    assert bound(scale * differences + shift) == pytest.approx(expected, abs=1e-9)
    assert bound(differences) <= differences.mean() * 252 + 4 * 252 * 0.01 / math.sqrt(sessions)


def test_dependence_between_sessions_lowers_the_bound() -> None:
    """Blocks see what single sessions do not: slow swings are less evidence."""
    shocks = noise(5)
    slow = np.convolve(shocks, np.ones(20) / 20, mode="same")
    single = bootstrap_lower_bound(slow, confidence=0.95, block=1, resamples=500)
    blocks = bootstrap_lower_bound(slow, confidence=0.95, block=60, resamples=500)
    assert blocks < single - 0.01


def test_the_deflated_sharpe_from_moments_of_scipy() -> None:
    from scipy.stats import kurtosis, norm, skew

    returns = np.random.default_rng(6).standard_t(4, 1000) * 0.01 + 0.001
    trials = [0.4, 1.1, -0.3, 0.9]
    ratio = returns.mean() / returns.std(ddof=1)
    variance = max(np.var(np.array(trials) / math.sqrt(252), ddof=1), 1 / 1000)
    best = math.sqrt(variance) * (
        (1 - np.euler_gamma) * norm.ppf(1 - 1 / 4) + np.euler_gamma * norm.ppf(1 - 1 / (4 * math.e))
    )
    third, fourth = skew(returns), kurtosis(returns, fisher=False)
    spread = math.sqrt(1 - third * ratio + (fourth - 1) / 4 * ratio**2)
    expected = norm.cdf((ratio - best) * math.sqrt(999) / spread)
    assert deflated_sharpe(returns, trials) == pytest.approx(expected, abs=1e-12)


def test_more_trials_make_the_same_returns_worth_less() -> None:
    returns = noise(7, 0.0006)
    worth = [deflated_sharpe(returns, [0.5, -0.2] * n) for n in (1, 5, 50)]
    assert worth[0] > worth[1] > worth[2]
    near_equal = deflated_sharpe(returns, [0.5, 0.5001] * 20)
    assert near_equal < deflated_sharpe(returns, [0.5]), "variations of one idea are trials too"


# the judgement


def verdict_of(
    change: Callable[[Contender], Contender] = lambda c: c, **limits: float
) -> tuple[GateReason, ...]:
    verdict = judge(
        change(BETTER), CHAMPION, [], TRIALS, dataclasses.replace(GateLimits(), **limits)
    )
    assert verdict.passed == (not verdict.reasons)
    return verdict.reasons


def test_a_candidate_that_is_better_passes() -> None:
    assert verdict_of() == ()


@pytest.mark.parametrize(
    ("reason", "change", "limits"),
    [
        (GateReason.TOO_FEW_SESSIONS, {}, {"min_sessions": SESSIONS + 1}),
        (GateReason.NOT_BETTER, {}, {"margin": 0.2}),
        (GateReason.TURNOVER, {"turnover": 61.0}, {}),
        (GateReason.TURNOVER, {"turnover": math.nan}, {}),
        (GateReason.DRAWDOWN, {}, {"max_drawdown": 0.05}),
        (GateReason.CAPACITY, {"adv_share": 0.02}, {}),
        (GateReason.CAPACITY, {"adv_share": math.nan}, {}),
        (GateReason.LEAK_RANK_IC, {"rank_ic": 0.11}, {}),
        (GateReason.LEAK_RANK_IC, {"rank_ic": math.nan}, {}),
        (GateReason.LEAK_SHARPE, {}, {"max_sharpe": 0.1}),
        (GateReason.SHARPE_BY_CHANCE, {}, {"min_deflated_sharpe": 0.99999}),
        (GateReason.FEATURES_MISSING, {"features_present": False}, {}),
    ],
)
def test_each_reason_alone(
    reason: GateReason, change: dict[str, float], limits: dict[str, float]
) -> None:
    assert verdict_of(lambda c: dataclasses.replace(c, **change), **limits) == (reason,)


def test_a_seed_that_loses_to_the_champion_speaks_against_it() -> None:
    good = BETTER.returns[0] + 0.1 / 252
    losing = CHAMPION.returns[0] - 0.005 / 252
    both = dataclasses.replace(BETTER, returns=np.stack([good, good, good, losing]))
    assert verdict_of(lambda _: both) == (GateReason.SEEDS_DISAGREE,)


def test_the_champion_again_is_no_better() -> None:
    verdict = judge(CHAMPION, CHAMPION, [], TRIALS, GateLimits())
    assert GateReason.NOT_BETTER in verdict.reasons
    assert verdict.figures["difference"] == 0.0


def test_luck_passes_as_rarely_as_the_confidence_says() -> None:
    """Candidates without any advantage: about one in twenty has a lower bound above zero."""
    lucky = 0
    for seed in range(200):
        other = contender("other", CHAMPION.returns[0] + noise(1000 + seed))
        verdict = judge(other, CHAMPION, [], TRIALS, GateLimits(margin=0.0, resamples=200))
        lucky += GateReason.NOT_BETTER not in verdict.reasons
    assert 2 <= lucky <= 22


def test_a_yardstick_that_does_better_is_a_warning() -> None:
    equal = contender("equal_weight", noise(8, 0.003))
    verdict = judge(BETTER, CHAMPION, [equal], TRIALS, GateLimits())
    assert verdict.passed
    assert verdict.figures["equal_weight_sharpe"] > verdict.figures["sharpe"]
    assert "below that of equal_weight" in verdict.warnings[0]
    assert "Mind: net Sharpe" in report("HYP-2026-001 v2", verdict)


def test_a_report_names_what_failed() -> None:
    verdict = judge(CHAMPION, CHAMPION, [], TRIALS, GateLimits())
    text = report("HYP-2026-001 v2", verdict)
    assert "keep the champion" in text
    assert all(f"{r}: {r.explanation}" in text for r in verdict.reasons)


def test_the_same_inputs_give_the_same_verdict() -> None:
    first, second = (judge(BETTER, CHAMPION, [], TRIALS, GateLimits()) for _ in range(2))
    assert first == second


def test_what_can_not_be_compared_is_refused() -> None:
    short = contender("short", noise(9, sessions=100))
    with pytest.raises(ValueError, match="short has 100 sessions"):
        judge(BETTER, short, [], TRIALS, GateLimits())
    with pytest.raises(ValueError, match="trial_sharpes"):
        judge(BETTER, CHAMPION, [], [], GateLimits())
    with pytest.raises(ValueError, match="better: returns"):
        contender("better", np.array([0.1, np.nan]))
    with pytest.raises(ValueError, match="confidence"):
        GateLimits(confidence=0.2)
