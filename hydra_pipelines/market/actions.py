"""Corporate actions: an adjusted close from the traded one, splits and cash dividends.

Here belongs the arithmetic of adjustment. Who delivers actions and where bars are stored does not.
"""

from __future__ import annotations

import numpy as np


def adjusted_close(
    close: np.ndarray, split_ratio: np.ndarray | None, cash_dividend: np.ndarray | None
) -> np.ndarray:
    """Value of one share bought at a symbol's first close, dividends reinvested: (S, N).

    A[t] = A[t-1] (close[t] split[t] + dividend[t]) / close[t-1], A = close at first, where split
    is new shares for one old (4 for four-for-one, 1, 0 or NaN for none) and the dividend is per
    old share, both effective on the ex-date t; a gap in the closes is bridged by the last one,
    with the actions in it. As in CRSP's return with distributions. Going forward from the first
    session, no later action changes what was stored, so the past stays as it was known.
    """
    split = (
        np.ones_like(close) if split_ratio is None else np.where(split_ratio > 0, split_ratio, 1)
    )
    dividend = (
        np.zeros_like(close) if cash_dividend is None else np.nan_to_num(cash_dividend, nan=0.0)
    )
    out = np.full(close.shape, np.nan)
    last, value = np.full(close.shape[1], np.nan), np.full(close.shape[1], np.nan)
    shares, cash = np.ones(close.shape[1]), np.zeros(close.shape[1])
    for t in range(len(close)):
        cash += dividend[t] * shares
        shares *= split[t]
        known = np.isfinite(close[t]) & (close[t] > 0)
        first = known & np.isnan(last)
        going = known & ~first
        out[t, first] = close[t, first]
        out[t, going] = value[going] * (close[t, going] * shares[going] + cash[going]) / last[going]
        value[known], last[known] = out[t, known], close[t, known]
        shares[known], cash[known] = 1.0, 0.0
    return out
