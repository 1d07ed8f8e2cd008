"""P10: pages of the dashboard for ten clients, 100,000 fills in the ledger, a run writing.

The bar is 150 ms at the 95th percentile, whatever the page. Ten tabs look every half second, which
is a hundred times as often as real ones do. Meanwhile a process commits a fill and publishes the
ledger every two seconds; none of its writes may fail.

    .venv/bin/python benchmarks/dashboard.py [--fills N] [--clients N] [--seconds N]
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.results import Result, hand_over  # noqa: E402
from hydra_pipelines.ledger.store import Ledger  # noqa: E402
from hydra_pipelines.settings import load_settings  # noqa: E402
from hydra_pipelines_tests.dashboard.served import Served  # noqa: E402

BAR_MS = 150
PAGES = ("/", "/positions", "/fills", "/fills?symbol=S03", "/fills?page=900", "/orders", "/models",
         "/agent", "/drift", "/workflows", "/components", "/system", "/audit")  # fmt: skip
SYMBOLS = [f"S{i:02d}" for i in range(20)]
SESSIONS = 500
FIRST = date(2020, 1, 2)
WRITER = """
import sys, time
from datetime import UTC, datetime
from pathlib import Path
from hydra_pipelines.ledger.store import Ledger
ledger, number = Ledger(Path(sys.argv[1])), 0
while True:
    number += 1
    began = time.perf_counter()
    now = datetime.now(UTC)
    with ledger.transaction() as tx:
        tx.execute("INSERT INTO executed_trades BY NAME SELECT * REPLACE ($1 AS exec_key, $1 AS "
                   "exec_id, $2 AS executed_at) FROM executed_trades LIMIT 1",
                   [f"new {number}", now])
    committed = time.perf_counter()
    ledger.publish()
    print(f"{committed - began:.4f} {time.perf_counter() - committed:.4f}", flush=True)
    time.sleep(2)
"""


def fill_ledger(ledger: Ledger, fills: int) -> None:
    """A desk that traded for two years: rows as the steps of the day would have left them."""
    rng = random.Random(7)
    sessions = [FIRST + timedelta(days=i * 7 // 5) for i in range(SESSIONS)]
    per_session = -(-fills // SESSIONS)
    now = datetime.now(UTC)
    with ledger.transaction() as tx:
        number, equity, peak = 0, Decimal(1_000_000), Decimal(1_000_000)
        for at in sessions:
            intents, trades, events = [], [], []
            for i in range(per_session):
                if number >= fills:
                    break
                number += 1
                symbol, side = SYMBOLS[i % 20], "BUY" if number % 2 else "SELL"
                ref = f"{at:%Y%m%d}.DU0000001.{symbol}.{side}.{i // 10}.1"
                instant = datetime(at.year, at.month, at.day, 15, 0, tzinfo=UTC) + timedelta(
                    seconds=i
                )
                if i % 10 == 0:
                    intents.append(
                        {"order_ref": f"{ref}.{i}", "plan_id": f"plan-{at}", "session": at,
                         "execution_session": at, "account": "DU0000001", "symbol": symbol,
                         "side": side, "quantity": 100, "limit_price": 101, "tif": "DAY",
                         "arrival_price": 100, "arrival_at": instant, "predicted_slippage_bps": 5.0,
                         "routing": "limit_patience", "strategies": "HYP-2026-001", "slice": 0,
                         "attempt": 1, "order_id": number, "run_id": f"run-{at}",
                         "recorded_at": instant}
                    )  # fmt: skip
                    events.append(
                        {"order_ref": f"{ref}.{i}", "event": "finished",
                         "details": '{"state": "filled", "filled": 100}', "occurred_at": instant}
                    )  # fmt: skip
                cost = rng.gauss(5, 12)
                trades.append(
                    {"exec_key": f"{number:08d}.01", "exec_id": f"{number:08d}.01.01",
                     "order_ref": intents[-1]["order_ref"], "perm_id": number,
                     "account": "DU0000001", "session": at, "executed_at": instant,
                     "symbol": symbol, "side": side, "quantity": 10, "price": 100,
                     "commission": Decimal("0.35"), "order_price": 101, "arrival_price": 100,
                     "predicted_slippage_bps": 5.0, "actual_slippage": -1,
                     "actual_slippage_bps": -100.0, "shortfall_bps": cost, "latency_ms": 40.0,
                     "strategies": "HYP-2026-001", "recorded_at": instant}
                )  # fmt: skip
            tx.insert("order_intents", intents)
            tx.insert("order_events", events)
            tx.insert("executed_trades", trades)
            tx.insert(
                "audit_events",
                [
                    {"occurred_at": trade["executed_at"], "event": "fill_recorded",
                     "actor": "system", "strategy_id": None, "run_id": f"run-{at}",
                     "details": f'{{"exec_id": "{trade["exec_id"]}", "symbol": "{trade["symbol"]}",'
                                ' "side": "BUY", "quantity": 10, "price": "100"}'}
                    for trade in trades
                ],
            )  # fmt: skip
            change = Decimal(str(round(rng.gauss(200, 5000), 2)))
            equity += change
            peak = max(peak, equity)
            tx.insert(
                "account_snapshots",
                [{"account": "DU0000001", "session": at, "equity": equity, "cash": equity / 10,
                  "gross": equity * 9 / 10, "net": equity * 9 / 10, "daily_pnl": change,
                  "peak": peak, "drawdown": float((peak - equity) / peak), "positions": 20,
                  "recorded_at": now}],
            )  # fmt: skip
            tx.insert(
                "plans",
                [{"plan_id": f"plan-{at}", "session": at, "execution_session": at,
                  "account": "DU0000001", "equity": equity, "cash": equity / 10, "status": "done",
                  "dry_run": False, "notes": "[]", "recorded_at": now}],
            )  # fmt: skip
            tx.insert(
                "plan_rows",
                [{"plan_id": f"plan-{at}", "sequence": i, "symbol": symbol, "side": "BUY",
                  "quantity": 100, "reason": "rebalance", "current_quantity": 0,
                  "target_quantity": 100, "current_weight": 0.0, "target_weight": 0.05,
                  "reference_price": 100, "notional": 10_000, "predicted_slippage_bps": 5.0,
                  "routing": "limit_patience", "strategies": "HYP-2026-001"}
                 for i, symbol in enumerate(SYMBOLS)],
            )  # fmt: skip
            tx.insert(
                "predictions",
                [{"session": at, "strategy_id": "HYP-2026-001", "symbol": symbol,
                  "prediction": 0.001, "probability_up": 0.52, "model_version": 1,
                  "data_snapshot_id": "x", "recorded_at": now} for symbol in SYMBOLS],
            )  # fmt: skip
        tx.insert(
            "cash_movements",
            [{"account": "DU0000001", "session": FIRST, "amount": 1_000_000, "reason": "opening",
              "kind": "opening", "recorded_at": now}],
        )  # fmt: skip
        tx.insert(
            "live_positions",
            [{"account": "DU0000001", "symbol": symbol, "quantity": 450, "entry_price": 100,
              "current_price": 101, "market_value": 45_450, "cost_basis": 45_000,
              "unrealized_pnl": 450, "unrealized_pnl_share": 0.01, "strategies": "HYP-2026-001",
              "as_of": sessions[-1], "updated_at": now} for symbol in SYMBOLS],
        )  # fmt: skip
    ledger.publish()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fills", type=int, default=100_000)
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--quick", action="store_true", help="1,000 fills, five seconds")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    given = parser.parse_args()
    if given.quick:
        given.fills, given.seconds = 1_000, 5
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "desk"
        settings = load_settings(data_dir=folder)
        began = time.perf_counter()
        fill_ledger(Ledger(settings.ledger_path), given.fills)
        print(f"ledger with {given.fills:,} fills made in {time.perf_counter() - began:.1f} s")
        return measure(folder, given)


def measure(folder: Path, given: argparse.Namespace) -> int:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder / "hydra.duckdb")],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    took: dict[str, list[float]] = defaultdict(list)
    wrong: list[str] = []
    over = time.monotonic() + given.seconds
    try:
        with Served(folder, OMP_NUM_THREADS="1") as client:
            for page in PAGES:
                started = time.perf_counter()
                client.get(page)
                print(f"  first {page:<20} {1000 * (time.perf_counter() - started):7.0f} ms")

            def poll(seed: int) -> None:
                rng = random.Random(seed)
                while time.monotonic() < over:
                    page = rng.choice(PAGES)
                    started = time.perf_counter()
                    answer = client.get(page, hx_request="true" if rng.random() < 0.8 else None)
                    took[page].append(1000 * (time.perf_counter() - started))
                    if answer.status != 200:
                        wrong.append(f"{answer.status} {page}")
                    time.sleep(rng.uniform(0.25, 0.75))

            over = time.monotonic() + given.seconds
            threads = [threading.Thread(target=poll, args=(i,)) for i in range(given.clients)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        writer.terminate()
    writes = [line.split() for line in (writer.communicate()[0] or "").splitlines()]
    everything = sorted(one for page in took.values() for one in page)
    print(f"\n{len(everything)} pages, {given.clients} clients, load {os.getloadavg()[0]:.1f}")
    print(f"{'page':<22}{'n':>6}{'p50 ms':>9}{'p95 ms':>9}{'max ms':>9}")
    for page in (*PAGES, ""):
        values = sorted(took[page]) if page else everything
        if values:
            p95 = values[int(0.95 * (len(values) - 1))]
            name = page or "all"
            print(f"{name:<22}{len(values):>6}{statistics.median(values):>9.0f}{p95:>9.0f}"
                  f"{values[-1]:>9.0f}")  # fmt: skip
    p95 = everything[int(0.95 * (len(everything) - 1))]
    print(f"writes: {len(writes)}, commit at most {max(float(w[0]) for w in writes):.2f} s, "
          f"publish at most {max(float(w[1]) for w in writes):.2f} s")  # fmt: skip
    ended_early = writer.returncode not in (-15, 0)
    if wrong or ended_early or not writes:
        print(f"WRONG: {wrong[:5]} {'a write failed' if ended_early else ''}")
        return 1
    work = f"dashboard page, p95, {given.clients} clients, {given.fills:,} fills, a run writing"
    hand_over([Result("P10", work, p95, "ms", BAR_MS)], given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
