"""Ranges of sessions: research assets take one in one run, what asks the broker refuses."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from hydra_pipelines.definitions import build_defs
from hydra_pipelines.defs.running import RANGE_END_TAG
from hydra_pipelines.desk import Desk
from hydra_pipelines.paper_gateway.launch import find_running
from hydra_pipelines.settings import Settings, load_settings

# Dagster's own, of its own parts.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated"),
    pytest.mark.filterwarnings("ignore:Asset job .* with varying BackfillPolicies"),
    pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`"),
]
FIRST, LAST = date(2019, 1, 2), date(2019, 1, 9)
RANGE = {"dagster/asset_partition_range_start": str(FIRST), RANGE_END_TAG: str(LAST)}
RESEARCH = ("bars", "features", "universe")
AT_THE_BROKER = ("order_plan", "executions", "positions", "account")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return load_settings(data_dir=tmp_path_factory.mktemp("backfills") / "desk")


@pytest.fixture(scope="module")
def defs(settings: Settings) -> dg.Definitions:
    return build_defs(settings)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def run(
    defs: dg.Definitions, instance: dg.DagsterInstance, *assets: str, **tags: str
) -> dg.ExecuteInProcessResult:
    return defs.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey(name) for name in assets],
        tags={**RANGE, **tags},
        raise_on_error=False,
    )


def test_research_assets_take_a_range_in_one_run(
    settings: Settings, defs: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    for name in RESEARCH:
        asset = defs.resolve_assets_def(name)
        assert asset.backfill_policy == dg.BackfillPolicy.single_run(), name
    done = run(defs, instance, *RESEARCH)
    assert done.success
    desk = Desk(settings)
    days = desk.calendar.between(FIRST, LAST)
    for name in RESEARCH:
        made = instance.get_materialized_partitions(dg.AssetKey(name))
        assert made == {str(day) for day in days}, name
    assert all(check.passed for check in done.get_asset_check_evaluations())
    for lake in (desk.bars, desk.features):
        assert lake.view().sessions[-1].item() == LAST
    assert find_running(settings.venue_path) is None, "no venue was asked"
    assert not Path(settings.mlruns_path).exists()


@pytest.mark.parametrize("name", AT_THE_BROKER)
def test_what_asks_the_broker_refuses_a_range(
    settings: Settings, defs: dg.Definitions, instance: dg.DagsterInstance, name: str
) -> None:
    assert defs.resolve_assets_def(name).backfill_policy is None, "offered one by one at most"
    done = run(defs, instance, name)
    assert not done.success
    (event,) = [e for e in done.all_events if e.is_step_failure]
    failure = event.step_failure_data.user_failure_data
    assert failure and failure.description
    assert failure.description.startswith(f"{name} is not part of backfills")
    assert not [e for e in done.all_events if e.event_type_value == "STEP_UP_FOR_RETRY"]
    assert find_running(settings.venue_path) is None
