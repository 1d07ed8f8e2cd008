"""The command line as a person or a script uses it, in processes of its own."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from hydra_pipelines_tests.conftest import TradedDesk
from hydra_pipelines_tests.desks import HYDRA, CommandLine, shut_down

OK, FAILURE, USAGE, REFUSED = 0, 1, 2, 3


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """A desk on which nothing was ever run."""
    hydra = CommandLine(tmp_path_factory.mktemp("empty") / "my desk")
    yield hydra
    shut_down(hydra.folder)


def figures(text: str) -> list[str]:
    """The numbers of a text, thousands not separated."""
    return re.findall(r"-?\d[\d.]*", text.replace(",", ""))


def lines(text: str) -> dict[str, str]:
    """The status in words: what stands behind each name."""
    return {line[:12].strip(): line[13:] for line in text.splitlines() if line.strip()}


# help


def test_help_lists_the_commands(empty: CommandLine) -> None:
    done = empty.run("--help")
    assert done.returncode == OK and not done.stderr
    for command in ("cycle", "status", "positions", "trades", "doctor"):
        assert re.search(rf"\b{command}\b  +\w", done.stdout), f"{command} with its line of help"
    assert done.stdout == empty.run("-h").stdout


@pytest.mark.parametrize("command", ["cycle", "trades"])
def test_a_command_explains_itself_and_speaks_json(empty: CommandLine, command: str) -> None:
    done = empty.run(command, "--help")
    assert done.returncode == OK and "--json" in done.stdout
    assert not empty.folder.exists(), "help makes nothing"


def test_the_console_script_is_the_same_program(empty: CommandLine) -> None:
    script = Path(sys.executable).with_name("hydra")
    if not script.exists():
        pytest.skip("the project is not installed in this environment")
    done = subprocess.run([script, "-h"], capture_output=True, text=True, env=empty.environment)
    assert done.stdout == empty.run("-h").stdout


# before the first cycle


def test_status_before_any_cycle(empty: CommandLine) -> None:
    status = empty.json("status")
    assert status == {
        "mode": "paper",
        "venue": "embedded",
        "next_session_due": "2019-01-02",
        "last_cycle": None,
        "account": None,
        "drift": "not_checked",
        "agent": "running",
        "kill_switch": False,
        "breakers": [],
    }
    text = empty.run("status").stdout
    assert lines(text)["last cycle"] == "none yet: run `hydra cycle`"
    assert lines(text)["next due"] == "2019-01-02"


@pytest.mark.parametrize("command", ["positions", "trades"])
def test_nothing_to_show_is_said_and_told_from_none(empty: CommandLine, command: str) -> None:
    done = empty.run(command, "--json")
    assert done.returncode == REFUSED
    assert done.stdout == "" and "run a first cycle: `hydra cycle`" in done.stderr
    assert str(empty.folder) in done.stderr


# a cycle


def test_a_cycle_shows_its_steps_and_says_only_data_on_stdout(traded_desk: TradedDesk) -> None:
    steps = re.findall(r"^  (\w+) +(ok|FAILED) +\d+\.\d\d s$", traded_desk.progress, re.MULTILINE)
    assert {name for name, _ in steps} == {
        "bars", "universe", "features", "champion_models", "predictions", "signals",
        "order_plan", "executions", "positions", "account",
    }  # fmt: skip
    assert {mark for _, mark in steps} == {"ok"}
    assert "HYP-2026-001: no champion yet, training as of 2019-01-02" in traded_desk.progress
    assert "Traceback" not in traded_desk.progress and "DEBUG" not in traded_desk.progress


def test_cycle_and_status_agree(traded_desk: TradedDesk) -> None:
    assert traded_desk.cycle == traded_desk.status
    last = traded_desk.status["last_cycle"]
    assert (last["session"], last["execution_session"]) == ("2019-01-02", "2019-01-03")
    assert (last["status"], last["dry_run"]) == ("done", False)
    assert (last["strategies"], last["predictions"]) == (2, 40)
    assert last["orders"] == last["planned_orders"] > 0
    assert last["denied"] == last["unknown_orders"] == 0
    assert traded_desk.status["next_session_due"] == "2019-01-03"


def test_status_agrees_with_positions_trades_and_the_venue(traded_desk: TradedDesk) -> None:
    account, truth = traded_desk.status["account"], traded_desk.truth
    held = {row["symbol"]: row["quantity"] for row in traded_desk.positions}
    assert held == {p["symbol"]: p["quantity"] for p in truth["positions"] if p["quantity"]}
    assert account["positions"] == len(held)
    worth = sum(Decimal(row["market_value"]) for row in traded_desk.positions)
    assert Decimal(account["gross"]) == Decimal(account["net"]) == worth
    assert Decimal(account["cash"]) == round(Decimal(truth["cash"]), 2)
    # The broker rounds each of them by itself.
    assert abs(Decimal(account["equity"]) - Decimal(account["cash"]) - worth) <= Decimal("0.01")
    assert traded_desk.status["last_cycle"]["fills"] == len(traded_desk.trades)
    bought: dict[str, int] = {}
    spent = Decimal(0)
    for trade in traded_desk.trades:
        assert trade["side"] == "BUY", "the first session starts from cash"
        bought[trade["symbol"]] = bought.get(trade["symbol"], 0) + trade["quantity"]
        spent += trade["quantity"] * Decimal(trade["price"]) + Decimal(trade["commission"])
    assert bought == held
    assert Decimal(truth["cash"]) == Decimal("1000000.00") - spent
    assert traded_desk.messages["count"] == traded_desk.status["last_cycle"]["orders"]


def test_words_and_json_have_the_same_figures(traded_desk: TradedDesk) -> None:
    """Of the desk as it is now: tests before this one may have gone on with it."""
    hydra = traded_desk.hydra
    status, words = hydra.json("status"), lines(hydra.run("status").stdout)
    last, account = status["last_cycle"], status["account"]
    assert words["session"].startswith(
        f"{last['session']}, executed in {last['execution_session']}"
    )
    assert figures(words["predictions"]) == [str(last["predictions"]), str(last["strategies"])]
    assert figures(words["orders"])[:2] == [str(last["orders"]), str(last["planned_orders"])]
    assert figures(words["fills"]) == [str(last["fills"])]
    assert figures(words["positions"]) == [str(account["positions"]), account["gross"]]
    assert figures(words["equity"])[:2] == [account["equity"], account["cash"]]
    assert figures(words["day P&L"])[0] == account["daily_pnl"]
    assert figures(words["day P&L"])[2] == account["peak"]
    assert words["next due"] == status["next_session_due"]

    table = hydra.run("positions").stdout
    for row in hydra.json("positions"):
        (line,) = [line for line in table.splitlines() if line.startswith(row["symbol"])]
        shown = figures(line)
        assert shown[0] == str(row["quantity"])
        assert Decimal(shown[1]) == Decimal(row["entry_price"])
        assert Decimal(shown[3]) == Decimal(row["market_value"])
        assert Decimal(shown[4]) == Decimal(row["unrealized_pnl"])
        assert line.rstrip().endswith(row["strategies"])


def test_trades_can_be_picked(traded_desk: TradedDesk) -> None:
    hydra = traded_desk.hydra
    everything = hydra.json("trades", "--limit", "100000")
    times = [trade["executed_at"] for trade in everything]
    assert times == sorted(times, reverse=True), "the latest first"
    assert hydra.json("trades", "--limit", "3") == everything[:3]
    symbol = traded_desk.trades[0]["symbol"]
    assert hydra.json("trades", "--symbol", symbol, "--limit", "100000") == [
        trade for trade in everything if trade["symbol"] == symbol
    ]
    assert hydra.json("trades", "--since", "2019-01-03", "--limit", "100000") == everything
    done = hydra.run("trades", "--since", "2099-01-01")
    assert done.returncode == OK and done.stdout == "" and done.stderr == "No fills.\n"
    assert hydra.run("trades", "--limit", "0").returncode == USAGE
    table = hydra.run("trades", "--limit", "1").stdout
    latest = everything[0]
    assert table.splitlines()[0].startswith("Fills, the latest first")
    shown = table.splitlines()[-1].split()
    at = latest["executed_at"]
    assert shown[:5] == [at[:10], at[11:19], "UTC", latest["symbol"], latest["side"]]
    assert Decimal(shown[5].replace(",", "")) == latest["quantity"]


def test_times_are_utc_wherever_the_machine_is(traded_desk: TradedDesk) -> None:
    done = traded_desk.hydra.run("trades", "--json", "--limit", "100000", TZ="America/New_York")
    there = [trade["executed_at"] for trade in json.loads(done.stdout)]
    assert there[-1] == traded_desk.trades[-1]["executed_at"]
    assert all(at.endswith("+00:00") for at in there)


# what is refused, and with which code


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["cycle", "--session", "tomorrow"], USAGE, "'tomorrow' does not match the format"),
        (["cycle", "--session", "2019-02-30"], USAGE, "'2019-02-30' does not match"),
        (
            ["cycle", "--session", "2019-01-05"],
            USAGE,
            "2019-01-05 (Saturday) is not a XNYS session",
        ),
        (["cycle", "--session", "1980-01-02"], USAGE, "1980-01-02 is outside the XNYS calendar"),
        (["cycle", "--session", "2018-12-31"], REFUSED, "2018-12-31 can't be traded any more"),
        (["trade"], USAGE, "No such command 'trade'"),
        (["status", "--jsonn"], USAGE, "No such option"),
    ],
)
def test_refusals_have_their_code_and_say_why(
    traded_desk: TradedDesk, arguments: list[str], code: int, message: str
) -> None:
    before = traded_desk.hydra.orders_received()
    done = traded_desk.hydra.run(*arguments)
    assert done.returncode == code
    assert message in re.sub(r"[\s│]+", " ", done.stderr)
    assert done.stdout == "" and "Traceback" not in done.stderr
    assert traded_desk.hydra.orders_received() == before


@pytest.mark.parametrize(
    ("environment", "code", "message"),
    [
        ({"HYDRA_MODE": "life"}, USAGE, "mode (in the environment)"),
        ({"HYDRA_MARKET__CALENDAR": "NYSE?"}, USAGE, "'NYSE?' is not an exchange calendar"),
        ({"HYDRA_ROOT": "/nowhere"}, USAGE, "there is no folder /nowhere"),
        ({"HYDRA_MARKET__SOURCE": "oracle"}, FAILURE, "'oracle' is not a known source"),
        ({"HYDRA_EMBEDDED__FIRST_SESSION": "1985-01-02"}, USAGE, "XNYS calendar"),
        ({"HYDRA_EMBEDDED__FIRST_SESSION": "2019-01-01"}, FAILURE, "first session 2019-01-01"),
    ],
)
def test_settings_that_cant_be_right_are_said_in_a_line(
    empty: CommandLine, environment: dict[str, str], code: int, message: str
) -> None:
    done = empty.run("cycle", **environment)
    assert done.returncode == code, done.stderr
    assert message in done.stderr and "Traceback" not in done.stderr


def test_a_data_folder_that_cant_be_is_said_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "desk").write_text("a file, not a folder")
    done = CommandLine(tmp_path / "desk").run("status")
    assert done.returncode == FAILURE
    assert done.stderr.startswith("hydra: ") and str(tmp_path / "desk") in done.stderr
    assert "Traceback" not in done.stderr


def test_a_control_store_that_cant_be_read_is_no_quiet_desk(tmp_path: Path) -> None:
    hydra = CommandLine(tmp_path / "desk")
    (hydra.folder / "control.sqlite").mkdir(parents=True)
    done = hydra.run("status", "--json")
    assert done.returncode == REFUSED
    assert "nothing is traded without it" in done.stderr and done.stdout == ""


def test_a_damaged_ledger_is_said_and_left_as_it_is(tmp_path: Path) -> None:
    hydra = CommandLine(tmp_path / "desk")
    hydra.folder.mkdir()
    (hydra.folder / "hydra.duckdb").write_bytes(b"damaged")
    for command in ("status", "cycle"):
        done = hydra.run(command)
        assert done.returncode == FAILURE
        assert "hydra.duckdb can't be opened" in done.stderr and "Traceback" not in done.stderr
    assert (hydra.folder / "hydra.duckdb").read_bytes() == b"damaged"


# again, and on


def test_the_same_session_again_sends_nothing_new(traded_desk: TradedDesk) -> None:
    hydra = traded_desk.hydra
    if hydra.json("status")["last_cycle"]["dry_run"]:  # left by another test
        hydra.json("cycle")
    status = hydra.json("status")
    before = hydra.venue.messages(), hydra.venue.truth(), hydra.json("trades", "--limit", "100000")
    again = hydra.json("cycle", "--session", status["last_cycle"]["session"])
    assert again == status
    assert before == (
        hydra.venue.messages(),
        hydra.venue.truth(),
        hydra.json("trades", "--limit", "100000"),
    )


def test_a_dry_run_writes_the_plan_and_sends_nothing_then_the_cycle_trades_it(
    traded_desk: TradedDesk,
) -> None:
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
    assert f"0 sent of {last['planned_orders']} planned (dry run)" in done.stdout

    done = hydra.run("cycle")
    assert done.returncode == OK, done.stderr
    status = hydra.json("status")
    last = status["last_cycle"]
    assert (last["session"], last["status"], last["dry_run"]) == (due, "done", False)
    assert hydra.orders_received() == before[0]["count"] + last["orders"]
    assert date.fromisoformat(status["next_session_due"]) > date.fromisoformat(due)
    truth = hydra.venue.truth()
    assert {row["symbol"]: row["quantity"] for row in hydra.json("positions")} == {
        p["symbol"]: p["quantity"] for p in truth["positions"] if p["quantity"]
    }
    assert Decimal(status["account"]["cash"]) == round(Decimal(truth["cash"]), 2)
    assert lines(done.stdout)["equity"] == lines(hydra.run("status").stdout)["equity"]
    assert "Look next:" in done.stdout


def test_the_kill_switch_is_seen_and_stops_the_next_cycle(traded_desk: TradedDesk) -> None:
    from hydra_pipelines.control import Control

    hydra = traded_desk.hydra
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
        assert last["orders"] == 0 and last["denied"] == last["planned_orders"] > 0
        assert f"{last['denied']} denied by the risk gate" in hydra.run("status").stdout
    finally:
        control.set_kill_switch(False, "the test is over")
        control.reset("drawdown")


# colours


def on_a_terminal(hydra: CommandLine, *arguments: str, **environment: str) -> str:
    """What a command writes to a terminal of its own."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [*HYDRA, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=follower,
        stderr=follower,
        env={**hydra.environment, "TERM": "xterm-256color", **environment},
    )
    os.close(follower)
    written = b""
    while True:
        try:
            chunk = os.read(leader, 65536)
        except OSError:  # Linux says so that the other end is closed
            break
        if not chunk:
            break
        written += chunk
    os.close(leader)
    assert process.wait() == OK
    return written.decode()


COLOUR = re.compile(r"\x1b\[[\d;]*(3[0-8]|4[0-8]|9\d|10\d)[\d;]*m")


def test_no_color_means_none(empty: CommandLine) -> None:
    assert COLOUR.search(on_a_terminal(empty, "--help"))
    assert not COLOUR.search(on_a_terminal(empty, "--help", NO_COLOR="1"))


def test_nothing_but_text_goes_to_a_file(traded_desk: TradedDesk) -> None:
    for command in ("--help", "status", "positions", "trades"):
        done = traded_desk.hydra.run(command, TERM="xterm-256color")
        assert "\x1b" not in done.stdout + done.stderr


def test_a_wide_table_is_never_cut_in_a_file(traded_desk: TradedDesk) -> None:
    done = traded_desk.hydra.run("trades", COLUMNS="40")
    assert "…" not in done.stdout
    assert {len(line.split()) for line in done.stdout.splitlines()[2:]} == {12}


# doctor


def findings(hydra: CommandLine, code: int, **environment: str) -> dict[str, Any]:
    done = hydra.run("doctor", "--json", **environment)
    assert done.returncode == code, done.stderr
    said = json.loads(done.stdout)
    assert said["healthy"] is (code == OK)
    assert said["healthy"] is all(finding["ok"] for finding in said["findings"])
    return {f["check"]: f for f in said["findings"]}


def test_a_healthy_desk(traded_desk: TradedDesk) -> None:
    found = findings(traded_desk.hydra, OK)
    assert {"python", "dagster", "data", "disk", "calendar", "market data", "strategies", "limits",
            "control", "ledger", "venue"} <= set(found)  # fmt: skip
    assert re.fullmatch(r"schema \d+, \d+ sessions planned", found["ledger"]["detail"])
    assert found["market data"]["detail"] == "sample: 20 symbols, 1990-01-02 to 2022-12-28"
    assert found["strategies"]["detail"] == "HYP-2026-001, HYP-2026-002"
    assert re.fullmatch(r"embedded, port \d+", found["venue"]["detail"])
    words = traded_desk.hydra.run("doctor").stdout
    assert words.count("\nok ") + 1 == len(found) and "WRONG" not in words


def test_a_desk_with_much_that_is_wrong(tmp_path: Path) -> None:
    """Each thing by itself: what is broken hides nothing of the rest."""
    hydra = CommandLine(
        tmp_path / "desk",
        HYDRA_MARKET__OPTIONS__PATH=str(tmp_path / "missing.parquet"),
        HYDRA_STRATEGIES=json.dumps(
            [{"id": "HYP-2026-009", "title": "x", "family": "momentum", "features": ["magic"],
              "status": "deployed"}]
        ),
    )  # fmt: skip
    (hydra.folder / "control.sqlite").mkdir(parents=True)
    (hydra.folder / "hydra.duckdb").write_bytes(b"damaged")
    found = findings(hydra, REFUSED)
    wrong = {name: finding["detail"] for name, finding in found.items() if not finding["ok"]}
    assert set(wrong) == {"market data", "strategies", "control", "ledger"}
    assert "missing.parquet" in wrong["market data"]
    assert "'magic'" in wrong["strategies"]
    assert "control.sqlite" in wrong["control"]
    assert "can't be opened" in wrong["ledger"]
    done = hydra.run("doctor")
    assert done.stdout.count("WRONG") == len(wrong)
    assert "see the lines marked WRONG" in done.stderr


def test_doctor_makes_no_ledger_and_starts_no_venue(empty: CommandLine) -> None:
    found = findings(empty, OK)
    assert found["ledger"]["detail"] == "none yet, made by the first cycle"
    assert found["venue"]["detail"] == "embedded, starts with a cycle"
    assert not (empty.folder / "hydra.duckdb").exists()
