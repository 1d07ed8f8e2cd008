"""The catalogue: what each feature is, in one entry.

Here belong names, inputs, look-backs, formulas and their sources. Adding a feature is adding one
entry to `CATALOGUE`; it then exists as itself (`rsi_14`), as its rank among the session's symbols
(`rsi_14_rank`) and as its z-score among them (`rsi_14_z`). The arithmetic is the engine's.

Notation: P is the adjusted close, r the one-session return of it, t the session, all windows end at
t and include it. Means and standard deviations (population) are over the window. Inputs are bars of
(R, N); a price that is not finite and positive counts as unknown (NaN), as does everything computed
from it. `lookback` is the number of sessions before t that the value may depend on: given R rows,
a feature returns R - lookback.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from hydra_pipelines.features.engine import (
    change,
    exponential_mean,
    lag,
    row_mean,
    window_covariance,
    window_deviation,
    window_max,
    window_mean,
)

WILDER_TERMS = 384
"""Terms of Wilder's mean over 14 sessions (decay 13/14): what is left out weighs 4e-13."""
SIGNAL_TERMS = 128
"""Terms of an exponential mean over 9 sessions (decay 0.8): what is left out weighs 4e-13."""


@dataclass(frozen=True)
class Feature:
    """One entry of the catalogue; `compute` takes the inputs in their order."""

    name: str
    inputs: tuple[str, ...]
    lookback: int
    formula: str
    source: str
    compute: Callable[..., np.ndarray]


def names_of(entries: Iterable[Feature]) -> tuple[str, ...]:
    """Names of entries, each followed by its rank and its z-score, as the panel lays them out."""
    return tuple(f"{entry.name}{suffix}" for entry in entries for suffix in ("", "_rank", "_z"))


def _price_return(sessions: int) -> Feature:
    return Feature(
        name=f"return_{sessions}d",
        inputs=("adj_close",),
        lookback=sessions,
        formula=f"P[t] / P[t-{sessions}] - 1",
        source="simple return",
        compute=lambda price: change(price, sessions),
    )


def _volatility(sessions: int) -> Feature:
    return Feature(
        name=f"volatility_{sessions}d",
        inputs=("adj_close",),
        lookback=sessions,
        formula=f"standard deviation of r over {sessions} sessions, per session",
        source="realised volatility of close-to-close returns",
        compute=lambda price: window_deviation(change(price, 1), sessions),
    )


def _beta(sessions: int) -> Feature:
    def compute(price: np.ndarray) -> np.ndarray:
        returns = change(price, 1)
        market = row_mean(returns)[:, None]
        with np.errstate(invalid="ignore", divide="ignore"):
            beta = window_covariance(returns, market, sessions) / window_covariance(
                market, market, sessions
            )
        return np.where(np.isinf(beta), np.nan, beta)

    return Feature(
        name=f"beta_{sessions}d",
        inputs=("adj_close",),
        lookback=sessions,
        formula=f"cov(r, m) / var(m) over {sessions} sessions, m the mean r of the universe",
        source="Sharpe 1964, with the equal-weighted universe as the market",
        compute=compute,
    )


def _momentum(price: np.ndarray) -> np.ndarray:
    return lag(price, 21)[231:] / lag(price, 252) - 1.0


def _rsi(price: np.ndarray) -> np.ndarray:
    move = price[1:] - price[:-1]
    gain = exponential_mean(np.maximum(move, 0.0), 13 / 14, WILDER_TERMS)
    loss = exponential_mean(np.maximum(-move, 0.0), 13 / 14, WILDER_TERMS)
    total = gain + loss
    with np.errstate(invalid="ignore"):
        return np.where(total == 0.0, 50.0, 100.0 * gain / total)


def _bollinger(price: np.ndarray) -> np.ndarray:
    # Relative to today's price, so that a flat window has a deviation of exactly zero.
    rows = len(price) - 19
    today = price[19:]
    past = [price[i : i + rows] / today - 1.0 for i in range(20)]
    mean = np.zeros(today.shape)
    for value in past:
        mean += value
    mean /= 20.0
    variance = np.zeros(today.shape)
    for value in past:
        variance += (value - mean) * (value - mean)
    deviation = np.sqrt(variance / 20.0)
    with np.errstate(invalid="ignore"):
        return np.where(deviation == 0.0, 0.0, -mean / deviation)


def _macd_line(price: np.ndarray) -> np.ndarray:
    fast = exponential_mean(price, 11 / 13, WILDER_TERMS)
    slow = exponential_mean(price, 25 / 27, WILDER_TERMS)
    return fast - slow


def _macd_histogram(price: np.ndarray) -> np.ndarray:
    line = _macd_line(price)
    signal = exponential_mean(line, 0.8, SIGNAL_TERMS)
    return (line[SIGNAL_TERMS - 1 :] - signal) / price[WILDER_TERMS + SIGNAL_TERMS - 2 :]


def _true_range(high: np.ndarray, low: np.ndarray, close: np.ndarray, adjusted: np.ndarray):
    factor = adjusted / close
    high, low = (high * factor)[1:], (low * factor)[1:]
    before = adjusted[:-1]
    return np.maximum(np.maximum(high - low, np.abs(high - before)), np.abs(low - before))


def _atr(high: np.ndarray, low: np.ndarray, close: np.ndarray, adjusted: np.ndarray):
    mean = exponential_mean(_true_range(high, low, close, adjusted), 13 / 14, WILDER_TERMS)
    return mean / adjusted[WILDER_TERMS:]


def _amihud(close: np.ndarray, volume: np.ndarray, adjusted: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        impact = 1e6 * np.abs(change(adjusted, 1)) / (close * volume)[1:]
    return window_mean(np.where(np.isinf(impact), np.nan, impact), 21)


CATALOGUE: tuple[Feature, ...] = (
    *(_price_return(sessions) for sessions in (1, 5, 21, 63, 126, 252)),
    Feature(
        name="momentum_12_1",
        inputs=("adj_close",),
        lookback=252,
        formula="P[t-21] / P[t-252] - 1",
        source="Jegadeesh and Titman 1993, the most recent month left out",
        compute=_momentum,
    ),
    _volatility(21),
    _volatility(63),
    Feature(
        name="rsi_14",
        inputs=("adj_close",),
        lookback=WILDER_TERMS,
        formula="100 U / (U + D), U and D the mean rise and fall (decay 13/14); 50 without moves",
        source="Wilder 1978, New Concepts in Technical Trading Systems",
        compute=_rsi,
    ),
    Feature(
        name="bollinger_z_20",
        inputs=("adj_close",),
        lookback=19,
        formula="(P[t] - mean P) / standard deviation of P over 20 sessions; 0 in a flat window",
        source="Bollinger 2001, Bollinger on Bollinger Bands",
        compute=_bollinger,
    ),
    Feature(
        name="macd",
        inputs=("adj_close",),
        lookback=WILDER_TERMS - 1,
        formula="(E12 - E26) / P[t], En the exponential mean of P with decay (n-1)/(n+1)",
        source="Appel 2005, Technical Analysis: Power Tools for Active Investors; over price",
        compute=lambda price: _macd_line(price) / price[WILDER_TERMS - 1 :],
    ),
    Feature(
        name="macd_histogram",
        inputs=("adj_close",),
        lookback=WILDER_TERMS + SIGNAL_TERMS - 2,
        formula="(L - E9 of L) / P[t], L = E12 - E26",
        source="Appel 2005, Technical Analysis: Power Tools for Active Investors; over price",
        compute=_macd_histogram,
    ),
    Feature(
        name="high_52w_distance",
        inputs=("adj_close",),
        lookback=251,
        formula="P[t] / max P over 252 sessions - 1",
        source="George and Hwang 2004, with closes",
        compute=lambda price: price[251:] / window_max(price, 252) - 1.0,
    ),
    _beta(63),
    _beta(252),
    Feature(
        name="atr_14",
        inputs=("high", "low", "close", "adj_close"),
        lookback=WILDER_TERMS,
        formula="mean true range (decay 13/14) / P[t]; ranges adjusted as the close is",
        source="Wilder 1978, New Concepts in Technical Trading Systems; over price",
        compute=_atr,
    ),
    Feature(
        name="adv_21",
        inputs=("close", "volume"),
        lookback=20,
        formula="mean of close x volume over 21 sessions, in the listing's currency",
        source="average daily dollar volume",
        compute=lambda close, volume: window_mean(close * volume, 21),
    ),
    Feature(
        name="amihud_21",
        inputs=("close", "volume", "adj_close"),
        lookback=21,
        formula="mean of 1e6 |r| / (close x volume) over 21 sessions; no volume, no value",
        source="Amihud 2002, Illiquidity and stock returns",
        compute=_amihud,
    ),
)
