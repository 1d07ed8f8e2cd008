"""A simple net-of-cost backtest: hold the best few names in equal weights, rebalance every week.

Here belong the simulation and its figures, as functions of scores and prices. It judges models; the
desk's own orders, limits and fills are not simulated here. The gate runs it once for each contender
and seed; what its bootstrap draws from are the daily net returns that come out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hydra_pipelines.features.compiled import kernels

SESSIONS_A_YEAR = 252


@dataclass(frozen=True)
class Backtest:
    """equity: value at each close of a start of 1.0, net of costs, (S,).

    sharpe: annualised mean over standard deviation of the equity's returns, no risk-free rate.
    max_drawdown: largest fall from a peak, as a positive share.
    turnover: value bought or sold over equity, one way, a year.
    costs: all costs paid, as a share of the start.
    """

    equity: np.ndarray
    sharpe: float
    annual_return: float
    max_drawdown: float
    turnover: float
    costs: float

    @property
    def returns(self) -> np.ndarray:
        """Daily net returns (S - 1,): from each close to the next."""
        return self.equity[1:] / self.equity[:-1] - 1.0


def backtest(
    scores: np.ndarray,
    prices: np.ndarray,
    *,
    top: int = 4,
    every: int = 5,
    cost_bps: float = 5.0,
    gross: float = 0.99,
) -> Backtest:
    """Long-only, equal weights in the `top` best scores, rebalanced every `every` sessions.

    scores: (S, N) as of each close, NaN for no opinion. prices: (S, N) closes.
    A choice made at the close of t is traded at the close of t + 1 to target values of
    gross x equity / names, equity before costs. Each traded value pays `cost_bps`; the uninvested
    share pays for it, so buys are never cut. Equal scores go by the order of the symbols. A name
    without a price on a trading day keeps its shares and is not bought; it counts at its last price
    until it has one, and what is stuck in it is not shared out. Without any score on a rebalancing
    day, nothing is traded.
    """
    if scores.shape != prices.shape:
        raise ValueError(f"scores of shape {scores.shape} do not fit prices of {prices.shape}")
    if top < 1 or every < 1:
        raise ValueError(f"top is {top} and every {every}; both are at least 1")
    scores, prices = (np.ascontiguousarray(a, np.float64) for a in (scores, prices))
    sessions, symbols = prices.shape
    equity, sums = np.empty(sessions), np.zeros(2)
    work, lists = np.zeros((2, symbols)), np.zeros((3, symbols), np.int64)
    counts = np.zeros(256, np.int64)
    kernels("models")["simulate"](
        scores.ctypes.data,
        prices.ctypes.data,
        sessions,
        symbols,
        min(top, symbols),
        every,
        cost_bps / 1e4,
        gross,
        *(a.ctypes.data for a in (work, lists, counts, equity, sums)),
    )
    return _figures(equity, *sums.tolist())


def _figures(equity: np.ndarray, traded: float, paid: float) -> Backtest:
    returns = equity[1:] / equity[:-1] - 1.0
    spread = returns.std(ddof=1) if len(returns) > 1 else 0.0
    years = max(len(returns), 1) / SESSIONS_A_YEAR
    return Backtest(
        equity=equity,
        sharpe=float(returns.mean() / spread * math.sqrt(SESSIONS_A_YEAR)) if spread > 0 else 0.0,
        annual_return=float(equity[-1] ** (1.0 / years) - 1.0),
        max_drawdown=float((1.0 - equity / np.maximum.accumulate(equity)).max()),
        turnover=float(traded / 2.0 / years),
        costs=float(paid),
    )
