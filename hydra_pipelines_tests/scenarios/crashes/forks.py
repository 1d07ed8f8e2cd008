"""A server of trading processes: it has imported everything, has no threads, and forks.

Starting a Python that trades takes seconds, a fork milliseconds, and what dies is a process all the
same. Requests and answers are JSON, one line each, over the pipes of the server: a list of runs,
which are started at once, and the list of what came of them.

Here belongs how a run is started, watched and reported; what it does is `trading`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

LONGEST_S = 90
"""A run that takes longer hangs, and is ended by an alarm, which no trap of ours sends."""
KILLED = -signal.SIGKILL

Answer = dict[str, Any]
"""`status`: 0, or minus the signal; beside it what the run handed back."""


class ForkServer:
    """The other end: starts the server, asks for runs, ends it. Use as a context manager."""

    def __init__(self, calendar_folder: Path) -> None:
        self._calendar_folder = calendar_folder

    def __enter__(self) -> ForkServer:
        self._server = subprocess.Popen(
            [sys.executable, "-m", __name__, self._calendar_folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _where: TracebackType | None,
    ) -> None:
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait(10)
        self._server.stdout.close()

    def run(self, request: Mapping[str, Any]) -> Answer:
        return self.run_at_once([request])[0]

    def run_at_once(self, requests: Sequence[Mapping[str, Any]]) -> list[Answer]:
        """What came of runs that are all started before any is waited for."""
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.write(json.dumps(requests) + "\n")
        self._server.stdin.flush()
        line = self._server.stdout.readline()
        if not line:
            raise RuntimeError("the fork server has ended; its errors are on stderr")
        answers: list[Answer] = json.loads(line)
        for answer in answers:
            if answer["status"] not in (0, KILLED):
                raise RuntimeError(f"a run ended with {answer}")
        return answers


def serve(work: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
    """Answer requests from stdin until it ends; each run is a fork of this process."""
    threads = (
        len(list(Path("/proc/self/task").iterdir())) if Path("/proc/self/task").exists() else 1
    )
    assert threads == 1, f"{threads} threads: a fork would take over their locks, not them"
    for line in sys.stdin:
        runs = [_start(work, request) for request in json.loads(line)]
        print(json.dumps([_ended(*run) for run in runs]), flush=True)


def _start(
    work: Callable[[Mapping[str, Any]], Mapping[str, Any]], request: Mapping[str, Any]
) -> tuple[int, int]:
    reading, writing = os.pipe()
    process = os.fork()
    if process:
        os.close(writing)
        return process, reading
    os.close(reading)
    code = 1
    try:
        # Standard output is the server's wire.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        signal.alarm(LONGEST_S)
        said = dict(work(request))
        code = 0
    except BaseException:
        said = {"error": traceback.format_exc()}
    finally:
        with os.fdopen(writing, "w") as pipe:
            json.dump(said, pipe, default=str)
        os._exit(code)


def _ended(process: int, reading: int) -> Answer:
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    _, status = os.waitpid(process, 0)
    return {**(json.loads(said) if said else {}), "status": os.waitstatus_to_exitcode(status)}


if __name__ == "__main__":
    from hydra_pipelines_tests.scenarios.crashes.trading import calendar, trade

    calendar(Path(sys.argv[1]))
    serve(trade)
