"""The conformance scenario as a user of IB's own `ibapi`; run as a program of its own.

    python ibapi_client.py HOST PORT CONTROL_PORT TOKEN

Prints one JSON object: what the client saw, and what it logged as an error.
"""

from __future__ import annotations

import json
import logging
import socket
import sys
import threading
from decimal import Decimal

from ibapi.client import EClient
from ibapi.contract import Contract
from ibapi.execution import ExecutionFilter
from ibapi.order import Order
from ibapi.wrapper import EWrapper

logged: list[str] = []


class Errors(logging.Handler):
    """What the library logs as an error. It logs what the gateway tells it, too: see `error`."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR:
            logged.append(record.getMessage())


class App(EWrapper, EClient):
    """Keeps all that it is told, by the name of the call."""

    def __init__(self) -> None:
        EClient.__init__(self, wrapper=self)
        self.calls: dict[str, list[tuple]] = {}
        self.news = threading.Condition()

    def error(self, reqId, errorCode, errorString, *more) -> None:  # noqa: N803
        # Farms are connected; the order was cancelled; the socket ended as it was asked to.
        if errorCode not in (2104, 2106, 2158, 202):
            logged.append(f"{reqId} {errorCode} {errorString}")
        self.keep("error", errorCode)

    def keep(self, name: str, *values: object) -> None:
        with self.news:
            self.calls.setdefault(name, []).append(values)
            self.news.notify_all()

    def wait(self, name: str, count: int = 1) -> list[tuple]:
        with self.news:
            ok = self.news.wait_for(lambda: len(self.calls.get(name, ())) >= count, 10)
            assert ok, f"no {name} within 10 s; heard {sorted(self.calls)}; {logged}"
            return self.calls[name]

    def forget(self, *names: str) -> None:
        for name in names:
            self.calls.pop(name, None)


def _keeper(name: str):
    return lambda self, *values: self.keep(name, *values)


for name in (
    "nextValidId", "managedAccounts", "accountSummary", "accountSummaryEnd", "contractDetails",
    "contractDetailsEnd", "tickPrice", "tickSnapshotEnd", "currentTime", "openOrder",
    "openOrderEnd", "orderStatus", "execDetails", "execDetailsEnd", "commissionReport",
    "completedOrder", "completedOrdersEnd", "position", "positionEnd",
):  # fmt: skip
    setattr(App, name, _keeper(name))


def connect(host: str, port: int) -> App:
    app = App()
    app.connect(host, port, clientId=3)
    threading.Thread(target=app.run, daemon=True).start()
    app.wait("nextValidId")
    return app


def main(host: str, port: str, control_port: str, token: str) -> None:
    logging.getLogger().addHandler(Errors())
    app = connect(host, int(port))

    def settle() -> None:
        """A round trip: all that the gateway said before has been heard."""
        app.forget("currentTime")
        app.reqCurrentTime()
        app.wait("currentTime")

    def advance(to: str) -> None:
        with socket.create_connection(("127.0.0.1", int(control_port))) as connection:
            connection.sendall(json.dumps({"token": token, "op": "advance", "to": to}).encode())
            connection.sendall(b"\n")
            answer = json.loads(connection.makefile().readline())
        assert "error" not in answer, answer
        settle()

    (first_id,) = app.wait("nextValidId")[0]
    seen: dict[str, object] = {
        "library": "ibapi",
        "version": app.serverVersion(),
        "accounts": [a for a in app.wait("managedAccounts")[0][0].split(",") if a],
        "first_id": first_id,
    }
    app.reqAccountSummary(901, "All", "NetLiquidation")
    app.wait("accountSummaryEnd")
    seen["summary"] = {tag: value for _, _, tag, value, _ in app.wait("accountSummary")}
    asked = Contract()
    asked.symbol, asked.secType, asked.exchange, asked.currency = "ALFA", "STK", "SMART", "USD"
    app.reqContractDetails(902, asked)
    app.wait("contractDetailsEnd")
    alfa = app.wait("contractDetails")[0][1].contract
    seen["contract"] = [alfa.conId, alfa.symbol, alfa.currency]
    advance("2019-01-03T15:00:00+00:00")
    app.reqMktData(903, alfa, "", True, False, [])
    app.wait("tickSnapshotEnd")
    ticks = {kind: price for _, kind, price, *_ in app.wait("tickPrice")}
    bid, ask = ticks[1], ticks[2]
    seen["quote"] = [bid, ask]

    def place(order_id: int, shares: int, price: float, ref: str, tif: str = "DAY") -> None:
        order = Order()
        order.action, order.totalQuantity, order.orderType = "BUY", shares, "LMT"
        order.lmtPrice, order.tif, order.orderRef = round(price, 2), tif, ref
        order.eTradeOnly = order.firmQuoteOnly = False
        app.placeOrder(order_id, alfa, order)
        settle()

    def status() -> list[object]:
        _, state, filled, *_ = app.wait("orderStatus")[-1]
        return [state, float(filled)]

    place(first_id, 3000, ask * 1.05, "conformance/big")
    seen["partial"] = status()
    advance("2019-01-03T19:00:00+00:00")
    seen["filled"] = status()
    fills = [e for request, _, e in app.wait("execDetails") if request == -1]
    seen["fills"] = [[e.execId, float(e.shares)] for e in fills]
    app.forget("execDetails")
    app.reqExecutions(904, ExecutionFilter())
    app.wait("execDetailsEnd")
    seen["executions"] = [
        [e.execId, float(e.shares), e.price, e.orderRef]
        for request, _, e in app.wait("execDetails")
        if request == 904
    ]
    seen["commissions"] = {r.execId: r.commission for (r,) in app.wait("commissionReport")}
    place(first_id + 1, 10, bid * 0.8, "conformance/far")
    app.forget("openOrder")
    app.reqAllOpenOrders()
    app.wait("openOrderEnd")
    seen["working"] = [order.orderRef for _, _, order, _ in app.wait("openOrder")]
    app.cancelOrder(first_id + 1)
    settle()
    seen["cancelled"] = status()[0]
    app.reqCompletedOrders(False)
    app.wait("completedOrdersEnd")
    seen["completed"] = [
        [order.orderRef, state.status, float(Decimal(str(order.filledQuantity)))]
        for _, order, state in app.wait("completedOrder")
    ]
    place(first_id + 2, 20, bid * 0.8, "conformance/rest", "GTC")
    reader = app.reader
    app.disconnect()
    # Its reader keeps the socket open for as long as it waits for more.
    reader.join(10)

    app = connect(host, int(port))
    app.reqPositions()
    app.wait("positionEnd")
    app.reqOpenOrders()
    app.wait("openOrderEnd")
    app.reqExecutions(905, ExecutionFilter())
    app.wait("execDetailsEnd")
    seen["again"] = {
        "positions": {c.symbol: float(held) for _, c, held, _ in app.wait("position")},
        "open": [order.orderRef for _, _, order, _ in app.wait("openOrder")],
        "executions": len(app.wait("execDetails")),
        "next_id": app.wait("nextValidId")[0][0],
    }
    app.disconnect()
    seen["errors"] = logged
    print(json.dumps(seen))


main(*sys.argv[1:])
