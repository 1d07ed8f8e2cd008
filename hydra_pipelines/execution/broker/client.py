"""One TWS connection: the only place that imports the client library.

The library's socket client and decoder are used as they are; its order book-keeping is not, since
it marks orders done that go on to fill. Our wrapper turns each message into our own records
(messages.py) and hands raw order events on, in the order of the wire. The connection lives on an
event loop in a thread of its own; every method here is called from the desk's thread and blocks
until its reply is complete, or raises BrokerError.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hydra_pipelines.execution.broker.messages import (
    Account,
    BrokerError,
    ContractInfo,
    Execution,
    Position,
    Quote,
    RawEvent,
    WorkingOrder,
)
from hydra_pipelines.execution.broker.wrapper import FIRST_REQUEST_ID, Wrapper


class TwsClient:
    """A connection that is made once, used, and thrown away; reconnecting makes a new one."""

    def __init__(self, timeout_s: float = 10):
        self._timeout_s = timeout_s
        self._events: deque[RawEvent] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._client: Any = None
        self._library: Any = None
        self._wrapper: Wrapper | None = None
        self._request_id = FIRST_REQUEST_ID
        self._log_handler: _ProtocolErrors | None = None

    # connection

    def connect(self, host: str, port: int, client_id: int, timeout_s: float) -> None:
        """Open the socket and shake hands. Raises BrokerError that names the cause."""
        self._start_loop()
        try:
            self._run(self._connect(host, port, client_id, timeout_s), timeout_s + 5)
        except BaseException:
            self.close()
            raise

    async def _connect(self, host: str, port: int, client_id: int, timeout_s: float) -> None:
        # Imported here: the library binds the event loop of the importing thread.
        import ib_insync

        self._library = ib_insync
        self._wrapper = Wrapper(self._events)
        self._log_handler = _ProtocolErrors()
        for name in _ProtocolErrors.LOGGERS:
            logger = logging.getLogger(name)
            logger.addHandler(self._log_handler)
            logger.propagate = False
        self._client = ib_insync.Client(self._wrapper)
        where = f"{host}:{port}"
        try:
            await self._client.connectAsync(host, port, client_id, timeout_s)
        except ConnectionRefusedError as error:
            raise BrokerError(
                f"nothing listens at {where}: start the gateway, enable its API, or correct the "
                "port (4002 Gateway paper, 7497 TWS paper, 4001 Gateway live, 7496 TWS live)"
            ) from error
        except TimeoutError as error:
            if self._wrapper.client_id_in_use:
                raise BrokerError(
                    f"client id {client_id} is in use at {where}: end the other program, or set "
                    "another IBKR_CLIENT_ID"
                ) from error
            raise BrokerError(
                f"{where} accepted the connection but did not speak the TWS API within "
                f"{timeout_s:g} s: is it the API port, is the API enabled, is this host trusted?"
            ) from error
        except OSError as error:
            raise BrokerError(f"{where} can't be reached: {error}") from error

    def close(self) -> None:
        if self._loop is None:
            return
        if self._client is not None and self._wrapper is not None:
            self._wrapper.closing = True
            self._loop.call_soon_threadsafe(self._client.disconnect)
        if self._log_handler is not None:
            for name in _ProtocolErrors.LOGGERS:
                logging.getLogger(name).removeHandler(self._log_handler)
        self._loop.call_soon_threadsafe(self._loop.call_later, 0.01, self._loop.stop)
        if self._thread is not None:
            self._thread.join(timeout=5)
        self._loop = None

    @property
    def connected(self) -> bool:
        return self._client is not None and self._client.isReady()

    @property
    def server_version(self) -> int:
        return int(self._client.serverVersion())

    @property
    def accounts(self) -> tuple[str, ...]:
        return tuple(self._client.getAccounts())

    @property
    def next_valid_id(self) -> int:
        assert self._wrapper is not None
        return self._wrapper.next_valid_id

    def drain(self) -> list[RawEvent]:
        """Events since the last call, in wire order."""
        out = []
        while self._events:
            out.append(self._events.popleft())
        return out

    # requests: each waits for its end marker

    def current_time(self) -> datetime:
        """The server's time. When it returns, all that the server wrote before has been read."""
        seconds = self._request("currentTime", lambda c: c.reqCurrentTime())
        return datetime.fromtimestamp(seconds, UTC)

    def positions(self) -> list[tuple[str, Position]]:
        return self._request("positions", lambda c: c.reqPositions(), rows=True)

    def account(self, account: str) -> Account:
        """Values and portfolio of one account; the subscription is ended again."""
        assert self._wrapper is not None
        self._wrapper.account_values = {}
        self._wrapper.portfolio = {}
        self._request("account", lambda c: c.reqAccountUpdates(True, account))
        self._send(lambda c: c.reqAccountUpdates(False, account))
        values = self._wrapper.account_values
        wanted = {}
        for tag in ("NetLiquidation", "TotalCashValue"):
            value = values.get((account, tag, "USD")) or values.get((account, tag, "BASE"))
            if value is None:
                raise BrokerError(f"the broker sent no {tag} in USD for account {account}")
            wanted[tag] = Decimal(value)
        return Account(
            account=account,
            equity=wanted["NetLiquidation"],
            cash=wanted["TotalCashValue"],
            holdings=tuple(
                holding
                for (owner, _), holding in sorted(self._wrapper.portfolio.items())
                if owner == account and holding.quantity
            ),
        )

    def open_orders(self) -> list[WorkingOrder]:
        """Open orders of all clients."""
        return self._request("openOrders", lambda c: c.reqAllOpenOrders(), rows=True)

    def completed_orders(self) -> list[WorkingOrder]:
        return self._request("completedOrders", lambda c: c.reqCompletedOrders(False), rows=True)

    def executions(self) -> list[Execution]:
        """Executions of the broker's current day, with the commissions it has reported."""
        assert self._wrapper is not None
        key = self._new_request_id()
        rows = self._request(
            key, lambda c: c.reqExecutions(key, self._library.ExecutionFilter()), rows=True
        )
        # Commission reports follow their executions; a round trip makes sure that they are in.
        self.current_time()
        commissions = self._wrapper.commissions
        return [
            Execution(**{**vars(row), "commission": commissions.get(row.exec_id)}) for row in rows
        ]

    def contract(self, symbol: str) -> list[ContractInfo]:
        """US-listed stocks of that ticker at SMART routing."""
        key = self._new_request_id()
        stock = self._library.Stock(symbol, "SMART", "USD")
        return self._request(key, lambda c: c.reqContractDetails(key, stock), rows=True)

    def quotes(self, contracts: Sequence[ContractInfo]) -> list[Quote | BrokerError]:
        """A snapshot of each contract, or the error that it gave."""
        self._send(lambda c: c.reqMarketDataType(3))
        keys = [self._new_request_id() for _ in contracts]

        async def ask() -> list[Any]:
            assert self._wrapper is not None
            waits = []
            for key, contract in zip(keys, contracts, strict=True):
                waits.append(self._wrapper.expect(key, rows=False))
                self._wrapper.quotes[key] = {"kind": "live"}
                self._client.reqMktData(key, self._stock(contract), "", True, False, [])
            return await asyncio.gather(
                *(asyncio.wait_for(wait, self._timeout_s) for wait in waits),
                return_exceptions=True,
            )

        results = self._run(ask(), self._timeout_s + 60)
        out: list[Quote | BrokerError] = []
        for key, contract, result in zip(keys, contracts, results, strict=True):
            assert self._wrapper is not None
            ticks = self._wrapper.quotes.pop(key, {})
            if isinstance(result, BrokerError):
                out.append(result)
            elif isinstance(result, BaseException):
                out.append(BrokerError(f"no quote for {contract.symbol} within the time-out"))
            else:
                out.append(
                    Quote(
                        symbol=contract.symbol,
                        bid=ticks.get("bid"),
                        ask=ticks.get("ask"),
                        last=ticks.get("last"),
                        close=ticks.get("close"),
                        kind=ticks["kind"],
                        at=datetime.now(UTC),
                    )
                )
        return out

    # orders

    def place_limit(
        self,
        order_id: int,
        contract: ContractInfo,
        *,
        side: str,
        quantity: int,
        limit_price: Decimal,
        tif: str,
        account: str,
        order_ref: str,
    ) -> None:
        """Write a limit order to the socket. Returning says that it was written, no more."""
        order = self._library.LimitOrder(
            side,
            quantity,
            float(limit_price),
            tif=tif,
            account=account,
            orderRef=order_ref,
            eTradeOnly=False,
            firmQuoteOnly=False,
        )
        stock = self._stock(contract)
        self._send(lambda c: c.placeOrder(order_id, stock, order))

    def cancel(self, order_id: int) -> None:
        self._send(lambda c: c.cancelOrder(order_id))

    def cancel_all(self) -> None:
        self._send(lambda c: c.reqGlobalCancel())

    # inside

    def _stock(self, contract: ContractInfo) -> Any:
        return self._library.Stock(
            contract.symbol,
            "SMART",
            contract.currency,
            conId=contract.con_id,
            primaryExchange=contract.primary_exchange,
        )

    def _new_request_id(self) -> int:
        self._request_id += 1
        return self._request_id

    def _request(self, key: Any, send: Callable[[Any], None], *, rows: bool = False) -> Any:
        async def ask() -> Any:
            assert self._wrapper is not None
            wait = self._wrapper.expect(key, rows=rows)
            send(self._client)
            try:
                return await asyncio.wait_for(wait, self._timeout_s)
            except TimeoutError:
                raise BrokerError(
                    f"no complete reply to {key} within {self._timeout_s:g} s"
                ) from None
            finally:
                self._wrapper.forget(key)

        self._check()
        result = self._run(ask(), self._timeout_s + 5)
        self._check()
        return result

    def _send(self, send: Callable[[Any], None]) -> None:
        async def write() -> None:
            send(self._client)

        self._check()
        self._run(write(), self._timeout_s)

    def _check(self) -> None:
        if self._log_handler is not None and self._log_handler.first:
            raise BrokerError(
                f"the client library could not read a message: {self._log_handler.first}"
            )
        if not self.connected:
            raise BrokerError("the connection to the broker is closed")

    def _start_loop(self) -> None:
        started = threading.Event()

        def run() -> None:
            self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._loop)
            self._loop.call_soon(started.set)
            self._loop.run_forever()
            self._loop.close()

        self._thread = threading.Thread(target=run, name="tws-client", daemon=True)
        self._thread.start()
        started.wait()

    def _run(self, work: Coroutine[Any, Any, Any], timeout_s: float) -> Any:
        if self._loop is None:
            work.close()
            raise BrokerError("the connection to the broker is closed")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(timeout_s)
        except ConnectionError as error:
            raise BrokerError(f"the connection to the broker was lost: {error}") from error
        except TimeoutError as error:
            future.cancel()
            raise BrokerError(f"the broker did not answer within {timeout_s:g} s") from error


class _ProtocolErrors(logging.Handler):
    """The library logs messages it can't decode and goes on; to us they are failures."""

    LOGGERS = ("ib_insync.Decoder", "ib_insync.client")

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.first: str | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == "ib_insync.Decoder" and self.first is None:
            self.first = record.getMessage()
