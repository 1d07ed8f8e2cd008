"""Sessions against the library that knows them, the cache, and the arithmetic of dates."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import exchange_calendars
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_pipelines import sessions
from hydra_pipelines.sessions import (
    NEW_YORK,
    Calendar,
    NotASession,
    SteadyClock,
    UnknownCalendar,
    at_new_york,
)

CLOCK_CHANGE = {date(2019, 3, 11): 13, date(2019, 3, 8): 14, date(2019, 11, 4): 14}
"""Sessions on either side of a change of the clock, and the hour (UTC) in which they open."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def calendar(cache: Path) -> Calendar:
    return Calendar.load("XNYS", cache)


# the truth


def test_every_session_is_that_of_the_library(calendar: Calendar) -> None:
    last = date(datetime.now(UTC).year + 2, 12, 31)
    schedule = exchange_calendars.get_calendar("XNYS", start="1990-01-01", end=str(last)).schedule
    assert calendar.sessions == tuple(schedule.index.date)
    assert calendar.opens == tuple(schedule["open"])
    assert calendar.closes == tuple(schedule["close"])
    assert calendar.sessions[0] == date(1990, 1, 2)
    assert calendar.sessions[-1].year == last.year, "the sessions ahead are known"


@pytest.mark.parametrize(
    "holiday",
    [
        date(2018, 12, 5),  # a day of mourning
        date(2019, 1, 1),
        date(2019, 4, 19),  # Good Friday
        date(2021, 12, 24),  # Christmas on a Saturday
        date(2022, 6, 20),  # the first year of Juneteenth
        date(2001, 9, 11),
        date(2012, 10, 29),  # a hurricane
        date(2019, 1, 5),  # a Saturday
    ],
)
def test_days_without_trade_are_no_sessions(calendar: Calendar, holiday: date) -> None:
    assert not calendar.is_session(holiday)
    before, after = calendar.latest(holiday), calendar.next(calendar.latest(holiday))
    with pytest.raises(NotASession) as caught:
        calendar.index(holiday)
    assert f"{holiday} ({holiday:%A}) is not a XNYS session" in str(caught.value)
    assert f"the nearest are {before} and {after}" in str(caught.value)
    assert before < holiday < after


@pytest.mark.parametrize(
    "early", [date(2019, 7, 3), date(2019, 11, 29), date(2019, 12, 24), date(2021, 11, 26)]
)
def test_short_days_close_at_one(calendar: Calendar, early: date) -> None:
    assert calendar.close(early).astimezone(NEW_YORK).time() == time(13)
    assert calendar.close(calendar.next(early)).astimezone(NEW_YORK).time() == time(16)


def test_the_clock_changes_and_the_exchange_does_not_care(calendar: Calendar) -> None:
    for session, hour in CLOCK_CHANGE.items():
        assert calendar.open(session).hour == hour
        assert calendar.open(session).astimezone(NEW_YORK).time() == time(9, 30)
        assert calendar.close(session) - calendar.open(session) == timedelta(hours=6.5)
        assert at_new_york(session, 9, 30) == calendar.open(session)
    assert at_new_york(date(2019, 7, 1), 16, 0, 5) == datetime(2019, 7, 1, 20, 0, 5, tzinfo=UTC)
    assert at_new_york(date(2019, 7, 1), 9, 30).tzinfo is UTC


# arithmetic


def test_outside_the_calendar_is_said(calendar: Calendar) -> None:
    for day in (date(1989, 12, 29), date(2100, 1, 4)):
        with pytest.raises(NotASession, match=f"{day} is outside the XNYS calendar .1990-01-02 to"):
            calendar.index(day)
    with pytest.raises(NotASession, match="no session -1 away from 1990-01-02; it covers"):
        calendar.previous(calendar.sessions[0])
    with pytest.raises(NotASession, match="no session 1 away"):
        calendar.next(calendar.sessions[-1])
    with pytest.raises(NotASession, match="starts at 1990-01-02"):
        calendar.latest(date(1990, 1, 1))
    with pytest.raises(NotASession, match="no XNYS session was complete"):
        calendar.latest_complete(datetime(1990, 1, 2, 12, tzinfo=UTC))


days = st.dates(date(1990, 1, 2), date(2027, 12, 31))


@given(day=days, n=st.integers(-50, 50))
def test_steps_are_positions_in_the_list(calendar: Calendar, day: date, n: int) -> None:
    session = calendar.latest(day)
    assert calendar.is_session(session)
    assert session <= day < calendar.next(session)
    assert calendar.is_session(day) == (session == day)
    i = calendar.index(session)
    assert calendar.sessions[i] == session
    if 0 <= i + n < len(calendar.sessions):
        there = calendar.next(session, n)
        assert there == calendar.sessions[i + n]
        assert calendar.next(there, -n) == session


@given(first=days, last=days)
def test_between_takes_both_ends_and_leaves_nothing_out(
    calendar: Calendar, first: date, last: date
) -> None:
    found = calendar.between(first, last)
    assert list(found) == [s for s in calendar.sessions if first <= s <= last]


@given(day=days, length=st.integers(0, 60))
def test_a_weekday_is_a_session_or_a_holiday(calendar: Calendar, day: date, length: int) -> None:
    last = day + timedelta(days=length)
    holidays = list(calendar.weekday_holidays(day, last))
    weekdays = [d for k in range(length + 1) if (d := day + timedelta(days=k)).weekday() < 5]
    assert sorted([*holidays, *calendar.between(day, last)]) == weekdays


@given(session=days, seconds=st.integers(-90_000, 90_000))
def test_a_session_is_complete_from_its_close_on(
    calendar: Calendar, session: date, seconds: int
) -> None:
    session = calendar.latest(session)
    now = calendar.close(session) + timedelta(seconds=seconds)
    if now < calendar.closes[0]:
        return
    complete = calendar.latest_complete(now)
    assert calendar.close(complete) <= now < calendar.close(calendar.next(complete))


# the cache


def test_the_cache_is_read_instead_of_the_library(calendar: Calendar, cache: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from hydra_pipelines.sessions import Calendar\n"
        "calendar = Calendar.load('XNYS', Path(sys.argv[1]))\n"
        "print(len(calendar.sessions), 'exchange_calendars' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(cache)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(len(calendar.sessions)), "False"]


@pytest.mark.parametrize(
    "content",
    [
        "",
        '{"rows": [[726469',
        "[]",
        "{}",
        '{"rows": []}',
        '{"rows": [[1, 2]]}',
        '{"rows": [[726469, 1, 2], [726468, 1, 2]]}',
        '{"rows": [["x", 1, 2]]}',
        '{"rows": [[0, 1, 2]]}',
        '{"rows": [[726469, 1e30, 2]]}',
    ],
)
def test_a_damaged_cache_is_made_anew(
    content: str, calendar: Calendar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        (s.toordinal(), int(o.timestamp()), int(c.timestamp()))
        for s, o, c in zip(calendar.sessions, calendar.opens, calendar.closes, strict=True)
    ]
    asked = []
    monkeypatch.setattr(sessions, "_schedule", lambda name: asked.append(name) or rows)
    assert Calendar.load("XNYS", tmp_path) == calendar
    (file,) = tmp_path.iterdir()
    file.write_text(content)
    assert Calendar.load("XNYS", tmp_path) == calendar
    assert asked == ["XNYS", "XNYS"]
    assert Calendar.load("XNYS", tmp_path) == calendar
    assert len(asked) == 2, "the file is sound again"
    assert list(tmp_path.iterdir()) == [file], "nothing is left lying about"


def test_the_cache_is_of_one_calendar_version_and_year(cache: Path, calendar: Calendar) -> None:
    (file,) = cache.iterdir()
    assert calendar.name in file.name
    assert exchange_calendars.__version__ in file.name
    assert str(datetime.now(UTC).year) in file.name
    assert len(json.loads(file.read_text())["rows"]) == len(calendar.sessions)


def _load(folder: Path) -> int:
    return len(Calendar.load("XNYS", folder).sessions)


def test_two_processes_at_once_both_get_it(calendar: Calendar, tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, spawn, initializer=spawn.Barrier(2).wait) as pool:
        assert list(pool.map(_load, [tmp_path, tmp_path])) == [len(calendar.sessions)] * 2
    assert len(list(tmp_path.iterdir())) == 1
    assert Calendar.load("XNYS", tmp_path) == calendar


class Moving:
    """A clock that counts how often it is read; `steps` is how much later it is each time."""

    def __init__(self, moves_by_waiting: bool, step: timedelta) -> None:
        self.moves_by_waiting, self.step = moves_by_waiting, step
        self.at = datetime(2019, 1, 2, 14, 30, tzinfo=UTC)
        self.reads = 0

    def now(self) -> datetime:
        self.reads += 1
        self.at += self.step
        return self.at

    def wait_until(self, instant: datetime) -> None:
        self.at = max(self.at, instant)


def test_a_steady_clock_is_read_once_between_two_waits() -> None:
    venue = Moving(True, timedelta(0))
    clock = SteadyClock(venue)
    first = clock.now()
    assert (clock.now(), venue.reads) == (first, 1)
    clock.wait_until(first + timedelta(minutes=1))
    assert (clock.now(), clock.now(), venue.reads) == (first + timedelta(minutes=1),) * 2 + (2,)


def test_a_clock_that_goes_by_itself_is_read_each_time() -> None:
    clock = SteadyClock(Moving(False, timedelta(seconds=1)))
    assert clock.now() < clock.now() < clock.now()


def test_an_unknown_exchange_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownCalendar, match=r"market\.calendar: 'NYSE\?' is not an exchange"):
        Calendar.load("NYSE?", tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "holiday"), [("XTKS", date(2022, 10, 10)), ("XSHG", date(2022, 10, 3))]
)
def test_exchanges_known_for_fewer_years_start_later(
    name: str, holiday: date, tmp_path: Path
) -> None:
    calendar = Calendar.load(name, tmp_path)
    assert date(1990, 1, 2) < calendar.sessions[0] < date(1998, 1, 1)
    assert not calendar.is_session(holiday) and calendar.is_session(date(2022, 10, 14))
