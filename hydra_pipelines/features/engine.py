"""The arithmetic under the features: windows over time, and ranks and scores over symbols.

Here belong array operations that know nothing of markets. Which features exist and what they mean
is the catalogue's; where they are stored is the panel's; the loops themselves are compiled kernels.

Two rules make a feature the same, bit for bit, however many sessions are computed at once and
whatever lies after them:

- A window function takes R rows and returns only the rows whose window is complete, R less the
  window's length plus one. So the look-back of a feature shows in its shape and is checked there.
- Every number comes from operations in a fixed order: sums over a window or a row are trees whose
  form depends on the window or the number of symbols only. There are no running sums, and no
  library reductions, exponentials or powers, whose rounding may depend on the array's shape.

NaN in a window makes the result NaN; nothing beyond that window is affected.
"""

from __future__ import annotations

import numpy as np

from hydra_pipelines.features.compiled import kernels

_SCORED_BYTES = 128 << 10
"""Size of the values scored at a time, so that they stay in the processor's cache."""


def lag(x: np.ndarray, sessions: int) -> np.ndarray:
    """x of `sessions` ago, for the rows that have one: R -> R - sessions."""
    return x[: max(len(x) - sessions, 0)]


def change(x: np.ndarray, sessions: int) -> np.ndarray:
    """Simple return over a number of sessions, x[t] / x[t - sessions] - 1: R -> R - sessions."""
    out = x[sessions:] / lag(x, sessions)
    out -= 1.0
    return out


def window_sum(x: np.ndarray, length: int) -> np.ndarray:
    """Sum over the last `length` rows: R -> R - length + 1."""
    return _fold("window_sum", x, length, 1.0)


def window_mean(x: np.ndarray, length: int) -> np.ndarray:
    """Arithmetic mean over the last `length` rows: R -> R - length + 1."""
    return window_sum(x, length) / length


def window_max(x: np.ndarray, length: int) -> np.ndarray:
    """Maximum over the last `length` rows: R -> R - length + 1."""
    return _fold("window_max", x, length, 1.0)


def window_min(x: np.ndarray, length: int) -> np.ndarray:
    """Minimum over the last `length` rows: R -> R - length + 1."""
    return -window_max(-x, length)


def window_deviation(x: np.ndarray, length: int) -> np.ndarray:
    """Population standard deviation over the last `length` rows: R -> R - length + 1."""
    return np.sqrt(window_variance(x, length))


def window_variance(x: np.ndarray, length: int) -> np.ndarray:
    """Population variance over the last `length` rows: R -> R - length + 1.

    Moments of halves are joined around their own means, so nothing cancels, and a window of equal
    values has none at all.
    """
    return _comoment("window_variance", x, x[:, :1], length)


def window_covariance(x: np.ndarray, y: np.ndarray, length: int) -> np.ndarray:
    """Population covariance of each column with the one of y (R, 1): R -> R - length + 1."""
    return _comoment("window_covariance", x, y, length)


def exponential_mean(x: np.ndarray, decay: float, terms: int) -> np.ndarray:
    """Exponentially weighted mean of the last `terms` rows: R -> R - terms + 1.

    Weights are proportional to decay**k for a row k sessions back and add up to one. It differs
    from the recursive mean y[t] = (1 - decay) x[t] + decay y[t - 1] by about decay**terms,
    relative to the values: choose `terms` so that this does not matter.
    """
    out = _fold("window_sum", x, terms, decay)
    out *= (1.0 - decay) / (1.0 - _power(decay, terms))
    return out


def bridge(x: np.ndarray, reach: int, *, zero: bool = False) -> np.ndarray:
    """Prices (or volumes, with `zero`) with short gaps filled: (R, N) -> (R, N).

    What is not finite and positive (a zero counts with `zero`) is replaced by the last value that
    is, at most `reach` rows back; beyond that it is NaN. x may be a slice of the columns of a
    larger C-contiguous array.
    """
    rows, columns = x.shape
    out, last = np.empty((rows, columns)), np.empty(columns)
    if rows and columns:
        if x.strides[1] != 8 or x.strides[0] < 8 * columns:
            x = np.ascontiguousarray(x)
        kernels()["bridge"](
            x.ctypes.data, rows, columns, x.strides[0] // 8, reach, zero, *_at(last, out)
        )
    return out


def row_mean(x: np.ndarray) -> np.ndarray:
    """Mean over the symbols of each row that have a value, NaN where none has: (R, N) -> (R,)."""
    x = np.ascontiguousarray(x, np.float64)
    width = _width(x.shape[1])
    scratch, out = np.empty(width), np.empty(len(x))
    kernels()["row_mean"](x.ctypes.data, *x.shape, width, *_at(scratch, out))
    return out


def row_zscore(x: np.ndarray) -> np.ndarray:
    """(x - mean) / population standard deviation over each row's symbols: (R, N) -> (R, N).

    Symbols without a value have no score; where all values are equal, every score is 0.
    """
    return _scored(x)[:, 2]


def row_rank(x: np.ndarray) -> np.ndarray:
    """Rank of each symbol among the n of its row that have a value: (R, N) -> (R, N).

    (rank - 1/2) / n with ranks from 1, so in (0, 1) and 1/2 on average; equal values share the
    average of their ranks. Symbols without a value have no rank.
    """
    return _scored(x)[:, 1]


def score_rows(block: np.ndarray) -> None:
    """Fill in rank and z-score beside values: a C-contiguous (R, 3, N), of which [:, 0] is given.

    Values that are not finite become NaN, one NaN for all: the sign that arithmetic gives it
    depends on the shape of the array.
    """
    rows, _, columns = block.shape
    if not rows or not columns:
        return
    stride, width = 3 * columns, _width(columns)
    mask = (1 << max(columns - 1, 1).bit_length()) - 1
    scratch = np.empty(width)
    step = min(rows, max(1, _SCORED_BYTES // (8 * columns)))
    keys = np.empty((step, columns), np.uint64)
    run, at = kernels(), block.ctypes.data
    for first in range(0, rows, step):
        count = min(step, rows - first)
        value = at + 8 * first * stride
        rank, score = value + 8 * columns, value + 16 * columns
        run["row_zscore"](value, count, columns, stride, width, scratch.ctypes.data, score)
        run["rank_keys"](value, count, columns, stride, mask, value, keys.ctypes.data)
        keys[:count].sort(axis=1)
        run["ranks"](value, count, columns, stride, mask, keys.ctypes.data, rank)


def _scored(x: np.ndarray) -> np.ndarray:
    block = np.empty((len(x), 3, x.shape[1]))
    block[:, 0] = x
    score_rows(block)
    return block


def _fold(kernel: str, x: np.ndarray, length: int, decay: float) -> np.ndarray:
    x, rows = _rows(x, length)
    if rows < 1:
        return x[:0]
    scratch, out = np.empty(x.shape), np.empty((rows, x.shape[1]))
    kernels()[kernel](x.ctypes.data, *x.shape, length, decay, *_at(scratch, out))
    return out


def _comoment(kernel: str, x: np.ndarray, y: np.ndarray, length: int) -> np.ndarray:
    x, rows = _rows(x, length)
    if rows < 1:
        return x[:0]
    y, _ = _rows(y, length)
    scratch, means, out = (
        np.empty((3, *x.shape)),
        np.empty(2 * len(x)),
        np.empty((rows, x.shape[1])),
    )
    kernels()[kernel](*_at(x, y), *x.shape, length, *_at(scratch, means, out))
    return out


def _rows(x: np.ndarray, length: int) -> tuple[np.ndarray, int]:
    """x as the kernels read it, and how many of its rows end a complete window."""
    return np.ascontiguousarray(x, np.float64), len(x) - length + 1


def _at(*arrays: np.ndarray) -> tuple[int, ...]:
    return tuple(array.ctypes.data for array in arrays)


def _width(columns: int) -> int:
    return 1 << max(columns - 1, 0).bit_length()


def _power(base: float, exponent: int) -> float:
    """base**exponent by multiplications alone, so that it is the same on every machine."""
    result = 1.0
    while exponent:
        if exponent & 1:
            result *= base
        base *= base
        exponent >>= 1
    return result
