"""What clients ask, field by field, for server versions 157 to 176.

Every walk reads all fields of its message and complains about any that is left: a message is
understood whole or refused, never half. Whether a request is allowed is not decided here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hydra_pipelines.paper_gateway.wire import Fields, ProtocolError

_CONTRACT = (
    "conId", "symbol", "secType", "lastTradeDateOrContractMonth", "strike", "right", "multiplier",
    "exchange", "primaryExchange", "currency", "localSymbol", "tradingClass",
)  # fmt: skip
_ORDER_HEAD = (
    "action", "totalQuantity", "orderType", "lmtPrice", "auxPrice", "tif", "ocaGroup", "account",
    "openClose", "origin", "orderRef", "transmit", "parentId", "blockOrder", "sweepToFill",
    "displaySize", "triggerMethod", "outsideRth", "hidden",
)  # fmt: skip
_COMBO_LEG = (
    "conId", "ratio", "action", "exchange", "openClose", "shortSaleSlot", "designatedLocation",
    "exemptCode",
)  # fmt: skip
_ORDER_BODY = (
    "sharesAllocation", "discretionaryAmt", "goodAfterTime", "goodTillDate", "faGroup", "faMethod",
    "faPercentage", "faProfile", "modelCode", "shortSaleSlot", "designatedLocation", "exemptCode",
    "ocaType", "rule80A", "settlingFirm", "allOrNone", "minQty", "percentOffset", "eTradeOnly",
    "firmQuoteOnly", "nbboPriceCap", "auctionStrategy", "startingPrice", "stockRefPrice", "delta",
    "stockRangeLower", "stockRangeUpper", "overridePercentageConstraints", "volatility",
    "volatilityType", "deltaNeutralOrderType", "deltaNeutralAuxPrice",
)  # fmt: skip
_DELTA_NEUTRAL = (
    "deltaNeutralConId", "deltaNeutralSettlingFirm", "deltaNeutralClearingAccount",
    "deltaNeutralClearingIntent", "deltaNeutralOpenClose", "deltaNeutralShortSale",
    "deltaNeutralShortSaleSlot", "deltaNeutralDesignatedLocation",
)  # fmt: skip
_SCALE_HEAD = (
    "continuousUpdate", "referencePriceType", "trailStopPrice", "trailingPercent",
    "scaleInitLevelSize", "scaleSubsLevelSize", "scalePriceIncrement",
)  # fmt: skip
_SCALE_BODY = (
    "scalePriceAdjustValue", "scalePriceAdjustInterval", "scaleProfitOffset", "scaleAutoReset",
    "scaleInitPosition", "scaleInitFillQty", "scaleRandomPercent",
)  # fmt: skip
_PEGGED = (
    "referenceContractId", "isPeggedChangeAmountDecrease", "peggedChangeAmount",
    "referenceChangeAmount", "referenceExchangeId",
)  # fmt: skip
_ORDER_TAIL = (
    "adjustedOrderType", "triggerPrice", "lmtPriceOffset", "adjustedStopPrice",
    "adjustedStopLimitPrice", "adjustedTrailingAmount", "adjustableTrailingUnit", "extOperator",
    "softDollarTierName", "softDollarTierValue", "cashQty", "mifid2DecisionMaker",
    "mifid2DecisionAlgo", "mifid2ExecutionTrader", "mifid2ExecutionAlgo",
    "dontUseAutoPriceForHedge", "isOmsContainer", "discretionaryUpToLimitPrice",
    "usePriceMgmtAlgo",
)  # fmt: skip
_SINCE = (
    (158, "duration"), (160, "postToAts"), (162, "autoCancelParent"),
    (166, "advancedErrorOverride"), (169, "manualOrderTime"),
)  # fmt: skip
_CONDITION_FIELDS = {1: 6, 3: 3, 4: 3, 5: 4, 6: 5, 7: 5}
"""Fields after the type: price, time, margin, execution, volume, percent change."""

UNSUPPORTED = {
    10: ("market depth", 2), 11: ("market depth", 2), 12: ("news bulletins", None),
    13: ("news bulletins", None), 18: ("financial advisors", None),
    19: ("financial advisors", None), 21: ("option exercise", 2), 22: ("scanners", 1),
    23: ("scanners", 2), 24: ("scanners", None), 50: ("real-time bars", 2),
    51: ("real-time bars", 2), 52: ("fundamental data", 2), 53: ("fundamental data", 2),
    54: ("option computations", 2), 55: ("option computations", 2),
    56: ("option computations", 2), 57: ("option computations", 2), 65: ("verification", None),
    66: ("verification", None), 67: ("display groups", 2), 68: ("display groups", 2),
    69: ("display groups", 2), 70: ("display groups", 2), 72: ("verification", None),
    73: ("verification", None), 74: ("positions by model", 2), 75: ("positions by model", 2),
    78: ("option chains", 1), 79: ("soft-dollar tiers", 1), 80: ("family codes", None),
    81: ("symbol search", 1), 82: ("market depth exchanges", None), 83: ("smart components", 1),
    84: ("news", 1), 85: ("news", None), 86: ("news", 1), 87: ("head timestamps", 1),
    88: ("histograms", 1), 89: ("histograms", 1), 90: ("head timestamps", 1),
    96: ("historical ticks", 1), 97: ("tick-by-tick data", 1), 98: ("tick-by-tick data", 1),
    100: ("event calendars", 1), 101: ("event calendars", 1), 102: ("event calendars", 1),
    103: ("event calendars", 1), 104: ("user information", 1),
}  # fmt: skip
"""Requests that exist but have no answer here: what they are about, where their id stands."""


@dataclass(frozen=True)
class ContractQuery:
    """A contract as a client names it."""

    con_id: int
    symbol: str
    sec_type: str
    exchange: str
    currency: str
    local_symbol: str
    fields: dict[str, str]


@dataclass(frozen=True)
class PlaceOrder:
    """A placeOrder message: the contract, and all order fields by their TWS names, as sent.

    `order` holds text, but for `comboLegs`, `orderComboLegs`, `smartComboRoutingParams`,
    `algoParams` and `conditions`, which are lists of lists of text.
    """

    order_id: int
    contract: ContractQuery
    order: dict[str, Any]


@dataclass(frozen=True)
class MarketDataRequest:
    request_id: int
    contract: ContractQuery
    snapshot: bool


@dataclass(frozen=True)
class HistoryRequest:
    request_id: int
    contract: ContractQuery
    end: str
    bar_size: str
    duration: str
    what: str
    keep_up_to_date: bool


@dataclass(frozen=True)
class ExecutionFilter:
    """What reqExecutions asks for; an empty value (client id 0) does not filter."""

    request_id: int
    client_id: int
    account: str
    time: str
    symbol: str
    sec_type: str
    exchange: str
    side: str


def contract(fields: Fields) -> ContractQuery:
    con_id = fields.integer()
    values = {"conId": str(con_id), **fields.texts(_CONTRACT[1:])}
    return ContractQuery(
        con_id=con_id,
        symbol=values["symbol"],
        sec_type=values["secType"],
        exchange=values["exchange"],
        currency=values["currency"],
        local_symbol=values["localSymbol"],
        fields=values,
    )


def place_order(fields: Fields, version: int) -> PlaceOrder:
    """placeOrder after its message id."""
    order_id = fields.integer()
    asked = contract(fields)
    order: dict[str, Any] = fields.texts(("secIdType", "secId"))
    order |= fields.texts(_ORDER_HEAD)
    if asked.sec_type == "BAG":
        order["comboLegs"] = _group(fields, len(_COMBO_LEG))
        order["orderComboLegs"] = _group(fields, 1)
        order["smartComboRoutingParams"] = _group(fields, 2)
    order |= fields.texts(_ORDER_BODY)
    if order["deltaNeutralOrderType"]:
        order |= fields.texts(_DELTA_NEUTRAL)
    order |= fields.texts(_SCALE_HEAD)
    if _is_positive(order["scalePriceIncrement"]):
        order |= fields.texts(_SCALE_BODY)
    order |= fields.texts(("scaleTable", "activeStartTime", "activeStopTime", "hedgeType"))
    if order["hedgeType"]:
        order["hedgeParam"] = fields.text()
    order |= fields.texts(("optOutSmartRouting", "clearingAccount", "clearingIntent", "notHeld"))
    order["deltaNeutralContract"] = (
        ",".join((fields.text(), fields.text(), fields.text())) if fields.flag() else ""
    )
    order["algoStrategy"] = fields.text()
    if order["algoStrategy"]:
        order["algoParams"] = _group(fields, 2)
    order |= fields.texts(
        ("algoId", "whatIf", "orderMiscOptions", "solicited", "randomizeSize", "randomizePrice")
    )
    if order["orderType"] == "PEG BENCH":
        order |= fields.texts(_PEGGED)
    order["conditions"] = [_condition(fields) for _ in range(fields.count())]
    if order["conditions"]:
        order |= fields.texts(("conditionsIgnoreRth", "conditionsCancelOrder"))
    order |= fields.texts(_ORDER_TAIL)
    order |= {name: fields.text() for since, name in _SINCE if version >= since}
    if version >= 170:
        order |= _pegged_offsets(fields, asked.exchange, order["orderType"])
    fields.finish()
    return PlaceOrder(order_id, asked, order)


def cancel_order(fields: Fields, version: int) -> int:
    """The id of the order to cancel."""
    fields.integer()
    order_id = fields.integer()
    if version >= 169:
        fields.text()
    fields.finish()
    return order_id


def contract_details(fields: Fields, version: int) -> tuple[int, ContractQuery]:
    fields.integer()
    request_id = fields.integer()
    asked = contract(fields)
    fields.texts(("includeExpired", "secIdType", "secId"))
    if version >= 176:
        fields.text()
    fields.finish()
    return request_id, asked


def market_data(fields: Fields) -> MarketDataRequest:
    fields.integer()
    request_id = fields.integer()
    asked = contract(fields)
    if asked.sec_type == "BAG":
        _group(fields, 4)
    if fields.flag():
        fields.texts(("conId", "delta", "price"))
    fields.text()
    snapshot = fields.flag()
    fields.texts(("regulatorySnapshot", "options"))
    fields.finish()
    return MarketDataRequest(request_id, asked, snapshot)


def history(fields: Fields) -> HistoryRequest:
    request_id = fields.integer()
    asked = contract(fields)
    fields.text()
    end, bar_size, duration = fields.text(), fields.text(), fields.text()
    fields.text()
    what = fields.text()
    fields.text()
    if asked.sec_type == "BAG":
        _group(fields, 4)
    keep_up_to_date = fields.flag()
    fields.text()
    fields.finish()
    return HistoryRequest(request_id, asked, end, bar_size, duration, what, keep_up_to_date)


def executions(fields: Fields) -> ExecutionFilter:
    fields.integer()
    wanted = ExecutionFilter(fields.integer(), fields.integer(), *(fields.text() for _ in range(6)))
    fields.finish()
    return wanted


def _group(fields: Fields, width: int) -> list[list[str]]:
    return [[fields.text() for _ in range(width)] for _ in range(fields.count())]


def _condition(fields: Fields) -> list[str]:
    kind = fields.integer()
    if kind not in _CONDITION_FIELDS:
        raise ProtocolError(f"order condition type {kind}")
    return [str(kind), *(fields.text() for _ in range(_CONDITION_FIELDS[kind]))]


def _pegged_offsets(fields: Fields, exchange: str, order_type: str) -> dict[str, str]:
    values = fields.texts(("minTradeQty",)) if exchange == "IBKRATS" else {}
    offsets = order_type == "PEG MID"
    if order_type == "PEG BEST":
        values |= fields.texts(("minCompeteSize", "competeAgainstBestOffset"))
        offsets = values["competeAgainstBestOffset"].lower() in ("infinite", "infinity", "inf")
    if offsets:
        values |= fields.texts(("midOffsetAtWhole", "midOffsetAtHalf"))
    return values


def _is_positive(number: str) -> bool:
    try:
        return 0 < float(number) < 1.7e308
    except ValueError:
        return False
