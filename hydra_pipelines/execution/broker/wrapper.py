"""From the decoder's calls to our own records.

The client library decodes the wire and calls the methods here, on its event loop's thread; the
method names are therefore the library's. Replies to requests are gathered until their end marker,
order messages are queued as raw events in wire order. Nothing is interpreted here.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from hydra_pipelines.execution.broker.messages import (
    BrokerError,
    CommissionReported,
    ContractInfo,
    Executed,
    Execution,
    Holding,
    OrderError,
    OrderOpened,
    OrderStatus,
    Position,
    RawEvent,
    SocketClosed,
    WorkingOrder,
)

# Request ids live far above order ids, so that an error can be told to belong to one or the other.
FIRST_REQUEST_ID = 1 << 30
_UNSET_DOUBLE = 1.7976931348623157e308
# Notices that come with a request id but do not end the request: data are delayed, or in part.
_NOTICES = frozenset({10089, 10090, 10167, 2104, 2106, 2107, 2108, 2119, 2158, 399})
_MARKET_DATA_KINDS = {1: "live", 2: "frozen", 3: "delayed", 4: "delayed_frozen"}
_TICKS = {
    1: "bid",
    2: "ask",
    4: "last",
    9: "close",
    66: "bid",
    67: "ask",
    68: "last",
    75: "close",
}
_TRADE_TIMES = frozenset({45, 88})
_DELAY = timedelta(minutes=15)
"""Delayed data of US exchanges are so old at least."""
_READ_ONLY = 321
_DONE = frozenset({"Filled", "Cancelled", "ApiCancelled", "Inactive"})


class RequestRefused(BrokerError):
    """The broker answered a request with an error code."""

    def __init__(self, code: int, text: str):
        super().__init__(f"{code}: {text}")
        self.code = code


class Wrapper:
    """Receives the decoder's calls on the loop's thread. Method names are the library's."""

    def __init__(self, events: deque[RawEvent], zone: str):
        """zone: of the gateway's log-in; times that come without a zone are meant in it."""
        # The two libraries look for the zones of what they read and what they make under these.
        self.ib = SimpleNamespace(TimezoneTWS=zone)
        self.defaultTimezone = UTC
        self.events = events
        self.closing = False
        self.client_id_in_use = False
        self.socket_ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.outage: str | None = None
        """What the gateway said when it lost IB's servers (1100); None while they are there."""
        self.outages = 0
        """How often the connection to IB's servers went or came back."""
        self.next_valid_id = 0
        self.account_values: dict[tuple[str, str, str], str] = {}
        self.portfolio: dict[tuple[str, str], Holding] = {}
        self.commissions: dict[str, Decimal] = {}
        self.quotes: dict[int, dict[str, Any]] = {}
        self._waits: dict[Any, asyncio.Future[Any]] = {}
        self._rows: dict[Any, list[Any]] = {}

    def expect(self, key: Any, *, rows: bool) -> asyncio.Future[Any]:
        self._waits[key] = asyncio.get_running_loop().create_future()
        if rows:
            self._rows[key] = []
        return self._waits[key]

    def forget(self, key: Any) -> None:
        self._waits.pop(key, None)
        self._rows.pop(key, None)

    def _end(self, key: Any, result: Any = None) -> None:
        wait = self._waits.get(key)
        if wait is not None and not wait.done():
            wait.set_result(self._rows.get(key, result))

    def fail(self, error: BrokerError) -> None:
        """End all that is waited for: nothing that comes now can be trusted, or nothing will."""
        for wait in self._waits.values():
            if not wait.done():
                wait.set_exception(error)

    # connection

    def connectAck(self) -> None: ...

    def setEventsDone(self) -> None:
        if not self.socket_ended.done():
            self.socket_ended.set_result(None)

    def connectionClosed(self) -> None:
        self.fail(BrokerError("the broker closed the connection"))
        if not self.closing:
            self.events.append(SocketClosed())

    def nextValidId(self, order_id: int) -> None:
        self.next_valid_id = max(self.next_valid_id, order_id)

    def currentTime(self, seconds: int) -> None:
        self._end("currentTime", seconds)

    def error(self, request_id: int, code: int, text: str, _advanced: str = "") -> None:
        if code == 326:
            self.client_id_in_use = True
        if code in (1100, 1101, 1102):
            self.outage = f"{code}: {text}" if code == 1100 else None
            self.outages += 1
        elif request_id in self._waits:
            if code not in _NOTICES:
                wait = self._waits[request_id]
                if not wait.done():
                    wait.set_exception(RequestRefused(code, text))
        elif 0 < request_id < FIRST_REQUEST_ID:
            self.events.append(OrderError(request_id, code, text))
        elif code == _READ_ONLY:
            # Requests for orders have no id of their own; there is one at a time.
            self.fail(RequestRefused(code, text))

    # account

    def updateAccountValue(self, tag: str, value: str, currency: str, account: str) -> None:
        self.account_values[(account, tag, currency)] = value

    def updatePortfolio(
        self,
        contract: Any,
        quantity: float,
        price: float,
        value: float,
        _average_cost: float,
        _unrealized: float,
        _realized: float,
        account: str,
    ) -> None:
        self.portfolio[(account, contract.symbol)] = Holding(
            symbol=contract.symbol,
            quantity=_whole(quantity, contract.symbol),
            market_price=_decimal(price),
            market_value=_decimal(value),
        )

    def accountDownloadEnd(self, _account: str) -> None:
        self._end("account")

    def position(self, account: str, contract: Any, quantity: float, cost: float) -> None:
        if "positions" in self._rows:
            row = Position(
                symbol=contract.symbol,
                con_id=contract.conId,
                quantity=_whole(quantity, contract.symbol),
                average_cost=_decimal(cost),
            )
            self._rows["positions"].append((account, row))

    def positionEnd(self) -> None:
        self._end("positions")

    # contracts and quotes

    def contractDetails(self, request_id: int, details: Any) -> None:
        contract = details.contract
        self._rows.get(request_id, []).append(
            ContractInfo(
                symbol=contract.symbol,
                con_id=contract.conId,
                exchange=contract.exchange,
                primary_exchange=contract.primaryExchange,
                currency=contract.currency,
                min_tick=_decimal(details.minTick),
            )
        )

    def contractDetailsEnd(self, request_id: int) -> None:
        self._end(request_id)

    def historicalData(self, request_id: int, bar: Any) -> None:
        self._rows.get(request_id, []).append(
            (str(bar.date)[:10], bar.open, bar.high, bar.low, bar.close, float(bar.volume))
        )

    def historicalDataEnd(self, request_id: int, _start: str, _end: str) -> None:
        self._end(request_id)

    def marketDataType(self, request_id: int, kind: int) -> None:
        if request_id in self.quotes:
            self.quotes[request_id]["kind"] = _MARKET_DATA_KINDS.get(kind, f"type {kind}")

    def priceSizeTick(self, request_id: int, tick: int, price: float, _size: float) -> None:
        # -1 and 0 are the broker's "no price".
        if request_id in self.quotes and tick in _TICKS and math.isfinite(price) and price > 0:
            self.quotes[request_id][_TICKS[tick]] = _decimal(price)

    def tickString(self, request_id: int, tick: int, value: str) -> None:
        if request_id in self.quotes and tick in _TRADE_TIMES and value.isdigit():
            self.quotes[request_id]["traded_at"] = datetime.fromtimestamp(int(value), UTC)

    def tickSnapshotEnd(self, request_id: int) -> None:
        self._end(request_id)

    # orders

    def openOrder(self, order_id: int, contract: Any, order: Any, state: Any) -> None:
        row = _working(order_id, contract, order, state.status)
        if "openOrders" in self._rows and state.status not in _DONE:
            self._rows["openOrders"].append(row)
        self.events.append(OrderOpened(row))

    def openOrderEnd(self) -> None:
        self._end("openOrders")

    def completedOrder(self, contract: Any, order: Any, state: Any) -> None:
        if "completedOrders" in self._rows:
            row = _working(order.orderId, contract, order, state.status)
            self._rows["completedOrders"].append(row)

    def completedOrdersEnd(self) -> None:
        self._end("completedOrders")

    def orderStatus(
        self,
        order_id: int,
        status: str,
        filled: float,
        _remaining: float,
        _average: float,
        perm_id: int,
        _parent_id: int,
        _last_price: float,
        client_id: int,
        *_rest: Any,
    ) -> None:
        self.events.append(OrderStatus(order_id, perm_id, client_id, status, round(filled)))

    def execDetails(self, request_id: int, contract: Any, execution: Any) -> None:
        row = Execution(
            exec_id=execution.execId,
            order_ref=execution.orderRef,
            order_id=execution.orderId,
            perm_id=execution.permId,
            account=execution.acctNumber,
            symbol=contract.symbol,
            side="BUY" if execution.side == "BOT" else "SELL",
            quantity=_whole(execution.shares, contract.symbol),
            price=_decimal(execution.price),
            executed_at=execution.time,
            client_id=execution.clientId,
        )
        if request_id in self._rows:
            self._rows[request_id].append(row)
        else:
            self.events.append(Executed(row))

    def execDetailsEnd(self, request_id: int) -> None:
        self._end(request_id)

    def commissionReport(self, report: Any) -> None:
        if report.commission < _UNSET_DOUBLE:
            self.commissions[report.execId] = _decimal(report.commission)
            self.events.append(CommissionReported(report.execId, _decimal(report.commission)))


def _working(order_id: int, contract: Any, order: Any, status: str) -> WorkingOrder:
    limit = order.lmtPrice
    return WorkingOrder(
        order_ref=order.orderRef,
        order_id=order_id,
        perm_id=order.permId,
        account=order.account,
        symbol=contract.symbol,
        side=order.action,
        quantity=_whole(order.totalQuantity, contract.symbol),
        filled=_whole(order.filledQuantity, contract.symbol)
        if order.filledQuantity < _UNSET_DOUBLE
        else None,
        limit_price=_decimal(limit) if limit < _UNSET_DOUBLE else None,
        status=status,
        client_id=order.clientId,
    )


def quote_time(ticks: dict[str, Any], received: datetime) -> datetime | None:
    """When the market was at most like in `ticks`: a frozen one as of its last trade."""
    if ticks["kind"] == "live":
        return received
    if ticks["kind"] == "delayed":
        return received - _DELAY
    traded_at: datetime | None = ticks.get("traded_at")
    return traded_at


def _decimal(value: float) -> Decimal:
    """The shortest decimal that the wire's double stands for."""
    return Decimal(repr(float(value)))


def _whole(value: float, symbol: str) -> int:
    if value != int(value):
        raise BrokerError(f"{symbol}: quantity {value} is not whole; fractions are not traded here")
    return int(value)
