"""Schedules: the timetable as Dagster sees it. What a tick does is decided in `day.timetable`.

Each is written by hand: `build_schedule_from_partitioned_job` rejects partitions whose session
counts from its own day on.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime

import dagster as dg

from hydra_pipelines.alerts import AlertKind
from hydra_pipelines.day import timetable
from hydra_pipelines.day.timetable import Missed, Skip, Slot
from hydra_pipelines.defs.resources import DeskResource
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger.store import LedgerError
from hydra_pipelines.sessions import NEW_YORK, NotASession
from hydra_pipelines.settings import Settings, SettingsError

KEY_TAG = "dagster/run_key"
"""Dagster's own, on every run that a schedule or a sensor asked for with a key."""
OF_THE_LAST_WORKED = frozenset({"drift_check", "self_heal"})
"""Jobs that look back: with the embedded venue at the last session worked, not at the one due."""


def all_schedules(
    settings: Settings, jobs: Sequence[dg.UnresolvedAssetJobDefinition]
) -> list[dg.ScheduleDefinition]:
    """Every schedule of the project. jobs: all of the project's."""
    by_name = {job.name: job for job in jobs}
    return [
        _schedule(slot, by_name[slot.job])
        for slot in timetable.timetable(
            settings.schedule, settings.execution.start, settings.execution.evening_tick
        )
        if slot.job in by_name
    ]


def _schedule(slot: Slot, job: dg.UnresolvedAssetJobDefinition) -> dg.ScheduleDefinition:
    status = dg.DefaultScheduleStatus.RUNNING if slot.on else dg.DefaultScheduleStatus.STOPPED

    @dg.schedule(
        name=slot.name,
        job=job,
        cron_schedule=slot.cron,
        execution_timezone=str(NEW_YORK),
        default_status=status,
        description=f"{slot.does}. {slot.days}.",
    )
    def schedule(
        context: dg.ScheduleEvaluationContext, desk: DeskResource
    ) -> dg.RunRequest | dg.SkipReason:
        try:
            return _answer(desk.desk, slot, context)
        except (NotASession, SettingsError, LedgerError) as error:
            return dg.SkipReason(f"it can't be told what is due: {error}")

    return schedule


def _answer(
    desk: Desk, slot: Slot, context: dg.ScheduleEvaluationContext
) -> dg.RunRequest | dg.SkipReason:
    decision = timetable.decide(slot, context.scheduled_execution_time, now(), desk.calendar)
    if isinstance(decision, Skip):
        return dg.SkipReason(decision.reason)
    if isinstance(decision, Missed):
        # In the venue's time no session is lost by it: the next tick takes the same one.
        if not desk.embedded and not was_asked_for(context.instance, decision.key):
            tell_of_a_missed_tick(desk, slot, decision)
        return dg.SkipReason(decision.reason)
    session, key = decision.session, decision.key
    if desk.embedded and slot.name == timetable.EVENING_ORDERS:
        return dg.SkipReason(
            "the embedded venue's night passes within one run: the schedule `trading` sends the "
            "orders of the evening, and works on with them"
        )
    if desk.embedded:
        session = session_of_the_venue(desk, slot)
        key = f"{slot.name}-embedded-{session}"
    if was_asked_for(context.instance, key):
        moved_by = (
            ". The embedded desk keeps its own time: its next session is due once this one is "
            "traded, by `hydra cycle`, `hydra replay` or the schedule `trading`"
            if desk.embedded
            else ""
        )
        return dg.SkipReason(f"{slot.job} of session {session} was run already{moved_by}")
    return dg.RunRequest(run_key=key, partition_key=session.isoformat())


def session_of_the_venue(desk: Desk, slot: Slot) -> date:
    """The session that a tick takes where the desk lives in the venue's time: the one due there."""
    due = desk.next_session_due()
    if slot.job in OF_THE_LAST_WORKED:
        return desk.last_session_worked() or due
    return due


def tell_of_a_missed_tick(desk: Desk, slot: Slot, missed: Missed) -> None:
    desk.alerts.send(
        AlertKind.SCHEDULE_MISSED,
        missed.key,
        f"hydra: {slot.name} of {missed.session} was not run",
        f"{slot.does}: {missed.reason}.",
    )


def now() -> datetime:
    """When a tick is looked at (UTC); a function of its own, so that tests can set the clock."""
    return datetime.now(UTC)


def was_asked_for(instance: dg.DagsterInstance, key: str) -> bool:
    """Whether there is a run by this key, whatever became of it."""
    return bool(instance.get_runs(dg.RunsFilter(tags={KEY_TAG: key}), limit=1))
