"""The fault menu at the gateway itself: scripts, what a client hears, and books that stay right."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ib_insync import IB, Stock
from ib_insync.wrapper import RequestError

from hydra_pipelines.paper_gateway import faults
from hydra_pipelines.paper_gateway.control import GatewayControl, GatewayControlError
from hydra_pipelines.paper_gateway.faults import MENU, RANDOM, FaultError, parse, schedule
from hydra_pipelines.paper_gateway.launch import find_running
from hydra_pipelines_tests.paper_gateway.served import ErrorLog, Served, connect
from hydra_pipelines_tests.paper_gateway.test_client import MORNING, contract, place

Client = Callable[..., IB]
LATER = datetime(2019, 1, 3, 15, 1, tzinfo=UTC)


def test_a_script_says_what_is_wrong_with_it() -> None:
    for script, complaint in (
        ({}, "a fault script is a list"),
        ([{"fault": "drop"}], "there is no fault 'drop'; the menu has client_id_in_use"),
        (["drop_before_place"], "there is no fault 'drop_before_place'"),
        ([{"fault": "outage", "hours": 3}], "no option hours; it takes symbol, after, times"),
        ([{"fault": "outage", "code": 1100}], "code is 1100, expected one of 1102, 1101"),
        ([{"fault": "overfill", "times": -1}], "times is -1, expected a whole number from 0"),
        ([{"fault": "overfill", "after": True}], "after is True, expected a whole number"),
        ([{"fault": "overfill", "symbol": 7}], "symbol is 7, expected text"),
        ({"random": {"faults": 3}}, "write {seed: 7}"),
        ({"random": {"seed": "x"}}, "write {seed: 7}"),
    ):
        with pytest.raises(FaultError, match=complaint.replace("(", r"\(")):
            parse(script)


def test_a_script_is_read_from_yaml_and_from_json(tmp_path: Path) -> None:
    yaml, json = tmp_path / "s.yaml", tmp_path / "s.json"
    yaml.write_text("faults:\n  - {fault: outage, minutes: 9, code: 1101}\n")
    json.write_text('[{"fault": "outage", "minutes": 9, "code": 1101}]')
    (rule,), (same,) = faults.read(yaml).rules, faults.read(json).rules
    assert rule == same
    assert rule.written() == {
        "fault": "outage", "symbol": "", "after": 0, "times": 1,
        "minutes": 9, "code": 1101, "told": "never",
    }  # fmt: skip
    yaml.write_text("faults: [")
    with pytest.raises(FaultError, match=r"s\.yaml"):
        faults.read(yaml)
    with pytest.raises(FaultError, match="none"):
        faults.read(tmp_path / "none.yaml")


@given(st.integers(0, 2**31), st.integers(1, 8))
def test_a_schedule_can_be_replayed_from_its_seed_and_written_out(seed: int, count: int) -> None:
    drawn = schedule(seed, count)
    written = [rule.written() for rule in drawn.rules]
    assert [rule.written() for rule in schedule(seed, count).rules] == written
    assert [rule.written() for rule in parse(written).rules] == written
    assert {rule.fault for rule in drawn.rules} <= set(RANDOM)


def test_schedules_reach_the_whole_menu() -> None:
    drawn = {rule.fault for seed in range(300) for rule in schedule(seed).rules}
    assert drawn == set(RANDOM)
    assert schedule(1).rules != schedule(2).rules


@settings(max_examples=100)
@given(st.integers(0, 4), st.integers(0, 4), st.lists(st.sampled_from("AB"), max_size=12))
def test_a_rule_strikes_after_so_many_occasions_and_so_often(
    after: int, times: int, symbols: list[str]
) -> None:
    script = parse([{"fault": "overfill", "symbol": "A", "after": after, "times": times}])
    struck = [script.strike("overfill", symbol) is not None for symbol in symbols]
    occasions = symbols.count("A")
    expected = max(occasions - after, 0)
    assert sum(struck) == (min(expected, times) if times else expected)
    assert script.struck() == {"overfill": sum(struck)}


def begin(served: Served, client: Client, *script: dict[str, Any]) -> tuple[IB, Any, Any]:
    """A client in the morning, faults at work: (client, contract of DEEP, its quote)."""
    ib = client()
    deep = contract(ib, "DEEP")
    served.advance(MORNING)
    (quote,) = ib.reqTickers(deep)
    served.control.set_faults(list(script))
    return ib, deep, quote


def check_sums(served: Served) -> dict[str, Any]:
    """The venue's books add up, whatever went wrong with its fills."""
    truth = served.control.truth()
    cash, held = Decimal(1_000_000), 0
    for fill in truth["executions"]:
        sign = 1 if fill["action"] == "BUY" else -1
        cash -= sign * fill["shares"] * Decimal(fill["price"]) + Decimal(fill["commission"])
        held += sign * fill["shares"]
    assert Decimal(truth["cash"]) == cash
    assert sum(p["quantity"] for p in truth["positions"]) == held
    cost = sum(Decimal(p["cost"]) for p in truth["positions"])
    realized = sum(Decimal(e["realized"] or 0) for e in truth["executions"])
    assert cash + cost - realized == 1_000_000
    return truth


def test_a_correction_replaces_its_execution(served: Served, client: Client) -> None:
    ib, deep, quote = begin(served, client, {"fault": "correction", "times": 0, "ticks": 3})
    bought = place(ib, deep, "BUY", 100, round(quote.ask * 1.01, 2))
    sold = place(ib, deep, "SELL", 40, round(quote.bid * 0.99, 2))
    for trade, sign in ((bought, -1), (sold, 1)):
        wrong, right = (fill.execution for fill in trade.fills)
        assert (wrong.execId[-2:], right.execId[-2:]) == ("01", "02")
        assert wrong.execId[:-2] == right.execId[:-2]
        assert right.price == pytest.approx(wrong.price + sign * 0.03)
    truth = check_sums(served)
    assert [e["exec_id"][-2:] for e in truth["executions"]] == ["02", "02"]
    assert len(ib.reqExecutions()) == 4


def test_more_fills_than_was_ordered(served: Served, client: Client) -> None:
    ib, deep, quote = begin(served, client, {"fault": "overfill", "shares": 7})
    trade = place(ib, deep, "BUY", 100, round(quote.ask * 1.01, 2))
    assert (trade.orderStatus.status, trade.orderStatus.filled) == ("Filled", 107)
    assert trade.orderStatus.remaining == 0
    assert check_sums(served)["positions"][0]["quantity"] == 107


def test_a_part_fills_and_the_rest_is_rejected(
    served: Served, client: Client, errors: ErrorLog
) -> None:
    ib, deep, quote = begin(served, client, {"fault": "partial_then_reject"})
    trade = place(ib, deep, "BUY", 100, round(quote.ask * 1.01, 2))
    assert 201 in {entry.errorCode for entry in trade.log}
    errors.expect("Error 201")
    (order,) = check_sums(served)["orders"]
    assert (order["status"], order["filled"]) == ("Inactive", 50)


def test_shares_fill_after_the_cancellation(
    served: Served, client: Client, errors: ErrorLog
) -> None:
    ib, deep, quote = begin(served, client, {"fault": "fill_after_cancel", "shares": 30})
    trade = place(ib, deep, "BUY", 100, round(quote.bid * 0.9, 2))
    ib.cancelOrder(trade.order)
    ib.reqCurrentTime()
    (order,) = check_sums(served)["orders"]
    assert (order["status"], order["filled"]) == ("Cancelled", 30)
    assert [fill.execution.shares for fill in trade.fills] == [30]
    errors.lines.clear()


def test_an_outage_is_announced_and_ends_as_told(
    served: Served, client: Client, errors: ErrorLog
) -> None:
    script = {"fault": "outage", "minutes": 1, "code": 1101, "told": "late"}
    ib, deep, quote = begin(served, client, script)
    heard: list[int] = []
    ib.errorEvent += lambda _, code, *__: heard.append(code)
    stream = ib.reqMktData(deep)
    trade = place(ib, deep, "BUY", 100, round(quote.ask * 1.01, 2))
    assert heard == [1100]
    assert trade.fills == [] and served.control.truth()["executions"]
    served.advance(LATER)
    ib.reqCurrentTime()
    assert heard == [1100, 1101]
    assert [fill.execution.shares for fill in trade.fills] == [100]
    before = stream.bid
    served.advance(datetime(2019, 1, 3, 16, 0, tzinfo=UTC))
    ib.reqCurrentTime()
    assert stream.bid == before, "market data go on after 1101, which lost them"
    errors.expect("Error 1100", "Error 1101")


def test_an_outage_ends_with_the_script_that_made_it(
    served: Served, client: Client, errors: ErrorLog
) -> None:
    script = {"fault": "outage", "minutes": 300, "code": 1102, "told": "late"}
    ib, deep, quote = begin(served, client, script)
    trade = place(ib, deep, "BUY", 100, round(quote.ask * 1.01, 2))
    assert trade.fills == []
    other = client(6)
    other.reqCurrentTime()
    served.control.set_faults([])
    ib.reqCurrentTime()
    other.reqCurrentTime()
    assert [fill.execution.shares for fill in trade.fills] == [100]
    errors.expect("Error 1100", "Error 1100", "Error 1102", "Error 1102")


def test_a_read_only_api_refuses_orders_and_lists_none(
    served: Served, client: Client, errors: ErrorLog
) -> None:
    ib, deep, quote = begin(served, client, {"fault": "read_only", "times": 0})
    heard: list[tuple[int, int]] = []
    ib.errorEvent += lambda about, code, *_: heard.append((about, code))
    trade = place(ib, deep, "BUY", 100, round(quote.ask * 1.01, 2))
    ib.client.reqAllOpenOrders()
    ib.client.reqCompletedOrders(False)
    ib.reqCurrentTime()
    assert heard == [(trade.order.orderId, 321), (-1, 321), (-1, 321)]
    assert served.control.messages()["count"] == 0
    errors.expect("Error 321", "Error 321", "Error 321")


def test_what_is_late_comes_with_the_next_step_of_the_clock(served: Served, client: Client) -> None:
    script = ({"fault": "late_status", "times": 1}, {"fault": "late_commission", "times": 1})
    ib, deep, quote = begin(served, client, *script)
    trade = place(ib, deep, "BUY", 100, round(quote.ask * 1.01, 2))
    (fill,) = trade.fills
    assert not fill.commissionReport.execId
    assert trade.orderStatus.status not in ("Submitted", "Filled")
    served.advance(LATER)
    ib.reqCurrentTime()
    assert fill.commissionReport.commission == 1.0
    assert trade.orderStatus.status == "Filled"


def test_who_may_not_see_live_prices_gets_delayed_ones(
    served: Served, client: Client, errors: ErrorLog
) -> None:
    ib, deep, live = begin(served, client, {"fault": "no_market_data", "times": 0})
    with pytest.raises(RequestError, match="354"):
        ib.reqTickers(deep)
    errors.expect("Error 354")
    served.advance(datetime(2019, 1, 3, 15, 15, tzinfo=UTC))
    ib.reqMarketDataType(3)
    kinds: list[int] = []
    interpret = ib.client.decoder.interpret

    def watch(fields: list[str]) -> None:
        if fields[0] in ("1", "46"):
            kinds.append(int(fields[3]))
        interpret(fields)

    ib.client.decoder.interpret = watch
    stream = ib.reqMktData(deep)
    ib.reqCurrentTime()
    assert stream.marketDataType == 3
    assert kinds == [66, 67, 68, 75, 88]
    assert (stream.bid, stream.ask) == (live.bid, live.ask)
    ib.cancelMktData(deep)
    served.control.set_faults([])
    (now,) = ib.reqTickers(deep)
    assert now.marketDataType == 1, "delayed data are a fall-back only"


def test_history_that_is_not_to_be_had(served: Served, client: Client, errors: ErrorLog) -> None:
    ib, deep, _ = begin(served, client, {"fault": "no_history"})
    with pytest.raises(RequestError, match="162"):
        ib.reqHistoricalData(deep, "", "5 D", "1 day", "TRADES", True)
    errors.expect("Error 162")
    assert len(ib.reqHistoricalData(deep, "", "5 D", "1 day", "TRADES", True)) == 5


def test_ids_roll_back_and_are_taken_again(served: Served, client: Client) -> None:
    ib, deep, quote = begin(served, client, {"fault": "id_rollback"})
    first = place(ib, deep, "BUY", 10, round(quote.ask * 1.01, 2))
    ib.disconnect()
    again = connect(served.endpoint)
    again.client.updateReqId(1)
    assert again.client.getReqId() <= first.order.orderId
    second = place(again, deep, "BUY", 10, round(quote.ask * 1.01, 2), orderId=first.order.orderId)
    again.disconnect()
    assert second.order.permId > first.order.permId
    assert len(check_sums(served)["executions"]) == 2


def test_faults_are_set_and_seen_by_the_control_port(served: Served) -> None:
    assert served.control.faults() == {"rules": [], "struck": {}}
    seen = served.control.set_faults({"random": {"seed": 11, "faults": 2}})
    assert [rule["fault"] for rule in seen["rules"]] == [r.fault for r in schedule(11, 2).rules]
    with pytest.raises(GatewayControlError, match="there is no fault"):
        served.control.set_faults([{"fault": "nonsense"}])
    assert len(served.control.faults()["rules"]) == 2
    assert served.control.set_faults([]) == {"rules": [], "struck": {}}


def test_the_command_runs_it_standing_with_a_script(tmp_path: Path) -> None:
    script = tmp_path / "script.yaml"
    script.write_text("faults: [{fault: silent_greeting, after: 1}]\n")
    home = tmp_path / "gateway"
    command = [
        sys.executable, "-c", "from hydra_pipelines.cli import main; main()", "gateway",
        "--port", "0", "--home", str(home), "--session", "2019-01-04",
        "--cash", "5000", "--account", "DU77", "--script", str(script),
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        endpoint = None
        while endpoint is None and process.poll() is None:
            endpoint = find_running(home)
            time.sleep(0.05)
        assert endpoint is not None, process.stderr and process.stderr.read()
        control = GatewayControl(endpoint)
        status = control.status()
        assert (status["account"], status["now"]) == ("DU77", "2019-01-04T21:00:00+00:00")
        assert control.truth()["cash"] == "5000.0000"
        ib = connect(endpoint)
        ib.disconnect()
        with pytest.raises(TimeoutError):
            IB().connect(endpoint.host, endpoint.port, clientId=6, timeout=0.3)
        assert control.faults()["struck"] == {"silent_greeting": 1}
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
    assert process.returncode == 0


def test_the_command_says_what_it_can_not_do(served: Served, tmp_path: Path) -> None:
    program = (sys.executable, "-c", "from hydra_pipelines.cli import main; main()", "gateway")
    taken = str(served.endpoint.port)
    command = [*program, "--port", taken, "--home", str(tmp_path / "gateway")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1
    assert f"can't listen at 127.0.0.1:{taken}" in done.stderr
    assert "Traceback" not in done.stderr


def test_every_fault_says_what_it_does() -> None:
    for name, fault in MENU.items():
        assert fault.does and fault.occasion, name
        assert all(values for values in fault.options.values()), name


def test_an_order_nobody_hears_of_is_there_when_asked(served: Served, client: Client) -> None:
    ib, deep, quote = begin(served, client, {"fault": "silent_order"})
    trade = place(ib, deep, "BUY", 100, round(quote.bid * 0.9, 2))
    assert trade.orderStatus.status == "PendingSubmit"
    (found,) = ib.reqAllOpenOrders()
    assert found.order.permId > 0 and Stock("DEEP").symbol == found.contract.symbol
