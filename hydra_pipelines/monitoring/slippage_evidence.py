"""Whether fills bear out the slippage predictor, with the uncertainty that fills leave.

Pure. The journal's own figure, `is_model_calibrated`, asks |relative bias| < 0.5 and correlation
> 0.3. Orders that rest scatter by several times their cost, so two of the figure's parts say little
by themselves: a bias of a few dozen orders is a wide interval, and the correlation of a predictor
that is right to the last digit is bounded by

    sd(predicted) / sqrt(sd(predicted)² + sd(noise)²)

which is the attenuation of a correlation by noise in one of its variables (Spearman, "The proof and
measurement of association between two things", American Journal of Psychology 15, 1904). Three
questions are asked instead, and each answer carries its interval:

1. Level: the interval of mean actual / mean predicted lies within 1 ± 0.5. These are the two
   one-sided tests of equivalence (Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15,
   1987): too few orders fail, a bias of 0.4 that may as well be 0.8 fails. The interval of the mean
   cost holds whatever the predictor is, so also for one that was calibrated on the same orders.
2. Differences: the third of the orders predicted dearest cost more than the third predicted
   cheapest by as much as the predictor says; contradicted where the interval of that lies outside
   1 ± 0.5. Thirds and no slope, since a few names with a wide spread would decide a slope.
3. Correlation above 0.3, wherever a right predictor would show it in so many orders.

Intervals are two-sided at `CONFIDENCE`, by leaving out one session at a time (the jackknife: Tukey,
Annals of Mathematical Statistics 29, 1958), since orders of one session share its market.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hydra_pipelines.execution.slippage import (
    MIN_CORRELATION,
    MIN_FILLS,
    YELLOW_BELOW,
    Reconciliation,
    reconcile,
)

CONFIDENCE = 0.90
TOLERANCE = YELLOW_BELOW
"""Of a ratio of 1, the bound of the journal's relative bias."""
MIN_SESSIONS = 10
"""An interval from fewer sessions is none."""
_POWER = 0.95


@dataclass(frozen=True)
class Interval:
    """An estimate and its interval; the bounds are None where they can't be had."""

    value: float
    low: float | None
    high: float | None

    @property
    def half_width(self) -> float | None:
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


@dataclass(frozen=True)
class SlippageEvidence:
    """What the fills say. n: orders. sessions: in which they were filled.

    figure: the journal's own reconciliation of the same orders. level: mean actual over mean
    predicted. differences: actual over predicted difference of mean cost between the dearest and
    the cheapest third by prediction; None where the predictor claims no difference. claimed_bps:
    that predicted difference. attainable: the correlation that a right predictor would have; None
    where nothing varies. level_holds, contradicted, correlation_fails: the three answers.
    orders_needed: about how many would make the level's interval narrow enough, were the predictor
    right; None where that is not known.
    """

    n: int
    sessions: int
    figure: Reconciliation
    level: Interval | None
    differences: Interval | None
    claimed_bps: float | None
    attainable: float | None
    level_holds: bool
    contradicted: bool
    correlation_fails: bool
    orders_needed: int | None

    @property
    def holds(self) -> bool:
        return self.level_holds and not self.contradicted and not self.correlation_fails


def judge(predicted: np.ndarray, actual: np.ndarray, session: np.ndarray) -> SlippageEvidence:
    """The evidence of orders; all of shape (n,), costs in basis points, session any label.

    Raises ValueError for costs that are not finite, as `reconcile` does.
    """
    figure = reconcile(predicted, actual)
    labels, which = np.unique(session, return_inverse=True)
    n, sessions = figure.n, len(labels)
    if n < MIN_FILLS or sessions < MIN_SESSIONS or figure.relative_bias is None:
        return SlippageEvidence(
            n, sessions, figure, None, None, None, None, False, False, False, None
        )
    level = _jackknife(_ratio, _sums(which, sessions, actual, predicted))
    differences, claimed = _thirds(predicted, actual, which, sessions)
    attainable = _attainable(predicted, actual)
    correlation_fails = (
        attainable is not None
        and _would_show(attainable, n)
        and (figure.correlation is None or figure.correlation <= MIN_CORRELATION)
    )
    return SlippageEvidence(
        n=n,
        sessions=sessions,
        figure=figure,
        level=level,
        differences=differences,
        claimed_bps=claimed,
        attainable=attainable,
        level_holds=_inside(level),
        contradicted=differences is not None and _outside(differences),
        correlation_fails=correlation_fails,
        orders_needed=_needed(level, n),
    )


def _sums(which: np.ndarray, sessions: int, *values: np.ndarray) -> np.ndarray:
    """Sums by session, shape (values, sessions)."""
    return np.array([np.bincount(which, value, sessions) for value in values])


def _ratio(totals: np.ndarray) -> np.ndarray:
    """Of shape (2, ...): the first over the second, infinite where that is not above 0."""
    return np.divide(
        totals[0], totals[1], out=np.full(totals.shape[1:], np.inf), where=totals[1] > 0
    )


def _thirds(
    predicted: np.ndarray, actual: np.ndarray, which: np.ndarray, sessions: int
) -> tuple[Interval | None, float | None]:
    """Actual over claimed difference between dearest and cheapest third, and the claim in bps."""
    order = np.argsort(predicted, kind="stable")
    k = len(order) // 3
    cheap, dear = order[:k], order[-k:]
    claimed = float(predicted[dear].mean() - predicted[cheap].mean())
    if claimed <= 1e-9 * max(1.0, abs(float(predicted.mean()))):
        return None, None
    sums = np.concatenate(
        [
            _sums(which[part], sessions, actual[part], predicted[part], np.ones(len(part)))
            for part in (dear, cheap)
        ]
    )

    def difference(totals: np.ndarray) -> np.ndarray:
        dear_n, cheap_n = totals[2], totals[5]
        with np.errstate(divide="ignore", invalid="ignore"):
            paid = totals[0] / dear_n - totals[3] / cheap_n
            said = totals[1] / dear_n - totals[4] / cheap_n
            return np.where(said > 0, paid / said, np.nan)

    return _jackknife(difference, sums), claimed


def _jackknife(statistic: Callable[[np.ndarray], np.ndarray], sums: np.ndarray) -> Interval:
    """The statistic of the sums over all sessions, with its interval; sums: (k, sessions)."""
    from scipy.special import stdtrit

    count = sums.shape[1]
    totals = sums.sum(axis=1)
    value = float(statistic(totals[:, None])[0])
    without = statistic(totals[:, None] - sums)
    if not (math.isfinite(value) and np.isfinite(without).all()):
        return Interval(value, None, None)
    error = math.sqrt((count - 1) / count * float(((without - without.mean()) ** 2).sum()))
    reach = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2)) * error
    return Interval(value, value - reach, value + reach)


def _inside(found: Interval) -> bool:
    return (
        found.low is not None
        and found.high is not None
        and found.low > 1 - TOLERANCE
        and found.high < 1 + TOLERANCE
    )


def _outside(found: Interval) -> bool:
    return (
        found.low is not None
        and found.high is not None
        and (found.high < 1 - TOLERANCE or found.low > 1 + TOLERANCE)
    )


def _attainable(predicted: np.ndarray, actual: np.ndarray) -> float | None:
    claims, noise = float(predicted.std()), float((actual - predicted).std())
    varies = claims > 1e-9 * max(1.0, abs(float(predicted.mean())))
    return claims / math.hypot(claims, noise) if varies else None


def _would_show(attainable: float, n: int) -> bool:
    """Whether a right predictor's correlation would be above the bound in all but 1 of 20 samples.

    By Fisher's transformation, whose error is 1 / sqrt(n - 3).
    """
    from scipy.special import ndtri

    if attainable >= 1 - 1e-12:
        return True
    reach = float(ndtri(_POWER)) / math.sqrt(n - 3)
    return math.atanh(attainable) - reach >= math.atanh(MIN_CORRELATION)


def _needed(level: Interval, n: int) -> int | None:
    """Orders of this scatter for an interval that fits in the bounds around a ratio of 1."""
    half = level.half_width
    if half is None or level.value <= 0:
        return None
    # A right predictor says what is paid: the interval is then that much narrower or wider.
    return math.ceil(n * (half / level.value / TOLERANCE) ** 2)
