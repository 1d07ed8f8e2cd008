"""P1 and P12: one daily cycle by `dagster job execute`, against ten trivial assets in the same run.

    .venv/bin/python -m benchmarks.cycle [--quick]

At 20 symbols (the sample), 375, 500 and 3,000 (made prices, a Parquet file a day): each desk, in a
temporary folder of its own, is brought through its first cycle, which trains the models, so that
what is timed is a warm day: the next session each time, orders included. By turns with the trivial
job, so that both meet the same machine. The floor is the trivial job itself.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results import Result, Wrong, run_alone, spread
from hydra_pipelines.market.bars import BarPanel
from hydra_pipelines.market.ingest import VERIFIED_SESSIONS, ingest
from hydra_pipelines.market.lake import Lake
from hydra_pipelines.sessions import Calendar

ROOT = Path(__file__).resolve().parent.parent
DAGSTER = Path(sys.executable).with_name("dagster")
TRIVIAL = ROOT / "benchmarks" / "ten_trivial_assets.py"
BARS = {20: 1.6, 500: 1.7, 3000: 2.0}
EIGHTH = 375
"""Of 3,000 symbols: where growth is measured from."""
SESSIONS = 1900
"""Of the made prices: as many as training asks for, and some that are traded."""
DELIVERED = VERIFIED_SESSIONS + 10
"""Of them in the vendor's folder; the rest is in the lake already."""


def measure(quick: bool = False) -> list[Result]:
    sizes, runs = ((20,), 2) if quick else ((*BARS, EIGHTH), 5)
    with tempfile.TemporaryDirectory(prefix="hydra-bench-") as folder, ExitStack() as stack:
        home = Path(folder)
        desks = {n: stack.enter_context(traded_desk(home / str(n), n)) for n in sizes}
        seconds: dict[int, list[float]] = {n: [] for n in sizes}
        floor_environment, floor = trivial(home), []
        execute(floor_environment, "-f", str(TRIVIAL), "-j", "ten")
        for _ in range(runs):
            floor.append(execute(floor_environment, "-f", str(TRIVIAL), "-j", "ten"))
            for n, environment in desks.items():
                seconds[n].append(cycle(environment))
        orders = {n: sent(environment) for n, environment in desks.items()}
    least = statistics.median(floor)
    medians = {n: statistics.median(times) for n, times in seconds.items()}
    results = [
        Result(
            "P1", f"daily cycle, {n:,} symbols, against ten trivial assets", medians[n] / least,
            "×", BARS[n], floor=f"ten trivial assets: {spread(floor)}",
            notes=f"{spread(seconds[n])}; {orders[n]} orders in {runs + 1} sessions",
        )
        for n in BARS
        if n in medians
    ]  # fmt: skip
    if 3000 in medians:
        results.append(
            Result(
                "P12", "daily cycle, symbols × 8 (375 to 3,000)",
                medians[3000] / medians[EIGHTH], "×", 3, notes=f"375: {spread(seconds[EIGHTH])}",
            )
        )  # fmt: skip
    return results


def execute(environment: dict[str, str], *arguments: str) -> float:
    """Wall seconds of one `dagster job execute`; raises where it fails."""
    started = time.perf_counter()
    done = subprocess.run(
        [DAGSTER, "job", "execute", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        raise Wrong(f"dagster job execute {' '.join(arguments)} failed:\n{done.stderr[-3000:]}")
    return seconds


def cycle(environment: dict[str, str]) -> float:
    return execute(environment, "-m", "hydra_pipelines", "-j", "daily_cycle")


def clean_environment(folder: Path) -> dict[str, str]:
    """As a desk's own start has it, with bytecode kept and no setting from outside."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HYDRA_", "IBKR_"))}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return {
        **environment,
        "HYDRA_DATA_DIR": str(folder),
        "DAGSTER_HOME": str(folder / "dagster"),
        "OMP_NUM_THREADS": "1",
    }


def trivial(home: Path) -> dict[str, str]:
    folder = home / "trivial"
    (folder / "dagster").mkdir(parents=True)
    (folder / "dagster" / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    return clean_environment(folder)


@contextmanager
def traded_desk(folder: Path, symbols: int) -> Iterator[dict[str, str]]:
    """The environment of a desk that has traded its first session; its venue ends with the block.

    symbols: 20 is the sample; else prices are made.
    """
    environment = clean_environment(folder)
    folder.mkdir()
    if symbols != 20:
        prices = folder / "prices"
        environment |= {
            "HYDRA_MARKET__SOURCE": "files",
            "HYDRA_MARKET__OPTIONS": json.dumps({"path": str(prices)}),
            "HYDRA_EMBEDDED__FIRST_SESSION": made_prices(folder, prices, symbols),
            # A share of a quarter of 3,000 names is below the usual band: nothing would be traded.
            "HYDRA_PLAN__TURNOVER_BAND": "0",
        }
    try:
        done = subprocess.run(
            [sys.executable, "-c", "from hydra_pipelines.cli import main; main()", "cycle"],
            cwd=ROOT, env=environment, capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            raise Wrong(f"the first cycle of {symbols} symbols failed:\n{done.stderr[-3000:]}")
        yield environment
    finally:
        end_venue(folder)


@dataclass
class Made:
    """Prices in memory, as a source of bars."""

    panel: BarPanel
    name: str = "files"
    adjusted_only: bool = False
    problems: tuple[()] = ()

    def read(self, first: date | None = None, last: date | None = None) -> BarPanel:
        return self.panel

    def origin(self, day: date) -> str:
        return "made"


def made_prices(folder: Path, prices: Path, symbols: int) -> str:
    """Random walks: in the desk's lake up to the session it begins at, which is returned; in
    `prices` a Parquet file for each of the last sessions, as a vendor delivers them by day."""
    import duckdb
    import pyarrow as pa

    calendar = Calendar.load("XNYS", folder)
    days = [day for day in calendar.sessions if day.year >= 2012][:SESSIONS]
    rng = np.random.default_rng(7)
    steps = rng.normal(0.0003, 0.02, (SESSIONS, symbols))
    close = np.round(40.0 * np.exp(np.cumsum(steps, axis=0)), 2).clip(2.0)
    fields = {
        "open": close, "high": close * 1.01, "low": close * 0.99, "close": close,
        "volume": rng.integers(1_000_000, 5_000_000, close.shape).astype(float),
        "adj_close": close,
    }  # fmt: skip
    names = tuple(f"S{i:04}" for i in range(symbols))
    panel = BarPanel(np.array(days, dtype="datetime64[D]"), names, fields)
    begins = days[-DELIVERED + VERIFIED_SESSIONS]
    ingest(
        Made(panel.up_to(begins)), Lake(folder / "lake" / "bars"), begins, calendar,
        datetime.now(UTC),
    )  # fmt: skip
    prices.mkdir()
    with duckdb.connect() as connection:
        for t in range(SESSIONS - DELIVERED, SESSIONS):
            day = {name: values[t] for name, values in fields.items()}
            made = pa.table({"symbol": names, "date": [days[t]] * symbols, **day})
            connection.register("made", made)
            connection.execute(f"COPY made TO '{prices / str(days[t])}.parquet' (FORMAT parquet)")
    return str(begins)


def sent(environment: dict[str, str]) -> int:
    """Orders that the desk has sent; raises where there is none: then no whole day was timed."""
    import duckdb

    path = Path(environment["HYDRA_DATA_DIR"], "hydra.duckdb")
    with duckdb.connect(str(path), read_only=True) as connection:
        row: Any = connection.execute(
            "SELECT count(DISTINCT order_ref) FROM order_events"
        ).fetchone()
    if not row[0]:
        raise Wrong(f"no order was sent from {path.parent}")
    return int(row[0])


def end_venue(folder: Path) -> None:
    from hydra_pipelines.paper_gateway.control import GatewayControl
    from hydra_pipelines.paper_gateway.launch import find_running

    if running := find_running(folder / "paper"):
        GatewayControl(running).shutdown()


if __name__ == "__main__":
    run_alone(__doc__, measure)
