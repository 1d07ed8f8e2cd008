"""Strategies taken out of trading: what they held is sold, and nothing is where nobody said so."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import date

import pytest

from hydra_pipelines import day
from hydra_pipelines.day.planning import NothingDeployed
from hydra_pipelines.desk import Desk
from hydra_pipelines.settings import load_settings
from hydra_pipelines_tests.desks import shut_down
from hydra_pipelines_tests.scenarios.days import run_day, truth, venue_positions


@pytest.fixture
def holding(models_desk: Desk) -> Iterator[Desk]:
    """A desk that has traded a session and holds what its strategies chose."""
    lake = models_desk.settings.data_path / "lake"
    shared = lake.resolve()
    lake.unlink()
    shutil.copytree(shared, lake)  # a session is added to it
    run_day(models_desk, models_desk.next_session_due())
    yield models_desk
    models_desk.close()
    shut_down(models_desk.settings.data_path)


def _with_status(desk: Desk, status: str) -> Desk:
    """The desk after all its strategies were given the status in the settings."""
    strategies = [{**s.model_dump(), "status": status} for s in desk.settings.strategies]
    return Desk(load_settings(data_dir=desk.settings.data_path, strategies=strategies))


def test_the_last_strategy_retired_sells_what_is_held_and_research_alone_sells_nothing(
    holding: Desk,
) -> None:
    held = venue_positions(truth(holding))
    assert held
    session = holding.next_session_due()
    holding.close()

    undecided = _with_status(holding, "research")
    _prepare(undecided, session)
    with pytest.raises(NothingDeployed, match=r"set status: deployed .* or status: retired"):
        day.make_order_plan(undecided, session, "test")
    undecided.close()

    retired = _with_status(holding, "retired")
    _prepare(retired, session)
    plan = day.make_order_plan(retired, session, "test")
    assert not plan.violations
    assert {row["symbol"]: row["quantity"] for row in plan.rows} == held
    assert {(row["side"], row["reason"], row["target_quantity"]) for row in plan.rows} == {
        ("SELL", "exit", 0)
    }
    retired.close()


def _prepare(desk: Desk, session: date) -> None:
    """The steps before the plan have nothing to do, and say so."""
    day.check_session(desk, session)
    assert not day.ingest_bars(desk, session).errors
    day.make_features(desk, session)
    assert day.ensure_champions(desk, session) == ()
    assert day.make_predictions(desk, session, "test").status == "no_deployed_strategies"
    signals = day.make_session_signals(desk, session)
    assert not signals.rows and not signals.failures
