"""The journal's reconciliation, from rows in a ledger to figures worked out by hand."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_pipelines.execution.slippage import Reconciliation, SlippageModel
from hydra_pipelines.ledger import calibrations, trades
from hydra_pipelines.ledger.store import Ledger, Transaction
from hydra_pipelines.monitoring.reconciliation import (
    NO_ARRIVAL,
    NO_PREDICTION,
    NOT_OURS,
    OVER_NIGHT,
    SlippageReport,
    reconcile_journal,
)
from hydra_pipelines_tests.monitoring.journal import FIRST, fill, predicted_terms, write_fills

# Twenty fills: predictions 1..20, each outcome half as much again, less one.
TWENTY = [(float(p), 1.5 * p - 1.0) for p in range(1, 21)]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "hydra.duckdb")


def report(tx: Transaction, **chosen: object) -> SlippageReport:
    return reconcile_journal(calibrations.observations(tx, **chosen), SlippageModel())


def test_twenty_fills_by_hand(ledger: Ledger) -> None:
    with ledger.transaction() as tx:
        write_fills(tx, TWENTY)
        found = report(tx)
    figures = found.overall.reconciliation
    assert (figures.n, figures.mean_predicted, figures.mean_actual) == (20, 10.5, 14.75)
    assert figures.bias == 4.25
    # Errors are p/2 - 1: the mean of p^2/4 - p + 1 with mean p^2 = 143.5 is 26.375.
    assert figures.rmse == pytest.approx(math.sqrt(26.375))
    assert figures.correlation == pytest.approx(1.0)
    assert figures.relative_bias == pytest.approx(4.25 / 10.5)
    assert figures.pessimism_multiplier == pytest.approx(14.75 / 10.5)
    assert (figures.colour, figures.is_model_calibrated) == ("yellow", True)
    # 100 shares at 100 USD each: a basis point is one dollar.
    assert found.overall.predicted_usd == pytest.approx(210.0)
    assert found.overall.actual_usd == pytest.approx(295.0)
    # Against the order price the fills were 50 bps better than against arrival.
    assert found.overall.against_order_bps == pytest.approx(14.75 - 50.0)
    assert found.executions.reconciliation == figures, "an order of one execution is that"
    assert (found.first, found.last) == (FIRST, FIRST + timedelta(days=19))
    assert (found.journalled, found.left_out) == (20, {})


def test_nineteen_fills_are_not_enough(ledger: Ledger) -> None:
    with ledger.transaction() as tx:
        write_fills(tx, TWENTY[:19])
        found = report(tx)
    for line in (
        found.overall,
        found.executions,
        *(x for lines in found.groups.values() for x in lines),
    ):
        assert line.reconciliation == Reconciliation(n=19)
        assert line.row()["message"] == "not enough fills: 19 of 20"
        assert line.row()["bias"] is None
    assert found.overall.actual_usd == pytest.approx(295.0 - 29.0), "what was paid is a fact"


def test_an_empty_journal_is_said_to_be_empty(ledger: Ledger) -> None:
    with ledger.transaction() as tx:
        found = report(tx)
    assert (found.first, found.last, found.journalled) == (None, None, 0)
    for line in found.summary:
        assert line.reconciliation.message == "not enough fills: 0 of 20"
        assert line.against_order_bps is None
    assert found.groups == {"symbol": (), "side": (), "algo": (), "hour": ()}


def test_what_can_not_be_compared_is_counted_by_its_reason(ledger: Ledger) -> None:
    with ledger.transaction() as tx:
        write_fills(tx, TWENTY)
        other = {"predicted_slippage_bps": 2.0}
        trades.record(
            tx,
            [
                fill(None, FIRST, 3.0, 1, **other),
                fill(None, FIRST, 3.0, 2, **other),
                fill("order 0", FIRST, 3.0, 2, predicted_slippage_bps=None),
                fill("order 0", FIRST, math.nan, 3, **other),
                fill("order 0", FIRST, 3.0, 4, arrival_price=None, **other),
                fill("order 0", FIRST, 3.0, 5, predicted_slippage_bps=math.nan),
            ],
        )
        found = report(tx)
    assert found.left_out == {NOT_OURS: 2, NO_PREDICTION: 2, NO_ARRIVAL: 2}
    assert found.journalled == 26 and found.overall.reconciliation.n == 20
    assert found.overall.reconciliation.bias == 4.25


def test_a_night_is_no_slippage(ledger: Ledger) -> None:
    """A gap of 80 bps on twenty orders that rested for the open changes no figure."""
    with ledger.transaction() as tx:
        write_fills(tx, TWENTY, routing_reason="small")
        before = report(tx)
        write_fills(tx, [(5.0, 80.0)] * 20, routing_reason="small; rests for the open")
        found = report(tx)
    assert found.left_out == {OVER_NIGHT: 20} and found.journalled == 40
    assert found.overall == before.overall and found.groups == before.groups


def test_the_executions_of_an_order_are_one_fill(ledger: Ledger) -> None:
    """20 executions of 2 orders are no 20 observations."""
    with ledger.transaction() as tx:
        write_fills(tx, [(4.0, 4.0), (6.0, 6.0)])
        more = [
            fill("order 0", FIRST, 10.0, part, predicted_slippage_bps=4.0, quantity=50)
            for part in range(2, 20)
        ]
        trades.record(tx, more)
        found = report(tx)
    assert found.executions.reconciliation.n == 20
    assert found.executions.reconciliation.mean_actual == pytest.approx((4 + 6 + 18 * 10) / 20)
    assert found.overall.reconciliation == Reconciliation(n=2)
    orders = found.fills.by_order()
    # 100 shares at 4 and 18 x 50 at 10.
    assert orders.shortfall.tolist() == pytest.approx([(100 * 4 + 900 * 10) / 1000, 6.0])
    assert orders.predicted.tolist() == pytest.approx([4.0, 6.0])
    assert orders.quantity.tolist() == [1000, 100]


def test_slices_of_one_order_of_the_plan_are_one_order(ledger: Ledger) -> None:
    with ledger.transaction() as tx:
        write_fills(tx, [(4.0, 4.0), (4.0, 8.0)], plan_id="one")
        write_fills(tx, [(4.0, 2.0)], plan_id="one", side="SELL")
        write_fills(tx, [(4.0, 2.0)], plan_id="two")
        found = report(tx)
    assert found.fills.order.tolist() == [0, 0, 1, 2]
    assert found.fills.by_order().shortfall.tolist() == pytest.approx([6.0, 2.0, 2.0])


def test_groups_are_by_symbol_side_algo_and_new_york_hour(ledger: Ledger) -> None:
    with ledger.transaction() as tx:
        write_fills(tx, TWENTY, symbol="AAPL", side="BUY", routing="patience")
        write_fills(tx, [(2.0, 9.0)] * 20, symbol="KO", side="SELL", routing="twap")
        late = datetime(2019, 7, 3, 19, 59, tzinfo=UTC)  # 15:59, daylight saving time
        tx.execute("UPDATE executed_trades SET executed_at = ? WHERE order_ref = 'order 0'", [late])
        found = report(tx)
    lines = {by: {line.name: line for line in group} for by, group in found.groups.items()}
    assert {by: list(group) for by, group in lines.items()} == {
        "symbol": ["AAPL", "KO"],
        "side": ["BUY", "SELL"],
        "algo": ["patience", "twap"],
        "hour": ["10", "15"],
    }
    for name in (("symbol", "KO"), ("side", "SELL"), ("algo", "twap")):
        line = lines[name[0]][name[1]].reconciliation
        assert (line.n, line.bias, line.colour) == (20, pytest.approx(7.0), "red")
        assert line.message == "fills are significantly worse than the model says"
    assert lines["hour"]["15"].reconciliation == Reconciliation(n=1)
    assert lines["hour"]["10"].n == 39 and lines["symbol"]["AAPL"].n == 20


def test_only_predictions_of_the_model_in_force_judge_it(ledger: Ledger) -> None:
    """After a change of the model the fills before it say nothing of the new one."""
    old, new = SlippageModel(), SlippageModel(half_spread_bps=2.0, y=1.4, beyond_spread_bps=1.0)
    with ledger.transaction() as tx:
        for model, n in ((old, 30), (new, 21)):
            for i in range(n):
                terms = predicted_terms(model, 100 * (i + 1), 1.5, "any")
                write_fills(tx, [(terms.pop("predicted_slippage_bps"), 5.0)], **terms)
        write_fills(tx, [(3.0, 5.0)])  # what it was predicted from is not known
        rows = calibrations.observations(tx)
    by_new, by_old = reconcile_journal(rows, new), reconcile_journal(rows, old)
    assert (by_old.in_force.n, by_new.in_force.n) == (30, 21)
    assert by_new.overall.n == 52 and by_new.as_now.n == 51
    # As the new model predicts: 1.5 + 1 + 1.4 x 10,000 x 0.02 x sqrt(shares / 1,000,000).
    shares = [100 * (i + 1) for n in (30, 21) for i in range(n)]
    expected = np.mean([2.5 + 1.4 * 200 * math.sqrt(q / 1e6) for q in shares])
    assert by_new.as_now.reconciliation.mean_predicted == pytest.approx(expected)


def test_a_stretch_can_be_picked(ledger: Ledger) -> None:
    with ledger.transaction() as tx:
        write_fills(tx, TWENTY, symbol="AAPL")
        write_fills(tx, TWENTY, symbol="KO")

        def days(**chosen: object) -> list[date]:
            return [row["session"] for row in calibrations.observations(tx, **chosen)]

        assert len(days()) == 40
        assert days(symbol="KO") == days()[20:]
        assert days(sessions=3) == days()[-3:]
        assert days(since=FIRST + timedelta(days=39)) == days()[-1:]
        assert days(until=FIRST) == days()[:1]
        five_past_ten = datetime(2019, 1, 3, 15, 5, tzinfo=UTC)
        assert len(days(since=five_past_ten)) == 40
        assert len(days(since=five_past_ten + timedelta(seconds=1))) == 39


@given(
    st.lists(
        st.tuples(
            st.integers(0, 4), st.integers(1, 500), st.floats(-50, 50), st.sampled_from("AB")
        ),
        min_size=1,
        max_size=60,
    )
)
def test_groups_add_up_to_the_whole_and_orders_keep_the_money(parts):
    rows = [
        {
            "order_ref": f"o{order}{symbol}",
            "plan_id": None,
            "routing": None,
            "routing_reason": None,
            "session": FIRST,
            "executed_at": datetime(2019, 1, 3, 15, tzinfo=UTC),
            "symbol": symbol,
            "side": "BUY",
            "quantity": quantity,
            "arrival_price": 50.0,
            "predicted_slippage_bps": 1.0 + order,
            "shortfall_bps": actual,
            "actual_slippage_bps": None,
            "quoted_half_spread_bps": None,
            "unit_impact_bps": None,
        }
        for order, quantity, actual, symbol in parts
    ]
    found = reconcile_journal(rows, SlippageModel())
    for lines in found.groups.values():
        assert sum(line.n for line in lines) == found.overall.n
        assert sum(x.actual_usd for x in lines) == pytest.approx(found.overall.actual_usd, abs=1e-6)
    assert found.executions.actual_usd == pytest.approx(found.overall.actual_usd, abs=1e-6)
    assert found.executions.predicted_usd == pytest.approx(found.overall.predicted_usd)
    assert found.executions.n == len(rows)
    assert len(found.fills.by_order()) == len({row["order_ref"] for row in rows})
    assert found.in_force.n == found.as_now.n == 0
