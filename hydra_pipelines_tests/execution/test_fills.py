"""From an execution to its row in the journal."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from hydra_pipelines.execution.broker.messages import Execution
from hydra_pipelines.execution.fills import journal_row

AT = datetime(2019, 1, 3, 15, tzinfo=UTC)
BUY = Execution(
    "00a1.0001.01.02", "ref", 5, 77, "DU1", "AAPL", "BUY", 30, Decimal("10.02"), AT, 17,
    Decimal("1.00"),
)  # fmt: skip
INTENT = {
    "order_ref": "ref",
    "execution_session": date(2019, 1, 3),
    "limit_price": Decimal("10.05"),
    "arrival_price": Decimal("10.00"),
    "predicted_slippage_bps": 3.0,
    "strategies": "HYP-2026-001",
}


def test_a_fill_of_ours_is_measured_against_its_intent():
    row = journal_row(BUY, INTENT, date(2019, 1, 9), 12.5)
    assert row["exec_key"] == "00a1.0001.01"
    assert row["exec_id"] == "00a1.0001.01.02"
    assert row["session"] == date(2019, 1, 3), "the session of the order, not of the day it is read"
    assert row["order_price"] == Decimal("10.05")
    assert row["actual_slippage"] == Decimal("-0.03")
    assert row["actual_slippage_bps"] == pytest.approx(-0.03 / 10.05 * 1e4)
    assert row["shortfall_bps"] == pytest.approx(20.0)
    assert (row["latency_ms"], row["commission"]) == (12.5, Decimal("1.00"))
    assert row["strategies"] == "HYP-2026-001"


def test_a_sale_costs_what_it_gets_too_little():
    row = journal_row(replace(BUY, side="SELL", price=Decimal("9.98")), INTENT, AT.date(), None)
    assert row["shortfall_bps"] == pytest.approx(20.0)
    assert row["actual_slippage"] == Decimal("0.07")


def test_a_fill_that_is_not_ours_has_no_slippage():
    row = journal_row(replace(BUY, order_ref="manual"), None, date(2019, 1, 9), None)
    assert row["session"] == date(2019, 1, 9)
    assert row["quantity"] == 30
    for name in ("order_ref", "order_price", "arrival_price", "actual_slippage_bps", "strategies"):
        assert row[name] is None


@pytest.mark.parametrize(
    ("exec_id", "key", "correction"),
    [
        ("00a1.0001.01.01", "00a1.0001.01", 1),
        ("00a1.0001.01.12", "00a1.0001.01", 12),
        ("plain", "plain", 0),
    ],
)
def test_the_key_is_the_id_without_its_correction(exec_id, key, correction):
    execution = replace(BUY, exec_id=exec_id)
    assert (execution.key, execution.correction) == (key, correction)
