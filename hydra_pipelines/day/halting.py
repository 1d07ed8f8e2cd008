"""Stopping the desk's orders, once the kill switch is on, and what it takes to trade again.

Every order at the broker is cancelled over a connection of its own. That works while a run holds
the ledger and the desk's connection, while the gateway is slow, and while everything else is down.
Each part stands for itself: what can't be done is said, and the rest is done. Trading again is a
step of its own, `resume`.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hydra_pipelines.control import Control, ControlError, ControlEvent, JournalEntry
from hydra_pipelines.settings import Settings

if TYPE_CHECKING:
    from hydra_pipelines.control import TrippedBreaker
    from hydra_pipelines.execution.broker.client import TwsClient
    from hydra_pipelines.execution.broker.messages import WorkingOrder

CLIENT_IDS_ABOVE = (9000, 9001, 9002)
"""Added to the desk's client id, whose connection may be in use; the first that is free is taken.
Never 0, which is the id of whoever adopts orders placed by hand."""
CONNECT_S, REPLY_S, AGAIN_S, VERIFY_S = 4.0, 2.0, 1.0, 8.0
"""For the connection, for each reply, between cancellations, and for all of them to be confirmed.

A healthy gateway needs a fraction of that; together they bound a halt to some 15 s."""
VENUE_FILE = "gateway.json"
"""Where the embedded venue says how to reach it; named here, since its code takes long to load."""
LEDGER_S = 0.5
"""How long a halt waits for the ledger before it leaves the record to the next run."""


@dataclass(frozen=True)
class Cancellation:
    """What became of the orders at the broker.

    reached: whether the gateway answered; False also where nothing runs that could have orders.
    open_before: how many were open, None where the gateway did not say. still_open: those that
    are open at the end, None where that is not known. problem: why it isn't known that none works.
    """

    reached: bool
    open_before: int | None
    still_open: tuple[WorkingOrder, ...] | None
    problem: str | None

    @property
    def certain(self) -> bool:
        """Whether no order works any more, for certain."""
        return self.problem is None

    @property
    def sentence(self) -> str:
        if self.problem is not None:
            return f"{self.problem}: orders may still work at the broker; cancel them in TWS"
        if not self.reached:
            return "The embedded venue is not running, so no order works"
        if self.open_before is None:
            return "No order is open at the broker now; how many were, it did not say in time"
        if self.open_before == 0:
            return "No order was open at the broker"
        return f"{self.open_before} orders were open at the broker; all are ended"


def cancel_everything(settings: Settings) -> Cancellation:
    """Cancel every order of every client (a global cancel) and ask until none is open.

    Bounded in time, whatever the gateway does. Starts no venue.
    """
    from hydra_pipelines.execution.broker.messages import BrokerError

    where = venue_address(settings)
    if where is None:
        return Cancellation(False, 0, (), None)
    try:
        client = _connected(settings, *where)
    except BrokerError as error:
        return Cancellation(False, None, None, str(error))
    try:
        return cancel_open_orders(client)
    except BrokerError as error:
        return Cancellation(True, None, None, str(error))
    finally:
        client.close()


def cancel_open_orders(client: TwsClient) -> Cancellation:
    """The same over a connection that is there. Raises BrokerError where it ends."""
    from hydra_pipelines.execution.broker.messages import BrokerError

    def open_orders() -> tuple[WorkingOrder, ...] | None:
        try:
            return tuple(client.open_orders())
        except BrokerError:
            return None

    # Asked for a moment only: how many there are must not delay their end.
    before = open_orders()
    client.cancel_all()
    still = _until_none_is_open(client, open_orders)
    if still is None:
        problem = "the gateway did not say which orders are open"
    elif still:
        problem = f"{len(still)} orders are still open ({', '.join(map(_name, still))})"
    else:
        return Cancellation(True, None if before is None else len(before), (), None)
    if client.outage:
        problem += f", and it has lost IB's servers ({client.outage})"
    return Cancellation(True, None if before is None else len(before), still, problem)


def note_outcome(control: Control, done: Cancellation, actor: str) -> None:
    """What came of the cancellation, in the control store's journal. Raises ControlError."""
    still = done.still_open
    control.note(
        "orders_cancelled",
        actor,
        {
            "outcome": done.sentence,
            "open_before": done.open_before,
            "still_open": None if still is None else [_name(order) for order in still],
        },
    )


def record(settings: Settings, control: Control) -> bool:
    """Take the journal over into the audit trail now, if the ledger is to be had.

    False where it isn't: the next run does it. No ledger is made for this.
    """
    from hydra_pipelines.day.carrying import carry_over
    from hydra_pipelines.ledger.store import Ledger, LedgerError

    if not settings.ledger_path.exists():
        return False
    ledger = Ledger(settings.ledger_path, LEDGER_S)
    try:
        with ledger.session():
            with ledger.transaction() as tx:
                carry_over(control, tx)
            ledger.publish()
    except (LedgerError, ControlError, OSError):
        return False
    return True


def tell(settings: Settings, done: Cancellation, why: str, actor: str) -> None:
    """Tell whoever gets the desk's alerts. Never raises."""
    from hydra_pipelines.alerts import AlertKind, Alerts

    now = datetime.now(UTC)
    Alerts(settings.alerts, settings.control_path).send(
        AlertKind.BREAKER,
        f"halt {now.isoformat()}",
        "Trading is halted",
        f"{actor}: {why}. {done.sentence}.",
    )


@dataclass(frozen=True)
class Halted:
    """Why nothing is traded: the entry that halted (None where the journal has none), whether the
    switch is on, and the breakers that stay tripped."""

    on: bool
    by: JournalEntry | None
    agent_paused: bool
    breakers: tuple[TrippedBreaker, ...]


def halted(control: Control) -> Halted:
    """How the desk stands. Raises ControlError."""
    entry = control.last(ControlEvent.KILL_SWITCH_ON, ControlEvent.KILL_SWITCH_OFF)
    return Halted(
        on=control.kill_switch,
        by=entry if entry and entry.event == ControlEvent.KILL_SWITCH_ON else None,
        agent_paused=control.agent_paused,
        breakers=control.tripped(),
    )


def resume(control: Control, why: str, actor: str, *, agent: bool) -> None:
    """Turn the kill switch off; the agent goes on only where that is asked for. Breakers stay.

    Raises ControlError.
    """
    if control.kill_switch:
        control.set_kill_switch(False, why, actor)
    if agent and control.agent_paused:
        control.set_agent_paused(False, why, actor)


# inside


def venue_address(settings: Settings) -> tuple[str, int] | None:
    """Where the TWS socket is; None where the embedded venue does not run."""
    if settings.broker.venue != "embedded":
        return settings.broker.host, settings.broker.port
    try:
        # Its control port is not asked: it may hang, and the orders are behind the other.
        found = json.loads((settings.venue_path / VENUE_FILE).read_text())
        host, port, pid = str(found["host"]), int(found["port"]), int(found["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return (host, port) if _runs(pid) else None


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    # One that has ended and that nobody has waited for does not run either.
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True


def _connected(settings: Settings, host: str, port: int) -> TwsClient:
    from hydra_pipelines.execution.broker.client import TwsClient
    from hydra_pipelines.execution.broker.guard import PAPER
    from hydra_pipelines.execution.broker.messages import BrokerError

    if settings.mode != "live":
        # There it would be somebody else's orders: this desk sends nothing to a live venue.
        PAPER.check(host, port, "")
    for offset in CLIENT_IDS_ABOVE:
        client = TwsClient(REPLY_S, settings.broker.zone, paced=False)
        try:
            client.connect(host, port, settings.broker.client_id + offset, CONNECT_S)
        except BrokerError as error:
            if "is in use" in str(error) and offset != CLIENT_IDS_ABOVE[-1]:
                continue
            raise
        accounts = client.accounts
        if settings.mode != "live" and not all(a.startswith("D") for a in accounts):
            client.close()
            raise BrokerError(
                f"the gateway is logged in to {', '.join(accounts)}, not to a paper account, and "
                f"mode is {settings.mode}, so nothing was cancelled there"
            )
        return client
    raise AssertionError("the last client id either connects or raises")


def _until_none_is_open(
    client: TwsClient, open_orders: Callable[[], tuple[WorkingOrder, ...] | None]
) -> tuple[WorkingOrder, ...] | None:
    """The orders that are open at the end; None where the last answer is missing.

    Two empty answers in a row are asked for: one that comes late answers an earlier question, and
    an order may have been on its way when the cancellation went past it.
    """
    until = time.monotonic() + VERIFY_S
    again = time.monotonic() + AGAIN_S
    empty = 0
    while True:
        still = open_orders()
        empty = empty + 1 if still == () else 0
        if empty == 2 or time.monotonic() > until or not client.connected:
            return still
        if still and time.monotonic() > again:
            client.cancel_all()
            again = time.monotonic() + AGAIN_S
        time.sleep(0.1)


def _name(order: WorkingOrder) -> str:
    return order.order_ref or f"{order.side} {order.quantity} {order.symbol}, by hand"
