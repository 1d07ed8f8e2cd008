"""Exchange sessions: which dates trade, when they open and close, and what comes next.

The truth is `exchange_calendars`; because importing it (and pandas) costs a second, its schedule
is written once to a small cache file and read from there by everything on a start-up path.

Here belong dates, windows and clocks. Prices, orders and schedules of jobs do not.
Sessions are `datetime.date`; instants are aware datetimes in UTC.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Protocol
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")

_FIRST_DAY = date(1990, 1, 1)
_YEARS_AHEAD = 2


class NotASession(ValueError):
    """A date on which the exchange does not trade, or that lies outside the calendar."""


class UnknownCalendar(ValueError):
    """There is no exchange calendar of that name."""


@dataclass(frozen=True)
class Calendar:
    """The sessions of one exchange, ascending, with their opening and closing instants (UTC)."""

    name: str
    sessions: tuple[date, ...]
    opens: tuple[datetime, ...]
    closes: tuple[datetime, ...]

    @classmethod
    def load(cls, name: str, cache_dir: Path) -> Calendar:
        """The calendar `name` (for example `XNYS`), from the cache or made anew.

        The cache is keyed by the calendar, the library's version and the current year, so that a
        library update or a new year makes it anew; so does a file that can't be right. Raises
        UnknownCalendar.
        """
        key = f"{name}-{version('exchange_calendars')}-{datetime.now(UTC).year}"
        path = cache_dir / f"sessions-{key}.json"
        try:
            return _read(name, path, path.stat().st_mtime_ns)
        except (OSError, ValueError, KeyError, TypeError, OverflowError):
            rows = _schedule(name)
        cache_dir.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=cache_dir, prefix=".sessions-")
        with os.fdopen(handle, "w") as out:
            json.dump({"rows": rows}, out, separators=(",", ":"))
        os.replace(temporary, path)
        return cls._from_rows(name, rows)

    @classmethod
    def _from_rows(cls, name: str, rows: list[tuple[int, int, int]]) -> Calendar:
        """Rows of (ordinal of the session, opening, closing in seconds of Unix time)."""
        days, opens, closes = zip(*rows, strict=True)
        if any(following <= day for day, following in itertools.pairwise(days)):
            raise ValueError("sessions do not ascend")
        return cls(
            name=name,
            sessions=tuple(date.fromordinal(day) for day in days),
            opens=tuple(datetime.fromtimestamp(seconds, UTC) for seconds in opens),
            closes=tuple(datetime.fromtimestamp(seconds, UTC) for seconds in closes),
        )

    def is_session(self, day: date) -> bool:
        i = bisect.bisect_left(self.sessions, day)
        return i < len(self.sessions) and self.sessions[i] == day

    def index(self, day: date) -> int:
        """Position of a session in the calendar; raises NotASession for any other day."""
        i = bisect.bisect_left(self.sessions, day)
        if i < len(self.sessions) and self.sessions[i] == day:
            return i
        if not self.sessions or day < self.sessions[0] or day > self.sessions[-1]:
            raise NotASession(
                f"{day} is outside the {self.name} calendar "
                f"({self.sessions[0]} to {self.sessions[-1]})"
            )
        raise NotASession(
            f"{day} ({day:%A}) is not a {self.name} session; "
            f"the nearest are {self.sessions[i - 1]} and {self.sessions[i]}"
        )

    def next(self, session: date, n: int = 1) -> date:
        """The n-th session after `session` (before it for a negative n)."""
        i = self.index(session) + n
        if not 0 <= i < len(self.sessions):
            raise NotASession(
                f"the {self.name} calendar has no session {n} away from {session}; "
                f"it covers {self.sessions[0]} to {self.sessions[-1]}"
            )
        return self.sessions[i]

    def previous(self, session: date) -> date:
        return self.next(session, -1)

    def latest(self, on_or_before: date) -> date:
        """The last session on or before a date."""
        i = bisect.bisect_right(self.sessions, on_or_before)
        if i == 0:
            raise NotASession(f"the {self.name} calendar starts at {self.sessions[0]}")
        return self.sessions[i - 1]

    def between(self, first: date, last: date) -> tuple[date, ...]:
        """Sessions from `first` to `last`, both included; neither needs to be a session."""
        return self.sessions[
            bisect.bisect_left(self.sessions, first) : bisect.bisect_right(self.sessions, last)
        ]

    def open(self, session: date) -> datetime:
        return self.opens[self.index(session)]

    def close(self, session: date) -> datetime:
        return self.closes[self.index(session)]

    def latest_complete(self, now: datetime) -> date:
        """The last session whose close is not after `now`."""
        i = bisect.bisect_right(self.closes, now)
        if i == 0:
            raise NotASession(f"no {self.name} session was complete at {now}")
        return self.sessions[i - 1]

    def weekday_holidays(self, first: date, last: date) -> Iterator[date]:
        """Weekdays in [first, last] on which the exchange is closed."""
        open_days = set(self.between(first, last))
        day = first
        while day <= last:
            if day.weekday() < 5 and day not in open_days:
                yield day
            day += timedelta(days=1)


class ClockError(RuntimeError):
    """Desk time can't be told or moved on: the venue that keeps it does not answer, or refuses."""


class Clock(Protocol):
    """Desk time: the wall clock with IBKR, the venue's clock when embedded."""

    moves_by_waiting: bool
    """True where waiting is what moves the clock, so that an hour passes in no time."""

    def now(self) -> datetime:
        """The current instant, UTC."""
        ...

    def wait_until(self, instant: datetime) -> None:
        """Return once `now() >= instant`; returns at once where that is so already."""
        ...


class SteadyClock:
    """A clock that is read once between two waits; for who alone moves one that moves by waiting.

    A clock that goes by itself is read each time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._read: datetime | None = None
        self.moves_by_waiting = clock.moves_by_waiting

    def now(self) -> datetime:
        if self._read is None or not self.moves_by_waiting:
            self._read = self._clock.now()
        return self._read

    def wait_until(self, instant: datetime) -> None:
        self._read = None
        self._clock.wait_until(instant)


def at_new_york(session: date, hour: int, minute: int, second: int = 0) -> datetime:
    """An instant in UTC from a date and a wall time in New York."""
    return datetime(
        session.year, session.month, session.day, hour, minute, second, tzinfo=NEW_YORK
    ).astimezone(UTC)


@functools.lru_cache(maxsize=4)
def _read(name: str, path: Path, written: int) -> Calendar:
    """From the cache's file, read once a process; written: when it was, in ns."""
    return Calendar._from_rows(name, json.loads(path.read_text())["rows"])


def _schedule(name: str) -> list[tuple[int, int, int]]:
    import exchange_calendars

    try:
        # Holidays of some exchanges (XTKS, XSHG, XBOM) are known for fewer years.
        known = exchange_calendars.get_calendar(name)
        first, last = known.bound_min(), known.bound_max()
        end = date(datetime.now(UTC).year + _YEARS_AHEAD, 12, 31)
        calendar = exchange_calendars.get_calendar(
            name,
            start=max(_FIRST_DAY, first.date() if first else _FIRST_DAY).isoformat(),
            end=min(end, last.date() if last else end).isoformat(),
        )
    except exchange_calendars.errors.InvalidCalendarName as error:
        raise UnknownCalendar(
            f"market.calendar: {name!r} is not an exchange calendar; use a name such as XNYS"
        ) from error
    schedule = calendar.schedule
    return [
        (session.date().toordinal(), int(opens.timestamp()), int(closes.timestamp()))
        for session, opens, closes in zip(
            schedule.index, schedule["open"], schedule["close"], strict=True
        )
    ]
