"""The same project on PostgreSQL and Celery workers: the same ledger, and what a kill leaves.

Real servers on loopback. The short form is part of the suite. FULL_SCALE=1 (`make scale-test`) runs
another session, kills at more places, makes experiments, keeps models on a tracking server, and
starts a run by Dagster's own command.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from hydra_pipelines import api
from hydra_pipelines.agent.experiment import ExperimentSpec
from hydra_pipelines.day.experimenting import local_runner
from hydra_pipelines.definitions import build_defs
from hydra_pipelines.defs.engines import experiment_runner
from hydra_pipelines.defs.instance import desk_instance
from hydra_pipelines.defs.janitor import free_dead_runs
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger import accounts
from hydra_pipelines.settings import load_settings
from hydra_pipelines_tests.desks import shut_down
from hydra_pipelines_tests.scale.cluster import (
    PASSWORD,
    Cluster,
    cluster,
    missing,
    run_cycles,
    sender,
    tracking_server,
    wait,
)
from hydra_pipelines_tests.scale.ledgers import content
from hydra_pipelines_tests.scenarios.days import truth, venue_cash, venue_positions

FULL = bool(os.environ.get("FULL_SCALE"))
FIRST, SECOND = date(2019, 1, 2), date(2019, 1, 3)
SESSIONS = (FIRST, SECOND) if FULL else (FIRST,)
BROKER_STEPS = {"bars", "order_plan", "executions", "positions", "account"}
SUBMIT = "hydra_pipelines.execution.broker.gateway:BrokerGateway.submit"
KILLS = [
    # the queue whose worker is killed, and where
    pytest.param("broker", f"{SUBMIT}:2:group", id="before the second order"),
]
if FULL:
    KILLS += [
        pytest.param("broker", f"{SUBMIT}:2:step", id="only the process of the step"),
        pytest.param(
            "broker",
            "hydra_pipelines.ledger.accounts:replace_positions:1:group",
            id="before the positions are stored",
        ),
        pytest.param(
            "research",
            "hydra_pipelines.ledger.decisions:replace_predictions:1:group",
            id="before the predictions are stored",
        ),
    ]

pytestmark = [
    pytest.mark.skipif(missing() is not None, reason=missing() or ""),
    # Dagster's own, of its own parts.
    pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("scale") / "my desk"
    yield made
    shut_down(made)


@pytest.fixture(scope="module")
def servers(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Servers and two workers, each with its queue; features are made in two parts."""
    settings = {"HYDRA_DAGSTER__WORKER_SILENCE_S": "4", "HYDRA_DAGSTER__FEATURE_SHARDS": "2"}
    with ExitStack() as stack:
        if FULL:
            # Also with models on a server, as in the compose file.
            tracking = stack.enter_context(tracking_server(tmp_path_factory.mktemp("tracking")))
            settings["HYDRA_MLFLOW_URI"] = tracking
        made = stack.enter_context(cluster(folder, **settings))
        made.start_worker("broker", "broker")
        made.start_worker("research", "research")
        made.wait_for_workers()
        yield made


@pytest.fixture(scope="module")
def spread(servers: Cluster) -> list[dict[str, Any]]:
    """A session or two, each a run whose steps were executed by the workers."""
    return run_cycles(servers, *SESSIONS)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The ledger of the same sessions, each a run in this process."""
    settings = load_settings(data_dir=tmp_path_factory.mktemp("embedded") / "my desk")
    try:
        for session in SESSIONS:
            with dg.DagsterInstance.ephemeral() as instance:
                run = (
                    build_defs(settings)
                    .resolve_job_def("daily_cycle")
                    .execute_in_process(instance=instance, partition_key=session.isoformat())
                )
            assert run.success
        yield settings.ledger_path
    finally:
        shut_down(settings.data_path)


def test_steps_go_to_the_workers_of_their_queues(spread: list[dict[str, Any]]) -> None:
    for run in spread:
        assert run["success"], run["error"]
        names = {step: worker.partition("@")[0] for step, worker in run["workers"].items()}
        assert {step for step, name in names.items() if name == "broker"} == BROKER_STEPS
        assert set(names.values()) == {"broker", "research"}
        assert {"features_part_1_of_2", "features_part_2_of_2"} < names.keys()
    # The history in two parts; a single session is not worth it.
    first, again = spread[0]["parts"]
    assert first == again > 4000
    assert all(run["parts"] == [0, 0] for run in spread[1:])


def test_the_ledger_is_the_one_of_the_embedded_run(
    spread: list[dict[str, Any]], folder: Path, embedded: Path
) -> None:
    ours, theirs = content(folder / "hydra.duckdb"), content(embedded)
    assert ours.keys() == theirs.keys()
    for table, rows in theirs.items():
        assert ours[table] == rows, table
    for table in ("executed_trades", "order_events", "predictions", "account_snapshots"):
        assert len(theirs[table]) > 1, "there is something to compare"


def sent_once_and_books_agree(desk: Desk) -> None:
    books = truth(desk)
    refs = Counter(order["order_ref"] for order in books["orders"])
    assert set(refs.values()) == {1}
    rows = Counter(tuple(ref.split(".")[i] for i in (0, 2, 3)) for ref in refs)
    assert set(rows.values()) == {1}, "one order per row of a plan reached the venue"
    assert {p["symbol"]: p["quantity"] for p in api.positions(desk)} == venue_positions(books)
    with desk.ledger.snapshot() as ledger:
        assert accounts.cash(ledger, "DU0000001") == venue_cash(books)


@pytest.mark.parametrize(("queue", "trap"), KILLS)
def test_a_worker_killed_in_the_middle_is_survived(
    servers: Cluster,
    spread: list[dict[str, Any]],
    folder: Path,
    queue: str,
    trap: str,
) -> None:
    """The run ends, the next one goes on where it was, and every order is sent once."""
    desk = Desk(load_settings(data_dir=folder))
    session = desk.next_session_due()
    servers.replace_worker(queue, trap)
    (cut_short,) = run_cycles(servers, session)
    assert not cut_short["success"]
    # Who lost the whole worker learns it from its silence, and a pool from its process.
    told = "has not answered for 4 s" if trap.endswith("group") else "WorkerLostError"
    assert told in cut_short["error"]
    assert desk.next_session_due() == session, "a day that was cut short is due again"

    servers.replace_worker(queue)
    (goes_on,) = run_cycles(servers, session)
    assert goes_on["success"], goes_on["error"]
    sent_once_and_books_agree(desk)
    assert desk.next_session_due() == desk.calendar.next(session)


@pytest.mark.skipif(not FULL, reason="set FULL_SCALE=1, or: make scale-test")
def test_the_process_that_sends_the_steps_is_killed_and_the_janitor_frees_its_run(
    servers: Cluster,
    spread: list[dict[str, Any]],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "restored afterwards")
    for name, value in servers.environment.items():
        monkeypatch.setenv(name, value)
    desk = Desk(load_settings())
    session = desk.next_session_due()
    before = len(servers.log_of("broker"))
    process = sender(servers, session)
    wait(lambda: "executions - STEP_START" in servers.log_of("broker")[before:], 300, "executions")
    process.kill()
    process.communicate(timeout=30)
    with desk_instance(desk) as instance:
        (said,) = free_dead_runs(instance)
        assert f"its process {process.pid} was killed" in said
        assert free_dead_runs(instance) == []
    (goes_on,) = run_cycles(servers, session)
    assert goes_on["success"], goes_on["error"]
    sent_once_and_books_agree(desk)
    assert desk.next_session_due() == desk.calendar.next(session)


@pytest.mark.skipif(not FULL, reason="set FULL_SCALE=1, or: make scale-test")
def test_dagsters_own_command_runs_a_cycle_on_the_workers(
    servers: Cluster, spread: list[dict[str, Any]], folder: Path
) -> None:
    desk = Desk(load_settings(data_dir=folder))
    session = desk.next_session_due()
    done = subprocess.run(
        [Path(sys.executable).with_name("dagster"), "job", "execute", "-m", "hydra_pipelines",
         "-j", "daily_cycle", "--tags", f'{{"dagster/partition": "{session}"}}'],
        env={**os.environ, **servers.environment, "DAGSTER_HOME": str(desk.settings.dagster_home)},
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    assert desk.next_session_due() == desk.calendar.next(session)


def spec(desk: Desk, name: str, **other: Any) -> ExperimentSpec:
    """An experiment on the ridge, with a configuration of its own."""
    declared = desk.candidates[0]
    values = {
        "experiment_id": name,
        "cycle_id": "cycle",
        "strategy_id": declared.id,
        "session": FIRST,
        "mutation_type": "alpha",
        "hypothesis": "A stronger penalty generalises better",
        "configuration": replace(declared, parameters={"alpha": 4000.0}).configuration,
        "champion_version": desk.registry.aliases(declared.id)["champion"],
    }
    return ExperimentSpec(**{**values, **other})


@pytest.fixture
def experimenters(servers: Cluster, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """The desk as a process of the cluster has it, with a worker for experiments."""
    for name, value in servers.environment.items():
        monkeypatch.setenv(name, value)
    if "experiments" not in servers.workers:
        servers.start_worker("experiments", "experiments")
        servers.wait_for_workers()
    return Desk(load_settings())


def test_experiments_are_done_by_workers(
    spread: list[dict[str, Any]], experimenters: Desk, servers: Cluster
) -> None:
    """Here those that can't be made, which takes a moment: each has its own result."""
    runner = experiment_runner(experimenters)
    assert type(runner).__name__ == "ExperimentsOnWorkers"
    specs = [spec(experimenters, f"E{n}", strategy_id=f"GONE-2026-00{n}") for n in range(2)]
    results = {result.experiment_id: result for result in runner.run(specs)}
    assert {name: result.error for name, result in results.items()} == {
        f"E{n}": f"there is no strategy 'GONE-2026-00{n}' in the settings any more"
        for n in range(2)
    }
    assert servers.log_of("experiments").count("hydra.experiment[") >= 2


@pytest.mark.skipif(not FULL, reason="set FULL_SCALE=1, or: make scale-test")
def test_an_experiment_by_a_worker_measures_what_one_here_does(
    spread: list[dict[str, Any]], experimenters: Desk
) -> None:
    runner = experiment_runner(experimenters)
    assert runner is not None
    (there,) = runner.run([spec(experimenters, "there")])
    (here,) = local_runner(experimenters).run([spec(experimenters, "here")])
    assert there.error is None and here.error is None
    assert there.figures == here.figures and there.reasons == here.reasons
    assert there.candidate_version != here.candidate_version


@pytest.mark.skipif(not FULL, reason="set FULL_SCALE=1, or: make scale-test")
def test_a_worker_that_is_lost_costs_its_experiment_only(
    spread: list[dict[str, Any]], experimenters: Desk, servers: Cluster
) -> None:
    runner = experiment_runner(experimenters)
    assert runner is not None
    servers.replace_worker("experiments", "hydra_pipelines.defs.workers:local_runner:1:group")
    (lost,) = runner.run([spec(experimenters, "lost")])
    assert "has not answered for 4 s while it had the experiment lost" in str(lost.error)
    servers.replace_worker("experiments")
    (next_one,) = runner.run([spec(experimenters, "next", strategy_id="GONE-2026-001")])
    assert "there is no strategy" in str(next_one.error)


def test_passwords_are_in_no_file_of_the_desk(
    servers: Cluster, spread: list[dict[str, Any]], folder: Path
) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            assert PASSWORD.encode() not in file.read_bytes(), file
    for name in servers.workers:
        assert PASSWORD not in servers.log_of(name)
