"""The conformance scenario as a user of `ib_insync` or `ib_async`; run as a program of its own.

    python ib_library.py LIBRARY HOST PORT CONTROL_PORT TOKEN

Prints one JSON object: what the client saw, and what its library logged as an error.
"""

from __future__ import annotations

import importlib
import json
import logging
import socket
import sys


class Errors(logging.Handler):
    """What the library logs as an error, but for the cancellation that the scenario asks for."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if not text.startswith("Error 202"):
            self.lines.append(f"{record.name}: {text}")


def main(library: str, host: str, port: str, control_port: str, token: str) -> None:
    lib = importlib.import_module(library)
    errors = Errors()
    logging.getLogger(library).addHandler(errors)

    def advance(to: str) -> None:
        with socket.create_connection(("127.0.0.1", int(control_port))) as connection:
            connection.sendall(json.dumps({"token": token, "op": "advance", "to": to}).encode())
            connection.sendall(b"\n")
            answer = json.loads(connection.makefile().readline())
        assert "error" not in answer, answer
        ib.reqCurrentTime()

    ib = lib.IB()
    ib.RaiseRequestErrors = True
    ib.TimezoneTWS = "America/New_York"
    ib.connect(host, int(port), clientId=3, timeout=5)
    seen: dict[str, object] = {
        "library": library,
        "version": ib.client.serverVersion(),
        "accounts": ib.managedAccounts(),
        "first_id": ib.client.getReqId(),
        "summary": {v.tag: v.value for v in ib.accountSummary()},
    }
    (alfa,) = ib.qualifyContracts(lib.Stock("ALFA", "SMART", "USD"))
    seen["contract"] = [alfa.conId, alfa.symbol, alfa.currency]
    advance("2019-01-03T15:00:00+00:00")
    (quote,) = ib.reqTickers(alfa)
    seen["quote"] = [quote.bid, quote.ask]

    def order(action: str, shares: int, price: float, ref: str, tif: str = "DAY") -> object:
        placed = lib.LimitOrder(action, shares, round(price, 2), tif=tif, orderRef=ref)
        trade = ib.placeOrder(alfa, placed)
        ib.reqCurrentTime()
        return trade

    trade = order("BUY", 3000, quote.ask * 1.05, "conformance/big")
    seen["partial"] = [trade.orderStatus.status, trade.orderStatus.filled]
    advance("2019-01-03T19:00:00+00:00")
    seen["filled"] = [trade.orderStatus.status, trade.orderStatus.filled]
    seen["fills"] = [[f.execution.execId, f.execution.shares] for f in trade.fills]
    seen["executions"] = [
        [f.execution.execId, f.execution.shares, f.execution.price, f.execution.orderRef]
        for f in ib.reqExecutions()
    ]
    seen["commissions"] = {f.execution.execId: f.commissionReport.commission for f in ib.fills()}
    far = order("BUY", 10, quote.bid * 0.8, "conformance/far")
    seen["working"] = [o.orderRef for o in ib.reqAllOpenOrders() if hasattr(o, "orderRef")] or [
        t.order.orderRef for t in ib.openTrades()
    ]
    ib.cancelOrder(far.order)
    ib.reqCurrentTime()
    seen["cancelled"] = far.orderStatus.status
    seen["completed"] = [
        [t.order.orderRef, t.orderStatus.status, t.order.filledQuantity]
        for t in ib.reqCompletedOrders(False)
    ]
    order("BUY", 20, quote.bid * 0.8, "conformance/rest", "GTC")
    ib.disconnect()

    ib = lib.IB()
    ib.connect(host, int(port), clientId=3, timeout=5)
    seen["again"] = {
        "positions": {p.contract.symbol: p.position for p in ib.positions()},
        "open": [t.order.orderRef for t in ib.openTrades()],
        "executions": len(ib.fills()),
        "next_id": ib.client.getReqId(),
    }
    ib.disconnect()
    seen["errors"] = errors.lines
    print(json.dumps(seen))


main(*sys.argv[1:])
