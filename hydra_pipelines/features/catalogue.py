"""The catalogue: what each feature is, in one entry.

Here belong names, inputs, look-backs, formulas and their sources. Adding a feature is adding one
entry to `CATALOGUE`; it then exists as itself (`rsi_14`), as its rank among the session's symbols
(`rsi_14_rank`) and as its z-score among them (`rsi_14_z`). The arithmetic is the engine's.

Notation: P is the adjusted close, r the one-session return of it, m the mean r of the universe, t
the session; all windows end at t and include it. Means and standard deviations (population) are
over the window. `lookback` is the number of sessions before t that the value may depend on: given
R rows, a feature returns R - lookback.

Inputs are bars of (R, N), and `market`, the series m of (R, 1). A short gap in a symbol's life
arrives filled with the last known bar, and the panel sets the value of a session whose own inputs
are missing to NaN; anything else that is not known is NaN, as is everything computed from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from hydra_pipelines.features.engine import (
    change,
    exponential_mean,
    lag,
    window_covariance,
    window_deviation,
    window_max,
    window_mean,
    window_min,
    window_sum,
    window_variance,
)

MARKET = "market"
"""The input that is no bar field: mean return of the universe, as a column for all symbols."""

WILDER_TERMS = 320
"""Terms of Wilder's mean over 14 sessions (decay 13/14): what is left out weighs 5e-11."""
SLOW_TERMS = 320
"""Terms of an exponential mean over 26 sessions (decay 25/27): what is left out weighs 2e-11."""
FAST_TERMS = 160
"""Terms of an exponential mean over 12 sessions (decay 11/13): what is left out weighs 3e-12."""
SIGNAL_TERMS = 96
"""Terms of an exponential mean over 9 sessions (decay 0.8): what is left out weighs 5e-10."""


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


def _trend_gap(sessions: int) -> Feature:
    return Feature(
        name=f"trend_gap_{sessions}d",
        inputs=("adj_close",),
        lookback=sessions - 1,
        formula=f"P[t] / mean P over {sessions} sessions - 1",
        source="Brock, Lakonishok and LeBaron 1992, moving-average rules",
        compute=lambda price: price[sessions - 1 :] / window_mean(price, sessions) - 1.0,
    )


def _market_moments(
    price: np.ndarray, market: np.ndarray, sessions: int
) -> tuple[np.ndarray, np.ndarray]:
    """Covariance with the market (R, N) and its variance (R, 1) over a number of sessions."""
    market = market[1:]
    covariance = window_covariance(change(price, 1), market, sessions)
    return covariance, window_variance(market, sessions)


def _beta(sessions: int) -> Feature:
    def compute(price: np.ndarray, market: np.ndarray) -> np.ndarray:
        covariance, variance = _market_moments(price, market, sessions)
        return covariance / variance

    return Feature(
        name=f"beta_{sessions}d",
        inputs=("adj_close", "market"),
        lookback=sessions,
        formula=f"cov(r, m) / var(m) over {sessions} sessions",
        source="Sharpe 1964, with the equal-weighted universe as the market",
        compute=compute,
    )


def _market_correlation(price: np.ndarray, market: np.ndarray) -> np.ndarray:
    covariance, variance = _market_moments(price, market, 63)
    own = window_variance(change(price, 1), 63)
    return np.where(own == 0.0, np.nan, covariance / np.sqrt(own * variance))


def _residual_volatility(price: np.ndarray, market: np.ndarray) -> np.ndarray:
    covariance, variance = _market_moments(price, market, 63)
    residual = window_variance(change(price, 1), 63) - covariance * covariance / variance
    return np.sqrt(np.maximum(residual, 0.0))


def _downside(price: np.ndarray) -> np.ndarray:
    fall = np.minimum(change(price, 1), 0.0)
    return np.sqrt(window_mean(fall * fall, 63))


def _efficiency(price: np.ndarray) -> np.ndarray:
    path = window_sum(np.abs(price[1:] - price[:-1]), 63)
    return np.where(path == 0.0, 0.0, (price[63:] - lag(price, 63)) / path)


def _momentum(price: np.ndarray) -> np.ndarray:
    return lag(price, 21)[231:] / lag(price, 252) - 1.0


def _rsi(price: np.ndarray) -> np.ndarray:
    move = price[1:] - price[:-1]
    gain = exponential_mean(np.maximum(move, 0.0), 13 / 14, WILDER_TERMS)
    loss = exponential_mean(np.maximum(-move, 0.0), 13 / 14, WILDER_TERMS)
    total = gain + loss
    return np.where(total == 0.0, 50.0, 100.0 * gain / total)


def _bollinger(price: np.ndarray) -> np.ndarray:
    # The moments of a flat window are exact: no deviation, and a mean that is the price.
    deviation = window_deviation(price, 20)
    return np.where(deviation == 0.0, 0.0, (price[19:] - window_mean(price, 20)) / deviation)


def _macd_line(price: np.ndarray) -> np.ndarray:
    fast = exponential_mean(price[SLOW_TERMS - FAST_TERMS :], 11 / 13, FAST_TERMS)
    return fast - exponential_mean(price, 25 / 27, SLOW_TERMS)


def _macd_histogram(price: np.ndarray) -> np.ndarray:
    line = _macd_line(price)
    signal = exponential_mean(line, 0.8, SIGNAL_TERMS)
    return (line[SIGNAL_TERMS - 1 :] - signal) / price[SLOW_TERMS + SIGNAL_TERMS - 2 :]


def _atr(high: np.ndarray, low: np.ndarray, close: np.ndarray, adjusted: np.ndarray) -> np.ndarray:
    factor = adjusted / close
    high, low, before = (high * factor)[1:], (low * factor)[1:], adjusted[:-1]
    # high - low is never less than high - before or before - low with `before` between them.
    reach = np.maximum(high, before) - np.minimum(low, before)
    return exponential_mean(reach, 13 / 14, WILDER_TERMS) / adjusted[WILDER_TERMS:]


def _stochastic(
    high: np.ndarray, low: np.ndarray, close: np.ndarray, adjusted: np.ndarray
) -> np.ndarray:
    factor = adjusted / close
    top, bottom = window_max(high * factor, 14), window_min(low * factor, 14)
    return np.where(top == bottom, 50.0, 100.0 * (adjusted[13:] - bottom) / (top - bottom))


def _surge(close: np.ndarray, volume: np.ndarray) -> np.ndarray:
    dollars = close * volume
    return window_mean(dollars[58:], 5) / window_mean(dollars, 63) - 1.0


def _amihud(close: np.ndarray, volume: np.ndarray, adjusted: np.ndarray) -> np.ndarray:
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
    _volatility(252),
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
        lookback=SLOW_TERMS - 1,
        formula="(E12 - E26) / P[t], En the exponential mean of P with decay (n-1)/(n+1)",
        source="Appel 2005, Technical Analysis: Power Tools for Active Investors; over price",
        compute=lambda price: _macd_line(price) / price[SLOW_TERMS - 1 :],
    ),
    Feature(
        name="macd_histogram",
        inputs=("adj_close",),
        lookback=SLOW_TERMS + SIGNAL_TERMS - 2,
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
    Feature(
        name="low_52w_distance",
        inputs=("adj_close",),
        lookback=251,
        formula="P[t] / min P over 252 sessions - 1",
        source="George and Hwang 2004, turned to the low",
        compute=lambda price: price[251:] / window_min(price, 252) - 1.0,
    ),
    Feature(
        name="max_return_21d",
        inputs=("adj_close",),
        lookback=21,
        formula="max r over 21 sessions",
        source="Bali, Cakici and Whitelaw 2011, lottery demand",
        compute=lambda price: window_max(change(price, 1), 21),
    ),
    Feature(
        name="downside_63d",
        inputs=("adj_close",),
        lookback=63,
        formula="root of the mean of min(r, 0)^2 over 63 sessions",
        source="Sortino and van der Meer 1991, downside deviation",
        compute=_downside,
    ),
    Feature(
        name="efficiency_63d",
        inputs=("adj_close",),
        lookback=63,
        formula="(P[t] - P[t-63]) / sum of |P[s] - P[s-1]| over 63 sessions; 0 without moves",
        source="Kaufman 1995, efficiency ratio, signed",
        compute=_efficiency,
    ),
    _trend_gap(50),
    _trend_gap(200),
    _beta(63),
    _beta(252),
    Feature(
        name="market_correlation_63d",
        inputs=("adj_close", "market"),
        lookback=63,
        formula="cov(r, m) / (standard deviation of r x that of m) over 63 sessions",
        source="Pearson's correlation with the equal-weighted universe",
        compute=_market_correlation,
    ),
    Feature(
        name="residual_volatility_63d",
        inputs=("adj_close", "market"),
        lookback=63,
        formula="root of var(r) - cov(r, m)^2 / var(m) over 63 sessions",
        source="Ang, Hodrick, Xing and Zhang 2006, with the universe as the one factor",
        compute=_residual_volatility,
    ),
    Feature(
        name="atr_14",
        inputs=("high", "low", "close", "adj_close"),
        lookback=WILDER_TERMS,
        formula="mean true range (decay 13/14) / P[t]; ranges adjusted as the close is",
        source="Wilder 1978, New Concepts in Technical Trading Systems; over price",
        compute=_atr,
    ),
    Feature(
        name="range_21d",
        inputs=("high", "low", "close"),
        lookback=20,
        formula="mean of (high - low) / close over 21 sessions",
        source="Parkinson 1980, The Extreme Value Method, in its linear form",
        compute=lambda high, low, close: window_mean((high - low) / close, 21),
    ),
    Feature(
        name="stochastic_14",
        inputs=("high", "low", "close", "adj_close"),
        lookback=13,
        formula="100 (P[t] - L) / (H - L), H and L adjusted extremes of 14 sessions; 50 if equal",
        source="Lane 1984, the stochastic %K",
        compute=_stochastic,
    ),
    Feature(
        name="overnight_21d",
        inputs=("open", "close", "adj_close"),
        lookback=21,
        formula="mean of open[s] / (P[s-1] close[s] / P[s]) - 1 over 21 sessions",
        source="Lou, Polk and Skouras 2019, overnight returns; adjusted as the close is",
        compute=lambda opened, close, price: window_mean(
            opened[1:] * price[1:] / close[1:] / price[:-1] - 1.0, 21
        ),
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
        name="volume_surge_5d",
        inputs=("close", "volume"),
        lookback=62,
        formula="mean close x volume over 5 sessions / its mean over 63 - 1",
        source="Gervais, Kaniel and Mingelgrin 2001, high-volume premium; in dollars",
        compute=_surge,
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
