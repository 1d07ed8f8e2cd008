"""The crash matrix: every boundary of every route is a place to die; then schedules with faults.

    make crash-matrix                                                  # all of it
    python -m hydra_pipelines_tests.scenarios.crashes.matrix --every 10 --schedules 50
    python -m hydra_pipelines_tests.scenarios.crashes.matrix --replay 37

A quiet run of each route enumerates its boundaries. Then, for each of them, a run dies there and
the next one has to end well; and for every third one the next run dies too, early on, while it
reconciles, and the one after it has to. The table is of the first kind of boundary. A schedule is
drawn from a seed: a route, a day, one to three kills anywhere, and two faults of the venue.

`--write` puts it into docs/reliability.md, with the reasons to deny an order. Exit code 1 where
anything is wrong.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from hydra_pipelines.execution.orders.refusals import Refusal
from hydra_pipelines.execution.risk.checks import DenialReason
from hydra_pipelines.paper_gateway.faults import MENU
from hydra_pipelines_tests.scenarios.crashes.boundaries import KINDS, Kill
from hydra_pipelines_tests.scenarios.crashes.workbench import (
    DAYS,
    ROUTES,
    Case,
    Played,
    Workbench,
)

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "reliability.md"
PAUSES_S = (0, 20, 90)
"""Venue time between a death and the next run, taken in turns."""
DRAWN = ("limit", "patience", "TWAP")
"""Routes that a seed below EVENINGS chooses among; each seed from there on is of the evening."""
EVENINGS = 1_000_000
EARLY = 45
"""The second run dies within so many boundaries: it reconciles first."""
PROGRESS = 100
_bench: Workbench | None = None


def cases_of(route: str, points: Sequence[Kill], every: int = 1) -> Iterator[Case]:
    """Each point once, and each third one with a second death after it."""
    for number, point in enumerate(points):
        if number % every:
            continue
        pause = PAUSES_S[number % len(PAUSES_S)]
        yield Case(route, kills=(point,), pause_s=pause)
        if number // every % 3 == 0:
            second = Kill("", 1 + 7 * number % EARLY)
            yield Case(route, kills=(point, second), pause_s=pause)


def schedule(seed: int) -> Case:
    """A day with kills and faults, the same for the same seed."""
    rng = random.Random(seed)
    route = rng.choice(DRAWN) if seed < EVENINGS else "evening"
    # A run that reconciles and finds little to do has few boundaries, a whole one many.
    most = (EARLY, 150, 300)
    kills = tuple(
        Kill("", rng.randint(1, rng.choice(most))) for _ in range(rng.choice((1, 1, 2, 3)))
    )
    return Case(
        route,
        rng.choice(DAYS),
        kills,
        {"random": {"seed": seed, "faults": 2}},
        rng.choice((0, 20, 90, 300)),
        one_connection=rng.random() < 0.75,
    )


def table(played: Iterable[Played]) -> str:
    """Rows: kinds of boundaries; columns: routes; in each cell the points and what came of them."""
    cells: dict[tuple[str, str], list[Played]] = defaultdict(list)
    for one in played:
        if one.died:
            cells[one.case.kills[0].kind, one.case.route].append(one)
    routes = list(ROUTES)
    lines = [
        "| killed before and after | " + " | ".join(routes) + " |",
        "| --- |" + " --- |" * len(routes),
    ]
    for kind in KINDS:
        row = [cell(cells[kind, route]) for route in routes]
        if any(row):
            lines.append(f"| {kind} | " + " | ".join(row) + " |")
    total = [cell([p for (_, r), some in cells.items() if r == route for p in some])
             for route in routes]  # fmt: skip
    lines.append("| all | " + " | ".join(total) + " |")
    return "\n".join(lines)


def cell(played: Sequence[Played]) -> str:
    """`12 points: 16 agree, 0 frozen, 0 wrong`; empty where nothing died."""
    if not played:
        return ""
    points = len({one.case.kills[0] for one in played})
    return f"{points} points: {_counted(played)}"


def _counted(played: Iterable[Played]) -> str:
    ends = Counter(one.end for one in played)
    return ", ".join(f"{ends[end]} {end}" for end in ("agree", "frozen", "wrong"))


def summary(played: Sequence[Played]) -> str:
    """What came of schedules, and why those are frozen that are."""
    kills = sum(one.died for one in played)
    faults = sum(sum(one.outcome.struck.values()) for one in played)
    lines = [
        f"{len(played)} schedules ({kills} kills, {faults} faults struck): {_counted(played)}."
    ]
    reasons = Counter(reason for one in played if one.end == "frozen" for reason in why(one))
    lines += [f"- frozen {count} times: {reason}" for reason, count in reasons.most_common()]
    return "\n".join(lines)


def why(played: Played) -> list[str]:
    """What the venue kept from the desk in a case that ended in doubt: the faults that struck."""
    struck = [name for name, count in sorted(played.outcome.struck.items()) if count]
    return [" and ".join(f"`{name}`, {MENU[name].does}" for name in struck) or "no fault"]


def reasons() -> list[str]:
    """The table of every named reason for which an order, or a plan, is not sent."""
    named = [*Refusal, *DenialReason]
    return ["| reason | means |", "| --- | --- |", *(f"| `{r}` | {r.explanation} |" for r in named)]


def written(part: str) -> str:
    """What stands between the marks of a part of the document."""
    return DOCUMENT.read_text().split(f"<!-- {part}: begin -->\n")[1].split(f"<!-- {part}: end")[0]


def write(part: str, lines: Sequence[str]) -> None:
    text = DOCUMENT.read_text()
    before, after = text.split(f"<!-- {part}: begin -->")[0], text.split(f"<!-- {part}: end -->")[1]
    marks = f"<!-- {part}: begin -->", f"<!-- {part}: end -->"
    DOCUMENT.write_text("\n".join((f"{before}{marks[0]}", *lines, f"{marks[1]}{after}")))


def play_all(cases: Sequence[Case], jobs: int, told: Callable[[Played], None]) -> list[Played]:
    """Every case, in so many processes, each with a workbench of its own."""
    out = []
    spawn = multiprocessing.get_context("spawn")
    with _folder() as folder, ProcessPoolExecutor(jobs, spawn, _begin, (folder,)) as pool:
        for played in pool.map(_play, cases, chunksize=4):
            told(played)
            out.append(played)
            if len(out) % PROGRESS == 0:
                print(f"{len(out)} of {len(cases)} cases played", file=sys.stderr, flush=True)
    return out


def _begin(folder: Path) -> None:
    global _bench
    logging.disable(logging.CRITICAL)
    _bench = Workbench(Path(tempfile.mkdtemp(dir=folder)))
    _bench.__enter__()


def _play(case: Case) -> Played:
    assert _bench is not None
    return _bench.play(case)


@contextmanager
def _folder() -> Iterator[Path]:
    """In memory where that is to be had: a killed process leaves the same bytes in either."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


def main(arguments: Sequence[str]) -> int:
    options = _options(arguments)
    wrong: list[Played] = []

    def told(one: Played) -> None:
        if one.wrong:
            wrong.append(one)
            print(f"WRONG {one.case.name}\n      {one.wrong}", flush=True)

    began = time.monotonic()
    lines: list[str] = []
    if options.replay is None and options.every:
        with _folder() as folder, Workbench(folder) as bench:
            points = {route: bench.enumerate(route) for route in ROUTES}
        cases = [
            case for name, some in points.items() for case in cases_of(name, some, options.every)
        ]
        played = play_all(cases, options.jobs, told)
        missed = [one for one in played if not one.died]
        distinct = len({(one.case.route, one.case.kills[0]) for one in played if one.died})
        twice = sum(one.died > 1 for one in played)
        lines += [
            table(played),
            "",
            f"{distinct} distinct points; in {twice} cases the restarted run was killed as well. "
            f"{len(missed)} points were not reached again.",
            "",
        ]
    seeds = range(options.first, options.first + options.schedules)
    if options.replay is not None:
        seeds = range(options.replay, options.replay + 1)
    if seeds:
        lines.append(summary(play_all([schedule(seed) for seed in seeds], options.jobs, told)))
    print("\n".join(lines))
    print(f"{time.monotonic() - began:.0f} s, {len(wrong)} wrong", file=sys.stderr)
    if options.write:
        if lines:
            write("crash matrix", lines)
        write("reasons", reasons())
    return 1 if wrong else 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--every", type=int, default=1, help="only each nth point; 0 for none")
    parser.add_argument("--schedules", type=int, default=1000, help="how many, with faults")
    parser.add_argument("--first", type=int, default=0, help="seed of the first schedule")
    parser.add_argument("--replay", type=int, help="only the schedule of this seed")
    parser.add_argument("--jobs", type=int, default=2, help="processes that play cases")
    parser.add_argument("--write", action="store_true", help="into docs/reliability.md")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
