"""Whether a promoted version does worse than the one that it replaced, by shadow predictions.

A pure function of both versions' predictions and of what came. Both predict the same sessions from
the same features, so that what the market does to either cancels out. Where the arrays come from,
and what is done about it, is not known here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from hydra_pipelines.models.backtest import SESSIONS_A_YEAR, backtest
from hydra_pipelines.models.evaluation import COST_BPS, GROSS
from hydra_pipelines.models.validation import rank_ic

EARLY_MARGINS = 2.0
"""At half of the sessions a version is worse already that is worse by so many margins."""


class Outlook(StrEnum):
    TOO_EARLY = "too_early"
    KEPT = "kept"
    WORSE = "worse"


@dataclass(frozen=True)
class Comparison:
    """Both versions over the sessions whose outcome is known.

    rank_ic, replaced_rank_ic: means over the sessions, NaN where predictions have no order.
    net_return, replaced_net_return: of holding the top names, after costs, a year.
    """

    sessions: int
    rank_ic: float
    replaced_rank_ic: float
    net_return: float
    replaced_net_return: float

    @property
    def rank_ic_difference(self) -> float:
        return self.rank_ic - self.replaced_rank_ic

    @property
    def return_difference(self) -> float:
        return self.net_return - self.replaced_net_return

    @property
    def figures(self) -> dict[str, float | None]:
        """By name; what is not known is None."""
        values = {
            **vars(self),
            "rank_ic_difference": self.rank_ic_difference,
            "return_difference": self.return_difference,
        }
        return {name: float(v) if np.isfinite(v) else None for name, v in values.items()}

    @property
    def sentence(self) -> str:
        return (
            f"over {self.sessions} sessions its rank IC was {self.rank_ic:+.3f} against "
            f"{self.replaced_rank_ic:+.3f} of the version before, and its top names earned "
            f"{self.net_return:+.1%} against {self.replaced_net_return:+.1%} a year"
        )


def compare(
    predictions: np.ndarray,
    replaced: np.ndarray,
    labels: np.ndarray,
    prices: np.ndarray,
    *,
    horizon: int,
    top: int,
    replaced_top: int,
) -> Comparison:
    """Hold both versions' predictions against what came.

    predictions, replaced, labels, prices: (S, N) of the same sessions from the promotion on;
    labels NaN where not known yet. top, replaced_top: how many names each holds.
    """
    known = ~np.isnan(labels).all(axis=1)
    pairs = []
    for scores, held in ((predictions, top), (replaced, replaced_top)):
        ic = rank_ic(scores[known], labels[known])
        pairs.append((_mean(ic), _net_return(scores, prices, held, horizon)))
    (mine, net), (before, net_before) = pairs
    return Comparison(int(known.sum()), mine, before, net, net_before)


def judge(comparison: Comparison, *, sessions: int, margin: float) -> Outlook:
    """Whether the version is kept.

    Worse is one whose mean rank IC is lower by more than the margin and whose top names earned
    less; both, since over a few weeks either alone is mostly noise. Predictions without an order
    are judged by what they earned. It is asked once, when `sessions` are known, and before that,
    from half of them on, for what is worse by `EARLY_MARGINS` margins.
    """
    if comparison.sessions * 2 < sessions:
        return Outlook.TOO_EARLY
    complete = comparison.sessions >= sessions
    asked = margin if complete else margin * EARLY_MARGINS
    difference = comparison.rank_ic_difference
    lower = difference < -asked if np.isfinite(difference) else complete
    if lower and comparison.return_difference < 0:
        return Outlook.WORSE
    return Outlook.KEPT if complete else Outlook.TOO_EARLY


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _net_return(scores: np.ndarray, prices: np.ndarray, top: int, horizon: int) -> float:
    """Annual mean of the daily net returns."""
    if len(prices) < 2:
        return 0.0
    made = backtest(scores, prices, top=top, every=horizon, cost_bps=COST_BPS, gross=GROSS)
    return float(made.returns.mean() * SESSIONS_A_YEAR)
