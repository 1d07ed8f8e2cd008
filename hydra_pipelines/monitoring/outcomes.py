"""How good a model is against how good it was out of sample: concept drift and performance. Pure.

Here belong the checks on scores whose labels are known and on the simulated portfolio. The history
that they are held against is the walk-forward kept with the model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from hydra_pipelines.execution.slippage import MIN_FILLS, YELLOW_BELOW
from hydra_pipelines.models.reference import History
from hydra_pipelines.models.scores import SessionScores
from hydra_pipelines.monitoring.checks import (
    ALARM_QUANTILE,
    MONTH,
    Check,
    State,
    Window,
    judge,
    not_enough,
)
from hydra_pipelines.monitoring.streams import (
    ADWIN_DELTA,
    CUSUM_H,
    CUSUM_K,
    adwin,
    cusum,
    lately,
)

MIN_SESSIONS = 21
"""Scored sessions below which performance is not told."""
MIN_STREAM = 10
"""Labels that do not overlap, below which a stream is not looked at."""
MATERIAL_SHIFT = 0.5
"""Of a mean, in standard deviations: what ADWIN finds below it is no alarm."""
HIT_RATE_LOSS = 0.10
"""Accuracy may fall by this share of its baseline without a warning."""
COIN_BRIER = 0.25
"""What a probability of one half scores, whatever happens."""
DRAWDOWN = 0.10
SLIPPAGE_BIAS = YELLOW_BELOW
"""From there the slippage model counts as not calibrated."""
SESSIONS_A_YEAR = 252


class _Stream(NamedTuple):
    """A score as a stream in which a rise is bad, from both sides the same way."""

    subject: str
    of: Callable[[SessionScores], np.ndarray]


_STREAMS = (
    _Stream("residual", lambda scores: np.log(np.maximum(scores.residual, 1e-12))),
    _Stream("rank_ic", lambda scores: -scores.rank_ic),
)


def concept_checks(scores: SessionScores, history: History | None, horizon: int) -> list[Check]:
    """CUSUM and ADWIN on the size of the errors and on the rank IC, standardised by the history.

    Labels of `horizon` sessions overlap, and would look like a trend: every horizon-th session is
    taken. Errors are the logarithm of their root mean square, which is close to normal. Only what
    gets worse counts: larger errors, a lower rank IC.
    """
    out: list[Check] = []
    live = scores.take(slice(None, None, horizon))
    window = _window(live)
    for stream in _STREAMS:
        now = stream.of(live)
        known = int((~np.isnan(now)).sum())
        past = stream.of(history.scores) if history else np.empty(0)
        spread = float(np.nanstd(past)) if (~np.isnan(past)).any() else 0.0
        if known < MIN_STREAM or spread <= 0.0:
            why = (
                "the model was stored without its walk-forward, or that had no variation"
                if spread <= 0.0
                else f"{known} of {MIN_STREAM} labels that do not overlap are known"
            )
            out += [
                not_enough("concept", detector, stream.subject, why, window)
                for detector in ("adwin", "cusum")
            ]
            continue
        center = float(np.nanmean(past))
        # From the end backwards, so that the last one is the last of the history.
        before = (past[::-1][::horizon][::-1] - center) / spread
        standard = (now - center) / spread
        out.append(_adwin(stream.subject, standard, before, horizon, len(past), window))
        out.append(_cusum(stream.subject, standard, before, horizon, len(past), window))
    return out


def _cusum(
    subject: str, now: np.ndarray, before: np.ndarray, horizon: int, sessions: int, window: Window
) -> Check:
    recent = max(1, MONTH // horizon)
    past = _by_session(lately(cusum(before)[0][:, 0], recent), horizon, sessions)
    known = past[~np.isnan(past)]
    level = max(CUSUM_H, float(np.quantile(known, ALARM_QUANTILE))) if len(known) else CUSUM_H
    # Far beyond the level it begins again, or it would go on alarming long after all is well.
    path, state = cusum(now, h=2.0 * level)
    return judge(
        "concept",
        "cusum",
        subject,
        float(lately(path[:, 0], recent)[-1]),
        past,
        window,
        warn_at=CUSUM_H,
        details={"k": CUSUM_K, "sum": state.high, "every": horizon},
    )


def _adwin(
    subject: str, now: np.ndarray, before: np.ndarray, horizon: int, sessions: int, window: Window
) -> Check:
    recent = max(1, 3 * MONTH // horizon)
    earlier, state = adwin(before)
    past = _by_session(lately(np.maximum(earlier, 0.0), recent), horizon, sessions)
    # It goes on from the history: a model that is worse from its first session on has changed too.
    shifts, state = adwin(now, state)
    return judge(
        "concept",
        "adwin",
        subject,
        float(lately(np.maximum(shifts, 0.0), recent)[-1]),
        past,
        window,
        warn_at=0.0,
        floor=MATERIAL_SHIFT,
        details={"delta": ADWIN_DELTA, "width": len(state.values), "every": horizon},
    )


def _by_session(path: np.ndarray, horizon: int, sessions: int) -> np.ndarray:
    """A path of every horizon-th session, ending with the last, for each of the sessions."""
    return np.repeat(path, horizon)[-sessions:] if len(path) else np.empty(0)


def performance_checks(
    scores: SessionScores,
    returns: np.ndarray,
    return_sessions: np.ndarray,
    history: History | None,
    length: int,
) -> list[Check]:
    """Hit rate, Brier score, rank IC, Sharpe ratio and drawdown of the last `length` sessions.

    With fewer sessions so far, of those, and held against past windows as short. returns: of the
    simulated portfolio on the model's predictions, as the history's.
    """
    then = history.scores if history else None
    out = []
    for detector, subject, mean, options in (
        ("hit_rate", "prediction", _accuracy, {"low_is_bad": True}),
        ("brier", "probability_up", _brier, {"warn_at": COIN_BRIER}),
        ("rank_ic", "prediction", _rank_ic, {"warn_at": 0.0, "low_is_bad": True}),
    ):
        recent = scores.take(slice(-length, None))
        window = _window(recent)
        if then is None or not len(then.sessions):
            why = "the model was stored without its walk-forward"
            out.append(not_enough("performance", detector, subject, why, window))
            continue
        if len(recent.sessions) < MIN_SESSIONS:
            why = f"{len(recent.sessions)} of {MIN_SESSIONS} sessions have known labels"
            out.append(not_enough("performance", detector, subject, why, window))
            continue
        size = len(recent.sessions)
        baseline = float(mean(then, len(then.sessions))[-1])
        if detector == "hit_rate":
            options = {**options, "warn_at": (1.0 - HIT_RATE_LOSS) * baseline}
        value = float(mean(recent, size)[-1])
        out.append(
            judge("performance", detector, subject, value, mean(then, size), window,
                  details={"baseline": baseline}, **options)
        )  # fmt: skip
    past = history.returns if history else np.empty(0)
    return out + return_checks(returns, return_sessions, past, length)


def return_checks(
    returns: np.ndarray, sessions: np.ndarray, past: np.ndarray, length: int
) -> list[Check]:
    """Rolling Sharpe ratio and largest drawdown of the last `length` daily returns.

    past: returns that the same should have had; empty where nobody knows.
    """
    recent, days = returns[-length:], sessions[-length:]
    window = Window(len(recent), *((days[0].item(), days[-1].item()) if len(days) else ()))
    if len(recent) < MIN_SESSIONS:
        why = f"{len(recent)} of {MIN_SESSIONS} sessions have a return"
        return [
            not_enough("performance", detector, "returns", why, window)
            for detector in ("rolling_sharpe", "drawdown")
        ]
    size = len(recent)
    return [
        judge("performance", "rolling_sharpe", "returns", float(sharpes(recent, size)[-1]),
              sharpes(past, size), window, warn_at=0.0, low_is_bad=True),
        judge("performance", "drawdown", "returns", float(drawdowns(recent, size)[-1]),
              drawdowns(past, size), window, warn_at=DRAWDOWN),
    ]  # fmt: skip


def sharpes(returns: np.ndarray, length: int) -> np.ndarray:
    """Annualised Sharpe ratio, no interest taken off, of every window: (n - length + 1,)."""
    if len(returns) < length:
        return np.empty(0)
    windows = np.lib.stride_tricks.sliding_window_view(returns, length)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = windows.mean(axis=1) / windows.std(axis=1, ddof=1)
    return np.where(np.isfinite(ratio), ratio * np.sqrt(SESSIONS_A_YEAR), np.nan)


def drawdowns(returns: np.ndarray, length: int) -> np.ndarray:
    """Largest fall from a peak within every window, as a positive share: (n - length + 1,)."""
    if len(returns) < length:
        return np.empty(0)
    equity = np.cumprod(1.0 + np.lib.stride_tricks.sliding_window_view(returns, length), axis=1)
    peak = np.maximum(np.maximum.accumulate(equity, axis=1), 1.0)
    return (1.0 - equity / peak).max(axis=1)


def _accuracy(scores: SessionScores, length: int) -> np.ndarray:
    return _weighted(scores.accuracy, scores.n, length)


def _brier(scores: SessionScores, length: int) -> np.ndarray:
    return _weighted(scores.brier, scores.n, length)


def _rank_ic(scores: SessionScores, length: int) -> np.ndarray:
    return _weighted(scores.rank_ic, np.ones(len(scores.n)), length)


def _weighted(values: np.ndarray, weights: np.ndarray, length: int) -> np.ndarray:
    """Weighted mean over every window; NaN values do not count: (n - length + 1,)."""
    if len(values) < length:
        return np.empty(0)
    weights = np.where(np.isnan(values), 0.0, weights)
    sums = [
        np.lib.stride_tricks.sliding_window_view(column, length).sum(axis=1)
        for column in (np.nan_to_num(values) * weights, weights)
    ]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(sums[1] > 0, sums[0] / sums[1], np.nan)


def _window(scores: SessionScores) -> Window:
    days = scores.sessions
    if not len(days):
        return Window(0)
    return Window(int(scores.n.sum()), days[0].item(), days[-1].item())


def slippage_check(predicted: np.ndarray, shortfall: np.ndarray, window: Window) -> Check:
    """Relative bias of what orders cost against what was predicted, both in basis points (n,).

    Either sign counts. It has no history of its own: the alarm is where it is beyond
    `SLIPPAGE_BIAS` and also beyond three of its standard errors.
    """
    n = len(predicted)
    if n < MIN_FILLS or not predicted.mean() > 0:
        why = f"{n} of {MIN_FILLS} orders" if n < MIN_FILLS else "no cost is predicted"
        return not_enough("execution", "slippage_bias", "slippage", why, window)
    error = shortfall - predicted
    bias = float(error.mean() / predicted.mean())
    standard_error = float(error.std(ddof=1) / np.sqrt(n) / predicted.mean())
    alarm_at = max(SLIPPAGE_BIAS, 3.0 * standard_error)
    state = State.OK if abs(bias) <= SLIPPAGE_BIAS else State.WARNING
    if abs(bias) > alarm_at:
        state = State.ALARM
    return Check(
        "execution",
        "slippage_bias",
        "slippage",
        state,
        bias,
        SLIPPAGE_BIAS,
        alarm_at,
        window,
        {"standard_error": standard_error},
        decisive=state is State.ALARM,
    )
