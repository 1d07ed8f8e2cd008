"""Schedules, and the sensor of ticks that never came, as the daemon asks them; its clock is set."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    ScheduleInstigatorData,
    TickData,
    TickStatus,
)
from dagster._utils.error import SerializableErrorInfo

from hydra_pipelines.day.timetable import Slot, ticks, timetable
from hydra_pipelines.definitions import build_defs
from hydra_pipelines.defs import schedules, switching
from hydra_pipelines.defs.resources import DeskResource
from hydra_pipelines.defs.schedules import KEY_TAG
from hydra_pipelines.defs.sensors import missed
from hydra_pipelines.defs.switching import is_on, switch
from hydra_pipelines.desk import Desk
from hydra_pipelines.sessions import NEW_YORK, Calendar
from hydra_pipelines.settings import Settings, load_settings

# Dagster's own, of its own parts.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated"),
    pytest.mark.filterwarnings("ignore:Asset job .* with varying BackfillPolicies"),
    pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`"),
]

CRONS = {
    "predictions": ("15 18 * * 1-5", "predict", True),
    "order_plan": ("30 18 * * 1-5", "plan", True),
    "drift_check": ("0 19 * * 1-5", "drift_check", True),
    "training": ("0 8 * * 6", "train", True),
    "trading": ("35 9 * * 1-5", "execute", False),
    "self_healing": ("0 10 * * 6", "self_heal", False),
}


@dataclass
class Daemon:
    """Asks one desk's schedules and sensors. at: the real time, set by the test."""

    settings: Settings
    instance: dg.DagsterInstance
    defs: dg.Definitions
    at: datetime

    @property
    def repository(self) -> Any:
        return self.defs.get_repository_def()

    @property
    def slots(self) -> dict[str, Slot]:
        return {slot.name: slot for slot in timetable(self.settings.schedule, time(9, 35))}

    def tick(self, name: str, *local: int, late: timedelta = timedelta(seconds=20)) -> Any:
        """The schedule's answer to its tick at a New York time, looked at so much later."""
        due = datetime(*local, tzinfo=NEW_YORK)  # type: ignore[misc, arg-type]
        self.at = (due + late).astimezone(UTC)
        with dg.build_schedule_context(
            instance=self.instance,
            scheduled_execution_time=due,
            repository_def=self.repository,
            resources={"desk": DeskResource.of(self.settings)},
        ) as context:
            return self.repository.get_schedule_def(name).evaluate_tick(context)

    def look(self, cursor: str | None = None) -> Any:
        with dg.build_sensor_context(
            instance=self.instance,
            repository_def=self.repository,
            cursor=cursor,
            resources={"desk": DeskResource.of(self.settings)},
        ) as context:
            return self.repository.get_sensor_def("missed_schedule_sensor").evaluate_tick(context)

    def alerts(self) -> list[str]:
        return [alert.title for alert in reversed(Desk(self.settings).alerts.recent(100))]


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path_factory.mktemp("instance"))) as made:
        yield made


@pytest.fixture(scope="module")
def calendar_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calendar")
    Calendar.load("XNYS", folder)
    return folder


@pytest.fixture(params=["ibkr"])
def daemon(
    request: pytest.FixtureRequest,
    instance: dg.DagsterInstance,
    calendar_cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Daemon:
    """Of a desk of its own, at the venue that the test asks for."""
    shutil.copytree(calendar_cache, tmp_path / "desk" / "cache")
    settings = load_settings(data_dir=tmp_path / "desk", broker={"venue": request.param})
    instance.wipe()
    assert instance.schedule_storage is not None
    instance.schedule_storage.wipe()
    made = Daemon(settings, instance, build_defs(settings), datetime(2025, 6, 2, 12, tzinfo=UTC))
    for module in (schedules, missed):
        monkeypatch.setattr(module, "now", lambda: made.at)
    return made


embedded = pytest.mark.parametrize("daemon", ["embedded"], indirect=True)


# what there is


@embedded
def test_the_schedules_are_those_of_the_timetable(daemon: Daemon) -> None:
    found = {
        schedule.name: (
            schedule.cron_schedule,
            schedule.job_name,
            schedule.default_status is dg.DefaultScheduleStatus.RUNNING,
        )
        for schedule in daemon.repository.schedule_defs
    }
    assert found == CRONS
    for schedule in daemon.repository.schedule_defs:
        assert schedule.execution_timezone == "America/New_York"
        assert schedule.description and "New York time" in schedule.description


# at a broker, in real time


def evening_desk(daemon: Daemon) -> Daemon:
    settings = load_settings(
        data_dir=daemon.settings.data_dir,
        broker={"venue": daemon.settings.broker.venue},
        execution={"send": "evening"},
    )
    return replace(daemon, settings=settings, defs=build_defs(settings))


def test_evening_and_morning_are_two_runs_of_one_session(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = evening_desk(daemon)
    for module in (schedules, missed):
        monkeypatch.setattr(module, "now", lambda: desk.at)
    (evening,) = desk.tick("evening_orders", 2025, 6, 3, 18, 35).run_requests
    (morning,) = desk.tick("trading", 2025, 6, 4, 9, 35).run_requests
    assert evening.partition_key == morning.partition_key == "2025-06-03"
    assert evening.run_key == "evening_orders-2025-06-03" != morning.run_key


@embedded
def test_the_venues_night_passes_within_one_run(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = evening_desk(daemon)
    for module in (schedules, missed):
        monkeypatch.setattr(module, "now", lambda: desk.at)
    tick = desk.tick("evening_orders", 2025, 6, 3, 18, 35)
    assert not tick.run_requests
    assert "the schedule `trading` sends the orders of the evening" in tick.skip_message


def test_a_session_is_run_by_its_key_once_whatever_becomes_of_the_run(daemon: Daemon) -> None:
    tick = daemon.tick("order_plan", 2025, 6, 3, 18, 30)
    (request,) = tick.run_requests
    assert (request.run_key, request.partition_key) == ("order_plan-2025-06-03", "2025-06-03")
    job = daemon.defs.resolve_job_def("plan")
    daemon.instance.create_run_for_job(
        job, status=dg.DagsterRunStatus.FAILURE, tags={KEY_TAG: request.run_key}
    )
    # Another time of day is another tick of the same session.
    for minute in (30, 45):
        again = daemon.tick("order_plan", 2025, 6, 3, 18, minute)
        assert not again.run_requests
        assert again.skip_message == "plan of session 2025-06-03 was run already"
    assert daemon.tick("order_plan", 2025, 6, 4, 18, 30).run_requests


def test_trading_works_the_plan_of_the_session_before(daemon: Daemon) -> None:
    (request,) = daemon.tick("trading", 2025, 11, 28, 9, 35).run_requests
    assert request.partition_key == "2025-11-26", "over Thanksgiving, into an early close"
    assert request.run_key == "trading-2025-11-26"


def test_a_holiday_is_skipped_with_its_reason(daemon: Daemon) -> None:
    for name in ("predictions", "order_plan", "trading"):
        slot = daemon.slots[name]
        tick = daemon.tick(name, 2025, 7, 4, slot.at.hour, slot.at.minute)
        assert not tick.run_requests
        assert tick.skip_message == (
            "2025-07-04 (Friday) is a holiday of XNYS; the next session is 2025-07-07"
        )
    assert daemon.alerts() == []


def test_a_tick_beyond_its_window_is_told_once_and_never_traded(daemon: Daemon) -> None:
    within = daemon.tick("trading", 2025, 6, 3, 9, 35, late=timedelta(minutes=59))
    assert within.run_requests[0].partition_key == "2025-06-02"
    for _ in range(2):
        late = daemon.tick("trading", 2025, 6, 3, 9, 35, late=timedelta(minutes=90))
        assert not late.run_requests and "it is not run late" in late.skip_message
    assert daemon.alerts() == ["hydra: trading of 2025-06-02 was not run"]


# with the embedded venue


@embedded
def test_the_embedded_desk_takes_the_session_due_there_and_each_once(daemon: Daemon) -> None:
    """Left alone it neither fails every evening nor says that anything was missed."""
    (request,) = daemon.tick("predictions", 2025, 6, 3, 18, 15).run_requests
    assert request.partition_key == "2019-01-02", "where the desk begins"
    assert request.run_key == "predictions-embedded-2019-01-02"
    daemon.instance.create_run_for_job(
        daemon.defs.resolve_job_def("predict"), tags={KEY_TAG: request.run_key}
    )
    again = daemon.tick("predictions", 2025, 6, 4, 18, 15)
    assert not again.run_requests
    assert "session 2019-01-02 was run already" in again.skip_message
    assert "hydra cycle" in again.skip_message
    assert daemon.tick("trading", 2025, 6, 4, 9, 35).run_requests[0].job_name is None
    late = daemon.tick("trading", 2025, 6, 4, 9, 35, late=timedelta(hours=3))
    assert not late.run_requests
    assert "keeps the venue's time" in daemon.look().skip_message
    assert daemon.alerts() == []


# ticks that never came


def test_of_a_pause_every_tick_that_is_lost_is_told_once(daemon: Daemon) -> None:
    """The daemon was off from Monday to Thursday, and made up the latest tick of each schedule."""
    monday, thursday = datetime(2025, 6, 2, 12, tzinfo=UTC), datetime(2025, 6, 5, 14, tzinfo=UTC)
    daemon.at = monday
    for name in ("trading", "order_plan"):
        declare(daemon, name, monday)
    cursor = daemon.look().cursor
    came(daemon, "trading", datetime(2025, 6, 2, 13, 35, tzinfo=UTC))
    daemon.at = monday + timedelta(hours=3)
    cursor = daemon.look(cursor).cursor
    assert daemon.alerts() == [], "it came"

    daemon.at = thursday
    came(daemon, "order_plan", datetime(2025, 6, 4, 22, 30, tzinfo=UTC))
    tick = daemon.look(cursor)
    lost = [
        "hydra: trading of 2025-06-02 was not run",
        "hydra: trading of 2025-06-03 was not run",
        "hydra: order_plan of 2025-06-02 was not run",
        "hydra: order_plan of 2025-06-03 was not run",
    ]
    assert daemon.alerts() == lost
    assert "order_plan-2025-06-02" in tick.skip_message
    # This morning's may still come, for an hour; then it is lost too.
    assert daemon.look(tick.cursor).skip_message == "every tick came, or still may"
    daemon.at = thursday + timedelta(hours=2)
    for _ in range(2):
        tick = daemon.look(tick.cursor)
    assert daemon.alerts() == [*lost, "hydra: trading of 2025-06-04 was not run"]


def test_a_tick_that_failed_is_told(daemon: Daemon) -> None:
    monday = datetime(2025, 6, 2, 12, tzinfo=UTC)
    declare(daemon, "order_plan", monday)
    cursor = daemon.look().cursor
    came(daemon, "order_plan", datetime(2025, 6, 2, 22, 30, tzinfo=UTC), TickStatus.FAILURE)
    daemon.at = datetime(2025, 6, 2, 23, tzinfo=UTC)
    daemon.look(cursor)
    assert daemon.alerts() == ["hydra: order_plan of 2025-06-02 was not run"]


def test_what_is_off_or_was_off_is_not_missed(daemon: Daemon) -> None:
    cursor = daemon.look().cursor
    daemon.at += timedelta(days=3)
    declare(daemon, "trading", daemon.at)
    daemon.at += timedelta(hours=1)
    cursor = daemon.look(cursor).cursor
    switch(daemon.instance, daemon.slots["trading"], False)
    assert not is_on(daemon.instance, daemon.slots["trading"])
    daemon.at += timedelta(days=3)
    daemon.look(cursor)
    assert daemon.alerts() == []


def declare(daemon: Daemon, name: str, since: datetime) -> None:
    """A schedule that is on since an instant, as the daemon keeps it."""
    slot = daemon.slots[name]
    daemon.instance.add_instigator_state(
        InstigatorState(
            switching.origin_of(slot),
            InstigatorType.SCHEDULE,
            InstigatorStatus.DECLARED_IN_CODE if slot.on else InstigatorStatus.RUNNING,
            ScheduleInstigatorData(slot.cron, since.timestamp()),
        )
    )


def came(daemon: Daemon, name: str, at: datetime, status: TickStatus = TickStatus.SUCCESS) -> None:
    """A tick as the daemon keeps it."""
    slot = daemon.slots[name]
    assert at in set(ticks(slot, at - timedelta(hours=1), at))
    (state,) = [
        state
        for state in daemon.instance.all_instigator_state(instigator_type=InstigatorType.SCHEDULE)
        if state.instigator_name == name
    ]
    daemon.instance.create_tick(
        TickData(
            instigator_origin_id=state.instigator_origin_id,
            selector_id=state.selector_id,
            instigator_name=name,
            instigator_type=InstigatorType.SCHEDULE,
            status=status,
            timestamp=at.timestamp(),
            run_ids=["a run"] if status is TickStatus.SUCCESS else [],
            error=SerializableErrorInfo("no", [], None) if status is TickStatus.FAILURE else None,
        )
    )
