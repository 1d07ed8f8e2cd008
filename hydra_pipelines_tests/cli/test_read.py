"""`hydra status`, `positions`, `trades`: the same figures in words, in JSON, and at the venue."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from hydra_pipelines_tests.cli.words import figures, lines
from hydra_pipelines_tests.conftest import TradedDesk
from hydra_pipelines_tests.desks import OK, REFUSED, USAGE, CommandLine


def test_status_before_any_cycle(empty: CommandLine) -> None:
    status = empty.json("status")
    assert status == {
        "schema": "hydra.status/1",
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


def test_status_agrees_with_positions_trades_and_the_venue(traded_desk: TradedDesk) -> None:
    account, truth = traded_desk.status["account"], traded_desk.truth
    held = {row["symbol"]: row["quantity"] for row in traded_desk.positions}
    assert held == {p["symbol"]: p["quantity"] for p in truth["positions"] if p["quantity"]}
    assert account["positions"] == len(held)
    worth = sum(Decimal(row["market_value"]) for row in traded_desk.positions)
    cents = Decimal("0.005") * len(held)  # each position is rounded by itself
    assert account["gross"] == account["net"]
    assert abs(Decimal(account["gross"]) - worth) <= cents
    assert Decimal(account["cash"]) == round(Decimal(truth["cash"]), 2)
    assert abs(Decimal(account["equity"]) - Decimal(account["cash"]) - worth) <= cents
    assert traded_desk.status["last_cycle"]["fills"] == len(traded_desk.trades)
    bought: dict[str, int] = {}
    spent = Decimal(0)
    for trade in traded_desk.trades:
        assert trade["side"] == "BUY", "the first session starts from cash"
        bought[trade["symbol"]] = bought.get(trade["symbol"], 0) + trade["quantity"]
        spent += trade["quantity"] * Decimal(trade["price"]) + Decimal(trade["commission"])
    assert bought == held
    assert Decimal(truth["cash"]) == Decimal("1000000.00") - spent
    # A new price is one more message with the id of the same order.
    placed = {m["order_id"] for m in traded_desk.messages["messages"] if m["kind"] == "placeOrder"}
    assert placed == {order["order_id"] for order in truth["orders"]}
    assert len(truth["orders"]) == traded_desk.status["last_cycle"]["orders"]


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


def test_a_wide_table_is_never_cut_in_a_file(traded_desk: TradedDesk) -> None:
    done = traded_desk.hydra.run("trades", COLUMNS="40")
    assert "…" not in done.stdout
    assert {len(line.split()) for line in done.stdout.splitlines()[2:]} == {12}
