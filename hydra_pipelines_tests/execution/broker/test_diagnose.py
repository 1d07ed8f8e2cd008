"""`hydra check-broker`: what it finds, and what it says has to be changed."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hydra_pipelines.execution.broker.diagnose import Finding, OrderTrial, diagnose
from hydra_pipelines.execution.broker.gateway import Endpoint
from hydra_pipelines.execution.broker.windows import QuietHours, Window
from hydra_pipelines.execution.risk.limits import RiskLimits
from hydra_pipelines.execution.risk.state import BreakerKind
from hydra_pipelines.sessions import Calendar
from hydra_pipelines_tests.execution.broker.scripted import (
    ACCOUNT,
    ALL_OPEN,
    CANCEL,
    CONTRACT,
    EXECUTIONS,
    MARKET_DATA,
    PLACE,
    POSITIONS,
    TIME,
    Server,
    endpoint,
    error,
    execution,
    status,
    tick,
)
from hydra_pipelines_tests.execution.orders.workshop import SESSION, Shop

TRIAL = OrderTrial(RiskLimits(), kill_switch=False, highest_order_id=40)


def details(fields: list[str]) -> list[Any]:
    row = (
        10, fields[2], "AAPL", "STK", "", 0, "", "SMART", "USD", "AAPL", "NMS", "NMS", 265598,
        "0.01", "", "LMT", "SMART", 1, 0, "APPLE", "NASDAQ", "", "", "", "", "", "", "", "", "", 0,
        1, "", "", "26", "", "COMMON", 1, 1, 100,
    )  # fmt: skip
    return [row, (52, 1, fields[2])]


def broker_like(server: Server) -> Server:
    """A server that a test order goes well with."""
    server.answers[CONTRACT] = details
    server.answers[PLACE] = lambda f: [status(int(f[1]), "Submitted")]
    server.answers[CANCEL] = lambda f: [status(int(f[2]), "Cancelled")]
    return server


def last(server: Server, trial: OrderTrial | None = TRIAL, **changes: Any) -> Finding:
    *before, found = diagnose(endpoint(server, **changes), trial=trial)
    assert all(finding.ok for finding in before), before
    return found


def test_a_healthy_broker_and_an_order_that_leaves_no_trace():
    with broker_like(Server()) as server:
        findings = list(diagnose(endpoint(server), trial=TRIAL))
    assert {f.check for f in findings} == {
        "connection", "server version", "account", "account state", "contract", "market data",
        "test order",
    }  # fmt: skip
    assert all(f.ok for f in findings)
    (placed,), (cancelled,) = server.of(PLACE), server.of(CANCEL)
    assert placed[1] == cancelled[2] == "41", "after all ids that the desk ever used"
    assert placed[placed.index("LMT") - 1 : placed.index("LMT") + 2] == ["1", "LMT", "9.2"]


def test_without_being_asked_no_order_is_sent():
    with broker_like(Server()) as server:
        assert last(server, trial=None).check == "market data"
    assert server.of(PLACE) == []


def test_against_the_stand_in_gateway(tmp_path: Path):
    Calendar.load("XNYS", tmp_path / "calendar")
    shop = Shop(tmp_path / "desk")
    for moment in (None, shop.calendar.open(shop.calendar.next(SESSION)) + timedelta(hours=1)):
        if moment:
            shop.clock.wait_until(moment)
        findings = list(diagnose(shop.endpoint(), symbol="ALFA", trial=TRIAL))
        assert all(f.ok for f in findings), findings
        assert findings[-1].check == "test order"
    orders = shop.truth()["orders"]
    assert [(o["status"], o["filled"]) for o in orders] == [("Cancelled", 0)] * 2
    shop.close()


@pytest.mark.parametrize(
    ("server", "says"),
    [
        (Server(mute=True), "is the API enabled"),
        (Server(hang_up="at once"), "trusted IPs"),
        (
            Server(greeting=[error(-1, 326)], hang_up="after the greeting"),
            "set another IBKR_CLIENT_ID",
        ),
        (Server(accounts="U1"), "log it in to a paper account"),
        (Server(accounts="DU1"), "does not report account DU7"),
    ],
)
def test_a_connection_that_does_not_come_about(server: Server, says: str):
    with server:
        (found,) = diagnose(endpoint(server, connect_timeout_s=0.2))
    assert (found.check, found.ok) == ("connection", False)
    assert says in found.detail


@pytest.mark.parametrize(
    ("port", "says"), [(1, "nothing listens"), (4001, "paper trading uses 4002")]
)
def test_a_port_that_is_wrong(port: int, says: str):
    (found,) = diagnose(Endpoint("127.0.0.1", port, 17, ACCOUNT))
    assert not found.ok
    assert says in found.detail


def no_answer(_: list[str]) -> list[Any]:
    return []


@pytest.mark.parametrize(
    ("changes", "check", "says"),
    [
        ({POSITIONS: no_answer}, "account state", "look at the gateway's screen"),
        ({ALL_OPEN: lambda f: [error(-1, 321)]}, "account state", "switch off Read-Only API"),
        (
            {EXECUTIONS: lambda f: [execution("a.1.01", when="20190103 10:00:00 Nowhere/At/All")]},
            "account state",
            "choose UTC format",
        ),
        ({CONTRACT: lambda f: [error(int(f[2]), 200, "No security")]}, "contract", "No security"),
        ({MARKET_DATA: lambda f: [error(int(f[2]), 354)]}, "market data", "subscribe"),
        ({MARKET_DATA: lambda f: [error(int(f[2]), 10197)]}, "market data", "log out the live"),
        ({MARKET_DATA: lambda f: [(57, 1, f[2])]}, "market data", "bid –"),
        ({PLACE: lambda f: [error(int(f[1]), 201, "No money")]}, "test order", "201: No money"),
        (
            {PLACE: lambda f: [error(int(f[1]), 321, "Read-Only")], CANCEL: no_answer},
            "test order",
            "switch off Read-Only API",
        ),
        ({CANCEL: no_answer}, "test order", "accepted, but not cancelled: see to the order check."),
    ],
)
def test_what_goes_wrong_after_it(
    changes: dict[int, Callable[[list[str]], list[Any]]], check: str, says: str,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    monkeypatch.setattr("hydra_pipelines.execution.broker.diagnose.REPLY_S", 0.4)
    with broker_like(Server()) as server:
        server.answers.update(changes)
        found = last(server)
    assert (found.check, found.ok) == (check, False)
    assert says in found.detail


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kill_switch": True}, "kill_switch"),
        ({"agent_paused": True}, "breaker_agent_paused"),
        ({"tripped": {BreakerKind.DRAWDOWN}}, "breaker_drawdown"),
        ({"halted": lambda: True}, "the kill switch is on"),
    ],
)
def test_the_gate_has_its_say(change: dict[str, Any], says: str):
    with broker_like(Server()) as server:
        *before, found = diagnose(endpoint(server), trial=dataclasses.replace(TRIAL, **change))
        assert all(finding.ok for finding in before)
        assert (found.ok, server.of(PLACE)) == (False, [])
    assert says in found.detail


def test_delayed_data_are_found_and_what_follows_from_it_is_said():
    with broker_like(Server()) as server:
        server.answers[MARKET_DATA] = lambda f: [
            (58, 1, f[2], 3), tick(f[2], 66, 10), tick(f[2], 67, 10.02), (57, 1, f[2]),
        ]  # fmt: skip
        found = last(server, trial=None)
    assert found.ok
    assert "delayed" in found.detail and "risk.max_quote_age_s" in found.detail


@pytest.mark.parametrize(("skew", "ok"), [(3, True), (60, False)])
def test_a_clock_that_is_wrong(skew: int, ok: bool):
    quiet = QuietHours((), Window.parse("23:00-03:00"))
    now = datetime(2019, 1, 3, 15, tzinfo=UTC) + timedelta(seconds=skew)
    with broker_like(Server()) as server:
        found = {f.check: f for f in diagnose(endpoint(server, quiet=quiet), now=lambda: now)}
        assert len(server.of(TIME)) >= 1
    assert found["clock"].ok == ok


def test_the_command(tmp_path: Path):
    def run(port: int) -> tuple[int, Any]:
        environment = {
            **os.environ, "HYDRA_DATA_DIR": str(tmp_path), "HYDRA_BROKER__VENUE": "ibkr",
            "IBKR_PORT": str(port), "HYDRA_BROKER__RESTART_WINDOWS": "[]",
        }  # fmt: skip
        code = "import sys; from hydra_pipelines.cli import main; sys.argv[0] = 'hydra'; main()"
        done = subprocess.run(
            [sys.executable, "-c", code, "check-broker", "--json"],
            env=environment, capture_output=True, text=True,
        )  # fmt: skip
        return done.returncode, json.loads(done.stdout)

    with broker_like(Server()) as server:
        server.answers[TIME] = lambda f: [(49, 1, int(datetime.now(UTC).timestamp()))]
        code, said = run(server.port)
    assert (code, said["healthy"]) == (0, True)
    code, said = run(1)
    assert (code, said["healthy"]) == (3, False)
    assert "nothing listens" in said["findings"][-1]["detail"]
