"""A drift run's statistics on 50 features × 200,000 rows, against evidently and a loop over scipy.

    .venv/bin/python -m benchmarks.drift [--quick]

Reference and window have 200,000 rows each. Correctness first: our KS distances and p-values are
scipy's, and evidently's p-values are ours. The bins of PSI are made with the model and stored;
sorting, PSI, KS and p-values are timed. evidently computes KS and PSI in two reports, since one
takes one method. Ours is timed before evidently is imported, and between two runs of the loop.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

import numpy as np

from benchmarks.results import Result, Wrong, run_alone
from hydra_pipelines.models.reference import make_reference
from hydra_pipelines.monitoring.distributions import benjamini_hochberg, distances

os.environ["DO_NOT_TRACK"] = "1"


def timed(work: Callable[[], object], repeats: int) -> float:
    """The shortest of several runs, in seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def measure(quick: bool = False) -> list[Result]:
    rows, features = (20_000, 10) if quick else (200_000, 50)
    repeats = 1 if quick else 3
    rng = np.random.default_rng(0)
    names = [f"f{k}" for k in range(features)]
    then = np.asfortranarray(rng.normal(size=(rows, features)))
    now = np.asfortranarray(rng.normal(0.004, 1.0, (rows, features)))
    bins = make_reference(names, list(then.T))

    def ours() -> np.ndarray:
        found = distances(bins.edges, bins.counts, then, now)
        benjamini_hochberg(found.p)
        return np.stack([found.psi, found.d, found.p])

    from scipy.stats import ks_2samp

    def loop() -> np.ndarray:
        found = [ks_2samp(then[:, k], now[:, k], method="asymp") for k in range(features)]
        return np.array([(one.statistic, one.pvalue) for one in found]).T

    _, d, p = ours()
    expected = loop()
    if not (np.array_equal(d, expected[0]) and np.allclose(p, expected[1], rtol=1e-9, atol=0)):
        raise Wrong("KS differs from scipy's")
    own = min(timed(ours, repeats), timed(ours, repeats))
    scipys = timed(loop, 1)
    own = min(own, timed(ours, repeats))
    if "evidently" in sys.modules:
        raise Wrong("evidently was imported")

    start = time.perf_counter()
    import pandas as pd
    from evidently import Report
    from evidently.presets import DataDriftPreset

    imported = time.perf_counter() - start
    frames = [pd.DataFrame(values, columns=names) for values in (now, then)]
    evidently, made = 0.0, None
    for method in ("psi", "ks"):
        report = Report([DataDriftPreset(num_method=method)])
        start = time.perf_counter()
        made = report.run(*frames).dict()
        evidently += time.perf_counter() - start
    assert made is not None
    theirs = np.array([metric["value"] for metric in made["metrics"][1:]], np.float64)
    # Up to 10,000 values scipy, and so evidently, counts paths instead of taking the limit.
    if rows > 10_000 and not np.allclose(theirs, p, rtol=1e-9, atol=0):
        raise Wrong("evidently's KS differs from ours")

    work = f"drift run, {features} features × {rows:,} rows"
    read = timed(lambda: (then.sum(), now.sum()), repeats)
    return [
        Result(
            "P6", f"{work}, against evidently", evidently / own, "×", 50, higher=True,
            floor=f"reading both: {read:.3f} s",
            notes=f"ours {own:.2f} s, evidently {evidently:.1f} s (its import {imported:.1f} s "
            "not counted); equal KS, without importing it",
        ),
        Result(
            "", f"{work}, against a loop over scipy", scipys / own, "×",
            notes=f"KS alone, {scipys:.1f} s; equal",
        ),
    ]  # fmt: skip


if __name__ == "__main__":
    run_alone(__doc__, measure)
