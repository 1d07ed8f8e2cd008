"""Predictions of one strategy to its signals: long, none or short for each name.

Here belong the rules that turn numbers into a direction. How much to hold is decided in
`targets`; where predictions come from is not known here. Everything is a pure function.

A name without a prediction (NaN) is not a name with signal 0: the first means "hold what there
is", the second "do not be in it". `Signals.known` keeps the two apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

SignalMethod = Literal["rank", "threshold", "zscore", "all"]

# Lets 0.29 * 100 = 28.999999999999996 count as the 29 names that were meant.
_COUNT_TOLERANCE = 1e-9


class SignalError(ValueError):
    """Predictions from which the rule can't tell one name from another; nothing is traded."""


@dataclass(frozen=True)
class SignalRule:
    """How predictions become signals.

    method:
        `rank`: of the n names with a prediction, the best max(1, floor(top_fraction * n)) are
        long and the worst max(1, floor(bottom_fraction * n)) short; a fraction of 0 takes none.
        The long side is filled first, so that in a small universe no name is on both sides.
        Equal predictions keep the order of the input (by symbol): the earlier name ranks higher.
        `threshold`: long above `threshold`, short below `-threshold` (in the prediction's unit).
        `zscore`: long where (prediction - mean) / population standard deviation over the names
        with a prediction is above `zscore`, short where below `-zscore`.
        `all`: every name with a prediction is long, whatever it is; for models that put names in
        no order, such as equal weight.
    allow_short: without it every short signal is 0, by every method.
    """

    method: SignalMethod = "rank"
    top_fraction: float = 0.10
    bottom_fraction: float = 0.0
    threshold: float = 0.0
    zscore: float = 1.0
    allow_short: bool = False

    def __post_init__(self) -> None:
        if self.method not in ("rank", "threshold", "zscore", "all"):
            raise ValueError(
                f"signal method {self.method!r} is not known; use rank, threshold, zscore or all"
            )
        for name in ("top_fraction", "bottom_fraction"):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} is {value}; it must lie between 0 and 1")
        for name in ("threshold", "zscore"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0.0):
                raise ValueError(f"{name} is {value}; it must be a finite number, 0 or more")


@dataclass(frozen=True, eq=False)
class Signals:
    """Signals of one strategy.

    values: int8 of shape (N,), 1 long, 0 none, -1 short; 0 wherever `known` is False.
    known: bool of shape (N,), False where the strategy has no prediction for the name.
    """

    values: np.ndarray
    known: np.ndarray


def make_signals(predictions: np.ndarray, rule: SignalRule) -> Signals:
    """Signals for predictions of shape (N,), NaN where there is none.

    Keep the names in ascending order of symbol, so that ties fall the same way every day.
    Raises SignalError for infinite predictions, and for `rank` and `zscore` where all predictions
    are equal (`zscore` needs two at least): there is no order in them. No prediction at all is no
    error: then every name is unknown.
    """
    predictions = np.asarray(predictions, dtype=np.float64)
    if predictions.ndim != 1:
        raise ValueError(f"predictions have shape {predictions.shape}, expected (N,)")
    if np.isinf(predictions).any():
        first = int(np.flatnonzero(np.isinf(predictions))[0])
        raise SignalError(f"prediction {first} is infinite; the model's output can't be traded on")
    known = ~np.isnan(predictions)
    values = np.zeros(predictions.shape, dtype=np.int8)
    present = predictions[known]
    if len(present):
        if rule.method == "all":
            values[known] = 1
        elif rule.method == "rank":
            values[known] = _by_rank(present, rule)
        elif rule.method == "threshold":
            values[known] = _beyond(present, rule.threshold)
        else:
            values[known] = _beyond(_zscores(present), rule.zscore)
        if not rule.allow_short:
            np.maximum(values, 0, out=values)
    return Signals(values, known)


def _by_rank(predictions: np.ndarray, rule: SignalRule) -> np.ndarray:
    n = len(predictions)
    if n > 1 and predictions.min() == predictions.max():
        raise SignalError(f"all {n} predictions are equal; they can't be ranked")
    best_first = np.argsort(-predictions, kind="stable")
    values = np.zeros(n, dtype=np.int8)
    values[best_first[n - _count(rule.bottom_fraction, n) :]] = -1
    values[best_first[: _count(rule.top_fraction, n)]] = 1
    return values


def _count(fraction: float, n: int) -> int:
    return max(1, math.floor(fraction * n + _COUNT_TOLERANCE)) if fraction > 0.0 else 0


def _beyond(levels: np.ndarray, bound: float) -> np.ndarray:
    return (levels > bound).astype(np.int8) - (levels < -bound).astype(np.int8)


def _zscores(predictions: np.ndarray) -> np.ndarray:
    if predictions.min() == predictions.max():
        raise SignalError(
            f"the z-score needs predictions that differ; there are {len(predictions)}, all equal"
        )
    # The z-score has no unit; scaling first keeps huge predictions from overflowing the variance.
    scaled = predictions / np.abs(predictions).max()
    return (scaled - scaled.mean()) / scaled.std()
