"""What the risk gate is shown: the broker's state now, our own books, and the market's facts.

One look a wave; orders approved in the wave count as working for those after them. What the broker
did not answer completely stays unknown here, and the gate denies on it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from hydra_pipelines.alerts import Tell, silent
from hydra_pipelines.control import Control
from hydra_pipelines.execution.breaks import frozen_by_breaks
from hydra_pipelines.execution.broker.gateway import BrokerGateway
from hydra_pipelines.execution.broker.messages import ContractInfo, Known, Quote
from hydra_pipelines.execution.broker.order_state import State
from hydra_pipelines.execution.orders.book import OrderBook
from hydra_pipelines.execution.positions import worst_realised_loss
from hydra_pipelines.execution.risk.checks import DenialReason, of_breakers
from hydra_pipelines.execution.risk.gate import Approval, Decision
from hydra_pipelines.execution.risk.latch import Latch
from hydra_pipelines.execution.risk.state import (
    OrderRequest,
    RiskState,
    WorkingOrder,
)
from hydra_pipelines.execution.risk.state import Quote as RiskQuote
from hydra_pipelines.ledger import accounts, orders, trades
from hydra_pipelines.ledger.store import Ledger
from hydra_pipelines.sessions import Clock


@dataclass(frozen=True)
class MarketFacts:
    """What the desk's own data says of a symbol as of the signal session.

    adv: average daily volume in shares, None where the data has no volume. sigma_daily: daily
    volatility (0.02 is 2 %), None where not known.
    """

    last_close: Decimal
    adv: float | None
    sigma_daily: float | None = None


@dataclass(frozen=True)
class Verdict:
    """The gate's answer: an approval or none, and the record for the ledger."""

    approval: Approval | None
    record: dict[str, Any]


@dataclass(frozen=True)
class _OwnBooks:
    """Our own books as they were read, and how much of what this run adds was in them then.

    Good for as long as the ledger is `held`, so that nobody else writes, and this run amends none
    of its fills; what it adds is folded in.
    """

    held: object | None
    amended: int
    symbols: frozenset[str]
    equity_at_start: Decimal | None
    peak: Decimal | None
    frozen: frozenset[str]
    known_refs: frozenset[str]
    fills: list[dict[str, Any]]
    """Of `symbols`, each since it was last not held before the session."""
    journalled: int
    rejects: int
    """How many of the latest finished orders were rejected, back to the last that was not."""
    ended: int

    def worst_trade_loss(self, session: date, book: OrderBook) -> Decimal:
        """USD, as `worst_realised_loss` of the fills read and those that the run added."""
        fills = [*self.fills, *book.journalled[self.journalled :]]
        fills.sort(key=_in_order)
        return worst_realised_loss(fills, session)

    def good_for(self, held: object | None, book: OrderBook) -> bool:
        return (
            held is not None
            and (self.held, self.amended) == (held, book.amended)
            and all(fill["symbol"] in self.symbols for fill in book.journalled[self.journalled :])
        )

    def rejects_in_a_row(self, book: OrderBook) -> int:
        rejects = self.rejects
        for state in book.endings[self.ended :]:
            rejects = rejects + 1 if state is State.REJECTED else 0
        return rejects


class Reviewer:
    """Shows orders to the gate, with one state per wave."""

    def __init__(
        self,
        ledger: Ledger,
        control: Control,
        broker: BrokerGateway,
        clock: Clock,
        tell: Tell = silent,
    ):
        self._gate = broker.gate
        self._latch = Latch(control, broker.gate.limits, tell)
        self._ledger = ledger
        self._control = control
        self._broker = broker
        self._clock = clock
        self._state: RiskState | None = None
        self._times: list[datetime] = []
        self._books: _OwnBooks | None = None

    def look(
        self, session: date, data_age_sessions: int, book: OrderBook, symbols: Iterable[str]
    ) -> tuple[DenialReason, ...]:
        """Take the broker's and our own state anew; returns what the breakers have against orders
        that add risk.

        session: the execution session. symbols: those that the plan trades.
        """
        account_id = self._broker.account_id
        account, held = self._broker.account(), self._broker.positions()
        open_orders = self._broker.open_orders()
        books = self._own_books(session, book, frozenset(symbols))
        held_back = self._latch.open(session)
        views = {order.ref: order.view for order in book.orders.values()}
        frozen = {o.intent["symbol"] for o in book.orders.values() if o.view.state is State.UNKNOWN}
        # What works and is not held yet has no mark of the broker's.
        marks = {o.intent["symbol"]: o.intent["arrival_price"] for o in book.orders.values()}
        if isinstance(account, Known):
            marks |= {h.symbol: h.market_price for h in account.value.holdings}
        self._times = [order.intent["arrival_at"] for order in book.orders.values()]
        state = RiskState(
            account=account_id,
            equity=account.value.equity if isinstance(account, Known) else None,
            equity_at_start=books.equity_at_start,
            peak_equity=books.peak,
            cash=account.value.cash if isinstance(account, Known) else None,
            positions={p.symbol: p.quantity for p in held.value}
            if isinstance(held, Known)
            else None,
            working=tuple(
                WorkingOrder(
                    o.order_ref or f"perm {o.perm_id}",
                    o.symbol,
                    "BUY" if o.side == "BUY" else "SELL",
                    # Never below zero: an overfill leaves nothing to fill.
                    max(0, o.quantity - (views[o.order_ref].filled if o.order_ref in views else 0)),
                    o.limit_price,
                )
                for o in open_orders.value
            )
            if isinstance(open_orders, Known)
            else None,
            marks=marks,
            quote=None,
            last_close=None,
            tick_size=None,
            adv=None,
            plan_target=None,
            tripped=held_back.tripped,
            acknowledged=held_back.acknowledged,
            worst_trade_loss=books.worst_trade_loss(session, book),
            rejects_in_a_row=books.rejects_in_a_row(book),
            unknown_orders=sum(view.state is State.UNKNOWN for view in views.values()),
            data_age_sessions=data_age_sessions,
            orders_last_minute=0,
            agent_paused=self._control.agent_paused,
            kill_switch=self._control.kill_switch,
            known_refs=books.known_refs | frozenset(views),
            frozen=books.frozen | frozen,
        )
        self._state = self._latch.hold(state, session)
        return tuple(of_breakers(self._state, self._gate.limits))

    def _own_books(self, session: date, book: OrderBook, symbols: frozenset[str]) -> _OwnBooks:
        """What the ledger says; not asked again for what it said, see `_OwnBooks`."""
        held, books = self._ledger.held, self._books
        if books and books.good_for(held, book):
            return books
        symbols |= {fill["symbol"] for fill in book.journalled}
        account_id = self._broker.account_id
        with self._ledger.transaction() as tx:
            before = accounts.snapshot_before(tx, account_id, session)
            start, peak = None, None
            if before:
                flows = accounts.cash_flows(tx, account_id, before["session"])
                start, peak = accounts.after_flows(before, flows)
            self._books = books = _OwnBooks(
                held=held,
                amended=book.amended,
                symbols=symbols,
                equity_at_start=start,
                peak=peak,
                frozen=frozen_by_breaks(accounts.open_breaks(tx, account_id)),
                known_refs=orders.refs_since(tx, self._broker.opened_at),
                fills=trades.fills(tx, account_id, traded_in=session, of=symbols),
                journalled=len(book.journalled),
                rejects=orders.rejects_in_a_row(tx),
                ended=len(book.endings),
            )
        return books

    def room(self, order: OrderRequest) -> int:
        """How many shares of a buy the cash and the position limit leave room for."""
        state, limits = self._known(), self._gate.limits
        if state.equity is None or state.cash is None or order.side != "BUY":
            return order.quantity
        reach = state.reach(order.symbol)
        price = order.limit_price
        most = state.equity * Decimal(str(limits.max_position_weight)) / price
        by_position = int(most) - (reach[1] if reach else 0)
        reserved = sum(
            (
                o.remaining * (o.limit_price + limits.commission_per_share)
                + limits.commission_minimum
            )
            for o in state.working or ()
            # One without a price makes the gate deny for want of knowing the cash.
            if o.side == "BUY" and o.limit_price is not None
        )
        cash = state.cash - state.equity * Decimal(str(limits.cash_buffer)) - reserved
        by_cash = int((cash - limits.commission_minimum) / (price + limits.commission_per_share))
        return max(0, min(order.quantity, by_position, by_cash))

    def review(
        self,
        order: OrderRequest,
        quote: Quote,
        contract: ContractInfo,
        facts: MarketFacts,
        plan_target: int,
    ) -> Verdict:
        """Ask the gate for one order; an approved one counts as working from here on."""
        state = self._shown(quote, contract, facts, plan_target)
        verdict = self._verdict(self._gate.review(order, state))
        if verdict.approval is not None:
            known = self._known()
            self._times.append(self._clock.now())
            self._state = dataclasses.replace(
                known,
                working=(*(known.working or ()), _working(order)),
                marks={order.symbol: order.arrival_price, **known.marks},
                known_refs=known.known_refs | {order.order_ref},
            )
        return verdict

    def review_change(
        self,
        order: OrderRequest,
        quote: Quote,
        contract: ContractInfo,
        facts: MarketFacts,
        plan_target: int,
    ) -> Verdict:
        """Ask the gate for a new price of a working order; `order` is what is left of it."""
        state = self._shown(quote, contract, facts, plan_target)
        verdict = self._verdict(self._gate.review_change(order, state))
        if verdict.approval is not None:
            known = self._known()
            self._state = dataclasses.replace(
                known,
                working=tuple(
                    dataclasses.replace(o, limit_price=order.limit_price)
                    if o.order_ref == order.order_ref
                    else o
                    for o in known.working or ()
                ),
            )
        return verdict

    def _shown(
        self, quote: Quote, contract: ContractInfo, facts: MarketFacts, plan_target: int
    ) -> RiskState:
        """The state of the look, with what belongs to one symbol."""
        now = self._clock.now()
        return dataclasses.replace(
            self._known(),
            quote=RiskQuote(
                quote.bid,
                quote.ask,
                quote.last,
                (datetime.now(UTC) - quote.at).total_seconds() if quote.at else None,
            ),
            last_close=facts.last_close,
            tick_size=contract.min_tick,
            adv=facts.adv,
            plan_target=plan_target,
            orders_last_minute=sum(at > now - timedelta(minutes=1) for at in self._times),
            kill_switch=self._control.kill_switch,
        )

    def _verdict(self, decision: Decision) -> Verdict:
        return Verdict(
            decision.approval,
            {
                "order_ref": decision.order.order_ref,
                "approved": decision.approved,
                "reasons": ",".join(reason.value for reason in decision.reasons),
                "inputs": decision.inputs,
                "occurred_at": self._clock.now(),
            },
        )

    def _known(self) -> RiskState:
        if self._state is None:
            raise RuntimeError("look at the account before reviewing orders")
        return self._state


def _in_order(fill: Mapping[str, Any]) -> tuple[datetime, str, str]:
    """As `trades.fills` orders its rows."""
    return fill["executed_at"], fill.get("from_symbol") or "", fill["exec_key"]


def _working(order: OrderRequest) -> WorkingOrder:
    return WorkingOrder(
        order.order_ref, order.symbol, order.side, order.quantity, order.limit_price
    )
