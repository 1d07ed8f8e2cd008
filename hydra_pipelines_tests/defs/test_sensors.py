"""The promotion sensor as the daemon asks it, on a desk whose aliases are moved by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from hydra_pipelines import day
from hydra_pipelines.definitions import build_defs
from hydra_pipelines.defs.resources import DeskResource
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger import decisions
from hydra_pipelines.ledger.store import exclusive
from hydra_pipelines.settings import load_settings
from hydra_pipelines_tests.day.versions import MOMENTUM, RIDGE, copy_of
from hydra_pipelines_tests.ledger import builders

# Dagster's own, of its own parts.
pytestmark = pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated")


@pytest.fixture
def desk(versions_made: Path, tmp_path: Path) -> Desk:
    desk = copy_of(versions_made, tmp_path / "desk")
    day.make_predictions(desk, desk.next_session_due(), "test")
    return desk


@pytest.fixture
def ask(desk: Desk) -> Iterator[Any]:
    """Evaluates the sensor, as the daemon does."""
    defs = build_defs(desk.settings)
    sensor = defs.get_repository_def().get_sensor_def("promotion_sensor")
    with dg.DagsterInstance.ephemeral() as instance:

        def evaluate() -> Any:
            with dg.build_sensor_context(
                instance=instance,
                repository_def=defs.get_repository_def(),
                resources={"desk": DeskResource.of(desk.settings)},
            ) as context:
                return sensor.evaluate_tick(context)

        yield evaluate


def test_the_sensor_is_on_and_looks_several_times_a_minute(desk: Desk) -> None:
    sensor = build_defs(desk.settings).get_repository_def().get_sensor_def("promotion_sensor")
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    assert sensor.minimum_interval_seconds is not None and sensor.minimum_interval_seconds <= 20
    assert {target.job_name for target in sensor.targets} == {"predict", "plan"}


def test_without_a_ledger_there_is_nothing_to_look_at(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path / "new")
    assert day.watch_champions(Desk(settings)) == ((), None)
    assert not settings.ledger_path.exists()


def test_a_move_by_hand_is_written_down_and_predicted_anew_once(desk: Desk, ask: Any) -> None:
    tick = ask()
    assert not tick.run_requests and "the one that the history names" in tick.skip_message
    desk.registry._client().set_registered_model_alias(RIDGE, "champion", "2")
    tick = ask()
    (request,) = tick.run_requests
    due = desk.next_session_due().isoformat()
    assert (request.job_name, request.partition_key) == ("predict", due)
    assert request.tags["dagster/partition"] == due
    (event,) = tick.asset_events
    assert "1 → 2" in event.metadata["found"].value
    # Until it is done it is asked for under the same key, which Dagster runs once.
    assert ask().run_requests[0].run_key == request.run_key
    day.make_predictions(desk, desk.next_session_due(), "test")
    assert not ask().run_requests
    # Back and there again is another move.
    for version in ("1", "2"):
        desk.registry._client().set_registered_model_alias(RIDGE, "champion", version)
        keys = {r.run_key for r in ask().run_requests} - {request.run_key}
    day.make_predictions(desk, desk.next_session_due(), "test")
    desk.registry._client().set_registered_model_alias(RIDGE, "champion", "1")
    (again,) = ask().run_requests
    assert again.run_key not in keys | {request.run_key}


def test_a_drafted_plan_is_made_anew_too(desk: Desk, ask: Any) -> None:
    due = desk.next_session_due()
    with desk.ledger.transaction() as tx:
        decisions.save_plan(tx, builders.plan_header("p", session=due), [], [])
    desk.registry._client().set_registered_model_alias(MOMENTUM, "champion", "3")
    (request,) = ask().run_requests
    assert request.job_name == "plan"


def test_a_strategy_that_stands_still_is_named(desk: Desk, ask: Any) -> None:
    desk.registry._client().delete_model_version(RIDGE, "1")
    (request,) = ask().run_requests
    assert request.job_name == "predict", "what it predicted must not be traded"
    day.make_predictions(desk, desk.next_session_due(), "test")
    tick = ask()
    assert not tick.run_requests and "version_deleted" in tick.skip_message


def test_a_ledger_that_is_held_is_looked_at_the_next_time(desk: Desk, ask: Any) -> None:
    held = desk.settings.ledger_path.with_suffix(".lock")
    settings = load_settings(data_dir=desk.settings.data_path, ledger={"lock_timeout_s": 0.2})
    defs = build_defs(settings).get_repository_def()
    with (
        exclusive(held, 5, "the test"),
        dg.DagsterInstance.ephemeral() as instance,
        dg.build_sensor_context(
            instance=instance,
            repository_def=defs,
            resources={"desk": DeskResource.of(settings)},
        ) as context,
    ):
        tick = defs.get_sensor_def("promotion_sensor").evaluate_tick(context)
        assert "somebody is at work" in tick.skip_message
