"""How experiments are run: a list of specifications in, a result for each out.

Here belongs the interface (`Runner`), and the default behind it: a process of its own for each
experiment, with a time-out, so that one that crashes or hangs costs only itself. What an experiment
does is not known here; nor is what follows from its result.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Protocol

SPEC_FILE, RESULT_FILE, LOG_FILE, LOCK_FILE = "spec.json", "result.json", "log.txt", "lock"
_POLL_S = 0.05
_LOG_LINES = 3


@dataclass(frozen=True)
class ExperimentSpec:
    """All that an experiment needs to know; it can be sent anywhere as JSON.

    session: as of whose close. configuration: of the candidate, as JSON. champion_version: what it
    is measured against. earlier_trials: annualised Sharpe ratios that the gate counts beside its
    own.
    """

    experiment_id: str
    cycle_id: str
    strategy_id: str
    session: date
    mutation_type: str
    hypothesis: str
    configuration: str
    champion_version: int
    earlier_trials: tuple[float, ...] = ()

    @property
    def tags(self) -> dict[str, str]:
        """What people see of it in MLflow, on the run and on the version."""
        return {
            "experiment": self.experiment_id,
            "cycle": self.cycle_id,
            "mutation_type": self.mutation_type,
            "hypothesis": self.hypothesis,
        }

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "session": self.session.isoformat()})

    @classmethod
    def from_json(cls, text: str) -> ExperimentSpec:
        values = json.loads(text)
        values["session"] = date.fromisoformat(values["session"])
        values["earlier_trials"] = tuple(values["earlier_trials"])
        return cls(**values)


@dataclass(frozen=True)
class ExperimentResult:
    """What came of one. error: why it failed, None where it was measured.

    passed: by the promotion gate. reasons, warnings: the gate's. figures: by name.
    """

    experiment_id: str
    error: str | None = None
    candidate_version: int | None = None
    mlflow_run_id: str | None = None
    passed: bool = False
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    message: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ExperimentResult:
        values: dict[str, Any] = json.loads(text)
        for name in ("reasons", "warnings"):
            values[name] = tuple(values[name])
        return cls(**values)


class Runner(Protocol):
    """Runs experiments somewhere. One result for each, as they end, in any order; never raises for
    what went wrong within one."""

    def run(self, specs: Sequence[ExperimentSpec]) -> Iterator[ExperimentResult]: ...


class Processes:
    """Each experiment in a process of its own on this machine.

    command: from the folder of an experiment to the program that runs it. The folder has the
    specification in `spec.json`; the program leaves `result.json` there, written whole, and holds
    `lock` while it works. A result that is there already, left by a run that was killed, is taken.
    folder: where those folders are. environment: of the processes, beside this one's.
    """

    def __init__(
        self,
        command: Callable[[Path], Sequence[str]],
        folder: Path,
        *,
        workers: int,
        timeout_s: float,
        environment: Mapping[str, str] = {},
    ):
        self._command = command
        self._folder = folder
        self._workers = workers
        self._timeout_s = timeout_s
        # Several threads a fit on busy cores cost more than they bring.
        self._environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}

    def run(self, specs: Sequence[ExperimentSpec]) -> Iterator[ExperimentResult]:
        waiting = list(specs)
        working: list[_Working] = []
        try:
            while waiting or working:
                while waiting and len(working) < self._workers:
                    spec = waiting.pop(0)
                    left = read_result(self._folder / spec.experiment_id)
                    if left is not None:
                        yield left
                    else:
                        working.append(self._start(spec))
                for one in [w for w in working if w.ended]:
                    working.remove(one)
                    yield one.result()
                time.sleep(_POLL_S if working else 0)
        finally:
            for one in working:
                one.kill()

    def _start(self, spec: ExperimentSpec) -> _Working:
        folder = self._folder / spec.experiment_id
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / SPEC_FILE, spec.to_json())
        with open(folder / LOG_FILE, "ab") as log:
            process = subprocess.Popen(
                list(self._command(folder)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )
        return _Working(spec, folder, process, self._timeout_s)


class _Working:
    """One process at work."""

    def __init__(
        self,
        spec: ExperimentSpec,
        folder: Path,
        process: subprocess.Popen[bytes],
        timeout_s: float,
    ):
        self._spec, self._folder, self._process = spec, folder, process
        self._timeout_s = timeout_s
        self._started = time.monotonic()
        self._too_long = False

    @property
    def ended(self) -> bool:
        """Whether it has; one that is over its time is ended."""
        if self._process.poll() is not None:
            return True
        if time.monotonic() - self._started > self._timeout_s:
            self._too_long = True
            self.kill()
            return True
        return False

    def kill(self) -> None:
        """End the process and all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def result(self) -> ExperimentResult:
        found = read_result(self._folder)
        if found is not None:
            return found
        if self._too_long:
            error = f"it took longer than {self._timeout_s:g} s and was ended"
        else:
            error = f"its process ended with {_ending(self._process.returncode)} and no result"
        if last := _last_lines(self._folder / LOG_FILE):
            error += f": {last}"
        seconds = time.monotonic() - self._started
        return ExperimentResult(self._spec.experiment_id, error=error, seconds=seconds)


def read_result(folder: Path) -> ExperimentResult | None:
    """The result that a process left, or None where there is none that can be read."""
    try:
        return ExperimentResult.from_json((folder / RESULT_FILE).read_text())
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_whole(path: Path, text: str) -> None:
    """Write a file that is there whole or not at all."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.write_text(text)
    os.replace(new, path)


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def _last_lines(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return " / ".join(line.strip() for line in lines[-_LOG_LINES:])
