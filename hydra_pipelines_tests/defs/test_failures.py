"""A failed run is mailed once: by its own process where that can, by the sensor where it can't."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from hydra_pipelines.alerts import AlertKind, Outcome
from hydra_pipelines.definitions import build_defs
from hydra_pipelines.defs.instance import desk_instance, prepare_home
from hydra_pipelines.defs.resources import DeskResource
from hydra_pipelines.desk import Desk
from hydra_pipelines.market.sources import open_source
from hydra_pipelines.settings import Settings, load_settings
from hydra_pipelines_tests.desks import Flawed, shut_down
from hydra_pipelines_tests.mailbox import Mailbox

# Dagster's own, of its own parts.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated"),
    pytest.mark.filterwarnings("ignore:Asset job .* with varying BackfillPolicies"),
    pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`"),
]


@pytest.fixture
def box() -> Iterator[Mailbox]:
    with Mailbox() as made:
        yield made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The data folder of one desk, whose runs all fail before anything is made."""
    made = tmp_path_factory.mktemp("failures") / "desk"
    yield made
    shut_down(made)


@pytest.fixture
def settings(folder: Path, box: Mailbox) -> Settings:
    return load_settings(data_dir=folder, alerts={"urls": [box.url]})


@contextmanager
def home(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """The desk's own instance; this process forgets it afterwards."""
    monkeypatch.setenv("DAGSTER_HOME", "")
    with desk_instance(Desk(settings)) as instance:
        yield instance


class Sensor:
    """`failure_sensor`, as the daemon asks it time after time."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance):
        self._settings, self._instance = settings, instance
        self._repository = build_defs(settings).get_repository_def()
        self._cursor: str | None = None
        self.look()

    def look(self) -> tuple[list[str], str]:
        """Runs that it told of since the last look, by their ids, and what it says else."""
        with dg.build_sensor_context(
            instance=self._instance,
            repository_def=self._repository,
            cursor=self._cursor,
            resources={"desk": DeskResource.of(self._settings)},
        ) as context:
            tick = self._repository.get_sensor_def("failure_sensor").evaluate_tick(context)
        self._cursor = tick.cursor
        for reaction in tick.dagster_run_reactions:
            assert reaction.error is None, reaction.error
        told = [r.dagster_run.run_id for r in tick.dagster_run_reactions if r.dagster_run]
        return told, tick.skip_message or ""


def dagster_job_execute(settings: Settings, box: Mailbox, job: str, session: str) -> str:
    """What a person types; returns all that it says."""
    done = subprocess.run(
        [sys.executable, "-m", "dagster", "job", "execute", "-m", "hydra_pipelines", "-j", job,
         "--tags", json.dumps({"dagster/partition": session})],
        env={**os.environ, "HYDRA_DATA_DIR": str(settings.data_path),
             "HYDRA_ALERTS__URLS": json.dumps([box.url]),
             "DAGSTER_HOME": str(prepare_home(Desk(settings)))},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    return done.stdout + done.stderr


def test_a_run_of_dagster_job_execute_is_mailed_once(
    settings: Settings, box: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its hook tells, without any daemon; the sensor, which sees it too, doesn't tell again."""
    with home(settings, monkeypatch) as instance:
        sensor = Sensor(settings, instance)
        said = dagster_job_execute(settings, box, "plan", "2019-04-19")
        assert "is not a XNYS session" in said
        assert box.subjects() == ["hydra: plan of session 2019-04-19 failed"]
        assert "bars: 2019-04-19 (Friday) is not a XNYS session" in box.text()
        (run,) = instance.get_runs(limit=1)
        assert run.status is dg.DagsterRunStatus.FAILURE and run.run_id in box.text()
        assert sensor.look() == ([], f"run {run.run_id} has told of its failure itself")
        assert sensor.look()[0] == []
    assert len(box.mails) == 1
    (alert,) = Desk(settings).alerts.recent(1)
    assert (alert.kind, alert.key, alert.outcome) == ("job_failure", run.run_id, Outcome.SENT)


def test_a_run_that_was_killed_is_told_by_the_sensor(
    settings: Settings, box: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    with home(settings, monkeypatch) as instance:
        sensor = Sensor(settings, instance)
        job = build_defs(settings).resolve_job_def("train")
        run = instance.create_run_for_job(
            job, status=dg.DagsterRunStatus.STARTED, tags={"dagster/partition": "2019-01-03"}
        )
        instance.report_run_failed(run, "its process died")
        assert sensor.look()[0] == [run.run_id]
        assert sensor.look()[0] == []
    assert box.subjects() == ["hydra: train of session 2019-01-03 failed"]
    assert "its process died" in box.text()


def test_a_failed_blocking_check_stops_the_trading_steps_and_is_told_with_its_reason(
    settings: Settings, box: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Desk, "source", Flawed(open_source("sample"), date(2019, 1, 2), -5.0))
    with home(settings, monkeypatch) as instance:
        run = (
            build_defs(settings)
            .resolve_job_def("daily_cycle")
            .execute_in_process(instance=instance, partition_key="2019-01-02", raise_on_error=False)
        )
    assert not run.success
    steps = {e.step_key for e in run.all_events if e.event_type_value == "STEP_START"}
    assert steps == {"bars"}
    assert box.subjects() == ["hydra: daily_cycle of session 2019-01-02 failed"]
    assert "bars: stopped by a check. bars, quality: BBY: close is -5" in box.text()


def test_a_channel_that_fails_changes_nothing_of_the_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Mailbox(refuse="550 nobody here") as refusing:
        settings = load_settings(data_dir=folder, alerts={"urls": [refusing.url]})
        with home(settings, monkeypatch) as instance:
            sensor = Sensor(settings, instance)
            run = (
                build_defs(settings)
                .resolve_job_def("plan")
                .execute_in_process(
                    instance=instance,
                    tags={"dagster/partition": "2019-04-19"},
                    raise_on_error=False,
                )
            )
            failed = [e.step_key for e in run.all_events if e.is_step_failure]
            errored = [e for e in run.all_events if e.event_type_value == "HOOK_ERRORED"]
            assert (failed, errored) == (["bars"], [])
            # Nobody was told, so the sensor tries once more.
            refusing.refuse = ""
            assert sensor.look()[0] == [run.dagster_run.run_id]
        assert refusing.subjects() == ["hydra: plan of session 2019-04-19 failed"]
    outcomes: list[Any] = [alert.outcome for alert in Desk(settings).alerts.recent(2)]
    assert outcomes == [Outcome.SENT, Outcome.FAILED]
    assert Desk(settings).alerts.told(AlertKind.JOB_FAILURE, run.dagster_run.run_id)
