"""The gateway through the eyes of an unmodified client over a real socket."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ib_insync import IB, ExecutionFilter, LimitOrder, MarketOrder, Stock
from ib_insync.contract import Contract
from ib_insync.order import Trade
from ib_insync.wrapper import RequestError

from hydra_pipelines.paper_gateway.control import GatewayControlError, VenueClock
from hydra_pipelines.sessions import Calendar
from hydra_pipelines_tests.paper_gateway.served import (
    ACCOUNT,
    ErrorLog,
    Served,
    connect,
    make_panel,
    make_venue,
)

Client = Callable[..., IB]

BEFORE_OPEN = datetime(2019, 1, 3, 14, 0, tzinfo=UTC)
MORNING = datetime(2019, 1, 3, 15, 0, tzinfo=UTC)
CLOSE = datetime(2019, 1, 3, 21, 0, tzinfo=UTC)


def contract(ib: IB, symbol: str) -> Contract:
    (found,) = ib.qualifyContracts(Stock(symbol, "SMART", "USD"))
    return found


def place(ib: IB, stock: Contract, action: str, shares: int, limit: float, **more: object) -> Trade:
    """Places a limit order and waits until the gateway has said all it has to say about it."""
    order = LimitOrder(action, shares, limit, tif="DAY", account=ACCOUNT)
    for name, value in more.items():
        setattr(order, name, value)
    trade = ib.placeOrder(stock, order)
    ib.reqCurrentTime()
    return trade


def messages_of(ib: IB) -> list[tuple[str, ...]]:
    """Records, from now on, what the client decodes about orders: (kind, state)."""
    seen: list[tuple[str, ...]] = []
    kinds = {"3": "orderStatus", "5": "openOrder", "11": "execDetails", "59": "commissionReport"}
    decode = ib.client.decoder.interpret

    def interpret(fields: list[str]) -> None:
        kind = kinds.get(fields[0])
        if kind == "openOrder":
            known = "commission" if fields[_OPEN_ORDER_COMMISSION] != _UNSET else ""
            seen.append((kind, fields[_OPEN_ORDER_STATUS], known))
        elif kind == "orderStatus":
            seen.append((kind, fields[2], ""))
        elif kind:
            seen.append((kind, fields[1] if kind == "execDetails" else "", ""))
        decode(fields)

    ib.client.decoder.interpret = interpret
    return seen


_UNSET = "1.7976931348623157E308"
_OPEN_ORDER_STATUS = 94
_OPEN_ORDER_COMMISSION = 104


def test_connecting_synchronises_the_account(client: Client) -> None:
    ib = client()
    assert ib.client.serverVersion() == 176
    assert ib.managedAccounts() == [ACCOUNT]
    assert ib.reqCurrentTime() == datetime(2019, 1, 2, 21, 0, tzinfo=UTC)
    values = {(v.tag, v.currency): v.value for v in ib.accountValues(ACCOUNT)}
    for tag in ("NetLiquidation", "TotalCashValue", "AvailableFunds", "BuyingPower"):
        assert values[tag, "USD"] == "1000000.00"
    assert values["CashBalance", "BASE"] == "1000000.00"
    summary = {v.tag: v.value for v in ib.accountSummary(ACCOUNT)}
    assert summary["NetLiquidation"] == "1000000.00"
    assert summary["GrossPositionValue"] == "0.00"
    assert ib.positions() == [] and ib.openTrades() == [] and ib.fills() == []


def test_contracts_are_found_by_symbol_and_by_id(client: Client, errors: ErrorLog) -> None:
    ib = client()
    alfa = contract(ib, "ALFA")
    (details,) = ib.reqContractDetails(Contract(conId=alfa.conId))
    assert details.contract.symbol == "ALFA" and details.minTick == 0.01
    assert details.liquidHours.startswith("20190102:0930-20190102:1600")
    (cheap,) = ib.reqContractDetails(Stock("CENT", "SMART", "USD"))
    assert cheap.minTick == 0.0001
    with pytest.raises(RequestError, match="200"):
        ib.reqContractDetails(Stock("NONE", "SMART", "USD"))
    errors.expect("Error 200")
    (rule,) = {tuple(x) for x in [tuple((r.lowEdge, r.increment) for r in ib.reqMarketRule(26))]}
    assert rule == ((0.0, 0.0001), (1.0, 0.01))


def test_quotes_snapshots_and_streams(served: Served, client: Client) -> None:
    ib = client()
    alfa = contract(ib, "ALFA")
    (closed,) = ib.reqTickers(alfa)
    assert (closed.bid, closed.ask) == (-1, -1) and closed.close > 0
    stream = ib.reqMktData(alfa)
    served.advance(MORNING)
    ib.reqCurrentTime()
    (ticker,) = ib.reqTickers(alfa)
    assert 0 < ticker.bid <= ticker.last <= ticker.ask < ticker.bid * 1.01
    assert ticker.bidSize > 0 and ticker.askSize > 0 and ticker.marketDataType == 1
    assert (stream.bid, stream.ask) == (ticker.bid, ticker.ask)
    ib.cancelMktData(alfa)
    served.advance(CLOSE)
    assert ib.reqCurrentTime() == CLOSE
    assert stream.bid == ticker.bid


def test_an_order_that_fills_at_once_tells_it_in_the_order_of_a_gateway(
    served: Served, client: Client
) -> None:
    ib = client()
    deep = contract(ib, "DEEP")
    served.advance(MORNING)
    (quote,) = ib.reqTickers(deep)
    seen = messages_of(ib)
    trade = place(ib, deep, "BUY", 100, round(quote.ask * 1.01, 2), orderRef="day/DEEP/1")
    assert seen == [
        ("openOrder", "PreSubmitted", ""),
        ("orderStatus", "PreSubmitted", ""),
        ("execDetails", "-1", ""),
        ("openOrder", "Filled", ""),
        ("orderStatus", "Filled", ""),
        ("openOrder", "Filled", "commission"),
        ("commissionReport", "", ""),
    ]
    assert trade.orderStatus.status == "Filled" and trade.orderStatus.remaining == 0
    (fill,) = trade.fills
    assert fill.execution.time == MORNING
    assert fill.execution.orderRef == "day/DEEP/1"
    assert fill.execution.permId == trade.order.permId > 0
    assert quote.bid < fill.execution.price <= trade.order.lmtPrice
    assert fill.commissionReport.commission == 1.0
    (position,) = ib.positions()
    assert position.position == 100
    assert position.avgCost == pytest.approx(fill.execution.price + 0.01)


def test_waiting_for_what_is_past_moves_nothing(served: Served) -> None:
    clock = VenueClock(served.endpoint)
    clock.wait_until(MORNING)
    assert clock.now() == MORNING
    clock.wait_until(MORNING - timedelta(hours=1))
    assert clock.now() == MORNING


def test_partial_fills_complete_over_minutes(served: Served, client: Client) -> None:
    ib = client()
    alfa = contract(ib, "ALFA")
    served.advance(MORNING)
    (quote,) = ib.reqTickers(alfa)
    trade = place(ib, alfa, "BUY", 3000, round(quote.ask * 1.05, 2))
    assert trade.orderStatus.status == "Submitted"
    assert 0 < trade.orderStatus.filled < 3000
    VenueClock(served.endpoint).wait_until(CLOSE)
    ib.reqCurrentTime()
    assert trade.orderStatus.status == "Filled"
    shares = [fill.execution.shares for fill in trade.fills]
    assert len(shares) > 1 and sum(shares) == 3000
    assert [fill.execution.cumQty for fill in trade.fills] == [
        sum(shares[: i + 1]) for i in range(len(shares))
    ]
    charged = sum(fill.commissionReport.commission for fill in trade.fills)
    assert charged == pytest.approx(15.00)
    assert len({fill.execution.execId for fill in trade.fills}) == len(shares)


def test_executions_and_completed_orders_of_the_day(
    served: Served, client: Client, calendar: Calendar
) -> None:
    ib = client()
    deep = contract(ib, "DEEP")
    served.advance(MORNING)
    (quote,) = ib.reqTickers(deep)
    bought = place(ib, deep, "BUY", 50, round(quote.ask * 1.01, 2), orderRef="b")
    place(ib, deep, "SELL", 20, round(quote.bid * 0.99, 2), orderRef="s")
    rests = place(ib, deep, "BUY", 10, round(quote.bid * 0.8, 2), orderRef="r")
    ib.cancelOrder(rests.order)
    ib.reqCurrentTime()
    everything = ib.reqExecutions(ExecutionFilter())
    assert [(f.execution.side, f.execution.orderRef) for f in everything] == [
        ("BOT", "b"),
        ("SLD", "s"),
    ]
    again = connect(served.endpoint, 6)
    reports = [fill.commissionReport for fill in again.fills()]
    again.disconnect()
    assert all(report.commission > 0 for report in reports)
    assert [report.realizedPNL != 0 for report in reports] == [False, True]
    for wanted, count in (
        (ExecutionFilter(clientId=5), 2),
        (ExecutionFilter(clientId=6), 0),
        (ExecutionFilter(side="SELL"), 1),
        (ExecutionFilter(symbol="ALFA"), 0),
        (ExecutionFilter(acctCode="DU999"), 0),
        (ExecutionFilter(time="20190103-15:00:00"), 2),
        (ExecutionFilter(time="20190103-15:00:01"), 0),
    ):
        assert len(ib.reqExecutions(wanted)) == count, wanted
    done = {trade.order.orderRef: trade for trade in ib.reqCompletedOrders(False)}
    assert set(done) == {"b", "s", "r"}
    assert done["b"].orderStatus.status == "Filled"
    assert done["b"].order.totalQuantity == 0 and done["b"].order.filledQuantity == 50
    assert done["b"].order.permId == bought.order.permId
    assert done["r"].orderStatus.status == "Cancelled" and done["r"].order.totalQuantity == 10
    served.advance(calendar.open(calendar.next(MORNING.date())))
    assert ib.reqExecutions(ExecutionFilter()) == [] and ib.reqCompletedOrders(False) == []


def test_cancel_modify_and_what_can_not_be(
    served: Served, client: Client, errors: ErrorLog
) -> None:
    ib = client()
    deep = contract(ib, "DEEP")
    served.advance(MORNING)
    (quote,) = ib.reqTickers(deep)
    trade = place(ib, deep, "BUY", 100, round(quote.bid * 0.9, 2))
    assert trade.orderStatus.status == "Submitted"
    trade.order.lmtPrice = round(quote.ask * 1.01, 2)
    ib.placeOrder(deep, trade.order)
    ib.reqCurrentTime()
    assert trade.orderStatus.status == "Filled"
    ib.client.placeOrder(trade.order.orderId, deep, trade.order)
    ib.reqCurrentTime()
    errors.expect("Error 104")
    ib.client.cancelOrder(trade.order.orderId)
    ib.client.cancelOrder(10_000)
    ib.reqCurrentTime()
    errors.expect("Error 10148", "Error 10147")
    other = place(ib, deep, "BUY", 100, round(quote.bid * 0.9, 2))
    ib.cancelOrder(other.order)
    ib.reqCurrentTime()
    assert other.orderStatus.status == "Cancelled"
    ib.client.placeOrder(other.order.orderId, deep, other.order)
    ib.reqCurrentTime()
    errors.expect("Error 103")


def test_rejects(served: Served, client: Client, errors: ErrorLog) -> None:
    ib = client()
    deep, cent = contract(ib, "DEEP"), contract(ib, "CENT")
    served.advance(MORNING)
    cases = [
        (place(ib, deep, "BUY", 1_000_000, 200.0), "Error 201", "available funds"),
        (place(ib, deep, "SELL", 1, 200.0), "Error 201", "short"),
        (place(ib, Stock("NONE", "SMART", "USD"), "BUY", 1, 1.0), "Error 200", ""),
        (place(ib, deep, "BUY", 1, 100.0, totalQuantity=1.5), "Error 201", "whole number"),
        (place(ib, deep, "BUY", 1, 100.0, tif="IOC"), "Error 201", "IOC"),
        (place(ib, deep, "BUY", 1, 100.0, outsideRth=True), "Error 201", "outsideRth"),
        (place(ib, deep, "BUY", 1, 100.0, account="DU7"), "Error 321", "DU7"),
        (place(ib, deep, "BUY", 1, 100.0, transmit=False), "Error 201", "transmit"),
    ]
    for trade, code, word in cases:
        line = next(e for e in errors.lines if f"reqId {trade.order.orderId}:" in e)
        assert code in line and word in line
        assert trade.orderStatus.status == "Cancelled" and trade.fills == []
    errors.lines.clear()
    ib.placeOrder(deep, MarketOrder("BUY", 1, account=ACCOUNT, tif="DAY"))
    ib.reqCurrentTime()
    errors.expect("Error 201")
    warned: list[int] = []
    ib.errorEvent += lambda _id, code, _text, _contract: warned.append(code)
    place(ib, deep, "BUY", 1, 100.005)
    assert warned == [110]
    assert place(ib, cent, "BUY", 1, 0.1234).orderStatus.status == "Submitted"
    assert served.control.truth()["positions"] == []


def test_too_many_orders_on_one_side(served: Served, client: Client, errors: ErrorLog) -> None:
    ib = client()
    deep = contract(ib, "DEEP")
    for _ in range(20):
        assert place(ib, deep, "BUY", 1, 1.0).orderStatus.status == "PreSubmitted"
    place(ib, deep, "BUY", 1, 1.0)
    errors.expect("20 BUY orders")
    assert len(ib.reqAllOpenOrders()) == 20
    ib.reqGlobalCancel()
    ib.reqCurrentTime()
    assert ib.reqAllOpenOrders() == [] and ib.openTrades() == []


def test_working_buys_reserve_their_worst_cost(
    served: Served, client: Client, errors: ErrorLog
) -> None:
    ib = client()
    alfa = contract(ib, "ALFA")
    first = place(ib, alfa, "BUY", 9_000, 100.0)
    place(ib, alfa, "BUY", 1_000, 100.0)
    errors.expect("available funds are 99955 USD")
    ib.cancelOrder(first.order)
    assert place(ib, alfa, "BUY", 1_000, 100.0).orderStatus.status == "PreSubmitted"


def test_a_day_order_rests_until_the_open_and_ends_at_the_close(
    served: Served, client: Client
) -> None:
    ib = client()
    deep = contract(ib, "DEEP")
    near = place(ib, deep, "BUY", 10, 400.0)
    far = place(ib, deep, "BUY", 10, 1.0)
    kept = place(ib, deep, "BUY", 10, 1.0, tif="GTC")
    assert [t.orderStatus.status for t in (near, far, kept)] == ["PreSubmitted"] * 3
    served.advance(BEFORE_OPEN)
    ib.reqCurrentTime()
    assert near.orderStatus.status == "PreSubmitted"
    served.advance(CLOSE)
    ib.reqCurrentTime()
    assert near.orderStatus.status == "Filled"
    assert near.fills[0].execution.time == datetime(2019, 1, 3, 14, 30, tzinfo=UTC)
    assert far.orderStatus.status == "Cancelled"
    assert kept.orderStatus.status == "Submitted"
    assert [t.order.permId for t in ib.reqAllOpenOrders()] == [kept.order.permId]


def test_two_clients_and_client_0(served: Served, client: Client, errors: ErrorLog) -> None:
    one, two, master = client(1), client(2), client(0)
    deep = contract(one, "DEEP")
    mine = place(one, deep, "BUY", 10, 1.0, orderRef="mine")
    two.reqCurrentTime()
    master.reqCurrentTime()
    assert two.openTrades() == []
    assert [t.order.orderRef for t in master.openTrades()] == ["mine"]
    (seen,) = two.reqAllOpenOrders()
    assert seen.order.clientId == 1
    two.client.cancelOrder(mine.order.orderId)
    two.reqCurrentTime()
    errors.expect("Error 10147")
    assert mine.orderStatus.status == "PreSubmitted"
    two.reqGlobalCancel()
    two.reqCurrentTime()
    one.reqCurrentTime()
    assert mine.orderStatus.status == "Cancelled"


def test_a_client_id_in_use_is_told_so(served: Served, client: Client, errors: ErrorLog) -> None:
    client(5)
    second = IB()
    codes: list[int] = []
    second.errorEvent += lambda _id, code, _text, _contract: codes.append(code)
    with pytest.raises((ConnectionError, TimeoutError)):
        second.connect("127.0.0.1", served.endpoint.port, clientId=5, timeout=0.5)
    assert codes == [326]
    assert any("already in use" in line for line in errors.lines)
    errors.lines.clear()


def test_a_client_that_comes_back_finds_its_orders_and_fills(
    served: Served, client: Client
) -> None:
    ib = client()
    deep = contract(ib, "DEEP")
    served.advance(MORNING)
    (quote,) = ib.reqTickers(deep)
    filled = place(ib, deep, "BUY", 10, round(quote.ask * 1.01, 2), orderRef="f")
    rests = place(ib, deep, "BUY", 10, 1.0, orderRef="r")
    ib.disconnect()
    again = connect(served.endpoint)
    (open_trade,) = again.openTrades()
    assert open_trade.order.orderRef == "r"
    assert open_trade.order.permId == rests.order.permId
    assert [f.execution.orderRef for f in again.fills()] == ["f"]
    assert again.fills()[0].commissionReport.commission == 1.0
    assert again.client.getReqId() > rests.order.orderId > filled.order.orderId
    again.disconnect()


def test_bars_never_go_beyond_the_clock(
    served: Served, client: Client, errors: ErrorLog, calendar: Calendar
) -> None:
    ib = client()
    alfa = contract(ib, "ALFA")
    panel = make_panel(calendar)

    def bars(end: str = "", duration: str = "3 D") -> list[object]:
        return ib.reqHistoricalData(alfa, end, duration, "1 day", "TRADES", True)

    assert [bar.date.isoformat() for bar in bars()] == ["2018-12-28", "2018-12-31", "2019-01-02"]
    closes = dict(zip(panel.sessions.astype(str), panel.fields["close"][:, 0], strict=True))
    assert all(bar.close == pytest.approx(closes[bar.date.isoformat()]) for bar in bars())
    served.advance(MORNING)
    assert bars("20190301 00:00:00 UTC")[-1].date.isoformat() == "2019-01-02"
    assert bars("20181231-23:00:00")[-1].date.isoformat() == "2018-12-31"
    assert len(bars("", "2 W")) == 7
    served.advance(CLOSE)
    assert bars()[-1].date.isoformat() == "2019-01-03"
    with pytest.raises(RequestError, match="321"):
        bars("", "30 S")
    with pytest.raises(RequestError, match="162"):
        bars("20170101-00:00:00")
    errors.expect("Error 321", "Error 162")


def test_what_is_not_supported_is_refused_and_nothing_hangs(
    served: Served, client: Client, errors: ErrorLog
) -> None:
    ib = client()
    alfa = contract(ib, "ALFA")
    for ask in (
        lambda: ib.reqHeadTimeStamp(alfa, "TRADES", True, 1),
        lambda: ib.reqMatchingSymbols("ALF"),
        lambda: ib.reqHistoricalTicks(alfa, "", "", 10, "TRADES", True),
        lambda: ib.reqFundamentalData(alfa, "ReportSnapshot"),
        lambda: ib.reqSecDefOptParams("ALFA", "", "STK", alfa.conId),
    ):
        with pytest.raises(RequestError, match="321"):
            ask()
    ib.client.reqNewsProviders()
    ib.client.send(9999, 1)
    ib.client.send("")
    ib.client.send(3, 700, "x")
    ib.client.send(4)
    assert ib.reqCurrentTime()
    assert len(errors.lines) == 10
    assert all("Error 321" in e or "Error 320" in e for e in errors.lines)
    errors.lines.clear()


def test_bytes_that_are_no_client_are_dropped(served: Served, client: Client) -> None:
    ib = client()
    for data in (
        b"GET / HTTP/1.1\r\n\r\n",
        b"API\0" + struct.pack(">I", 2**31) + b"x",
        b"API\0" + struct.pack(">I", 0),
        b"API\0" + struct.pack(">I", 9) + b"v999..999",
        b"API\0" + struct.pack(">I", 4) + b"v100",
        b"API\0" + struct.pack(">I", 9) + b"v157..176" + struct.pack(">I", 5) + b"49\x001\x00",
    ):
        with socket.create_connection(("127.0.0.1", served.endpoint.port), timeout=5) as raw:
            raw.sendall(data)
            while raw.recv(4096):
                pass
    assert ib.reqCurrentTime()


def test_the_books_agree_with_what_the_client_saw(served: Served, client: Client) -> None:
    ib = client()
    served.advance(MORNING)
    for symbol, shares in (("ALFA", 700), ("BETA", 300), ("CENT", 20_000), ("DEEP", 111)):
        stock = contract(ib, symbol)
        (quote,) = ib.reqTickers(stock)
        place(ib, stock, "BUY", shares, round(quote.ask * 1.02, 4 if symbol == "CENT" else 2))
    served.advance(CLOSE)
    ib.reqCurrentTime()
    truth = served.control.truth()
    assert {p["symbol"]: p["quantity"] for p in truth["positions"]} == {
        p.contract.symbol: p.position for p in ib.positions()
    }
    spent = sum(f.execution.shares * f.execution.price for f in ib.fills())
    paid = sum(f.commissionReport.commission for f in ib.fills())
    assert float(truth["cash"]) == pytest.approx(1_000_000 - spent - paid, abs=1e-4)
    values = {v.tag: v.value for v in ib.accountValues() if v.currency == "USD"}
    assert float(values["TotalCashValue"]) == pytest.approx(float(truth["cash"]), abs=0.005)
    marked = sum(p["quantity"] * float(p["mark"]) for p in truth["positions"])
    worth = float(truth["cash"]) + marked
    assert float(values["NetLiquidation"]) == pytest.approx(worth, abs=0.006)
    assert {p.contract.symbol: p.marketPrice for p in ib.portfolio()} == {
        p["symbol"]: float(p["mark"]) for p in truth["positions"]
    }
    log = served.control.messages()
    assert log["count"] == 4 and [m["kind"] for m in log["messages"]] == ["placeOrder"] * 4
    assert served.control.messages(since=3)["messages"][0]["serial"] == 4


def test_a_closed_position_is_told_once(served: Served, client: Client) -> None:
    ib = client()
    deep = contract(ib, "DEEP")
    served.advance(MORNING)
    told: list[tuple[float, float]] = []
    rows: list[tuple[float, float]] = []
    ib.positionEvent += lambda held: told.append((held.position, held.avgCost))
    ib.updatePortfolioEvent += lambda row: (
        rows.append((row.position, row.realizedPNL)) if row.contract.symbol == "DEEP" else None
    )
    place(ib, deep, "BUY", 10, 300.0)
    place(ib, deep, "SELL", 10, 100.0)
    assert [count for count, _ in told] == [10, 0] and told[-1] == (0, 0)
    assert [count for count, _ in rows] == [10, 0] and rows[-1][1] < 0
    assert ib.positions() == [] and ib.portfolio() == []
    place(ib, Stock("ALFA", "SMART", "USD"), "BUY", 1, 100.0)
    served.advance(CLOSE)
    ib.reqCurrentTime()
    assert [count for count, _ in told] == [10, 0, 1] and len(rows) == 2


def test_control_errors_are_clear(served: Served) -> None:
    served.advance(MORNING)
    with pytest.raises(GatewayControlError, match="forward only"):
        served.advance(BEFORE_OPEN)
    with pytest.raises(GatewayControlError, match="no prices for session 2019-02-"):
        served.advance(datetime(2019, 6, 3, tzinfo=UTC))
    assert served.control.status()["now"] == MORNING.isoformat()
    with pytest.raises(GatewayControlError, match="without a zone"):
        served.control.advance(datetime(2019, 1, 4))
    address = ("127.0.0.1", served.endpoint.control_port)
    for line in (b'{"op": "shutdown"}', b'{"op": "truth", "token": "x"}', b"[]", b"nonsense"):
        with socket.create_connection(address, timeout=5) as raw:
            raw.sendall(line + b"\n")
            answer = json.loads(raw.makefile().readline())
        assert list(answer) == ["error"] and ("token" in answer["error"]) == (b"op" in line)
    assert served.control.status()["now"] == MORNING.isoformat()


def test_the_same_day_at_version_157(
    served: Served, errors: ErrorLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ib_insync.client.Client.MaxClientVersion", 157)
    ib = connect(served.endpoint, 9)
    assert ib.client.serverVersion() == 157
    deep = contract(ib, "DEEP")
    served.advance(MORNING)
    (quote,) = ib.reqTickers(deep)
    trade = place(ib, deep, "BUY", 10, round(quote.ask * 1.01, 2), orderRef="old")
    place(ib, deep, "SELL", 100, 1000.0)
    errors.expect("Error 201")
    assert trade.orderStatus.status == "Filled"
    assert trade.fills[0].execution.time == MORNING
    (done, _rejected) = ib.reqCompletedOrders(False)
    assert done.order.orderRef == "old"
    ib.disconnect()
    again = connect(served.endpoint, 9)
    assert again.fills()[0].execution.time == MORNING
    again.disconnect()


def test_a_restart_goes_on_where_it_was(
    calendar: Calendar, tmp_path: Path, errors: ErrorLog
) -> None:
    path = tmp_path / "venue.sqlite"
    first = Served(lambda: make_venue(calendar, path))
    ib = connect(first.endpoint)
    deep = contract(ib, "DEEP")
    first.advance(MORNING)
    (quote,) = ib.reqTickers(deep)
    place(ib, deep, "BUY", 10, round(quote.ask * 1.01, 2), orderRef="f")
    rests = place(ib, deep, "BUY", 10, 1.0, orderRef="r")
    before = first.control.truth()
    ib.disconnect()
    first.stop()
    second = Served(lambda: make_venue(calendar, path))
    assert second.control.truth() == before
    ib = connect(second.endpoint)
    assert ib.reqCurrentTime() == MORNING
    assert [t.order.permId for t in ib.openTrades()] == [rests.order.permId]
    new = place(ib, contract(ib, "DEEP"), "BUY", 10, 1.0)
    assert new.order.orderId > rests.order.orderId and new.order.permId > rests.order.permId
    ib.disconnect()
    second.stop()
