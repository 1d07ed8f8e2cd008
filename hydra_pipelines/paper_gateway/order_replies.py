"""Messages that carry an order or a fill: openOrder, orderStatus, completedOrder, execDetails.

The walks are those of server versions 157 to 176; fields that a client sent come back as sent.
"""

from __future__ import annotations

from collections.abc import Callable

from hydra_pipelines.paper_gateway.book import FILLED, INACTIVE, Execution, Order
from hydra_pipelines.paper_gateway.contracts import CURRENCY, Contract
from hydra_pipelines.paper_gateway.money import UNITS, UNITS_PER_CENT, dollars
from hydra_pipelines.paper_gateway.replies import Message, contract_fields
from hydra_pipelines.paper_gateway.wire import UNSET, execution_time

_NO_RIGHT = "?"
_DELTA_NEUTRAL = "None"
"""What a gateway writes for no delta-neutral order type; its detail fields follow all the same."""


def order_status(order: Order) -> Message:
    return (
        3, order.order_id, order.status, order.filled, max(order.remaining, 0), _average(order),
        order.perm_id, 0, dollars(order.last_price), order.client_id, "", 0,
    )  # fmt: skip


def open_order(order: Order, account: str, commission: int | None, version: int) -> Message:
    """commission: in cents, or None while none is known."""
    sent = _sent(order)
    charged = UNSET if commission is None else dollars(commission * UNITS_PER_CENT)
    fields: list[object] = [
        5, order.order_id, *_contract(order), order.action, order.quantity, "LMT",
        dollars(order.limit), "0.0", order.tif, "", account, sent("openClose"), sent("origin", 0),
        order.order_ref, order.client_id, order.perm_id, 0, 0, 0, "",
        f"{order.perm_id}.0/{account}/100", "", "", sent("faPercentage"), "", sent("modelCode"),
        "", sent("rule80A"), "", sent("settlingFirm"), 0, sent("designatedLocation"),
        sent("exemptCode", -1), 0, "", "", "", "", "", 0, 0, 0, 0, "", sent("ocaType", 3), 0, 0,
        "", 0, sent("triggerMethod", 0), "", 0,
        _DELTA_NEUTRAL, "", 0, "", "", "", "?", 0, 0, "",
        0, 0, "", "", "", "", "",
        0, 0, 0,
        "", "", "", "",
        sent("optOutSmartRouting", 0), sent("clearingAccount"), sent("clearingIntent", "IB"), 0,
        0, "", sent("solicited", 0), 0, order.status, *(UNSET,) * 9, charged, UNSET, UNSET,
        CURRENCY if commission is not None else "", "", 0, 0,
        0, "", UNSET, UNSET, UNSET, UNSET, UNSET, UNSET, 0,
        sent("softDollarTierName"), sent("softDollarTierValue"), "", 0,
        sent("dontUseAutoPriceForHedge", 0), 0, sent("discretionaryUpToLimitPrice", 0),
        sent("usePriceMgmtAlgo", 0),
    ]  # fmt: skip
    if version >= 159:
        fields.append("")
    if version >= 160:
        fields.append("")
    if version >= 162:
        fields.append(sent("autoCancelParent", 0))
    if version >= 170:
        fields += [""] * 5
    return fields


def completed_order(order: Order, account: str, version: int) -> Message:
    """As a gateway tells it: no order id, and a total quantity of 0 once filled."""
    sent = _sent(order)
    filled = order.status == FILLED
    zone_time = execution_time(order.done_at, 176) if order.done_at else ""
    outcome = f"Filled Size: {order.filled}" if filled else order.reason
    fields: list[object] = [
        101, *_contract(order), order.action, 0 if filled else order.quantity, "LMT",
        dollars(order.limit), "0.0", order.tif, "", account, sent("openClose"), sent("origin", 0),
        order.order_ref, order.perm_id, 0, 0, 0, "", "", "", sent("faPercentage"), "",
        sent("modelCode"), "", sent("rule80A"), "", sent("settlingFirm"), 0,
        sent("designatedLocation"), sent("exemptCode", -1), "", "", "", "", "", 0, 0, 0, "",
        sent("ocaType", 3), sent("triggerMethod", 0), "", 0,
        _DELTA_NEUTRAL, "", 0, 0, 0, "",
        0, 0, "", "", "",
        0, 0, 0,
        "", "", "", "",
        sent("clearingAccount"), sent("clearingIntent", "IB"), 0, 0, "", sent("solicited", 0),
        "Cancelled" if order.status == INACTIVE else order.status, 0, 0,
        0, UNSET, UNSET, "", sent("dontUseAutoPriceForHedge", 0), 0, "", order.filled, 0,
        sent("autoCancelParent", 0), "Not an insider or substantial shareholder", 0, 0, 0,
        zone_time, outcome,
    ]  # fmt: skip
    if version >= 170:
        fields += [""] * 5
    return fields


def execution_details(
    execution: Execution, account: str, version: int, request_id: int = -1
) -> Message:
    """request_id: -1 for a fill as it happens, else the request it answers."""
    contract = Contract(execution.con_id, execution.symbol)
    mean = execution.cum_notional / execution.cum_quantity / UNITS
    return (
        11, request_id, execution.order_id, *contract_fields(contract, execution.exchange),
        execution.exec_id, execution_time(execution.time, version), account, execution.exchange,
        "BOT" if execution.action == "BUY" else "SLD", execution.shares,
        dollars(execution.price), execution.perm_id, execution.client_id, 0,
        execution.cum_quantity, f"{mean:.8f}", execution.order_ref, "", "", "",
        1 if execution.maker else 2,
    )  # fmt: skip


def commission_report(execution: Execution) -> Message:
    realized = UNSET if execution.realized is None else dollars(execution.realized)
    charged = dollars(execution.commission * UNITS_PER_CENT)
    return (59, 1, execution.exec_id, charged, CURRENCY, realized, UNSET, "")


def _contract(order: Order) -> Message:
    return contract_fields(Contract(order.con_id, order.symbol), order.exchange, _NO_RIGHT)


def _sent(order: Order) -> Callable[..., object]:
    """What the client sent for a field, or a default where that was empty."""
    return lambda name, default="": order.fields.get(name) or default


def _average(order: Order) -> str:
    return f"{order.notional / order.filled / UNITS:.8f}" if order.filled else "0"
