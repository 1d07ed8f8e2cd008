"""Connections that were lost at work, and found again: noted in the control store's journal.

Work is what the order manager does with a connection. A run that ends in good order, with the books
reconciled, has survived what was lost before it or in the middle of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hydra_pipelines.control import ControlError
from hydra_pipelines.desk import Desk
from hydra_pipelines.execution.broker.guard import GuardRefused
from hydra_pipelines.execution.broker.messages import BrokerError
from hydra_pipelines.ledger.audit import AuditEvent

if TYPE_CHECKING:
    from hydra_pipelines.execution.broker.gateway import BrokerGateway

LOST, RESTORED = AuditEvent.CONNECTION_LOST.value, AuditEvent.CONNECTION_RESTORED.value


class ConnectionWatch:
    """Two blocks, one in the other: `connecting` around the whole, `at_work` where there is one."""

    def __init__(self, desk: Desk):
        self._desk = desk
        self._lost = True
        """Until there is a connection, an error says that there is none."""

    @contextmanager
    def connecting(self) -> Iterator[ConnectionWatch]:
        """Note a connection that can't be had or is lost in the block; errors go on as they are.

        A loss is noted once until the connection is back.
        """
        try:
            yield self
        except GuardRefused:
            raise
        except BrokerError as error:
            if self._lost and not self._lost_at():
                self._note(LOST, {"why": str(error)})
            raise

    @contextmanager
    def at_work(self, broker: BrokerGateway) -> Iterator[None]:
        """Note that the connection is back, where the block ends well after a loss."""
        outages = broker.outages
        try:
            yield
        except BrokerError:
            # An incomplete reply, or a time at which nothing may be sent, is no lost connection.
            self._lost = not broker.connected or broker.outage is not None
            raise
        lost_at = self._lost_at()
        if lost_at or broker.outages > outages:
            at = lost_at or datetime.now(UTC)
            self._note(RESTORED, {"lost_at": at.isoformat(timespec="seconds")})

    def _lost_at(self) -> datetime | None:
        """Since when it is lost by the journal; None where it is not, or that can't be read."""
        with suppress(ControlError):
            last = self._desk.control.last(LOST, RESTORED)
            if last is not None and last.event == LOST:
                return last.occurred_at
        return None

    def _note(self, event: str, details: dict[str, Any]) -> None:
        # A control store that is out of order stops trading by itself, and is said there.
        with suppress(ControlError):
            venue = self._desk.settings.broker.venue
            self._desk.control.note(event, "system", {"venue": venue, **details})
