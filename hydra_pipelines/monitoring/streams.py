"""Change in a stream of numbers that come one by one: CUSUM and ADWIN. Pure, and resumable.

Both take values standardised by a reference's mean and deviation. Each function takes a state and
returns the next one beside its results: a stream worked on in parts gives the same as in one pass.
States are plain numbers, so that they can be stored as JSON.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

CUSUM_K, CUSUM_H = 0.5, 5.0
"""Allowance and decision level in standard deviations, for a shift of one: about 930 values
between alarms of a side, 10 to find it. Page, "Continuous inspection schemes", Biometrika 41
(1954); Montgomery, "Introduction to Statistical Quality Control", chapter 9."""
ADWIN_DELTA, ADWIN_RECENT = 0.002, 10


@dataclass(frozen=True)
class CusumState:
    """The two one-sided sums, in standard deviations."""

    high: float = 0.0
    low: float = 0.0


def cusum(
    values: Sequence[float] | np.ndarray,
    state: CusumState = CusumState(),
    *,
    k: float = CUSUM_K,
    h: float = math.inf,
) -> tuple[np.ndarray, CusumState]:
    """The sums after each value, (n, 2): against a rise, against a fall; and the state.

    S+ = max(0, S+ + z - k) and S- = max(0, S- - z - k). After a value at which one of them is
    above `h` both begin again at 0. NaN is passed over: the sums stay.
    """
    high, low = state.high, state.low
    path = np.empty((len(values), 2))
    for i, z in enumerate(np.asarray(values, np.float64).tolist()):
        if not math.isnan(z):
            high, low = max(0.0, high + z - k), max(0.0, low - z - k)
        path[i] = high, low
        if high > h or low > h:
            high = low = 0.0
    return path, CusumState(high, low)


@dataclass(frozen=True)
class AdwinState:
    """What was seen since the last change found: ADWIN is a function of these values alone."""

    values: tuple[float, ...] = ()


def adwin(
    values: Sequence[float] | np.ndarray,
    state: AdwinState = AdwinState(),
    *,
    delta: float = ADWIN_DELTA,
) -> tuple[np.ndarray, AdwinState]:
    """The shift of the mean at each value at which ADWIN finds a change, else 0: (n,); the state.

    River's implementation, which looks at every value (clock 1; its default is every 32nd) and
    begins anew after a change. ADWIN drops the oldest values first and stops as soon as it may, so
    what it keeps is mostly old: the shift is taken as the mean of the last `ADWIN_RECENT` values
    less the mean of those before. NaN is passed over. Bifet and Gavaldà, "Learning from
    time-changing data with adaptive windowing", SIAM Conference on Data Mining (2007).
    """
    from river.drift import ADWIN

    # The library has no types.
    begin: Any = ADWIN
    detector = begin(delta=delta, clock=1)
    seen: list[float] = list(state.values)
    for value in seen:
        detector.update(value)
    shifts = np.zeros(len(values))
    for i, value in enumerate(np.asarray(values, np.float64).tolist()):
        if math.isnan(value):
            continue
        detector.update(value)
        seen.append(value)
        if detector.drift_detected:
            before, after = seen[:-ADWIN_RECENT], seen[-ADWIN_RECENT:]
            shifts[i] = math.fsum(after) / len(after)
            shifts[i] -= math.fsum(before) / len(before) if before else 0.0
            detector, seen = begin(delta=delta, clock=1), []
    return shifts, AdwinState(tuple(seen))


def lately(path: np.ndarray, length: int) -> np.ndarray:
    """The largest value of the last `length` ones, at each: (n,) -> (n,)."""
    out = path.astype(np.float64)
    for back in range(1, min(length, len(path))):
        out[back:] = np.fmax(out[back:], path[:-back])
    return out
