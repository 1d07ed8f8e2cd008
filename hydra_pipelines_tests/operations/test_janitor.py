"""Runs whose process was killed are marked as what they are; all others are left alone."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg
import pytest
from dagster import DagsterRunStatus
from dagster._core.events import EngineEventData

from hydra_pipelines.defs.engines import PROCESS_TAG
from hydra_pipelines.defs.janitor import free_dead_runs

# A run as `hydra cycle` makes one: in its own process, which waits in the middle of a step.
RUNS = """
import sys, dagster as dg
@dg.op
def waits():
    print("here", flush=True)
    sys.stdin.readline()
@dg.job(executor_def=dg.in_process_executor)
def work():
    waits()
with dg.DagsterInstance.from_config(sys.argv[1]) as instance:
    print(work.execute_in_process(instance=instance).run_id, flush=True)
"""


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    home = tmp_path_factory.mktemp("instance")
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with dg.DagsterInstance.from_config(str(home)) as made:
        yield made


def running(instance: dg.DagsterInstance) -> subprocess.Popen[str]:
    """A process that is in the middle of a run."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUNS, instance.root_directory],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    return process


def started(instance: dg.DagsterInstance) -> dg.DagsterRun:
    (run,) = instance.get_runs(dg.RunsFilter(statuses=[DagsterRunStatus.STARTED]))
    return run


def test_a_run_is_over_when_its_process_is_gone_and_not_before(
    instance: dg.DagsterInstance,
) -> None:
    process = running(instance)
    run = started(instance)
    assert free_dead_runs(instance) == [], "its process lives"
    process.send_signal(signal.SIGKILL)
    process.wait()
    (said,) = free_dead_runs(instance)
    assert run.run_id in said and f"process {process.pid}" in said
    over = instance.get_run_by_id(run.run_id)
    assert over is not None and over.status is DagsterRunStatus.FAILURE
    assert free_dead_runs(instance) == []


def test_one_that_was_being_cancelled_is_cancelled(instance: dg.DagsterInstance) -> None:
    process = running(instance)
    run = started(instance)
    instance.report_run_canceling(run)
    assert free_dead_runs(instance) == []
    process.kill()
    process.wait()
    assert len(free_dead_runs(instance)) == 1
    over = instance.get_run_by_id(run.run_id)
    assert over is not None and over.status is DagsterRunStatus.CANCELED


def test_one_that_ends_by_itself_is_left_alone(instance: dg.DagsterInstance) -> None:
    process = running(instance)
    assert free_dead_runs(instance) == []
    said, _ = process.communicate("go on\n", timeout=60)
    over = instance.get_run_by_id(said.strip())
    assert over is not None and over.status is DagsterRunStatus.SUCCESS
    assert free_dead_runs(instance) == []


def test_what_is_not_known_is_left_alone_and_an_id_given_away_again_is_not_believed(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dg.op
    def nothing() -> None: ...

    @dg.job
    def silent() -> None:
        nothing()

    run = instance.create_run_for_job(silent, status=DagsterRunStatus.STARTED)
    assert free_dead_runs(instance) == [], "no process has said that the run is its"
    # Its process had the id that is ours now, before we were started.
    instance.report_engine_event(
        f"Started process for run (pid: {os.getpid()}).", run, EngineEventData.in_process(1)
    )
    assert free_dead_runs(instance) == []
    import hydra_pipelines.operations.processes as processes

    began = processes.started_at(os.getpid())
    assert began is not None
    monkeypatch.setattr(processes, "started_at", lambda pid: began.replace(year=began.year + 1))
    assert len(free_dead_runs(instance)) == 1


def test_of_records_that_machines_share_only_processes_of_this_one_are_judged() -> None:
    @dg.job
    def empty() -> None: ...

    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait(60)
    here, now = socket.gethostname(), datetime.now(UTC).isoformat()
    processes = {
        "not known": "",
        "elsewhere": f"not-{here} {dead.pid} {now}",
        "alive": f"{here} {os.getpid()} {now}",
        "dead": f"{here} {dead.pid} {now}",
    }
    with dg.DagsterInstance.ephemeral() as shared:
        runs = {
            name: shared.create_run_for_job(
                empty, status=DagsterRunStatus.STARTED, tags={PROCESS_TAG: said}
            )
            for name, said in processes.items()
        }
        assert len(free_dead_runs(shared)) == 1
        over = {name: shared.get_run_by_id(run.run_id) for name, run in runs.items()}
        assert [name for name, run in over.items() if run and run.is_finished] == ["dead"]
