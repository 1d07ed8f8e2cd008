"""One TWS connection: the only place that imports the client library, `ib_insync` or `ib_async`.

The library's socket client and decoder are used as they are; its order book-keeping is not, since
it marks orders done that go on to fill. Our wrapper turns each message into our own records
(messages.py) and hands raw order events on, in the order of the wire. The connection lives on an
event loop in a thread of its own; every method here is called from the desk's thread and blocks
until its reply is complete, or raises BrokerError.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hydra_pipelines.execution.broker.loop import LoopThread
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
from hydra_pipelines.execution.broker.wrapper import FIRST_REQUEST_ID, Wrapper, quote_time

REQUESTS_PER_SECOND = 45
"""The pace that both libraries keep; IB cuts the connection of whoever goes beyond 50."""
_SNAPSHOT_SHARE = 1.2
"""Market data snapshots may take 11 s; other replies come at once or not at all."""


def load_library() -> Any:
    """The client library that is installed; `ib_insync` where both seem to be."""
    with contextlib.suppress(ModuleNotFoundError):
        import ib_insync

        return ib_insync
    with contextlib.suppress(ModuleNotFoundError):
        import ib_async

        return ib_async
    raise BrokerError("no client library for the TWS API: install ib_insync or ib_async")


class TwsClient:
    """A connection that is made once, used, and thrown away; reconnecting makes a new one."""

    def __init__(
        self, timeout_s: float = 10, zone: str = "America/New_York", *, paced: bool = True
    ):
        """timeout_s: for each reply. zone: of times that come without one.

        paced: keep `REQUESTS_PER_SECOND`, which only a venue of our own does without.
        """
        self._paced = paced
        self._timeout_s = timeout_s
        self._zone = zone
        self._events: deque[RawEvent] = deque()
        self._loop: LoopThread | None = None
        self._client: Any = None
        self._library: Any = None
        self._wrapper: Wrapper | None = None
        self._request_id = FIRST_REQUEST_ID
        self._log_handler: _ProtocolErrors | None = None
        self._throttled = False

    # connection

    def connect(self, host: str, port: int, client_id: int, timeout_s: float) -> None:
        """Open the socket and shake hands. Raises BrokerError that names the cause."""
        self._loop = LoopThread("tws-client")
        try:
            self._loop.run(self._connect(host, port, client_id, timeout_s), timeout_s + 5)
        except BaseException:
            self.close()
            raise

    async def _connect(self, host: str, port: int, client_id: int, timeout_s: float) -> None:
        # Imported here: the library binds the event loop of the importing thread.
        self._library = load_library()
        self._wrapper = wrapper = Wrapper(self._events, self._zone)
        self._log_handler = _ProtocolErrors(self._library.__name__, wrapper)
        self._client = self._library.Client(wrapper)
        self._client.MaxRequests = REQUESTS_PER_SECOND if self._paced else 0
        self._client.throttleStart += lambda: self._set_throttled(True)
        self._client.throttleEnd += lambda: self._set_throttled(False)
        where = f"{host}:{port}"
        connecting = asyncio.ensure_future(
            self._client.connectAsync(host, port, client_id, timeout_s)
        )
        await asyncio.wait({connecting, wrapper.socket_ended}, return_when=asyncio.FIRST_COMPLETED)
        if ended := not connecting.done():
            # Waiting for the rest of the greeting would be in vain.
            connecting.cancel()
        try:
            await connecting
        except ConnectionRefusedError as error:
            raise BrokerError(
                f"nothing listens at {where}: start the gateway, enable its API, or correct the "
                "port (4002 Gateway paper, 7497 TWS paper, 4001 Gateway live, 7496 TWS live)"
            ) from error
        except (TimeoutError, asyncio.CancelledError) as error:
            if wrapper.client_id_in_use:
                raise BrokerError(
                    f"client id {client_id} is in use at {where}: end the other program, or set "
                    "another IBKR_CLIENT_ID"
                ) from error
            if ended:
                raise BrokerError(
                    f"{where} closed the connection at once: add this host to the trusted IPs of "
                    "the gateway's API settings, and look at what it shows on its screen"
                ) from error
            raise BrokerError(
                f"{where} accepted the connection but did not speak the TWS API within "
                f"{timeout_s:g} s: is it the API port, is the API enabled, is this host trusted?"
            ) from error
        except OSError as error:
            raise BrokerError(f"{where} can't be reached: {error}") from error

    def _set_throttled(self, throttled: bool) -> None:
        self._throttled = throttled

    def close(self) -> None:
        if self._loop is None:
            return
        if self._log_handler is not None:
            self._log_handler.detach()
        if self._wrapper is not None:
            self._wrapper.closing = True
        self._loop.stop(self._client.disconnect if self._client is not None else lambda: None)
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

    @property
    def outage(self) -> str | None:
        """What the gateway said when it lost IB's servers; None while it has them."""
        assert self._wrapper is not None
        return self._wrapper.outage

    @property
    def outages(self) -> int:
        """How often the gateway has lost or regained IB's servers."""
        assert self._wrapper is not None
        return self._wrapper.outages

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
        """Open positions of all accounts, each with the account that holds it."""
        rows = self._request("positions", lambda c: c.reqPositions(), rows=True)
        self._send(lambda c: c.cancelPositions())
        # A change that happens while the list is sent comes as a row of its own: the last counts.
        latest = {(account, row.con_id): (account, row) for account, row in rows}
        return [(account, row) for account, row in latest.values() if row.quantity]

    def account(self, account: str) -> Account:
        """Values and portfolio of one account; the subscription is ended again."""
        assert self._wrapper is not None
        self._wrapper.account_values = {}
        self._wrapper.portfolio = {}
        self._request("account", lambda c: c.reqAccountUpdates(True, account))
        self._send(lambda c: c.reqAccountUpdates(False, account))
        values = self._wrapper.account_values
        if values.get((account, "AccountReady", "")) == "false":
            raise BrokerError(f"the broker is not ready to value account {account}: ask again")
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
        rows = self._request("openOrders", lambda c: c.reqAllOpenOrders(), rows=True)
        return list({(row.perm_id, row.client_id, row.order_id): row for row in rows}.values())

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

    def daily_bars(self, contract: ContractInfo, duration: str, *, adjusted: bool) -> list[Any]:
        """(date as text, open, high, low, close, volume) of complete sessions, oldest first."""
        key, kind = self._new_request_id(), "ADJUSTED_LAST" if adjusted else "TRADES"
        ask: tuple[Any, ...] = (
            self._stock(contract), "", duration, "1 day", kind, 1, 1, False, [],
        )  # fmt: skip
        return self._request(key, lambda c: c.reqHistoricalData(key, *ask), rows=True)

    def quotes(self, contracts: Sequence[ContractInfo]) -> list[Quote | BrokerError]:
        """A snapshot of each contract, or the error that it gave; delayed where not subscribed."""
        self._send(lambda c: c.reqMarketDataType(3))
        keys = [self._new_request_id() for _ in contracts]
        patience = self._timeout_s * _SNAPSHOT_SHARE + len(contracts) / REQUESTS_PER_SECOND

        async def ask() -> list[Any]:
            assert self._wrapper is not None
            waits = []
            for key, contract in zip(keys, contracts, strict=True):
                waits.append(self._wrapper.expect(key, rows=False))
                self._wrapper.quotes[key] = {"kind": "live"}
                self._client.reqMktData(key, self._stock(contract), "", True, False, [])
            try:
                return await asyncio.gather(
                    *(asyncio.wait_for(wait, patience) for wait in waits), return_exceptions=True
                )
            finally:
                for key in keys:
                    self._wrapper.forget(key)

        results = self._run(ask(), patience + 5)
        self._check()
        out: list[Quote | BrokerError] = []
        for key, contract, result in zip(keys, contracts, results, strict=True):
            assert self._wrapper is not None
            ticks = self._wrapper.quotes.pop(key, {})
            if isinstance(result, BrokerError):
                out.append(result)
            elif isinstance(result, BaseException):
                out.append(BrokerError(f"no quote for {contract.symbol} within {patience:.0f} s"))
            else:
                out.append(
                    Quote(
                        symbol=contract.symbol,
                        bid=ticks.get("bid"),
                        ask=ticks.get("ask"),
                        last=ticks.get("last"),
                        close=ticks.get("close"),
                        kind=ticks["kind"],
                        at=quote_time(ticks, datetime.now(UTC)),
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
        """Returns when the bytes are with the socket, which the library's pace may delay."""

        async def write() -> None:
            send(self._client)
            if self._throttled:
                await asyncio.wait_for(self._client.throttleEnd, self._timeout_s)

        self._check()
        self._run(write(), self._timeout_s + 5)

    def _check(self) -> None:
        if self._log_handler is not None and self._log_handler.first is not None:
            raise self._log_handler.first
        if not self.connected:
            raise BrokerError("the connection to the broker is closed")

    def _run(self, work: Any, timeout_s: float) -> Any:
        if self._loop is None:
            work.close()
            raise BrokerError("the connection to the broker is closed")
        return self._loop.run(work, timeout_s)


class _ProtocolErrors(logging.Handler):
    """The library logs messages that it can't decode and goes on; to us they are failures."""

    def __init__(self, library: str, wrapper: Wrapper) -> None:
        super().__init__(logging.ERROR)
        self.first: BrokerError | None = None
        self._wrapper = wrapper
        self._decoder = f"{library}.Decoder"
        # Of the client's log nothing is needed, but without a handler it would be printed.
        self._loggers = [logging.getLogger(f"{library}.{part}") for part in ("Decoder", "client")]
        for logger in self._loggers:
            logger.addHandler(self)

    def detach(self) -> None:
        for logger in self._loggers:
            logger.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == self._decoder and self.first is None:
            cause = record.exc_info[1] if record.exc_info else None
            self.first = BrokerError(
                f"the client library could not read a message: {cause or record.getMessage()}"
            )
            self._wrapper.fail(self.first)
