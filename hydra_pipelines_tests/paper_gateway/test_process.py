"""The gateway as a process: found, started once, killed, restarted, gone when idle."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from ib_insync import LimitOrder, Stock

from hydra_pipelines.paper_gateway.control import GatewayControl, GatewayControlError
from hydra_pipelines.paper_gateway.launch import (
    GatewayOptions,
    GatewayStartError,
    ensure_running,
    find_running,
)
from hydra_pipelines.paper_gateway.process import ALREADY_RUNNING, Endpoint
from hydra_pipelines.sessions import Calendar
from hydra_pipelines_tests.paper_gateway.served import ErrorLog, connect, make_panel

MORNING = datetime(2019, 1, 3, 15, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def options(calendar: Calendar, tmp_path_factory: pytest.TempPathFactory) -> GatewayOptions:
    folder = tmp_path_factory.mktemp("market")
    panel = make_panel(calendar)
    path = folder / "prices.npz"
    np.savez(path, sessions=panel.sessions, symbols=np.array(panel.symbols), **panel.fields)
    Calendar.load("XNYS", folder)
    return GatewayOptions(prices_npz=path, calendar_cache=folder, idle_timeout=60)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "home"
    yield path
    endpoint = find_running(path)
    if endpoint:
        GatewayControl(endpoint).shutdown()
        wait_gone(endpoint)


def wait_gone(endpoint: Endpoint) -> None:
    for _ in range(500):
        try:
            os.kill(endpoint.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.01)
    raise AssertionError("the gateway process did not end")


def test_started_once_found_again_and_stopped(home: Path, options: GatewayOptions) -> None:
    first = ensure_running(home, options)
    assert ensure_running(home, options) == first == find_running(home)
    port_file = home / "gateway.json"
    assert stat.S_IMODE(port_file.stat().st_mode) == 0o600
    assert json.loads(port_file.read_text())["token"] == first.token
    second = subprocess.run(
        [sys.executable, "-m", "hydra_pipelines.paper_gateway", *options.arguments(home)],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert second.returncode == ALREADY_RUNNING and "at work" in second.stderr
    with pytest.raises(GatewayStartError, match="seed 7, not 8"):
        ensure_running(home, GatewayOptions(prices_npz=options.prices_npz, seed=8))
    os.kill(first.pid, signal.SIGTERM)
    wait_gone(first)
    assert not port_file.exists() and find_running(home) is None
    with pytest.raises(GatewayControlError, match="is it running"):
        GatewayControl(first).status()


def test_many_starters_get_one_gateway(home: Path, options: GatewayOptions) -> None:
    found: list[Endpoint] = []
    starters = [
        threading.Thread(target=lambda: found.append(ensure_running(home, options)))
        for _ in range(4)
    ]
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join()
    assert len(found) == 4 and len(set(found)) == 1


def test_nothing_acknowledged_is_lost_by_a_kill(
    home: Path, options: GatewayOptions, errors: ErrorLog
) -> None:
    endpoint = ensure_running(home, options)
    GatewayControl(endpoint).advance(MORNING)
    ib = connect(endpoint)
    (deep,) = ib.qualifyContracts(Stock("DEEP", "SMART", "USD"))
    trades = [
        ib.placeOrder(deep, LimitOrder("BUY", 10, limit, tif="DAY", orderRef=f"k{i}"))
        for i, limit in enumerate((500.0, 1.0, 400.0, 2.0))
    ]
    ib.reqCurrentTime()
    assert {t.orderStatus.status for t in trades} == {"Filled", "Submitted"}
    os.kill(endpoint.pid, signal.SIGKILL)
    with pytest.raises(ConnectionError):
        ib.waitOnUpdate(5)
    errors.expect("Peer closed connection")
    wait_gone(endpoint)
    again = ensure_running(home, options)
    assert again.pid != endpoint.pid
    truth = GatewayControl(again).truth()
    assert truth["now"] == MORNING.isoformat()
    assert [(o["order_ref"], o["status"], o["perm_id"]) for o in truth["orders"]] == [
        (t.order.orderRef, t.orderStatus.status, t.order.permId) for t in trades
    ]
    assert [e["exec_id"] for e in truth["executions"]] == [
        fill.execution.execId for t in trades for fill in t.fills
    ]
    back = connect(again)
    assert {t.order.orderRef for t in back.openTrades()} == {"k1", "k3"}
    assert {f.execution.orderRef for f in back.fills()} == {"k0", "k2"}
    back.disconnect()


def test_it_ends_when_nobody_needs_it(home: Path, options: GatewayOptions) -> None:
    short = GatewayOptions(
        prices_npz=options.prices_npz, calendar_cache=options.calendar_cache, idle_timeout=0.2
    )
    endpoint = ensure_running(home, short)
    wait_gone(endpoint)
    assert find_running(home) is None


def test_a_start_that_fails_says_why(tmp_path: Path, options: GatewayOptions) -> None:
    missing = GatewayOptions(prices_npz=tmp_path / "none.npz")
    with pytest.raises(GatewayStartError, match=r"(?s)exit code 1.*none\.npz"):
        ensure_running(tmp_path / "home", missing)


def test_it_starts_without_heavy_imports(options: GatewayOptions) -> None:
    code = (
        "import sys; import hydra_pipelines.paper_gateway.__main__, "
        "hydra_pipelines.paper_gateway.launch; "
        "heavy = {'pandas', 'dagster', 'ib_insync', 'mlflow', 'pydantic', 'exchange_calendars'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
