"""A correction of the slippage predictor from the fill journal: proposed here, stored elsewhere.

Pure. The square-root law stays; its numbers are re-estimated:

    shortfall = half spread + beyond spread of the way of working + y * unit impact + noise

1. `y` by a regression of what orders cost beyond their half spread on their unit impact, with a
   constant per way of working, by Huber's M-estimator (Huber, "Robust estimation of a location
   parameter", Annals of Mathematical Statistics 35, 1964; k = 1.345 of the scale by the median
   absolute deviation, iteratively reweighted). What the price did by itself while an order was
   worked is far larger than its impact and has heavy tails, and a few such orders would decide a
   least-squares slope. `y` moves only where the fills contradict it, by `MIN_T` standard errors,
   and never below `LOWEST_Y`.
2. The half spread assumed where no quote is known, as the mean of those that were quoted.
3. What is beyond the spread, for all orders and for each way of working with enough of them, so
   that their mean prediction is their mean cost: the mean, since that is what is paid. Orders that
   rest in the book pay less than half the spread: then it is negative.

An observation is the fill of an order, its executions averaged by quantity, as in the
reconciliation.

Bounds per step: `y` and the half spread by a factor of `MAX_FACTOR`, what is beyond by
`MAX_STEP_BPS`. A mean cost below `MIN_MEAN_BPS` is predicted as that: fills that were better than
the mid are luck, or came because the price moved on, and the desk doesn't count on either.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date

import numpy as np

from hydra_pipelines.execution.slippage import MIN_FILLS, Reconciliation, SlippageModel, reconcile
from hydra_pipelines.monitoring.reconciliation import Fills

MIN_ORDERS = MIN_FILLS
MAX_FACTOR = 3.0
MAX_STEP_BPS = 10.0
MIN_MEAN_BPS = 0.5
MIN_T = 2.0
LOWEST_Y = 0.01
_HUBER_K = 1.345
_MAD_TO_SIGMA = 1.4826


class NotEnoughFills(ValueError):
    """The journal is too short to correct anything; the message says what is there."""


@dataclass(frozen=True)
class Calibration:
    """A proposal: the model before and after, and what each says of the same fills.

    fills, orders: how many it rests on. was: the orders with the predictions made at the time.
    is_now: with those of the new model, in hindsight. notes: in words, what was and was not moved,
    and why.
    """

    before: SlippageModel
    after: SlippageModel
    fills: int
    orders: int
    first: date
    last: date
    was: Reconciliation
    is_now: Reconciliation
    notes: tuple[str, ...]


def propose(fills: Fills, before: SlippageModel) -> Calibration:
    """Re-estimate the model from fills whose terms of the prediction are known.

    Raises NotEnoughFills below `MIN_FILLS` fills or `MIN_ORDERS` orders.
    """
    known = fills.take(np.isfinite(fills.unit_impact))
    orders = known.by_order()
    if len(known) < MIN_FILLS or len(orders) < MIN_ORDERS:
        raise NotEnoughFills(
            f"not enough fills: {len(known)} of {len(orders)} orders can be used, and it takes "
            f"{MIN_FILLS} of {MIN_ORDERS}"
            + (
                f"; of {len(fills) - len(known)} more it is not recorded what their prediction was "
                "made of"
                if len(known) < len(fills)
                else ""
            )
        )
    notes: list[str] = []
    half = _half_spread(orders, before, notes)
    model = replace(before, half_spread_bps=half, y=_impact(orders, half, before, notes))
    pooled = _beyond(orders, model, before.beyond_spread_bps, "all orders", notes)
    algos = dict(before.by_algo)
    for algo in np.unique(orders.algo).tolist():
        mine = orders.take(orders.algo == algo)
        if len(mine) < MIN_ORDERS:
            notes.append(f"{algo}: fewer than {MIN_ORDERS} orders, no term of its own from them")
            continue
        algos[algo] = _beyond(mine, model, before.beyond(algo), algo, notes)
    after = replace(model, beyond_spread_bps=pooled, by_algo=tuple(sorted(algos.items())))
    return Calibration(
        before=before,
        after=after,
        fills=len(known),
        orders=len(orders),
        first=known.session.min().item(),
        last=known.session.max().item(),
        was=reconcile(orders.predicted, orders.shortfall),
        is_now=reconcile(orders.repredicted(after), orders.shortfall),
        notes=tuple(notes),
    )


def _half_spread(orders: Fills, before: SlippageModel, notes: list[str]) -> float:
    quoted = orders.half_spread[np.isfinite(orders.half_spread)]
    old = before.half_spread_bps
    if len(quoted) < MIN_ORDERS:
        notes.append(f"half spread kept: only {len(quoted)} orders have one that was quoted")
        return old
    mean = float(quoted.mean())
    if old <= 0:
        return mean
    return _within(mean, old / MAX_FACTOR, old * MAX_FACTOR, "half spread", notes)


def _impact(orders: Fills, half: float, before: SlippageModel, notes: list[str]) -> float:
    """The coefficient y, bounded; the one before where the journal does not say."""
    spread = np.where(np.isfinite(orders.half_spread), orders.half_spread, half)
    groups = np.unique(orders.algo, return_inverse=True)[1]
    found = huber_slope(orders.unit_impact, orders.shortfall - spread, groups)
    if found is None:
        notes.append("y kept: the orders' impact hardly varies")
        return before.y
    slope, error = found
    if abs(slope - before.y) < MIN_T * error:
        notes.append(f"y kept: {slope:.2f} ± {error:.2f} by the fills does not contradict it")
        return before.y
    if slope < LOWEST_Y:
        notes.append(
            f"y: the fills show no cost that grows with impact ({slope:.2f} ± {error:.2f})"
        )
        slope = LOWEST_Y
    highest = before.y * MAX_FACTOR if before.y > 0 else MAX_FACTOR
    return _within(slope, max(before.y / MAX_FACTOR, LOWEST_Y), highest, "y", notes)


def huber_slope(
    x: np.ndarray, y: np.ndarray, groups: np.ndarray, rounds: int = 100
) -> tuple[float, float] | None:
    """Slope of y on x with a constant per group, by Huber's M-estimator, and its standard error.

    All of shape (n,), groups as 0..k-1. None where x does not vary within the groups. The error is
    the asymptotic one: scale² · mean ψ² / (mean ψ')² / Σ(x − x̄)², with n − k − 1 degrees of
    freedom (Huber and Ronchetti, "Robust Statistics", 2009, section 7.6).
    """
    count = np.bincount(groups)
    freedom = len(x) - len(count) - 1
    weights = np.ones_like(x)

    def centred(values: np.ndarray) -> np.ndarray:
        means = np.bincount(groups, weights * values) / np.bincount(groups, weights)
        return values - means[groups]

    if freedom < 1 or (centred(x) ** 2).sum() <= 1e-12 * max(1.0, (x**2).sum()):
        return None
    slope, scale = 0.0, 1.0
    residual = np.zeros_like(y)
    for _ in range(rounds):
        dx, dy = centred(x), centred(y)
        new = float((weights * dx * dy).sum() / (weights * dx**2).sum())
        residual = dy - new * dx
        scale = _MAD_TO_SIGMA * float(np.median(np.abs(residual - np.median(residual))))
        if scale <= 1e-12:
            return new, 0.0
        if abs(new - slope) < 1e-10:
            slope = new
            break
        slope = new
        weights = np.minimum(1.0, _HUBER_K * scale / np.maximum(np.abs(residual), 1e-300))
    psi = np.clip(residual / scale, -_HUBER_K, _HUBER_K)
    inside = float(np.mean(np.abs(residual) < _HUBER_K * scale))
    dx = x - (np.bincount(groups, x) / count)[groups]
    variance = scale**2 * float((psi**2).sum()) / freedom / inside**2 / float((dx**2).sum())
    return slope, float(np.sqrt(variance))


def _beyond(
    orders: Fills, model: SlippageModel, before: float, what: str, notes: list[str]
) -> float:
    """The constant that makes the mean prediction of the orders their mean cost, bounded."""
    mean = float(orders.shortfall.mean())
    if mean < MIN_MEAN_BPS:
        notes.append(
            f"{what}: cost {mean:.2f} bps in the mean; {MIN_MEAN_BPS:g} is predicted, since the "
            "desk doesn't count on being paid for trading"
        )
    target = max(mean, MIN_MEAN_BPS)
    bare = model.cost_bps(orders.unit_impact, orders.half_spread, 0.0)

    def error(constant: float) -> float:
        predicted = model.cost_bps(orders.unit_impact, orders.half_spread, constant)
        return float(predicted.mean()) - target

    # No single prediction is below 0, so the mean is no longer linear in the constant.
    found = _root(error, -float(bare.max()), target - float(bare.min()))
    return _within(found, before - MAX_STEP_BPS, before + MAX_STEP_BPS, f"{what}: beyond", notes)


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a rising function of one number crosses 0, between two bounds, by halving."""
    for _ in range(200):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        low, high = (middle, high) if function(middle) < 0 else (low, middle)
    return (low + high) / 2


def _within(value: float, low: float, high: float, what: str, notes: list[str]) -> float:
    if low <= value <= high:
        return value
    bound = low if value < low else high
    notes.append(f"{what}: {value:.2f} by the fills, moved to {bound:.2f}, the most in one step")
    return bound
