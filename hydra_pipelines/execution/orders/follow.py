"""Following orders that work: take in what the broker says, cancel what has had its time.

Which orders to send is the manager's business; what an event means is order_state's.
"""

from __future__ import annotations

import time as wall
from collections.abc import Callable, Sequence
from datetime import date, timedelta

from hydra_pipelines.execution.broker.gateway import BrokerGateway
from hydra_pipelines.execution.broker.messages import BrokerError, NotSubmitted
from hydra_pipelines.execution.broker.order_state import Kind, OrderEvent
from hydra_pipelines.execution.orders.book import BookedOrder, OrderBook
from hydra_pipelines.sessions import Clock

CLOSE_MARGIN = timedelta(minutes=1)
"""Nothing works in the last minute, so that cancellations are confirmed before the close."""


class Follower:
    """Follows the orders of one book over one broker connection."""

    def __init__(
        self,
        broker: BrokerGateway,
        book: OrderBook,
        clock: Clock,
        note: Callable[[str], None],
        reconcile: Callable[[date], None],
    ):
        """reconcile: brings the book up to date with the broker, for an execution session."""
        self._broker = broker
        self._book = book
        self._clock = clock
        self._note = note
        self._reconcile = reconcile

    def cancel(self, active: Sequence[BookedOrder], execution_session: date) -> None:
        """Have orders cancelled and wait for the broker's word on each.

        One that gives none is unknown from here on, unless reconciliation finds what became of it.
        """
        now = self._clock.now()
        self._book.note(OrderEvent(o.ref, Kind.CANCEL_REQUESTED, now) for o in active)
        self._book.commit(execution_session)
        text = "the broker did not confirm the cancellation"
        try:
            for order in active:
                self._broker.cancel(order.intent["order_id"])
        except NotSubmitted as error:
            text = f"not cancelled: {error}"
        else:
            patience = wall.monotonic() + self._broker.endpoint.request_timeout_s
            while wall.monotonic() < patience:
                self.collect(execution_session)
                if all(order.view.final for order in active):
                    self._book.commit(execution_session)
                    return
                wall.sleep(0.05)
        left = [order for order in active if not order.view.final]
        self._book.note(OrderEvent(o.ref, Kind.UNKNOWN, now, {"text": text}) for o in left)
        self._book.commit(execution_session)
        self._reconcile(execution_session)
        for order in left:
            if not order.view.final:
                self._note(f"{order.intent['symbol']}: {order.ref}: {text}")

    def collect(self, execution_session: date) -> None:
        """Take in everything that the broker has written up to now.

        Raises BrokerError where the connection has ended. While the gateway has lost IB's servers
        there is nothing to be had, and once it has them again the book is reconciled.
        """
        self._broker.broker_time()
        now, instant = self._clock.now(), wall.perf_counter()
        happened = self._broker.happenings(now)
        latency = {}
        for execution in happened.executions:
            order = self._book.orders.get(execution.order_ref)
            if order is not None and order.sent_at and order.sent_monotonic:
                # Desk time stands still between steps of the embedded venue: take the longer.
                desk = (now - order.sent_at).total_seconds()
                latency[execution.exec_id] = 1000 * max(desk, instant - order.sent_monotonic)
        self._book.note(happened.events)
        self._book.note_executions(happened.executions, latency)
        self._book.note_commissions(
            {exec_id: report.commission for exec_id, report in happened.commissions.items()}
        )
        self._book.commit_in_time(execution_session)
        if happened.closed:
            self._book.commit(execution_session)
            raise BrokerError(
                "the broker closed the connection while orders work: run the session again, it "
                "reconciles before it goes on"
            )
        if self._broker.doubt and not self._broker.outage:
            # IB's servers were lost and are back: what happened in between is asked for first.
            self._reconcile(execution_session)
