"""One check: a statistic now, its textbook level, and the alarm level of its own history. Pure.

Here belong how an alarm level is made, what state follows from it, and how many checks become one
verdict. What the statistics are is the business of the files beside this one.

Textbook levels misfire on market data: values that depend on the past lie elsewhere every other
quarter without any change. So they only warn. An alarm is beyond the 97.5th percentile of the same
statistic over the past windows of the same feature or score, and beyond the textbook level too,
since a shift that does not matter need not be told because it is rare.

Thirty checks looked at every evening would still alarm in most months. So a model is not judged by
counting alarms but by two joint statistics: the largest of its inputs' checks, and the largest of
its outcomes', in units in which 0 is a check's median and 1 its alarm level. Their levels are order
statistics of the largest value of each past month, so that dependence between checks and between
evenings is in the level, whatever it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from enum import StrEnum
from typing import Any

import numpy as np

from hydra_pipelines.monitoring.distributions import parts

ALARM_QUANTILE = 0.975
MONTH = 21
"""Sessions."""
MIN_MONTHS = 24
"""Of history; with less there is no alarm level."""


class State(StrEnum):
    OK = "ok"
    WARNING = "warning"
    ALARM = "alarm"
    NOT_ENOUGH_DATA = "not_enough_data"


@dataclass(frozen=True)
class Window:
    """Where the values of a statistic are from. n: how many of them; None: none at all."""

    n: int
    first: date | None = None
    last: date | None = None


@dataclass(frozen=True)
class Check:
    """A statistic of one family, detector and subject, and what it says.

    value, warn_at, alarm_at: as the detector has them; None where there is none. score: the value
    in units in which 0 is the median of its history and 1 the alarm level. past: the same of each
    past window, oldest first; only where the score is known. decisive: it is why its model is said
    to have drifted.
    """

    family: str
    detector: str
    subject: str
    state: State
    value: float | None
    warn_at: float | None
    alarm_at: float | None
    window: Window
    details: Mapping[str, Any] = field(default_factory=dict)
    score: float | None = None
    past: np.ndarray | None = field(default=None, repr=False, compare=False)
    decisive: bool = False

    @property
    def breached(self) -> bool:
        """Beyond its alarm level."""
        return self.state is State.ALARM

    def record(self) -> dict[str, Any]:
        """The columns of `drift_checks` that a check knows."""
        return {
            "family": self.family,
            "detector": self.detector,
            "subject": self.subject,
            "state": self.state.value,
            "value": self.value,
            "warn_at": self.warn_at,
            "alarm_at": self.alarm_at,
            "breached": self.breached,
            "decisive": self.decisive,
            "n": self.window.n,
            "window_first": self.window.first,
            "window_last": self.window.last,
            "details": {**self.details, "score": self.score},
        }


def not_enough(
    family: str, detector: str, subject: str, why: str, window: Window = Window(0)
) -> Check:
    """A check that can't be made; why: in words."""
    return Check(
        family, detector, subject, State.NOT_ENOUGH_DATA, None, None, None, window, {"why": why}
    )


def judge(
    family: str,
    detector: str,
    subject: str,
    value: float,
    past: np.ndarray,
    window: Window,
    *,
    warn_at: float,
    low_is_bad: bool = False,
    warned: bool | None = None,
    floor: float | None = None,
    details: Mapping[str, Any] | None = None,
) -> Check:
    """The check of a value against its textbook level and its own past.

    past: the statistic of every past window, NaN where there was none. warned: the textbook's word
    where it is more than a comparison with `warn_at`. floor: the alarm level is at least as far
    out. A value that is not finite is not enough data.
    """
    if not math.isfinite(value):
        return not_enough(family, detector, subject, "it can't be computed of these values", window)
    sign = -1.0 if low_is_bad else 1.0
    least = sign * warn_at if floor is None else max(sign * warn_at, sign * floor)
    known = int(np.isfinite(past).sum())
    alarm_at, score, units = None, None, None
    if known >= MIN_MONTHS * MONTH:
        median, level = _own_scale(sign * past, least)
        if level > median:
            alarm_at = sign * level
            score = (sign * value - median) / (level - median)
            units = _in_own_units(sign * past, least)
    beyond_textbook = sign * value > sign * warn_at if warned is None else warned
    state = State.WARNING if beyond_textbook else State.OK
    if alarm_at is not None and sign * value > sign * alarm_at:
        state = State.ALARM
    return Check(
        family,
        detector,
        subject,
        state,
        float(value),
        float(warn_at),
        alarm_at,
        window,
        {**(details or {}), "past_windows": known},
        score,
        units,
    )


def _own_scale(past: np.ndarray, least: float) -> tuple[float, float]:
    """Median and alarm level of a history; the level is at least `least`."""
    known = past[np.isfinite(past)]
    return float(np.median(known)), max(float(np.quantile(known, ALARM_QUANTILE)), least)


def _in_own_units(past: np.ndarray, least: float) -> np.ndarray:
    """A history in units of its scale, each part by the scale of the others.

    By its own scale a history would never show how far a new value may be beyond it: of thirty
    histories some are quiet by chance, and only what comes after them shows that.
    """
    out = np.full(len(past), np.nan)
    for part in parts(len(past)):
        others = np.ones(len(past), dtype=bool)
        others[part] = False
        others &= np.isfinite(past)
        if others.any():
            median, level = _own_scale(past[others], least)
            if level > median:
                out[part] = (past[part] - median) / (level - median)
    return out


@dataclass(frozen=True)
class Joint:
    """The largest score of a group of checks against its level.

    value: None where no check of the group has a score. level: None where the history is too
    short. months: of history that the level is made of.
    """

    value: float | None
    level: float | None
    months: int

    @property
    def beyond(self) -> bool:
        return self.value is not None and self.level is not None and self.value > self.level


def joint(checks: Sequence[Check], share: float) -> Joint:
    """The joint statistic of checks whose pasts end at the same session.

    share: of the months in which it may be beyond its level with nothing changed.
    """
    scored = [check for check in checks if check.score is not None and check.past is not None]
    if not scored:
        return Joint(None, None, 0)
    value = max(check.score for check in scored if check.score is not None)
    level, months = month_level(_largest([c.past for c in scored if c.past is not None]), share)
    return Joint(value, level, months)


def _largest(pasts: Sequence[np.ndarray]) -> np.ndarray:
    """The largest at each session over those that have one; aligned at their ends."""
    out = np.full(max(map(len, pasts)), np.nan)
    for past in pasts:
        if len(past):
            out[-len(past) :] = np.fmax(out[-len(past) :], past)
    return out


def month_level(path: np.ndarray, share: float) -> tuple[float | None, int]:
    """The level that the largest value of a month passes in at most `share` of the months.

    Of the n largest values of past months the k-th smallest, k = ceil((n + 1)(1 - share)): where
    months are exchangeable a new one is above it with probability 1 - k / (n + 1). With too few
    months for the share it is the largest of all, and what is promised is 1 / (n + 1). Never below
    1, a check's own alarm level. None where there are fewer than `MIN_MONTHS`.
    """
    whole = len(path) // MONTH * MONTH
    months = path[len(path) - whole :].reshape(-1, MONTH)
    months = months[~np.isnan(months).all(axis=1)]
    n = len(months)
    if n < MIN_MONTHS:
        return None, n
    largest = np.sort(np.nanmax(months, axis=1))
    k = min(n, math.ceil((n + 1) * (1.0 - share) - 1e-9))
    return max(1.0, float(largest[k - 1])), n


def decided(checks: Sequence[Check], verdict: Joint) -> tuple[Check, ...]:
    """The checks, with those marked whose score is beyond the level of their joint statistic."""
    return tuple(
        replace(check, decisive=True)
        if verdict.level is not None and check.score is not None and check.score > verdict.level
        else check
        for check in checks
    )
