"""Evenings of a workshop: runs that can't wait for the open, as at IBKR."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any

from hydra_pipelines.execution.orders.manager import OrderManager
from hydra_pipelines.execution.orders.outcome import ExecutionReport
from hydra_pipelines.sessions import at_new_york
from hydra_pipelines_tests.execution.orders.workshop import SESSION, Shop


@contextmanager
def real_time(shop: Shop, **work: Any) -> Iterator[OrderManager]:
    """A run by a clock that goes by itself: the evening and the morning are two."""
    with shop.broker() as broker:
        manager = shop.manager(broker, "run", send="evening", **work)
        manager.clock.moves_by_waiting = False
        yield manager


def evening(shop: Shop, session: date = SESSION, **work: Any) -> ExecutionReport:
    """The run that sends a session's orders to rest for the open of the next."""
    shop.clock.wait_until(at_new_york(session, 18, 35))
    with real_time(shop, **work) as manager:
        return manager.execute(session, shop.market())
