"""That whole days have the steps of the daily job, in an order that its graph allows."""

from __future__ import annotations

import ast
import inspect
from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from hydra_pipelines.day import cycle
from hydra_pipelines.definitions import build_defs
from hydra_pipelines.defs.replayed import TELLERS, Reporter
from hydra_pipelines.desk import Desk
from hydra_pipelines.settings import load_settings

REPORTS = {"performance", "slippage_reconciliation"}
"""Of the published ledger; a replay makes them with each snapshot."""


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> dg.JobDefinition:
    settings = load_settings(data_dir=tmp_path_factory.mktemp("cycle"))
    return build_defs(settings).resolve_job_def("daily_cycle")


def names() -> list[str]:
    """The steps' names, in the order of the code."""
    tree = ast.parse(inspect.getsource(cycle.run_steps))
    return [
        pair.elts[0].value
        for pair in ast.walk(tree)
        if isinstance(pair, ast.Tuple)
        and isinstance(pair.elts[0], ast.Constant)
        and isinstance(pair.elts[-1], ast.Lambda)
    ]


def test_the_steps_are_the_assets_of_the_daily_job(job: dg.JobDefinition) -> None:
    assets = {key.to_user_string() for key in job.asset_layer.selected_asset_keys}
    assert set(names()) | REPORTS == assets == set(TELLERS)


def test_no_step_comes_before_what_it_needs(job: dg.JobDefinition) -> None:
    order = names()
    graph = job.asset_layer.asset_graph
    for place, name in enumerate(order):
        parents = {key.to_user_string() for key in graph.get(dg.AssetKey(name)).parent_keys}
        assert parents & set(order) <= set(order[:place])


def test_what_the_assets_checks_say_stops_a_replay(tmp_path: Path) -> None:
    from hydra_pipelines.day.planning import PlanResult

    desk = Desk(load_settings(data_dir=tmp_path))
    header = {"plan_id": "x", "equity": 1, "cash": 1, "session": date(2019, 1, 2)}
    with dg.DagsterInstance.ephemeral() as instance:
        reporter = Reporter(instance, desk)
        broken = PlanResult(header, (), (), ("too much of it",), kept=False)
        (finding,) = reporter.judge("order_plan", broken)
        assert finding.blocking and "too much of it" in finding.text
        assert not reporter.judge("order_plan", PlanResult(header, (), (), (), kept=False))
