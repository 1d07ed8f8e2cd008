"""The supervisor by itself, with small programs as parts: real processes, killed for real."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hydra_pipelines.operations.logs import PartLog, is_trouble
from hydra_pipelines.operations.processes import group_lives, is_the_one, started_at
from hydra_pipelines.operations.supervisor import Event, Happening, Part, Restarts, Supervisor

SLEEPS = "import time; print('up', flush=True); time.sleep(60)"
DEAF = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "print('up', flush=True); time.sleep(60)"
)
WITH_A_CHILD = (
    "import subprocess, sys, time; "
    "c = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
    "print('child', c.pid, flush=True); time.sleep(60)"
)
QUICK = Restarts(first_s=0.05, longest_s=0.1, settled_s=30, attempts=3)


def program(text: str, name: str = "part", **more) -> Part:
    return Part(name, (sys.executable, "-c", text), **more)


class Stage:
    """A supervisor with what it told."""

    def __init__(self, folder: Path):
        self.logs = folder / "logs"
        self.events: list[Event] = []
        self._running: list[Supervisor] = []

    def run(self, *parts: Part, restarts: Restarts = QUICK) -> Supervisor:
        supervisor = Supervisor(parts, self.logs, self.events.append, restarts)
        self._running.append(supervisor)
        supervisor.start()
        return supervisor

    def told(self, what: Happening, part: str = "part") -> list[str]:
        return [e.text for e in self.events if (e.part, e.what) == (part, what)]

    def log(self, part: str = "part") -> str:
        path = self.logs / f"{part}.log"
        return path.read_text() if path.exists() else ""

    def close(self) -> None:
        for supervisor in self._running:
            supervisor.stop()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.close()


def wait_for(condition: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def test_a_killed_part_is_started_again_and_its_words_are_kept(stage: Stage) -> None:
    supervisor = stage.run(program(SLEEPS))
    wait_for(lambda: "Z up\n" in stage.log())
    first = supervisor.alive["part"]
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: supervisor.alive.get("part", first) != first)
    (died,) = stage.told(Happening.DIED)
    assert died.startswith("ended by SIGKILL after 0 s; started again in 0.05 s")
    wait_for(lambda: stage.log().count(" up\n") == 2)
    assert stage.log().startswith(f"{datetime.now(UTC):%Y-%m-%dT}")
    supervisor.stop()
    assert supervisor.alive == {} and not group_lives(first)


def test_one_that_fails_again_and_again_is_given_up(stage: Stage) -> None:
    supervisor = stage.run(program("raise SystemExit(7)"), program(SLEEPS, "other"))
    wait_for(lambda: stage.told(Happening.GIVEN_UP))
    assert supervisor.given_up and len(stage.told(Happening.STARTED)) == 3
    (text,) = stage.told(Happening.GIVEN_UP)
    assert "exit code 7" in text and str(stage.logs / "part.log") in text
    assert "other" in supervisor.alive and not supervisor.all_given_up


@pytest.mark.parametrize("code", [2, 3])
def test_one_that_refuses_is_not_asked_twice(stage: Stage, code: int) -> None:
    supervisor = stage.run(program(f"raise SystemExit({code})"))
    wait_for(lambda: supervisor.all_given_up)
    assert len(stage.told(Happening.STARTED)) == 1


def test_pauses_grow_up_to_a_bound() -> None:
    restarts = Restarts(first_s=1, longest_s=5, attempts=5)
    assert [restarts.pause(n) for n in range(1, 6)] == [1, 2, 4, 5, None]


def test_a_program_that_is_not_there_is_given_up_with_its_reason(stage: Stage) -> None:
    supervisor = stage.run(Part("part", ("/no/such/program",)))
    wait_for(lambda: supervisor.all_given_up)
    assert "No such file" in stage.log()


def test_what_a_part_started_ends_with_it(stage: Stage) -> None:
    supervisor = stage.run(program(WITH_A_CHILD))
    wait_for(lambda: "child" in stage.log())
    child = int(stage.log().split("child ")[1].split()[0])
    # Its parent dies first: the child is nobody's, and still of the part.
    os.kill(supervisor.alive["part"], signal.SIGKILL)
    wait_for(lambda: len(stage.told(Happening.STARTED)) == 2)
    assert started_at(child) is not None, "a part's death ends nothing that it started"
    supervisor.stop()
    assert started_at(child) is None


def test_one_that_does_not_end_is_killed(stage: Stage) -> None:
    supervisor = stage.run(program(DEAF, patience_s=0.5))
    wait_for(lambda: "Z up\n" in stage.log())
    began = time.monotonic()
    supervisor.stop()
    assert time.monotonic() - began < 3
    assert stage.told(Happening.LEFT_OVER) and supervisor.alive == {}


def test_a_part_is_ready_once_it_answers(stage: Stage, tmp_path: Path) -> None:
    sign = tmp_path / "sign"
    supervisor = stage.run(program(SLEEPS, ready=sign.exists))
    wait_for(lambda: "Z up\n" in stage.log())
    assert supervisor.ready == frozenset()
    sign.touch()
    wait_for(lambda: supervisor.ready == {"part"})
    assert len(stage.told(Happening.READY)) == 1


def test_trouble_in_a_log_is_told_and_the_rest_is_not(stage: Stage) -> None:
    stage.run(
        program("print('all is well'); print('\\x1b[31mx - ERROR - no\\x1b[0m')" + ";" + SLEEPS)
    )
    wait_for(lambda: stage.told(Happening.TROUBLE))
    assert stage.told(Happening.TROUBLE) == ["x - ERROR - no"]
    assert "all is well" in stage.log() and "\x1b" not in stage.log()
    assert is_trouble("Traceback (most recent call last):") and not is_trouble("no TERRORS")


def test_logs_are_bounded(tmp_path: Path) -> None:
    log = PartLog(tmp_path / "logs" / "part.log", max_bytes=1_000, files=3)
    for number in range(200):
        log.write(f"line {number} is 100 % right")
    log.close()
    files = sorted((tmp_path / "logs").iterdir())
    assert [f.name for f in files] == ["part.log", "part.log.1", "part.log.2"]
    assert all(f.stat().st_size <= 1_000 for f in files)
    assert "line 199 is 100 % right" in files[0].read_text()


def test_a_process_is_known_by_its_id_and_start() -> None:
    before = datetime.now(UTC)
    process = subprocess.Popen([sys.executable, "-c", SLEEPS], stdout=subprocess.PIPE)
    try:
        began = started_at(process.pid)
        assert began is not None and abs(began - before) < timedelta(seconds=3)
        assert is_the_one(process.pid, datetime.now(UTC))
        long_ago = before - timedelta(minutes=5)
        assert not is_the_one(process.pid, long_ago), "the id was another process's then"
    finally:
        process.kill()
    # Dead, and not collected yet.
    wait_for(lambda: started_at(process.pid) is None)
    process.wait()
    assert not is_the_one(process.pid, datetime.now(UTC))


def test_a_part_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    ends = (
        "import os, time; from hydra_pipelines.operations.processes import end_with_parent; "
        "end_with_parent(); print(os.getpid(), flush=True); time.sleep(60)"
    )
    starts = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {ends!r}])"
    parent = subprocess.Popen(
        [sys.executable, "-c", starts], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    wait_for(lambda: started_at(child) is None)
