"""What the steps that talk to the venue share: answers that must be known, and its session."""

from __future__ import annotations

from datetime import date
from typing import TypeVar

from hydra_pipelines.desk import Desk
from hydra_pipelines.execution.broker.messages import Known, Unknown

T = TypeVar("T")


class BrokerStateUnknown(RuntimeError):
    """The broker did not answer completely, and unknown is never read as empty."""


def known(reply: Known[T] | Unknown, what: str) -> T:
    if isinstance(reply, Unknown):
        raise BrokerStateUnknown(f"the broker's {what} can't be read ({reply.reason}): stopping")
    return reply.value


def session_of(desk: Desk) -> date:
    """The session that desk time belongs to: the last one that has opened."""
    now = desk.clock.now()
    last = desk.calendar.latest_complete(now)
    following = desk.calendar.next(last)
    return following if desk.calendar.open(following) <= now else last
