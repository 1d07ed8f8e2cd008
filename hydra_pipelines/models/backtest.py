"""A simple net-of-cost backtest: hold the best few names in equal weights, rebalance every week.

Here belong the simulation and its figures, as functions of scores and prices. It judges models; the
desk's own orders, limits and fills are not simulated here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

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
    without a price on a trading day keeps its shares; it counts at its last price until it has one.
    Without any score on a rebalancing day, nothing is traded.
    """
    if scores.shape != prices.shape:
        raise ValueError(f"scores of shape {scores.shape} do not fit prices of {prices.shape}")
    sessions, symbols = prices.shape
    tradable = np.isfinite(prices) & (prices > 0)
    marks = _carried_forward(np.where(tradable, prices, np.nan))
    cost = cost_bps / 1e4
    shares, cash = np.zeros(symbols), 1.0
    equity = np.ones(sessions)
    traded = paid = 0.0
    done = 0
    for decided in range(0, sessions - 1, every):
        order = np.argsort(-scores[decided], kind="stable")
        chosen = order[: min(top, int((~np.isnan(scores[decided])).sum()))]
        if not len(chosen):
            continue
        day = decided + 1
        equity[done:day] = cash + marks[done:day] @ shares
        done = day
        value = cash + marks[day] @ shares
        target = np.zeros(symbols)
        target[chosen] = gross * value / len(chosen)
        wanted = np.divide(target, marks[day], out=shares.copy(), where=tradable[day])
        moved = np.abs(wanted - shares) @ marks[day]
        cash -= (wanted - shares) @ marks[day] + cost * moved
        traded += moved / value
        paid += cost * moved
        shares = wanted
    equity[done:] = cash + marks[done:] @ shares
    return _figures(equity, traded, paid)


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


def _carried_forward(prices: np.ndarray) -> np.ndarray:
    """Each price, or the last one before it; 0 where there has been none yet."""
    rows = np.where(np.isnan(prices), 0, np.arange(len(prices))[:, None])
    filled = np.take_along_axis(prices, np.maximum.accumulate(rows, axis=0), axis=0)
    return np.nan_to_num(filled, nan=0.0)
