"""`hydra paper-trade`: what it switches, keeps, warns of and refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hydra_pipelines.cli.app import app
from hydra_pipelines.settings import SettingsError, load_settings
from hydra_pipelines_tests.desks import OK, REFUSED, USAGE


@dataclass(frozen=True)
class Said:
    returncode: int
    stdout: str
    stderr: str


class Hydra:
    """`hydra` in this process, which has Dagster loaded already."""

    def __init__(self, folder: Path, **environment: str):
        self.folder = folder
        self._environment = environment

    def run(self, *arguments: str, **environment: str) -> Said:
        with pytest.MonkeyPatch.context() as patch:
            # Set when the command opens the instance, and forgotten here.
            patch.setenv("DAGSTER_HOME", "")
            env = {"HYDRA_DATA_DIR": str(self.folder), **self._environment, **environment}
            done = CliRunner().invoke(app, list(arguments), env=env)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return Said(done.exit_code, done.stdout, done.stderr)

    def json(self, *arguments: str) -> Any:
        done = self.run(*arguments, "--json")
        assert done.returncode == OK, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def hydra(tmp_path_factory: pytest.TempPathFactory) -> Hydra:
    return Hydra(tmp_path_factory.mktemp("paper trade") / "my desk")


@pytest.fixture
def ibkr(hydra: Hydra) -> Iterator[Hydra]:
    yield Hydra(hydra.folder, HYDRA_BROKER__VENUE="ibkr")
    (hydra.folder / "paper-trade.yaml").unlink(missing_ok=True)


def in_dagster(hydra: Hydra) -> dict[str, bool]:
    """Schedule -> whether it is on, as Dagster's own command line loads and lists them."""
    done = subprocess.run(
        [sys.executable, "-m", "dagster", "schedule", "list", "-m", "hydra_pipelines"],
        env={**os.environ, "HYDRA_DATA_DIR": str(hydra.folder),
             "DAGSTER_HOME": str(hydra.folder / "dagster")},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("Schedule: ")]
    return {words[1]: words[2] == "[RUNNING]" for words in lines}


def test_start_and_stop_switch_what_the_ui_switches(hydra: Hydra) -> None:
    started = hydra.json("paper-trade", "start")
    assert (started["trading"], started["at"], started["venue"]) == (
        "on", "09:35", "the embedded venue",
    )  # fmt: skip
    assert started["session"] == "2019-01-02" and started["next"].endswith(" 09:35")
    on = in_dagster(hydra)
    assert on["trading"] and not on["self_healing"] and on["order_plan"]
    assert hydra.json("paper-trade", "start")["changed"] is False
    assert not (hydra.folder / "paper-trade.yaml").exists(), "nothing was chosen"
    rows = {row["schedule"]: row for row in hydra.json("paper-trade", "status")}
    assert {name: row["on"] for name, row in rows.items()}.items() >= on.items()
    assert rows["trading"]["next"].endswith(" 09:35") and rows["trading"]["job"] == "execute"
    assert rows["trading"]["session"] == "2019-01-02", "in the venue's time"
    assert hydra.json("paper-trade", "stop")["trading"] == "off"
    said = hydra.run("paper-trade", "stop")
    assert said.returncode == OK and "Trading is off" in said.stderr


def test_the_evening_is_switched_with_trading(hydra: Hydra) -> None:
    evening = Hydra(hydra.folder, HYDRA_EXECUTION__SEND="evening")
    for word, on in (("start", True), ("stop", False)):
        assert evening.json("paper-trade", word)["changed"]
        rows = {row["schedule"]: row["on"] for row in evening.json("paper-trade", "status")}
        assert (rows["trading"], rows["evening_orders"]) == (on, on)


def test_what_is_chosen_holds_for_this_desk_alone(ibkr: Hydra, tmp_path: Path) -> None:
    chosen = ("--port", "7497", "--client-id", "3", "--schedule-hour", "10")
    done = ibkr.run("paper-trade", "start", *chosen)
    assert done.returncode == OK, done.stderr
    assert "at 10:35 New York time" in done.stderr and "127.0.0.1:7497, client 3" in done.stderr
    assert "Reload" in done.stderr
    settings = load_settings(data_dir=ibkr.folder)
    assert (settings.broker.port, settings.broker.client_id) == (7497, 3)
    assert f"{settings.schedule.trading:%H:%M}" == "10:35"
    assert load_settings(data_dir=tmp_path).broker.port == 4002
    # What is given later changes that alone.
    assert ibkr.run("paper-trade", "start", "--schedule-minute", "0").returncode == OK
    settings = load_settings(data_dir=ibkr.folder)
    assert (settings.broker.port, f"{settings.schedule.trading:%H:%M}") == (7497, "10:00")


def test_a_place_that_wins_is_named_and_nothing_is_kept(ibkr: Hydra) -> None:
    done = ibkr.run("paper-trade", "start", "--port", "7497", IBKR_PORT="4002")
    assert done.returncode == USAGE
    assert "broker.port is 4002 (in the IBKR_ names), which wins" in done.stderr
    early = ibkr.run("paper-trade", "start", "--schedule-hour", "9", "--schedule-minute", "31")
    assert early.returncode == USAGE and "09:31 is before execution.start" in early.stderr
    assert not (ibkr.folder / "paper-trade.yaml").exists()


@pytest.mark.parametrize("port", [4001, 7496])
def test_a_live_port_needs_a_word_of_its_own(ibkr: Hydra, port: int) -> None:
    refused = ibkr.run("paper-trade", "start", "--port", str(port))
    assert refused.returncode == REFUSED
    assert f"port {port} is a LIVE port: real orders, real money" in refused.stderr
    assert not (ibkr.folder / "paper-trade.yaml").exists()


def test_with_that_word_it_is_kept_and_the_guard_stays(ibkr: Hydra) -> None:
    meant = ibkr.run("paper-trade", "start", "--port", "4001", "--yes-i-mean-live")
    assert meant.returncode == OK and "WARNING" in meant.stderr
    assert load_settings(data_dir=ibkr.folder).broker.port == 4001
    check = ibkr.run("check-broker")
    assert check.returncode != OK and "live port" in check.stdout + check.stderr


def test_what_makes_no_sense_is_refused(hydra: Hydra) -> None:
    embedded = hydra.run("paper-trade", "start", "--port", "4002")
    assert embedded.returncode == USAGE and "HYDRA_BROKER__VENUE=ibkr" in embedded.stderr
    dry = hydra.run("paper-trade", "start", HYDRA_MODE="dry_run")
    assert dry.returncode == REFUSED and "nothing would be sent" in dry.stderr
    assert hydra.run("paper-trade", "start", "--schedule-hour", "24").returncode == USAGE


def test_the_desk_s_file_holds_nothing_else(hydra: Hydra, tmp_path: Path) -> None:
    (tmp_path / "paper-trade.yaml").write_text("risk: {daily_loss: 1.0}\n")
    with pytest.raises(SettingsError, match=r"risk\.daily_loss can't be set in paper-trade\.yaml"):
        load_settings(data_dir=tmp_path)
    (tmp_path / "paper-trade.yaml").write_text("broker: {port: 99999}\n")
    with pytest.raises(SettingsError, match=r"broker\.port \(in paper-trade\.yaml\)"):
        load_settings(data_dir=tmp_path)
