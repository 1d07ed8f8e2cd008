"""Answers to clients, field by field, but for those that carry an order (see `order_replies`).

Each builder returns the fields of one message, the message id first, for a server version.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from hydra_pipelines.paper_gateway.book import Position
from hydra_pipelines.paper_gateway.contracts import CURRENCY, LISTING, ROUTING, Contract
from hydra_pipelines.paper_gateway.money import UNITS, cents, dollars
from hydra_pipelines.paper_gateway.prices import Bar
from hydra_pipelines.paper_gateway.profit import Profit
from hydra_pipelines.paper_gateway.statement import Holding
from hydra_pipelines.paper_gateway.wire import ACCOUNT_ZONE, execution_time
from hydra_pipelines.sessions import Calendar

Message = Sequence[object]

MARKET_RULE = 26
"""The market rule of all contracts: 0.0001 below one dollar, 0.01 from there."""

LIVE_DATA, DELAYED_DATA = 1, 3

_ZONE = ZoneInfo(ACCOUNT_ZONE)


def next_valid_id(order_id: int) -> Message:
    return (9, 1, order_id)


def managed_accounts(account: str) -> Message:
    return (15, 1, account)


def current_time(now: datetime) -> Message:
    return (49, 1, int(now.timestamp()))


def error(request_id: int, code: int, text: str, version: int) -> Message:
    advanced = ("",) if version >= 166 else ()
    return (4, 2, request_id, code, text, *advanced)


def contract_fields(contract: Contract, exchange: str = ROUTING, right: str = "") -> Message:
    """conId to tradingClass, as in most messages that carry a contract."""
    return (
        contract.con_id, contract.symbol, "STK", "", "0", right, "", exchange, CURRENCY,
        contract.symbol, contract.symbol,
    )  # fmt: skip


def position(account: str, contract: Contract, held: Position) -> Message:
    fields = contract_fields(contract, exchange="")
    return (61, 3, account, *fields, held.quantity, _average_cost(held))


def position_end() -> Message:
    return (62, 1)


def portfolio_value(account: str, contract: Contract, holding: Holding) -> Message:
    fields = contract_fields(contract, exchange=LISTING, right="0")
    return (
        7, 8, *fields, holding.position.quantity, dollars(holding.mark), cents(holding.value),
        _average_cost(holding.position), cents(holding.unrealized), cents(holding.realized),
        account,
    )  # fmt: skip


def account_value(account: str, tag: str, value: str, currency: str) -> Message:
    return (6, 2, tag, value, currency, account)


def account_time(now: datetime) -> Message:
    return (8, 1, f"{now.astimezone(_ZONE):%H:%M}")


def account_download_end(account: str) -> Message:
    return (54, 1, account)


def account_update_multi(
    request_id: int, account: str, model: str, tag: str, value: str, currency: str
) -> Message:
    return (73, 1, request_id, account, model, tag, value, currency)


def account_update_multi_end(request_id: int) -> Message:
    return (74, 1, request_id)


def account_summary(request_id: int, account: str, tag: str, value: str, currency: str) -> Message:
    return (63, 1, request_id, account, tag, value, currency)


def account_summary_end(request_id: int) -> Message:
    return (64, 1, request_id)


def pnl(request_id: int, total: Profit) -> Message:
    """The whole account's."""
    return (94, request_id, *map(dollars, (total.daily, total.unrealized, total.realized)))


def pnl_single(request_id: int, one: Profit) -> Message:
    """One position's, its quantity and value with it."""
    amounts = (one.daily, one.unrealized, one.realized, one.value)
    return (95, request_id, one.quantity, *map(dollars, amounts))


def contract_details(
    request_id: int, contract: Contract, min_tick: int, hours: str, version: int
) -> Message:
    """hours: trading sessions in TWS notation."""
    old = version < 164
    return (
        10, *((8,) if old else ()), request_id, contract.symbol, "STK", "", "0", "", ROUTING,
        CURRENCY, contract.symbol, contract.symbol, contract.symbol, contract.con_id,
        dollars(min_tick), *((100,) if old else ()), "", "ACTIVETIM,DAY,GTC,LMT",
        f"{ROUTING},{LISTING}", 1, 0, contract.symbol, LISTING, "", "", "", "", ACCOUNT_ZONE,
        hours, hours, "", "", 0, 1, "", "", f"{MARKET_RULE},{MARKET_RULE}", "", "COMMON",
        *(() if old else (1, 1, 100)),
    )  # fmt: skip


def trading_hours(calendar: Calendar, first: date, days: int = 5) -> str:
    """Sessions of calendar days from `first` on: `20190104:0930-20190104:1600;20190105:CLOSED`."""
    parts = []
    for day in (first + timedelta(days=n) for n in range(days)):
        if calendar.is_session(day):
            edges = (calendar.open(day), calendar.close(day))
            parts.append("-".join(f"{t.astimezone(_ZONE):%Y%m%d:%H%M}" for t in edges))
        else:
            parts.append(f"{day:%Y%m%d}:CLOSED")
    return ";".join(parts)


def contract_details_end(request_id: int) -> Message:
    return (52, 1, request_id)


def market_rule() -> Message:
    return (93, MARKET_RULE, 2, "0", "0.0001", "1", "0.01")


def market_data_type(request_id: int, *, delayed: bool) -> Message:
    return (58, 1, request_id, DELAYED_DATA if delayed else LIVE_DATA)


def tick_parameters(request_id: int, min_tick: int) -> Message:
    return (81, request_id, dollars(min_tick), "9c0001", 3)


def tick_price(request_id: int, kind: int, price: str, size: int) -> Message:
    return (1, 6, request_id, kind, price, size, 0)


def tick_string(request_id: int, kind: int, value: float) -> Message:
    return (46, 6, request_id, kind, f"{value:.0f}")


def tick_snapshot_end(request_id: int) -> Message:
    return (57, 1, request_id)


def historical_data(
    request_id: int, start: datetime, end: datetime, bars: Sequence[Bar], version: int
) -> Message:
    rows: list[object] = []
    for bar in bars:
        mean = (bar.high + bar.low + bar.close) / 3
        values = (bar.open, bar.high, bar.low, bar.close)
        volume = f"{bar.volume:.0f}"
        rows += [f"{bar.session:%Y%m%d}", *map(_price, values), volume, _price(mean), -1]
    times = execution_time(start, version), execution_time(end, version)
    return (17, request_id, *times, len(bars), *rows)


def executions_end(request_id: int) -> Message:
    return (55, 1, request_id)


def open_orders_end() -> Message:
    return (53, 1)


def completed_orders_end() -> Message:
    return (102,)


def _average_cost(held: Position) -> str:
    if not held.quantity:
        return "0"
    return _price(held.cost / held.quantity / UNITS)


def _price(value: float) -> str:
    return f"{value:.8f}".rstrip("0").rstrip(".")
