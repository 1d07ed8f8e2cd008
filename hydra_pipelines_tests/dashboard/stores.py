"""Desks in the states that a dashboard may meet: empty, traded, old, being written."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from hydra_pipelines.control import Control
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger.store import Ledger
from hydra_pipelines.settings import load_settings

SHARED = ("lake", "cache", "mlruns", "dagster")


def desk_of(folder: Path) -> Desk:
    return Desk(load_settings(data_dir=folder))


def copy_of(made: Path, folder: Path) -> Path:
    """A traded desk's folder with a ledger and a control store of its own; the rest is shared."""
    folder.mkdir(parents=True)
    for name in ("hydra.duckdb", "hydra.snapshot.duckdb", "control.sqlite"):
        if (made / name).exists():
            shutil.copy(made / name, folder)
    for name in SHARED:
        if (made / name).exists():
            (folder / name).symlink_to(made / name)
    return folder


def empty(folder: Path) -> Path:
    """Stores that were made and have nothing in them."""
    desk = desk_of(folder)
    with desk.ledger.transaction():
        pass
    desk.ledger.publish()
    Control(desk.settings.control_path).note("made", "system", {})
    return folder


def aged(folder: Path) -> Path:
    """The stores of a desk as a program before this one left them: an older schema."""
    for name in ("hydra.duckdb", "hydra.snapshot.duckdb"):
        connection = duckdb.connect(str(folder / name))
        connection.execute("DELETE FROM schema_versions WHERE number > 1")
        connection.close()
    return folder


def fill(number: int, **given: Any) -> dict[str, Any]:
    """A row of executed_trades."""
    at = datetime(2019, 1, 3, 15, 0, tzinfo=UTC)
    return {
        "exec_key": f"test.{number:08d}.01",
        "exec_id": f"test.{number:08d}.01.01",
        "order_ref": None,
        "perm_id": number,
        "account": "DU0000001",
        "session": at.date(),
        "executed_at": at,
        "symbol": "AAPL",
        "side": "BUY" if number % 2 else "SELL",
        "quantity": 10,
        "price": 100,
        "commission": 1,
        "order_price": 101,
        "arrival_price": 100,
        "predicted_slippage_bps": 4.0,
        "actual_slippage": -1,
        "actual_slippage_bps": -100.0,
        "shortfall_bps": float(number % 17 - 8),
        "latency_ms": 12.0,
        "strategies": "HYP-2026-001",
        "recorded_at": at,
        **given,
    }


@contextmanager
def being_written(folder: Path, every_s: float = 0.3) -> Iterator[list[Exception]]:
    """A run at work: fills are committed and published all the time. Yields what went wrong."""
    ledger, over, failed = Ledger(folder / "hydra.duckdb", 5), threading.Event(), []

    def write() -> None:
        number = 0
        while not over.wait(every_s):
            number += 1
            try:
                with ledger.transaction() as tx:
                    tx.insert("executed_trades", [fill(900_000 + number)])
                ledger.publish()
            except Exception as error:
                failed.append(error)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    try:
        yield failed
    finally:
        over.set()
        thread.join(20)
