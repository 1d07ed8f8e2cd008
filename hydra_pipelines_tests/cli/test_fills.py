"""`hydra fill-report` and `hydra calibrate-slippage` on a desk whose fills were written by hand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger import trades
from hydra_pipelines.settings import load_settings
from hydra_pipelines_tests.cli.words import figures
from hydra_pipelines_tests.desks import OK, REFUSED, USAGE, CommandLine
from hydra_pipelines_tests.monitoring.journal import FIRST, fill, predicted_terms, write_fills


@pytest.fixture(scope="module")
def hydra(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """30 orders of two symbols, which cost 1.5 bps and half the impact more than predicted."""
    folder = tmp_path_factory.mktemp("fills") / "my desk"
    desk = Desk(load_settings(data_dir=folder))
    model = desk.slippage
    with desk.ledger.transaction() as tx:
        for i in range(30):
            terms = predicted_terms(model, 400 * (1 + i % 10), 2.0 + i % 3, "patience")
            predicted = terms.pop("predicted_slippage_bps")
            cost = predicted + 1.5 + 0.5 * terms["unit_impact_bps"]
            symbol = "AAPL" if i < 25 else "KO"
            write_fills(tx, [(predicted, cost)], symbol=symbol, routing="patience", **terms)
        trades.record(tx, [fill(None, FIRST, 1.0, predicted_slippage_bps=None)])
    desk.ledger.publish()
    yield CommandLine(folder)


@pytest.fixture
def copy(hydra: CommandLine, tmp_path: Path) -> CommandLine:
    """The same desk, to change."""
    shutil.copytree(hydra.folder, tmp_path / "my desk")
    return CommandLine(tmp_path / "my desk")


def test_the_last_fills_with_everything_they_cost(hydra: CommandLine) -> None:
    found = hydra.json("fill-report", "--limit", "3")
    assert found["reconciliation"] is None
    assert [row["symbol"] for row in found["fills"]] == ["KO"] * 3
    latest = found["fills"][0]
    assert latest["executed_at"] > found["fills"][1]["executed_at"]
    assert latest["routing"] == "patience" and latest["latency_ms"] is None
    done = hydra.run("fill-report", "--limit", "1")
    assert done.returncode == OK and not done.stderr
    heading, line = done.stdout.splitlines()[1:3]
    for name in ("order", "fill", "arrival", "predicted bps", "vs order bps", "vs arrival bps"):
        assert name in heading
    assert "patience" in line and "BUY" in line
    shown = figures(line)
    for column in ("predicted_slippage_bps", "actual_slippage_bps", "shortfall_bps"):
        assert f"{latest[column]:.2f}" in shown, column


def test_fills_can_be_picked(hydra: CommandLine) -> None:
    def picked(*arguments: str) -> list[dict]:
        return hydra.json("fill-report", "--limit", "1000", *arguments)["fills"]

    assert len(picked()) == 31
    assert {row["symbol"] for row in picked("--symbol", "KO")} == {"KO"}
    assert len(picked("--since", "2019-01-30")) == 3
    assert len(picked("--since", "2019-01-30T15:05")) == 3
    assert len(picked("--since", "2019-01-30T15:05:01")) == 2
    assert len(picked("--since", "2019-01-30T10:05:01-05:00")) == 2
    done = hydra.run("fill-report", "--since", "2099-01-01")
    assert (done.returncode, done.stdout, done.stderr) == (OK, "", "No fills.\n")


@pytest.mark.parametrize("since", ["yesterday", "2019-13-01", "2019-01-02T99:00"])
def test_a_time_that_is_none_is_a_usage_error(hydra: CommandLine, since: str) -> None:
    done = hydra.run("fill-report", "--since", since)
    assert done.returncode == USAGE and done.stdout == ""
    assert f"--since {since}: give a date or an instant" in done.stderr


def test_the_reconciliation_in_json_and_in_words(hydra: CommandLine) -> None:
    found = hydra.json("fill-report", "--reconcile")["reconciliation"]
    assert found["left_out"] == {"not ordered by the desk": 1} and found["fills"] == 31
    assert found["calibration"] is None
    fills = found["summary"][0]
    assert [line["n"] for line in found["summary"]] == [30] * 4
    assert fills["bias"] == pytest.approx(fills["mean_actual"] - fills["mean_predicted"])
    assert {line["name"]: line["n"] for line in found["by"]["symbol"]} == {"AAPL": 25, "KO": 5}
    assert found["by"]["symbol"][1]["message"] == "not enough fills: 5 of 20"
    assert found["by"]["symbol"][1]["bias"] is None
    text = hydra.run("fill-report", "--reconcile").stdout
    assert "31 fills, sessions 2019-01-03 to 2019-02-01" in text
    assert "the predictor is the settings' own" in text
    assert "1 left out: not ordered by the desk" in text
    assert f"{fills['relative_bias']:+.1%} {fills['colour']}" in text, "the colour in words"
    assert "not enough fills: 5 of 20" in text
    for title in ("By symbol", "By side", "By algo", "By hour"):
        assert title in text
    one = hydra.json("fill-report", "--reconcile", "--symbol", "KO")["reconciliation"]
    assert one["fills"] == 5


def test_a_calibration_is_shown_put_in_force_and_undone(copy: CommandLine) -> None:
    tried = copy.run("calibrate-slippage", "--dry-run")
    assert tried.returncode == OK and "Nothing was changed." in tried.stderr
    assert copy.json("fill-report", "--reconcile")["reconciliation"]["calibration"] is None
    done = copy.run("calibrate-slippage", "--why", "after a month")
    assert done.returncode == OK, done.stderr
    assert "30 fills of 30 orders, 2019-01-03 to 2019-02-01" in done.stdout
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("y, coefficient")]
    assert figures(line) == ["0.70", "1.20"]
    assert "undo it with `hydra calibrate-slippage --revert`" in done.stderr
    found = copy.json("fill-report", "--reconcile")["reconciliation"]
    assert found["calibration"]["id"] == 1 and found["calibration"]["reason"] == "after a month"
    assert found["calibration"]["actor"].startswith("user:")
    assert found["model"]["y"] == pytest.approx(1.2)
    assert abs(found["summary"][3]["relative_bias"]) < 1e-9
    assert "calibration 1 is in force" in copy.run("fill-report", "--reconcile").stdout
    undone = copy.run("calibrate-slippage", "--revert", "--json")
    assert undone.returncode == OK and json.loads(undone.stdout)["model"]["y"] == 0.7
    again = copy.run("calibrate-slippage", "--revert")
    assert again.returncode == REFUSED and "no calibration is in force" in again.stderr


def test_calibration_in_json(copy: CommandLine) -> None:
    made = copy.json("calibrate-slippage", "--until", "2019-01-27")
    assert (made["calibration"], made["fills"], made["last_session"]) == (1, 25, "2019-01-27")
    assert made["before"]["y"] == 0.7 and made["after"]["y"] == pytest.approx(1.2)
    assert made["before"]["reconciliation"]["relative_bias"] > 0.3
    assert abs(made["after"]["reconciliation"]["relative_bias"]) < 1e-9


def test_too_few_fills_are_refused_with_their_number(copy: CommandLine) -> None:
    done = copy.run("calibrate-slippage", "--since", "2019-01-20")
    assert done.returncode == REFUSED and done.stdout == ""
    assert "not enough fills: 13 of 13 orders can be used" in done.stderr
    mixed = copy.run("calibrate-slippage", "--revert", "--dry-run")
    assert mixed.returncode == USAGE and "takes no other option" in mixed.stderr


@pytest.mark.parametrize("command", [("fill-report",), ("calibrate-slippage",)])
def test_a_desk_without_fills_says_what_to_do(empty: CommandLine, command: tuple[str]) -> None:
    done = empty.run(*command)
    assert done.returncode == REFUSED and done.stdout == ""
    assert "run a first cycle: `hydra cycle`" in done.stderr
