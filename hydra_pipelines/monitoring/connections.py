"""Connections to the broker that were lost and found again, in the control store's journal.

There they are noted though nothing else works, and the audit trail takes them over from there.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hydra_pipelines.control import Control, ControlError
from hydra_pipelines.execution.broker.guard import GuardRefused
from hydra_pipelines.execution.broker.messages import BrokerError
from hydra_pipelines.ledger.audit import AuditEvent

if TYPE_CHECKING:
    from hydra_pipelines.execution.broker.gateway import BrokerGateway

LOST, RESTORED = AuditEvent.CONNECTION_LOST.value, AuditEvent.CONNECTION_RESTORED.value


def note_loss(
    control: Control, venue: str, error: BaseException, gateway: BrokerGateway | None
) -> None:
    """Note an error that is the end of a connection, once until it is back; no other error.

    gateway: None where no connection could be had. An incomplete reply, or a time at which nothing
    may be sent, is no lost connection; nor is one that the guard refused.
    """
    if not isinstance(error, BrokerError) or isinstance(error, GuardRefused):
        return
    if gateway is not None and gateway.connected and gateway.outage is None:
        return
    if lost_since(control) is None:
        _note(control, LOST, venue, {"why": str(error)})


def note_recovery(control: Control, venue: str, outages: int) -> None:
    """Note that orders were brought up to date again after a loss, where there was one.

    outages: how often IB's servers went away and came back in the run that says so.
    """
    lost = lost_since(control)
    if lost or outages:
        at = (lost or datetime.now(UTC)).isoformat(timespec="seconds")
        _note(control, RESTORED, venue, {"lost_at": at})


def lost_since(control: Control) -> datetime | None:
    """Since when there is no connection; None where there is one, or the journal can't be read."""
    with suppress(ControlError):
        last = control.last(LOST, RESTORED)
        if last is not None and last.event == LOST:
            return last.occurred_at
    return None


def _note(control: Control, event: str, venue: str, details: dict[str, Any]) -> None:
    # A control store that is out of order stops trading by itself, and is said there.
    with suppress(ControlError):
        control.note(event, "system", {"venue": venue, **details})
