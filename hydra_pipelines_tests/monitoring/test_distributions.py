"""PSI and KS against a hand formula, scipy, and a loop over windows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hydra_pipelines.models.reference import make_reference
from hydra_pipelines.monitoring.distributions import (
    FINE_BINS,
    benjamini_hochberg,
    counts_by_session,
    distances,
    ks_critical,
    ks_distance,
    ks_p_values,
    over_windows,
    parts,
    past_windows,
    psi,
    psi_floor,
)

few_values = st.lists(st.integers(0, 6), min_size=1, max_size=40)


def test_psi_by_hand() -> None:
    found = psi(np.array([50, 30, 20]), np.array([20, 30, 50]))
    expected = -0.3 * math.log(0.2 / 0.5) + 0.3 * math.log(0.5 / 0.2)
    assert found == pytest.approx(expected)
    # An empty bin counts as half a value of its side.
    lone = psi(np.array([5, 5]), np.array([10, 0]))
    assert lone == pytest.approx(0.5 * math.log(1 / 0.5) + (0.05 - 0.5) * math.log(0.05 / 0.5))
    assert psi(np.array([3, 4, 5]), np.array([30, 40, 50])) == pytest.approx(0)
    assert np.isnan(psi(np.array([3, 4]), np.array([0, 0])))


def test_the_floor_is_where_one_in_twenty_independent_windows_is() -> None:
    rng = np.random.default_rng(1)
    reference = make_reference(["x"], [rng.normal(size=20_000)])
    windows = np.stack(
        [np.bincount(np.searchsorted(reference.edges[0], rng.normal(size=500)), minlength=10)
         for _ in range(2000)]
    )  # fmt: skip
    beyond = psi(reference.counts[0], windows) > psi_floor(500, 20_000, 10)
    assert 0.035 < beyond.mean() < 0.065
    assert psi_floor(500, 20_000, 10) == pytest.approx(
        stats.chi2.ppf(0.95, 9) * (1 / 500 + 1 / 20_000)
    )


@given(few_values, few_values)
def test_ks_is_scipys_with_ties_too(left: list[int], right: list[int]) -> None:
    a, b = np.sort(np.array(left, float)), np.sort(np.array(right, float))
    assert ks_distance(a, b) == stats.ks_2samp(a, b, method="asymp").statistic
    assert ks_distance(b, a) == ks_distance(a, b)


@pytest.mark.parametrize("n, m", [(2, 3), (40, 900), (3000, 250), (20_000, 20_001)])
def test_ks_of_floats_and_its_p_value_are_scipys(n: int, m: int) -> None:
    rng = np.random.default_rng(n)
    a, b = rng.normal(size=n), rng.standard_t(3, m) + 0.05
    expected = stats.ks_2samp(a, b, method="asymp")
    d = ks_distance(np.sort(a), np.sort(b))
    assert d == expected.statistic
    assert ks_p_values(np.array([d]), np.array([n]), np.array([m]))[0] == expected.pvalue


def test_the_critical_distance_has_the_p_value() -> None:
    d = ks_critical(0.01, 5000, 1200)
    assert ks_p_values(np.array([d]), np.array([5000]), np.array([1200]))[0] == pytest.approx(
        0.01, rel=0.05
    )


def test_many_columns_at_once_are_each_by_themselves() -> None:
    rng = np.random.default_rng(2)
    then, now = rng.normal(size=(4000, 3)), rng.normal(0.1, 1.2, (700, 3))
    then[::7, 1] = np.nan
    now[:, 2] = np.nan
    bins = make_reference(["a", "b", "c"], list(then.T))
    found = distances(bins.edges, bins.counts, then, now)
    for k in (0, 1):
        clean = then[~np.isnan(then[:, k]), k]
        expected = stats.ks_2samp(clean, now[:, k], method="asymp")
        assert (found.d[k], found.p[k]) == (expected.statistic, expected.pvalue)
        inside = np.histogram(now[:, k], [-np.inf, *bins.edges[k], np.inf])[0]
        assert found.psi[k] == pytest.approx(psi(bins.counts[k], inside))
    assert np.isnan([found.psi[2], found.d[2], found.p[2]]).all()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_the_correction_is_scipys(p: list[float]) -> None:
    assert benjamini_hochberg(p) == pytest.approx(stats.false_discovery_control(p))
    with_gap = benjamini_hochberg([*p, math.nan])
    assert np.isnan(with_gap[-1]) and with_gap[:-1] == pytest.approx(benjamini_hochberg(p))


def test_past_windows_are_those_of_a_loop_without_their_own_part() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(size=(150, 6)).cumsum(axis=0)
    values[rng.random(values.shape) < 0.1] = np.nan
    known = values[~np.isnan(values)]
    edges = make_reference(["x"], [known]).edges[0]
    psis, ds = past_windows(values, 20, edges)
    assert len(psis) == len(ds) == 131
    fine = np.quantile(known, np.arange(1, FINE_BINS) / FINE_BINS)
    for part in parts(131):
        for i in (part.start, part.stop - 1):
            own, window = values[part.start : part.stop + 19], values[i : i + 20]
            rest = np.concatenate([values[: part.start], values[part.stop + 19 :]])
            reference = counts_by_session(rest, edges).sum(axis=0)
            assert own.shape[0] + rest.shape[0] == 150
            current = counts_by_session(window, edges).sum(axis=0)
            assert psis[i] == pytest.approx(psi(reference, current))
            binned = [
                np.searchsorted(fine, x[~np.isnan(x)], side="left").astype(float)
                for x in (rest.ravel(), window.ravel())
            ]
            d = stats.ks_2samp(*binned, method="asymp").statistic
            assert ds[i] == pytest.approx(d + 1 / FINE_BINS)
    assert len(past_windows(values[:10], 20, edges)[0]) == 0


def test_windows_are_sums_of_sessions() -> None:
    counts = np.arange(12).reshape(6, 2)
    assert over_windows(counts, 3).tolist() == [
        counts[i : i + 3].sum(axis=0).tolist() for i in range(4)
    ]
    assert len(over_windows(counts, 7)) == 0
