"""The inner loops, in the subset of Python that numba compiles. Imported only to compile them.

Here belong loops over raw memory and nothing else: no checks, no allocation. `compiled` turns each
entry of `KERNELS` into machine code, `engine` calls it and says what it means.

Arrays are float64 of (rows, columns), C-contiguous. Every number comes from a tree of operations
whose form depends on the window or the row's length only, never on how many rows are computed at
once; arithmetic is strict IEEE (no reassociation, no fused operations), so that it is the same on
every machine.
"""

from __future__ import annotations

import numba
import numpy as np
from numba import types

_F = types.CPointer(types.float64)
_U = types.CPointer(types.uint64)
_I = types.int64
_D = types.float64


@numba.njit
def _add(near, far, weight):
    return near + weight * far


@numba.njit
def _larger(near, far, weight):
    # A comparison with NaN is never true, so an unknown on either side stays.
    return near if (near > far or near != near) else far


def _fold(combine):
    """A kernel that folds windows of `length` rows: out[t] covers x[t .. t + length - 1].

    Windows of 1, 2, 4, ... rows are folded, and those in the binary form of `length` are joined,
    the nearest first. For many rows each level is made for all of them at once; for few, the tree
    of each row is folded on its own. The operations of a row are the same. A row k back from the
    window's end weighs decay**k, by multiplications alone. scratch: (rows, columns).
    """

    def kernel(xp, rows, columns, length, decay, scratchp, outp):
        x = numba.carray(xp, (rows, columns))
        folded = numba.carray(scratchp, (rows, columns))
        count = rows - length + 1
        out = numba.carray(outp, (count, columns))
        levels = 0
        while (1 << levels) <= length:
            levels += 1
        together = count * length > (count + length) * levels
        for start in range(0, count, count if together else 1):
            made = count if together else 1
            covered = 0
            power = 1
            weight = decay
            covered_weight = 1.0
            if together:
                for i in range(rows):
                    for j in range(columns):
                        folded[i, j] = x[i, j]
            while covered < length:
                if length & power:
                    first = length - covered - power
                    if not together:
                        _fold_one(combine, x, start + first, power, decay, folded)
                        first = 0
                    for i in range(made):
                        if covered == 0:
                            for j in range(columns):
                                out[start + i, j] = folded[first + i, j]
                        else:
                            for j in range(columns):
                                out[start + i, j] = combine(
                                    out[start + i, j], folded[first + i, j], covered_weight
                                )
                    covered += power
                    covered_weight *= weight
                if together and covered < length:
                    for i in range(rows - 2 * power + 1):
                        for j in range(columns):
                            folded[i, j] = combine(folded[i + power, j], folded[i, j], weight)
                power *= 2
                weight *= weight

    return kernel


@numba.njit(inline="always")
def _fold_one(combine, x, first, size, decay, folded):
    """Fold rows first .. first + size - 1 of x, a power of two many, into folded[0]."""
    columns = x.shape[1]
    if size == 1:
        for j in range(columns):
            folded[0, j] = x[first, j]
        return
    half = size // 2
    for i in range(half):
        for j in range(columns):
            folded[i, j] = combine(x[first + 2 * i + 1, j], x[first + 2 * i, j], decay)
    weight = decay * decay
    while half > 1:
        half //= 2
        for i in range(half):
            for j in range(columns):
                folded[i, j] = combine(folded[2 * i + 1, j], folded[2 * i, j], weight)
        weight *= weight


def _comoment(is_variance):
    """A kernel for the population covariance of windows of x with a series y, or with itself.

    Moments are joined from those of halves, around their own means (Chan, Golub and LeVeque 1979),
    in the tree of `_fold`. scratch: 3 planes of (rows, columns); means_y: 2 x rows.
    """

    def kernel(xp, yp, rows, columns, length, scratchp, means_yp, outp):
        x = numba.carray(xp, (rows, columns))
        y = numba.carray(yp, (rows,))
        planes = numba.carray(scratchp, (3, rows, columns))
        mean, moment, joined = planes[0], planes[1], planes[2]
        means_y = numba.carray(means_yp, (2, rows))
        mean_y, joined_y = means_y[0], means_y[1]
        count = rows - length + 1
        out = numba.carray(outp, (count, columns))
        levels = 0
        while (1 << levels) <= length:
            levels += 1
        together = count * length > (count + length) * levels
        for start in range(0, count, count if together else 1):
            made = count if together else 1
            covered = 0
            power = 1
            if together:
                for i in range(rows):
                    mean_y[i] = 0.0 if is_variance else y[i]
                    for j in range(columns):
                        mean[i, j] = x[i, j]
                        moment[i, j] = 0.0
            while covered < length:
                if length & power:
                    first = length - covered - power
                    if not together:
                        _comoment_of_one(
                            is_variance, x, y, start + first, power, mean, mean_y, moment
                        )
                        first = 0
                    share = power / (covered + power)
                    both = covered * share
                    for i in range(made):
                        if covered == 0:
                            joined_y[i] = mean_y[first + i]
                            for j in range(columns):
                                joined[i, j] = mean[first + i, j]
                                out[start + i, j] = moment[first + i, j]
                        else:
                            dy = mean_y[first + i] - joined_y[i]
                            joined_y[i] += dy * share
                            for j in range(columns):
                                dx = mean[first + i, j] - joined[i, j]
                                joined[i, j] += dx * share
                                other = dx if is_variance else dy
                                out[start + i, j] += moment[first + i, j] + dx * other * both
                    covered += power
                if together and covered < length:
                    for i in range(rows - 2 * power + 1):
                        _join_halves(
                            is_variance, i, i, i + power, power / 2.0, mean, mean_y, moment
                        )
                power *= 2
            for i in range(made):
                for j in range(columns):
                    out[start + i, j] /= length

    return kernel


@numba.njit(inline="always")
def _join_halves(is_variance, to, far, near, half, mean, mean_y, moment):
    dy = mean_y[near] - mean_y[far]
    mean_y[to] = mean_y[far] + dy * 0.5
    for j in range(mean.shape[1]):
        dx = mean[near, j] - mean[far, j]
        other = dx if is_variance else dy
        mean[to, j] = mean[far, j] + dx * 0.5
        moment[to, j] = moment[near, j] + moment[far, j] + dx * other * half


@numba.njit(inline="always")
def _comoment_of_one(is_variance, x, y, first, size, mean, mean_y, moment):
    """Moments of rows first .. first + size - 1, a power of two many, into row 0."""
    columns = x.shape[1]
    if size == 1:
        mean_y[0] = 0.0 if is_variance else y[first]
        for j in range(columns):
            mean[0, j] = x[first, j]
            moment[0, j] = 0.0
        return
    count = size // 2
    for i in range(count):
        far = first + 2 * i
        dy = 0.0 if is_variance else y[far + 1] - y[far]
        mean_y[i] = 0.0 if is_variance else y[far] + dy * 0.5
        for j in range(columns):
            dx = x[far + 1, j] - x[far, j]
            other = dx if is_variance else dy
            mean[i, j] = x[far, j] + dx * 0.5
            moment[i, j] = 0.0 + 0.0 + dx * other * 0.5
    half = 1.0
    while count > 1:
        count //= 2
        for i in range(count):
            _join_halves(is_variance, i, 2 * i, 2 * i + 1, half, mean, mean_y, moment)
        half *= 2.0


def bridge(xp, rows, columns, stride, reach, zero, last_known, outp):
    """Copy prices; what is none (or zero, unless `zero`) is the last one up to `reach` rows back.

    x: rows `stride` numbers apart. last_known: (columns,) scratch. Rows without one are NaN.
    """
    x = numba.carray(xp, (rows, stride))
    known = numba.carray(last_known, (columns,))
    out = numba.carray(outp, (rows, columns))
    for j in range(columns):
        known[j] = -1e9
    whole = -1e9
    for i in range(rows):
        missing = 0
        for j in range(columns):
            value = x[i, j]
            out[i, j] = value
            missing += 0 if value > 0.0 and value < np.inf else 1
        # Rows without a gap, nearly all of them, are done; who is behind is noted for the others.
        if missing == 0:
            whole = float(i)
            continue
        for j in range(columns):
            value = x[i, j]
            if (value > 0.0 or (zero and value == 0.0)) and value < np.inf:
                known[j] = i
            elif i - max(known[j], whole) <= reach:
                out[i, j] = out[i - 1, j]
            else:
                out[i, j] = np.nan


@numba.njit
def _row_total(scratch, width):
    """Sum of scratch[0 .. width - 1], width a power of two, by halving; destroys it."""
    while width > 1:
        width //= 2
        for j in range(width):
            scratch[j] += scratch[width + j]
    return scratch[0]


def row_mean(xp, rows, columns, width, scratchp, outp):
    """Mean of each row's known values. scratch: (width,), the next power of two of columns."""
    x = numba.carray(xp, (rows, columns))
    scratch = numba.carray(scratchp, (width,))
    out = numba.carray(outp, (rows,))
    for i in range(rows):
        known = 0
        for j in range(columns):
            value = x[i, j]
            is_known = value == value
            scratch[j] = value if is_known else 0.0
            known += 1 if is_known else 0
        for j in range(columns, width):
            scratch[j] = 0.0
        total = _row_total(scratch, width)
        out[i] = total / known if known else np.nan


def row_zscore(xp, rows, columns, stride, width, scratchp, outp):
    """Z-scores of each row's finite values, 0 where all are equal; others have none.

    x and out: rows `stride` numbers apart. x is cleaned on the way: one NaN for all that is not
    finite.
    """
    x = numba.carray(xp, (rows, stride))
    out = numba.carray(outp, (rows, stride))
    scratch = numba.carray(scratchp, (width,))
    for i in range(rows):
        known = 0
        low = np.inf
        high = -np.inf
        for j in range(columns):
            value = x[i, j]
            is_known = abs(value) < np.inf
            x[i, j] = value if is_known else np.nan
            scratch[j] = value if is_known else 0.0
            known += 1 if is_known else 0
            low = value if (is_known and value < low) else low
            high = value if (is_known and value > high) else high
        for j in range(columns, width):
            scratch[j] = 0.0
        mean = _row_total(scratch, width) / max(known, 1)
        for j in range(columns):
            deviation = x[i, j] - mean
            scratch[j] = deviation * deviation if deviation == deviation else 0.0
        for j in range(columns, width):
            scratch[j] = 0.0
        spread = np.sqrt(_row_total(scratch, width) / max(known, 1))
        if low == high or spread == 0.0:
            for j in range(columns):
                out[i, j] = 0.0 if x[i, j] == x[i, j] else np.nan
        else:
            for j in range(columns):
                out[i, j] = (x[i, j] - mean) / spread if x[i, j] == x[i, j] else np.nan


def rank_keys(xp, rows, columns, stride, mask, bitsp, keysp):
    """Integers that sort as the values do, the column in their low bits; the unknown come last.

    x: rows `stride` apart, seen as floats and, through `bits`, as what they are made of. The
    values lose the bits under `mask` (all ones, at least columns): `ranks` makes good for that.
    """
    x = numba.carray(xp, (rows, stride))
    bits = numba.carray(bitsp, (rows, stride))
    keys = numba.carray(keysp, (rows, columns))
    sign = np.uint64(1) << np.uint64(63)
    for i in range(rows):
        for j in range(columns):
            b = bits[i, j]
            b = ~b if b & sign else b | sign
            # Zero has two signs and one rank.
            b = sign if x[i, j] == 0.0 else b
            key = (b & ~mask) | np.uint64(j)
            keys[i, j] = key if x[i, j] == x[i, j] else ~np.uint64(0)


def ranks(xp, rows, columns, stride, mask, keysp, outp):
    """(rank - 1/2) / n from sorted keys; equal values share the average of their ranks."""
    x = numba.carray(xp, (rows, stride))
    keys = numba.carray(keysp, (rows, columns))
    out = numba.carray(outp, (rows, stride))
    for i in range(rows):
        known = 0
        for j in range(columns):
            is_known = x[i, j] == x[i, j]
            known += 1 if is_known else 0
            if not is_known:
                out[i, j] = np.nan
        start = 0
        while start < known:
            stop = start + 1
            if stop == known or (keys[i, stop] ^ keys[i, start]) > mask:
                out[i, np.int64(keys[i, start] & mask)] = (start + stop) / 2.0 / known
                start = stop
                continue
            while stop < known and (keys[i, stop] ^ keys[i, start]) <= mask:
                stop += 1
            # Close or equal: these few are put in order by their whole values.
            for at in range(start + 1, stop):
                moving = keys[i, at]
                value = x[i, np.int64(moving & mask)]
                to = at
                while to > start and x[i, np.int64(keys[i, to - 1] & mask)] > value:
                    keys[i, to] = keys[i, to - 1]
                    to -= 1
                keys[i, to] = moving
            while start < stop:
                value = x[i, np.int64(keys[i, start] & mask)]
                end = start + 1
                while end < stop and x[i, np.int64(keys[i, end] & mask)] == value:
                    end += 1
                for at in range(start, end):
                    out[i, np.int64(keys[i, at] & mask)] = (start + end) / 2.0 / known
                start = end


KERNELS = {
    "window_sum": (_fold(_add), (_F, _I, _I, _I, _D, _F, _F)),
    "window_max": (_fold(_larger), (_F, _I, _I, _I, _D, _F, _F)),
    "window_variance": (_comoment(True), (_F, _F, _I, _I, _I, _F, _F, _F)),
    "window_covariance": (_comoment(False), (_F, _F, _I, _I, _I, _F, _F, _F)),
    "bridge": (bridge, (_F, _I, _I, _I, _I, _I, _F, _F)),
    "row_mean": (row_mean, (_F, _I, _I, _I, _F, _F)),
    "row_zscore": (row_zscore, (_F, _I, _I, _I, _I, _F, _F)),
    "rank_keys": (rank_keys, (_F, _I, _I, _I, types.uint64, _U, _U)),
    "ranks": (ranks, (_F, _I, _I, _I, types.uint64, _U, _F)),
}
