"""Feature engine against pandas, polars and qlib, on the same synthetic panel in the same run.

    .venv/bin/python benchmarks/features.py [--symbols 500 3000] [--years 10] [--peers ...]

polars and qlib are installed with pip into environments of their own in a temporary folder (kept
with --keep FOLDER, and found there again); what can't be installed is skipped with a word. Values
are compared before times are printed. `ours` computes the features that the peer computes, so each
ratio is over the same work; full builds are in memory, one session is read from a memory-mapped
lake and written back to one.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

PEERS = Path(__file__).with_name("feature_peers.py")
PACKAGES = {"polars": ["polars", "numpy"], "qlib": ["pyqlib", "numpy"]}
TOLERANCE = {"pandas": 1e-6, "polars": 1e-6, "qlib": 2e-3}  # qlib keeps float32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--symbols", type=int, nargs="+", default=[500, 3000])
    parser.add_argument("--years", type=int, default=10)
    parser.add_argument("--peers", nargs="*", default=["pandas", "polars", "qlib"])
    parser.add_argument("--keep", type=Path, help="folder for the peers' environments")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hydra-bench-") as folder:
        home = options.keep or Path(folder)
        pythons = {peer: environment(peer, home) for peer in options.peers}
        for symbols in options.symbols:
            work = Path(folder, str(symbols))
            work.mkdir()
            measure(work, symbols, 252 * options.years, pythons)
    growth()


def environment(peer: str, home: Path) -> Path | None:
    """The Python that has the peer; None, with a word, where it can't be had."""
    if peer == "pandas":
        return Path(sys.executable)
    python = home / f"env-{peer}" / "bin" / "python"
    if not python.exists():
        try:
            subprocess.run([sys.executable, "-m", "venv", python.parents[1]], check=True)
            command = [python, "-m", "pip", "install", "--quiet", *PACKAGES[peer]]
            subprocess.run(command, check=True, capture_output=True, timeout=900)
        except (subprocess.SubprocessError, OSError) as error:
            print(f"{peer}: skipped, it can't be installed here ({error})")
            return None
    return python


def panel(symbols: int, sessions: int):
    from hydra_pipelines.market.bars import BarPanel

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


def measure(folder: Path, symbols: int, sessions: int, pythons: dict[str, Path | None]) -> None:
    from hydra_pipelines.features import panel as features
    from hydra_pipelines.features.catalogue import CATALOGUE

    bars = panel(symbols, sessions)
    np.savez(folder / "bars.npz", sessions=bars.sessions, **bars.fields)
    every = {entry.name: entry for entry in CATALOGUE}
    print(f"\n{symbols} symbols x {sessions} sessions")
    print(f"{'':24}{'full build':>12}{'':>9}{'one session':>14}{'':>9}   values")
    seconds, peak = in_process(bars, tuple(every.values()), folder)
    print(
        f"{f'ours, {len(every)} features':24}{seconds[0]:>11.2f}s{'':>9}{seconds[1] * 1e3:>12.1f}ms"
    )
    print(f"{'':24}output {peak[0]:.2f} GB, peak beyond the bars {peak[1] / peak[0]:.2f} x that")
    for peer, python in pythons.items():
        if python is None:
            continue
        done = subprocess.run([python, PEERS, peer, folder], capture_output=True, text=True)
        if done.returncode:
            print(f"{peer}: skipped, it failed: {done.stderr.strip().splitlines()[-1:]}")
            continue
        theirs = json.loads(done.stdout.strip().splitlines()[-1])
        with np.load(folder / f"{peer}.npz") as archive:
            names, values = archive["names"].tolist(), archive["values"]
        chosen = tuple(every[name] for name in names)
        last = features._compute(chosen, bars, sessions - 1, sessions)[0]
        last = last.reshape(len(names), 3, symbols)[:, : values.shape[1]]
        worst = compare(values.transpose(2, 1, 0), last, peer, names)
        mine, _ = in_process(bars, chosen, folder)
        print(
            f"{f'{peer}, {len(names)} features':24}{theirs['full']:>11.2f}s"
            f"{theirs['full'] / mine[0]:>8.0f}x{theirs['one'] * 1e3:>12.1f}ms"
            f"{theirs['one'] / mine[1]:>8.0f}x   agree to {worst:.0e}"
            f"   (ours {mine[0]:.2f}s, {mine[1] * 1e3:.1f}ms)"
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
        raise SystemExit(f"{peer} and we differ in {', '.join(unlike)}: {difference}")
    return float(difference.max())


def in_process(bars, entries, folder: Path) -> tuple[tuple[float, float], tuple[float, float]]:
    """Seconds of the full build and of one session from and to a lake; GB of output and peak."""
    import resource

    from hydra_pipelines.features import panel as features
    from hydra_pipelines.features.catalogue import names_of
    from hydra_pipelines.market.ingest import bar_panel
    from hydra_pipelines.market.lake import Lake

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
    return (full, min(times)), (size, grown)


def growth() -> None:
    """Cost against the number of symbols and the length of the history."""
    from hydra_pipelines.features import panel as features
    from hydra_pipelines.features.catalogue import CATALOGUE

    small, large = panel(125, 2520), panel(1000, 2520)
    build: Callable = lambda p: best(lambda: features._compute(CATALOGUE, p, 0, 2520), 3)[0]  # noqa: E731
    ratio = build(large) / build(small)
    print(f"\nsymbols x 8 (125 to 1,000): time x {ratio:.1f}")
    long = panel(500, 5040)
    short = long.up_to(long.sessions[503].item())
    times = [
        best(lambda p=p: features._compute(CATALOGUE, p, len(p.sessions) - 1, len(p.sessions)), 30)[
            0
        ]
        for p in (short, long)
    ]
    print(f"history of 2 to 20 years, one session: time x {times[1] / times[0]:.2f}")


def best(work: Callable, times: int):
    """The shortest of several runs, and what the last returned."""
    shortest, result = float("inf"), None
    for _ in range(times):
        result = None
        started = time.perf_counter()
        result = work()
        shortest = min(shortest, time.perf_counter() - started)
    return shortest, result


if __name__ == "__main__":
    main()
