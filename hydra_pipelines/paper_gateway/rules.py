"""What the venue accepts as an order, told from the order alone.

Funds, positions and other orders are looked at by the venue itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from hydra_pipelines.paper_gateway.money import dollars, tick_size, to_units
from hydra_pipelines.paper_gateway.requests import PlaceOrder
from hydra_pipelines.paper_gateway.wire import is_unset, parse_integer, whole_number

BAD_REQUEST = 321
REJECTED = 201
BAD_TICK = 110

_UNSUPPORTED = (
    "ocaGroup", "parentId", "blockOrder", "sweepToFill", "displaySize", "outsideRth", "hidden",
    "discretionaryAmt", "goodAfterTime", "goodTillDate", "faGroup", "faProfile", "faMethod",
    "shortSaleSlot", "allOrNone", "minQty", "percentOffset", "eTradeOnly", "firmQuoteOnly",
    "nbboPriceCap", "auctionStrategy", "volatility", "deltaNeutralOrderType", "trailStopPrice",
    "trailingPercent", "scaleInitLevelSize", "scaleTable", "activeStartTime", "activeStopTime",
    "hedgeType", "notHeld", "deltaNeutralContract", "algoStrategy", "whatIf", "randomizeSize",
    "randomizePrice", "conditions", "comboLegs", "adjustedOrderType", "cashQty",
    "isOmsContainer", "duration", "postToAts",
)  # fmt: skip
"""Fields that would change what the order does, and that the venue does not act on."""

_ECHOED_NUMBERS = (
    "origin", "exemptCode", "ocaType", "triggerMethod", "optOutSmartRouting", "solicited",
    "dontUseAutoPriceForHedge", "discretionaryUpToLimitPrice", "usePriceMgmtAlgo",
    "autoCancelParent",
)  # fmt: skip
"""Whole numbers that change nothing here, and go back in openOrder to whoever reads that."""

_TIMES_IN_FORCE = {"": "DAY", "DAY": "DAY", "GTC": "GTC"}


@dataclass(frozen=True)
class OrderTerms:
    """The part of a placeOrder message that the venue trades by; the limit in units."""

    action: str
    quantity: int
    limit: int
    tif: str
    order_ref: str
    exchange: str
    fields: dict[str, Any]


@dataclass(frozen=True)
class Refusal:
    code: int
    text: str


def terms_of(request: PlaceOrder, account: str) -> OrderTerms | Refusal:
    """The terms of an order, or the first reason why it can't be one."""
    order = request.order
    if order["account"] not in ("", account):
        return Refusal(
            BAD_REQUEST, f"Error validating request: invalid account code {order['account']!r}."
        )
    for name in _ECHOED_NUMBERS:
        value = order.get(name, "")
        if value and parse_integer(value) is None:
            text = f"Error validating request: {name} is {value[:40]!r}, expected a whole number."
            return Refusal(BAD_REQUEST, text)
    for name in _UNSUPPORTED:
        if not _is_neutral(order.get(name, "")):
            return _rejected(
                f"this venue does not support {name}={_shown(order[name])}; leave it unset"
            )
    if order["transmit"].lower() not in ("1", "true"):
        return _rejected("this venue does not hold orders back; send transmit=1")
    if order["action"] not in ("BUY", "SELL"):
        return _rejected(f"action {order['action']!r} is neither BUY nor SELL")
    if order["orderType"] != "LMT":
        return _rejected(f"order type {order['orderType']!r} is not supported; use LMT")
    if order["tif"] not in _TIMES_IN_FORCE:
        return _rejected(f"time in force {order['tif']!r} is not supported; use DAY or GTC")
    quantity = whole_number(order["totalQuantity"])
    if quantity is None or quantity <= 0:
        return _rejected(
            f"quantity {order['totalQuantity']!r} is not a positive whole number of shares"
        )
    price = order["lmtPrice"]
    if is_unset(price) or not _is_positive(price):
        return _rejected(f"limit price {price!r} is not a positive price")
    limit = to_units(price)
    if limit is None or limit % tick_size(limit):
        tick = "0.01" if Decimal(price) >= 1 else "0.0001"
        return Refusal(
            BAD_TICK,
            "The price does not conform to the minimum price variation for this contract: "
            f"{price} is not a multiple of {tick}.",
        )
    return OrderTerms(
        action=order["action"],
        quantity=quantity,
        limit=limit,
        tif=_TIMES_IN_FORCE[order["tif"]],
        order_ref=order["orderRef"],
        exchange=request.contract.exchange or "SMART",
        fields=order,
    )


def no_funds(needed: int, available: int) -> Refusal:
    return _rejected(
        f"the order may cost {dollars(needed)} USD, available funds are {dollars(available)} USD"
    )


def no_short(quantity: int, sellable: int, symbol: str) -> Refusal:
    return _rejected(
        f"selling {quantity} {symbol} would open a short position ({sellable} can be sold), "
        "and this account may not sell short"
    )


def too_many(limit: int, symbol: str, action: str) -> Refusal:
    return _rejected(f"{limit} {action} orders in {symbol} are active already, the most allowed")


def _rejected(reason: str) -> Refusal:
    return Refusal(REJECTED, f"Order rejected - reason:{reason}.")


def _is_neutral(value: Any) -> bool:
    if isinstance(value, list):
        return not value
    return is_unset(value) or value.lower() == "false" or _is_zero(value)


def _is_zero(value: str) -> bool:
    try:
        return Decimal(value) == 0
    except InvalidOperation:
        return False


def _is_positive(value: str) -> bool:
    try:
        price = Decimal(value)
    except InvalidOperation:
        return False
    return price.is_finite() and price > 0


def _shown(value: Any) -> str:
    return "(set)" if isinstance(value, list) else value
