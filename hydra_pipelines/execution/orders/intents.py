"""From a row of the plan and a quote to the order that we intend: identity, price, quantity. Pure.

There are limit orders only. "At the market" is a marketable limit: the far touch plus a collar, on
the contract's tick grid.
"""

from __future__ import annotations

from datetime import date
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from hydra_pipelines.execution.broker.messages import Quote


class NoPrice(ValueError):
    """The quote has no usable price, so there is no order."""


def order_ref(
    session: date, account: str, symbol: str, side: str, slice_: int, attempt: int
) -> str:
    """The identity of an order: the same inputs give the same name, on every machine and run."""
    return f"{session:%Y%m%d}.{account}.{symbol.replace(' ', '-')}.{side}.{slice_}.{attempt}"


def marketable_limit(side: str, quote: Quote, collar: float, tick: Decimal) -> Decimal:
    """The far touch plus `collar` (a share of the price), rounded to the tick grid inwards.

    Raises NoPrice where the far touch is missing, crossed or not positive.
    """
    touch = quote.ask if side == "BUY" else quote.bid
    if touch is None or touch <= 0:
        raise NoPrice(f"{quote.symbol}: the broker has no {'ask' if side == 'BUY' else 'bid'}")
    if quote.bid is not None and quote.ask is not None and quote.bid > quote.ask:
        raise NoPrice(f"{quote.symbol}: crossed quote, bid {quote.bid} above ask {quote.ask}")
    reach = touch * Decimal(str(collar))
    if side == "BUY":
        return on_grid(touch + reach, tick, ROUND_FLOOR)
    return max(on_grid(touch - reach, tick, ROUND_CEILING), tick)


def resting_limit(side: str, last_close: Decimal, collar: float, tick: Decimal) -> Decimal:
    """The last close plus `collar`, rounded to the tick grid inwards: for an order that waits for
    the opening, when there is no touch to reach beyond."""
    reach = last_close * Decimal(str(collar))
    if side == "BUY":
        return on_grid(last_close + reach, tick, ROUND_FLOOR)
    return max(on_grid(last_close - reach, tick, ROUND_CEILING), tick)


def on_grid(price: Decimal, tick: Decimal, rounding: str) -> Decimal:
    """The nearest multiple of `tick` in the direction of `rounding`."""
    return (price / tick).to_integral_value(rounding=rounding) * tick


def arrival_price(quote: Quote) -> Decimal:
    """The mid at the decision to send; the last price where one side is missing."""
    price = quote.mid or quote.last
    if price is None or price <= 0:
        raise NoPrice(f"{quote.symbol}: the broker has neither a mid nor a last price")
    return price
