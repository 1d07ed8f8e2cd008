"""A replay of many sessions through the embedded venue, and where its time goes.

    .venv/bin/python benchmarks/replay.py [--sessions 250]

A desk of its own in a temporary folder trades its first session, which trains the models; what is
timed are the sessions after it: all stages, real sockets, reported to Dagster. Prints seconds a
session by stage, and across the stages what the ledger, the sockets and the snapshots took. On a
machine that does other work too, the processor time says more than the clock.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.results import Result, hand_over

BAR_S = 0.1
"""A session, 20 symbols, all stages."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=250)
    parser.add_argument("--quick", action="store_true", help="ten sessions")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    sessions = 10 if options.quick else options.sessions
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory(prefix="hydra-bench-") as folder:
        os.environ["HYDRA_DATA_DIR"] = folder
        started = time.perf_counter()
        from hydra_pipelines.day import replaying
        from hydra_pipelines.day.replaying import Replayed
        from hydra_pipelines.defs.instance import desk_instance
        from hydra_pipelines.defs.replayed import Reporter
        from hydra_pipelines.desk import Desk

        desk = Desk.open()
        stages: Counter[str] = Counter()
        try:
            with desk_instance(desk) as instance:
                reporter = Reporter(instance, desk)
                for one in replaying.replay(
                    desk, replaying.plan_replay(desk, sessions=1), "bench", judge=reporter.judge
                ):
                    reporter.report(one)
                print(f"start, first session, training: {time.perf_counter() - started:.1f} s")
                way = replaying.plan_replay(desk, sessions=sessions)
                venue = _cpu_of(desk.venue.pid)
                wall, cpu = time.perf_counter(), time.process_time()
                with _timed() as across:
                    for one in replaying.replay(desk, way, "bench", judge=reporter.judge):
                        began = time.perf_counter()
                        reporter.report(one)
                        stages["told to Dagster"] += time.perf_counter() - began
                        if isinstance(one, Replayed):
                            stages.update(one.seconds)
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                venue = _cpu_of(desk.venue.pid) - venue
        finally:
            desk.close()
            _end_venue(desk)
    print(f"\n{sessions} sessions in {wall:.1f} s: {wall / sessions:.3f} s a session")
    print(f"processor time a session: {cpu / sessions:.3f} s here, {venue / sessions:.3f} s venue")
    stages["between the stages, snapshots"] = wall - sum(stages.values())
    for title, seconds in (("by stage", stages), ("across the stages", across)):
        print(f"\n{title}:")
        for name, total in seconds.most_common():
            print(f"  {name:32} {1000 * total / sessions:7.1f} ms a session")

    hand_over(
        [
            Result(
                "P8", "replay, a session of 20 symbols, all stages, real sockets", wall / sessions,
                "s", BAR_S, notes=f"{sessions} sessions in {wall:.1f} s; processor time "
                f"{cpu / sessions:.3f} s here, {venue / sessions:.3f} s venue",
            )
        ],
        options.json,
    )  # fmt: skip


@contextmanager
def _timed() -> Iterator[Counter[str]]:
    """Wall seconds within the ledger's statements and commits, the sockets, and publishing."""
    from hydra_pipelines.execution.broker.loop import LoopThread
    from hydra_pipelines.ledger.store import Ledger, Rows, Transaction
    from hydra_pipelines.paper_gateway.control import GatewayControl, _OpenControl

    seconds: Counter[str] = Counter()
    within: list[str] = []

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            if name in within:
                return function(*arguments, **options)
            within.append(name)
            began = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                seconds[name] += time.perf_counter() - began
                within.remove(name)

        return run

    places = (
        ("ledger: statements", Rows, ("query", "value")),
        ("ledger: statements", Transaction, ("execute", "insert")),
        ("ledger: snapshots", Ledger, ("publish",)),
        ("sockets: TWS", LoopThread, ("run",)),
        ("sockets: the venue's clock", GatewayControl, ("_call",)),
        ("sockets: the venue's clock", _OpenControl, ("_call",)),
    )
    patches = [
        patch.object(owner, method, timed(name, getattr(owner, method)))
        for name, owner, methods in places
        for method in methods
    ]
    for one in patches:
        one.start()
    try:
        yield seconds
    finally:
        for one in patches:
            one.stop()


def _cpu_of(pid: int) -> float:
    """Processor seconds of a process so far; 0 where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _end_venue(desk: Any) -> None:
    from hydra_pipelines.paper_gateway.control import GatewayControl
    from hydra_pipelines.paper_gateway.launch import find_running

    running = find_running(desk.settings.venue_path)
    if running:
        GatewayControl(running).shutdown()


if __name__ == "__main__":
    main()
