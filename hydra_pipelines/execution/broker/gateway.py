"""Our interface to the broker: connect safely, ask with typed answers, submit only what the gate
approved, and hand on what happened to each order by its order_ref.

What listens on the other end (the stand-in, IBKR paper) makes no difference here beyond the guard
that refuses a port or account that doesn't belong to the mode. After a connection is made, and
after every outage of IB's servers, nothing is submitted before `state` has been asked for.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, TypeVar

from hydra_pipelines.execution.broker.active import MOST_PER_SIDE, ActiveOrders
from hydra_pipelines.execution.broker.client import TwsClient
from hydra_pipelines.execution.broker.guard import PAPER, Clearance, GuardRefused
from hydra_pipelines.execution.broker.messages import (
    Account,
    BrokerError,
    BrokerState,
    CommissionReported,
    ContractInfo,
    Executed,
    Execution,
    Known,
    NotSubmitted,
    OrderError,
    OrderOpened,
    OrderStatus,
    Position,
    Quote,
    SocketClosed,
    Unknown,
    WorkingOrder,
)
from hydra_pipelines.execution.broker.order_state import OrderEvent, translate
from hydra_pipelines.execution.broker.windows import QuietHours, weekly_login_hint
from hydra_pipelines.execution.broker.wrapper import RequestRefused
from hydra_pipelines.execution.risk.gate import Approval, Halted, RiskGate
from hydra_pipelines.execution.risk.state import OrderRequest
from hydra_pipelines.market.sources.ibkr import DailyBar, NoHistory

T = TypeVar("T")


@dataclass(frozen=True)
class Endpoint:
    """Where the TWS socket is and what it must be."""

    host: str
    port: int
    client_id: int
    account: str
    connect_timeout_s: float = 4
    connect_attempts: int = 3
    request_timeout_s: float = 10
    zone: str = "America/New_York"
    """Of the gateway's log-in: times that it writes without a zone are meant in it."""
    paced: bool = True
    """Keep IB's pace of requests; a venue without one need not be waited for."""
    quiet: QuietHours | None = None
    """IB's restarts; None for a venue that has none."""
    clearance: Clearance = PAPER
    """What the connection is for; the guard judges host, port and account by it."""


@dataclass
class Happenings:
    """What the broker reported since the last look, in wire order."""

    events: list[OrderEvent]
    executions: list[Execution]
    commissions: dict[str, CommissionReported]
    closed: bool
    """Whether the socket ended."""


class BrokerGateway:
    """One connection to the venue, for one account. Use as a context manager."""

    def __init__(
        self,
        endpoint: Endpoint,
        gate: RiskGate,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ):
        """gate: the only one whose approvals are worth anything here. now: for IB's restarts."""
        self.endpoint = endpoint
        self.gate = gate
        self.opened_at = datetime.now(UTC)
        self.account_id = ""
        self._now = now
        self._client = self._new_client()
        self._refs: dict[int, str] = {}
        self._refs_by_perm_id: dict[int, str] = {}
        self._highest_order_id = 0
        self._active = ActiveOrders()
        self._asked_at_outage: int | None = None

    def __enter__(self) -> BrokerGateway:
        self.connect()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def connect(self) -> None:
        """Connect with bounded back-off and check whose account this is. Raises BrokerError."""
        e = self.endpoint
        e.clearance.check(e.host, e.port, e.account)
        attempts = self.endpoint.connect_attempts
        for attempt in range(attempts):
            try:
                self._client = self._new_client()
                self._client.connect(
                    self.endpoint.host,
                    self.endpoint.port,
                    self.endpoint.client_id,
                    self.endpoint.connect_timeout_s,
                )
                break
            except BrokerError as error:
                if attempt + 1 == attempts:
                    hint = f". {weekly_login_hint(self._now())}" if self.endpoint.quiet else ""
                    tries = f" (tried {attempts} times)" if attempts > 1 else ""
                    raise BrokerError(f"{error}{tries}{hint}") from error
                time.sleep(0.25 * 2**attempt * random.uniform(0.75, 1.25))
        try:
            self.account_id = e.clearance.pick(e.account, self._client.accounts)
        except BaseException:
            self.close()
            raise
        self._highest_order_id = self._client.next_valid_id - 1
        self._asked_at_outage = None

    def close(self) -> None:
        self._client.close()

    @property
    def connected(self) -> bool:
        return self._client.connected

    @property
    def server_version(self) -> int:
        return self._client.server_version

    # asking

    def state(self) -> Known[BrokerState] | Unknown:
        """All that the broker holds of our account; submitting is allowed once this is known.

        Unknown where one of the replies is not complete, or where IB's servers went or came back
        meanwhile.
        """
        outages = self._client.outages
        replies: tuple[Known[Any] | Unknown, ...] = (
            self.open_orders(), self.completed_orders(), self.executions(), self.positions()
        )  # fmt: skip
        known: list[Any] = []
        for reply in replies:
            if isinstance(reply, Unknown):
                return reply
            known.append(reply.value)
        if self._client.outage or self._client.outages != outages:
            return Unknown(self._client.outage or "IB's servers went and came back meanwhile")
        state = BrokerState(*known)
        self._active.replace(state.open_orders)
        self._asked_at_outage = outages
        return Known(state)

    @property
    def outage(self) -> str | None:
        """Why the gateway has no connection to IB's servers (1100); None while it has one."""
        return self._client.outage

    @property
    def outages(self) -> int:
        """How often the gateway has lost IB's servers since we connected to it."""
        return self._client.outages

    @property
    def doubt(self) -> str | None:
        """Why nothing may be submitted now; None where something may be."""
        if self._client.outage:
            return f"the gateway has lost IB's servers ({self._client.outage})"
        if self._asked_at_outage != self._client.outages:
            return "orders, executions and positions have not been asked for since (re)connecting"
        return self.endpoint.quiet.reason(self._now()) if self.endpoint.quiet else None

    def account(self) -> Known[Account] | Unknown:
        return self._ask(lambda c: c.account(self.account_id))

    def positions(self) -> Known[tuple[Position, ...]] | Unknown:
        """All positions of our account; an account without any is Known(())."""
        return self._ask(
            lambda c: tuple(row for owner, row in c.positions() if owner == self.account_id)
        )

    def open_orders(self) -> Known[tuple[WorkingOrder, ...]] | Unknown:
        """Open orders of our account, whoever placed them."""
        return self._ask(lambda c: self._ours(c.open_orders()))

    def completed_orders(self) -> Known[tuple[WorkingOrder, ...]] | Unknown:
        return self._ask(lambda c: self._ours(c.completed_orders()))

    def executions(self) -> Known[tuple[Execution, ...]] | Unknown:
        """Executions of the broker's current day only."""
        return self._ask(lambda c: self._ours(c.executions()))

    def contract(self, symbol: str) -> Known[ContractInfo] | Unknown:
        reply = self._ask(lambda c: c.contract(symbol))
        if isinstance(reply, Unknown):
            return Unknown(f"contract of {symbol}: {reply.reason}")
        if len(reply.value) != 1:
            return Unknown(
                f"{symbol}: the broker knows {len(reply.value)} such US stocks, need one"
            )
        return Known(reply.value[0])

    def historical_daily(self, symbol: str, *, days: int, adjusted: bool) -> list[DailyBar]:
        """Daily bars of the last `days` calendar days, oldest first; volume in shares.

        Raises NoHistory where the broker does not know the symbol or has no bars of it, and
        BrokerError where the connection is no good.
        """
        contract = self.contract(symbol)
        if isinstance(contract, Unknown):
            if not self.connected:
                raise BrokerError(contract.reason)
            raise NoHistory(contract.reason)
        duration = f"{days} D" if days <= 365 else f"{-(-days // 366)} Y"
        try:
            rows = self._client.daily_bars(contract.value, duration, adjusted=adjusted)
        except RequestRefused as error:
            raise NoHistory(f"{symbol}: {error}") from error
        return [
            DailyBar(date.fromisoformat(_iso(day)), *prices)  # open, high, low, close, volume
            for day, *prices in rows
        ]

    def quotes(self, contracts: Sequence[ContractInfo]) -> dict[str, Known[Quote] | Unknown]:
        reply = self._ask(lambda c: c.quotes(contracts))
        if isinstance(reply, Unknown):
            return {c.symbol: reply for c in contracts}
        return {
            contract.symbol: Unknown(str(quote)) if isinstance(quote, BrokerError) else Known(quote)
            for contract, quote in zip(contracts, reply.value, strict=True)
        }

    def broker_time(self) -> datetime:
        """The venue's time. When it returns, everything it wrote before has been read."""
        return self._client.current_time()

    # orders

    def next_order_id(self, highest_used: int) -> int:
        """An address for a new order: ids roll back after a gateway restart, ours never do."""
        self._highest_order_id = max(self._highest_order_id, highest_used) + 1
        return self._highest_order_id

    def submit(
        self, order: OrderRequest, approval: Approval, order_id: int, contract: ContractInfo
    ) -> None:
        """Write one limit order to the socket.

        The approval is the risk gate's, for exactly this order, and is used up here. Raises
        ApprovalError for anything else, NotSubmitted where nothing was written for certain; after
        any other BrokerError the order may or may not have arrived.
        """
        order = self._pass(self.gate.redeem, approval, order, contract)
        if self._active.count(order.symbol, order.side) >= MOST_PER_SIDE:
            raise NotSubmitted(
                f"{MOST_PER_SIDE} {order.side} orders in {order.symbol} work already, and IB takes "
                "no more: cancel some"
            )
        self._active.add(order.order_ref, order.symbol, order.side, order.quantity)
        self._refs[order_id] = order.order_ref
        self._client.place_limit(
            order_id,
            contract,
            side=order.side,
            quantity=order.quantity,
            limit_price=order.limit_price,
            tif=order.tif,
            account=order.account,
            order_ref=order.order_ref,
        )

    def modify(
        self,
        order: OrderRequest,
        approval: Approval,
        order_id: int,
        contract: ContractInfo,
        total: int,
    ) -> None:
        """Write a new price for a working order: the same order id and ref, never a second order.

        order: what is left of it, at its new price, as `RiskGate.review_change` approved it. total:
        shares of the whole order, filled ones included. Raises as `submit` does.
        """
        order = self._pass(self.gate.redeem_change, approval, order, contract)
        if self._refs.get(order_id) != order.order_ref or total < order.quantity:
            raise NotSubmitted(f"id {order_id} is not that of order {order.order_ref}")
        self._client.place_limit(
            order_id,
            contract,
            side=order.side,
            quantity=total,
            limit_price=order.limit_price,
            tif=order.tif,
            account=order.account,
            order_ref=order.order_ref,
        )

    def _pass(
        self,
        redeem: Callable[[Approval, OrderRequest], OrderRequest],
        approval: Approval,
        order: OrderRequest,
        contract: ContractInfo,
    ) -> OrderRequest:
        """The order as it was approved, if it may be written now."""
        try:
            order = redeem(approval, order)
        except Halted as error:
            raise NotSubmitted(str(error)) from error
        if not self._client.connected:
            raise NotSubmitted("the connection to the broker is closed")
        if doubt := self.doubt:
            raise NotSubmitted(f"nothing is submitted: {doubt}")
        if order.account != self.account_id:
            raise GuardRefused(f"the order is for {order.account}, connected is {self.account_id}")
        if contract.symbol != order.symbol:
            raise NotSubmitted(
                f"contract {contract.symbol} does not belong to an order in {order.symbol}"
            )
        return order

    def cancel(self, order_id: int) -> None:
        """Ask for the end of one order of ours; NotSubmitted while IB's servers are lost."""
        if self._client.outage:
            raise NotSubmitted(f"nothing is changed: {self._client.outage}")
        self._client.cancel(order_id)

    def cancel_all(self) -> None:
        """Ask for the end of every order of every client (a global cancel), whatever the doubt."""
        self._client.cancel_all()

    def happenings(self, at: datetime) -> Happenings:
        """Everything the broker reported since the last call; events carry the time `at`."""
        out = Happenings([], [], {}, closed=False)
        for raw in self._client.drain():
            match raw:
                case Executed(execution) if execution.account == self.account_id:
                    out.executions.append(execution)
                case CommissionReported(exec_id, _):
                    out.commissions[exec_id] = raw
                case SocketClosed():
                    out.closed = True
            ref = self._ref_of(raw)
            event = translate(raw, ref, at) if ref else None
            if event is not None:
                self._active.take(event)
                out.events.append(event)
        return out

    # inside

    def _new_client(self) -> TwsClient:
        e = self.endpoint
        return TwsClient(e.request_timeout_s, e.zone, paced=e.paced)

    def _ref_of(self, raw: object) -> str:
        """The order that a message is about: by its ref, else its permanent id, else our address.

        An order id is an address of one client: another's order may have the same.
        """
        match raw:
            case OrderOpened(order=about) | Executed(execution=about):
                if about.account != self.account_id:
                    return ""
                if about.order_ref:
                    if about.perm_id:
                        self._refs_by_perm_id[about.perm_id] = about.order_ref
                    if about.client_id == self.endpoint.client_id:
                        self._refs[about.order_id] = about.order_ref
                    return about.order_ref
                return self._refs_by_perm_id.get(about.perm_id, "")
            case OrderStatus(order_id, perm_id, client_id):
                if perm_id in self._refs_by_perm_id:
                    return self._refs_by_perm_id[perm_id]
                mine = client_id == self.endpoint.client_id
                return self._refs.get(order_id, "") if mine else ""
            case OrderError(order_id=order_id):
                return self._refs.get(order_id, "")
        return ""

    def _ask(self, request: Callable[[TwsClient], T]) -> Known[T] | Unknown:
        try:
            return Known(request(self._client))
        except BrokerError as error:
            return Unknown(str(error))

    def _ours(self, rows: Sequence[T]) -> tuple[T, ...]:
        return tuple(row for row in rows if row.account == self.account_id)  # type: ignore[attr-defined]


def _iso(day: str) -> str:
    """The broker writes sessions as 20221228; the library may have made 2022-12-28 of it."""
    return day if "-" in day else f"{day[:4]}-{day[4:6]}-{day[6:8]}"
