"""A year of fills at a venue whose costs are not the predictor's, and the predictor calibrated."""

from __future__ import annotations

import math
import shutil
from datetime import date

import numpy as np
import pytest

from hydra_pipelines import day
from hydra_pipelines.desk import Desk
from hydra_pipelines.execution.slippage import SlippageModel
from hydra_pipelines.ledger import calibrations
from hydra_pipelines.monitoring.reconciliation import SlippageReport, comparable, line
from hydra_pipelines.monitoring.slippage_evidence import judge
from hydra_pipelines.settings import load_settings
from hydra_pipelines_tests.scenarios.year import FULL, Year

pytestmark = pytest.mark.skipif(not FULL, reason="needs the whole year: make year")

WHO = {"actor": "user:x", "reason": "after a year"}


@pytest.fixture
def desk(year: Year, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A desk with the year's ledger in a file of its own, to change."""
    folder = tmp_path_factory.mktemp("calibrated")
    shutil.copy(year.desk.ledger.snapshot_path, folder / "hydra.duckdb")
    return Desk(load_settings(data_dir=folder))


def report(desk: Desk) -> SlippageReport:
    with desk.ledger.transaction() as tx:
        return day.slippage_report(desk, tx)


def halves(found: SlippageReport) -> tuple[date, np.ndarray]:
    """The last session of the first half of the sessions with fills, and which fills are later."""
    sessions = np.unique(found.fills.session)
    middle = sessions[len(sessions) // 2]
    return middle.item(), found.fills.session > middle


def test_calibration_on_the_year_brings_the_bias_below_a_tenth(desk: Desk) -> None:
    before = report(desk)
    assert before.journalled > 500 and before.left_out == {}
    assert before.in_force.n == before.overall.n, "every prediction can be made again"
    assert abs(before.overall.reconciliation.relative_bias) > 0.1
    done = day.calibrate_slippage(desk, **WHO)
    assert done.number == 1 and done.proposal.before == SlippageModel()
    after = report(desk)
    assert after.model == done.proposal.after
    assert abs(after.as_now.reconciliation.relative_bias) < 0.1
    assert after.as_now.reconciliation.rmse < before.overall.reconciliation.rmse
    assert after.overall.reconciliation == before.overall.reconciliation, "the past stays"
    assert after.in_force.n == 0, "and does not count as the new model's success"
    day.revert_calibration(desk, **WHO)
    assert report(desk).as_now.reconciliation == before.as_now.reconciliation


def test_what_half_a_year_teaches_holds_in_the_other_half(desk: Desk) -> None:
    """Out of sample: orders that the calibration has not seen."""
    before = report(desk)
    middle, later = halves(before)
    model = day.calibrate_slippage(desk, until=middle, dry_run=True, **WHO).proposal.after
    unseen = before.fills.take(later).by_order()
    was = line("was", unseen).reconciliation
    is_now = line("is now", unseen, unseen.repredicted(model)).reconciliation
    assert is_now.n == was.n > 100
    assert abs(is_now.relative_bias) < abs(was.relative_bias)
    # Both halves' means are of orders that scatter by several times their cost.
    scatter = is_now.rmse * math.sqrt(1 / is_now.n + 1 / (before.overall.n - is_now.n))
    assert abs(is_now.bias) < 2.5 * scatter


def test_the_journals_slippage_is_that_of_its_prices(desk: Desk) -> None:
    """Every figure recomputed from quantity and prices alone."""
    with desk.ledger.transaction() as tx:
        rows = tx.query(
            "SELECT symbol, side, quantity, price, order_price, arrival_price, shortfall_bps, "
            "actual_slippage, actual_slippage_bps FROM executed_trades"
        )
        fills, _ = comparable(calibrations.observations(tx))
    paid = 0.0
    for row in rows:
        sign = 1 if row["side"] == "BUY" else -1
        against_arrival = sign * (row["price"] / row["arrival_price"] - 1)
        against_order = sign * (row["price"] - row["order_price"])
        assert row["shortfall_bps"] == pytest.approx(float(against_arrival) * 1e4, abs=1e-6)
        assert row["actual_slippage"] == against_order
        assert against_order <= 0, "no fill beyond its limit"
        paid += float(sign * (row["price"] - row["arrival_price"]) * row["quantity"])
    assert line("all", fills).actual_usd == pytest.approx(paid, abs=0.01)


def test_what_the_paper_gate_asks_can_be_shown_and_the_journals_figure_can_not(desk: Desk) -> None:
    """The figures of docs/paper-trading.md: no predictor could show the correlation asked for."""
    orders = report(desk).fills.by_order()
    before = judge(orders.predicted, orders.shortfall, orders.session)
    assert before.attainable < 0.3 and before.figure.correlation < 0.3
    assert not before.contradicted and not before.correlation_fails
    assert not before.level_holds, "the settings' own predictor is too low"
    day.calibrate_slippage(desk, **WHO)
    after = judge(orders.repredicted(report(desk).model), orders.shortfall, orders.session)
    assert after.holds and not after.figure.is_model_calibrated
    assert after.level.half_width < 0.25
