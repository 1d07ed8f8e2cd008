"""What the broker says, in our own words: typed replies and raw events.

Nothing of the client library appears here. Prices and amounts are Decimal, instants are UTC.
A reply is `Known(value)` or `Unknown(reason)`: an empty or timed-out reply is never "flat".
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Generic, TypeVar

T = TypeVar("T")


class BrokerError(RuntimeError):
    """The broker can't be reached, refused, or said something that can't be trusted."""


class NotSubmitted(BrokerError):
    """The order was not written to the socket, for certain."""


@dataclass(frozen=True)
class Known(Generic[T]):
    """A complete reply."""

    value: T


@dataclass(frozen=True)
class Unknown:
    """No complete reply: time-out, refusal, lost connection. Stops trading, never read as empty."""

    reason: str


@dataclass(frozen=True)
class ContractInfo:
    symbol: str
    con_id: int
    exchange: str
    primary_exchange: str
    currency: str
    min_tick: Decimal


@dataclass(frozen=True)
class Position:
    symbol: str
    con_id: int
    quantity: int
    average_cost: Decimal
    """Per share, commissions included."""


@dataclass(frozen=True)
class Holding:
    """A position with the broker's own mark."""

    symbol: str
    quantity: int
    market_price: Decimal
    market_value: Decimal


@dataclass(frozen=True)
class Account:
    """The account in USD as the broker values it."""

    account: str
    equity: Decimal
    cash: Decimal
    holdings: tuple[Holding, ...]


@dataclass(frozen=True)
class Quote:
    """A price to trade against. Missing sides are None; `kind` says how fresh the service is."""

    symbol: str
    bid: Decimal | None
    ask: Decimal | None
    last: Decimal | None
    close: Decimal | None
    kind: str
    """`live`, `frozen`, `delayed` or `delayed_frozen`."""
    at: datetime | None
    """When the market was like this, at the latest; None where it can't be told."""

    @property
    def mid(self) -> Decimal | None:
        if self.bid is None or self.ask is None:
            return None
        return (self.bid + self.ask) / 2


@dataclass(frozen=True)
class WorkingOrder:
    """An order that the broker holds open, or a completed one (`status` tells)."""

    order_ref: str
    order_id: int
    perm_id: int
    account: str
    symbol: str
    side: str
    quantity: int
    filled: int | None
    limit_price: Decimal | None
    status: str
    client_id: int


@dataclass(frozen=True)
class Execution:
    exec_id: str
    order_ref: str
    order_id: int
    perm_id: int
    account: str
    symbol: str
    side: str
    quantity: int
    price: Decimal
    executed_at: datetime
    client_id: int
    commission: Decimal | None = None

    @property
    def key(self) -> str:
        """The id without its correction digits: a correction has the same key."""
        return self.exec_id.rpartition(".")[0] or self.exec_id

    @property
    def correction(self) -> int:
        tail = self.exec_id.rpartition(".")[2]
        return int(tail) if tail.isdigit() else 0


@dataclass(frozen=True)
class BrokerState:
    """Everything that the broker holds of an account: complete replies, taken without an outage."""

    open_orders: tuple[WorkingOrder, ...]
    completed_orders: tuple[WorkingOrder, ...]
    executions: tuple[Execution, ...]
    positions: tuple[Position, ...]

    @property
    def held(self) -> dict[str, int]:
        """Signed shares by symbol."""
        shares: dict[str, int] = {}
        for position in self.positions:
            shares[position.symbol] = shares.get(position.symbol, 0) + position.quantity
        return shares


@dataclass(frozen=True)
class OrderOpened:
    order: WorkingOrder


@dataclass(frozen=True)
class OrderStatus:
    order_id: int
    perm_id: int
    client_id: int
    status: str
    filled: int = 0
    """Shares filled by then. Executions are the truth; more than they tell of is a doubt."""


@dataclass(frozen=True)
class Executed:
    execution: Execution


@dataclass(frozen=True)
class CommissionReported:
    exec_id: str
    commission: Decimal


@dataclass(frozen=True)
class OrderError:
    order_id: int
    code: int
    text: str


@dataclass(frozen=True)
class SocketClosed:
    """The other end is gone; what it wrote before has been read."""


RawEvent = OrderOpened | OrderStatus | Executed | CommissionReported | OrderError | SocketClosed
