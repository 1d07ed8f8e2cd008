"""The independent check of a plan: it finds what is broken, and nothing where nothing is."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from hydra_pipelines.decision.plan import PlanReason
from hydra_pipelines.decision.plan_check import plan_violations
from hydra_pipelines.decision.targets import PlanLimits
from hydra_pipelines_tests.decision.cases import CALM, inputs, plan, targets


@pytest.mark.parametrize(
    ("change", "violation"),
    [
        ({"quantity": 52, "notional": Decimal(5200)}, "beyond the target weight"),
        ({"notional": Decimal(4999)}, "is not 50 x"),
        ({"reference_price": Decimal(99)}, "reference price"),
        ({"side": "SELL"}, "short positions are not enabled"),
        ({"symbol": "B"}, "B has 2 orders"),
        ({"symbol": "Z"}, "not among the names"),
        ({"reason": PlanReason.REDUCE}, "does not fit"),
        ({"sequence": 7}, "not numbered"),
        ({"quantity": 0}, "is no order"),
        ({"quantity": 1, "notional": Decimal(100)}, "below the minimum"),
        ({"quantity": 4, "notional": Decimal(400)}, "inside the turnover band"),
    ],
)
def test_the_check_finds_a_row_that_was_altered(change, violation):
    made, limits = inputs([0.05, 0.05], [0, 0]), PlanLimits(min_order_usd=Decimal(150))
    good = plan(made, limits)
    assert plan_violations(good, made, limits) == []
    bad = replace(good, rows=(good.rows[0]._replace(**change), *good.rows[1:]))
    assert any(violation in found for found in plan_violations(bad, made, limits))


@pytest.mark.parametrize(
    ("limit", "violation"),
    [
        ({"max_position_weight": 0.04}, "beyond the position limit"),
        ({"max_positions": 1}, "2 positions are more than 1"),
        ({"gross_cap": 0.09}, "gross exposure"),
        ({"net_cap": 0.09}, "net exposure"),
        ({"cash_buffer": 0.95}, "buys cost"),
        ({"max_adv_share": 0.001}, "share of volume"),
        ({"max_order_notional": Decimal(4000)}, "largest order"),
        ({"lot": 40}, "whole lots"),
        ({"buy_funding": "confirmed_cash"}, "funds buys by"),
        # 2 x 50 x 100.00 USD fit into the cash; with half as much again on top they don't.
        ({"cash_buffer": 0.89}, ""),
        ({"cash_buffer": 0.89, "price_collar": 0.5}, "buys cost"),
        ({"cash_buffer": 0.8995, "price_collar": 0.0}, ""),
        (
            {"cash_buffer": 0.8995, "price_collar": 0.0, "commission_per_share": Decimal(2)},
            "buys cost 10100",
        ),
        (
            {
                "cash_buffer": 0.8995,
                "price_collar": 0.0,
                "commission_per_share": Decimal(2),
                "commission_max_fraction": 0.0,
            },
            "",
        ),
    ],
)
def test_the_check_finds_a_limit_that_is_broken(limit, violation):
    made = inputs([0.05, 0.05], [0, 0], adv=np.array([10_000.0, 10_000.0]))
    found = plan_violations(plan(made), made, replace(CALM, **limit))
    if violation:
        assert any(violation in sentence for sentence in found)
    else:
        assert found == []


def test_the_check_finds_what_is_restricted_held_reordered_or_missing():
    made = inputs([0.0, 0.05], [10, 0])
    good = plan(made)

    def found(changed=good, facts=made) -> str:
        return " | ".join(plan_violations(changed, facts, CALM))

    assert found() == ""
    assert "A is restricted" in found(facts=replace(made, restricted=frozenset("A")))
    held = replace(made, targets=targets([float("nan"), 0.05]))
    assert "A is on hold" in found(facts=held)
    trim = good.rows[0]._replace(reason=PlanReason.TRIM)
    assert "A is on hold" in found(replace(good, rows=(trim, *good.rows[1:])), held)
    beyond = replace(held, positions=np.array([101, 0]))
    assert "A is on hold" in found(facts=beyond)
    working = replace(made, working=np.array([0, 970]))
    assert "buys cost" in found(facts=working)
    assert "comes after" in found(replace(good, rows=good.rows[::-1]))
    assert "A should be exited" in found(replace(good, rows=good.rows[1:]))
    assert "account_id" in found(replace(good, account_id="DU2"))
    oversold = good.rows[0]._replace(quantity=11, notional=Decimal(1100))
    assert "crosses zero" in found(replace(good, rows=(oversold, *good.rows[1:])))
    unpriced = replace(made, prices=np.array([np.nan, 100.0]))
    assert "nothing may add exposure" in found(replace(good, rows=good.rows[1:]), unpriced)
