"""When orders are sent in the evening before their session, to rest for the open, and which were.

Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Any

from hydra_pipelines.sessions import Calendar, Clock, at_new_york

RESTS = "rests for the open"
"""How the reason of such an order's routing ends, in the ledger."""
OPEN_MARGIN = timedelta(minutes=5)
"""Before the open: what is sent later than this may arrive in a market that has quotes."""


def evening_of(calendar: Calendar, session: date, at: time) -> datetime:
    """When orders decided on `session` are sent: `at` New York time, never before its close."""
    return max(at_new_york(session, at.hour, at.minute), calendar.close(session))


def may_rest(
    clock: Clock, calendar: Calendar, session: date, execution_session: date, at: time
) -> bool:
    """Whether now is between that evening and the open. A clock that moves by waiting may be
    earlier: it is waited for."""
    now = clock.now()
    if now >= calendar.open(execution_session) - OPEN_MARGIN:
        return False
    return clock.moves_by_waiting or now >= evening_of(calendar, session, at)


def rested(order: Mapping[str, Any]) -> bool:
    """Whether an order (by its `routing_reason`, None where it isn't the desk's) was sent so."""
    return (order["routing_reason"] or "").endswith(RESTS)
