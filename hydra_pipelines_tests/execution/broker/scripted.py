"""A TWS server that speaks as much as one test needs, and misbehaves as it is told.

It shares nothing with the stand-in gateway: frames and fields are written here by hand, at server
version 176, from what the protocol says.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hydra_pipelines.execution.broker.gateway import BrokerGateway, Endpoint
from hydra_pipelines.execution.broker.messages import ContractInfo
from hydra_pipelines.execution.risk.gate import Approval, RiskGate
from hydra_pipelines.execution.risk.limits import RiskLimits
from hydra_pipelines.execution.risk.state import OrderRequest, Quote, RiskState

ACCOUNT = "DU7"
Fields = Sequence[Any]
Answer = Callable[[list[str]], Sequence[Fields]]

MARKET_DATA, PLACE, CANCEL, ACCOUNT_UPDATES, EXECUTIONS = 1, 3, 4, 6, 7
CONTRACT, ALL_OPEN, TIME, POSITIONS, COMPLETED, START = 9, 16, 49, 61, 99, 71

AAPL = ContractInfo("AAPL", 265598, "SMART", "NASDAQ", "USD", Decimal("0.01"))


def frame(*fields: Any) -> bytes:
    body = "".join(f"{value}\0" for value in fields).encode()
    return struct.pack(">I", len(body)) + body


def error(request_id: int, code: int, text: str = "said so") -> Fields:
    return (4, 2, request_id, code, text, "")


def stock(con_id: int, symbol: str) -> Fields:
    return (con_id, symbol, "STK", "", 0, "", "", "SMART", "USD", symbol, symbol)


def position(quantity: Any, *, con_id: int = 265598, symbol: str = "AAPL") -> Fields:
    return (61, 3, ACCOUNT, *stock(con_id, symbol), quantity, "10.5")


def execution(
    exec_id: str, shares: int = 10, *, request_id: int = -1, order_id: int = 5, ref: str = "ours",
    when: str = "20190103 10:00:00 America/New_York", perm_id: int = 77, client_id: int = 17,
    account: str = ACCOUNT,
) -> Fields:  # fmt: skip
    return (
        11, request_id, order_id, *stock(265598, "AAPL"), exec_id, when, account, "SMART", "BOT",
        shares, "10.25", perm_id, client_id, 0, shares, "10.25", ref, "", "", "", 1,
    )  # fmt: skip


def commission(exec_id: str, amount: str) -> Fields:
    return (59, 1, exec_id, amount, "USD", "1.7976931348623157E308", "", "")


def status(order_id: int, said: str, *, perm_id: int = 77, client_id: int = 17) -> Fields:
    return (3, order_id, said, 0, 10, 0, perm_id, 0, 0, client_id, "", 0)


def tick(request_id: str, kind: int, price: Any) -> Fields:
    return (1, 6, request_id, kind, price, 100, 0)


def default_answers() -> dict[int, Answer]:
    """An account without anything in it."""
    return {
        TIME: lambda f: [(49, 1, int(datetime(2019, 1, 3, 15, tzinfo=UTC).timestamp()))],
        POSITIONS: lambda f: [(62, 1)],
        ALL_OPEN: lambda f: [(53, 1)],
        COMPLETED: lambda f: [(102,)],
        EXECUTIONS: lambda f: [(55, 1, f[2])],
        ACCOUNT_UPDATES: lambda f: (
            []
            if f[2] == "0"
            else [
                (6, 2, "NetLiquidation", "1000.50", "USD", ACCOUNT),
                (6, 2, "TotalCashValue", "1000.50", "USD", ACCOUNT),
                (54, 1, ACCOUNT),
            ]
        ),
        MARKET_DATA: lambda f: [tick(f[2], 1, 10), tick(f[2], 2, 10.02), (57, 1, f[2])],
    }


@dataclass
class Server:
    """Serves connections one after the other until the end of the `with` block.

    answers: by message id; what has none is heard and not answered. greeting: after startApi; None
    says nothing ever. hang_up: closes each connection at this point.
    """

    answers: dict[int, Answer] = field(default_factory=default_answers)
    accounts: str = ACCOUNT
    next_id: int = 1
    greeting: Sequence[Fields] | None = None
    mute: bool = False
    hang_up: str = ""
    version: int = 176
    heard: list[list[str]] = field(default_factory=list)
    connections: int = 0

    def __enter__(self) -> Server:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._socket: socket.socket | None = None
        self._closing = False
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        self.drop()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def drop(self) -> None:
        """End the connection at once."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def say(self, *messages: Fields) -> None:
        """Write without being asked."""
        assert self._socket is not None
        self._socket.sendall(b"".join(frame(*message) for message in messages))

    def of(self, kind: int) -> list[list[str]]:
        """Messages of a kind that were heard."""
        return [fields for fields in self.heard if fields[0] == str(kind)]

    def _serve(self) -> None:
        while not self._closing:
            try:
                self._socket, _ = self._listener.accept()
            except OSError:
                return
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            with contextlib.suppress(OSError, EOFError), self._socket:
                self._converse(self._socket)

    def _converse(self, connection: socket.socket) -> None:
        if self.hang_up == "at once":
            return
        stream = connection.makefile("rb")
        stream.read(4)
        _read(stream)
        if self.mute:
            stream.read(1)
            return
        self.say((self.version, "20190103 10:00:00 EST"))
        while fields := _read(stream).decode().split("\0")[:-1]:
            self.heard.append(fields)
            kind = int(fields[0])
            if kind == START:
                usual = [(15, 1, self.accounts), (9, 1, self.next_id)]
                self.say(*(usual if self.greeting is None else self.greeting))
                if self.hang_up == "after the greeting":
                    return
            elif kind in self.answers:
                self.say(*self.answers[kind](fields))


def _read(stream: Any) -> bytes:
    head = stream.read(4)
    if len(head) < 4:
        raise EOFError
    body: bytes = stream.read(struct.unpack(">I", head)[0])
    return body


def endpoint(server: Server, **changes: Any) -> Endpoint:
    values: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": server.port,
        "client_id": 17,
        "account": ACCOUNT,
        "connect_timeout_s": 2,
        "connect_attempts": 1,
        "request_timeout_s": 2,
    }
    return Endpoint(**{**values, **changes})


def gateway(server: Server, now: Callable[[], datetime] | None = None, **changes: Any):
    """A gateway to be entered, with a gate of its own."""
    gate = RiskGate(RiskLimits(max_orders_per_minute=10_000))
    clock = {"now": now} if now else {}
    return BrokerGateway(endpoint(server, **changes), gate, **clock)


def order(ref: str = "ours", **changes: Any) -> OrderRequest:
    values: dict[str, Any] = {
        "order_ref": ref,
        "account": ACCOUNT,
        "symbol": "AAPL",
        "side": "BUY",
        "quantity": 1,
        "limit_price": Decimal("10.02"),
        "arrival_price": Decimal("10.01"),
    }
    return OrderRequest(**{**values, **changes})


def approve(
    broker: BrokerGateway, wanted: OrderRequest, known: Sequence[str] = ("ours",)
) -> Approval:
    """The gate's approval, in a state that leaves room for everything. known: orders before it."""
    state = RiskState(
        account=wanted.account,
        equity=Decimal(10_000_000),
        equity_at_start=Decimal(10_000_000),
        peak_equity=Decimal(10_000_000),
        cash=Decimal(10_000_000),
        positions={},
        working=(),
        marks={"AAPL": Decimal("10.01")},
        quote=Quote(Decimal("10.00"), Decimal("10.02"), Decimal("10.01"), 0.0),
        last_close=Decimal("10.00"),
        tick_size=Decimal("0.01"),
        adv=1e9,
        plan_target=1_000_000,
        tripped=frozenset(),
        worst_trade_loss=Decimal(0),
        rejects_in_a_row=0,
        unknown_orders=0,
        data_age_sessions=0,
        orders_last_minute=0,
        agent_paused=False,
        kill_switch=False,
        known_refs=frozenset(known) - {wanted.order_ref},
    )
    decision = broker.gate.review(wanted, state)
    assert decision.approval is not None, decision.message
    return decision.approval


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)
