"""Where the venue stands in time: before, in or after which session, and the minutes to come.

The instant and the calendar, nothing of orders or prices.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from hydra_pipelines.paper_gateway.wire import ACCOUNT_ZONE
from hydra_pipelines.sessions import Calendar

_MINUTE = timedelta(minutes=1)
_ZONE = ZoneInfo(ACCOUNT_ZONE)

Session = date
"""Within the class below, `date` is something else."""


class ExchangeClock:
    """An instant on an exchange's calendar; `now` is set by the venue alone."""

    def __init__(self, calendar: Calendar, now: datetime) -> None:
        self.calendar = calendar
        self.now = now

    @property
    def moment(self) -> tuple[date, int] | None:
        """The open session and the minute since its open; None while the market is closed."""
        i = self._upcoming
        if i == len(self.calendar.opens) or self.calendar.opens[i] > self.now:
            return None
        return self.calendar.sessions[i], (self.now - self.calendar.opens[i]) // _MINUTE

    @property
    def latest_complete(self) -> date:
        return self.calendar.latest_complete(self.now)

    @property
    def next_close(self) -> datetime:
        return self.calendar.closes[self._upcoming]

    @property
    def date(self) -> date:
        """The date in the account's zone."""
        return self.now.astimezone(_ZONE).date()

    @property
    def today(self) -> tuple[datetime, datetime]:
        """The account's midnight before now, and the one after, in UTC."""
        midnights = (
            datetime.combine(self.date + timedelta(days=n), time(), _ZONE).astimezone(UTC)
            for n in (0, 1)
        )
        return next(midnights), next(midnights)

    @property
    def this_minute(self) -> tuple[datetime, datetime] | None:
        """The trading minute that is running, its end not included."""
        moment = self.moment
        if moment is None:
            return None
        start = self.calendar.open(moment[0]) + moment[1] * _MINUTE
        return start, start + _MINUTE

    def sessions_until(self, to: datetime) -> tuple[Session, ...]:
        """Sessions with any trading in (now, to]."""
        end = bisect.bisect_right(self.calendar.opens, to)
        return self.calendar.sessions[self._upcoming : end]

    def instants(self, to: datetime) -> Iterator[tuple[datetime, int | None]]:
        """Each trading minute in (now, to] with its number, and each close with None."""
        start = self.now
        for i in range(self._upcoming, len(self.calendar.sessions)):
            opened, closed = self.calendar.opens[i], self.calendar.closes[i]
            minute = max((start - opened) // _MINUTE + 1, 0)
            while (instant := opened + minute * _MINUTE) < closed:
                if instant > to:
                    return
                yield instant, minute
                minute += 1
            if closed > to:
                return
            yield closed, None

    @property
    def _upcoming(self) -> int:
        """Index of the session that is open or comes next."""
        return bisect.bisect_right(self.calendar.closes, self.now)
