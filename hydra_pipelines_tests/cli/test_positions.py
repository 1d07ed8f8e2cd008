"""`hydra sync-positions`, `hydra pnl`: what they show, refuse and record."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from hydra_pipelines.cli.app import app
from hydra_pipelines.paper_gateway.control import GatewayControl
from hydra_pipelines.paper_gateway.launch import find_running
from hydra_pipelines_tests.conftest import TradedDesk
from hydra_pipelines_tests.desks import OK, REFUSED, USAGE, CommandLine, shut_down

# Dagster's own, of its own parts.
pytestmark = pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Of a desk that commands of this process find."""
    monkeypatch.setenv("HYDRA_DATA_DIR", str(tmp_path / "my desk"))
    monkeypatch.setenv("DAGSTER_HOME", "set by the command, taken back after the test")
    yield tmp_path / "my desk"
    shut_down(tmp_path / "my desk")


def hydra(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_shares_that_nothing_explains_are_shown_and_can_be_accepted(folder: Path) -> None:
    first = hydra("sync-positions", "--json")
    assert first.exit_code == OK, first.stderr
    assert json.loads(first.stdout) == {
        "schema": "hydra.sync-positions/1",
        "positions": [],
        "breaks": [],
    }
    endpoint = find_running(folder / "paper")
    assert endpoint is not None
    GatewayControl(endpoint).move_shares("AAPL", 30)

    found = hydra("sync-positions", "--json")
    assert found.exit_code == REFUSED
    (one,) = json.loads(found.stdout)["breaks"]
    assert (one["symbol"], one["ours"], one["brokers"]) == ("AAPL", "0.00", "30.00")
    assert "--accept AAPL" in one["why"]

    accept = ("sync-positions", "--accept", "aapl", "--reason", "moved here")
    unasked = hydra(*accept)
    assert unasked.exit_code == REFUSED and "--yes" in unasked.stderr
    done = hydra(*accept, "--yes", "--json")
    assert done.exit_code == OK, done.stderr
    assert json.loads(done.stdout)["breaks"] == []
    assert [p["symbol"] for p in json.loads(done.stdout)["positions"]] == ["AAPL"]
    again = hydra(*accept, "--yes")
    assert again.exit_code == REFUSED and "nothing to correct" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--cash", "5000"), "--reason"),
        (("--accept", "AAPL"), "--reason"),
        (("--cash", "5", "--accept", "AAPL", "--reason", "x"), "one thing at a time"),
        (("--cash", "lots", "--reason", "x"), "'lots' is no amount"),
        (("--cash", "nan", "--reason", "x"), "'nan' is no amount"),
        (("--cash", "0", "--reason", "x"), "not 0"),
        (("--cash", "1.001", "--reason", "x"), "USD and cents"),
        (("--cash", "-5", "--kind", "deposit", "--reason", "x"), "the other sign"),
        (("--cash", "5", "--kind", "withdrawal", "--reason", "x"), "the other sign"),
        (("--cash", "5", "--price", "1", "--reason", "x"), "--price goes with --accept"),
        (("--accept", "AAPL", "--kind", "fee", "--reason", "x"), "--kind goes with --cash"),
        (("--accept", "AAPL", "--price", "-1", "--reason", "x"), "more than nothing"),
        (("--reason", "x"), "go with --cash or --accept"),
    ],
)
def test_what_can_not_be_recorded_is_refused_before_anything(
    folder: Path, arguments: tuple[str, ...], says: str
) -> None:
    done = hydra("sync-positions", *arguments)
    assert done.exit_code == USAGE and says in done.stderr
    assert not folder.exists()


def test_profit_after_a_first_cycle(traded_desk: TradedDesk) -> None:
    told = traded_desk.hydra.json("pnl", "--by", "session")
    first = told["sessions"][0]
    fills = [t for t in traded_desk.trades if t["session"] == first["session"]]
    commissions = sum(Decimal(t["commission"]) for t in fills)
    assert Decimal(first["commissions"]) == commissions > 0
    assert Decimal(first["change"]) == Decimal(first["equity"]) - 1_000_000
    assert Decimal(first["unrealised"]) == Decimal(first["change"]) + commissions
    assert Decimal(first["unexplained"]) == 0
    assert told["figures"]["sharpe"] is None

    shown = traded_desk.hydra.run("pnl")
    assert shown.returncode == OK
    assert "HYP-2026-001" in shown.stdout and "total" in shown.stdout
    assert "not enough sessions" in shown.stdout
    by_symbol = traded_desk.hydra.run("pnl", "--by", "symbol")
    assert {t["symbol"] for t in fills} <= set(by_symbol.stdout.split())


def test_profit_before_a_first_cycle_is_none(empty: CommandLine) -> None:
    done = empty.run("pnl")
    assert done.returncode == REFUSED and "hydra cycle" in done.stderr and not done.stdout
