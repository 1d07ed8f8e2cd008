"""Sensors of drift, fills, broker and data, as the daemon asks them; its clock is set."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from hydra_pipelines import day
from hydra_pipelines.definitions import build_defs
from hydra_pipelines.defs.resources import DeskResource
from hydra_pipelines.defs.sensors import drift, fills, health
from hydra_pipelines.desk import Desk
from hydra_pipelines.execution.broker.health import PROBE_CLIENT_ID, probe
from hydra_pipelines.ledger import drift as drift_runs
from hydra_pipelines.ledger import orders
from hydra_pipelines.ledger.store import exclusive
from hydra_pipelines.paper_gateway.launch import find_running
from hydra_pipelines.sessions import Calendar
from hydra_pipelines.settings import Settings, load_settings
from hydra_pipelines_tests.execution.broker.scripted import START, Server, error
from hydra_pipelines_tests.ledger import builders
from hydra_pipelines_tests.mailbox import Mailbox

# Dagster's own, of its own parts.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated"),
    pytest.mark.filterwarnings("ignore:Asset job .* with varying BackfillPolicies"),
    pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`"),
]
SESSION = date(2019, 1, 3)
NOON = datetime(2019, 1, 4, 17, tzinfo=UTC)
"""In the session after that."""
SENSORS = {
    "promotion_sensor", "drift_sensor", "fills_sensor", "failure_sensor", "broker_sensor",
    "stale_data_sensor", "missed_schedule_sensor",
}  # fmt: skip


@dataclass
class Watch:
    """One desk's sensors. at: the real time, set by the test."""

    settings: Settings
    instance: dg.DagsterInstance
    defs: dg.Definitions
    at: datetime = NOON

    @property
    def desk(self) -> Desk:
        return Desk(self.settings)

    def look(self, name: str, cursor: str | None = None) -> Any:
        repository = self.defs.get_repository_def()
        with dg.build_sensor_context(
            instance=self.instance,
            repository_def=repository,
            cursor=cursor,
            resources={"desk": DeskResource.of(self.settings)},
        ) as context:
            return repository.get_sensor_def(name).evaluate_tick(context)

    def alerts(self) -> list[str]:
        return [alert.title for alert in reversed(self.desk.alerts.recent(100))]


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path_factory.mktemp("instance"))) as made:
        yield made


@pytest.fixture(scope="module")
def calendar_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calendar")
    Calendar.load("XNYS", folder)
    return folder


@pytest.fixture
def make(
    instance: dg.DagsterInstance,
    calendar_cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    def made(venue: str = "embedded", alerts: Any = None, **broker: Any) -> Watch:
        folder = tmp_path / "desk"
        shutil.copytree(calendar_cache, folder / "cache", dirs_exist_ok=True)
        settings = load_settings(
            data_dir=folder, broker={"venue": venue, **broker}, alerts=alerts or {}
        )
        watch = Watch(settings, instance, build_defs(settings))
        for module in (fills, health):
            monkeypatch.setattr(module, "now", lambda: watch.at)
        return watch

    return made


# what there is, and a desk on which nothing has happened


def test_the_sensors_of_the_desk_are_on_and_say_what_they_do(make: Any) -> None:
    sensors = make().defs.get_repository_def().sensor_defs
    assert {sensor.name for sensor in sensors} == SENSORS
    for sensor in sensors:
        assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
        assert sensor.description and len(sensor.description) > 80


def test_a_new_desk_is_left_in_peace(make: Any) -> None:
    """Nothing fails, nothing is told, no store is made and no venue is started."""
    watch = make()
    for name in SENSORS - {"failure_sensor"}:
        tick = watch.look(name)
        assert not tick.run_requests and tick.skip_message, name
    assert watch.alerts() == []
    assert not watch.settings.ledger_path.exists()
    assert find_running(watch.settings.venue_path) is None


def test_a_sensor_that_breaks_is_told_once_and_skips(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(desk: Desk) -> None:
        raise ZeroDivisionError("no such thing")

    monkeypatch.setattr(drift, "latest_drift", breaks)
    watch = make()
    for _ in range(2):
        assert "ZeroDivisionError: no such thing" in watch.look("drift_sensor").skip_message
    assert watch.alerts() == ["hydra: the sensor look_for_drift can't look"]


# drift


def test_each_drift_check_that_found_drift_starts_one_cycle_of_the_agent(make: Any) -> None:
    watch = make()
    found = _check_drift(watch, SESSION, "drift_detected")
    tick = watch.look("drift_sensor")
    (request,) = tick.run_requests
    assert (request.partition_key, request.run_key) == (str(SESSION), f"drift-{found}")
    assert not watch.look("drift_sensor", tick.cursor).run_requests
    _check_drift(watch, date(2019, 1, 4), "ok")
    assert "found none" in watch.look("drift_sensor", tick.cursor).skip_message
    later = _check_drift(watch, date(2019, 1, 7), "drift_detected")
    (again,) = watch.look("drift_sensor", tick.cursor).run_requests
    assert again.run_key == f"drift-{later}"


def _check_drift(watch: Watch, session: date, status: str) -> int:
    desk = watch.desk
    run = {
        "session": session, "status": status, "models_checked": 2, "failures": {}, "run_id": "r",
        "models_drifted": int(status == "drift_detected"),
    }  # fmt: skip
    with desk.ledger.transaction() as tx:
        number, _ = drift_runs.record_run(tx, run, [], [])
    desk.ledger.publish()
    return number


# fills


def _order(watch: Watch, ref: str, *events: str) -> None:
    with watch.desk.ledger.transaction() as tx:
        orders.insert_intents(tx, [builders.intent(ref, session=SESSION)])
        orders.append_events(tx, [(ref, event, {}, NOON) for event in events])


def test_orders_that_no_run_looks_after_are_brought_up_to_date(make: Any) -> None:
    watch = make("ibkr")
    _order(watch, "one", "pending", "sending", "submitted")
    tick = watch.look("fills_sensor")
    (request,) = tick.run_requests
    assert request.partition_key == str(SESSION)
    (target,) = watch.defs.get_repository_def().get_sensor_def("fills_sensor").targets
    assert target.job_name == "reconcile", "which sends nothing"
    # While the exchange is open they go on by themselves; then only what we hear of is new.
    assert not watch.look("fills_sensor", tick.cursor).run_requests
    watch.at += timedelta(minutes=5)
    tick = watch.look("fills_sensor", tick.cursor)
    assert tick.run_requests and tick.run_requests[0].run_key != request.run_key
    watch.at = datetime(2019, 1, 5, 17, tzinfo=UTC)
    tick = watch.look("fills_sensor", tick.cursor)
    watch.at += timedelta(hours=5)
    assert "hydra orders" in watch.look("fills_sensor", tick.cursor).skip_message


def test_orders_of_a_run_at_work_are_that_run_s(make: Any) -> None:
    watch = make()
    _order(watch, "one", "pending", "sending", "submitted")
    with exclusive(watch.settings.data_path / "execution.lock", 1, "a test"):
        tick = watch.look("fills_sensor")
    assert not tick.run_requests and "somebody is at work" in tick.skip_message
    assert watch.look("fills_sensor").run_requests


def test_finished_orders_are_none_of_its_business(make: Any) -> None:
    watch = make()
    _order(watch, "one", "pending", "sending", "submitted", "cancelled", "finished")
    assert watch.look("fills_sensor").skip_message == "no order is left unfinished"


# broker


def _unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_a_broker_that_is_away_is_told_once_an_outage(make: Any) -> None:
    port = _unused_port()
    watch = make("ibkr", port=port)
    cursor = None
    for looks in range(1, 5):
        tick = watch.look("broker_sensor", cursor)
        cursor = tick.cursor
        assert f"nothing listens on 127.0.0.1:{port}" in tick.skip_message
        assert watch.alerts() == ["hydra: the broker does not answer"] * (looks >= 2)
        watch.at += timedelta(minutes=5)
    (alert,) = watch.desk.alerts.recent()
    assert "2018-12-30 01:00 New York time (weekly)" in alert.text
    with Server() as server:
        back = make("ibkr", port=server.port)
        tick = back.look("broker_sensor", cursor)
        assert "answers, server version 176, again" in tick.skip_message
        assert json.loads(tick.cursor)["failures"] == 0
        assert [fields[2] for fields in server.of(START)] == [str(17 + PROBE_CLIENT_ID)]
        assert len(server.heard) == 1, "it greets, and asks for nothing"


@pytest.mark.parametrize(
    ("server", "said"),
    [
        (Server(mute=True), "never answered: log the gateway in"),
        (Server(greeting=()), "the API does not start"),
        (
            Server(hang_up="at once"),
            "closed at once: add this machine to the gateway's trusted IPs",
        ),
        (Server(greeting=[(9, 1, 1), error(-1, 1100, "lost")]), "error 1100: lost"),
        (Server(greeting=[(9, 1, 1), error(-1, 2110, "broken")]), "error 2110: broken"),
        (Server(greeting=[error(-1, 326, "in use")]), "error 326: in use"),
    ],
    ids=lambda value: None if isinstance(value, Server) else value,
)
def test_what_a_gateway_that_is_not_well_says(server: Server, said: str) -> None:
    with server:
        pulse = probe("127.0.0.1", server.port, 17, timeout_s=0.4)
    assert not pulse.ok and said in pulse.detail


def test_notices_about_data_farms_are_no_outage() -> None:
    with Server(greeting=[(9, 1, 1), error(-1, 2104, "farm is OK"), error(-1, 1102)]) as server:
        assert probe("127.0.0.1", server.port, 17, timeout_s=0.4).ok


def test_in_ib_s_own_restart_nobody_is_asked(make: Any) -> None:
    watch = make("ibkr", port=_unused_port())
    watch.at = datetime(2019, 1, 5, 4, 30, tzinfo=UTC)  # Friday night in New York
    tick = watch.look("broker_sensor")
    assert "not asked: IB resets its servers on Friday night" in tick.skip_message


# data


def test_a_session_without_bars_is_told_once(make: Any) -> None:
    watch = make("ibkr")
    watch.at = datetime(2019, 1, 4, 2, tzinfo=UTC)
    tick = watch.look("stale_data_sensor")
    assert "the lake is empty, and 2019-01-03 should be in it" in tick.skip_message
    day.ingest_bars(watch.desk, SESSION)
    assert watch.look("stale_data_sensor").skip_message == "the latest session's bars are there"
    # The next session has closed, and its bars are given three hours.
    watch.at = datetime(2019, 1, 4, 23, 59, tzinfo=UTC)
    assert watch.look("stale_data_sensor").skip_message == "the latest session's bars are there"
    cursor = None
    for _ in range(2):
        watch.at += timedelta(minutes=30)
        tick = watch.look("stale_data_sensor", cursor)
        cursor = tick.cursor
        assert "the lake's last session is 2019-01-03, 1 behind 2019-01-04" in tick.skip_message
    assert watch.alerts() == [
        "hydra: no bars of 2019-01-03 yet", "hydra: no bars of 2019-01-04 yet",
    ]  # fmt: skip


def test_what_sensors_tell_reaches_a_mailbox_once(make: Any) -> None:
    """The rest of the list is told by runs; see the tests of each."""
    with Mailbox() as box:
        watch = make("ibkr", alerts={"urls": [box.url]}, port=_unused_port())
        broker, data = None, None
        for _ in range(3):
            broker = watch.look("broker_sensor", broker).cursor
            data = watch.look("stale_data_sensor", data).cursor
        assert sorted(box.subjects()) == [
            "hydra: no bars of 2019-01-03 yet", "hydra: the broker does not answer",
        ]  # fmt: skip
