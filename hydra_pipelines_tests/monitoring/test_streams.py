"""CUSUM against a hand formula, ADWIN against river, and both worked on in parts."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from river.drift import ADWIN

from hydra_pipelines.monitoring.streams import (
    ADWIN_RECENT,
    AdwinState,
    CusumState,
    adwin,
    cusum,
    lately,
)

values = st.lists(st.floats(-6, 6) | st.just(math.nan), max_size=60)


def test_cusum_by_hand() -> None:
    path, state = cusum([1.0, 2.0, math.nan, -3.0])
    assert path.tolist() == [[0.5, 0.0], [2.0, 0.0], [2.0, 0.0], [0.0, 2.5]]
    assert state == CusumState(0.0, 2.5)
    # Beyond h it is told, and begins again.
    assert cusum([6.0, 1.0], h=5.0)[0].tolist() == [[5.5, 0.0], [0.5, 0.0]]


@given(st.lists(st.floats(-6, 6), min_size=1, max_size=60))
def test_cusum_is_the_largest_sum_that_ends_here(z: list[float]) -> None:
    path, _ = cusum(z)
    for side, sign in ((0, 1.0), (1, -1.0)):
        sums = [sum(sign * x - 0.5 for x in z[i:]) for i in range(len(z))]
        assert path[-1, side] == pytest.approx(max(0.0, *sums), abs=1e-9)


@given(values, st.integers(0, 60))
def test_cusum_in_parts_is_cusum_in_one_pass(z: list[float], cut: int) -> None:
    whole, last = cusum(z, h=5.0)
    first, state = cusum(z[:cut], h=5.0)
    stored = CusumState(**json.loads(json.dumps(asdict(state))))
    second, end = cusum(z[cut:], stored, h=5.0)
    assert np.array_equal(np.concatenate([first, second]), whole) and end == last


def shifted(seed: int) -> list[float]:
    """Normal values whose mean moves twice."""
    rng = np.random.default_rng(seed)
    return rng.normal(np.repeat([0.0, 1.5, -1.0], [200, 120, 80])).tolist()


def test_adwin_finds_what_river_finds() -> None:
    z = shifted(4)
    detector, expected = ADWIN(delta=0.002, clock=1), []
    for i, value in enumerate(z):
        detector.update(value)
        if detector.drift_detected:
            expected.append(i)
    shifts, _ = adwin(z)
    assert expected and np.flatnonzero(shifts).tolist() == expected
    first = expected[0]
    assert shifts[first] == pytest.approx(
        np.mean(z[first + 1 - ADWIN_RECENT : first + 1]) - np.mean(z[: first + 1 - ADWIN_RECENT])
    )
    assert shifts[first] > 0 > shifts[expected[-1]]


@pytest.mark.parametrize("cut", [0, 1, 150, 215, 219, 220, 260, 399, 400])
def test_adwin_in_parts_is_adwin_in_one_pass(cut: int) -> None:
    z = shifted(4)
    whole, last = adwin(z)
    first, state = adwin(z[:cut])
    stored = AdwinState(tuple(json.loads(json.dumps(asdict(state)))["values"]))
    second, end = adwin(z[cut:], stored)
    assert np.array_equal(np.concatenate([first, second]), whole) and end == last


def test_the_largest_of_the_last_values() -> None:
    assert lately(np.array([3.0, 1.0, np.nan, 0.0, 2.0]), 3).tolist() == [3, 3, 3, 1, 2]
    assert lately(np.array([1.0]), 5).tolist() == [1.0]
