"""What fills say of the predictor: against known truths, and against the formulas by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hydra_pipelines.execution.slippage import reconcile
from hydra_pipelines.monitoring.slippage_evidence import TOLERANCE, judge
from hydra_pipelines_tests.monitoring.paper_cases import evidence, orders


def test_the_journals_figure_is_kept_as_it_is() -> None:
    predicted, actual, session = orders()
    assert judge(predicted, actual, session).figure == reconcile(predicted, actual)


def test_a_right_predictor_holds_though_single_orders_scatter_so_much_that_nothing_correlates():
    found = evidence(n=800, noise=15, days=60)
    assert found.figure.is_model_calibrated is False
    assert found.figure.correlation is not None and found.figure.correlation < 0.3
    assert found.attainable == pytest.approx(2.31 / math.hypot(2.31, 15), rel=0.06)
    assert found.holds and not found.correlation_fails


def test_where_a_right_predictor_would_show_a_correlation_it_is_asked_for() -> None:
    predicted, actual, session = orders(n=400, noise=2)
    assert judge(predicted, actual, session).holds
    rng = np.random.default_rng(0)
    # The level is right, and which order is dear is drawn by lot.
    lot = judge(predicted, rng.permutation(actual), session)
    assert lot.level_holds and lot.correlation_fails and lot.contradicted and not lot.holds


@pytest.mark.parametrize(
    ("ratio", "holds"),
    [(1.0, True), (1.3, True), (0.7, True), (1.6, False), (0.4, False), (3.0, False)],
)
def test_the_level_has_to_be_within_its_bounds(ratio: float, holds: bool) -> None:
    found = evidence(n=2000, ratio=ratio, slope=1.0)
    assert found.level is not None and found.level.value == pytest.approx(ratio, abs=0.05)
    assert found.level_holds is holds


def test_a_bias_that_may_as_well_be_too_large_is_not_enough() -> None:
    few = evidence(n=60, ratio=1.35, noise=15)
    assert few.level is not None and abs(few.level.value - 1) < TOLERANCE
    assert few.level.high is not None and few.level.high > 1 + TOLERANCE
    assert not few.level_holds
    assert few.orders_needed is not None and few.orders_needed > few.n


def test_what_a_predictor_does_not_claim_is_not_contradicted() -> None:
    predicted, actual, session = orders()
    constant = judge(np.full_like(predicted, actual.mean()), actual, session)
    assert constant.differences is None and constant.attainable is None
    assert constant.holds


def test_too_little_to_say_anything() -> None:
    for found in (evidence(n=19), evidence(n=200, days=9), judge(*(np.zeros(0),) * 3)):
        assert found.level is None and not found.holds
    free = judge(np.zeros(50), np.ones(50), np.arange(50))
    assert not free.holds, "a predictor of no cost has no level"


def test_the_interval_is_the_jackknife_by_hand() -> None:
    predicted, actual, session = orders(n=90, days=15)
    found = judge(predicted, actual, session).level
    labels = np.unique(session)
    left_out = np.array(
        [actual[session != s].mean() / predicted[session != s].mean() for s in labels]
    )
    n = len(labels)
    error = math.sqrt((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum())
    from scipy import stats

    reach = stats.t.ppf(0.95, n - 1) * error
    assert found is not None
    assert found.value == pytest.approx(actual.mean() / predicted.mean())
    assert (found.low, found.high) == (
        pytest.approx(found.value - reach), pytest.approx(found.value + reach),
    )  # fmt: skip


def test_a_wrong_level_passes_in_no_more_samples_than_the_interval_says() -> None:
    """At the edge one sample in twenty may pass; the orders of a session move together."""
    passed, covered, trials = 0, 0, 300
    for seed in range(trials):
        predicted, actual, session = orders(n=150, ratio=1.5, noise=8, seed=seed, days=30)
        shared = np.random.default_rng(1000 + seed).normal(0, 3, 30)
        found = judge(predicted, actual + shared[session], session).level
        assert found is not None and found.low is not None and found.high is not None
        passed += found.low > 0.5 and found.high < 1.5
        covered += found.low < 1.5 < found.high
    assert passed <= trials * 0.09
    assert covered >= trials * 0.85


def test_a_calibrated_predictor_is_judged_by_the_orders_it_was_calibrated_on() -> None:
    """The interval of the mean cost does not care where the prediction is from."""
    wrong, trials = 0, 300
    for seed in range(trials):
        predicted, actual, session = orders(n=40, noise=14, seed=seed, days=20)
        truth = predicted.mean()
        calibrated = predicted + actual.mean() - truth
        found = judge(calibrated, actual, session)
        right = abs(truth / calibrated.mean() - 1) < TOLERANCE
        wrong += found.level_holds and not right
    assert wrong <= trials * 0.10
