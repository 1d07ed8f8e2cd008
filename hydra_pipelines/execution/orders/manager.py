"""The order manager: works one plan through the venue, at most once, and says what came of it.

Reconcile first; then reductions, then increases, each as one wave whose rows are worked side by
side. What to do next for a row is `work`'s pure decision, how it gets to the broker `sender`'s. A
run that dies anywhere is picked up by the next one: what is not known to have been sent or refused
is looked for at the broker, frozen while in doubt, and never simply sent again.

Three layers keep an order from being sent twice, and none of them relies on another:
`OrderManager.orders_of` (what a row has sent already decides what is still to be sent),
`OrderManager.reconcile` (what was in flight is looked for before anything else), and the risk
gate's look at the broker's own positions and working orders (`risk.checks.overshoots`).
"""

from __future__ import annotations

import time as wall
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any, TypeVar

from hydra_pipelines.alerts import Tell, silent
from hydra_pipelines.control import Control, ControlError
from hydra_pipelines.execution.broker.gateway import BrokerGateway
from hydra_pipelines.execution.broker.messages import BrokerError, Known, Unknown
from hydra_pipelines.execution.broker.order_state import State
from hydra_pipelines.execution.orders.book import BookedOrder, OrderBook
from hydra_pipelines.execution.orders.follow import CLOSE_MARGIN, Follower
from hydra_pipelines.execution.orders.outcome import ExecutionReport, make_report
from hydra_pipelines.execution.orders.reconcile import reconcile
from hydra_pipelines.execution.orders.refusals import Refusal
from hydra_pipelines.execution.orders.resting import evening_of, may_rest, rested
from hydra_pipelines.execution.orders.review import MarketFacts, Reviewer
from hydra_pipelines.execution.orders.routing import Algo, Route, choose_route
from hydra_pipelines.execution.orders.sender import Change, Sender, Wish, reduces
from hydra_pipelines.execution.orders.terms import WorkSettings
from hydra_pipelines.execution.orders.work import (
    NEVER_THERE,
    Cancel,
    Child,
    Send,
    Stay,
    Terms,
    Wait,
    next_step,
    to_rest,
)
from hydra_pipelines.execution.slippage import SlippageModel
from hydra_pipelines.ledger import decisions, trades
from hydra_pipelines.ledger.store import Ledger
from hydra_pipelines.sessions import Calendar, Clock, SteadyClock, at_new_york

T = TypeVar("T")
Row = Mapping[str, Any]


class StateUnknown(BrokerError):
    """The broker's reply is incomplete, so nothing is sent."""


class WindowPassed(RuntimeError):
    """The execution session of the plan is over, or not there yet; it is not traded now."""


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
        tell: Tell = silent,
        slippage: SlippageModel | None = None,
        checkpoint: Callable[[], None] = lambda: None,
    ):
        """checkpoint: called where nothing is half done; raises to end the run there. Orders that
        work stay at the broker, and the next run goes on with them."""
        self.broker = broker
        self.ledger = ledger
        self.control = control
        # The venue is this run's alone while it holds the execution lock.
        self.clock = clock = SteadyClock(clock)
        self.calendar = calendar
        self.work = work
        self.run_id = run_id
        self.say = say
        self.checkpoint = checkpoint
        self.book = OrderBook(ledger, run_id)
        self.reviewer = Reviewer(ledger, control, broker, clock, tell)
        self.follower = Follower(broker, self.book, clock, self._note, self.reconcile)
        self.sender = Sender(
            broker, ledger, clock, calendar, self.book, self.reviewer,
            slippage or SlippageModel(), work.collar, work.patience, run_id, self._note,
            self._halted,
        )  # fmt: skip
        self.notes: list[str] = []

    def execute(self, session: date, market: Mapping[str, MarketFacts]) -> ExecutionReport:
        """Work the plan of `session` in its execution session.

        market: facts of each symbol of the plan as of the session. Raises WindowPassed where the
        execution session is over, StateUnknown where the broker's state isn't known, and
        BrokerError where it can't be reached. The plan's orders are all finished, frozen or never
        sent when it returns; or, where they are sent in the evening and nobody can wait for the
        open here, they rest, and the next run goes on with them.
        """
        with self.ledger.transaction() as tx:
            plan = decisions.plan(tx, session)
        if plan is None:
            raise ValueError(f"there is no plan of {session}: make it first")
        self.book.load(session)
        try:
            self.reconcile(plan["execution_session"])
        except StateUnknown as error:
            if plan["status"] == "draft":
                self.sender.refuse(plan, plan["rows"], Refusal.STATE_UNKNOWN, str(error))
            raise
        if plan["status"] not in ("done", "expired"):
            if self._evening(plan):
                self._send_to_rest(plan, market)
                if not self.clock.moves_by_waiting:
                    return make_report(
                        plan, self.book.orders.values(), self.notes, self.sender.sent
                    )
            self._wait_for_window(plan)
            with self.ledger.transaction() as tx:
                decisions.set_plan_status(tx, plan["plan_id"], "executing")
            try:
                # What rested is at the broker already, so it waits for nobody's proceeds.
                self._withdraw(plan)
                resting = {order.intent["symbol"] for order in self._resting(plan)}
                rows = plan["rows"]
                first = {r["sequence"] for r in rows if reduces(r) or r["symbol"] in resting}
                self._wave(plan, [r for r in rows if r["sequence"] in first], market)
                self._wave(plan, [r for r in rows if r["sequence"] not in first], market)
                self._settle(plan)
            finally:
                self.book.commit(plan["execution_session"])
            with self.ledger.transaction() as tx:
                decisions.set_plan_status(tx, plan["plan_id"], "done")
        # Said again by every later run: the one that found it out may not have lived to say it.
        self._say_how_it_ended(plan)
        return make_report(plan, self.book.orders.values(), self.notes, self.sender.sent)

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
                journal = trades.held(tx, self.broker.account_id)
            held = [(o.intent, o.events) for o in self.book.orders.values()]
            now = self.clock.now()
            self.book.note(reconcile(held, state, journal, now, second_look=second_look))
            self.book.commit(execution_session)
            for row in state.open_orders:
                if row.order_ref in self.book.orders:
                    self.book.orders[row.order_ref].standing = row.limit_price
            in_doubt = [o for o in self.book.orders.values() if o.view.state is State.UNKNOWN]
            if not in_doubt:
                return
            if not second_look:
                wall.sleep(self.work.grace_s)
        for order in in_doubt:
            self._note(f"{order.intent['symbol']}: order {order.ref} is unknown, symbol frozen")

    # the evening before

    def _evening(self, plan: Row) -> bool:
        """Whether the plan's orders are to be sent now, to rest for the open."""
        return self.work.send == "evening" and may_rest(
            self.clock, self.calendar, plan["session"], plan["execution_session"], self.work.evening
        )

    def _send_to_rest(self, plan: Row, market: Mapping[str, MarketFacts]) -> None:
        """One order a row, unless it has one already or is to be sliced."""
        self.clock.wait_until(evening_of(self.calendar, plan["session"], self.work.evening))
        if self._halted():
            self._note("the kill switch is on: nothing rests for the open")
            if resting := self._resting(plan):
                self.follower.cancel(resting, plan["execution_session"])
            return
        self.checkpoint()
        # From here on the plan is not made anew.
        with self.ledger.transaction() as tx:
            decisions.set_plan_status(tx, plan["plan_id"], "executing")
        self._withdraw(plan)
        wishes, opens = [], self._opens(plan)
        for row in sorted(plan["rows"], key=lambda row: not reduces(row)):
            orders = self.orders_of(plan, row)
            terms = self._terms(plan, row, orders, market, opens)
            if send := to_rest(terms, [_child(order) for order in orders]):
                wishes.append(replace(self._wish(row, send, orders, market), rests=True))
        try:
            if wishes:
                self.sender.send(plan, wishes, market)
            self.follower.collect(plan["execution_session"])
        finally:
            self.book.commit(plan["execution_session"])
        resting = self._working(plan)
        for order in resting:
            # The night is no latency.
            order.sent_at = None
        self._note(f"{len(resting)} of {len(plan['rows'])} orders rest for the open")

    def _resting(self, plan: Row) -> list[BookedOrder]:
        return [order for order in self._working(plan) if rested(order.intent)]

    def _withdraw(self, plan: Row) -> None:
        """Cancel what rests and adds risk, where a breaker would not let it be sent now."""
        adding = {row["symbol"] for row in plan["rows"] if not reduces(row)}
        resting = [o for o in self._resting(plan) if o.intent["symbol"] in adding]
        if resting and not self._halted() and (reasons := self.sender.look(plan)):
            why = ", ".join(reasons)
            self._note(f"{why}: {len(resting)} resting orders that add risk are cancelled")
            self.follower.cancel(resting, plan["execution_session"])

    def _opens(self, plan: Row) -> datetime:
        """From when on the plan is worked in the open market."""
        session = plan["execution_session"]
        start = at_new_york(session, self.work.start.hour, self.work.start.minute)
        return max(start, self.calendar.open(session))

    # one wave

    def _wave(self, plan: Row, rows: Sequence[Row], market: Mapping[str, MarketFacts]) -> None:
        """Work rows side by side until nothing more is to be done for any of them."""
        session = plan["execution_session"]
        tick = timedelta(seconds=60 if self.clock.moves_by_waiting else 1)
        tried: set[tuple[int, int]] = set()
        began: dict[int, datetime] = {}
        while rows:
            self.follower.collect(session)
            self.checkpoint()
            if self._halted():
                if working := self._working(plan):
                    self._note("the kill switch is on: what works is cancelled, nothing is sent")
                    self.follower.cancel(working, session)
                if tried:
                    break
            now = self.clock.now()
            wishes: list[Wish] = []
            changes: list[Change] = []
            cancels: list[BookedOrder] = []
            waits: list[datetime] = []
            for row in rows:
                orders = self.orders_of(plan, row)
                began.setdefault(row["sequence"], _begin(orders, now))
                terms = self._terms(plan, row, orders, market, began[row["sequence"]])
                children = [_child(order) for order in orders]
                match next_step(terms, children, now):
                    case Send() as send if (row["sequence"], send.slice) not in tried:
                        tried.add((row["sequence"], send.slice))
                        wishes.append(self._wish(row, send, orders, market))
                    case Send() as send if send.slice:
                        # Denied or refused: the next slice may do better.
                        waits.append(terms.twap.ends(send.slice, terms.start, terms.deadline))
                    case Stay(ref, step, until):
                        order = self.book.orders[ref]
                        if step is not None and step != order.step:
                            changes.append(Change(row, order, step))
                        waits.append(until)
                    case Cancel(ref):
                        cancels.append(self.book.orders[ref])
                    case Wait(until):
                        waits.append(until)
            if cancels:
                self.follower.cancel(cancels, session)
            if changes:
                self.sender.reprice(plan, changes, market)
            if wishes:
                self.sender.send(plan, wishes, market)
            if cancels or wishes:
                continue
            if not waits:
                break
            self.clock.wait_until(max(now, min(*waits, now + tick)))

    def orders_of(self, plan: Row, row: Row) -> list[BookedOrder]:
        """Every order that a row of the plan has led to, oldest first: the de-duplication."""
        return [
            order
            for order in self.book.orders.values()
            if order.intent["plan_id"] == plan["plan_id"]
            and order.intent["symbol"] == row["symbol"]
            and order.intent["side"] == row["side"]
        ]

    def _terms(
        self,
        plan: Row,
        row: Row,
        orders: Sequence[BookedOrder],
        market: Mapping[str, MarketFacts],
        start: datetime,
    ) -> Terms:
        facts = market.get(row["symbol"])
        return Terms(
            algo=self._route(row, orders, market).algo,
            wanted=row["quantity"],
            adv=facts.adv if facts else None,
            start=start,
            deadline=self.calendar.close(plan["execution_session"]) - CLOSE_MARGIN,
            work=timedelta(minutes=self.work.work_minutes),
            patience=self.work.patience,
            twap=self.work.twap,
            opens=self._opens(plan),
        )

    def _wish(
        self,
        row: Row,
        send: Send,
        orders: Sequence[BookedOrder],
        market: Mapping[str, MarketFacts],
    ) -> Wish:
        there = _there(orders)
        return Wish(
            row=row,
            send=send,
            route=self._route(row, orders, market),
            attempt=1 + sum(order.intent["slice"] == send.slice for order in orders),
            arrival=there[0].intent["arrival_price"] if there else None,
        )

    def _route(
        self, row: Row, orders: Sequence[BookedOrder], market: Mapping[str, MarketFacts]
    ) -> Route:
        """What was begun is gone on with, whatever the settings say now."""
        if there := _there(orders):
            first = there[0].intent
            return Route(Algo(first["routing"]), first["routing_reason"])
        facts = market.get(row["symbol"])
        adv = facts.adv if facts else None
        return choose_route(row["symbol"], row["quantity"], adv, self.work.rule)

    def _say_how_it_ended(self, plan: Row) -> None:
        """Rows that got fewer shares than they asked for, and orders that got more."""
        for order in self.book.orders.values():
            if order.intent["plan_id"] == plan["plan_id"] and order.view.overfilled:
                filled, wanted = order.view.filled, order.intent["quantity"]
                self._note(f"{order.intent['symbol']}: {filled} shares filled of {wanted} ordered")
        for row in plan["rows"]:
            orders = _there(self.orders_of(plan, row))
            filled = sum(order.view.filled for order in orders)
            sliced = any(order.intent["slice"] for order in orders)
            wanted = row["quantity"] if sliced else sum(o.intent["quantity"] for o in orders)
            if orders and filled < wanted and all(o.view.final for o in orders):
                last = orders[-1].view
                why = "rejected" if last.state is State.REJECTED else "cancelled"
                self._note(
                    f"{row['symbol']}: {filled} of {wanted} shares filled in time, rest {why}"
                )

    def _settle(self, plan: Row) -> None:
        """Ask once more for everything: what came late, and what works though it was cancelled."""
        self.reconcile(plan["execution_session"])
        if working := self._working(plan):
            self.follower.cancel(working, plan["execution_session"])
        with self.ledger.transaction() as tx:
            missing = trades.missing_commissions(tx, self.broker.account_id)
        if missing:
            self._note(f"{missing} fills have no commission yet")

    def _working(self, plan: Row) -> list[BookedOrder]:
        return [
            order
            for order in self.book.orders.values()
            if order.intent["plan_id"] == plan["plan_id"]
            and order.view.state in (State.SUBMITTED, State.SENDING)
        ]

    # inside

    def _halted(self) -> bool:
        """Whether the kill switch is on, or can't be read."""
        try:
            return self.control.kill_switch
        except ControlError as error:
            self._note(str(error))
            return True

    def _wait_for_window(self, plan: Row) -> None:
        session, now = plan["execution_session"], self.clock.now()
        start = self._opens(plan)
        if now >= self.calendar.close(session) - CLOSE_MARGIN:
            text = (
                f"the plan of {plan['session']} was to be worked in session {session}, which is "
                f"over (desk time {now:%Y-%m-%d %H:%M} UTC); it is not traded late"
            )
            self.sender.refuse(plan, plan["rows"], Refusal.WINDOW_PASSED, text)
            with self.ledger.transaction() as tx:
                decisions.set_plan_status(tx, plan["plan_id"], "expired")
            raise WindowPassed(text)
        if now < start and not self.clock.moves_by_waiting:
            text = (
                f"the plan of {plan['session']} is worked from {start:%Y-%m-%d %H:%M} UTC on; "
                "run it again then"
            )
            self.sender.refuse(plan, plan["rows"], Refusal.WINDOW_NOT_OPEN, text)
            raise WindowPassed(text)
        self.clock.wait_until(start)

    def _known(self, reply: Known[T] | Unknown, what: str) -> T:
        if isinstance(reply, Unknown):
            raise StateUnknown(f"the broker's {what} are not known ({reply.reason}): nothing sent")
        return reply.value

    def _note(self, text: str) -> None:
        self.notes.append(text)
        self.say(text)


def _there(orders: Sequence[BookedOrder]) -> list[BookedOrder]:
    """Those that may have reached the broker."""
    return [order for order in orders if order.view.state not in NEVER_THERE]


def _begin(orders: Sequence[BookedOrder], now: datetime) -> datetime:
    """When a row began to be worked, in whichever run."""
    return min((order.intent["arrival_at"] for order in _there(orders)), default=now)


def _child(order: BookedOrder) -> Child:
    view, intent = order.view, order.intent
    return Child(
        ref=order.ref,
        slice=intent["slice"],
        quantity=intent["quantity"],
        filled=view.filled,
        state=view.state,
        decided_at=intent["arrival_at"],
    )
