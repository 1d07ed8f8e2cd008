"""What the risk gate looks at: the order asked for, and what is known of account and market.

Here belong these plain facts and nothing that judges them. Whatever can be unknown is None, and
None is never read as zero or empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Literal

Side = Literal["BUY", "SELL"]
Reach = tuple[int, int]
"""Lowest and highest position of a symbol, in signed shares, whatever part of what works fills."""


class BreakerKind(StrEnum):
    """The circuit breakers."""

    DAILY_LOSS = "daily_loss"
    DRAWDOWN = "drawdown"
    TRADE_LOSS = "trade_loss"
    ORDER_REJECTS = "order_rejects"
    DATA_AGE = "data_age"
    UNKNOWN_ORDERS = "unknown_orders"
    AGENT_PAUSED = "agent_paused"
    KILL_SWITCH = "kill_switch"


@dataclass(frozen=True)
class OrderRequest:
    """An order as it is to be sent. There is no order type: every order is a limit order.

    order_ref: the desk's own identity of the order, never used twice. quantity: shares, above 0.
    limit_price: USD, on the tick grid. arrival_price: USD, the price when the order was decided.
    plan_row: id of the plan's row that it works, if any.
    strategies: ids of the strategies that the order stands for. at_open: it is sent while the
    market is closed and meets the opening; without a quote, it is held against the last close.
    """

    order_ref: str
    account: str
    symbol: str
    side: Side
    quantity: int
    limit_price: Decimal
    arrival_price: Decimal
    tif: Literal["DAY"] = "DAY"
    plan_row: str | None = None
    strategies: tuple[str, ...] = ()
    at_open: bool = False

    @property
    def change(self) -> int:
        """Signed shares."""
        return self.quantity if self.side == "BUY" else -self.quantity


@dataclass(frozen=True)
class WorkingOrder:
    """An order that can still fill.

    remaining: shares not filled yet, 0 or more. limit_price: USD; None where not known.
    """

    order_ref: str
    symbol: str
    side: Side
    remaining: int
    limit_price: Decimal | None

    def __post_init__(self) -> None:
        if self.side not in ("BUY", "SELL") or self.remaining < 0:
            raise ValueError(
                f"working order {self.order_ref}: {self.side} {self.remaining} {self.symbol} "
                "can't be; the side is BUY or SELL, what remains 0 or more"
            )


@dataclass(frozen=True)
class Quote:
    """Best prices of the order's symbol, USD; a price that is not finite and above 0 is none.

    age_seconds: since the quote was made; None where not known.
    """

    bid: Decimal | None
    ask: Decimal | None
    last: Decimal | None
    age_seconds: float | None

    def touch(self, side: Side) -> Decimal | None:
        """The price that an order of this side meets: ask or bid, else the last trade.

        None where there is neither, and where bid and ask are crossed (such a quote is wrong).
        """
        bid, ask, last = (usable_price(p) for p in (self.bid, self.ask, self.last))
        if bid is not None and ask is not None and bid > ask:
            return None
        near = ask if side == "BUY" else bid
        return last if near is None else near


@dataclass(frozen=True, kw_only=True)
class RiskState:
    """Account, market and controls at the moment of a review.

    Money in USD, positions in signed shares. equity_at_start: at the start of the session,
    adjusted for cash paid in or out since, as peak_equity is. cash: settled and confirmed.
    positions, working: of all symbols, by the broker. marks: a price for each symbol in them.
    frozen: symbols whose true position is in doubt.
    quote, last_close, tick_size, adv (shares a day), shortable: of the order's symbol. adv may stay
    unknown: then the largest order value alone bounds the order.
    plan_target: signed shares that the plan wants of the symbol; None for an order outside a plan.
    tripped: breakers that are latched. acknowledged: of those that a person reset, the value at
        which that was done. worst_trade_loss: largest realised loss of one trade in the
    session, 0 if there is none. data_age_sessions: sessions since the newest bar.
    known_refs: refs of every order that this state accounts for, finished ones included. An order
        that is approved and not sent yet counts as working.
    """

    account: str
    equity: Decimal | None
    equity_at_start: Decimal | None
    peak_equity: Decimal | None
    cash: Decimal | None
    positions: Mapping[str, int] | None
    working: tuple[WorkingOrder, ...] | None
    marks: Mapping[str, Decimal]
    quote: Quote | None
    last_close: Decimal | None
    tick_size: Decimal | None
    adv: float | None
    plan_target: int | None
    tripped: AbstractSet[BreakerKind] | None
    worst_trade_loss: Decimal | None
    rejects_in_a_row: int | None
    unknown_orders: int | None
    data_age_sessions: int | None
    orders_last_minute: int | None
    agent_paused: bool | None
    kill_switch: bool | None
    known_refs: AbstractSet[str]
    shortable: bool | None = None
    frozen: AbstractSet[str] = frozenset()
    acknowledged: Mapping[BreakerKind, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("equity", "equity_at_start", "peak_equity", "cash", "worst_trade_loss"):
            amount = getattr(self, name)
            if amount is not None and not amount.is_finite():
                raise ValueError(f"{name} is {amount}; an amount that is not known is None")

    def reaches(self) -> dict[str, Reach] | None:
        """How far each position could go, by symbol; None where anything needed is not known."""
        if self.positions is None or self.working is None:
            return None
        reaches = {symbol: (held, held) for symbol, held in self.positions.items()}
        for order in self.working:
            low, high = reaches.get(order.symbol, (0, 0))
            if order.side == "BUY":
                reaches[order.symbol] = (low, high + order.remaining)
            else:
                reaches[order.symbol] = (low - order.remaining, high)
        return reaches

    def reach(self, symbol: str) -> Reach | None:
        """How far the position of one symbol could go; None where it is not known or in doubt."""
        reaches = self.reaches()
        if reaches is None or symbol in self.frozen:
            return None
        return reaches.get(symbol, (0, 0))


def usable_price(price: Decimal | None) -> Decimal | None:
    """The price, or None where it is absent, not finite or not above 0."""
    return price if price is not None and price.is_finite() and price > 0 else None
