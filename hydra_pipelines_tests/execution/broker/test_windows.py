"""IB's restarts in New York time, over midnight, over the weekend and over a change of clocks."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_pipelines.execution.broker.windows import QuietHours, Window, weekly_login_hint

NEW_YORK = ZoneInfo("America/New_York")
QUIET = QuietHours(
    (Window.parse("23:40-00:15"), Window.parse("00:15-01:45")), Window.parse("23:00-03:00")
)


@pytest.mark.parametrize(
    ("local", "why"),
    [
        ("2019-01-03 23:39", None),
        ("2019-01-03 23:40", "restarts between 23:40-00:15"),
        ("2019-01-04 00:14", "restarts between 23:40-00:15"),
        ("2019-01-04 00:15", "restarts between 00:15-01:45"),
        ("2019-01-04 01:45", None),
        ("2019-01-04 02:00", None),  # a Friday morning is not a Friday night
        ("2019-01-04 09:30", None),
        ("2019-01-04 22:59", None),
        ("2019-01-04 23:00", "Friday night"),
        ("2019-01-05 02:59", "Friday night"),
        ("2019-01-05 03:00", None),
        ("2019-01-05 23:10", None),
        ("2019-07-05 23:10", "Friday night"),
    ],
)
def test_quiet_hours(local: str, why: str | None):
    now = datetime.fromisoformat(local).replace(tzinfo=NEW_YORK).astimezone(ZoneInfo("UTC"))
    reason = QUIET.reason(now)
    assert (reason is None) == (why is None)
    assert why is None or why in reason


@pytest.mark.parametrize("text", ["", "23:40", "24:00-01:00", "1:00-2:00", "10:00-10:00"])
def test_what_is_no_window(text: str):
    with pytest.raises(ValueError, match="window"):
        Window.parse(text)


@given(st.times(), st.times().filter(lambda t: (t.hour, t.minute) != (0, 0)))
def test_a_window_and_the_rest_of_the_day_hold_everything_once(moment: time, other: time):
    start, end = time(0, 0), time(other.hour, other.minute)
    assert Window(start, end).holds(moment) != Window(end, start).holds(moment)


@given(st.datetimes(datetime(2019, 1, 1), datetime(2026, 1, 1)))
def test_the_hint_names_the_last_sunday(moment: datetime):
    now = moment.replace(tzinfo=ZoneInfo("UTC"))
    named = datetime.strptime(weekly_login_hint(now).split(" New York")[0][-16:], "%Y-%m-%d %H:%M")
    assert (named.weekday(), named.hour) == (6, 1)
    local = now.astimezone(NEW_YORK).replace(tzinfo=None)
    assert timedelta(0) <= local - named < timedelta(days=7)
