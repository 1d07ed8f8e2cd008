"""Labels: what a model is to predict. Kept apart from the features, which never see them.

Here belongs the one definition of the forward return. Bars after the session used as `as_of` must
be cut off before: a label is known only once its last price is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hydra_pipelines.features.engine import row_mean
from hydra_pipelines.market.bars import BarPanel, MarketDataError


@dataclass(frozen=True)
class Labels:
    """Forward returns relative to the universe, float64 (S, N), NaN where not yet realised.

    The label of session t is known from session t + 1 + horizon on.
    """

    sessions: np.ndarray
    symbols: tuple[str, ...]
    values: np.ndarray
    horizon: int


def make_labels(panel: BarPanel, horizon: int) -> Labels:
    """Return from the execution price of the next session over `horizon` sessions, demeaned.

    P[t + 1 + horizon] / P[t + 1] - 1 with P the adjusted close, less its mean over the symbols
    that have one: a decision made after the close of t trades at t + 1 at the earliest. Raises
    MarketDataError where the panel has no adjusted closes.
    """
    prices = panel.field("adj_close")
    if prices is None:
        raise MarketDataError("labels need adjusted closes, and the bars have none")
    values = np.full(prices.shape, np.nan)
    known = len(prices) - 1 - horizon
    if known > 0:
        with np.errstate(invalid="ignore", divide="ignore"):
            clean = np.where(np.isfinite(prices) & (prices > 0), prices, np.nan)
            returns = clean[1 + horizon :] / clean[1 : 1 + known] - 1.0
        values[:known] = returns - row_mean(returns)[:, None]
    return Labels(panel.sessions, panel.symbols, values, horizon)
