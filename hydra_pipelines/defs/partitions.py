"""Partitions: one per exchange session. The key is the session whose close the decision uses."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import dagster as dg

from hydra_pipelines.sessions import NEW_YORK, Calendar


def session_partitions(calendar: Calendar, first: date) -> dg.TimeWindowPartitionsDefinition:
    """Sessions from `first` on, holidays left out. Raises NotASession where `first` is none.

    A session's own day counts already (`end_offset`), since it is decided on the evening of that
    day; that it is over is checked when it runs.
    """
    start = calendar.sessions[calendar.index(first)]
    horizon = min(calendar.sessions[-1], datetime.now(NEW_YORK).date() + timedelta(days=10))
    return dg.TimeWindowPartitionsDefinition(
        start=datetime(start.year, start.month, start.day),
        fmt="%Y-%m-%d",
        cron_schedule="0 0 * * 1-5",
        timezone=str(NEW_YORK),
        end_offset=1,
        exclusions=[
            datetime(day.year, day.month, day.day)
            for day in calendar.weekday_holidays(start, horizon)
        ],
    )
