"""The boundaries of a trading process, and dying at one of them.

Installed once in a process that is going to trade: it wraps the places where something becomes true
outside of the process (a commit, a file put in place, bytes on the socket, a lock, venue time that
has passed) or is learnt from outside (replies, acknowledgements, fills), whoever calls them. Each
passage counts as a boundary of its kind, so that a quiet run enumerates all of them, and a later
one can be killed at any. Which are worth it, and what must be true after, is not decided here.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ib_insync import Client

from hydra_pipelines.execution.broker.client import TwsClient
from hydra_pipelines.execution.broker.gateway import BrokerGateway
from hydra_pipelines.execution.orders.manager import OrderManager
from hydra_pipelines.ledger import engines, locks, store
from hydra_pipelines.ledger.store import Ledger
from hydra_pipelines.paper_gateway.control import VenueClock

STATEMENTS = {
    "COMMIT": "ledger commit",
    "ATTACH": "snapshot file",
    "COPY FROM DATABASE": "snapshot copy",
    "DETACH": "snapshot flush",
}
"""First words of the ledger's statements that are boundaries."""
REPLIES = (
    "open_orders", "completed_orders", "executions", "positions", "account", "quotes", "contract",
)  # fmt: skip
KINDS = (
    "lock", "ledger open", "ledger commit", "ledger close", "connection", "reconciliation",
    "reply in reconciliation", "other reply", "order write", "change write", "cancel write",
    "news taken in", "clock wait", "snapshot file", "snapshot copy", "snapshot flush",
    "snapshot replace",
)  # fmt: skip
"""In the order of a day; each with a side before and a side after it."""


@dataclass(frozen=True)
class Kill:
    """Where to die: at the nth boundary of a kind and side, or at the nth of all (kind '')."""

    kind: str
    nth: int
    side: str = ""

    @property
    def name(self) -> str:
        return (
            f"{self.side} {self.kind} {self.nth}".strip() if self.kind else f"boundary {self.nth}"
        )


class Boundaries:
    """Counts the boundaries of this process; dies at the one that is chosen."""

    def __init__(self, kill: Kill | None) -> None:
        self.passed: list[tuple[str, str]] = []
        """(kind, side) of each boundary, in their order."""
        self._kill = kill
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._reconciling = 0
        self._changing = 0

    def reach(self, kind: str, side: str) -> None:
        assert kind in KINDS, kind
        with self._lock:
            self.passed.append((kind, side))
            self._counts[kind, side] += 1
            kill = self._kill
            if kill is None:
                return
            here = (kind, side) == (kill.kind, kill.side) if kill.kind else True
            count = self._counts[kind, side] if kill.kind else len(self.passed)
            if here and count == kill.nth:
                os.kill(os.getpid(), signal.SIGKILL)

    @contextmanager
    def at(self, kind: str) -> Iterator[None]:
        """Both sides of a boundary; what fails in between has no other side."""
        self.reach(kind, "before")
        yield
        self.reach(kind, "after")

    def install(self) -> None:
        """Wrap the boundaries of this process, for good."""
        self._around(Client, "cancelOrder", lambda *_: "cancel write")
        self._around(Client, "reqGlobalCancel", lambda *_: "cancel write")
        self._around(Client, "placeOrder", self._kind_of_write)
        self._watch("_changing", BrokerGateway, "modify")
        self._around(VenueClock, "wait_until", lambda *_: "clock wait")
        self._around(BrokerGateway, "connect", lambda *_: "connection")
        # The ledger's own lock, and all others.
        self._around(store, "acquire", lambda *_: "lock")
        self._around(locks, "acquire", lambda *_: "lock")
        for name in REPLIES:
            self._around(TwsClient, name, self._kind_of_reply)
        self._around(OrderManager, "reconcile", lambda *_: "reconciliation")
        self._watch("_reconciling", OrderManager, "reconcile")
        self._watch_news()
        self._watch_ledger()

    def _around(self, owner: Any, name: str, kind: Callable[..., str]) -> None:
        real = getattr(owner, name)

        def passing(*args: Any, **kwargs: Any) -> Any:
            with self.at(kind(*args)):
                return real(*args, **kwargs)

        setattr(owner, name, passing)

    def _kind_of_reply(self, *_: Any) -> str:
        return "reply in reconciliation" if self._reconciling else "other reply"

    def _kind_of_write(self, *_: Any) -> str:
        return "change write" if self._changing else "order write"

    def _watch(self, flag: str, owner: type, name: str) -> None:
        """Note in `flag` how deep in a method the process is."""
        real = getattr(owner, name)

        def watched(*args: Any, **kwargs: Any) -> Any:
            setattr(self, flag, getattr(self, flag) + 1)
            try:
                return real(*args, **kwargs)
            finally:
                setattr(self, flag, getattr(self, flag) - 1)

        setattr(owner, name, watched)

    def _watch_news(self) -> None:
        """Acknowledgements and fills; a look that finds nothing is no boundary."""
        real = BrokerGateway.happenings

        def happenings(gateway: BrokerGateway, at: Any) -> Any:
            if not gateway._client._events:
                return real(gateway, at)
            with self.at("news taken in"):
                return real(gateway, at)

        BrokerGateway.happenings = happenings  # type: ignore[method-assign]

    def _watch_ledger(self) -> None:
        real_open, real_detach, real_replace = Ledger._open, engines.detach, os.replace

        def opened(ledger: Ledger) -> Any:
            with self.at("ledger open"):
                return _Connection(real_open(ledger), self)

        def detached(connection: Any) -> None:
            # Checkpoints: what the log holds goes into the file. The engine itself is used again.
            with self.at("ledger close"):
                real_detach(connection._real)

        def replace(source: Any, target: Any, **kwargs: Any) -> None:
            if not str(target).endswith(".snapshot.duckdb"):
                real_replace(source, target, **kwargs)
                return
            with self.at("snapshot replace"):
                real_replace(source, target, **kwargs)

        Ledger._open = opened  # type: ignore[method-assign]
        engines.detach = detached
        os.replace = replace


class _Connection:
    """A connection to the ledger, whose statements that change files are boundaries."""

    def __init__(self, real: Any, boundaries: Boundaries) -> None:
        self._real = real
        self._boundaries = boundaries

    def execute(self, statement: Any, *parameters: Any) -> Any:
        text = statement if isinstance(statement, str) else statement.query
        for start, kind in STATEMENTS.items():
            if text.startswith(start):
                with self._boundaries.at(kind):
                    return self._real.execute(statement, *parameters)
        return self._real.execute(statement, *parameters)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)
