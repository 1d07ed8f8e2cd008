"""From the detectors that fired to a cause, with its evidence.

A pure function of the drift checks, of what is wrong with the bars and of the market's volatility.
Where these come from, and what is done about a cause, is not known here. What can't be told is
`not_known`, which is not `none`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

MONTH = 21
MIN_MONTHS = 24
"""Fewer months of history say nothing of what is volatile."""
VOLATILE_PERCENTILE = 0.975
"""The market is volatile where its volatility is above this share of its own history."""
SPOILING = frozenset({"price", "range", "return", "stale", "missing session", "coverage", "rows"})
"""Flaws of bars that make a training set wrong also when they are of an earlier session."""
SINGLE = frozenset({"coverage"})
"""Of those, the ones that say little about a single name."""
MODEL_FAMILIES = ("concept", "performance", "feature", "prediction")
_VOLATILITY = ("volatility", "atr")


class Cause(StrEnum):
    """Why a model is not right any more; `explanation` says it in a sentence."""

    DATA_QUALITY = "data_quality"
    REGIME_CHANGE = "regime_change"
    CONCEPT_DRIFT = "concept_drift"
    COVARIATE_SHIFT = "covariate_shift"
    EXECUTION = "execution_degradation"
    NOT_KNOWN = "not_known"
    NONE = "none"

    @property
    def explanation(self) -> str:
        return _EXPLANATIONS[self]

    @property
    def has_cure(self) -> bool:
        """Whether experiments make sense: not on bad data, and not where nothing is wrong."""
        return self in (
            Cause.REGIME_CHANGE,
            Cause.CONCEPT_DRIFT,
            Cause.COVARIATE_SHIFT,
            Cause.EXECUTION,
        )


_EXPLANATIONS = {
    Cause.DATA_QUALITY: "the bars are damaged, so nothing learnt from them can be trusted",
    Cause.REGIME_CHANGE: "the market became volatile, and the model does not fit it",
    Cause.CONCEPT_DRIFT: "what the features say of returns has changed",
    Cause.COVARIATE_SHIFT: "the features lie where the model has learnt little",
    Cause.EXECUTION: "orders cost other than the slippage model predicts",
    Cause.NOT_KNOWN: "no detector had enough data to tell",
    Cause.NONE: "no drift is detected",
}


@dataclass(frozen=True)
class Check:
    """One detector's word. strategy_id: None for the desk as a whole. state: `ok`, `warning`,
    `alarm` or `not_enough_data`. decisive: it is why its model is said to have drifted; of many
    detectors some are in alarm by chance."""

    strategy_id: str | None
    model_version: int | None
    family: str
    detector: str
    subject: str
    state: str
    decisive: bool = False
    value: float | None = None
    alarm_at: float | None = None

    @property
    def sentence(self) -> str:
        said = f"{self.detector} of {self.subject}"
        if self.value is not None and self.alarm_at is not None:
            said += f" is {self.value:.4g}, its alarm is at {self.alarm_at:.4g}"
        return said


@dataclass(frozen=True)
class Flaw:
    """Something wrong with the bars. severity: `error` or `warning`."""

    check: str
    severity: str
    symbol: str | None
    session: date
    detail: str

    @property
    def spoils(self) -> bool:
        """Whether a model must not be trained on bars with it."""
        if self.severity == "error":
            return True
        single = self.check in SINGLE and self.symbol is not None
        return self.check in SPOILING and not single

    @property
    def sentence(self) -> str:
        whose = f" of {self.symbol}" if self.symbol else ""
        return f"{self.check}{whose} on {self.session}: {self.detail}"


@dataclass(frozen=True)
class Market:
    """volatility: of the universe's mean return over the last month, annualised. percentile: the
    share of its own history that is below; both None where the history is too short."""

    volatility: float | None = None
    percentile: float | None = None

    @property
    def volatile(self) -> bool:
        return self.percentile is not None and self.percentile >= VOLATILE_PERCENTILE

    @property
    def sentence(self) -> str:
        return (
            f"the market's volatility is {self.volatility:.1%} a year, above "
            f"{self.percentile:.1%} of its own history"
        )


@dataclass(frozen=True)
class Diagnosis:
    """A cause with its evidence, in sentences, the strongest first.

    strategy_id: None for the desk as a whole. also: other causes that there is evidence for.
    drifting: features in alarm, by name.
    """

    strategy_id: str | None
    cause: Cause
    evidence: tuple[str, ...] = ()
    also: tuple[Cause, ...] = ()
    drifting: tuple[str, ...] = ()
    model_version: int | None = None

    @property
    def sentence(self) -> str:
        whose = self.strategy_id or "the desk"
        return f"{whose}: {self.cause}, {self.cause.explanation}"


def diagnose(
    checks: Iterable[Check], flaws: Iterable[Flaw], market: Market, strategies: Sequence[str]
) -> tuple[Diagnosis, ...]:
    """One diagnosis a strategy, and one of the desk where its execution or its data is at fault.

    Damaged data comes first and alone: every other detector looks through it. Of a model's
    checks the decisive ones say the cause; the desk's execution is judged by its alarms.
    """
    spoilt = tuple(flaw.sentence for flaw in flaws if flaw.spoils)
    if spoilt:
        return (Diagnosis(None, Cause.DATA_QUALITY, spoilt),)
    checks = tuple(checks)
    found = [
        _of_strategy(name, [c for c in checks if c.strategy_id == name], market)
        for name in strategies
    ]
    execution = [c.sentence for c in checks if c.family == "execution" and c.state == "alarm"]
    if execution:
        found.append(Diagnosis(None, Cause.EXECUTION, tuple(execution)))
    return tuple(found)


def _of_strategy(name: str, checks: Sequence[Check], market: Market) -> Diagnosis:
    mine = [c for c in checks if c.family in MODEL_FAMILIES]
    version = next((c.model_version for c in mine if c.model_version is not None), None)
    fired = sorted((c for c in mine if c.decisive), key=lambda c: MODEL_FAMILIES.index(c.family))
    if not fired:
        if all(c.state == "not_enough_data" for c in mine):
            why = tuple(f"{c.detector} of {c.subject}: not enough data" for c in mine)
            why = why or ("it was not checked",)
            return Diagnosis(name, Cause.NOT_KNOWN, why, model_version=version)
        return Diagnosis(name, Cause.NONE, model_version=version)
    alarms = [c for c in mine if c.decisive or c.state == "alarm"]
    drifting = tuple(dict.fromkeys(c.subject for c in alarms if c.family == "feature"))
    causes = []
    if market.volatile or any(f.startswith(_VOLATILITY) for f in drifting):
        causes.append(Cause.REGIME_CHANGE)
    if any(c.family in ("concept", "performance") for c in fired):
        causes.append(Cause.CONCEPT_DRIFT)
    if any(c.family in ("feature", "prediction") for c in fired):
        causes.append(Cause.COVARIATE_SHIFT)
    evidence = [c.sentence for c in fired]
    if market.volatile:
        evidence.insert(0, market.sentence)
    return Diagnosis(name, causes[0], tuple(evidence), tuple(causes[1:]), drifting, version)


def market_of(prices: np.ndarray) -> Market:
    """How volatile the universe is now. prices: adjusted closes (S, N), NaN where unknown.

    Of the equal-weighted daily return, over `MONTH` sessions, against every such month before.
    """
    import numpy as np

    with np.errstate(all="ignore"):
        returns = prices[1:] / prices[:-1] - 1.0
    known = np.isfinite(returns)
    days = known.any(axis=1)
    mean = np.where(known, returns, 0.0).sum(axis=1)[days] / known.sum(axis=1)[days]
    if len(mean) < MONTH * MIN_MONTHS:
        return Market()
    spreads = np.lib.stride_tricks.sliding_window_view(mean, MONTH).std(axis=1, ddof=1)
    now = float(spreads[-1])
    return Market(now * math.sqrt(252.0), float((spreads[:-1] < now).mean()))
