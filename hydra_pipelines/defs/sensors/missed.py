"""Ticks that never came: while the daemon was down, or since a tick could not be evaluated."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.scheduler.instigation import InstigatorState, InstigatorType, TickStatus

from hydra_pipelines.day.timetable import Missed, Run, Slot, decide, ticks, timetable
from hydra_pipelines.defs.schedules import tell_of_a_missed_tick, was_asked_for
from hydra_pipelines.defs.sensors.calm import Answer, calm, now
from hydra_pipelines.desk import Desk
from hydra_pipelines.sessions import NEW_YORK
from hydra_pipelines.settings import Settings

INTERVAL_S = 300
GRACE = timedelta(minutes=10)
"""The daemon may be busy: a tick younger than this is not looked for."""
LOOK_BACK = timedelta(days=14)
"""What is older is nobody's business any more."""


def missed_schedule_sensor(settings: Settings) -> dg.SensorDefinition:
    slots = timetable(settings.schedule, settings.execution.start, settings.execution.evening_tick)

    def look_for_missed_ticks(context: dg.SensorEvaluationContext, desk: Desk) -> Answer:
        return look(context, desk, slots)

    return dg.sensor(
        name="missed_schedule_sensor",
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Compares the timetable with the ticks that came. After a pause Dagster makes up the "
            "latest tick of a schedule only; of every other one whose window is over, and of one "
            "that failed, a person is told once."
        ),
    )(calm(look_for_missed_ticks))


def look(context: dg.SensorEvaluationContext, desk: Desk, slots: tuple[Slot, ...]) -> Answer:
    if desk.embedded:
        return dg.SkipReason("the embedded desk keeps the venue's time: no session is lost there")
    at = now()
    states = {
        state.instigator_name: state
        for state in context.instance.all_instigator_state(instigator_type=InstigatorType.SCHEDULE)
    }
    seen: dict[str, str] = json.loads(context.cursor) if context.cursor else {}
    missing: list[str] = []
    cursor: dict[str, str] = {}
    for slot in slots:
        since = datetime.fromisoformat(seen[slot.name]) if slot.name in seen else at
        state = states.get(slot.name)
        if state is None or not state.is_running:
            cursor[slot.name] = at.isoformat()
            continue
        since = max(since, at - LOOK_BACK, _switched_on(state))
        looked_until = since
        for tick, missed in _never_came(context.instance, state, slot, desk, since, at):
            looked_until = tick
            if missed:
                tell_of_a_missed_tick(desk, slot, missed)
                missing.append(missed.key)
        cursor[slot.name] = looked_until.isoformat()
    text = f"told of {', '.join(missing)}" if missing else "every tick came, or still may"
    return dg.SensorResult(skip_reason=text, cursor=json.dumps(cursor))


def _never_came(
    instance: dg.DagsterInstance,
    state: InstigatorState,
    slot: Slot,
    desk: Desk,
    since: datetime,
    at: datetime,
) -> Iterator[tuple[datetime, Missed | None]]:
    """Ticks that were due, with what is to be told of each: None where it came, or need not.

    Ends before the first one that is not there and may still come.
    """
    due = list(ticks(slot, since, at - GRACE))
    if not due:
        return
    came = _came(instance, state, due[0] - timedelta(seconds=1))
    for tick in due:
        fair = decide(slot, tick, tick, desk.calendar)
        found = came.get(int(tick.timestamp()))
        if not isinstance(fair, Run) or found in (TickStatus.SUCCESS, TickStatus.SKIPPED):
            yield tick, None
        elif found is TickStatus.FAILURE:
            text = f"its tick of {tick.astimezone(NEW_YORK):%Y-%m-%d %H:%M} failed, see the UI"
            yield tick, Missed(fair.session, fair.key, text)
        else:
            late = decide(slot, tick, at, desk.calendar)
            if was_asked_for(instance, fair.key):
                yield tick, None
                continue
            if not isinstance(late, Missed):
                return
            yield tick, late


def _came(
    instance: dg.DagsterInstance, state: InstigatorState, since: datetime
) -> Mapping[int, TickStatus]:
    """Ticks since an instant: the second that each was due at -> what became of it."""
    found = instance.get_ticks(
        state.instigator_origin_id, state.selector_id, after=since.timestamp()
    )
    return {int(tick.timestamp): tick.status for tick in found}


def _switched_on(state: InstigatorState) -> datetime:
    started = getattr(state.instigator_data, "start_timestamp", None)
    return datetime.fromtimestamp(started or 0, UTC)
