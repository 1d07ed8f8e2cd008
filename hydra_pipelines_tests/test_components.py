"""The registry of parts: a heartbeat is kept, ages, and never fails whoever sends it."""

from __future__ import annotations

import os
import sqlite3
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hydra_pipelines.components import Component, Components, Health
from hydra_pipelines.control import Control, ControlError

AT = datetime(2026, 1, 5, 15, 0, tzinfo=UTC)
DAEMON = Component(
    "daemon", "daemon", "Dagster daemon", capabilities=("schedules", "sensors"), ttl_s=30, pid=11
)


class Watch:
    def __init__(self) -> None:
        self.now = AT

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "my desk" / "control.sqlite"


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def components(path: Path, watch: Watch) -> Components:
    return Components(path, watch)


def test_nothing_is_registered_on_a_new_desk(components: Components, path: Path) -> None:
    assert components.all() == ()
    assert not path.exists(), "looking makes no store"


def test_what_a_part_says_is_kept_for_other_processes(components: Components, path: Path) -> None:
    web = Component(
        "webserver", "webserver", "Dagster UI", "::1", 3000, "http://[::1]:3000/graphql",
        ("runs", 'a "b", c'), 5.5, 12, "started again twice",
    )  # fmt: skip
    assert components.beat(web) and components.beat(DAEMON)
    daemon, webserver = Components(path).all()
    assert daemon.component == DAEMON and webserver.component == web
    assert webserver.registered_at == webserver.last_beat == AT


def test_health_follows_from_the_age_of_the_last_heartbeat(
    components: Components, watch: Watch
) -> None:
    components.beat(DAEMON)
    (kept,) = components.all()
    ages = {0: Health.WELL, 30: Health.WELL, 31: Health.LATE, 90: Health.LATE, 91: Health.DEAD}
    for seconds, health in ages.items():
        assert kept.health(AT + timedelta(seconds=seconds)) is health
    assert kept.health(AT - timedelta(seconds=5)) is Health.WELL, "a clock set back kills nobody"
    watch.now = AT + timedelta(seconds=600)
    components.beat(DAEMON)
    (kept,) = components.all()
    assert kept.registered_at == AT and kept.health(watch.now) is Health.WELL


def test_a_part_started_again_takes_its_place(components: Components, watch: Watch) -> None:
    components.beat(DAEMON)
    watch.now = AT + timedelta(seconds=9)
    components.beat(Component("daemon", "daemon", "Dagster daemon", ttl_s=30, pid=99))
    (kept,) = components.all()
    assert kept.component.pid == 99 and kept.registered_at == watch.now
    assert kept.component.capabilities == ()


def test_taking_a_part_off_is_noted_and_a_living_one_comes_back(
    components: Components, path: Path
) -> None:
    components.beat(DAEMON)
    assert components.deregister("daemon", "user:ann") is True
    assert components.all() == () and components.deregister("daemon", "user:ann") is False
    (entry,) = Control(path).journal()
    assert (entry.event, entry.actor) == ("component_deregistered", "user:ann")
    assert entry.details == {"component": "daemon"}
    components.beat(DAEMON)
    assert len(components.all()) == 1


def test_a_heartbeat_never_fails_whoever_sends_it(path: Path, tmp_path: Path) -> None:
    components = Components(path)
    assert components.beat(DAEMON)
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        assert components.beat(DAEMON) is False
        assert time.monotonic() - began < 3
        components.leave("daemon")
        other.execute("ROLLBACK")
    assert components.beat(DAEMON)
    damaged = tmp_path / "damaged.sqlite"
    damaged.write_bytes(b"no database, whatever its name says" * 100)
    assert Components(damaged).beat(DAEMON) is False
    with pytest.raises(ControlError, match=r"damaged\.sqlite"):
        Components(damaged).all()
    under_a_file = damaged / "control.sqlite"
    assert Components(under_a_file).beat(DAEMON) is False


def test_a_process_beats_while_it_works_and_leaves(path: Path) -> None:
    components = Components(path)
    part = Component("agent", "agent", "Agent", ttl_s=0.3)
    told = iter(range(1_000))
    with components.beating(part, lambda c: Component(c.id, c.kind, f"beat {next(told)}", pid=1)):
        _wait_for(lambda: any(kept.component.name == "beat 2" for kept in components.all()))
    assert components.all() == ()

    def broken(component: Component) -> Component:
        raise OSError("the port does not answer")

    with components.beating(part, broken):
        _wait_for(lambda: bool(components.all()))
        (kept,) = components.all()
        assert kept.component.detail == "OSError: the port does not answer"
        assert kept.component.pid == os.getpid()


def test_the_registry_and_the_control_store_share_a_file(path: Path) -> None:
    Components(path).beat(DAEMON)
    control = Control(path)
    control.set_kill_switch(True, "a look first")
    assert control.kill_switch and len(Components(path).all()) == 1


def _wait_for(condition, seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)
