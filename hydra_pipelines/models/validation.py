"""Honest validation: walk-forward folds that can't see their test, and the figures they give.

Here belong splits and metrics, as functions of dates and arrays. What is fitted on a fold does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hydra_pipelines.features.engine import row_mean, row_rank

MIN_TRAIN_SESSIONS = 5 * 252
MIN_SYMBOLS = 5
"""A rank correlation over fewer symbols than this says nothing."""
MAX_RANK_IC = 0.1
MAX_SHARPE = 2.5
"""Better than this on daily bars of large companies, a leak is more likely than a discovery."""


@dataclass(frozen=True)
class Fold:
    """Train on sessions [0, train_stop), test on [test_start, test_stop)."""

    name: str
    train_stop: int
    test_start: int
    test_stop: int


def walk_forward(
    sessions: np.ndarray,
    horizon: int,
    *,
    embargo: int | None = None,
    min_train: int = MIN_TRAIN_SESSIONS,
) -> tuple[Fold, ...]:
    """One fold per calendar year, trained on everything before it that was known by then.

    sessions: datetime64[D], ascending. Purged: the label of session t ends at t + 1 + horizon,
    and no training label ends after the session before the test's first, less `embargo` sessions
    (`horizon` by default). Years with fewer than `min_train` training sessions are not tested.
    """
    gap = horizon + (horizon if embargo is None else embargo)
    years = sessions.astype("datetime64[Y]")
    folds = []
    for year in np.unique(years):
        start, stop = np.searchsorted(years, [year, year + 1])
        train_stop = int(start) - 1 - gap
        if train_stop >= min_train:
            folds.append(Fold(str(year), train_stop, int(start), int(stop)))
    return tuple(folds)


def rank_ic(predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Spearman correlation of predictions and labels over the symbols of each session, (S,).

    Both (S, N). NaN for sessions with fewer than `MIN_SYMBOLS` pairs or without any spread.
    """
    known = ~np.isnan(predictions) & ~np.isnan(labels)
    x = row_rank(np.where(known, predictions, np.nan))
    y = row_rank(np.where(known, labels, np.nan))
    x, y = x - row_mean(x)[:, None], y - row_mean(y)[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        ic = row_mean(x * y) / np.sqrt(row_mean(x * x) * row_mean(y * y))
    ic[known.sum(axis=1) < MIN_SYMBOLS] = np.nan
    return ic


def ic_figures(ic: np.ndarray) -> dict[str, float]:
    """rank_ic: mean over sessions; icir: mean over standard deviation, per session; hit_rate:
    share of sessions with a positive rank IC; sessions: how many count."""
    ic = ic[~np.isnan(ic)]
    spread = float(ic.std(ddof=1)) if len(ic) > 1 else 0.0
    return {
        "rank_ic": float(ic.mean()) if len(ic) else float("nan"),
        "icir": float(ic.mean() / spread) if spread > 0 else float("nan"),
        "hit_rate": float((ic > 0).mean()) if len(ic) else float("nan"),
        "sessions": float(len(ic)),
    }


def leak_alarms(
    figures: Mapping[str, float],
    *,
    max_rank_ic: float = MAX_RANK_IC,
    max_sharpe: float = MAX_SHARPE,
) -> tuple[str, ...]:
    """What is too good to be true in the figures of an evaluation, in words; empty if nothing is.

    A figure that is absent or NaN is not known, and raises no alarm.
    """
    bounds = {"rank_ic": ("rank IC", max_rank_ic), "sharpe": ("net Sharpe ratio", max_sharpe)}
    return tuple(
        f"{words} of {figures[name]:.3g} is above {bound:g}: look for a leak before believing it"
        for name, (words, bound) in bounds.items()
        if figures.get(name, float("nan")) > bound
    )
