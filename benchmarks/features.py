"""P2, P3, P12: the feature engine against its floor, and against pandas, polars and qlib.

    .venv/bin/python -m benchmarks.features [--quick] [--peers FOLDER]

Without `--peers`: time against the physical floor, memory, and growth with symbols and years. With
it each peer is installed by pip into an environment of its own in FOLDER (and found there again);
what can't be installed is skipped with a word. Values are compared before times count. Ours
computes the features that the peer computes, so each ratio is over the same work; full builds are
in memory, one session is read from a memory-mapped lake and written back to one.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results import Result, Wrong, run_alone, spread
from hydra_pipelines.features import panel as features
from hydra_pipelines.features.catalogue import CATALOGUE, Feature, names_of
from hydra_pipelines.market.bars import BarPanel
from hydra_pipelines.market.ingest import bar_panel
from hydra_pipelines.market.lake import Lake

PEERS = Path(__file__).with_name("feature_peers.py")
PACKAGES = {
    "polars": ["polars", "numpy"],
    "qlib": ["pyqlib", "numpy"],
    "pandas": ["pandas", "numpy"],
}
BARS = {"polars": (5, 10), "pandas": (40, 50), "qlib": (10, 300)}
"""How many times faster a full build and one session have to be, at 3,000 symbols."""
TOLERANCE = {"pandas": 1e-6, "polars": 1e-6, "qlib": 2e-3}  # qlib keeps float32


def measure(quick: bool = False) -> list[Result]:
    """Ours alone: against the floor, memory, growth."""
    results = []
    for symbols, years in ((100, 3),) if quick else ((20, 10), (500, 10), (3000, 10)):
        with tempfile.TemporaryDirectory(prefix="hydra-bench-") as folder:
            bars = panel(symbols, 252 * years)
            made = in_process(bars, CATALOGUE, Path(folder))
            floor = floor_seconds(bars, len(CATALOGUE))
        size = f"{symbols:,} symbols × {years} years"
        barred = symbols == 3000
        results += [
            Result(
                "P2", f"full feature build, {size}, against the floor", made.full / floor, "×",
                6 if barred else None,
                floor=f"bars read, output written, one sort a rank: {floor:.3f} s",
                notes=f"{len(CATALOGUE)} features with ranks and z-scores in {made.full:.2f} s",
            ),
            Result("P3", f"one session, read, made and written, {size}", made.one * 1e3, "ms",
                   notes=f"{spread(made.times, 1e3, 'ms')}"),
        ]  # fmt: skip
        if barred:
            results.append(
                Result(
                    "P2", f"peak memory of the build, {size}, against its output", made.peak,
                    "×", 3,
                    notes=f"output {made.output:.2f} GB",
                )
            )  # fmt: skip
    return results + growth(quick)


def measure_peers(quick: bool, home: Path) -> list[Result]:
    """Against pandas, polars and qlib, the values compared first."""
    results = []
    for symbols, years in ((60, 3),) if quick else ((500, 10), (3000, 10)):
        with tempfile.TemporaryDirectory(prefix="hydra-bench-") as folder:
            work = Path(folder)
            bars = panel(symbols, 252 * years)
            np.savez(work / "bars.npz", sessions=bars.sessions, **bars.fields)
            for peer in PACKAGES:
                if python := environment(peer, home):
                    size = f"{symbols:,} symbols × {years} years"
                    results += against(peer, python, bars, size, work, symbols == 3000)
    return results


def against(
    peer: str, python: Path, bars: BarPanel, size: str, work: Path, barred: bool
) -> list[Result]:
    """The features that the peer has, by it and by us before and after it."""
    every = {entry.name: entry for entry in CATALOGUE}
    done = subprocess.run([python, PEERS, peer, work], capture_output=True, text=True)
    if done.returncode:
        words = "".join(done.stderr.strip().splitlines()[-1:])
        print(f"{peer}: skipped, it failed: {words}", file=sys.stderr)
        return []
    theirs = json.loads(done.stdout.strip().splitlines()[-1])
    with np.load(work / f"{peer}.npz") as archive:
        names, values = archive["names"].tolist(), archive["values"]
    chosen = tuple(every[name] for name in names)
    count, width = len(bars.sessions), len(bars.symbols)
    last = features._compute(chosen, bars, count - 1, count)[0]
    last = last.reshape(len(names), 3, width)[:, : values.shape[1]]
    worst = compare(values.transpose(2, 1, 0), last, peer, names)
    mine = in_process(bars, chosen, work)
    full, one = BARS[peer] if barred else (None, None)
    note = f"{len(names)} features, equal within {worst:.0e}"
    return [
        Result(
            "P2", f"full feature build, {size}, against {peer}", theirs["full"] / mine.full, "×",
            full, higher=True, notes=f"{note}; {theirs['full']:.1f} s, ours {mine.full:.2f} s",
        ),
        Result(
            "P3", f"one session, {size}, against {peer}", theirs["one"] / mine.one, "×",
            one, higher=True,
            notes=f"{theirs['one'] * 1e3:.0f} ms, ours {mine.one * 1e3:.1f} ms with read and write",
        ),
    ]  # fmt: skip


def floor_seconds(bars: BarPanel, count: int) -> float:
    """What no build can go below: the bars read, the output written, and a sort of each session
    for each rank, on one core."""
    row = bars.fields["close"][-1]
    out = np.empty((len(bars.sessions), row.size))
    read, _ = best(lambda: [values.sum() for values in bars.fields.values()], 3)
    write, _ = best(lambda: out.fill(1.0), 3)
    sort, _ = best(lambda: np.argsort(bars.fields["close"], axis=1), 1)
    return read + 3 * count * write + count * sort


def environment(peer: str, home: Path) -> Path | None:
    """The Python that has the peer; None, with a word, where it can't be had."""
    python = home / f"env-{peer}" / "bin" / "python"
    done = python.parents[1] / "installed"
    if not done.exists():
        try:
            subprocess.run([sys.executable, "-m", "venv", python.parents[1]], check=True)
            command = [python, "-m", "pip", "install", "--quiet", *PACKAGES[peer]]
            subprocess.run(command, check=True, capture_output=True, timeout=900)
        except (subprocess.SubprocessError, OSError) as error:
            print(f"{peer}: skipped, it can't be installed here ({error})", file=sys.stderr)
            return None
        done.touch()
    return python


def panel(symbols: int, sessions: int) -> BarPanel:
    rng = np.random.default_rng(7)
    shape = (sessions, symbols)
    adjusted = 50.0 * np.exp(np.cumsum(rng.standard_normal(shape) * 0.02, axis=0))
    close = adjusted * np.linspace(1.2, 1.0, sessions)[:, None]
    return BarPanel(
        np.datetime64("2012-01-02") + np.arange(sessions),
        tuple(f"s{i:04}" for i in range(symbols)),
        {
            "open": close * (1 + rng.uniform(-0.01, 0.01, shape)),
            "high": close * (1 + rng.uniform(0.01, 0.02, shape)),
            "low": close * (1 - rng.uniform(0.01, 0.02, shape)),
            "close": close,
            "volume": rng.integers(10_000, 1_000_000, shape).astype(float),
            "adj_close": adjusted,
        },
    )


def compare(theirs: np.ndarray, ours: np.ndarray, peer: str, names: list[str]) -> float:
    """Largest difference, relative to each feature's spread; raises where it is too large."""
    spread = np.nanstd(ours, axis=2, keepdims=True)
    difference = np.nanmax(np.abs(theirs - ours) / spread, axis=2)
    if peer == "qlib":
        difference = difference[:, 0]
    unlike = [
        name for name, d in zip(names, difference, strict=True) if not d.max() < TOLERANCE[peer]
    ]
    if unlike:
        raise Wrong(f"{peer} and we differ in {', '.join(unlike)}: {difference}")
    return float(difference.max())


@dataclass(frozen=True)
class Made:
    """Seconds of the full build and of single sessions; GB of output, and the peak in outputs."""

    full: float
    times: list[float]
    output: float
    peak: float

    @property
    def one(self) -> float:
        return statistics.median(self.times)


def in_process(bars: BarPanel, entries: Sequence[Feature], folder: Path) -> Made:
    """A full build in memory, and single sessions from a memory-mapped lake into another."""

    count, width = len(bars.sessions), len(bars.symbols)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    full, values = best(lambda: features._compute(entries, bars, 0, count), 3)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6 - before
    size = values.nbytes / 1e9
    del values
    lake, out = Lake(folder / "bars"), Lake(folder / "features")
    kept = slice(max(0, count - 600), count)
    fields, names = tuple(bars.fields), names_of(entries)
    ids = np.zeros((count, 32), np.uint8)
    block = np.stack([bars.fields[f][kept] for f in fields], axis=1)
    with lake.writing() as writer:
        writer.replace(fields, bars.symbols, bars.sessions[kept], block, ids[kept])
    with out.writing() as writer:
        writer.replace(
            names, bars.symbols, bars.sessions[:0], np.empty((0, len(names), width)), ids[:0]
        )
    times = []
    for i in range(7):
        started = time.perf_counter()
        view = lake.view()
        last = len(view.sessions)
        made = features._compute(entries, bar_panel(view), last - 1, last)
        with out.writing() as writer:
            writer.append(bars.sessions[i : i + 1], made, ids[:1])
        times.append(time.perf_counter() - started)
    return Made(full, times, size, grown / size)


def growth(quick: bool) -> list[Result]:
    """Cost against the number of symbols and the length of the history: 1, 2, 4 and 8 times."""
    rows, narrow = (504, 20) if quick else (2520, 125)

    def build(bars: BarPanel) -> float:
        return best(lambda: features._compute(CATALOGUE, bars, 0, len(bars.sessions)), 3)[0]

    def one(bars: BarPanel) -> float:
        count = len(bars.sessions)
        return best(lambda: features._compute(CATALOGUE, bars, count - 1, count), 30)[0]

    wide = [build(panel(narrow * k, rows)) for k in (1, 2, 4, 8)]
    whole = panel(narrow, rows * 2)
    parts = [whole.up_to(whole.sessions[rows * k // 4 - 1].item()) for k in (1, 2, 4, 8)]
    years = [build(part) for part in parts]
    long = panel(100 if quick else 500, 5040)
    short, full = one(long.up_to(long.sessions[503].item())), one(long)

    def curve(times: list[float]) -> str:
        return "1, 2, 4, 8 times: " + ", ".join(f"{t / times[0]:.2g}" for t in times)

    return [
        Result("P12", "full feature build, symbols × 8", wide[3] / wide[0], "×", 8.5,
               notes=curve(wide)),
        Result("P12", "full feature build, years × 8", years[3] / years[0], "×", 8.5,
               notes=curve(years)),
        Result("P3", "one session, history of 20 years against 2", full / short, "×", 1.15,
               notes=f"{full * 1e3:.1f} ms, without read and write"),
    ]  # fmt: skip


def best(work: Callable[[], Any], times: int) -> tuple[float, Any]:
    """The shortest of several runs, and what the last returned."""
    shortest, result = float("inf"), None
    for _ in range(times):
        result = None
        started = time.perf_counter()
        result = work()
        shortest = min(shortest, time.perf_counter() - started)
    return shortest, result


if __name__ == "__main__":
    run_alone(__doc__, measure, measure_peers)
