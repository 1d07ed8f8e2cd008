"""Processes kept alive: started, watched, started again with growing pauses, and ended in order.

Each part runs in a process group of its own, so a Ctrl-C at the terminal reaches the supervisor
alone, and whatever a part has started can be ended with it. What runs is none of its business.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from hydra_pipelines.operations.logs import PartLog, is_trouble
from hydra_pipelines.operations.processes import group_lives, signal_group

REFUSED = frozenset({2, 3})
"""Exit codes of a part that can't run as it was asked to: it is not started again."""
_LOOK_S = 0.05
_ASK_S = 0.3
_KILLED_S = 1.0


class Happening(StrEnum):
    STARTED = "started"
    READY = "ready"
    DIED = "died"
    GIVEN_UP = "given up"
    TROUBLE = "trouble"
    """A line of its log that says so."""
    LEFT_OVER = "left over"
    """It did not end in time and was killed."""


@dataclass(frozen=True)
class Event:
    part: str
    what: Happening
    text: str = ""


@dataclass(frozen=True)
class Part:
    """One process to keep alive.

    arguments: its command line. environment: on top of ours. ready: says whether it answers, None
    where it needn't be asked. ends_by: the signal that asks it to end. patience_s: it may take so
    long to end before it is killed.
    """

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    ready: Callable[[], bool] | None = None
    ends_by: signal.Signals = signal.SIGTERM
    patience_s: float = 6.0


@dataclass(frozen=True)
class Restarts:
    """How often and how soon a part that died is started again.

    The pause doubles from `first_s` to `longest_s` with each life that was shorter than
    `settled_s`; after `attempts` of these in a row it is given up.
    """

    first_s: float = 1.0
    longest_s: float = 30.0
    settled_s: float = 60.0
    attempts: int = 6

    def pause(self, short_lives: int) -> float | None:
        """Seconds before the next start after so many short lives in a row; None: give it up."""
        if short_lives >= self.attempts:
            return None
        return min(self.first_s * 2 ** max(short_lives - 1, 0), self.longest_s)


USUAL = Restarts()


class Supervisor:
    """Keeps parts alive from `start` to `stop`. logs: folder of their log files."""

    def __init__(
        self,
        parts: Sequence[Part],
        logs: Path,
        on_event: Callable[[Event], None],
        restarts: Restarts = USUAL,
        log_bytes: int = 10_000_000,
        log_files: int = 5,
    ):
        self._on_event = on_event
        self._restarts = restarts
        self._stopping = threading.Event()
        self._keepers = [
            _Keeper(
                part,
                PartLog(logs / f"{part.name}.log", log_bytes, log_files),
                restarts,
                self._stopping,
                on_event,
            )
            for part in parts
        ]

    def start(self) -> None:
        for keeper in self._keepers:
            keeper.start()

    def stop(self) -> None:
        """End every part, those listed last first; returns when no process of theirs is left."""
        self._stopping.set()
        for keeper in reversed(self._keepers):
            keeper.ask_to_end()
        for keeper in reversed(self._keepers):
            keeper.end()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(k.part.name for k in self._keepers)

    @property
    def alive(self) -> dict[str, int]:
        """Process ids of the parts that run."""
        return {k.part.name: k.pid for k in self._keepers if k.pid is not None}

    @property
    def ready(self) -> frozenset[str]:
        """Names of the parts that answer."""
        return frozenset(k.part.name for k in self._keepers if k.is_ready)

    @property
    def given_up(self) -> frozenset[str]:
        return frozenset(k.part.name for k in self._keepers if k.given_up)

    @property
    def all_given_up(self) -> bool:
        return all(k.given_up for k in self._keepers)


class _Keeper:
    """Keeps one part alive, in a thread of its own."""

    def __init__(
        self,
        part: Part,
        log: PartLog,
        restarts: Restarts,
        stopping: threading.Event,
        tell: Callable[[Event], None],
    ):
        self.part = part
        self.is_ready = False
        self.given_up = False
        self._log = log
        self._restarts = restarts
        self._stopping = stopping
        self._tell = tell
        self._process: subprocess.Popen[bytes] | None = None
        self._groups: list[int] = []
        """Groups of this part in which something may run, also after its own end."""
        self._thread = threading.Thread(target=self._keep, name=f"keeper of {part.name}")
        self._starting = threading.Lock()

    @property
    def pid(self) -> int | None:
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> None:
        self._thread.start()

    def ask_to_end(self) -> None:
        with self._starting:
            for group in self._living_groups():
                signal_group(group, self.part.ends_by)

    def end(self) -> None:
        deadline = time.monotonic() + self.part.patience_s
        while self._living_groups() and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
        if self._living_groups():
            self._say(Happening.LEFT_OVER, "it did not end in time: killed")
            # Not for ever: what is dead stays in its group until somebody collects its exit code.
            deadline = time.monotonic() + _KILLED_S
            while (living := self._living_groups()) and time.monotonic() < deadline:
                for group in living:
                    signal_group(group, signal.SIGKILL)
                time.sleep(_LOOK_S)
        self._thread.join()
        self._log.close()

    def _living_groups(self) -> list[int]:
        # A group that is empty is forgotten at once: its number may be given away again.
        if self._process is not None:
            self._process.poll()
        self._groups = [group for group in self._groups if group_lives(group)]
        return self._groups

    def _keep(self) -> None:
        short_lives = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            code = self._live()
            if self._stopping.is_set():
                return
            lived = time.monotonic() - began
            short_lives = 1 if lived >= self._restarts.settled_s else short_lives + 1
            pause = None if code in REFUSED else self._restarts.pause(short_lives)
            ended = f"{_ending(code)} after {lived:.0f} s"
            if pause is None:
                self.given_up = True
                self._say(
                    Happening.GIVEN_UP,
                    f"{ended}; not started again. See {self._log.path}"
                    if code in REFUSED
                    else f"{ended}, for the {short_lives}th time in a row. See {self._log.path}",
                )
                return
            self._say(Happening.DIED, f"{ended}; started again in {pause:g} s")
            self._stopping.wait(pause)

    def _live(self) -> int:
        """One life of the part, from its start to its end; its exit code."""
        with self._starting:
            if self._stopping.is_set():
                return 0
            try:
                process = subprocess.Popen(
                    self.part.arguments,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **self.part.environment},
                    start_new_session=True,
                )
            except OSError as error:
                self._log.write(f"could not be started: {error}")
                return 1
            self._living_groups()
            self._groups.append(process.pid)
            self._process = process
        self._say(Happening.STARTED, f"process {process.pid}")
        reader = threading.Thread(target=self._read, args=(process,), daemon=True)
        reader.start()
        while process.poll() is None:
            if not self.is_ready and self._answers():
                self.is_ready = True
                if self.part.ready is not None:
                    self._say(Happening.READY)
            time.sleep(_LOOK_S if self.is_ready else _ASK_S)
        self.is_ready = False
        # What it has started may live on and hold the pipe open: its last words come at once.
        reader.join(timeout=0.5)
        return process.returncode

    def _answers(self) -> bool:
        try:
            return self.part.ready is None or self.part.ready()
        except OSError:
            return False

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for raw in process.stdout:
                line = self._log.write(raw.decode(errors="replace"))
                if is_trouble(line):
                    self._say(Happening.TROUBLE, line)

    def _say(self, what: Happening, text: str = "") -> None:
        if what is not Happening.TROUBLE:
            self._log.write(f"[supervisor] {what}{f': {text}' if text else ''}")
        self._tell(Event(self.part.name, what, text))


def _ending(code: int) -> str:
    if code < 0:
        try:
            return f"ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"ended by signal {-code}"
    return f"ended with exit code {code}"
