"""Our interface to the broker: connect safely, ask with typed answers, submit only what the gate
approved, and hand on what happened to each order by its order_ref.

What listens on the other end (the stand-in, IBKR paper) makes no difference here beyond the guard
that refuses a port or account that doesn't belong to the mode.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from hydra_pipelines.execution.broker.client import TwsClient
from hydra_pipelines.execution.broker.messages import (
    Account,
    BrokerError,
    CommissionReported,
    ConnectionChanged,
    ContractInfo,
    Executed,
    Execution,
    Known,
    OrderError,
    OrderOpened,
    OrderStatus,
    Position,
    Quote,
    Unknown,
    WorkingOrder,
)
from hydra_pipelines.execution.broker.order_state import OrderEvent, translate
from hydra_pipelines.execution.risk.gate import Approval, RiskGate
from hydra_pipelines.execution.risk.state import OrderRequest

T = TypeVar("T")

PAPER_PORTS = (4002, 7497, 4004)
LIVE_PORTS = (4001, 7496, 4003)


class GuardRefused(BrokerError):
    """Mode, port and account don't belong together; nothing was sent."""


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


@dataclass
class Happenings:
    """What the broker reported since the last look, in wire order."""

    events: list[OrderEvent]
    executions: list[Execution]
    commissions: dict[str, CommissionReported]
    connection_lost: str | None


def check_endpoint(endpoint: Endpoint) -> None:
    """Refuse, before a socket is opened, what can't be a paper venue."""
    if endpoint.port in LIVE_PORTS:
        raise GuardRefused(
            f"port {endpoint.port} is a live port; paper trading uses 4002 (Gateway), 7497 (TWS) "
            "or 4004 (Gateway in a container): correct IBKR_PORT"
        )
    if endpoint.account and not endpoint.account.startswith("DU"):
        raise GuardRefused(
            f"account {endpoint.account} is not a paper account (these begin with DU): "
            "correct IBKR_ACCOUNT"
        )


class BrokerGateway:
    """One connection to the venue, for one account. Use as a context manager."""

    def __init__(self, endpoint: Endpoint, gate: RiskGate):
        """gate: the only one whose approvals are worth anything here."""
        self.endpoint = endpoint
        self.gate = gate
        self.opened_at = datetime.now(UTC)
        self.account_id = ""
        self._client = TwsClient(endpoint.request_timeout_s)
        self._refs: dict[int, str] = {}
        self._highest_order_id = 0
        self._in_doubt: str | None = None

    def __enter__(self) -> BrokerGateway:
        self.connect()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def connect(self) -> None:
        """Connect with bounded back-off and check whose account this is. Raises BrokerError."""
        check_endpoint(self.endpoint)
        attempts = self.endpoint.connect_attempts
        for attempt in range(attempts):
            try:
                self._client = TwsClient(self.endpoint.request_timeout_s)
                self._client.connect(
                    self.endpoint.host,
                    self.endpoint.port,
                    self.endpoint.client_id,
                    self.endpoint.connect_timeout_s,
                )
                break
            except BrokerError as error:
                if attempt + 1 == attempts:
                    raise BrokerError(f"{error} (tried {attempts} times)") from error
                time.sleep(0.25 * 2**attempt * random.uniform(0.75, 1.25))
        try:
            self.account_id = self._own_account()
        except BaseException:
            self.close()
            raise
        self._highest_order_id = self._client.next_valid_id - 1
        self._in_doubt = None

    def close(self) -> None:
        self._client.close()

    @property
    def connected(self) -> bool:
        return self._client.connected

    @property
    def server_version(self) -> int:
        return self._client.server_version

    # asking

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
        ApprovalError for anything else, BrokerError when the connection is in doubt; after a
        BrokerError from the write itself the order may or may not have arrived.
        """
        order = self.gate.redeem(approval, order)
        if self._in_doubt:
            raise BrokerError(
                f"nothing is submitted while the connection is in doubt: {self._in_doubt}"
            )
        if order.account != self.account_id:
            raise GuardRefused(f"the order is for {order.account}, connected is {self.account_id}")
        if contract.symbol != order.symbol:
            raise BrokerError(
                f"contract {contract.symbol} does not belong to an order in {order.symbol}"
            )
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

    def cancel(self, order_id: int) -> None:
        self._client.cancel(order_id)

    def cancel_all(self) -> None:
        self._client.cancel_all()

    def happenings(self, at: datetime) -> Happenings:
        """Everything the broker reported since the last call; events carry the time `at`."""
        out = Happenings([], [], {}, None)
        for raw in self._client.drain():
            match raw:
                case OrderOpened(order) if order.order_ref:
                    self._refs[order.order_id] = order.order_ref
                case Executed(execution) if execution.account == self.account_id:
                    out.executions.append(execution)
                    if execution.order_ref:
                        self._refs.setdefault(execution.order_id, execution.order_ref)
                case CommissionReported(exec_id, _):
                    out.commissions[exec_id] = raw
                case ConnectionChanged(code, text):
                    self._in_doubt = None if code in (1101, 1102) else text
                    out.connection_lost = text if code != 1102 else out.connection_lost
            ref = self._ref_of(raw)
            event = translate(raw, ref, at) if ref else None
            if event is not None:
                out.events.append(event)
        return out

    # inside

    def _ref_of(self, raw: object) -> str:
        match raw:
            case OrderOpened(order):
                return order.order_ref
            case Executed(execution):
                return execution.order_ref
            case OrderStatus(order_id=order_id) | OrderError(order_id=order_id):
                return self._refs.get(order_id, "")
        return ""

    def _own_account(self) -> str:
        reported = self._client.accounts
        wanted = self.endpoint.account
        if not wanted:
            if len(reported) != 1:
                raise GuardRefused(
                    f"the gateway manages {', '.join(reported) or 'no account'}: say which one to "
                    "trade with IBKR_ACCOUNT"
                )
            wanted = reported[0]
        if wanted not in reported:
            raise GuardRefused(
                f"the gateway does not report account {wanted} (it has {', '.join(reported)}): "
                "correct IBKR_ACCOUNT"
            )
        if not wanted.startswith("DU"):
            raise GuardRefused(
                f"the gateway is logged in to live account {wanted}, and this desk trades paper: "
                "log it in to a paper account (these begin with DU)"
            )
        return wanted

    def _ask(self, request: Callable[[TwsClient], T]) -> Known[T] | Unknown:
        try:
            return Known(request(self._client))
        except BrokerError as error:
            return Unknown(str(error))

    def _ours(self, rows: Sequence[T]) -> tuple[T, ...]:
        return tuple(row for row in rows if row.account == self.account_id)  # type: ignore[attr-defined]
