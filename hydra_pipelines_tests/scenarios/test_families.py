"""Every family deployed at once: trained, predicted and traded, each in its own universe."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from hydra_pipelines import api
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger import decisions
from hydra_pipelines.settings import load_settings
from hydra_pipelines_tests.scenarios.conftest import MakeDesk
from hydra_pipelines_tests.scenarios.days import decide, run_day

EARLY = {"first_session": date(1998, 1, 2)}
"""Little history, so that training is short."""
WEIGHTS = {
    "ridge": 0.3,
    "momentum": 0.2,
    "hist_gradient_boosting": 0.3,
    "equal_weight": 0.2,
}


def strategies(universe: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Those of the checkout, all deployed, the trees few."""
    out = []
    for strategy in load_settings().strategies:
        change: dict[str, Any] = {"status": "deployed", "universe": universe}
        change["capital_weight"] = WEIGHTS[strategy.family]
        if strategy.family == "hist_gradient_boosting":
            change["parameters"] = {"max_iter": 10}
        out.append({**strategy.model_dump(), **change})
    return out


@pytest.fixture(scope="module")
def desk(make_desk: MakeDesk) -> Desk:
    return make_desk(strategies=strategies(), embedded=EARLY)


def test_a_day_of_four_families_and_a_day_in_a_smaller_universe(desk: Desk) -> None:
    today = run_day(desk, desk.next_session_due())
    assert not today.positions.breaks
    with desk.ledger.snapshot() as rows:
        predictions = decisions.predictions(rows, today.session)
        signals = decisions.signals(rows, today.session)
    by_family = {spec.id: spec.family for spec in desk.strategies}
    assert {by_family[row["strategy_id"]] for row in predictions} == set(WEIGHTS)
    equal = [row for row in signals if by_family[row["strategy_id"]] == "equal_weight"]
    assert len(equal) == 20 and all(row["signal"] == 1 for row in equal)
    # Everybody is wanted by equal weight at least; the limits leave room for 20 names.
    everybody = {row["symbol"] for row in equal}
    assert {row["symbol"] for row in today.plan.rows} == everybody
    held = {row["symbol"]: row["quantity"] for row in api.positions(desk)}
    dropped = sorted(held)[:2]
    assert len(dropped) == 2

    smaller = tuple(sorted(everybody - set(dropped)))
    folder = desk.settings.data_dir
    desk.close()
    narrowed = Desk(load_settings(data_dir=folder, strategies=strategies(smaller), embedded=EARLY))
    try:
        session = narrowed.next_session_due()
        plan = decide(narrowed, session)
        with narrowed.ledger.snapshot() as rows:
            seen = {row["symbol"] for row in decisions.predictions(rows, session)}
        assert seen == set(smaller)
        # What no strategy may hold any more is sold, not kept.
        sold = {row["symbol"]: row for row in plan.rows if row["symbol"] in dropped}
        for symbol in dropped:
            row = sold[symbol]
            assert (row["side"], row["quantity"]) == ("SELL", held[symbol])
            assert row["target_weight"] == 0
    finally:
        narrowed.close()
