"""One run of the desk in a process of its own: what the fork server's children do.

The run is the desk's own, put together as `day.trading` does: execution lock, ledger, broker, order
manager, and at the end the snapshot. The request says over which home and venue, where to die, and
which layer of safety to take out, to see that it is needed.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from datetime import date, time
from functools import cache
from pathlib import Path
from typing import Any

from hydra_pipelines.control import Control
from hydra_pipelines.execution.broker.gateway import Endpoint
from hydra_pipelines.execution.broker.messages import BrokerError
from hydra_pipelines.execution.broker.order_state import State
from hydra_pipelines.execution.orders import manager
from hydra_pipelines.execution.orders.book import BookedOrder
from hydra_pipelines.execution.orders.manager import OrderManager, WindowPassed
from hydra_pipelines.execution.orders.outcome import ExecutionReport
from hydra_pipelines.execution.risk import checks
from hydra_pipelines.ledger.store import Ledger, LedgerBusy, exclusive
from hydra_pipelines.paper_gateway.control import GatewayControl, VenueClock
from hydra_pipelines.paper_gateway.process import Endpoint as VenueEndpoint
from hydra_pipelines.sessions import Calendar
from hydra_pipelines_tests.execution.orders.workshop import Shop
from hydra_pipelines_tests.scenarios.crashes.boundaries import Boundaries, Kill

TIMEOUT_S = 0.6
"""For replies: the venue is on this machine, and what it answers at all it answers at once."""


@cache
def calendar(folder: Path) -> Calendar:
    """Read once; a fork has it from the process before."""
    return Calendar.load("XNYS", folder)


class TradingShop(Shop):
    """The workshop's desk over a home and a venue that are there."""

    def __init__(self, home: Path, venue: VenueEndpoint, lock_timeout_s: float = 10):
        self.home = home
        self.calendar = calendar(home.parent / "calendar")
        self.venue = venue
        self.ledger = Ledger(home / "desk.duckdb", lock_timeout_s)
        self.control = Control(home / "control.sqlite")
        self.clock = VenueClock(venue)
        self.gateway = GatewayControl(venue)

    def endpoint(self, **changes: Any) -> Endpoint:
        near = {"request_timeout_s": TIMEOUT_S, "connect_timeout_s": TIMEOUT_S, "paced": False}
        return super().endpoint(**{**near, **changes})

    def execute(
        self,
        session: date,
        run_id: str,
        *,
        one_connection: bool,
        lock_timeout_s: float,
        **terms: Any,
    ) -> ExecutionReport:
        """A whole run, published.

        one_connection: keep the ledger open all through, as with the embedded venue; else it is
        opened for each transaction, as with IBKR.
        """
        lock = self.home / "execution.lock"
        with exclusive(lock, lock_timeout_s, "the execution of orders"):
            try:
                open_ledger = self.ledger.session() if one_connection else nullcontext()
                with open_ledger, self.broker() as broker:
                    return self.manager(broker, run_id, **terms).execute(session, self.market())
            finally:
                self.ledger.publish()


def trade(request: Mapping[str, Any]) -> dict[str, Any]:
    """A run as requested. Hands back `report`, or `stopped`: the error that ended it, one of those
    that a run may end with; and `passed`: the boundaries, where none was to die at."""
    logging.disable(logging.CRITICAL)
    kill = Kill(**request["kill"]) if request.get("kill") else None
    boundaries = Boundaries(kill)
    boundaries.install()
    WITHOUT[request.get("without", "")](request["run_id"])
    shop = TradingShop(Path(request["home"]), VenueEndpoint(**request["venue"]))
    terms = {**request["work"], "start": time.fromisoformat(request["work"]["start"])}
    out: dict[str, Any] = {}
    try:
        report = shop.execute(
            date.fromisoformat(request["session"]),
            request["run_id"],
            one_connection=request.get("one_connection", True),
            lock_timeout_s=request.get("lock_timeout_s", 10),
            **terms,
        )
        out["report"] = dataclasses.asdict(report)
    except (BrokerError, WindowPassed, LedgerBusy) as error:
        out["stopped"] = type(error).__name__
        out["why"] = str(error)
    if request.get("tell"):
        out["passed"] = boundaries.passed
    return out


# Safety taken out.


def _without_reconciliation(_: str) -> None:
    OrderManager.reconcile = lambda *_: None  # type: ignore[assignment, method-assign]


def _without_deduplication(run_id: str) -> None:
    """An order that ended in an earlier run counts as one that never arrived."""

    def forgotten(order: BookedOrder) -> bool:
        return order.intent["run_id"] != run_id and order.view.final

    there, child = manager._there, manager._child
    manager._there = lambda orders: [o for o in there(orders) if not forgotten(o)]
    manager._child = lambda order: (
        dataclasses.replace(child(order), state=State.NEVER_ARRIVED)
        if forgotten(order)
        else child(order)
    )


def _without_memory(_: str) -> None:
    """What a row has sent before is not looked at."""
    OrderManager.orders_of = lambda *_: []  # type: ignore[assignment, method-assign]


def _without_overshoot_check(_: str) -> None:
    checks.overshoots = lambda *_: []


WITHOUT: Mapping[str, Callable[[str], None]] = {
    "": lambda _: None,
    "reconciliation": _without_reconciliation,
    "de-duplication": _without_deduplication,
    "memory of the row": _without_memory,
    "overshoot check": _without_overshoot_check,
}
"""Layers of safety by name, each with what takes it out of this process, given the run's id."""
