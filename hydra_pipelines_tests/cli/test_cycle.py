"""`hydra cycle`: what it tells, what it leaves, and what it never does twice."""

from __future__ import annotations

import json
import re
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from hydra_pipelines import day
from hydra_pipelines.cli.app import app
from hydra_pipelines.control import Control
from hydra_pipelines.day import explaining
from hydra_pipelines.desk import Desk
from hydra_pipelines.execution.breaks import Break
from hydra_pipelines.market.sources import open_source
from hydra_pipelines_tests.cli.words import lines
from hydra_pipelines_tests.conftest import TradedDesk
from hydra_pipelines_tests.desks import FAILURE, OK, REFUSED, CommandLine, Flawed, shut_down

# Dagster's own, of its own parts.
pytestmark = pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated")


def test_a_cycle_shows_its_steps_and_says_only_data_on_stdout(traded_desk: TradedDesk) -> None:
    steps = re.findall(r"^  (\w+) +(ok|FAILED) +\d+\.\d\d s$", traded_desk.progress, re.MULTILINE)
    assert {name for name, _ in steps} == {
        "bars", "universe", "features", "champion_models", "predictions", "signals",
        "order_plan", "executions", "positions", "account", "slippage_reconciliation",
        "performance",
    }  # fmt: skip
    assert {mark for _, mark in steps} == {"ok"}
    assert "HYP-2026-001: no champion yet, training as of 2019-01-02" in traded_desk.progress
    assert "Traceback" not in traded_desk.progress and "DEBUG" not in traded_desk.progress


def test_cycle_and_status_agree(traded_desk: TradedDesk) -> None:
    assert traded_desk.cycle == {**traded_desk.status, "schema": "hydra.cycle/1"}
    last = traded_desk.status["last_cycle"]
    assert (last["session"], last["execution_session"]) == ("2019-01-02", "2019-01-03")
    assert (last["status"], last["dry_run"]) == ("done", False)
    assert (last["strategies"], last["predictions"]) == (2, 40)
    assert last["orders"] == last["planned_orders"] > 0
    assert last["denied"] == last["unknown_orders"] == 0
    assert traded_desk.status["next_session_due"] == "2019-01-03"


def test_the_same_session_again_sends_nothing_new(traded_desk: TradedDesk) -> None:
    hydra = traded_desk.hydra
    if hydra.json("status")["last_cycle"]["dry_run"]:  # left by another test
        hydra.json("cycle")
    status = hydra.json("status")
    before = hydra.venue.messages(), hydra.venue.truth(), hydra.json("trades", "--limit", "100000")
    again = hydra.json("cycle", "--session", status["last_cycle"]["session"])
    assert again == {**status, "schema": "hydra.cycle/1"}
    assert before == (
        hydra.venue.messages(),
        hydra.venue.truth(),
        hydra.json("trades", "--limit", "100000"),
    )


def test_a_dry_run_writes_the_plan_and_sends_nothing(traded_desk: TradedDesk) -> None:
    hydra = traded_desk.hydra
    due = hydra.json("status")["next_session_due"]
    before = hydra.venue.messages(), hydra.venue.truth(), hydra.venue.status()["now"]
    trades = hydra.json("trades", "--limit", "100000")

    done = hydra.run("cycle", "--dry-run")
    assert done.returncode == OK, done.stderr
    assert (hydra.venue.messages(), hydra.venue.truth(), hydra.venue.status()["now"]) == before
    status = hydra.json("status")
    last = status["last_cycle"]
    assert (last["session"], last["status"], last["dry_run"]) == (due, "draft", True)
    assert last["planned_orders"] > 0 and last["orders"] == last["fills"] == 0
    assert status["next_session_due"] == due, "nothing was traded, so it is still due"
    assert hydra.json("trades", "--limit", "100000") == trades
    words = lines(done.stdout)
    assert f"0 sent of {last['planned_orders']} planned (dry run)" == words["orders"]
    assert lines(hydra.run("status").stdout)["equity"] == words["equity"]
    assert "Look next:" in done.stdout


def test_the_kill_switch_is_seen_and_stops_the_next_cycle(traded_desk: TradedDesk) -> None:
    hydra = traded_desk.hydra
    due = hydra.json("status")["next_session_due"]
    control = Control(hydra.folder / "control.sqlite")
    received = hydra.orders_received()
    control.set_kill_switch(True, "a test")
    control.trip("drawdown", "down 11 %", "2019-01-03")
    try:
        status = hydra.json("status")
        assert status["kill_switch"] is True
        assert [b["name"] for b in status["breakers"]] == ["drawdown"]
        words = lines(hydra.run("status").stdout)
        assert words["KILL SWITCH"] == "on: nothing is sent"
        assert words["BREAKER"] == "drawdown: down 11 %"
        done = hydra.run("cycle", "--json")
        assert hydra.orders_received() == received
        last = json.loads(done.stdout)["last_cycle"]
        assert (last["session"], last["status"]) == (due, "done")
        assert last["orders"] == 0 and last["denied"] == last["planned_orders"] > 0
        assert f"{last['denied']} denied by the risk gate" in hydra.run("status").stdout
    finally:
        control.set_kill_switch(False, "the test is over")
        control.reset("drawdown")


# in this process, where a part can be made to fail


def cycle_here(folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    monkeypatch.setenv("HYDRA_DATA_DIR", str(folder))
    monkeypatch.setenv("DAGSTER_HOME", "set by the command, taken back after the test")
    return CliRunner().invoke(app, ["cycle", *arguments])


def test_a_cycle_that_ran_and_found_a_difference_is_not_well(
    traded_desk: TradedDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    difference = Break(None, Decimal("1.00"), Decimal("2.00"))
    monkeypatch.setattr(explaining, "find_breaks", lambda *_: [difference])
    done = cycle_here(traded_desk.hydra.folder, monkeypatch, "--dry-run")
    assert done.exit_code == REFUSED
    assert "! check journal_equals_broker: cash: 1.00 in the journal" in done.stderr
    assert done.stderr.splitlines()[-1].startswith(
        "hydra: the cycle ran, and found what needs a person: positions, journal_equals_broker: "
        "cash: 1.00 in the journal, 2.00 at the broker (unexplained: "
    )
    assert lines(done.stdout)["next due"], "the status is shown all the same"


def test_a_cycle_that_a_check_stops_says_which_and_why(
    broken: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    flawed = Flawed(open_source("sample"), date(2019, 1, 2), -5.0)
    monkeypatch.setattr(Desk, "source", flawed)
    try:
        done = cycle_here(broken.folder, monkeypatch, "--json")
    finally:
        shut_down(broken.folder)
    assert done.exit_code == FAILURE
    assert json.loads(done.stdout)["last_cycle"] is None
    last = done.stderr.splitlines()[-1]
    assert last.startswith("hydra: the cycle of 2019-01-02 failed: bars, quality: BBY: close is -5")
    assert re.search(r"^  bars +FAILED", done.stderr, re.MULTILINE)
    assert "Traceback" not in done.stderr and "Dependencies for step" not in done.stderr


def test_an_error_that_nobody_expects_is_told_with_its_trace(
    traded_desk: TradedDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a bug of ours")

    monkeypatch.setattr(day, "make_features", fail)
    done = cycle_here(traded_desk.hydra.folder, monkeypatch, "--dry-run")
    assert done.exit_code == FAILURE
    assert "failed: features: " in done.stderr
    assert "ZeroDivisionError: a bug of ours" in done.stderr and "in fail" in done.stderr
