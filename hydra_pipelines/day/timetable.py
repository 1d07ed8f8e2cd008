"""The timetable: which schedule ticks when, and what a tick does. Pure: the time is an argument.

One rule for all of them: a tick belongs to one session and has a window; within it a tick that was
missed is made up, after it never. The key of a session names its run for ever, so that neither a
restart nor another time of day runs it twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from hydra_pipelines.sessions import NEW_YORK, Calendar, NotASession, at_new_york

if TYPE_CHECKING:
    from hydra_pipelines.settings.schedule import ScheduleSettings

_SATURDAY = 5
_GRACE = timedelta(minutes=1)
"""The daemon comes a little late to every tick; no window is so short that this is too late."""


EVENING_ORDERS = "evening_orders"


class When(StrEnum):
    """Which days a schedule ticks on, and whose session a tick is."""

    EVENING = "evening"
    """Every session; its own, once it has closed. Until the next session opens."""
    MORNING = "morning"
    """Every session; the one before, whose plan is worked now. Until its window is over."""
    SATURDAY = "saturday"
    """Once a week; the last session of the week. Until the next session opens."""


@dataclass(frozen=True)
class Slot:
    """A line of the timetable.

    name: the schedule's; job: what it runs. at: time of day in New York. window: of a MORNING, how
    long after the tick it may still run. on: whether it is on before anybody has said so.
    """

    name: str
    job: str
    at: time
    when: When
    on: bool
    does: str
    window: timedelta = timedelta(0)

    @property
    def cron(self) -> str:
        days = "6" if self.when is When.SATURDAY else "1-5"
        return f"{self.at.minute} {self.at.hour} * * {days}"

    @property
    def days(self) -> str:
        """In words, with the time and how long a missed tick is made up."""
        at = f"{self.at:%H:%M} New York time"
        if self.when is When.MORNING:
            minutes = int(self.window.total_seconds() // 60)
            return f"At {at} on every session; a missed tick is made up within {minutes} minutes"
        day = "on Saturdays" if self.when is When.SATURDAY else "on every session"
        return f"At {at} {day}; a missed tick is made up until the next session opens"


@dataclass(frozen=True)
class Run:
    """session: whose partition is run. key: the same for every tick of that session."""

    session: date
    key: str


@dataclass(frozen=True)
class Skip:
    reason: str


@dataclass(frozen=True)
class Missed:
    """The tick came when its window was over: a person is told, and it is not run late."""

    session: date
    key: str
    reason: str


Decision = Run | Skip | Missed


def timetable(s: ScheduleSettings, start: time, evening: time | None = None) -> tuple[Slot, ...]:
    """Every schedule of the desk, in the order of the day.

    start: `execution.start`, before which no order is worked, whatever the schedule's own time is.
    evening: when orders are sent to rest for the open; None where they are not.
    """
    resting = Slot(
        EVENING_ORDERS,
        "execute",
        evening or s.order_plan,
        When.EVENING,
        on=False,
        does="The plan's orders are sent, to rest for the open; the schedule `trading` works on "
        "with what is left of them. Switched on and off with it by `hydra paper-trade`",
    )
    return (
        *((resting,) if evening else ()),
        Slot(
            "trading",
            "execute",
            max(s.trading, start),
            When.MORNING,
            on=False,
            does="The plan of the session before is worked in the open market, then positions and "
            "account. Off until a person switches it on: here, or by `hydra paper-trade start`",
            window=timedelta(minutes=s.trading_window_minutes),
        ),
        Slot(
            "predictions",
            "predict",
            s.predictions,
            When.EVENING,
            on=True,
            does="Bars, features and the champions' predictions of the session that closed",
        ),
        Slot(
            "order_plan",
            "plan",
            s.order_plan,
            When.EVENING,
            on=True,
            does="The order plan for the next session: a table to read, and to veto. Sends nothing",
        ),
        Slot(
            "drift_check",
            "drift_check",
            s.drift_check,
            When.EVENING,
            on=True,
            does="Every detector on features, predictions, results and executions",
        ),
        Slot(
            "training",
            "train",
            s.training,
            When.SATURDAY,
            on=True,
            does="A new version of each deployed strategy, which waits as challenger",
        ),
        Slot(
            "self_healing",
            "self_heal",
            s.self_heal,
            When.SATURDAY,
            on=False,
            does="A cycle of the self-healing agent, without any drift that asks for it",
        ),
    )


def decide(slot: Slot, tick: datetime, now: datetime, calendar: Calendar) -> Decision:
    """What a tick does. tick: the instant it was due at; now: when it is looked at (both aware)."""
    local = tick.astimezone(NEW_YORK)
    day = local.date()
    if slot.when is When.SATURDAY:
        session = calendar.latest(day)
        if (day - session).days > 5:
            return Skip(f"the exchange had no session in the week before {day}")
    elif not calendar.is_session(day):
        made_up = _before_the_holiday(slot, day, tick, now, calendar)
        return made_up or Skip(_no_session(day, calendar))
    else:
        session = calendar.previous(day) if slot.when is When.MORNING else day
    if slot.when is When.EVENING and tick < calendar.close(day):
        return Skip(
            f"session {day} closes at {_clock(calendar.close(day))}, after this tick: set "
            f"schedule.{slot.name} to a later time"
        )
    if slot.when is When.MORNING:
        if tick < calendar.open(day):
            return Skip(
                f"session {day} opens at {_clock(calendar.open(day))}, after this tick: set "
                f"schedule.{slot.name} to a later time"
            )
        until = min(tick + slot.window, calendar.close(day))
    else:
        until = calendar.open(calendar.next(session))
    key = f"{slot.name}-{session}"
    if tick >= until:
        return Missed(
            session,
            key,
            f"session {day} closes early, at {_clock(until)}, before this tick of "
            f"{_clock(tick)}: what was planned on {session} is not traded",
        )
    if now > until + _GRACE:
        return Missed(
            session,
            key,
            f"the tick of {local:%Y-%m-%d %H:%M} New York time was looked at only at "
            f"{now.astimezone(NEW_YORK):%Y-%m-%d %H:%M}, after its window had ended at "
            f"{until.astimezone(NEW_YORK):%Y-%m-%d %H:%M}: it is not run late",
        )
    return Run(session, key)


def ticks(slot: Slot, after: datetime, until: datetime) -> Iterator[datetime]:
    """The instants (UTC) at which a schedule is due, in (after, until], holidays among them."""
    day = after.astimezone(NEW_YORK).date() - timedelta(days=1)
    while day <= until.astimezone(NEW_YORK).date():
        if (day.weekday() == _SATURDAY) is (slot.when is When.SATURDAY) and day.weekday() < 6:
            instant = at_new_york(day, slot.at.hour, slot.at.minute)
            if after < instant <= until:
                yield instant
        day += timedelta(days=1)


def next_run(slot: Slot, now: datetime, calendar: Calendar) -> tuple[datetime, date] | None:
    """The next tick that will run, and its session; None beyond the calendar's end."""
    for tick in ticks(slot, now, now + timedelta(days=14)):
        try:
            decision = decide(slot, tick, tick, calendar)
        except NotASession:
            return None
        if isinstance(decision, Run):
            return tick, decision.session
    return None


def _before_the_holiday(
    slot: Slot, day: date, tick: datetime, now: datetime, calendar: Calendar
) -> Run | None:
    """The session before, where a holiday's tick is itself made up: of the ticks that were missed
    Dagster makes up the latest only, and this may stand for the session's own."""
    if slot.when is not When.EVENING or now <= tick + _GRACE:
        return None
    session = calendar.latest(day)
    if now > calendar.open(calendar.next(session)):
        return None
    return Run(session, f"{slot.name}-{session}")


def _no_session(day: date, calendar: Calendar) -> str:
    later = calendar.between(day, day + timedelta(days=14))
    following = f"; the next session is {later[0]}" if later else ""
    return f"{day} ({day:%A}) is a holiday of {calendar.name}{following}"


def _clock(instant: datetime) -> str:
    return f"{instant.astimezone(NEW_YORK):%H:%M} New York time"
