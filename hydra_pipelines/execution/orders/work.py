"""What is to be done next for one row of a plan: send, reprice, cancel, wait, or nothing more.

Pure: a function of the row's orders so far and the time. A run that takes over from a dead one
asks the same question of the same orders, and goes on where that one was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from hydra_pipelines.execution.broker.order_state import State
from hydra_pipelines.execution.orders.patience import Patience
from hydra_pipelines.execution.orders.routing import Algo
from hydra_pipelines.execution.orders.twap import Twap

NEVER_THERE = frozenset({State.NEVER_SENT, State.NEVER_ARRIVED})
"""Only what was proven never to have reached the broker is tried again."""


@dataclass(frozen=True)
class Child:
    """One order of the row. decided_at: when it was decided."""

    ref: str
    slice: int
    quantity: int
    filled: int
    state: State
    decided_at: datetime


@dataclass(frozen=True)
class Terms:
    """How the row is worked. start: when that began; its slices are counted from there. deadline:
    nothing of it works any longer than that. opens: when the row may be worked in the open market;
    the time of an order decided before that, which rested for the open, is counted from there."""

    algo: Algo
    wanted: int
    adv: float | None
    start: datetime
    deadline: datetime
    work: timedelta
    patience: Patience
    twap: Twap
    opens: datetime


@dataclass(frozen=True)
class Send:
    """A new order. patient: worked with limit-patience, else a marketable limit."""

    quantity: int
    slice: int
    patient: bool


@dataclass(frozen=True)
class Stay:
    """The order works on: at the price of `step` (None: any), and asked about again at `until`."""

    ref: str
    step: int | None
    until: datetime


@dataclass(frozen=True)
class Cancel:
    ref: str


@dataclass(frozen=True)
class Wait:
    until: datetime


@dataclass(frozen=True)
class Finished:
    """Nothing more is to be done. frozen: because an order of the row is in doubt."""

    frozen: bool = False


Step = Send | Stay | Cancel | Wait | Finished


def next_step(terms: Terms, children: Sequence[Child], now: datetime) -> Step:
    """What to do now. children: every order of the row, oldest first."""
    if any(child.state is State.UNKNOWN for child in children):
        return Finished(frozen=True)
    there = [child for child in children if child.state not in NEVER_THERE]
    active = [c for c in there if c.state in (State.PENDING, State.SENDING, State.SUBMITTED)]
    if active:
        return _stay(terms, active[0], now)
    if now >= terms.deadline:
        return Finished()
    if terms.algo is not Algo.TWAP:
        return Finished() if there else Send(terms.wanted, 0, terms.algo is Algo.LIMIT_PATIENCE)
    return _next_slice(terms, there, now)


def to_rest(terms: Terms, children: Sequence[Child]) -> Send | None:
    """The order of a row that is sent before the open, to rest for it; None where there is none.

    It is the row's only order, as one sent in the open market would be: `next_step` works on with
    it. Slices of a TWAP belong in the open market.
    """
    if terms.algo is Algo.TWAP or any(child.state not in NEVER_THERE for child in children):
        return None
    return Send(terms.wanted, 0, patient=False)


def _stay(terms: Terms, child: Child, now: datetime) -> Stay | Cancel:
    began = max(child.decided_at, terms.opens)
    end = min(began + terms.work, terms.deadline)
    patience = terms.patience
    if terms.algo is Algo.TWAP:
        end = min(end, terms.twap.ends(child.slice, terms.start, terms.deadline))
    if now >= end:
        return Cancel(child.ref)
    if terms.algo is Algo.MARKETABLE_LIMIT:
        # One that rested was priced without a quote: it goes to the far touch, like a last step.
        return Stay(child.ref, patience.steps if began > child.decided_at else None, end)
    if terms.algo is Algo.TWAP:
        patience = patience.within(end - began)
    elapsed = now - began
    due = patience.next_step(elapsed)
    until = end if due is None else min(end, began + due)
    return Stay(child.ref, patience.step_at(elapsed), until)


def _next_slice(terms: Terms, there: Sequence[Child], now: datetime) -> Send | Wait | Finished:
    left = terms.wanted - sum(child.filled for child in there)
    number = terms.twap.slice_at(terms.start, terms.deadline, now)
    if left <= 0 or number is None:
        return Finished()
    ends = terms.twap.ends(number, terms.start, terms.deadline)
    taken = any(child.slice >= number for child in there)
    interval = terms.twap.interval(terms.start, terms.deadline)
    quantity = 0 if taken else terms.twap.quantity(number, left, terms.adv, interval)
    if quantity:
        return Send(quantity, number, patient=True)
    return Finished() if number == terms.twap.slices else Wait(ends)
