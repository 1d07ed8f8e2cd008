"""What a workload hands over: its figures, each beside the bar that it has to reach.

A workload is a module of this package with `measure(quick) -> list[Result]`. It runs alone, as
`python -m benchmarks.<name>`, or for the runner, which asks with `--json FILE`. Here belongs only
what all of them share; what is measured does not.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Result:
    """One figure of one run.

    bar: P1 to P12, or empty for a figure that has none and only stands beside the others.
    work: what was done, the same words each time: runs are put together by (bar, work).
    figure, limit: in `unit`; a limit of None is no bar. Ratios have the unit ×.
    higher: whether more is better. floor: what the figure can't go below, and what it is made of.
    """

    bar: str
    work: str
    figure: float
    unit: str
    limit: float | None = None
    higher: bool = False
    floor: str = ""
    notes: str = ""

    @property
    def met(self) -> bool | None:
        """None where there is no bar."""
        return reached(self.figure, self.limit, self.higher)

    def line(self) -> str:
        words = {True: "met", False: "MISSED", None: ""}[self.met]
        rest = "; ".join(part for part in (self.floor, self.notes) if part)
        return (
            f"{self.bar:4} {self.work:64} {shown(self.figure, self.unit):>11} "
            f"{bar_of(self.limit, self.higher, self.unit):>12} {words:6} {rest}"
        ).rstrip()


class Wrong(Exception):
    """A result that is not what it should be; its time counts for nothing."""


def reached(figure: float, limit: float | None, higher: bool) -> bool | None:
    if limit is None:
        return None
    return figure >= limit if higher else figure <= limit


def shown(figure: float, unit: str) -> str:
    """A figure with three digits, or all before the point, and its unit."""
    digits = 0 if abs(figure) >= 100 else 1 if abs(figure) >= 10 else 2
    return f"{figure:,.{digits}f} {unit}"


def bar_of(limit: float | None, higher: bool, unit: str) -> str:
    return "–" if limit is None else f"{'≥' if higher else '≤'} {limit:g} {unit}"


def run_alone(
    doc: str | None,
    measure: Callable[[bool], Sequence[Result]],
    peers: Callable[[bool, Path], Sequence[Result]] | None = None,
) -> None:
    """Measure as the command line says, and print the figures or write them to a file.

    peers: what is measured with `--peers FOLDER`, which keeps the peers' environments, instead.
    """
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small inputs: does it work at all?")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    if peers:
        parser.add_argument("--peers", type=Path, help="against peers, whose environments it keeps")
    options = parser.parse_args()
    results = (
        peers(options.quick, options.peers) if peers and options.peers else measure(options.quick)
    )
    hand_over(results, options.json)


def hand_over(results: Sequence[Result], file: Path | None) -> None:
    for result in results:
        print(result.line(), flush=True)
    if file is not None:
        file.write_text(json.dumps([asdict(result) for result in results]))


def interleaved(work: Mapping[str, Callable[[], object]], runs: int) -> dict[str, list[float]]:
    """Seconds of each piece of work, by turns, so that all meet the same machine; one run of each
    before that isn't counted."""
    for function in work.values():
        function()
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(runs):
        for name, function in work.items():
            started = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def spread(seconds: Sequence[float], scale: float = 1.0, unit: str = "s") -> str:
    """The middle of several runs with the least and the most."""
    low, middle, high = min(seconds), statistics.median(seconds), max(seconds)
    return f"{middle * scale:.3g} {unit} ({low * scale:.3g}–{high * scale:.3g})"
