"""The order manager: works one plan through the venue, at most once, and says what came of it.

Reconcile first; then reductions, then increases, each as one wave: review by the gate, commit the
intents, commit that they are being sent, write to the socket, follow the executions, cancel what
is left. A run that dies anywhere is picked up by the next one: what is not known to have been sent
or refused is looked for at the broker, frozen while in doubt, and never simply sent again.
"""

from __future__ import annotations

import time as wall
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from typing import Any, TypeVar

from hydra_pipelines.control import Control
from hydra_pipelines.execution.broker.gateway import BrokerGateway
from hydra_pipelines.execution.broker.messages import (
    BrokerError,
    ContractInfo,
    Known,
    NotSubmitted,
    Quote,
    Unknown,
)
from hydra_pipelines.execution.broker.order_state import Kind, OrderEvent, State
from hydra_pipelines.execution.orders.book import BookedOrder, OrderBook
from hydra_pipelines.execution.orders.follow import CLOSE_MARGIN, Follower
from hydra_pipelines.execution.orders.intents import (
    NoPrice,
    arrival_price,
    marketable_limit,
    order_ref,
)
from hydra_pipelines.execution.orders.outcome import ExecutionReport, make_report
from hydra_pipelines.execution.orders.reconcile import positions_of, reconcile
from hydra_pipelines.execution.orders.review import MarketFacts, Reviewer
from hydra_pipelines.execution.risk.gate import Approval
from hydra_pipelines.execution.risk.state import OrderRequest
from hydra_pipelines.ledger import audit, decisions, orders, trades
from hydra_pipelines.ledger.audit import AuditEvent
from hydra_pipelines.ledger.store import Ledger
from hydra_pipelines.sessions import Calendar, Clock, at_new_york

T = TypeVar("T")


class StateUnknown(BrokerError):
    """The broker's reply is incomplete, so nothing is sent."""


class WindowPassed(RuntimeError):
    """The execution session of the plan is over; it is not traded late."""


@dataclass(frozen=True)
class WorkSettings:
    """How a plan is worked; see the settings of the same names."""

    start: time
    work_minutes: int
    collar: float
    grace_s: float = 1.0
    """Real seconds before the broker is asked a second time for an order in doubt."""


class OrderManager:
    """Works plans over one broker connection. Hold the execution lock while using it."""

    def __init__(
        self,
        broker: BrokerGateway,
        ledger: Ledger,
        control: Control,
        clock: Clock,
        calendar: Calendar,
        work: WorkSettings,
        run_id: str,
        say: Callable[[str], None] = lambda _: None,
    ):
        self.broker = broker
        self.ledger = ledger
        self.clock = clock
        self.calendar = calendar
        self.work = work
        self.run_id = run_id
        self.say = say
        self.book = OrderBook(ledger, run_id)
        self.reviewer = Reviewer(ledger, control, broker, clock)
        self.follower = Follower(broker, self.book, clock, calendar, self._note, self.reconcile)
        self.notes: list[str] = []
        self.sent = 0

    def execute(self, session: date, market: Mapping[str, MarketFacts]) -> ExecutionReport:
        """Work the plan of `session` in its execution session.

        market: facts of each symbol of the plan as of the session. Raises WindowPassed where the
        execution session is over, StateUnknown where the broker's state isn't known, and
        BrokerError where it can't be reached. The plan's orders are all finished, frozen or never
        sent when it returns.
        """
        with self.ledger.transaction() as tx:
            plan = decisions.plan(tx, session)
        if plan is None:
            raise ValueError(f"there is no plan of {session}: make it first")
        self.book.load(session)
        self.reconcile(plan["execution_session"])
        if plan["status"] not in ("done", "expired"):
            self._wait_for_window(plan)
            with self.ledger.transaction() as tx:
                decisions.set_plan_status(tx, plan["plan_id"], "executing")
            for side in (_reduces, _increases):
                self._wave(plan, [row for row in plan["rows"] if side(row)], market)
            self._settle(plan)
            with self.ledger.transaction() as tx:
                decisions.set_plan_status(tx, plan["plan_id"], "done")
        return make_report(plan, self.book.orders.values(), self.notes, self.sent)

    def reconcile(self, execution_session: date) -> None:
        """Bring our orders up to date with what the broker knows. Raises StateUnknown."""
        for second_look in (False, True):
            self.broker.broker_time()
            state = self._known(self.broker.state(), "orders and positions")
            self.book.note_executions(state.executions, {})
            self.book.note_commissions(
                {e.exec_id: e.commission for e in state.executions if e.commission is not None}
            )
            self.book.commit(execution_session)
            with self.ledger.transaction() as tx:
                journal = positions_of(trades.fills(tx, self.broker.account_id))
            held = [(o.intent, o.events) for o in self.book.orders.values()]
            now = self.clock.now()
            self.book.note(reconcile(held, state, journal, now, second_look=second_look))
            self.book.commit(execution_session)
            in_doubt = [o for o in self.book.orders.values() if o.view.state is State.UNKNOWN]
            if not in_doubt:
                return
            if not second_look:
                wall.sleep(self.work.grace_s)
        for order in in_doubt:
            self._note(f"{order.intent['symbol']}: order {order.ref} is unknown, symbol frozen")

    # one wave

    def _wave(
        self,
        plan: Mapping[str, Any],
        rows: Sequence[Mapping[str, Any]],
        market: Mapping[str, MarketFacts],
    ) -> None:
        fresh = [row for row in rows if self._may_send(plan, row)]
        symbols = {row["symbol"] for row in rows}
        if fresh:
            self._send(self._prepare(plan, fresh, market), plan["execution_session"])
        working = [o for o in self._working(plan) if o.intent["symbol"] in symbols]
        self.follower.follow(working, plan["execution_session"], self.work.work_minutes)

    def _may_send(self, plan: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
        """Only what was proven never to have reached the broker is tried again."""
        past = [o for o in self.book.orders.values() if o.intent["symbol"] == row["symbol"]]
        if any(o.view.state is State.UNKNOWN for o in past):
            return False
        return all(
            o.view.state in (State.NEVER_SENT, State.NEVER_ARRIVED)
            for o in past
            if o.intent["plan_id"] == plan["plan_id"] and o.intent["side"] == row["side"]
        )

    def _prepare(
        self,
        plan: Mapping[str, Any],
        rows: Sequence[Mapping[str, Any]],
        market: Mapping[str, MarketFacts],
    ) -> list[tuple[OrderRequest, Approval, ContractInfo, Mapping[str, Any]]]:
        contracts = self._contracts([row["symbol"] for row in rows])
        quotes = self.broker.quotes(list(contracts.values()))
        with self.ledger.transaction() as tx:
            highest_id = orders.highest_order_id(tx)
        data_age = self.calendar.index(plan["execution_session"]) - 1
        data_age -= self.calendar.index(plan["session"])
        self.reviewer.look(plan["execution_session"], data_age, self.book)
        approved, intents, verdicts = [], [], []
        for row in rows:
            symbol, side = row["symbol"], row["side"]
            contract, quote = contracts.get(symbol), quotes.get(symbol)
            if contract is None or not isinstance(quote, Known):
                why = quote.reason if isinstance(quote, Unknown) else "no contract"
                self._note(f"{symbol}: no order, the broker has no quote ({why})")
                continue
            try:
                limit = marketable_limit(side, quote.value, self.work.collar, contract.min_tick)
                arrival = arrival_price(quote.value)
            except NoPrice as error:
                self._note(f"{error}; no order")
                continue
            attempt = 1 + sum(
                o.intent["plan_id"] == plan["plan_id"]
                and o.intent["symbol"] == symbol
                and o.intent["side"] == side
                for o in self.book.orders.values()
            )
            request = OrderRequest(
                order_ref=order_ref(plan["session"], plan["account"], symbol, side, 0, attempt),
                account=plan["account"],
                symbol=symbol,
                side=side,
                quantity=row["quantity"],
                limit_price=limit,
                arrival_price=arrival,
                plan_row=f"{plan['plan_id']}-{row['sequence']:04d}",
                strategies=tuple(filter(None, row["strategies"].split(","))),
            )
            if _increases(row):
                room = self.reviewer.room(request)
                if room < request.quantity:
                    self._note(
                        f"{symbol}: {room} of {request.quantity} shares, what cash and the "
                        "position limit leave room for now"
                    )
                if room == 0:
                    continue
                request = replace(request, quantity=room)
            verdict = self.reviewer.review(
                request, quote.value, contract, market[symbol], row["target_quantity"]
            )
            verdicts.append(verdict.record)
            if verdict.approval is None:
                self._note(
                    f"{symbol}: denied, {verdict.record['reasons']} ({quote.value.kind} quote)"
                )
                continue
            highest_id = self.broker.next_order_id(highest_id)
            intent = self._intent(plan, row, request, quote.value, highest_id, attempt)
            intents.append(intent)
            approved.append((request, verdict.approval, contract, intent))
        self.book.open(intents, verdicts, self.clock.now())
        return approved

    def _intent(
        self,
        plan: Mapping[str, Any],
        row: Mapping[str, Any],
        request: OrderRequest,
        quote: Quote,
        order_id: int,
        attempt: int,
    ) -> dict[str, Any]:
        return {
            "order_ref": request.order_ref,
            "plan_id": plan["plan_id"],
            "session": plan["session"],
            "execution_session": plan["execution_session"],
            "account": request.account,
            "symbol": request.symbol,
            "side": request.side,
            "quantity": request.quantity,
            "limit_price": request.limit_price,
            "tif": request.tif,
            "arrival_price": request.arrival_price,
            "arrival_at": self.clock.now(),
            "predicted_slippage_bps": row["predicted_slippage_bps"],
            "routing": row["routing"],
            "strategies": row["strategies"],
            "slice": 0,
            "attempt": attempt,
            "order_id": order_id,
            "run_id": self.run_id,
            "recorded_at": datetime.now(UTC),
        }

    def _send(
        self,
        approved: Sequence[tuple[OrderRequest, Approval, ContractInfo, Mapping[str, Any]]],
        execution_session: date,
    ) -> None:
        now = self.clock.now()
        self.book.note(OrderEvent(r.order_ref, Kind.SENDING, now) for r, _, _, _ in approved)
        self.book.commit(execution_session)
        failure: BrokerError | None = None
        written = []
        for request, approval, contract, intent in approved:
            if failure is not None:
                self._note_event(request, Kind.NEVER_SENT, f"not sent after a failure: {failure}")
                continue
            order = self.book.orders[request.order_ref]
            order.sent_at, order.sent_monotonic = self.clock.now(), wall.perf_counter()
            try:
                self.broker.submit(request, approval, intent["order_id"], contract)
                written.append({"order_ref": request.order_ref, "order_id": intent["order_id"]})
            except NotSubmitted as error:
                failure = error
                self._note_event(request, Kind.NEVER_SENT, str(error))
            except BrokerError as error:
                # The bytes may have left: only reconciliation can tell.
                failure = error
                self._note_event(request, Kind.UNKNOWN, str(error))
        self.sent += len(written)
        self.book.commit(execution_session)
        with self.ledger.transaction() as tx:
            audit.log_many(tx, AuditEvent.ORDER_SUBMITTED, written, run_id=self.run_id)
        if failure is not None:
            raise failure

    def _note_event(self, request: OrderRequest, kind: Kind, text: str) -> None:
        self.book.note([OrderEvent(request.order_ref, kind, self.clock.now(), {"text": text})])

    def _settle(self, plan: Mapping[str, Any]) -> None:
        """Ask once more for everything: what came late, and what works though it was cancelled."""
        self.reconcile(plan["execution_session"])
        self.follower.follow(self._working(plan), plan["execution_session"], minutes=0)
        for order in self.book.orders.values():
            if order.intent["plan_id"] == plan["plan_id"] and order.view.overfilled:
                filled, wanted = order.view.filled, order.intent["quantity"]
                self._note(f"{order.intent['symbol']}: {filled} shares filled of {wanted} ordered")
        with self.ledger.transaction() as tx:
            missing = trades.missing_commissions(tx, self.broker.account_id)
        if missing:
            self._note(f"{missing} fills have no commission yet")

    def _working(self, plan: Mapping[str, Any]) -> list[BookedOrder]:
        return [
            order
            for order in self.book.orders.values()
            if order.intent["plan_id"] == plan["plan_id"]
            and order.view.state in (State.SUBMITTED, State.SENDING)
        ]

    # inside

    def _wait_for_window(self, plan: Mapping[str, Any]) -> None:
        session, now = plan["execution_session"], self.clock.now()
        start = at_new_york(session, self.work.start.hour, self.work.start.minute)
        start = max(start, self.calendar.open(session))
        if now >= self.calendar.close(session) - CLOSE_MARGIN:
            with self.ledger.transaction() as tx:
                decisions.set_plan_status(tx, plan["plan_id"], "expired")
            raise WindowPassed(
                f"the plan of {plan['session']} was to be worked in session {session}, which is "
                f"over (desk time {now:%Y-%m-%d %H:%M} UTC); it is not traded late"
            )
        if now < start and not self.clock.moves_by_waiting:
            raise WindowPassed(
                f"the plan of {plan['session']} is worked from {start:%Y-%m-%d %H:%M} UTC on; "
                "run it again then"
            )
        self.clock.wait_until(start)

    def _contracts(self, symbols: Sequence[str]) -> dict[str, ContractInfo]:
        with self.ledger.transaction() as tx:
            known = orders.contracts(tx, symbols)
        out = {
            symbol: ContractInfo(**{k: row[k] for k in ContractInfo.__dataclass_fields__})
            for symbol, row in known.items()
        }
        found = {}
        for symbol in symbols:
            if symbol not in out:
                reply = self.broker.contract(symbol)
                if isinstance(reply, Known):
                    found[symbol] = reply.value
                else:
                    self._note(reply.reason)
        if found:
            with self.ledger.transaction() as tx:
                orders.insert_contracts(
                    tx, [{**vars(c), "recorded_at": datetime.now(UTC)} for c in found.values()]
                )
        return {symbol: c for symbol in symbols if (c := (out | found).get(symbol))}

    def _known(self, reply: Known[T] | Unknown, what: str) -> T:
        if isinstance(reply, Unknown):
            raise StateUnknown(f"the broker's {what} are not known ({reply.reason}): nothing sent")
        return reply.value

    def _note(self, text: str) -> None:
        self.notes.append(text)
        self.say(text)


def _reduces(row: Mapping[str, Any]) -> bool:
    return row["reason"] in ("exit", "trim over limit", "reduce")


def _increases(row: Mapping[str, Any]) -> bool:
    return not _reduces(row)
