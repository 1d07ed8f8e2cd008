"""A desk that is up, as tests reach it: `hydra up` in a process, its Dagster UI over HTTP."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra_pipelines.components import Components
from hydra_pipelines_tests.desks import HYDRA, CommandLine, shut_down

FINISHED = {"SUCCESS", "FAILURE", "CANCELED"}
QUICK_TO_TRAIN = json.dumps(
    [
        {
            "id": "HYP-2026-002",
            "title": "Momentum",
            "family": "momentum",
            "features": ["momentum_12_1_z"],
            "parameters": {"ic": 0.03},
            "signal": {"method": "rank", "top_fraction": 0.25},
            "capital_weight": 0.5,
            "status": "deployed",
        }
    ]
)
"""HYDRA_STRATEGIES where it doesn't matter what is traded."""
LAUNCH = """
mutation Launch($job: String!, $tags: [ExecutionTag!]!) {
  launchRun(executionParams: {
    selector: {jobName: $job, repositoryName: "__repository__",
               repositoryLocationName: "hydra_pipelines"},
    runConfigData: {}, executionMetadata: {tags: $tags}
  }) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } }
}
"""


class Upped:
    """One `hydra up`. took_s: until its web page answered."""

    def __init__(self, hydra: CommandLine, process: subprocess.Popen[str]):
        self.hydra = hydra
        self.process = process
        self.lines: list[str] = []
        self.url = ""
        self.took_s = 0.0
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip())

    @property
    def said(self) -> str:
        return "\n".join(self.lines)

    def log(self, part: str) -> str:
        path = self.hydra.folder / "logs" / f"{part}.log"
        return path.read_text() if path.exists() else ""

    def pid(self, part: str) -> int:
        """The process of a part, as it was last started."""
        return int(re.findall(rf"\b{part} +started: process (\d+)", self.said)[-1])

    @property
    def parts(self) -> dict[str, Any]:
        return {
            kept.component.id: kept
            for kept in Components(self.hydra.folder / "control.sqlite").all()
        }

    def ask(
        self,
        path: str = "/",
        body: bytes | None = None,
        headers: Mapping[str, str] = {},
        method: str | None = None,
    ) -> tuple[int, str]:
        """Status and text of an answer."""
        request = urllib.request.Request(self.url + path, body, dict(headers), method=method)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def query(self, query: str, **variables: Any) -> Any:
        """What GraphQL answers to a page of its own; an error there is an answer, too."""
        headers = {"Content-Type": "application/json", "Origin": self.url}
        body = json.dumps({"query": query, "variables": variables}).encode()
        _, text = self.ask("/graphql", body, headers)
        answer = json.loads(text)
        assert "errors" not in answer, text
        return answer["data"]

    def launch(self, job: str, session: str) -> str:
        """Launch a run as the UI does; its id. Tried again while the code server comes back."""
        tags = [{"key": "dagster/partition", "value": session}]
        for _ in range(80):
            made = self.query(LAUNCH, job=job, tags=tags)["launchRun"]
            if made["__typename"] == "LaunchRunSuccess":
                return str(made["run"]["runId"])
            time.sleep(0.5)
        raise AssertionError(made)

    def status_of(self, run_id: str) -> str:
        query = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
        return str(self.query(query, id=run_id)["runOrError"]["status"])

    def end_of(self, run_id: str, seconds: float = 90) -> str:
        wait_for(lambda: self.status_of(run_id) in FINISHED, seconds, self)
        return self.status_of(run_id)

    def process_of(self, run_id: str) -> int:
        """The process that works on a run, once it says so."""
        query = (
            "query($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events { "
            "... on MessageEvent { message } } } } }"
        )
        found: list[str] = []

        def look() -> bool:
            events = self.query(query, id=run_id)["logsForRun"]["events"]
            text = "\n".join(event.get("message", "") for event in events)
            found[:] = re.findall(r"Started process for run \(pid: (\d+)\)", text)
            return bool(found)

        wait_for(look, 60, self)
        return int(found[0])

    def end(self, number: signal.Signals = signal.SIGINT) -> float:
        """Ask it to end; the seconds that it took."""
        began = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(30)
        return time.monotonic() - began


def processes_of(folder: Path) -> list[str]:
    """Command lines of the living processes that were started for the desk in a folder."""
    mark = f"HYDRA_DATA_DIR={folder}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
    return [line for line in found if line]


@contextmanager
def up(folder: Path, *options: str, **environment: str) -> Iterator[Upped]:
    """`hydra up` on the desk in a folder, until the block ends."""
    hydra = CommandLine(folder, **environment)
    began = time.monotonic()
    process = subprocess.Popen(
        [*HYDRA, "up", "--port", "0", *options],
        env=hydra.environment,
        cwd=folder.parent,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    upped = Upped(hydra, process)
    try:
        wait_for(lambda: "Dagster UI at" in upped.said, 120, upped)
        upped.took_s = time.monotonic() - began
        upped.url = upped.said.split("Dagster UI at ")[1].split()[0]
        yield upped
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
        shut_down(folder)


def wait_for(condition: Callable[[], object], seconds: float, upped: Upped) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert upped.process.poll() is None, upped.said
        assert time.monotonic() < deadline, f"it did not come about; {upped.said}"
        # Asking costs the server more than the answer is worth.
        time.sleep(0.4)
