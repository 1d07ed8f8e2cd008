"""From a fill back to its data: how long one trace takes, on short and on long replays.

The bar is 200 ms a trace on 250 sessions. Every tenth fill is traced, the registry's answer
included; time is the processor's, so that a busy machine does not count.

    .venv/bin/python benchmarks/trace.py [--sessions 20 250]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from hydra_pipelines import api  # noqa: E402
from hydra_pipelines.desk import Desk  # noqa: E402
from hydra_pipelines.settings import load_settings  # noqa: E402
from hydra_pipelines_tests.desks import CommandLine, shut_down  # noqa: E402

BAR_MS = 200


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, nargs="+", default=[20, 250])
    slow = False
    for sessions in sorted(parser.parse_args().sessions):
        with tempfile.TemporaryDirectory() as place:
            times, fills = measure(Path(place) / "desk", sessions)
        worst = max(times)
        slow = slow or worst > BAR_MS
        print(
            f"{sessions} sessions, {fills} fills, {len(times)} traced: median "
            f"{statistics.median(times):.1f} ms, worst {worst:.1f} ms of processor time "
            f"(bar {BAR_MS} ms)"
        )
    return int(slow)


def measure(folder: Path, sessions: int) -> tuple[list[float], int]:
    """Milliseconds of each trace, and how many fills there are."""
    hydra = CommandLine(folder)
    try:
        hydra.run("replay", "--sessions", str(sessions))
    finally:
        shut_down(folder)
    desk = Desk(load_settings(data_dir=folder))
    fills = api.trades(desk, limit=1_000_000)
    api.trace_fill(desk, fills[0]["exec_id"])  # imports, once
    times = []
    for fill in fills[::10]:
        start = time.process_time()
        story = api.trace_fill(desk, fill["exec_id"])
        times.append(1000 * (time.process_time() - start))
        parts = ("intent", "plan", "plan_row", "predictions", "data")
        if story is None or not all(story[part] for part in parts):
            raise SystemExit(f"the trace of {fill['exec_id']} is not whole")
        if not all(p["features"] and p["mlflow"] for p in story["predictions"]):
            raise SystemExit(f"the models behind {fill['exec_id']} are not known")
    return times, len(fills)


if __name__ == "__main__":
    sys.exit(main())
