"""PostgreSQL, Redis and Celery workers of a test's own: on free ports, in a folder, ended after."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from hydra_pipelines_tests.desks import HYDRA

PASSWORD = "loopback-only"
UNPRIVILEGED = "postgres"
"""PostgreSQL refuses to run as root; its package brings this user."""
Process = subprocess.Popen[bytes]


def missing() -> str | None:
    """Why there can be no cluster on this machine; None where there can."""
    if _postgres_bin() is None:
        return "PostgreSQL is not installed (Debian: apt-get install postgresql)"
    if shutil.which("redis-server") is None:
        return "Redis is not installed (Debian: apt-get install redis-server)"
    if os.getuid() == 0 and shutil.which("setpriv") is None:
        return "PostgreSQL refuses to run as root, and there is no setpriv to change the user"
    return None


def _postgres_bin() -> Path | None:
    found = shutil.which("initdb")
    # Debian keeps it out of the path, by version.
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    chosen = Path(found).resolve() if found else places[-1] if places else None
    return chosen.parent if chosen else None


@dataclass
class Cluster:
    """Servers that run, and the environment that a desk on them has."""

    folder: Path
    environment: dict[str, str]
    workers: dict[str, Process] = field(default_factory=dict)

    def start_worker(self, queue: str, name: str, trap: str = "") -> None:
        """A worker in a process group of its own; its log is in the folder.

        trap: `module:Class.method:n:group`, where it is killed at the n-th call with all its
        processes, or `...:step`, where only the process dies that executes the step.
        """
        # Each process at work loads what the steps need: in the short form one has to do.
        several = queue == "research" and os.environ.get("FULL_SCALE")
        wide = ["--concurrency", "2"] if several else []
        program = [sys.executable, "-c", TRAPPED, trap] if trap else HYDRA
        with (self.folder / f"{name}.log").open("ab") as log:
            self.workers[name] = subprocess.Popen(
                [*program, "worker", "--queue", queue, "--name", name, *wide],
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def log_of(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def wait_for_workers(self) -> None:
        for name in self.workers:
            wait(lambda name=name: " ready." in self.log_of(name), 180, f"worker {name}")

    def replace_worker(self, queue: str, trap: str = "") -> None:
        """Another worker of a queue in the place of the one named like it, which may be dead."""
        self.stop_worker(queue)
        (self.folder / f"{queue}.log").unlink()
        self.start_worker(queue, queue, trap)
        self.wait_for_workers()

    def stop_worker(self, name: str) -> None:
        process = self.workers.pop(name)
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)
            raise AssertionError(f"worker {name} did not stop: {self.log_of(name)}") from None

    def stop_workers(self) -> None:
        for name in list(self.workers):
            self.stop_worker(name)


TRAPPED = """
import importlib, os, signal, sys

trap = sys.argv.pop(1)
module, path, calls, what = trap.split(":")
owner = importlib.import_module(module)
*owners, name = path.split(".")
for part in owners:
    owner = getattr(owner, part)
real, seen = getattr(owner, name), []

def trapped(*args, **kwargs):
    seen.append(1)
    if len(seen) == int(calls):
        if what == "group":
            os.killpg(0, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **kwargs)

setattr(owner, name, trapped)
from hydra_pipelines.cli import main
sys.argv[0] = "hydra"
main()
"""
"""`hydra` with a trap at one place of the real code."""


@contextmanager
def cluster(desk_folder: Path, **environment: str) -> Iterator[Cluster]:
    """The servers, for the desk in a folder. environment: more settings of that desk."""
    with ExitStack() as stack:
        # Not below pytest's own folders: no other user may enter these.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hydra-cluster-")))
        folder.chmod(0o755)
        postgres_url = stack.enter_context(_postgres(folder))
        redis_url = stack.enter_context(_redis(folder))
        made = Cluster(
            folder,
            {
                "HYDRA_DATA_DIR": str(desk_folder),
                "HYDRA_DAGSTER__STORAGE": "postgres",
                "HYDRA_DAGSTER__POSTGRES_URL": postgres_url,
                "HYDRA_DAGSTER__EXECUTOR": "celery",
                "HYDRA_DAGSTER__BROKER_URL": redis_url,
                **environment,
            },
        )
        stack.callback(made.stop_workers)
        yield made


@contextmanager
def tracking_server(folder: Path) -> Iterator[str]:
    """MLflow's, with its files below a folder; its address."""
    port, files = free_port(), folder / "mlflow"
    files.mkdir()
    command = [sys.executable, "-m", "mlflow", "server", "--host=127.0.0.1", f"--port={port}",
               "--workers=1", f"--backend-store-uri=sqlite:///{files}/mlflow.db",
               f"--artifacts-destination={files}/artifacts"]  # fmt: skip
    with _served(command, folder / "mlflow.log", port, signal.SIGTERM, timeout_s=90):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _postgres(folder: Path) -> Iterator[str]:
    bin_, data, port = _postgres_bin(), folder / "postgres", free_port()
    assert bin_ is not None
    data.mkdir()
    password = folder / "password"
    password.write_text(PASSWORD)
    as_user: list[str] = []
    if os.getuid() == 0:
        shutil.chown(data, UNPRIVILEGED)
        shutil.chown(password, UNPRIVILEGED)
        as_user = ["setpriv", f"--reuid={UNPRIVILEGED}", f"--regid={UNPRIVILEGED}", "--init-groups"]
    made = subprocess.run(
        [*as_user, bin_ / "initdb", "--pgdata", data, "--username", "hydra", "--auth=scram-sha-256",
         "--pwfile", password, "--encoding=UTF8", "--no-locale", "--no-sync"],
        cwd=folder, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    settings = ("listen_addresses=127.0.0.1", f"port={port}", "unix_socket_directories=",
                "fsync=off", "max_connections=60")  # fmt: skip
    command = [*as_user, bin_ / "postgres", "-D", data, *(f"--{s}" for s in settings)]
    with _served(command, folder / "postgres.log", port, signal.SIGINT):
        wait(lambda: "ready to accept" in (folder / "postgres.log").read_text(), 20, "PostgreSQL")
        yield f"postgresql+psycopg2://hydra:{PASSWORD}@127.0.0.1:{port}/postgres"


@contextmanager
def _redis(folder: Path) -> Iterator[str]:
    port = free_port()
    command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", "",
               "--appendonly", "no", "--requirepass", PASSWORD, "--dir", folder]  # fmt: skip
    with _served(command, folder / "redis.log", port, signal.SIGTERM):
        yield f"redis://:{PASSWORD}@127.0.0.1:{port}/0"


@contextmanager
def _served(
    command: Sequence[str | Path],
    log: Path,
    port: int,
    stop: signal.Signals,
    timeout_s: float = 20,
) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=log.parent, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        wait(lambda: process.poll() is not None or _listens(port), timeout_s, str(command[0]))
        assert process.poll() is None, log.read_text()
        yield
    finally:
        process.send_signal(stop)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait(until: Callable[[], bool], timeout_s: float, what: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not until():
        assert time.monotonic() < deadline, f"{what} did not get there in {timeout_s:g} s"
        time.sleep(0.05)


DRIVER = """
import json, sys
import dagster as dg
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster_celery import core_execution_loop
from hydra_pipelines.defs.instance import desk_instance
from hydra_pipelines.desk import Desk

core_execution_loop.TICK_SECONDS = 0.05  # of its own, between two looks at the steps
repository = ReconstructableRepository.for_module("hydra_pipelines", "dagster_definitions")
with desk_instance(Desk.open()) as instance:
    assert type(instance.run_storage).__name__ == "PostgresRunStorage"
    for session in sys.argv[1:]:
        job = repository.get_reconstructable_job("daily_cycle")
        with dg.execute_job(
            job, instance, tags={"dagster/partition": session}, raise_on_error=False
        ) as result:
            print("run", json.dumps({
                "run_id": result.run_id,
                "success": result.success,
                "failures": [e.message for e in result.all_events if e.is_failure],
                "error": "\\n".join(
                    e.event_specific_data.error.to_string()
                    for e in result.all_events
                    if e.is_failure and getattr(e.event_specific_data, "error", None)
                ),
                "parts": [
                    e.materialization.metadata["sessions"].value
                    for e in result.all_events
                    if e.is_step_materialization and "features_part" in e.step_key
                ],
                "workers": {
                    e.step_key: e.engine_event_data.metadata["Celery worker"].value
                    for e in result.all_events
                    if e.is_engine_event and "Celery worker" in e.engine_event_data.metadata
                },
            }), flush=True)
"""
"""Runs the cycles of sessions as the process of a run does, one line of JSON each."""


def sender(made: Cluster, *sessions: date) -> subprocess.Popen[str]:
    """The process of the cycles of some sessions, which sends their steps to the workers."""
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, *map(str, sessions)],
        env={**os.environ, **made.environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_cycles(made: Cluster, *sessions: date) -> list[dict[str, Any]]:
    """Runs the cycles of some sessions on the workers; what came of each."""
    process = sender(made, *sessions)
    try:
        out, errors = process.communicate(timeout=600)
    finally:
        process.kill()
    assert process.returncode == 0, errors[-4000:]
    lines = [line.removeprefix("run ") for line in out.splitlines() if line[:4] == "run "]
    return [json.loads(line) for line in lines]
