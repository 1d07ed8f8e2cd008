"""An order whose fate nobody knows, settled by a person: the evidence, and the word that is kept.

The desk asks the broker itself first, as every run does. What is still unknown then stays frozen
until somebody who has looked elsewhere (TWS, a statement, the broker's desk) says what came of it.
Who, when and why are written into the order's own events and into the audit trail.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from hydra_pipelines.day.trading import at_work
from hydra_pipelines.desk import Desk
from hydra_pipelines.execution.broker.messages import Execution, WorkingOrder
from hydra_pipelines.execution.broker.order_state import (
    Kind,
    OrderEvent,
    OrderView,
    State,
    heard_of,
)
from hydra_pipelines.execution.orders.reconcile import positions_of
from hydra_pipelines.ledger import audit, orders, trades
from hydra_pipelines.ledger.audit import AuditEvent
from hydra_pipelines.sessions import NEW_YORK

if TYPE_CHECKING:
    from hydra_pipelines.execution.broker.messages import BrokerState
    from hydra_pipelines.execution.orders.book import BookedOrder
    from hydra_pipelines.execution.orders.manager import OrderManager


class NotResolvable(ValueError):
    """This order can't be settled by hand, or not like this; the message says why."""


class Fate(StrEnum):
    NEVER_ARRIVED = "never_arrived"
    """The broker never took it."""
    ENDED = "ended"
    """It ended without shares beyond those in the journal."""
    FILLED = "filled"
    """It filled shares that the broker's executions no longer tell of."""


@dataclass(frozen=True)
class Outcome:
    """What a person says of an order.

    filled: shares in all, those in the journal included; price: USD a share, of those that are
    not; commission: USD, of the same, None where it isn't known. All for `Fate.FILLED` alone.
    """

    fate: Fate
    reason: str
    filled: int | None = None
    price: Decimal | None = None
    commission: Decimal | None = None


@dataclass(frozen=True)
class Evidence:
    """What is known of an order, by us and by the broker.

    executions: those of the order that the broker tells. same_day: whether its executions are
    still those of the order's day, so that a fill would be among them. position_broker,
    position_journal: shares of the symbol, signed.
    """

    intent: Mapping[str, Any]
    events: tuple[OrderEvent, ...]
    view: OrderView
    open_order: WorkingOrder | None
    completed_order: WorkingOrder | None
    executions: tuple[Execution, ...]
    same_day: bool
    position_broker: int
    position_journal: int

    @property
    def unexplained(self) -> int:
        """Shares that the broker holds and no fill of the journal explains; signed."""
        return self.position_broker - self.position_journal

    @property
    def settled(self) -> bool:
        """Whether there is nothing to resolve, perhaps since the broker has told by now."""
        return self.view.state is not State.UNKNOWN

    @property
    def heard_of(self) -> bool:
        """Whether the broker ever acknowledged the order."""
        return heard_of(self.events)


@dataclass(frozen=True)
class Resolution:
    """after: what is known of the order from here on. unexplained: shares that still differ."""

    after: OrderView
    unexplained: int


def look(desk: Desk, order_ref: str, run_id: str) -> Evidence:
    """All that is known of an order, once the broker was asked about it again.

    Raises NotResolvable where there is no such order, BrokerError and StateUnknown where the broker
    can't tell what it holds: then nothing can be compared, and nothing is settled.
    """
    with _order(desk, order_ref, run_id) as (manager, order):
        return _gather(desk, manager, order)


def resolve(desk: Desk, seen: Evidence, outcome: Outcome, actor: str, run_id: str) -> Resolution:
    """Write down what a person says of an order after having `seen` its evidence.

    Raises NotResolvable where the evidence speaks against it, or is another by now.
    """
    ref, intent = seen.intent["order_ref"], seen.intent
    with _order(desk, ref, run_id) as (manager, order):
        evidence = _gather(desk, manager, order)
        if evidence != seen:
            raise NotResolvable(f"the broker tells something else of {ref} by now: look again")
        check(evidence, outcome)
        book, now = manager.book, desk.clock.now()
        by = {"manual": True, "by": actor, "text": f"{actor}: {outcome.reason}"}
        execution = None
        if outcome.fate is Fate.FILLED:
            execution = manual_execution(evidence, outcome)
            book.note_executions([execution], {})
            book.note([_fill(execution, now, by)])
        if outcome.fate is Fate.NEVER_ARRIVED:
            book.note([OrderEvent(ref, Kind.NEVER_ARRIVED, now, by)])
        elif not order.view.final:
            # Whatever number of shares the broker told of when it ended.
            filled = {"filled": book.orders[ref].view.filled}
            book.note([OrderEvent(ref, Kind.CANCELLED, now, {**by, **filled})])
        book.commit(intent["execution_session"])
        with desk.ledger.transaction() as tx:
            audit.log(
                tx,
                AuditEvent.MANUAL_ACTION,
                {
                    "action": "order_resolved",
                    "order_ref": ref,
                    "outcome": outcome.fate.value,
                    "why": outcome.reason,
                    "filled": order.view.filled,
                    "exec_id": execution.exec_id if execution else None,
                    "position_broker": evidence.position_broker,
                    "position_journal": evidence.position_journal,
                },
                actor=actor,
                run_id=run_id,
            )
        explained = _signed(intent, execution.quantity) if execution else 0
        return Resolution(order.view, evidence.unexplained - explained)


@contextmanager
def _order(desk: Desk, ref: str, run_id: str) -> Iterator[tuple[OrderManager, BookedOrder]]:
    """The order under the execution lock, brought up to date with the broker."""
    if not desk.ledger.path.exists():
        raise NotResolvable("there are no orders yet")
    with desk.ledger.transaction() as tx:
        session = orders.session_of(tx, ref)
        doubtful = orders.unknown(tx)
    if session is None:
        hint = f"unknown are {', '.join(doubtful)}" if doubtful else "no order is unknown"
        raise NotResolvable(f"there is no order {ref}; {hint}")
    with at_work(desk, run_id) as manager:
        manager.book.load(session)
        order = manager.book.orders[ref]
        if not order.view.final:
            manager.reconcile(order.intent["execution_session"])
        yield manager, order


def _gather(desk: Desk, manager: OrderManager, order: BookedOrder) -> Evidence:
    from hydra_pipelines.execution.broker.messages import Unknown
    from hydra_pipelines.execution.orders.manager import StateUnknown

    reply = manager.broker.state()
    if isinstance(reply, Unknown):
        raise StateUnknown(f"the broker can't say what it holds ({reply.reason}): try again later")
    state: BrokerState = reply.value
    with desk.ledger.transaction() as tx:
        journal = positions_of(trades.fills(tx, manager.broker.account_id))
    intent, symbol = order.intent, order.intent["symbol"]
    # A gateway tells the executions of its own day, which begins at midnight in New York.
    today = desk.clock.now().astimezone(NEW_YORK).date()
    return Evidence(
        intent=intent,
        events=tuple(order.events),
        view=order.view,
        open_order=_of(order, state.open_orders),
        completed_order=_of(order, state.completed_orders),
        executions=tuple(e for e in state.executions if e.order_ref == order.ref),
        same_day=today == intent["execution_session"],
        position_broker=state.held.get(symbol, 0),
        position_journal=journal.get(symbol, 0),
    )


def check(evidence: Evidence, outcome: Outcome) -> None:
    """Refuse what the evidence contradicts. Pure; raises NotResolvable."""
    view, intent = evidence.view, evidence.intent
    ref, quantity = intent["order_ref"], intent["quantity"]
    if view.state is not State.UNKNOWN:
        raise NotResolvable(f"{ref} is {view.state}: there is nothing to resolve")
    if not outcome.reason.strip():
        raise NotResolvable("a reason is needed: how do you know?")
    if evidence.open_order is not None:
        raise NotResolvable(f"{ref} is open at the broker: cancel it there, or with `hydra halt`")
    if outcome.fate is not Fate.FILLED:
        if (
            outcome.filled is not None
            or outcome.price is not None
            or outcome.commission is not None
        ):
            raise NotResolvable("shares, price and commission belong to the outcome `filled`")
        if outcome.fate is Fate.NEVER_ARRIVED and evidence.heard_of:
            raise NotResolvable(
                f"the broker has acknowledged {ref}, so it did arrive: say that it ended, or filled"
            )
        return
    if outcome.filled is None or outcome.price is None:
        raise NotResolvable("say how many shares it filled in all, and the price of the new ones")
    if not (outcome.price.is_finite() and outcome.price > 0):
        raise NotResolvable(f"a price of {outcome.price} can't be")
    if outcome.commission is not None and not (
        outcome.commission.is_finite() and outcome.commission >= 0
    ):
        raise NotResolvable(f"a commission of {outcome.commission} can't be")
    if not view.filled < outcome.filled <= quantity:
        raise NotResolvable(
            f"{ref} is over {quantity} shares and {view.filled} are in the journal: it can have "
            f"filled {view.filled + 1} to {quantity} in all, not {outcome.filled}"
        )
    if evidence.same_day:
        raise NotResolvable(
            f"the broker still tells the executions of {intent['execution_session']}, and has none "
            f"of {ref} beyond the journal's: what it says of fills is taken over by itself"
        )
    left = evidence.unexplained - _signed(intent, outcome.filled - view.filled)
    if abs(left) > abs(evidence.unexplained):
        raise NotResolvable(
            f"the broker holds {evidence.position_broker} {intent['symbol']} and the journal "
            f"{evidence.position_journal}: with this fill they would differ by {abs(left)} shares, "
            f"not by {abs(evidence.unexplained)}"
        )


def manual_execution(evidence: Evidence, outcome: Outcome) -> Execution:
    """The shares that a person vouches for, under an id that no broker gives.

    Their time is not known: that of the last event before the doubt stands for it.
    """
    assert outcome.filled is not None and outcome.price is not None
    intent, events = evidence.intent, evidence.events
    certain = [e.occurred_at for e in events if e.kind is not Kind.UNKNOWN]
    return Execution(
        exec_id=f"manual.{intent['order_ref']}.{evidence.view.filled}.01",
        order_ref=intent["order_ref"],
        order_id=intent["order_id"],
        perm_id=max((e.details.get("perm_id", 0) for e in events), default=0),
        account=intent["account"],
        symbol=intent["symbol"],
        side=intent["side"],
        quantity=outcome.filled - evidence.view.filled,
        price=outcome.price,
        executed_at=max(certain),
        client_id=0,
        commission=outcome.commission,
    )


def _fill(execution: Execution, at: datetime, by: Mapping[str, Any]) -> OrderEvent:
    details = {
        "exec_key": execution.key,
        "correction": execution.correction,
        "quantity": execution.quantity,
        "price": str(execution.price),
        "perm_id": execution.perm_id,
    }
    return OrderEvent(execution.order_ref, Kind.FILL, at, {**details, **by})


def _of(order: BookedOrder, rows: Sequence[WorkingOrder]) -> WorkingOrder | None:
    perm_ids = {e.details.get("perm_id", 0) for e in order.events} - {0}
    return next(
        (r for r in rows if (r.order_ref == order.ref if r.order_ref else r.perm_id in perm_ids)),
        None,
    )


def _signed(intent: Mapping[str, Any], shares: int) -> int:
    return shares if intent["side"] == "BUY" else -shares
