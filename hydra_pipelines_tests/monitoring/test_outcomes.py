"""Concept and performance checks against loops, and on models that lose their skill."""

from __future__ import annotations

import numpy as np
import pytest

from hydra_pipelines.models.reference import History
from hydra_pipelines.models.scores import SessionScores, probabilities_up, score_sessions
from hydra_pipelines.monitoring.checks import Check, State, Window
from hydra_pipelines.monitoring.outcomes import (
    concept_checks,
    drawdowns,
    performance_checks,
    sharpes,
    slippage_check,
)
from hydra_pipelines.monitoring.performance import sharpe

DAYS = np.arange(np.datetime64("2000-01-03"), np.datetime64("2012-01-01"))
NAMES, HORIZON = 20, 5


def scored(rng: np.random.Generator, days: np.ndarray, skill: float, noise: float) -> SessionScores:
    """Predictions that explain `skill` of labels whose deviation is `noise`."""
    predictions = rng.normal(0, 0.005, (len(days), NAMES))
    labels = 6 * skill * predictions + rng.normal(0, 0.03 * noise, predictions.shape)
    return score_sessions(days, predictions, probabilities_up(predictions, 0.03), labels, 0.03)


@pytest.fixture(scope="module")
def history() -> History:
    rng = np.random.default_rng(0)
    then = scored(rng, DAYS[:2500], 1.0, 1.0)
    return History(then, rng.normal(0.0006, 0.01, 2500), DAYS[:2500])


def by_name(checks: list[Check]) -> dict[tuple[str, str], Check]:
    return {(check.detector, check.subject): check for check in checks}


def test_scores_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(1)
    predictions, labels = rng.normal(0, 0.01, (6, 9)), rng.normal(0, 0.03, (6, 9))
    predictions[0, :3] = labels[1, 2] = np.nan
    labels[5] = np.nan
    up = probabilities_up(predictions, 0.03)
    found = score_sessions(DAYS[:6], predictions, up, labels, 0.03)
    for t in range(5):
        known = ~np.isnan(predictions[t]) & ~np.isnan(labels[t])
        p, y, q = predictions[t][known], labels[t][known], up[t][known]
        assert found.n[t] == len(p)
        assert found.residual[t] == pytest.approx(np.sqrt(np.mean((y - p) ** 2)) / 0.03)
        assert found.accuracy[t] == pytest.approx(np.mean((p > 0) == (y > 0)))
        assert found.brier[t] == pytest.approx(np.mean((q - (y > 0)) ** 2))
    assert found.n[5] == 0 and np.isnan(found.accuracy[5])


def test_sharpe_and_drawdown_of_windows_are_those_of_a_loop() -> None:
    returns = np.random.default_rng(2).normal(0, 0.02, 90)
    for i, (ratio, fall) in enumerate(
        zip(sharpes(returns, 30), drawdowns(returns, 30), strict=True)
    ):
        window = returns[i : i + 30]
        assert ratio == pytest.approx(sharpe(window.tolist()))
        equity = np.concatenate([[1.0], np.cumprod(1 + window)])
        worst = max(1 - equity[k] / equity[: k + 1].max() for k in range(len(equity)))
        assert fall == pytest.approx(worst)


def test_a_model_as_good_as_ever_raises_no_alarm(history: History) -> None:
    now = scored(np.random.default_rng(3), DAYS[2500:2750], 1.0, 1.0)
    checks = concept_checks(now, history, HORIZON)
    checks += performance_checks(
        now, np.random.default_rng(4).normal(0.0006, 0.01, 250), DAYS[2500:2750], history, 63
    )
    assert {c.state for c in checks} <= {State.OK, State.WARNING}
    assert len(checks) == 9


def test_a_model_that_lost_its_skill_is_found(history: History) -> None:
    rng = np.random.default_rng(5)
    now = scored(rng, DAYS[2500:2750], -1.0, 1.0)
    checks = by_name(
        concept_checks(now, history, HORIZON)
        + performance_checks(now, rng.normal(-0.005, 0.01, 250), DAYS[2500:2750], history, 63)
    )
    for name in (
        ("cusum", "rank_ic"),
        ("hit_rate", "prediction"),
        ("rank_ic", "prediction"),
        ("brier", "probability_up"),
        ("rolling_sharpe", "returns"),
        ("drawdown", "returns"),
    ):
        assert checks[name].breached, name
    # Accuracy is more than a tenth below its baseline, and says so.
    hits = checks["hit_rate", "prediction"]
    assert hits.value is not None and hits.value < 0.9 * hits.details["baseline"]


def test_errors_that_grow_are_found_and_errors_that_shrink_are_not(history: History) -> None:
    larger = scored(np.random.default_rng(6), DAYS[2500:2590], 1.0, 1.6)
    checks = by_name(concept_checks(larger, history, HORIZON))
    assert checks["cusum", "residual"].breached and checks["adwin", "residual"].breached
    smaller = scored(np.random.default_rng(6), DAYS[2500:2750], 1.0, 0.6)
    checks = by_name(concept_checks(smaller, history, HORIZON))
    assert checks["cusum", "residual"].state is checks["adwin", "residual"].state is State.OK


def test_too_little_is_not_enough_data_and_never_ok(history: History) -> None:
    now = scored(np.random.default_rng(7), DAYS[2500:2520], 1.0, 1.0)
    checks = concept_checks(now, history, HORIZON)
    checks += performance_checks(now, np.zeros(20), DAYS[2500:2520], history, 63)
    later = scored(np.random.default_rng(7), DAYS[2500:2750], 1.0, 1.0)
    checks += concept_checks(later, None, HORIZON)
    checks += performance_checks(later, np.empty(0), DAYS[:0], None, 63)
    assert {check.state for check in checks} == {State.NOT_ENOUGH_DATA}
    assert all(check.details["why"] for check in checks)


def test_slippage_bias_needs_size_and_significance() -> None:
    predicted = np.full(40, 5.0)
    wave = np.tile([-1.0, 1.0], 20)
    assert slippage_check(predicted, predicted + wave, Window(40)).state is State.OK
    sure = slippage_check(predicted, 2.0 * predicted + wave, Window(40))
    assert sure.state is State.ALARM and sure.value == pytest.approx(1.0) and sure.decisive
    noisy = slippage_check(predicted, 1.8 * predicted + 60 * wave, Window(40))
    assert noisy.state is State.WARNING and not noisy.decisive
    cheap = slippage_check(predicted, 0.2 * predicted + wave, Window(40))
    assert cheap.state is State.ALARM
    few = slippage_check(predicted[:10], predicted[:10], Window(10))
    assert few.state is State.NOT_ENOUGH_DATA
