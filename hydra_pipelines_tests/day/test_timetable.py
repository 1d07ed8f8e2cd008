"""A year of clock time: every session is run once by each schedule, or a person is told.

2025 has all that a year can have: both changes of the clock, three early closes, ten holidays, and
a day of mourning (9 January) that no rule foretells.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta

import pytest
from dagster._utils.schedules import cron_string_iterator
from hypothesis import given
from hypothesis import strategies as st

from hydra_pipelines.day.timetable import (
    Missed,
    Run,
    Skip,
    Slot,
    When,
    decide,
    next_run,
    ticks,
    timetable,
)
from hydra_pipelines.sessions import NEW_YORK, Calendar
from hydra_pipelines.settings.schedule import ScheduleSettings


def slots(**changed: time) -> tuple[Slot, ...]:
    return timetable(ScheduleSettings(**changed), time(9, 35))


SLOTS = slots()
BY_NAME = {slot.name: slot for slot in SLOTS}
FIRST, LAST = datetime(2025, 1, 1, 12, tzinfo=UTC), datetime(2026, 1, 3, 23, tzinfo=UTC)
HOLIDAYS = {
    date(2025, 1, 1), date(2025, 1, 9), date(2025, 1, 20), date(2025, 2, 17), date(2025, 4, 18),
    date(2025, 5, 26), date(2025, 6, 19), date(2025, 7, 4), date(2025, 9, 1), date(2025, 11, 27),
    date(2025, 12, 25), date(2026, 1, 1),
}  # fmt: skip
EARLY = {date(2025, 7, 3), date(2025, 11, 28), date(2025, 12, 24)}


@pytest.fixture(scope="module")
def calendar(tmp_path_factory: pytest.TempPathFactory) -> Calendar:
    return Calendar.load("XNYS", tmp_path_factory.mktemp("calendar"))


@pytest.fixture(params=SLOTS, ids=lambda slot: slot.name)
def slot(request: pytest.FixtureRequest) -> Slot:
    return request.param


def local(instant: datetime) -> datetime:
    return instant.astimezone(NEW_YORK)


def due(slot: Slot, calendar: Calendar) -> list[date]:
    """The sessions that a schedule is to run in the year, by the exchange's calendar alone."""
    days = calendar.between(date(2025, 1, 1), date(2026, 1, 2))
    if slot.when is When.MORNING:
        return [calendar.previous(day) for day in days]
    if slot.when is When.SATURDAY:
        weeks: dict[tuple[int, int], date] = {}
        for day in days:
            weeks[day.isocalendar()[:2]] = day
        return list(weeks.values())
    return list(days)


# a year without a fault


def test_the_year_is_as_it_is_told(calendar: Calendar) -> None:
    """What the other tests rest on."""
    assert set(calendar.weekday_holidays(date(2025, 1, 1), date(2026, 1, 2))) == HOLIDAYS
    days = calendar.between(date(2025, 1, 1), date(2025, 12, 31))
    assert len(days) == 250
    assert {day for day in days if local(calendar.close(day)).hour == 13} == EARLY


def test_dagster_ticks_when_the_timetable_says_so(slot: Slot) -> None:
    """The cron string in New York time, by Dagster's own reading of it, over both clock changes."""
    theirs: list[datetime] = []
    for tick in cron_string_iterator(FIRST.timestamp(), slot.cron, str(NEW_YORK)):
        if tick > LAST:
            break
        theirs.append(tick.astimezone(UTC))
    assert list(ticks(slot, FIRST, LAST)) == theirs
    assert {(local(tick).hour, local(tick).minute) for tick in theirs} == {
        (slot.at.hour, slot.at.minute)
    }


def test_every_session_is_run_exactly_once_and_no_holiday(slot: Slot, calendar: Calendar) -> None:
    run: list[date] = []
    keys: set[str] = set()
    skipped: dict[date, str] = {}
    for tick in ticks(slot, FIRST, LAST):
        decision = decide(slot, tick, tick + timedelta(seconds=20), calendar)
        if isinstance(decision, Run):
            run.append(decision.session)
            keys.add(decision.key)
            assert tick >= calendar.close(decision.session), "decided on a close that was there"
        else:
            assert isinstance(decision, Skip)
            skipped[local(tick).date()] = decision.reason
    assert run == due(slot, calendar)
    assert len(keys) == len(run)
    if slot.when is not When.SATURDAY:
        assert set(skipped) == HOLIDAYS
        assert skipped[date(2025, 1, 9)] == (
            "2025-01-09 (Thursday) is a holiday of XNYS; the next session is 2025-01-10"
        )


def test_the_clock_changes_and_new_york_does_not_notice(calendar: Calendar) -> None:
    plan, trading = BY_NAME["order_plan"], BY_NAME["trading"]

    def utc(slot: Slot, *day: int) -> time:
        noon = datetime(*day, tzinfo=UTC)
        (tick,) = ticks(slot, noon, noon + timedelta(days=1))
        return tick.time()

    assert utc(plan, 2025, 3, 7) == time(23, 30) and utc(plan, 2025, 3, 10) == time(22, 30)
    assert utc(plan, 2025, 10, 31) == time(22, 30) and utc(plan, 2025, 11, 3) == time(23, 30)
    for day in (date(2025, 3, 10), date(2025, 11, 3)):
        (tick,) = ticks(trading, calendar.open(day) - timedelta(hours=4), calendar.close(day))
        assert tick - calendar.open(day) == timedelta(minutes=5)


# ticks that come late


@given(data=st.data())
def test_a_late_tick_runs_within_its_window_and_is_missed_after_it(
    calendar: Calendar, data: st.DataObject
) -> None:
    slot = data.draw(st.sampled_from(SLOTS))
    tick = data.draw(st.sampled_from(list(ticks(slot, FIRST, LAST))))
    late = timedelta(minutes=data.draw(st.integers(0, 6 * 24 * 60)))
    on_time, later = (decide(slot, tick, now, calendar) for now in (tick, tick + late))
    if isinstance(on_time, Skip):
        if isinstance(later, Run):
            assert slot.when is When.EVENING, "it stands for the session before the holiday"
            assert later.session == calendar.latest(local(tick).date())
            assert tick + late <= calendar.open(calendar.next(later.session))
        else:
            assert later == on_time
        return
    assert isinstance(on_time, Run)
    if slot.when is When.MORNING:
        trading_on = calendar.next(on_time.session)
        until = min(tick + timedelta(minutes=60), calendar.close(trading_on))
    else:
        until = calendar.open(calendar.next(on_time.session))
    if tick + late <= until:
        assert later == on_time, "the same session by the same key"
    elif tick + late > until + timedelta(minutes=1):
        assert isinstance(later, Missed)
        assert (later.session, later.key) == (on_time.session, on_time.key)
        assert "not run late" in later.reason and f"{local(tick):%Y-%m-%d %H:%M}" in later.reason


def wakes(calendar: Calendar) -> Iterator[tuple[datetime, datetime]]:
    """When a machine is off in a year: (from, until), short and long, across every kind of day."""
    yield datetime(2025, 1, 8, 23, tzinfo=UTC), datetime(2025, 1, 9, 3, tzinfo=UTC)
    yield datetime(2025, 3, 7, 12, tzinfo=UTC), datetime(2025, 3, 10, 13, tzinfo=UTC)
    yield datetime(2025, 5, 5, 13, 30, tzinfo=UTC), datetime(2025, 5, 5, 14, 20, tzinfo=UTC)
    yield datetime(2025, 5, 6, 13, 30, tzinfo=UTC), datetime(2025, 5, 6, 14, 40, tzinfo=UTC)
    yield datetime(2025, 7, 3, 12, tzinfo=UTC), datetime(2025, 7, 7, 12, tzinfo=UTC)
    yield datetime(2025, 8, 11, 0, tzinfo=UTC), datetime(2025, 8, 22, 18, tzinfo=UTC)
    yield datetime(2025, 11, 28, 14, tzinfo=UTC), datetime(2025, 11, 28, 19, tzinfo=UTC)


def test_a_year_with_pauses_loses_nothing_unsaid(slot: Slot, calendar: Calendar) -> None:
    """The daemon makes up the latest missed tick of a schedule; all others are looked for."""
    runs: Counter[str] = Counter()
    told: Counter[str] = Counter()
    pauses = list(wakes(calendar))
    missed_at: dict[datetime, list[datetime]] = {}
    for tick in ticks(slot, FIRST, LAST):
        pause = next((p for p in pauses if p[0] <= tick < p[1]), None)
        if pause:
            missed_at.setdefault(pause[1], []).append(tick)
            continue
        decision = decide(slot, tick, tick, calendar)
        runs.update([decision.key] if isinstance(decision, Run) else [])
    for woken, late in missed_at.items():
        made_up = decide(slot, late[-1], woken, calendar)
        runs.update([made_up.key] if isinstance(made_up, Run) else [])
        for tick in late:
            on_time = decide(slot, tick, tick, calendar)
            if isinstance(on_time, Run) and not runs[on_time.key]:
                decision = decide(slot, tick, woken, calendar)
                assert isinstance(decision, Missed), "none that could still run is left out"
                told[decision.key] += 1
    assert set((runs + told).values()) == {1}, "each session once, run or told"
    assert runs.keys() | told.keys() == {f"{slot.name}-{day}" for day in due(slot, calendar)}
    expected = {
        "trading": {
            "2025-03-06", "2025-05-05", "2025-07-02", "2025-11-26",
            *map(str, calendar.between(date(2025, 8, 8), date(2025, 8, 21))),
        },
        "predictions": set(map(str, calendar.between(date(2025, 8, 11), date(2025, 8, 21)))),
        "training": {"2025-08-15"},
    }  # fmt: skip
    if slot.name in expected:
        days = {key.removeprefix(f"{slot.name}-") for key in told}
        assert days == expected[slot.name]


# times of day that don't fit


def test_an_early_close_before_the_tick_is_told_and_not_traded(calendar: Calendar) -> None:
    slot = next(s for s in slots(trading=time(13, 30)) if s.name == "trading")
    (tick,) = ticks(
        slot, datetime(2025, 11, 28, 15, tzinfo=UTC), datetime(2025, 11, 29, tzinfo=UTC)
    )
    decision = decide(slot, tick, tick, calendar)
    assert isinstance(decision, Missed) and decision.session == date(2025, 11, 26)
    assert "closes early, at 13:00" in decision.reason
    day_before = tick - timedelta(days=2)
    assert isinstance(decide(slot, day_before, day_before, calendar), Run)


@pytest.mark.parametrize(
    ("changed", "name", "why"),
    [
        ({"predictions": time(15, 0)}, "predictions", "closes at 16:00 New York time"),
    ],
)
def test_a_time_of_day_that_cant_be_is_said(
    calendar: Calendar, changed: dict[str, time], name: str, why: str
) -> None:
    slot = next(s for s in slots(**changed) if s.name == name)
    tick = datetime.combine(date(2025, 6, 3), slot.at, NEW_YORK)
    decision = decide(slot, tick, tick, calendar)
    assert isinstance(decision, Skip)
    assert why in decision.reason and f"schedule.{name}" in decision.reason


def test_another_time_of_day_leaves_the_key_as_it_is(calendar: Calendar) -> None:
    later = next(s for s in slots(order_plan=time(20, 0)) if s.name == "order_plan")
    day = date(2025, 6, 3)
    keys = set()
    for slot in (BY_NAME["order_plan"], later):
        decision = decide(slot, tick := datetime.combine(day, slot.at, NEW_YORK), tick, calendar)
        assert isinstance(decision, Run)
        keys.add(decision.key)
    assert keys == {"order_plan-2025-06-03"}


def test_the_next_run_is_told_over_a_holiday(calendar: Calendar) -> None:
    evening = datetime(2025, 12, 24, 23, 40, tzinfo=UTC)
    assert next_run(BY_NAME["trading"], evening, calendar) == (
        datetime(2025, 12, 26, 14, 35, tzinfo=UTC), date(2025, 12, 24)
    )  # fmt: skip
    end = datetime.combine(calendar.sessions[-1], time(12), UTC) + timedelta(days=10)
    assert next_run(BY_NAME["trading"], end, calendar) is None


def test_trading_does_not_begin_before_orders_may_be_sent(calendar: Calendar) -> None:
    late = next(s for s in timetable(ScheduleSettings(), time(10, 15)) if s.name == "trading")
    assert late.at == time(10, 15)
    early = next(s for s in timetable(ScheduleSettings(trading=time(9, 0)), time(9, 0)) if not s.on)
    decision = decide(early, tick := datetime(2025, 6, 3, 9, 0, tzinfo=NEW_YORK), tick, calendar)
    assert isinstance(decision, Skip) and "opens at 09:30 New York time" in decision.reason


def test_orders_of_the_evening_have_a_tick_where_the_setting_says_so(calendar: Calendar) -> None:
    more = timetable(ScheduleSettings(), time(9, 35), time(18, 35))
    (added,) = set(more) - set(SLOTS)
    assert (added.name, added.job, added.on, added.cron) == (
        "evening_orders", "execute", False, "35 18 * * 1-5",
    )  # fmt: skip
    # Of the evening itself, whose plan the next morning's trading works on with.
    tick = datetime(2025, 11, 26, 18, 35, tzinfo=NEW_YORK)
    morning = datetime(2025, 11, 28, 9, 35, tzinfo=NEW_YORK)
    trading = decide(BY_NAME["trading"], morning, morning, calendar)
    evening = decide(added, tick, tick, calendar)
    assert isinstance(evening, Run) and isinstance(trading, Run)
    assert evening.session == trading.session == date(2025, 11, 26)
    assert evening.key != trading.key
    assert isinstance(decide(added, tick, morning, calendar), Missed), "never into the open market"


def test_what_is_on_by_itself_never_sends_an_order() -> None:
    assert {slot.name for slot in SLOTS if slot.on} == {
        "predictions", "order_plan", "drift_check", "training",
    }  # fmt: skip
    assert {slot.job for slot in SLOTS if not slot.on} == {"execute", "self_heal"}
