"""Is there a broker to trade with, and if not, what has to be changed? For `hydra check-broker`.

Asks in the order in which things go wrong and stops at the first thing that makes the rest
pointless. Nothing is sent unless a test order is asked for: one share, far from the market, past
the risk gate like any other order, and cancelled again.
"""

from __future__ import annotations

import time as wall
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import ROUND_FLOOR, Decimal
from typing import TypeVar

from hydra_pipelines.execution.broker.gateway import BrokerGateway, Endpoint
from hydra_pipelines.execution.broker.messages import (
    Account,
    BrokerError,
    BrokerState,
    ContractInfo,
    Known,
    Quote,
    Unknown,
)
from hydra_pipelines.execution.broker.order_state import Kind, OrderEvent
from hydra_pipelines.execution.risk.gate import RiskGate
from hydra_pipelines.execution.risk.limits import RiskLimits
from hydra_pipelines.execution.risk.state import (
    BreakerKind,
    OrderRequest,
    RiskState,
    WorkingOrder,
)
from hydra_pipelines.execution.risk.state import Quote as RiskQuote

T = TypeVar("T")

CONNECT_S, REPLY_S = 4.0, 4.0
"""Every answer of a healthy gateway comes far sooner; together they stay below 15 seconds."""
FAR = Decimal("0.92")
"""The test order's limit as a share of the price: too low to fill, within the gate's collar."""
MOST_SKEW = timedelta(seconds=10)

_ADVICE = (
    ("321: ", "switch off Read-Only API in the gateway's API settings"),
    ("time zone", "choose UTC format for the times that the API sends, in the API settings"),
    ("time data", "choose UTC format for the times that the API sends, in the API settings"),
    ("354: ", "subscribe to the exchange's data, and share them with the paper account"),
    ("10168: ", "subscribe to the exchange's data, or enable delayed data in the gateway"),
    ("10197: ", "log out the live session that uses the same market data"),
    ("no complete reply", "look at the gateway's screen: it may wait for a log-in or an answer"),
)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; where it is not ok, detail says what to change."""

    check: str
    ok: bool
    detail: str


@dataclass(frozen=True)
class OrderTrial:
    """What the gate and the address of a test order need from the desk's own books."""

    limits: RiskLimits
    kill_switch: bool
    highest_order_id: int
    agent_paused: bool = False
    tripped: AbstractSet[BreakerKind] = frozenset()
    """Breakers that are latched."""
    halted: Callable[[], bool] = lambda: False
    """Whether the kill switch is on, asked again before the order is written."""


def diagnose(
    endpoint: Endpoint,
    *,
    symbol: str = "AAPL",
    trial: OrderTrial | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Iterator[Finding]:
    """Findings, one by one as they are made; the last may be the first that is not ok.

    The venue's clock is compared with `now` unless it has a time of its own (no quiet hours).
    """
    limits = trial.limits if trial else RiskLimits()
    gate = RiskGate(limits, trial.halted) if trial else RiskGate(limits)
    broker = BrokerGateway(_impatient(endpoint), gate, now)
    where = f"{endpoint.host}:{endpoint.port}, client {endpoint.client_id}"
    try:
        broker.connect()
    except BrokerError as error:
        yield Finding("connection", False, _advised(str(error)))
        return
    try:
        yield Finding("connection", True, where)
        yield Finding("server version", True, str(broker.server_version))
        yield Finding("account", True, f"{broker.account_id}, {endpoint.clearance.mode}")
        yield from _asked(broker, symbol, trial, now)
    except BrokerError as error:
        yield Finding("conversation", False, _advised(str(error)))
    finally:
        broker.close()


def _asked(
    broker: BrokerGateway, symbol: str, trial: OrderTrial | None, now: Callable[[], datetime]
) -> Iterator[Finding]:
    if broker.endpoint.quiet is not None:
        skew = abs(broker.broker_time() - now())
        text = f"{skew.total_seconds():.0f} s from the gateway's"
        yield Finding("clock", skew <= MOST_SKEW, text + ("" if skew <= MOST_SKEW else ": set it"))
    account, state = broker.account(), broker.state()
    if isinstance(account, Unknown) or isinstance(state, Unknown):
        unknown = account if isinstance(account, Unknown) else state
        assert isinstance(unknown, Unknown)
        yield Finding("account state", False, _advised(unknown.reason))
        return
    held = state.value
    yield Finding(
        "account state",
        True,
        f"equity {account.value.equity:,.2f} USD, {len(held.positions)} positions, "
        f"{len(held.open_orders)} open orders, {len(held.executions)} executions today",
    )
    contract = broker.contract(symbol)
    if isinstance(contract, Unknown):
        yield Finding("contract", False, _advised(contract.reason))
        return
    yield Finding("contract", True, f"{symbol} is {contract.value.con_id}")
    quote = broker.quotes([contract.value])[symbol]
    finding = _market_data(quote, broker.gate.limits)
    yield finding
    if trial is not None and finding.ok and isinstance(quote, Known):
        yield _try_order(broker, trial, account.value, held, contract.value, quote.value)


def _market_data(quote: Known[Quote] | Unknown, limits: RiskLimits) -> Finding:
    if isinstance(quote, Unknown):
        return Finding("market data", False, _advised(quote.reason))
    found = quote.value
    prices = f"{found.kind}, bid {found.bid or '–'}, ask {found.ask or '–'}, last {found.last}"
    if found.kind != "live":
        prices += (
            f": orders are denied where the quote is older than {limits.max_quote_age_s:.0f} s, so "
            "subscribe to live data, or raise risk.max_quote_age_s"
        )
    return Finding("market data", _price(found) is not None, prices)


def _try_order(
    broker: BrokerGateway,
    trial: OrderTrial,
    account: Account,
    held: BrokerState,
    contract: ContractInfo,
    quote: Quote,
) -> Finding:
    price = _price(quote)
    if price is None:
        return Finding("test order", False, f"{contract.symbol} has no price to stay away from")
    tick = contract.min_tick
    order = OrderRequest(
        order_ref=f"check.{broker.account_id}.{datetime.now(UTC):%Y%m%d%H%M%S%f}",
        account=broker.account_id,
        symbol=contract.symbol,
        side="BUY",
        quantity=1,
        limit_price=(price * FAR / tick).to_integral_value(ROUND_FLOOR) * tick,
        arrival_price=price,
    )
    decision = broker.gate.review(order, _risk_state(trial, account, held, order, quote, tick))
    if decision.approval is None:
        return Finding("test order", False, f"denied by the risk gate: {decision.message}")
    order_id = broker.next_order_id(trial.highest_order_id)
    broker.submit(order, decision.approval, order_id, contract)
    said = _wait(broker, order.order_ref, {Kind.SUBMITTED, Kind.REJECTED, Kind.CANCELLED})
    answer = said[-1].kind if said else None
    words = "; ".join(str(e.details["text"]) for e in said if "text" in e.details)
    if answer in (Kind.REJECTED, Kind.CANCELLED):
        return Finding("test order", False, _advised(f"refused, {words}"))
    broker.cancel(order_id)
    ended = _wait(broker, order.order_ref, {Kind.CANCELLED})
    if not ended or ended[-1].kind is not Kind.CANCELLED:
        accepted = answer is Kind.SUBMITTED
        what = "accepted, but not cancelled" if accepted else f"not confirmed ({words})"
        text = f"{what}: see to the order {order.order_ref} at the broker"
        return Finding("test order", False, _advised(text))
    text = f"1 {contract.symbol} at {order.limit_price}, accepted and cancelled"
    return Finding("test order", True, text)


def _wait(broker: BrokerGateway, ref: str, ends: set[Kind]) -> list[OrderEvent]:
    """What is said of an order until one of `ends` or the patience's end; perhaps nothing."""
    until = wall.monotonic() + REPLY_S / 2
    said: list[OrderEvent] = []
    while wall.monotonic() < until and not (said and said[-1].kind in ends):
        broker.broker_time()
        happened = broker.happenings(datetime.now(UTC)).events
        for event in (e for e in happened if e.order_ref == ref):
            said.append(event)
            if event.kind in ends:
                break
        else:
            wall.sleep(0.02)
    return said


def _risk_state(
    trial: OrderTrial,
    account: Account,
    held: BrokerState,
    order: OrderRequest,
    quote: Quote,
    tick: Decimal,
) -> RiskState:
    """The account as it is, and what stops the desk; losses are the latched breakers' to know."""
    age = (datetime.now(UTC) - quote.at).total_seconds() if quote.at else None
    working = tuple(
        WorkingOrder(
            row.order_ref or f"perm {row.perm_id}",
            row.symbol,
            "BUY" if row.side == "BUY" else "SELL",
            row.quantity - (row.filled or 0),
            row.limit_price or Decimal(0),
        )
        for row in held.open_orders
    )
    marks = {row.symbol: row.limit_price for row in working if row.limit_price is not None}
    marks |= {holding.symbol: holding.market_price for holding in account.holdings}
    marks[order.symbol] = order.arrival_price
    return RiskState(
        account=account.account,
        equity=account.equity,
        equity_at_start=account.equity,
        peak_equity=account.equity,
        cash=account.cash,
        positions=held.held,
        working=working,
        marks=marks,
        quote=RiskQuote(quote.bid, quote.ask, quote.last or quote.close, age),
        last_close=quote.close or order.arrival_price,
        tick_size=tick,
        adv=None,
        plan_target=held.held.get(order.symbol, 0) + order.quantity,
        tripped=trial.tripped,
        worst_trade_loss=Decimal(0),
        rejects_in_a_row=0,
        unknown_orders=0,
        data_age_sessions=0,
        orders_last_minute=0,
        agent_paused=trial.agent_paused,
        kill_switch=trial.kill_switch,
        known_refs=frozenset(),
    )


def _impatient(endpoint: Endpoint) -> Endpoint:
    return replace(
        endpoint,
        connect_attempts=1,
        connect_timeout_s=min(endpoint.connect_timeout_s, CONNECT_S),
        request_timeout_s=min(endpoint.request_timeout_s, REPLY_S),
    )


def _price(quote: Quote) -> Decimal | None:
    return quote.bid or quote.last or quote.close


def _advised(text: str) -> str:
    """The text, with what to do about it where that is known."""
    for sign, advice in _ADVICE:
        if sign in text:
            return f"{text}: {advice}"
    return text
