"""The order book of one run: our orders, their events, and their way into the ledger.

Events are noted in memory as they come and written in batches; nothing is sent before the events
that announce it are committed. The state of an order is always the fold over its events.
"""

from __future__ import annotations

import time as wall
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from hydra_pipelines.execution.broker.messages import Execution
from hydra_pipelines.execution.broker.order_state import (
    Kind,
    OrderEvent,
    OrderView,
    State,
    doubt_is_written,
    fold,
)
from hydra_pipelines.execution.fills import journal_row
from hydra_pipelines.ledger import audit, orders, trades
from hydra_pipelines.ledger.audit import AuditEvent
from hydra_pipelines.ledger.store import Ledger

WITHIN_S = 0.5
"""Seconds after which what the broker said is written, though nothing is to be sent."""


@dataclass
class BookedOrder:
    """An intent with its events."""

    intent: Mapping[str, Any]
    events: list[OrderEvent]
    sent_at: datetime | None = None
    sent_monotonic: float | None = None
    standing: Decimal | None = None
    """The limit price that it stands at by the broker's word, or as this run wrote it."""
    step: int | None = None
    """Of its patience, as last acted upon in this run."""

    @property
    def ref(self) -> str:
        return self.intent["order_ref"]

    @property
    def view(self) -> OrderView:
        return fold(self.intent["quantity"], self.events)

    @property
    def limit_price(self) -> Decimal:
        """The last limit price that may have been written."""
        return self._limits()[-1][1]

    def limit_of(self, execution: Execution) -> Decimal:
        """The limit price that an execution was made at: the latest then that allows for it.

        The broker's clock has whole seconds and is not ours, so the time alone does not tell.
        """
        price, buys = execution.price, execution.side == "BUY"
        limits = self._limits()
        allows = [(at, limit) for at, limit in limits if (limit >= price) is buys or limit == price]
        before = [limit for at, limit in allows if at is None or at <= execution.executed_at]
        return (before or [limit for _, limit in allows] or [limits[-1][1]])[-1]

    def back_to_the_price_before(self, at: datetime, why: str) -> OrderEvent:
        """That the last new price is not in force after all."""
        before = self._limits()[-2:][0][1]
        details = {"limit_price": str(before), "text": f"back to {before}: {why}"}
        return OrderEvent(self.ref, Kind.REPRICING, at, details)

    def _limits(self) -> list[tuple[datetime | None, Decimal]]:
        return [
            (None, self.intent["limit_price"]),
            *(
                (event.occurred_at, Decimal(event.details["limit_price"]))
                for event in self.events
                if event.kind is Kind.REPRICING
            ),
        ]

    @property
    def finished(self) -> bool:
        """Whether the book is closed on it."""
        turns = [e.kind for e in self.events if e.kind in (Kind.FINISHED, Kind.REOPENED)]
        return bool(turns) and turns[-1] is Kind.FINISHED


class OrderBook:
    """Orders of a run by order_ref, with what is not yet in the ledger."""

    def __init__(self, ledger: Ledger, run_id: str):
        self.orders: dict[str, BookedOrder] = {}
        self.journalled: list[Mapping[str, Any]] = []
        """Rows that this run added to the fill journal, oldest first."""
        self.endings: list[State] = []
        """How orders ended on which this run closed the book, in that order."""
        self.amended = 0
        """Counts the commits that changed rows of the journal: late commissions, corrections."""
        self._ledger = ledger
        self._run_id = run_id
        self._unwritten: list[OrderEvent] = []
        self._executions: list[tuple[Execution, float | None]] = []
        self._commissions: dict[str, Decimal] = {}
        self._sent: list[Mapping[str, Any]] = []
        self._noted_at: float | None = None
        """When the oldest of what is not written was noted, by the process's own clock."""
        self._paid: dict[str, Decimal] = {}
        """Commissions in the rows that this run has written: the broker tells them again."""

    def load(self, session: date) -> None:
        """Take in the orders of a session and all that were left unfinished before."""
        with self._ledger.transaction() as tx:
            rows = orders.orders(tx, session=session) + orders.orders(tx, unfinished=True)
        for row in rows:
            events = [
                OrderEvent(row["order_ref"], Kind(e["event"]), e["occurred_at"], e["details"])
                for e in row.pop("events")
            ]
            self.orders.setdefault(row["order_ref"], BookedOrder(row, events))

    def open(
        self,
        intents: Sequence[Mapping[str, Any]],
        decisions: Sequence[Mapping[str, Any]],
        at: datetime,
    ) -> None:
        """Commit new intents as `pending`, with the gate's decisions. Nothing is sent before."""
        events = [OrderEvent(intent["order_ref"], Kind.PENDING, at) for intent in intents]
        with self._ledger.transaction() as tx:
            orders.insert_intents(tx, intents)
            orders.insert_risk_decisions(tx, decisions)
            orders.append_events(tx, [_row(event) for event in events])
        for intent, event in zip(intents, events, strict=True):
            self.orders[intent["order_ref"]] = BookedOrder(intent, [event])

    def note(self, events: Iterable[OrderEvent]) -> None:
        """Take in events; those that say nothing new are dropped, unknown orders are not ours."""
        for event in events:
            order = self.orders.get(event.order_ref)
            if order is None:
                continue
            for one in _told(order, event):
                if _is_news(order, one):
                    self._take(order, one)

    def note_executions(
        self, executions: Iterable[Execution], latency_ms: Mapping[str, float]
    ) -> None:
        """Executions for the journal, ours or not; latency by exec id where it was seen live."""
        self._executions += [(e, latency_ms.get(e.exec_id)) for e in executions]
        self._note_the_time(bool(self._executions))

    def note_commissions(self, commissions: Mapping[str, Decimal]) -> None:
        self._commissions.update(commissions)
        self._note_the_time(bool(commissions))

    def note_sent(self, sent: Sequence[Mapping[str, Any]]) -> None:
        """For the audit trail: orders (order_ref, order_id) that were written to the socket."""
        self._sent += sent
        self._note_the_time(bool(sent))

    @property
    def unsettled(self) -> bool:
        """Whether fills, or ends of orders, were noted that are not in the ledger yet."""
        return bool(self._executions or self._commissions) or any(
            order.view.final and not order.finished for order in self.orders.values()
        )

    def commit_in_time(self, session: date) -> None:
        """Write what was noted, if some of it was noted `WITHIN_S` ago or more.

        For what the broker said, which it can be asked for again. While steps follow each other
        faster, as with a clock that moves by waiting, they are written together.
        """
        if self._noted_at is not None and wall.monotonic() - self._noted_at >= WITHIN_S:
            self.commit(session)

    def commit(self, session: date, decisions: Sequence[Mapping[str, Any]] = ()) -> None:
        """Write everything noted in one transaction, and close the book on orders that are done.

        decisions: of the risk gate, written with it.
        """
        now_final = [o for o in self.orders.values() if o.view.final and not o.finished]
        for order in [o for o in self.orders.values() if o.finished and not o.view.final]:
            self._append(order, Kind.REOPENED, {"state": order.view.state.value})
        for order in now_final:
            view = order.view
            self._append(order, Kind.FINISHED, {"state": view.state.value, "filled": view.filled})
        if self._noted_at is None and not decisions:
            return
        with self._ledger.transaction() as tx:
            orders.insert_risk_decisions(tx, decisions)
            orders.append_events(tx, [_row(event) for event in self._unwritten])
            told = {
                row["exec_id"]: row
                for row in (self._journal_row(*one, session) for one in self._executions)
            }
            new = trades.record(tx, list(told.values()))
            by_key = {execution.key: execution for execution, _ in self._executions}
            # A new row has its commission already, if that has come.
            written = {by_key[key].exec_id for key in new}
            late = {
                exec_id: amount
                for exec_id, amount in self._commissions.items()
                if exec_id not in written and self._paid.get(exec_id) != amount
            }
            trades.set_commissions(tx, late)
            fills = [
                {
                    "exec_id": by_key[key].exec_id,
                    "order_ref": by_key[key].order_ref,
                    "symbol": by_key[key].symbol,
                    "side": by_key[key].side,
                    "quantity": by_key[key].quantity,
                    "price": str(by_key[key].price),
                }
                for key in new
            ]
            ended = [
                {"order_ref": order.ref, "state": order.view.state.value} for order in now_final
            ]
            audit.log_all(
                tx,
                [
                    *((AuditEvent.ORDER_SUBMITTED, one) for one in self._sent),
                    *((AuditEvent.FILL_RECORDED, one) for one in fills),
                    *((AuditEvent.ORDER_STATE_CHANGED, one) for one in ended),
                ],
                run_id=self._run_id,
            )
        self.journalled += [told[by_key[key].exec_id] for key in new]
        ours = {row["exec_id"] for row in self.journalled}
        self._paid |= {e: amount for e, amount in self._commissions.items() if e in ours}
        self.endings += [order.view.state for order in now_final]
        self.amended += bool(late) or any(by_key[key].correction > 1 for key in new)
        self._unwritten, self._executions, self._commissions, self._sent = [], [], {}, []
        self._noted_at = None

    def _journal_row(
        self, execution: Execution, latency_ms: float | None, session: date
    ) -> dict[str, Any]:
        row = journal_row(execution, self._intent_of(execution), session, latency_ms)
        if execution.exec_id in self._commissions:
            row["commission"] = self._commissions[execution.exec_id]
        return row

    def _append(self, order: BookedOrder, kind: Kind, details: Mapping[str, Any]) -> None:
        event = OrderEvent(order.ref, kind, order.events[-1].occurred_at, details)
        self._take(order, event)

    def _take(self, order: BookedOrder, event: OrderEvent) -> None:
        order.events.append(event)
        self._unwritten.append(event)
        self._note_the_time(True)

    def _note_the_time(self, something: bool) -> None:
        if something and self._noted_at is None:
            self._noted_at = wall.monotonic()

    def _intent_of(self, execution: Execution) -> Mapping[str, Any] | None:
        """The intent behind an execution, with the limit price that was in force then."""
        order = self.orders.get(execution.order_ref)
        if order is None:
            return None
        return {**order.intent, "limit_price": order.limit_of(execution)}


def _row(event: OrderEvent) -> tuple[str, str, Mapping[str, Any], datetime]:
    return event.order_ref, event.kind.value, event.details, event.occurred_at


def _told(order: BookedOrder, event: OrderEvent) -> tuple[OrderEvent, ...]:
    """The event as it is meant: an error about an order that was repriced and stands is about its
    new price. Whether the order itself was ended by it, the broker says with its status."""
    refused = event.kind is Kind.REJECTED and "code" in event.details
    repriced = any(e.kind is Kind.REPRICING for e in order.events)
    if not (refused and repriced and order.view.state is State.SUBMITTED):
        return (event,)
    back = order.back_to_the_price_before(event.occurred_at, str(event.details.get("text", "")))
    order.standing = Decimal(back.details["limit_price"])
    return replace(event, kind=Kind.NOTICE), back


def _is_news(order: BookedOrder, event: OrderEvent) -> bool:
    if event.kind is Kind.FILL:
        return not any(
            e.kind is Kind.FILL
            and e.details["exec_key"] == event.details["exec_key"]
            and e.details["correction"] >= event.details["correction"]
            for e in order.events
        )
    if event.kind is Kind.UNKNOWN:
        return not doubt_is_written(order.events)
    before, after = order.view, fold(order.intent["quantity"], [*order.events, event])
    if event.kind in (Kind.SUBMITTED, Kind.CANCELLED, Kind.REJECTED):
        # The broker repeats itself; what changes nothing is no news.
        return before.state is not after.state
    return event.kind is not Kind.NOTICE or before.reason != after.reason
