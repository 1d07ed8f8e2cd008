"""When IB is not to be traded with: its daily restarts, Friday night, and the weekly log-out. Pure.

Times of day are New York's, as IB publishes them. Exchange sessions are not the subject here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, time, timedelta

from hydra_pipelines.sessions import NEW_YORK

_WINDOW = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")
_FRIDAY, _SUNDAY = 4, 6
_WEEKLY_LOGOUT = time(1)


@dataclass(frozen=True)
class Window:
    """A stretch of the day from `start` on and before `end`, perhaps over midnight."""

    start: time
    end: time

    @classmethod
    def parse(cls, text: str) -> Window:
        """A window from `23:40-00:15`. Raises ValueError for anything else, or an empty one."""
        found = _WINDOW.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"{text!r} is no window; write HH:MM-HH:MM, as in 23:40-00:15")
        first, last = (time(int(found[i]), int(found[i + 1])) for i in (1, 3))
        if first == last:
            raise ValueError(f"{text!r} is an empty window")
        return cls(first, last)

    def holds(self, local: time) -> bool:
        if self.start < self.end:
            return self.start <= local < self.end
        return local >= self.start or local < self.end

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{self.end:%H:%M}"


@dataclass(frozen=True)
class QuietHours:
    """Windows in which nothing is submitted: `daily`, and `friday` from Friday evening on."""

    daily: tuple[Window, ...]
    friday: Window

    def reason(self, now: datetime) -> str | None:
        """Why nothing is submitted at an instant; None where something may be."""
        local = now.astimezone(NEW_YORK)
        for window in self.daily:
            if window.holds(local.time()):
                return f"IB restarts between {window} New York time"
        # The part after midnight belongs to the evening before.
        evening = local if local.time() >= self.friday.start else local - timedelta(days=1)
        if evening.weekday() == _FRIDAY and self.friday.holds(local.time()):
            return f"IB resets its servers on Friday night, {self.friday} New York time"
        return None


def weekly_login_hint(now: datetime) -> str:
    """What to do where a gateway does not answer: it may have been logged out last Sunday."""
    local = now.astimezone(NEW_YORK)
    sunday = local.date() - timedelta(days=(local.weekday() - _SUNDAY) % 7)
    logout = datetime.combine(sunday, _WEEKLY_LOGOUT, NEW_YORK)
    if logout > local:
        logout -= timedelta(days=7)
    return (
        f"IB logged every session out on {logout:%Y-%m-%d %H:%M} New York time (weekly): if nobody "
        "has logged the gateway in since, do so, with the second factor"
    )
