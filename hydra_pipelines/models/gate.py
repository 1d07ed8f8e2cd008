"""The promotion gate: whether a candidate is better than the champion, by evidence that holds.

Here belongs the judgement, pure functions of out-of-sample returns and figures. Where they come
from, and what is done with a verdict, does not. Most candidates are no better, and the gate says
so: a higher figure of one backtest is no evidence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist

import numpy as np

from hydra_pipelines.models.backtest import SESSIONS_A_YEAR

EULER_GAMMA = 0.5772156649015329
_NORMAL = NormalDist()


class GateReason(StrEnum):
    """Why a candidate is not let through; `explanation` says it in a sentence."""

    TOO_FEW_SESSIONS = "too_few_sessions"
    NOT_BETTER = "not_better"
    SEEDS_DISAGREE = "seeds_disagree"
    SHARPE_BY_CHANCE = "sharpe_by_chance"
    TURNOVER = "turnover"
    DRAWDOWN = "drawdown"
    CAPACITY = "capacity"
    LEAK_RANK_IC = "leak_rank_ic"
    LEAK_SHARPE = "leak_sharpe"
    FEATURES_MISSING = "features_missing"

    @property
    def explanation(self) -> str:
        return _EXPLANATIONS[self]


_EXPLANATIONS = {
    GateReason.TOO_FEW_SESSIONS: "too few sessions out of sample to judge by",
    GateReason.NOT_BETTER: (
        "the lower bound of the net difference to the champion is not above the margin"
    ),
    GateReason.SEEDS_DISAGREE: "it beats the champion with some seeds only, or with none",
    GateReason.SHARPE_BY_CHANCE: (
        "its Sharpe ratio may be the best of that many trials by chance (deflated Sharpe ratio)"
    ),
    GateReason.TURNOVER: "it trades more than the limit",
    GateReason.DRAWDOWN: "its drawdown is beyond the limit",
    GateReason.CAPACITY: (
        "its orders would be too large a share of the daily volume, or their size is not known"
    ),
    GateReason.LEAK_RANK_IC: "its rank IC is too good to be true: look for a leak",
    GateReason.LEAK_SHARPE: "its Sharpe ratio is too good to be true: look for a leak",
    GateReason.FEATURES_MISSING: "not all of its features are there on the last session",
}


@dataclass(frozen=True)
class GateLimits:
    """What a candidate has to hold.

    margin: of the lower bound of the paired net difference, as annual return (0.005 is 0.5 %).
    confidence: one-sided, of that bound. block_sessions: length of the bootstrap's blocks, longer
    than the label, since returns of neighbouring sessions depend on each other.
    min_deflated_sharpe: probability that the true Sharpe ratio is above what the best of all
    trials reaches by chance. max_turnover: one way, a year, as a multiple of equity.
    max_adv_share: largest order over average daily value traded.
    """

    min_sessions: int = 504
    margin: float = 0.005
    confidence: float = 0.95
    block_sessions: int = 21
    resamples: int = 2000
    min_deflated_sharpe: float = 0.95
    max_turnover: float = 60.0
    max_drawdown: float = 0.60
    max_adv_share: float = 0.01
    max_rank_ic: float = 0.1
    max_sharpe: float = 2.5

    def __post_init__(self) -> None:
        if not 0.5 <= self.confidence < 1:
            raise ValueError(f"gate: confidence is {self.confidence}; give 0.5 to below 1")
        if self.block_sessions < 1 or self.resamples < 100 or self.min_sessions < 2:
            raise ValueError(
                "gate: block_sessions is at least 1, resamples 100 and min_sessions 2, got "
                f"{self.block_sessions}, {self.resamples} and {self.min_sessions}"
            )


@dataclass(frozen=True)
class Contender:
    """One model's results out of sample, net of costs.

    returns: (seeds, S), daily net returns, one row per seed, a single row for a model without any.
    turnover: one way, a year. adv_share: its largest order over the average daily value traded.
    """

    name: str
    returns: np.ndarray
    rank_ic: float
    turnover: float
    adv_share: float
    features_present: bool = True

    def __post_init__(self) -> None:
        shape = self.returns.shape
        if len(shape) != 2 or not shape[0] or shape[1] < 2 or not np.isfinite(self.returns).all():
            raise ValueError(
                f"{self.name}: returns of shape {shape} can't be judged; they are finite, one row "
                "per seed and at least two sessions"
            )

    @property
    def mean_returns(self) -> np.ndarray:
        """(S,), the average over the seeds: what holding the same share of each earns."""
        return self.returns.mean(axis=0)

    @property
    def sharpe(self) -> float:
        """Annualised, without a risk-free rate; the mean over the seeds."""
        return float(np.mean([annual_sharpe(row) for row in self.returns]))

    @property
    def max_drawdown(self) -> float:
        """The largest over the seeds, as a positive share."""
        equity = np.cumprod(1.0 + np.c_[np.zeros(len(self.returns)), self.returns], axis=1)
        return float((1.0 - equity / np.maximum.accumulate(equity, axis=1)).max())


@dataclass(frozen=True)
class Verdict:
    """What the gate says. reasons: why not, all of them; empty where it passed.

    warnings: what a person should know before he moves the alias. figures: what it was based on.
    """

    passed: bool
    reasons: tuple[GateReason, ...]
    warnings: tuple[str, ...]
    figures: dict[str, float]

    @property
    def message(self) -> str:
        if self.passed:
            return "passed"
        return "; ".join(f"{reason}: {reason.explanation}" for reason in self.reasons)


def judge(
    candidate: Contender,
    champion: Contender,
    yardsticks: Sequence[Contender],
    trial_sharpes: Sequence[float],
    limits: GateLimits,
    *,
    seed: int = 0,
) -> Verdict:
    """Judge a candidate against the champion over the same sessions; the same inputs give the
    same verdict.

    trial_sharpes: annualised Sharpe ratios of every trial ever made for the strategy, this one
    among them. yardsticks (equal weight, momentum) are reported, and losing to one is a warning.
    Raises ValueError where the contenders do not cover the same number of sessions, or where there
    is no trial.
    """
    sessions = candidate.returns.shape[1]
    for other in (champion, *yardsticks):
        if other.returns.shape[1] != sessions:
            raise ValueError(
                f"{other.name} has {other.returns.shape[1]} sessions and {candidate.name} "
                f"{sessions}; the same window is needed"
            )
    if not len(trial_sharpes):
        raise ValueError("the candidate itself is a trial: trial_sharpes can't be empty")
    difference = candidate.mean_returns - champion.mean_returns
    lower = bootstrap_lower_bound(
        difference,
        confidence=limits.confidence,
        block=limits.block_sessions,
        resamples=limits.resamples,
        seed=seed,
    )
    deflated = deflated_sharpe(candidate.mean_returns, trial_sharpes)
    by_seed = (candidate.returns - champion.mean_returns).mean(axis=1)
    failed = {
        GateReason.TOO_FEW_SESSIONS: sessions < limits.min_sessions,
        GateReason.NOT_BETTER: not lower > limits.margin,
        GateReason.SEEDS_DISAGREE: len(by_seed) > 1 and not (by_seed > 0).all(),
        GateReason.SHARPE_BY_CHANCE: not deflated >= limits.min_deflated_sharpe,
        GateReason.TURNOVER: not candidate.turnover <= limits.max_turnover,
        GateReason.DRAWDOWN: not candidate.max_drawdown <= limits.max_drawdown,
        GateReason.CAPACITY: not candidate.adv_share <= limits.max_adv_share,
        GateReason.LEAK_RANK_IC: not candidate.rank_ic <= limits.max_rank_ic,
        GateReason.LEAK_SHARPE: not candidate.sharpe <= limits.max_sharpe,
        GateReason.FEATURES_MISSING: not candidate.features_present,
    }
    figures = {
        "sessions": float(sessions),
        "seeds": float(len(candidate.returns)),
        "trials": float(len(trial_sharpes)),
        "difference": float(difference.mean() * SESSIONS_A_YEAR),
        "difference_lower": lower,
        "margin": limits.margin,
        "deflated_sharpe": deflated,
        "sharpe": candidate.sharpe,
        "champion_sharpe": champion.sharpe,
        "rank_ic": candidate.rank_ic,
        "champion_rank_ic": champion.rank_ic,
        "turnover": candidate.turnover,
        "max_drawdown": candidate.max_drawdown,
        "adv_share": candidate.adv_share,
        **{f"{other.name}_sharpe": other.sharpe for other in yardsticks},
    }
    warnings = tuple(
        f"net Sharpe {candidate.sharpe:.2f} is below that of {other.name} ({other.sharpe:.2f})"
        for other in yardsticks
        if candidate.sharpe < other.sharpe
    )
    reasons = tuple(reason for reason, holds in failed.items() if holds)
    return Verdict(not reasons, reasons, warnings, figures)


def annual_sharpe(returns: np.ndarray) -> float:
    """Annualised Sharpe ratio of daily returns (S,); 0 where they do not vary."""
    spread = float(returns.std(ddof=1))
    return float(returns.mean() / spread * math.sqrt(SESSIONS_A_YEAR)) if spread > 0 else 0.0


def bootstrap_lower_bound(
    differences: np.ndarray,
    *,
    confidence: float,
    block: int,
    resamples: int,
    seed: int = 0,
) -> float:
    """One-sided lower confidence bound of the annual mean of daily differences (S,).

    Circular block bootstrap of the mean, percentile method: Politis & Romano, "A circular
    block-resampling procedure for stationary data", in Exploring the Limits of Bootstrap (1992).
    Blocks of `block` sessions keep the dependence between neighbouring sessions.
    """
    sessions = len(differences)
    block = min(block, sessions)
    blocks = -(-sessions // block)
    last = sessions - (blocks - 1) * block
    starts = np.random.default_rng(seed).integers(0, sessions, (resamples, blocks))
    # A block's sum is a difference of two running sums over the series joined to its own start.
    running = np.concatenate([[0.0], np.cumsum(np.concatenate([differences, differences]))])
    sums = (running[starts[:, :-1] + block] - running[starts[:, :-1]]).sum(axis=1)
    sums += running[starts[:, -1] + last] - running[starts[:, -1]]
    return float(np.quantile(sums / sessions, 1.0 - confidence) * SESSIONS_A_YEAR)


def probabilistic_sharpe(
    sharpe: float, benchmark: float, sessions: int, skew: float, kurtosis: float
) -> float:
    """Probability that the true Sharpe ratio is above a benchmark, both per session.

    kurtosis: 3 for normal returns. Bailey & López de Prado, "The Sharpe Ratio Efficient Frontier",
    Journal of Risk 15 (2012).
    """
    variance = 1.0 - skew * sharpe + (kurtosis - 1.0) / 4.0 * sharpe**2
    if variance <= 0:
        raise ValueError(
            f"a Sharpe ratio of {sharpe} with skew {skew} and kurtosis {kurtosis} can't be"
        )
    return _NORMAL.cdf((sharpe - benchmark) * math.sqrt(sessions - 1.0) / math.sqrt(variance))


def expected_best_sharpe(trials: int, variance: float) -> float:
    """Sharpe ratio that the best of so many independent worthless trials is expected to reach.

    variance: of the trials' Sharpe ratios; the result is in the same unit. Bailey & López de Prado,
    "The Deflated Sharpe Ratio", Journal of Portfolio Management 40 (2014).
    """
    if trials < 2:
        return 0.0
    quantile = _NORMAL.inv_cdf
    return math.sqrt(variance) * (
        (1.0 - EULER_GAMMA) * quantile(1.0 - 1.0 / trials)
        + EULER_GAMMA * quantile(1.0 - 1.0 / (trials * math.e))
    )


def deflated_sharpe(returns: np.ndarray, trial_sharpes: Sequence[float]) -> float:
    """Probability that the returns' Sharpe ratio is more than the luck of the best trial.

    returns: daily net returns (S,). trial_sharpes: annualised, of all trials made. Their variance
    is at least that of the estimate itself, 1 / S a session: near-equal trials, variations of one
    idea, must not make luck look small.
    """
    spread = float(returns.std(ddof=1))
    if spread == 0:
        return 0.0
    sessions = len(returns)
    centred = returns - returns.mean()
    variance = float(np.mean(centred**2))
    skew = float(np.mean(centred**3)) / variance**1.5
    kurtosis = float(np.mean(centred**4)) / variance**2
    per_session = np.asarray(trial_sharpes, np.float64) / math.sqrt(SESSIONS_A_YEAR)
    between = float(per_session.var(ddof=1)) if len(per_session) > 1 else 0.0
    best = expected_best_sharpe(len(per_session), max(between, 1.0 / sessions))
    return probabilistic_sharpe(float(returns.mean()) / spread, best, sessions, skew, kurtosis)


def report(candidate: str, verdict: Verdict) -> str:
    """The verdict for a person, in Markdown."""
    f = verdict.figures
    lines = [
        f"# Promotion gate: {candidate}",
        "",
        "**Passed.**" if verdict.passed else "**Not passed: keep the champion.**",
        "",
        *(f"- {reason}: {reason.explanation}" for reason in verdict.reasons),
        *(f"- Mind: {warning}" for warning in verdict.warnings),
        "",
        "| figure | value |",
        "| --- | --- |",
        *(f"| {name.replace('_', ' ')} | {value:.4g} |" for name, value in f.items()),
        "",
        "Difference: annual net return less the champion's, over the same purged out-of-sample "
        "sessions; its lower bound is the block bootstrap's. Deflated Sharpe: the probability that "
        "the Sharpe ratio is more than the best of all trials made for this strategy reaches by "
        "chance.",
    ]
    return "\n".join(lines) + "\n"
