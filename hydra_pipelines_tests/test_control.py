"""The control store: it keeps what it is told, over restarts and between processes, or says so."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hydra_pipelines.control import Control, ControlError, ControlEvent, TrippedBreaker


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "my desk" / "control.sqlite"


@pytest.fixture
def control(path: Path) -> Control:
    return Control(path)


def test_a_new_desk_may_trade(control: Control) -> None:
    assert not control.kill_switch and not control.agent_paused and control.tripped() == ()


def test_switches_stay_as_they_are_set(control: Control, path: Path) -> None:
    control.set_kill_switch(True, "the feed is wrong")
    assert Control(path).kill_switch and not Control(path).agent_paused
    control.set_agent_paused(True, "a look first")
    control.set_kill_switch(False, "it was the clock")
    assert not Control(path).kill_switch and Control(path).agent_paused
    control.set_agent_paused(False, "")
    assert not Control(path).agent_paused


def test_a_breaker_keeps_its_first_reason_until_it_is_reset(control: Control, path: Path) -> None:
    before = datetime.now(UTC)
    assert control.trip("daily_loss", "down 3 %", "2019-01-03") is True
    assert control.trip("daily_loss", "down 4 %", "2019-01-04") is False
    assert control.trip("drawdown", "down 11 %", "2019-01-04") is True
    first, second = Control(path).tripped()
    assert first == TrippedBreaker("daily_loss", "down 3 %", "2019-01-03", first.tripped_at)
    assert second.name == "drawdown", "the first to trip is the first told"
    at = datetime.fromisoformat(first.tripped_at)
    assert at.utcoffset() == timedelta(0) and before <= at <= datetime.now(UTC)
    assert control.reset("daily_loss") is True
    assert control.reset("daily_loss") is False
    assert [b.name for b in control.tripped()] == ["drawdown"]
    assert control.trip("daily_loss", "down 5 %", "2019-01-07") is True


@settings(max_examples=15)  # each writes to the disk
@given(
    steps=st.lists(
        st.tuples(st.sampled_from("tr"), st.sampled_from("abc"), st.text(max_size=5)), max_size=12
    )
)
def test_breakers_are_a_set_that_remembers_why(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, str]]
) -> None:
    control = Control(tmp_path_factory.mktemp("control") / "control.sqlite")
    expected: dict[str, str] = {}
    for step, name, reason in steps:
        if step == "t":
            assert control.trip(name, reason, "2019-01-02") == (name not in expected)
            expected.setdefault(name, reason)
        else:
            assert control.reset(name) == (name in expected)
            expected.pop(name, None)
    assert {b.name: b.reason for b in control.tripped()} == expected


def test_the_kill_switch_survives_the_end_of_its_setter(path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from hydra_pipelines.control import Control\n"
        "control = Control(Path(sys.argv[1]))\n"
        "control.set_kill_switch(True, 'stop'); control.trip('drawdown', 'x', '2019-01-02')\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)])
    assert done.returncode == -signal.SIGKILL
    assert Control(path).kill_switch
    assert [b.name for b in Control(path).tripped()] == ["drawdown"]


def _trip_many(job: tuple[Path, int]) -> int:
    path, worker = job
    control = Control(path)
    control.set_agent_paused(True, "all say so")
    won = control.trip("everybody's", f"worker {worker}", "2019-01-02")
    return won + sum(control.trip(f"{worker}-{k}", "", "2019-01-02") for k in range(10)) - 10


def test_processes_at_once_lose_nothing(path: Path, control: Control) -> None:
    """Also on the first start, when the file is made."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(4, spawn, initializer=spawn.Barrier(4).wait) as pool:
        won = list(pool.map(_trip_many, [(path, worker) for worker in range(4)]))
    assert sum(won) == 1, "one of them trips it, the others find it tripped"
    assert len(control.tripped()) == 41
    assert control.agent_paused
    journal = control.journal()
    assert len(journal) == 41 + 4 and len({e.seq for e in journal}) == 45


def test_a_reader_does_not_wait_for_a_writer(path: Path, control: Control) -> None:
    control.set_kill_switch(True, "stop")
    with sqlite3.connect(path, isolation_level=None) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE switches SET value = 'off'")
        assert control.kill_switch, "what is not committed is not so"
        writer.execute("ROLLBACK")
    writer.close()


@pytest.mark.parametrize("state", ["maybe", "", "OFF"])
def test_a_state_that_nobody_wrote_stops(path: Path, control: Control, state: str) -> None:
    control.set_kill_switch(False, "")
    control.set_agent_paused(False, "")
    connection = sqlite3.connect(path)
    connection.execute("UPDATE switches SET value = ?", [state])
    connection.commit()
    connection.close()
    assert control.kill_switch and control.agent_paused


def test_what_cant_be_used_stops_trading_and_says_which_file(path: Path, tmp_path: Path) -> None:
    uses = (
        lambda c: c.kill_switch,
        lambda c: c.agent_paused,
        lambda c: c.tripped(),
        lambda c: c.trip("drawdown", "", "2019-01-02"),
        lambda c: c.set_kill_switch(True, "stop"),
        lambda c: c.note("looked", "user:ann", {}),
        lambda c: c.journal(),
        lambda c: c.store_id,
    )
    folder_in_its_place = tmp_path / "folder.sqlite"
    folder_in_its_place.mkdir()
    no_database = tmp_path / "text.sqlite"
    no_database.write_text("nothing that SQLite knows " * 50)
    under_a_file = no_database / "control.sqlite"
    for broken in (folder_in_its_place, no_database, under_a_file):
        for use in uses:
            with pytest.raises(ControlError, match="nothing is traded without it") as caught:
                use(Control(broken))
            assert str(broken) in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to the superuser")
def test_a_folder_closed_to_us_stops_trading(path: Path) -> None:
    path.parent.mkdir(mode=0o500)
    with pytest.raises(ControlError, match="nothing is traded without it"):
        Control(path).set_kill_switch(True, "stop")


def test_a_halt_is_both_switches_or_none(control: Control, path: Path) -> None:
    control.halt("the feed is wrong", "user:ann")
    assert control.kill_switch and control.agent_paused
    assert [(e.event, e.actor) for e in control.journal()] == [
        ("kill_switch_on", "user:ann"), ("agent_paused", "user:ann"),
    ]  # fmt: skip
    control.set_kill_switch(False, "go")
    control.set_agent_paused(False, "go")
    connection = sqlite3.connect(path)
    connection.execute(
        "CREATE TRIGGER half BEFORE INSERT ON journal WHEN new.event = 'agent_paused' "
        "BEGIN SELECT RAISE(ABORT, 'half'); END"
    )
    connection.commit()
    connection.close()
    with pytest.raises(ControlError, match="half"):
        control.halt("again", "user:ann")
    assert not control.kill_switch and not control.agent_paused


# the journal


def test_every_change_is_journalled_with_who_and_why(control: Control, path: Path) -> None:
    before = datetime.now(UTC)
    control.set_kill_switch(True, "the feed is wrong", "user:ann")
    control.set_agent_paused(True, "a look first", "user:ann")
    control.trip("drawdown", "down 11 %", "2019-01-03")
    control.trip("drawdown", "down 12 %", "2019-01-04")
    control.reset("drawdown", "it was a split", "user:bob")
    control.reset("drawdown")
    control.set_kill_switch(False, "it was the clock", "user:ann")
    control.set_agent_paused(False, "", "agent")
    number = control.note("looked", "user:bob", {"at": "the orders", "n": 3})

    journal = Control(path).journal()
    assert [(e.event, e.actor) for e in journal] == [
        ("kill_switch_on", "user:ann"),
        ("agent_paused", "user:ann"),
        ("breaker_tripped", "system"),
        ("breaker_reset", "user:bob"),
        ("kill_switch_off", "user:ann"),
        ("agent_resumed", "agent"),
        ("looked", "user:bob"),
    ], "and what changed nothing is no entry"
    assert journal[0].details == {"why": "the feed is wrong"}
    assert journal[2].details == {
        "breaker": "drawdown", "why": "down 11 %", "session": "2019-01-03",
    }  # fmt: skip
    assert journal[3].details["why"] == "it was a split"
    assert journal[3].details["tripped_by"] == "down 11 %"
    assert journal[-1].seq == number and journal[-1].details == {"at": "the orders", "n": 3}
    assert all(before <= e.occurred_at <= datetime.now(UTC) for e in journal)
    assert [e.seq for e in journal] == sorted({e.seq for e in journal})
    assert control.journal(since=journal[4].seq) == journal[5:]
    switched = control.last(ControlEvent.KILL_SWITCH_ON, ControlEvent.KILL_SWITCH_OFF)
    assert switched == journal[4]
    assert control.last("never seen") is None


@pytest.mark.parametrize("change", ["UPDATE journal SET actor = 'nobody'", "DELETE FROM journal"])
def test_the_journal_is_only_appended_to(control: Control, path: Path, change: str) -> None:
    control.set_kill_switch(True, "stop", "user:ann")
    journal = control.journal()
    connection = sqlite3.connect(path)
    with pytest.raises(sqlite3.DatabaseError, match="only appended to"):
        connection.execute(change)
    connection.close()
    assert control.journal() == journal


def test_a_change_that_cant_be_journalled_is_not_made(control: Control, path: Path) -> None:
    control.trip("drawdown", "down 11 %", "2019-01-03")
    connection = sqlite3.connect(path)
    connection.execute(
        "CREATE TRIGGER full BEFORE INSERT ON journal BEGIN SELECT RAISE(ABORT, 'full'); END"
    )
    connection.commit()
    connection.close()
    for change in (
        lambda: control.set_kill_switch(True, "stop"),
        lambda: control.trip("daily_loss", "down 3 %", "2019-01-03"),
        lambda: control.reset("drawdown"),
    ):
        with pytest.raises(ControlError, match="full"):
            change()
    assert not control.kill_switch
    assert [b.name for b in control.tripped()] == ["drawdown"]


def test_a_store_from_before_the_journal_is_brought_forward(path: Path, control: Control) -> None:
    path.parent.mkdir()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(
        "CREATE TABLE switches (name TEXT PRIMARY KEY, value TEXT NOT NULL, reason TEXT NOT NULL, "
        "changed_at TEXT NOT NULL)"
    )
    connection.execute("INSERT INTO switches VALUES ('kill_switch', 'on', 'stop', 'then')")
    connection.close()
    assert control.kill_switch and control.journal() == ()
    control.set_kill_switch(False, "go", "user:ann")
    assert [e.event for e in control.journal()] == ["kill_switch_off"]


def test_a_store_has_a_name_of_its_own_for_ever(control: Control, path: Path) -> None:
    name = control.store_id
    control.set_kill_switch(True, "stop")
    assert Control(path).store_id == name
    assert Control(path.with_name("other.sqlite")).store_id != name
