from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from hydra_pipelines.features import engine


def bits(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x).view(np.int64)


def series(rows: int, columns: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(1.0, 3.0, (rows, columns))


def windows(x: np.ndarray, length: int) -> np.ndarray:
    """(R - length + 1, N, length)"""
    return np.lib.stride_tricks.sliding_window_view(x, length, axis=0)


WINDOWED = {
    "sum": (engine.window_sum, lambda w: w.sum(axis=-1)),
    "mean": (engine.window_mean, lambda w: w.mean(axis=-1)),
    "max": (engine.window_max, lambda w: w.max(axis=-1)),
    "min": (engine.window_min, lambda w: w.min(axis=-1)),
    "deviation": (engine.window_deviation, lambda w: w.std(axis=-1)),
    "exponential": (
        lambda x, length: engine.exponential_mean(x, 0.9, length),
        lambda w: np.average(w, axis=-1, weights=0.9 ** np.arange(w.shape[-1])[::-1]),
    ),
}


@pytest.mark.parametrize("name", WINDOWED)
@given(length=st.integers(1, 70), extra=st.integers(0, 20))
def test_windows_agree_with_the_definition(name, length, extra):
    function, definition = WINDOWED[name]
    x = series(length + extra)
    assert np.allclose(function(x, length), definition(windows(x, length)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", WINDOWED)
@given(
    length=st.integers(1, 70), start=st.integers(0, 60), count=st.integers(1, 9), wide=st.booleans()
)
def test_windows_are_the_same_bit_for_bit_in_any_slice(name, length, start, count, wide):
    function, _ = WINDOWED[name]
    x = series(140, 17 if wide else 1)
    whole = function(x, length)
    part = function(x[start : start + count + length - 1], length)
    assert np.array_equal(bits(part), bits(whole[start : start + count]))


def test_covariance_agrees_with_the_definition():
    x, y = series(80, seed=1), series(80, seed=2)[:, :1]
    got = engine.window_covariance(x, y, 21)
    for t in range(60):
        for n in range(3):
            pair = np.cov(x[t : t + 21, n], y[t : t + 21, 0], ddof=0)
            assert got[t, n] == pytest.approx(pair[0, 1], rel=1e-10, abs=1e-12)


def test_deviation_does_not_cancel():
    x = 1e9 + series(40) * 1e-3
    expected = windows(x - 1e9, 20).std(axis=-1)
    assert np.allclose(engine.window_deviation(x, 20), expected, rtol=1e-4)


@pytest.mark.parametrize("name", WINDOWED)
def test_an_unknown_value_concerns_its_windows_only(name):
    function, _ = WINDOWED[name]
    x = series(60)
    holed = x.copy()
    holed[30, 1] = np.nan
    clean, got = function(x, 7), function(holed, 7)
    assert np.isnan(got[24:31, 1]).all()
    got[24:31, 1] = clean[24:31, 1]
    assert np.array_equal(bits(got), bits(clean))


def test_an_exponential_mean_approaches_the_recursive_one():
    x = np.abs(series(1500))
    recursive = x[0].copy()
    for row in x[1:]:
        recursive = recursive * (13 / 14) + row / 14
    got = engine.exponential_mean(x, 13 / 14, 384)[-1]
    assert np.allclose(got, recursive, rtol=1e-11)


def test_changes_and_lags():
    x = np.array([[1.0], [2.0], [3.0], [6.0]])
    assert engine.change(x, 2).ravel().tolist() == [2.0, 2.0]
    assert engine.lag(x, 3).ravel().tolist() == [1.0]


rows = st.lists(
    st.one_of(st.sampled_from([0.0, 1.0, -2.5, 0.1]), st.floats(-1e6, 1e6), st.just(np.nan)),
    min_size=1,
    max_size=33,
)


@given(values=rows)
def test_ranks_are_average_ranks_of_the_known(values):
    x = np.array([values])
    known = ~np.isnan(x)
    got = engine.row_rank(x)
    assert np.array_equal(np.isnan(got), ~known)
    if known.any():
        expected = (rankdata(x[known]) - 0.5) / known.sum()
        assert np.array_equal(got[known], expected)


@given(values=rows)
def test_scores_have_mean_zero_and_deviation_one(values):
    x = np.array([values])
    known = ~np.isnan(x)
    got = engine.row_zscore(x)
    assert np.array_equal(np.isnan(got), ~known)
    if not known.any():
        return
    if np.ptp(x[known]) == 0.0:
        assert (got[known] == 0.0).all()
    elif np.ptp(x[known]) > 1e-6:
        expected = (x[known] - x[known].mean()) / x[known].std()
        assert np.allclose(got[known], expected, rtol=1e-6, atol=1e-8)


@given(columns=st.integers(1, 40), start=st.integers(0, 20), count=st.integers(1, 5))
def test_rows_are_the_same_bit_for_bit_in_any_slice(columns, start, count):
    x = series(30, columns)
    x[::4, ::3] = np.nan
    part = slice(start, start + count)
    for function in (engine.row_rank, engine.row_zscore):
        assert np.array_equal(bits(function(x[part])), bits(function(x)[part]))
    assert np.array_equal(bits(engine.row_mean(x[part])), bits(engine.row_mean(x)[part]))
    means = [np.mean(row[~np.isnan(row)]) if not np.isnan(row).all() else np.nan for row in x]
    assert np.allclose(engine.row_mean(x), means, equal_nan=True)


@given(seed=st.integers(0, 2**32), columns=st.integers(1, 300), kinds=st.integers(1, 40))
def test_ranks_tell_neighbouring_numbers_apart(seed, columns, kinds):
    rng = np.random.default_rng(seed)
    # Ties, numbers one unit in the last place apart, both zeros, and tiny ones.
    near = np.nextafter(1.0, 2.0) - 1.0
    pool = np.concatenate(
        [1.0 + near * np.arange(kinds), -3.0 - 4 * near * np.arange(kinds), [0.0, -0.0, 5e-324]]
    )
    x = rng.choice(pool, (3, columns))
    x[rng.random(x.shape) < 0.1] = np.nan
    got = engine.row_rank(x)
    for row, ranks in zip(x, got, strict=True):
        known = ~np.isnan(row)
        assert np.array_equal(ranks[known], (rankdata(row[known]) - 0.5) / max(known.sum(), 1))
        assert np.isnan(ranks[~known]).all()


@given(
    gaps=st.lists(st.tuples(st.integers(0, 29), st.integers(0, 3)), max_size=40),
    reach=st.integers(0, 6),
    bad=st.sampled_from([np.nan, np.inf, -np.inf, -1.0, 0.0]),
    zero=st.booleans(),
)
def test_gaps_are_bridged_by_the_last_known_value(gaps, reach, bad, zero):
    x = np.abs(series(30, 4)) + 0.1
    for row, column in gaps:
        x[row, column] = bad
    got = engine.bridge(x, reach, zero=zero)
    for n in range(4):
        for t in range(30):
            known = [
                s
                for s in range(max(t - reach, 0), t + 1)
                if np.isfinite(x[s, n]) and (x[s, n] > 0 or (zero and x[s, n] == 0))
            ]
            expected = x[known[-1], n] if known else np.nan
            assert np.array_equal(got[t, n], expected, equal_nan=True)
    assert np.array_equal(engine.bridge(x[:, 1:3], reach, zero=zero), got[:, 1:3], equal_nan=True)
