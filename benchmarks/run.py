"""All workloads in one run: a table of P1 to P12, a JSON file and a plot.

    .venv/bin/python -m benchmarks.run [--only P2,P4] [--repeat 3] [--quick] [--peers]

Each workload runs in a process of its own, so that none finds another's imports or warm caches;
with `--repeat` all of them run in turn before the first runs again. A figure in the table is the
median of the repeats, with the least and the most. With `--peers` only the workloads that meet
peers run; the peers' environments are kept in the user's cache folder, never in this checkout's.
`--document` puts the table into docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.plot import drawn
from benchmarks.results import Result, bar_of, reached, shown

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- benchmarks -->\n", "<!-- end -->"
WORKLOADS: Mapping[str, tuple[str, ...]] = {
    "cycle": ("P1", "P12"),
    "features": ("P2", "P3", "P12"),
    "plan": ("P4",),
    "ledger": ("P5",),
    "drift": ("P6",),
    "models": ("P6b", "P7", "P7b"),
    "replay": ("P8",),
    "commands": ("P9",),
    "dashboard": ("P10",),
    "recovery": ("P11",),
    "broker": (),
}
"""Module -> the bars that it has figures for."""
MEETS_PEERS = ("features",)
PACKAGES = ("dagster", "duckdb", "mlflow", "numpy", "numba", "pandas", "scikit-learn", "vectorbt",
            "evidently")  # fmt: skip
BARS = ("P1", "P2", "P3", "P4", "P5", "P6", "P6b", "P7", "P7b", "P8", "P9", "P10", "P11", "P12")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", type=lambda text: text.split(","), help="bars, as P2,P4")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="small inputs: does it work at all?")
    parser.add_argument("--peers", action="store_true", help="what is measured against peers")
    parser.add_argument("--out", type=Path, default=ROOT / "data" / "benchmarks")
    parser.add_argument("--document", action="store_true", help="the table into the document, too")
    options = parser.parse_args()
    chosen = [
        name
        for name, bars in WORKLOADS.items()
        if (not options.peers or name in MEETS_PEERS)
        and (not options.only or set(options.only) & set(bars))
    ]
    if not chosen:
        parser.error(f"--only {','.join(options.only)}: nothing measures these; known: {BARS}")
    about = machine()
    runs: list[Result] = []
    failed: dict[str, str] = {}
    for repeat in range(options.repeat):
        for name in chosen:
            print(f"[{repeat + 1}/{options.repeat}] {name} …", flush=True)
            try:
                runs += run(name, options.quick, peers_home() if options.peers else None)
            except subprocess.CalledProcessError as error:
                failed[name] = f"ended with {error.returncode}, see above"
    if options.only:
        runs = [one for one in runs if one.bar in options.only]
    about["load_after"] = os.getloadavg()[0]
    found = {"machine": about, "quick": options.quick, "repeats": options.repeat,
             "failed": failed, "rows": put_together(runs)}  # fmt: skip
    options.out.mkdir(parents=True, exist_ok=True)
    stem = options.out / ("peers" if options.peers else "bench")
    stem.with_suffix(".json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    stem.with_suffix(".svg").write_text(drawn(found["rows"]))
    table = as_table(found)
    print(f"\n{table}\n{stem}.json, {stem}.svg")
    if options.document:
        into_document(table, DOCUMENT)
    missed = any(row["met"] is False for row in found["rows"])
    sys.exit(1 if failed or (missed and not options.quick) else 0)


def run(name: str, quick: bool, peers: Path | None) -> list[Result]:
    """What one workload found; what it prints stays visible. Raises CalledProcessError."""
    with tempfile.TemporaryDirectory(prefix="hydra-bench-") as folder:
        file = Path(folder, "results.json")
        command = [sys.executable, "-m", f"benchmarks.{name}", "--json", str(file)]
        command += ["--quick"] if quick else []
        command += ["--peers", str(peers)] if peers else []
        subprocess.run(command, cwd=ROOT, check=True)
        return [Result(**one) for one in json.loads(file.read_text())]


def peers_home() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME")
    home = (Path(cache) if cache else Path.home() / ".cache") / "hydra-pipelines-peers"
    home.mkdir(parents=True, exist_ok=True)
    return home


def put_together(runs: Iterable[Result]) -> list[dict[str, Any]]:
    """A row per (bar, work): the median of its figures, the least and the most; in the bars' order.
    Floor and notes are those of the last run."""
    grouped: dict[tuple[str, str], list[Result]] = {}
    for one in runs:
        grouped.setdefault((one.bar, one.work), []).append(one)
    rows = []
    for (bar, work), same in grouped.items():
        figures, last = [one.figure for one in same], same[-1]
        middle = statistics.median(figures)
        rows.append(
            {
                "bar": bar, "work": work, "figure": middle, "low": min(figures),
                "high": max(figures), "unit": last.unit, "limit": last.limit,
                "higher": last.higher, "met": reached(middle, last.limit, last.higher),
                "floor": last.floor, "notes": last.notes,
            }
        )  # fmt: skip
    return sorted(rows, key=lambda row: BARS.index(row["bar"]) if row["bar"] else len(BARS))


def machine() -> dict[str, Any]:
    """What it ran on, as far as the system tells."""
    return {
        "when": datetime.now(UTC).isoformat(timespec="minutes"),
        "processor": _first("/proc/cpuinfo", "model name") or platform.processor() or "unknown",
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
        "packages": {name: metadata.version(name) for name in PACKAGES},
    }


def _first(path: str, key: str) -> str:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def as_table(found: Mapping[str, Any]) -> str:
    """The figures in Markdown, with what they were measured on."""
    about = found["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in about["packages"].items())
    busy = max(about["load_before"], about["load_after"]) > 1.5 * about["cores"]
    lines = [
        f"{about['when']}, {about['processor']}, {about['cores']} cores, {about['memory_gb']} GB, "
        f"Python {about['python']}, {versions}. Load {about['load_before']:.1f} before, "
        f"{about['load_after']:.1f} after{': **a busy machine**' if busy else ''}. "
        f"{found['repeats']} run{'s' if found['repeats'] > 1 else ''} of each"
        f"{', **small inputs**' if found['quick'] else ''}.",
        "",
        "| | work | bar | measured | | floor, notes |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in found["rows"]:
        low, high = (shown(row[key], row["unit"]) for key in ("low", "high"))
        span = f" ({low} to {high})" if found["repeats"] > 1 else ""
        words = {True: "met", False: "**missed**", None: ""}[row["met"]]
        rest = "; ".join(part for part in (row["floor"], row["notes"]) if part)
        lines.append(
            f"| {row['bar']} | {row['work']} | {bar_of(row['limit'], row['higher'], row['unit'])} "
            f"| {shown(row['figure'], row['unit'])}{span} | {words} | {rest} |"
        )
    return "\n".join([*lines, *_unmeasured(found)]) + "\n"


def _unmeasured(found: Mapping[str, Any]) -> Sequence[str]:
    have = {row["bar"] for row in found["rows"]}
    missing = [bar for bar in BARS if bar not in have]
    lines = [f"{name} failed: {why}." for name, why in found["failed"].items()]
    if missing:
        lines.append(f"Not measured in this run: {', '.join(missing)}.")
    return ["", *lines] if lines else []


def into_document(table: str, document: Path) -> None:
    """Replace what stands between the document's markers."""
    before, begin, rest = document.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{document.name} has lost its markers {BEGIN.strip()} and {END}")
    document.write_text(before + begin + table + end + after)


if __name__ == "__main__":
    main()
