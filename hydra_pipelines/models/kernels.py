"""The inner loop of the backtest, in the subset of Python that numba compiles.

Here belong loops over raw memory: no checks, no allocation. `features.compiled` makes machine
code of each entry of `KERNELS`, and alone imports this module; `backtest` says what they mean.
"""

from __future__ import annotations

import numba
import numpy as np
from numba import types

_F = types.CPointer(types.float64)
_N = types.CPointer(types.int64)
_I = types.int64
_D = types.float64
_BINS = 256
_FEW = 16


@numba.njit
def _is_price(price):
    return price > 0.0 and price < np.inf


@numba.njit
def _best(scores, columns, top, chosen, counts):
    """Put the columns of the `top` best of the scores (columns,) in `chosen`, ascending; how many.

    Equal scores go by column, unknown ones are left out. The range of the scores is cut into 256
    bins, and those below the bin with the last one wanted are dropped, until few are too many; then
    the worst are dropped one by one. Comparing would guess wrong at every other score.
    """
    count = 0
    for j in range(columns):
        chosen[count] = j
        count += scores[j] == scores[j]
    while count > top + _FEW:
        low = high = scores[chosen[0]]
        for c in range(count):
            low = min(low, scores[chosen[c]])
            high = max(high, scores[chosen[c]])
        if low == high:
            return top
        scale = (_BINS - 1) / (high - low)
        if not (scale > 0.0 and scale < np.inf):
            break
        for c in range(count):
            counts[min(np.int64((scores[chosen[c]] - low) * scale), _BINS - 1)] += 1
        lowest = _BINS - 1
        better = counts[lowest]
        while better < top:
            lowest -= 1
            better += counts[lowest]
        # One by one: what zeroes a row at once is not to be found from kept code.
        for c in range(count):
            counts[min(np.int64((scores[chosen[c]] - low) * scale), _BINS - 1)] = 0
        if better == count:
            break
        kept = 0
        for c in range(count):
            j = chosen[c]
            chosen[kept] = j
            kept += min(np.int64((scores[j] - low) * scale), _BINS - 1) >= lowest
        count = kept
    while count > top:
        worst = 0
        for c in range(1, count):
            if scores[chosen[c]] <= scores[chosen[worst]]:
                worst = c
        count -= 1
        for c in range(worst, count):
            chosen[c] = chosen[c + 1]
    return count


def simulate(
    scoresp, pricesp, rows, columns, top, every, cost, gross, workp, listsp, countsp, equityp, sums
):
    """Equity after each close, and the sums of (value traded / equity before) and of costs paid.

    scores, prices: (rows, columns). work: (2, columns), shares and last prices, zeros at first.
    lists: (3, columns): chosen columns, held columns, and the trade in which each was last chosen,
    zeros at first. counts: (256,), zeros. equity: (rows,). sums: (2,), zeros at first. Outside of
    the choice, only columns that are held or chosen are looked at.
    """
    scores = numba.carray(scoresp, (rows, columns))
    prices = numba.carray(pricesp, (rows, columns))
    work = numba.carray(workp, (2, columns))
    lists = numba.carray(listsp, (3, columns))
    counts = numba.carray(countsp, (_BINS,))
    equity = numba.carray(equityp, (rows,))
    totals = numba.carray(sums, (2,))
    shares, last = work[0], work[1]
    chosen, held, trade_of = lists[0], lists[1], lists[2]
    cash = 1.0
    holding = 0
    trade = 0
    for t in range(rows):
        value = cash
        for h in range(holding):
            j = held[h]
            if _is_price(prices[t, j]):
                last[j] = prices[t, j]
            value += shares[j] * last[j]
        equity[t] = value
        if t == 0 or (t - 1) % every != 0:
            continue
        count = _best(scores[t - 1], columns, top, chosen, counts)
        if count == 0:
            continue
        trade += 1
        for c in range(count):
            j = chosen[c]
            trade_of[j] = trade
            if shares[j] == 0.0 and _is_price(prices[t, j]):
                held[holding] = j
                holding += 1
        stuck = 0.0
        for h in range(holding):
            if not _is_price(prices[t, held[h]]):
                stuck += shares[held[h]] * last[held[h]]
        wanted_value = gross * (value - stuck) / count
        moved = 0.0
        kept = 0
        for h in range(holding):
            j = held[h]
            if _is_price(prices[t, j]):
                last[j] = prices[t, j]
                wanted = wanted_value / last[j] if trade_of[j] == trade else 0.0
                cash -= (wanted - shares[j]) * last[j]
                moved += abs(wanted - shares[j]) * last[j]
                shares[j] = wanted
            if shares[j] != 0.0:
                held[kept] = j
                kept += 1
        holding = kept
        cash -= cost * moved
        totals[0] += moved / value
        totals[1] += cost * moved
        value = cash
        for h in range(holding):
            value += shares[held[h]] * last[held[h]]
        equity[t] = value


KERNELS = {
    "simulate": (simulate, (_F, _F, _I, _I, _I, _I, _D, _D, _F, _N, _N, _F, _F)),
}
