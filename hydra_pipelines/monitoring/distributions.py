"""Whether values now lie as they did in a reference: PSI and Kolmogorov–Smirnov. Pure.

Here belong the two statistics, their textbook levels, the correction for many tests, and the same
statistics over every past window, from which alarm levels are made. Columns are worked on by
threads, since sorting lets go of the interpreter's lock.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

PSI_WARN, PSI_ALERT = 0.1, 0.25
"""The textbook's: below 0.1 no change worth a word, above 0.25 a shift. Siddiqi, "Credit Risk
Scorecards", 2006."""
KS_P = 0.05
FINE_BINS = 100
"""Past windows are compared on so many quantile bins; D is then at most a bin's share too small."""
FOLDS = 5
"""Parts of a history, each of which is judged by the others."""
_WORKERS = min(os.cpu_count() or 1, 8)


@dataclass(frozen=True)
class Distances:
    """Of K columns, float64 (K,) each: psi, and KS distance `d` with its p-value."""

    psi: np.ndarray
    d: np.ndarray
    p: np.ndarray


def psi(reference: np.ndarray, current: np.ndarray) -> np.ndarray:
    """Population stability index of counts in the same bins: (B,) against (..., B) -> (...).

    sum over bins of (q - p) ln(q / p) with shares p and q. An empty bin counts as half a value,
    so that the index stays finite. NaN where a side has no values.
    """
    p = _shares(np.asarray(reference, np.float64))
    q = _shares(np.asarray(current, np.float64))
    return ((q - p) * np.log(q / p)).sum(axis=-1)


def _shares(counts: np.ndarray) -> np.ndarray:
    total = counts.sum(axis=-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(total > 0, np.maximum(counts, 0.5) / total, np.nan)


def psi_floor(n: float, m: float, bins: int) -> float:
    """What independent values reach by chance in 5 % of cases: chi2_0.95(bins - 1) (1/n + 1/m).

    Yurdakul and Naranjo, "Statistical properties of the population stability index", Journal of
    Risk Model Validation 14 (2020).
    """
    from scipy.special import chdtri

    return float(chdtri(bins - 1, 0.05)) * (1.0 / n + 1.0 / m)


def ks_distance(reference: np.ndarray, current: np.ndarray) -> float:
    """sup |F_ref - F_cur| of two ascending samples without NaN; each needs a value.

    Looked for at the values of the smaller sample, from either side: between two of them one
    distribution stands still and the other one rises.
    """
    if not len(reference) or not len(current):
        raise ValueError("a Kolmogorov-Smirnov distance needs values on both sides")
    large, small = (reference, current) if len(reference) >= len(current) else (current, reference)
    right = np.searchsorted(large, small, side="right")
    if (small[1:] == small[:-1]).any() or (large[right - 1] == small).any():
        left = np.searchsorted(large, small, side="left")
        own_right = np.searchsorted(small, small, side="right")
        own_left = np.searchsorted(small, small, side="left")
    else:
        # Without ties each value is its own place, and both sides of it are the same.
        left, own_left = right, np.arange(len(small))
        own_right = own_left + 1
    worst = 0.0
    for theirs, ours in ((left, own_left), (right, own_right)):
        gap = theirs / len(large)
        gap -= ours / len(small)
        worst = max(worst, float(gap.max()), -float(gap.min()))
    return worst


def ks_p_values(d: np.ndarray, n: np.ndarray, m: np.ndarray) -> np.ndarray:
    """Two-sided p-values of distances of samples of n and m values, by the limit distribution.

    That of one sample of n m / (n + m) values, as scipy's `ks_2samp(method="asymp")` takes it.
    """
    from scipy.stats import kstwo

    n, m = np.asarray(n, np.float64), np.asarray(m, np.float64)
    return np.clip(kstwo.sf(d, np.round(n * m / (n + m))), 0.0, 1.0)


def ks_critical(p: float, n: float, m: float) -> float:
    """The distance whose p-value is `p`, by the first term of the limit distribution."""
    return float(np.sqrt(-np.log(p / 2.0) / 2.0 * (n + m) / (n * m)))


def distances(
    edges: np.ndarray, counts: np.ndarray, reference: np.ndarray, current: np.ndarray
) -> Distances:
    """PSI and KS of K columns at once.

    edges (K, B - 1), counts (K, B): the stored quantile bins, for PSI. reference (n, K), current
    (m, K): values, NaN ignored, for KS. A column without values on a side has NaN.
    """
    count = current.shape[1]
    out = np.full((3, count), np.nan)
    sizes = np.ones((2, count))

    def work(k: int) -> None:
        now, then = _ascending(current[:, k]), _ascending(reference[:, k])
        if not len(now) or not len(then):
            return
        inside = np.searchsorted(now, edges[k], side="right")
        binned = np.diff(np.concatenate([[0], inside, [len(now)]]))
        out[0, k] = psi(counts[k], binned)
        out[1, k] = ks_distance(then, now)
        sizes[:, k] = len(then), len(now)

    spread(work, count)
    known = ~np.isnan(out[1])
    out[2, known] = ks_p_values(out[1, known], *sizes[:, known])
    return Distances(*out)


def _ascending(values: np.ndarray) -> np.ndarray:
    out = np.sort(values)
    return out[: len(out) - int(np.isnan(out).sum())] if np.isnan(out[-1:]).any() else out


def spread(work: Callable[[int], None], count: int) -> None:
    """Do work(0) .. work(count - 1) on all processors."""
    if count < 2 or _WORKERS < 2:
        for k in range(count):
            work(k)
        return
    with ThreadPoolExecutor(_WORKERS) as pool:
        for done in [pool.submit(work, k) for k in range(count)]:
            done.result()


def benjamini_hochberg(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """p-values corrected for their number: the share of false ones among those below stays at it.

    Benjamini and Hochberg, "Controlling the false discovery rate", Journal of the Royal
    Statistical Society B 57 (1995). NaN (no test) stays NaN and does not count.
    """
    p = np.asarray(p, np.float64)
    out = np.full(p.shape, np.nan)
    known = np.flatnonzero(~np.isnan(p))
    if not len(known):
        return out
    order = known[np.argsort(p[known], kind="stable")]
    ranked = p[order] * len(order) / np.arange(1, len(order) + 1)
    out[order] = np.minimum(np.minimum.accumulate(ranked[::-1])[::-1], 1.0)
    return out


def counts_by_session(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """How many of a session's values (S, N), NaN left out, fall in each bin: int64 (S, B)."""
    sessions, bins = len(values), len(edges) + 1
    place = np.searchsorted(edges, values, side="left")
    place += np.arange(sessions)[:, None] * bins
    known = ~np.isnan(values)
    return np.bincount(place[known], minlength=sessions * bins).reshape(sessions, bins)


def over_windows(counts: np.ndarray, length: int) -> np.ndarray:
    """Counts of every window of `length` sessions: (S - length + 1, B), none where S is less."""
    total = np.concatenate([np.zeros((1, counts.shape[1]), counts.dtype), counts.cumsum(axis=0)])
    return total[length:] - total[:-length]


def past_windows(
    values: np.ndarray, length: int, edges: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """PSI and KS distance of every past window against the reference, each (S - length + 1,).

    values: (S, N) of the reference's sessions. edges: of its bins, for PSI. Each of `FOLDS` parts
    of the history is compared with what the others hold: a window that is part of its reference
    lies closer to it than a new one ever will. KS is on `FINE_BINS` quantile bins; to what can be
    missed the bin's share is added. NaN for windows without values.
    """
    if len(values) < length:
        return np.empty(0), np.empty(0)
    known = values[~np.isnan(values)]
    fine = np.quantile(known, np.arange(1, FINE_BINS) / FINE_BINS)
    psis, ds = np.empty((2, len(values) - length + 1))
    coarse, finely = counts_by_session(values, edges), counts_by_session(values, fine)
    for part in parts(len(psis)):
        # The sessions of the part's windows.
        own = slice(part.start, part.stop + length - 1)
        reference = coarse.sum(axis=0) - coarse[own].sum(axis=0)
        psis[part] = psi(reference, over_windows(coarse[own], length))
        reference = finely.sum(axis=0) - finely[own].sum(axis=0)
        windows = over_windows(finely[own], length)
        with np.errstate(invalid="ignore", divide="ignore"):
            now = windows.cumsum(axis=1) / windows.sum(axis=1, keepdims=True)
            then = reference.cumsum() / reference.sum()
        ds[part] = np.abs(now - then).max(axis=1) + 1.0 / FINE_BINS
    return psis, ds


def parts(length: int) -> list[slice]:
    """`FOLDS` parts of a history of so many values, in order; fewer where it is shorter."""
    bounds = np.linspace(0, length, FOLDS + 1).round().astype(int).tolist()
    return [slice(a, b) for a, b in pairwise(bounds) if b > a]
