"""The pre-trade checks: every named reason to deny an order, and when it applies.

Here belongs the judgement of one order against one state, a pure function. That nothing reaches
the broker without it is the gate's part; facts about orders and accounts are in `state`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from enum import StrEnum

from hydra_pipelines.execution.risk.breakers import evaluate_breakers
from hydra_pipelines.execution.risk.limits import RiskLimits
from hydra_pipelines.execution.risk.state import (
    BreakerKind,
    OrderRequest,
    Reach,
    RiskState,
    usable_price,
)


class DenialReason(StrEnum):
    """Why an order is denied; `explanation` says it in a sentence."""

    # For every order, reductions included.
    KILL_SWITCH = "kill_switch"
    KILL_SWITCH_UNKNOWN = "kill_switch_unknown"
    WRONG_ACCOUNT = "wrong_account"
    INVALID_ORDER = "invalid_order"
    DUPLICATE_ORDER = "duplicate_order"
    STATE_OUT_OF_DATE = "state_out_of_date"
    TICK_SIZE_UNKNOWN = "tick_size_unknown"
    TICK_SIZE = "tick_size"
    NO_QUOTE = "no_quote"
    STALE_QUOTE = "stale_quote"
    QUOTE_COLLAR = "quote_collar"
    POSITION_UNKNOWN = "position_unknown"
    SYMBOL_FROZEN = "symbol_frozen"
    CROSSES_ZERO = "crosses_zero"
    BEYOND_TARGET = "beyond_target"
    # For orders that add risk.
    BREAKER_DAILY_LOSS = "breaker_daily_loss"
    BREAKER_DRAWDOWN = "breaker_drawdown"
    BREAKER_TRADE_LOSS = "breaker_trade_loss"
    BREAKER_ORDER_REJECTS = "breaker_order_rejects"
    BREAKER_DATA_AGE = "breaker_data_age"
    BREAKER_UNKNOWN_ORDERS = "breaker_unknown_orders"
    BREAKER_AGENT_PAUSED = "breaker_agent_paused"
    BREAKERS_UNKNOWN = "breakers_unknown"
    EQUITY_UNKNOWN = "equity_unknown"
    CASH_UNKNOWN = "cash_unknown"
    TARGET_UNKNOWN = "target_unknown"
    LAST_CLOSE_UNKNOWN = "last_close_unknown"
    EXPOSURE_UNKNOWN = "exposure_unknown"
    ORDER_RATE_UNKNOWN = "order_rate_unknown"
    RESTRICTED = "restricted"
    SHORT_SALE = "short_sale"
    NOT_SHORTABLE = "not_shortable"
    CLOSE_COLLAR = "close_collar"
    MAX_ORDER_NOTIONAL = "max_order_notional"
    ADV_SHARE = "adv_share"
    MAX_POSITION = "max_position"
    MAX_POSITIONS = "max_positions"
    GROSS_EXPOSURE = "gross_exposure"
    NET_EXPOSURE = "net_exposure"
    CASH = "cash"
    ORDER_RATE = "order_rate"

    @property
    def explanation(self) -> str:
        return _EXPLANATIONS[self]


_EXPLANATIONS = {
    DenialReason.KILL_SWITCH: "the kill switch is on: nothing is sent",
    DenialReason.KILL_SWITCH_UNKNOWN: "the kill switch can't be read: nothing is sent",
    DenialReason.WRONG_ACCOUNT: "the order names another account than the one connected",
    DenialReason.INVALID_ORDER: "side, quantity, price or time in force can't be right",
    DenialReason.DUPLICATE_ORDER: "an order with this reference exists already",
    DenialReason.STATE_OUT_OF_DATE: "the state does not know of an order sent before",
    DenialReason.TICK_SIZE_UNKNOWN: "the tick size of the contract is not known",
    DenialReason.TICK_SIZE: "the limit price is off the tick grid",
    DenialReason.NO_QUOTE: "there is no usable quote",
    DenialReason.STALE_QUOTE: "the quote is too old, or its age is not known",
    DenialReason.QUOTE_COLLAR: "the limit price goes too far beyond the quote",
    DenialReason.POSITION_UNKNOWN: "position or working orders are not known for certain",
    DenialReason.SYMBOL_FROZEN: "the position in the symbol is in doubt and has to be resolved",
    DenialReason.CROSSES_ZERO: "one order may not turn a long position short or a short one long",
    DenialReason.BEYOND_TARGET: "position, working orders and this order go beyond the target",
    DenialReason.BREAKER_DAILY_LOSS: "the loss of the session has reached its limit",
    DenialReason.BREAKER_DRAWDOWN: "the drawdown from the peak has reached its limit",
    DenialReason.BREAKER_TRADE_LOSS: "the loss of a single trade has reached its limit",
    DenialReason.BREAKER_ORDER_REJECTS: "too many orders in a row were rejected",
    DenialReason.BREAKER_DATA_AGE: "the market data is too old",
    DenialReason.BREAKER_UNKNOWN_ORDERS: "there are orders whose state is not known",
    DenialReason.BREAKER_AGENT_PAUSED: "the agent is paused: no new risk",
    DenialReason.BREAKERS_UNKNOWN: "a breaker, or a value that it watches, can't be read",
    DenialReason.EQUITY_UNKNOWN: "the account's equity is not known, or not above zero",
    DenialReason.CASH_UNKNOWN: "the account's cash, or what a working buy takes, is not known",
    DenialReason.TARGET_UNKNOWN: "no plan says how much of the symbol is wanted",
    DenialReason.LAST_CLOSE_UNKNOWN: "the last close is not known",
    DenialReason.EXPOSURE_UNKNOWN: "a position or working order has no price to value it",
    DenialReason.ORDER_RATE_UNKNOWN: "the number of orders in the last minute is not known",
    DenialReason.RESTRICTED: "the symbol is on the restricted list",
    DenialReason.SHORT_SALE: "short sales are not enabled",
    DenialReason.NOT_SHORTABLE: "the symbol is not known to be shortable",
    DenialReason.CLOSE_COLLAR: "the limit price is too far from the last close",
    DenialReason.MAX_ORDER_NOTIONAL: "the order is worth more than one order may be",
    DenialReason.ADV_SHARE: "the order is too large a share of the average daily volume",
    DenialReason.MAX_POSITION: "the position would be too large a share of equity",
    DenialReason.MAX_POSITIONS: "there would be too many positions",
    DenialReason.GROSS_EXPOSURE: "the gross exposure would be too large",
    DenialReason.NET_EXPOSURE: "the net exposure would be too large",
    DenialReason.CASH: "there is not enough cash above the buffer",
    DenialReason.ORDER_RATE: "too many orders in the last minute",
}


def find_denials(
    order: OrderRequest, state: RiskState, limits: RiskLimits
) -> tuple[DenialReason, ...]:
    """Every reason to deny the order; empty if it may be sent.

    An order is judged by the worst case of what is already working: all working orders of its own
    side filled, none of the other. It reduces where that brings the position closer to zero and not
    across; then only the reasons of the first group count, all of which say that the order itself
    can't be right (or the kill switch is on), and no limit or breaker keeps the desk in a position.
    """
    reasons = list(_of_order(order, state))
    if DenialReason.INVALID_ORDER in reasons:
        return tuple(reasons)
    reasons += _of_market(order, state, limits)
    reaches = state.reaches()
    if reaches is None:
        return (*reasons, DenialReason.POSITION_UNKNOWN)
    if order.symbol in state.frozen:
        return (*reasons, DenialReason.SYMBOL_FROZEN)
    low, high = reaches.get(order.symbol, (0, 0))
    after = (high if order.side == "BUY" else low) + order.change
    reasons += overshoots(order, (low, high), state.plan_target)
    reduces = low >= order.quantity if order.side == "SELL" else high <= -order.quantity
    if not reduces:
        reasons += of_breakers(state, limits)
        reasons += _of_increase(order, state, limits, after)
        reasons += _of_portfolio(order, state, limits, after, reaches)
    return tuple(reasons)


def overshoots(order: OrderRequest, reach: Reach, target: int | None) -> list[DenialReason]:
    """Whether the broker's position, all that works there and this order go too far together.

    The last layer against sending twice: it trusts none of our own books. reach: of the order's
    symbol, before this order.
    """
    low, high = reach
    after = (high if order.side == "BUY" else low) + order.change
    reasons = []
    if (high > 0 and after < 0) if order.side == "SELL" else (low < 0 and after > 0):
        reasons.append(DenialReason.CROSSES_ZERO)
    if target is not None and (after > target if order.side == "BUY" else after < target):
        reasons.append(DenialReason.BEYOND_TARGET)
    return reasons


def _of_order(order: OrderRequest, state: RiskState) -> Iterator[DenialReason]:
    if state.kill_switch is None:
        yield DenialReason.KILL_SWITCH_UNKNOWN
    elif state.kill_switch or BreakerKind.KILL_SWITCH in (state.tripped or ()):
        yield DenialReason.KILL_SWITCH
    if order.account != state.account:
        yield DenialReason.WRONG_ACCOUNT
    working = {other.order_ref for other in state.working or ()}
    if order.order_ref in state.known_refs or order.order_ref in working:
        yield DenialReason.DUPLICATE_ORDER
    prices = (order.limit_price, order.arrival_price)
    if (
        order.side not in ("BUY", "SELL")
        or type(order.quantity) is not int
        or order.quantity < 1
        or order.tif != "DAY"
        or not order.order_ref
        or not order.symbol
        or any(type(p) is not Decimal or usable_price(p) is None for p in prices)
    ):
        yield DenialReason.INVALID_ORDER


def _of_market(order: OrderRequest, state: RiskState, limits: RiskLimits) -> Iterator[DenialReason]:
    tick = usable_price(state.tick_size)
    if tick is None:
        yield DenialReason.TICK_SIZE_UNKNOWN
    elif order.limit_price % tick:
        yield DenialReason.TICK_SIZE
    touch = _touch(order, state)
    if touch is None:
        yield DenialReason.NO_QUOTE
        return
    age = state.quote.age_seconds if state.quote else None
    if not order.at_open and (age is None or not 0 <= age <= limits.max_quote_age_s):
        yield DenialReason.STALE_QUOTE
    beyond = order.limit_price - touch if order.side == "BUY" else touch - order.limit_price
    if beyond > touch * _exact(limits.collar_quote):
        yield DenialReason.QUOTE_COLLAR


def _touch(order: OrderRequest, state: RiskState) -> Decimal | None:
    """The price that the order meets. One for the open meets none yet: the last close stands in,
    whatever quote is shown; how old it may be is a breaker's, `data_age`."""
    if order.at_open:
        return usable_price(state.last_close)
    return state.quote.touch(order.side) if state.quote else None


def of_breakers(state: RiskState, limits: RiskLimits) -> Iterator[DenialReason]:
    """What the breakers have against any order that adds risk."""
    now = {breaker.kind for breaker in evaluate_breakers(state, limits)}
    for kind in BreakerKind:
        if kind is not BreakerKind.KILL_SWITCH and (kind in now or kind in (state.tripped or ())):
            yield DenialReason(f"breaker_{kind}")
    watched = (
        state.tripped,
        state.equity_at_start,
        state.peak_equity,
        state.worst_trade_loss,
        state.rejects_in_a_row,
        state.data_age_sessions,
        state.unknown_orders,
        state.agent_paused,
    )
    if None in watched:
        yield DenialReason.BREAKERS_UNKNOWN


def _of_increase(
    order: OrderRequest, state: RiskState, limits: RiskLimits, after: int
) -> Iterator[DenialReason]:
    """Reasons that need no other position than the order's own."""
    if state.plan_target is None:
        yield DenialReason.TARGET_UNKNOWN
    if order.symbol in limits.restricted:
        yield DenialReason.RESTRICTED
    if after < 0 and not limits.allow_short:
        yield DenialReason.SHORT_SALE
    elif after < 0 and state.shortable is not True:
        yield DenialReason.NOT_SHORTABLE
    close = usable_price(state.last_close)
    if close is None:
        yield DenialReason.LAST_CLOSE_UNKNOWN
    elif abs(order.limit_price - close) > close * _exact(limits.collar_last_close):
        yield DenialReason.CLOSE_COLLAR
    if order.quantity * order.limit_price > limits.max_order_notional:
        yield DenialReason.MAX_ORDER_NOTIONAL
    if state.adv is not None and state.adv == state.adv:
        same_side = sum(
            other.remaining
            for other in state.working or ()
            if other.symbol == order.symbol and other.side == order.side
        )
        if order.quantity + same_side > Decimal(str(state.adv)) * _exact(limits.max_adv_share):
            yield DenialReason.ADV_SHARE
    if state.orders_last_minute is None:
        yield DenialReason.ORDER_RATE_UNKNOWN
    elif state.orders_last_minute >= limits.max_orders_per_minute:
        yield DenialReason.ORDER_RATE


def _of_portfolio(
    order: OrderRequest,
    state: RiskState,
    limits: RiskLimits,
    after: int,
    reaches: Mapping[str, Reach],
) -> Iterator[DenialReason]:
    """Reasons that weigh the order against equity, cash and the other positions."""
    equity = state.equity
    if equity is None or not equity > 0:
        yield DenialReason.EQUITY_UNKNOWN
        return
    touch = _touch(order, state)
    price = max(order.limit_price, touch or order.limit_price)
    if abs(after) * price > equity * _exact(limits.max_position_weight):
        yield DenialReason.MAX_POSITION
    if order.side == "BUY":
        yield from _of_cash(order, state, limits, equity)

    others = {s: reach for s, reach in reaches.items() if s != order.symbol and any(reach)}
    low, high = reaches.get(order.symbol, (0, 0))
    if not (low or high) and len(others) >= limits.max_positions:
        yield DenialReason.MAX_POSITIONS
    low, high = min(low, after), max(high, after)
    gross, most_long, most_short = max(-low, high) * price, high * price, -low * price
    for symbol, reach in others.items():
        mark = usable_price(state.marks.get(symbol))
        if mark is None:
            yield DenialReason.EXPOSURE_UNKNOWN
            return
        gross += max(-reach[0], reach[1]) * mark
        most_long += reach[1] * mark
        most_short -= reach[0] * mark
    if gross > equity * _exact(limits.gross_cap):
        yield DenialReason.GROSS_EXPOSURE
    if (most_long if order.side == "BUY" else most_short) > equity * _exact(limits.net_cap):
        yield DenialReason.NET_EXPOSURE


def _of_cash(
    order: OrderRequest, state: RiskState, limits: RiskLimits, equity: Decimal
) -> Iterator[DenialReason]:
    if state.cash is None:
        yield DenialReason.CASH_UNKNOWN
        return
    cost = _cost(order.quantity, order.limit_price, limits)
    for other in state.working or ():
        if other.side == "BUY":
            price = usable_price(other.limit_price)
            if price is None:
                yield DenialReason.CASH_UNKNOWN
                return
            cost += _cost(other.remaining, price, limits)
    if cost > state.cash - equity * _exact(limits.cash_buffer):
        yield DenialReason.CASH


def _cost(quantity: int, price: Decimal, limits: RiskLimits) -> Decimal:
    """What a buy takes at most: its value at the limit price, and commission."""
    value = quantity * price
    commission = min(
        max(quantity * limits.commission_per_share, limits.commission_minimum),
        value * _exact(limits.commission_max_fraction),
    )
    return value + commission


def _exact(fraction: float) -> Decimal:
    return Decimal(str(fraction))
