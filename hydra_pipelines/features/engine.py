"""The arithmetic under the features: windows over time, and ranks and scores over symbols.

Here belong array operations that know nothing of markets. Which features exist and what they mean
is the catalogue's; where they are stored is the panel's.

Two rules make a feature the same, bit for bit, however many sessions are computed at once and
whatever lies after them:

- A window function takes R rows and returns only the rows whose window is complete, R less the
  window's length plus one. So the look-back of a feature shows in its shape and is checked there.
- Every number comes from element-wise operations in a fixed order: sums over a window or a row are
  trees of additions whose form depends on the window or the number of symbols only. There are no
  running sums, and no library reductions, exponentials or powers, whose rounding may depend on
  the shape of the array.

NaN in a window makes the result NaN; nothing beyond that window is affected.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def lag(x: np.ndarray, sessions: int) -> np.ndarray:
    """x of `sessions` ago, for the rows that have one: R -> R - sessions."""
    return x[: len(x) - sessions]


def change(x: np.ndarray, sessions: int) -> np.ndarray:
    """Simple return over a number of sessions, x[t] / x[t - sessions] - 1: R -> R - sessions."""
    return x[sessions:] / lag(x, sessions) - 1.0


def window_sum(x: np.ndarray, length: int) -> np.ndarray:
    """Sum over the last `length` rows: R -> R - length + 1."""
    return _by_doubling(x, length, lambda near, far, _: near + far)


def window_mean(x: np.ndarray, length: int) -> np.ndarray:
    """Arithmetic mean over the last `length` rows: R -> R - length + 1."""
    return window_sum(x, length) / length


def window_max(x: np.ndarray, length: int) -> np.ndarray:
    """Maximum over the last `length` rows: R -> R - length + 1."""
    return _by_doubling(x, length, lambda near, far, _: np.maximum(near, far))


def window_deviation(x: np.ndarray, length: int) -> np.ndarray:
    """Population standard deviation over the last `length` rows: R -> R - length + 1.

    Two passes, the second around the mean, so that it does not cancel.
    """
    return np.sqrt(window_covariance(x, x, length))


def window_covariance(x: np.ndarray, y: np.ndarray, length: int) -> np.ndarray:
    """Population covariance over the last `length` rows: R -> R - length + 1."""
    mean_x, mean_y = window_mean(x, length), window_mean(y, length)
    rows = len(x) - length + 1
    total = np.zeros(mean_x.shape)
    for i in range(length):
        total += (x[i : i + rows] - mean_x) * (y[i : i + rows] - mean_y)
    return total / length


def exponential_mean(x: np.ndarray, decay: float, terms: int) -> np.ndarray:
    """Exponentially weighted mean of the last `terms` rows: R -> R - terms + 1.

    Weights are proportional to decay**k for a row k sessions back and add up to one. It differs
    from the recursive mean y[t] = (1 - decay) x[t] + decay y[t - 1] by about decay**terms,
    relative to the values: choose `terms` so that this does not matter.
    """
    weighted = _by_doubling(x, terms, lambda near, far, gap: near + _power(decay, gap) * far)
    return weighted * ((1.0 - decay) / (1.0 - _power(decay, terms)))


def row_sum(x: np.ndarray) -> np.ndarray:
    """Sum over the symbols of each row: (R, N) -> (R,)."""
    width = 1 << (x.shape[1] - 1).bit_length()
    x = np.concatenate([x, np.zeros((len(x), width - x.shape[1]))], axis=1)
    while width > 1:
        width //= 2
        x = x[:, :width] + x[:, width:]
    return x[:, 0]


def row_mean(x: np.ndarray) -> np.ndarray:
    """Mean over the symbols of each row that have a value, NaN where none has: (R, N) -> (R,)."""
    known = ~np.isnan(x)
    with np.errstate(invalid="ignore"):
        return row_sum(np.where(known, x, 0.0)) / known.sum(axis=1)


def row_zscore(x: np.ndarray) -> np.ndarray:
    """(x - mean) / population standard deviation over each row's symbols: (R, N) -> (R, N).

    Symbols without a value have no score; where all values are equal, every score is 0.
    """
    known = ~np.isnan(x)
    deviation = x - row_mean(x)[:, None]
    spread = np.sqrt(row_mean(deviation * deviation))[:, None]
    low = np.where(known, x, np.inf).min(axis=1, initial=np.inf)
    high = np.where(known, x, -np.inf).max(axis=1, initial=-np.inf)
    equal = (low == high)[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(equal & known, 0.0, deviation / spread)


def row_rank(x: np.ndarray) -> np.ndarray:
    """Rank of each symbol among the n of its row that have a value: (R, N) -> (R, N).

    (rank - 1/2) / n with ranks from 1, so in (0, 1) and 1/2 on average; equal values share the
    average of their ranks. Symbols without a value have no rank.
    """
    rows, width = x.shape
    order = np.argsort(x, axis=1, kind="stable")
    ordered = np.take_along_axis(x, order, axis=1)
    place = np.arange(width)
    starts = np.ones((rows, width), bool)
    starts[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    first = np.maximum.accumulate(np.where(starts, place, 0), axis=1)
    ends = np.ones((rows, width), bool)
    ends[:, :-1] = starts[:, 1:]
    last = np.minimum.accumulate(np.where(ends, place, width)[:, ::-1], axis=1)[:, ::-1]
    ranks = np.empty((rows, width))
    np.put_along_axis(ranks, order, (first + last + 1) / 2.0, axis=1)
    known = ~np.isnan(x)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(known, ranks / known.sum(axis=1)[:, None], np.nan)


def _by_doubling(
    x: np.ndarray,
    length: int,
    combine: Callable[[np.ndarray, np.ndarray, int], np.ndarray],
) -> np.ndarray:
    """Fold the last `length` rows in about log2(length) steps; R -> R - length + 1.

    `combine(near, far, gap)` joins the folds of two neighbouring windows, `far` ending `gap` rows
    before `near`. Windows of 1, 2, 4, ... rows are folded and those in the binary form of `length`
    are joined, the nearest first.
    """
    rows = len(x) - length + 1
    if rows < 1:
        return x[:0]
    result: np.ndarray | None = None
    covered = 0
    power, folded = 1, x
    while True:
        if length & power:
            # folded[i] covers rows i .. i + power - 1; the piece wanted ends `covered` rows back.
            piece = folded[length - covered - power :][:rows]
            result = piece if result is None else combine(result, piece, covered)
            covered += power
        if covered == length:
            return result
        folded = combine(folded[power:], folded[: len(folded) - power], power)
        power *= 2


def _power(base: float, exponent: int) -> float:
    """base**exponent by multiplications alone, so that it is the same on every machine."""
    result = 1.0
    while exponent:
        if exponent & 1:
            result *= base
        base *= base
        exponent >>= 1
    return result
