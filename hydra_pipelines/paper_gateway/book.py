"""The records of the venue: orders, executions, positions, and the reports about them.

Plain data. Who may trade, at what price, and how it is stored or told is elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any

PRE_SUBMITTED = "PreSubmitted"
SUBMITTED = "Submitted"
FILLED = "Filled"
CANCELLED = "Cancelled"
INACTIVE = "Inactive"
ACTIVE = (PRE_SUBMITTED, SUBMITTED)


@dataclass
class Order:
    """A limit order. Money in units (1/10,000 dollar), commission in cents, times in UTC."""

    perm_id: int
    client_id: int
    order_id: int
    con_id: int
    symbol: str
    action: str
    quantity: int
    limit: int
    tif: str
    order_ref: str
    placed_at: datetime
    expires: datetime | None
    """The close at which a DAY order ends; None for GTC."""
    fields: dict[str, Any] = field(default_factory=dict)
    """The remaining order fields as the client sent them, to be returned verbatim."""
    exchange: str = "SMART"
    status: str = PRE_SUBMITTED
    filled: int = 0
    notional: int = 0
    commission: int = 0
    last_price: int = 0
    resting: bool = False
    """Whether the market was out of its reach when last tried: it then fills as a maker."""
    done_at: datetime | None = None
    reason: str = ""

    @property
    def remaining(self) -> int:
        """Negative where more was filled than ordered."""
        return self.quantity - self.filled

    @property
    def active(self) -> bool:
        return self.status in ACTIVE

    def snapshot(self) -> Order:
        return replace(self)

    def execution(
        self,
        serial: int,
        exec_id: str,
        time: datetime,
        shares: int,
        price: int,
        commission: int,
        realized: int | None,
    ) -> Execution:
        """The record of a fill that the order's totals include already."""
        return Execution(
            serial=serial,
            exec_id=exec_id,
            perm_id=self.perm_id,
            client_id=self.client_id,
            order_id=self.order_id,
            order_ref=self.order_ref,
            con_id=self.con_id,
            symbol=self.symbol,
            exchange=self.exchange,
            action=self.action,
            time=time,
            shares=shares,
            price=price,
            cum_quantity=self.filled,
            cum_notional=self.notional,
            commission=commission,
            realized=realized,
            maker=self.resting,
        )


@dataclass(frozen=True)
class Execution:
    """One fill. `realized` is None where it opened or increased a position."""

    serial: int
    exec_id: str
    perm_id: int
    client_id: int
    order_id: int
    order_ref: str
    con_id: int
    symbol: str
    exchange: str
    action: str
    time: datetime
    shares: int
    price: int
    cum_quantity: int
    cum_notional: int
    commission: int
    realized: int | None
    maker: bool

    @property
    def notional_flow(self) -> int:
        """What it did to the cash but for the commission, in units."""
        return self.shares * (self.price if self.action == "SELL" else -self.price)


@dataclass(frozen=True)
class ActionBooked:
    """A split or dividend of a symbol that was held; `cash` in units, fractions of shares in it."""

    session: date
    symbol: str
    ratio: str
    quantity_before: int
    quantity_after: int
    cash: int


def effective(executions: Iterable[Execution]) -> list[Execution]:
    """Executions without those that a later one corrects: the same id but for its last part."""
    latest = {item.exec_id.rpartition(".")[0]: item for item in executions}
    return list(latest.values())


@dataclass(frozen=True)
class Position:
    """Shares held (negative when short) and what they cost, commission included, in units."""

    con_id: int
    quantity: int = 0
    cost: int = 0

    def after(self, shares: int, notional: int, commission: int) -> tuple[Position, int | None]:
        """The position after a trade of signed `shares`, and the profit it realised.

        Average cost, commission included, as IB keeps it; whole units are conserved: what leaves
        the cost basis is what the realised profit is measured against.
        """
        size = abs(shares)
        closing = min(abs(self.quantity), size) if self.quantity * shares < 0 else 0
        if not closing:
            cost = notional + commission if shares > 0 else commission - notional
            return Position(self.con_id, self.quantity + shares, self.cost + cost), None
        closing_notional = notional * closing // size
        closing_commission = commission * closing // size
        basis = self.cost * closing // abs(self.quantity)
        flow = closing_notional if shares < 0 else -closing_notional
        realized = flow - closing_commission - basis
        left = Position(
            self.con_id,
            self.quantity + (closing if shares > 0 else -closing),
            self.cost - basis,
        )
        if closing == size:
            return left, realized
        beyond = size - closing
        opened, _ = left.after(
            beyond if shares > 0 else -beyond,
            notional - closing_notional,
            commission - closing_commission,
        )
        return opened, realized


@dataclass(frozen=True)
class OpenOrder:
    """The order as it stands, to its owner; `commission` in cents once it is known."""

    order: Order
    commission: int | None = None


@dataclass(frozen=True)
class StatusChange:
    order: Order


@dataclass(frozen=True)
class Executed:
    execution: Execution


@dataclass(frozen=True)
class CommissionCharged:
    execution: Execution


@dataclass(frozen=True)
class Problem:
    """An error about an order, to the client that sent it."""

    client_id: int
    order_id: int
    code: int
    text: str


Report = OpenOrder | StatusChange | Executed | CommissionCharged | Problem
