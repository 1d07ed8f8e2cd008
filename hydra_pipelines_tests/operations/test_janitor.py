"""Runs whose process was killed are marked as what they are; all others are left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg
import pytest
from dagster import DagsterRunStatus
from dagster._core.events import EngineEventData
from dagster._core.storage.tags import GRPC_INFO_TAG

from hydra_pipelines.defs.janitor import free_dead_runs
from hydra_pipelines.defs.whereabouts import PROCESS_TAG, note, noted
from hydra_pipelines.operations import processes
from hydra_pipelines.operations.processes import machine

# A run as `hydra cycle` and `dagster job execute` make one: in its own process, with the desk as
# its resource. It waits in the middle of a step.
RUNS = """
import sys, dagster as dg
from hydra_pipelines.defs.resources import DeskResource
@dg.op
def waits(desk: DeskResource):
    print("here", flush=True)
    sys.stdin.readline()
@dg.job(executor_def=dg.in_process_executor, resource_defs={"desk": DeskResource()})
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


@dg.op
def nothing() -> None: ...


@dg.job
def silent() -> None:
    nothing()


def told(instance: dg.DagsterInstance, pid: int, tags: dict[str, str]) -> dg.DagsterRun:
    """A run of which somebody has said that a process works on it."""
    run = instance.create_run_for_job(silent, status=DagsterRunStatus.STARTED, tags=tags)
    text = f"Started process for run (pid: {pid})."
    instance.report_engine_event(text, run, EngineEventData.in_process(pid))
    return run


@pytest.fixture
def gone() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def noting(where: str, pid: int, run_id: str) -> dict[str, str]:
    return {PROCESS_TAG: f"{where} {pid} {datetime.now(UTC).isoformat()} {run_id}"}


def test_what_is_not_known_or_of_another_machine_is_left_alone(
    instance: dg.DagsterInstance, gone: int
) -> None:
    runs = [
        instance.create_run_for_job(silent, status=DagsterRunStatus.STARTED),
        told(instance, gone, {}),
        told(instance, gone, {GRPC_INFO_TAG: '{"socket": "/tmp/hydra-elsewhere-1/code.sock"}'}),
        # Copied from the run that it repeats.
        told(instance, gone, noting(machine(), gone, "another run")),
        told(instance, gone, {PROCESS_TAG: "something else"}),
    ]
    of_another = told(instance, gone, {})
    instance.add_run_tags(of_another.run_id, noting("elsewhere", gone, of_another.run_id))
    ours = told(instance, gone, {})
    note(instance, ours)
    assert free_dead_runs(instance) == []
    for run in (*runs, of_another, ours):
        instance.report_run_failed(run)


def test_one_of_a_code_server_of_this_machine_is_over_with_its_process(
    instance: dg.DagsterInstance, gone: int
) -> None:
    by = f'{{"socket": "/tmp/hydra-{machine()}-1/code.sock"}}'
    run = told(instance, gone, {GRPC_INFO_TAG: by})
    (said,) = free_dead_runs(instance)
    assert run.run_id in said


def test_an_id_that_was_given_away_again_is_another_process(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = told(instance, os.getpid(), {})
    note(instance, run)
    kept = instance.get_run_by_id(run.run_id)
    assert kept is not None and noted(kept) is not None
    assert free_dead_runs(instance) == []
    began = processes.started_at(os.getpid())
    assert began is not None
    monkeypatch.setattr(processes, "started_at", lambda pid: began.replace(year=began.year + 1))
    (said,) = free_dead_runs(instance)
    assert run.run_id in said
