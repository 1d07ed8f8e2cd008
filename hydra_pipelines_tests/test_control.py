"""The control store: it keeps what it is told, over restarts and between processes, or says so."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hydra_pipelines.control import Control, ControlError, TrippedBreaker


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
    with multiprocessing.get_context("fork").Pool(4) as pool:
        won = pool.map(_trip_many, [(path, worker) for worker in range(4)], chunksize=1)
    assert sum(won) == 1, "one of them trips it, the others find it tripped"
    assert len(control.tripped()) == 41
    assert control.agent_paused


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
