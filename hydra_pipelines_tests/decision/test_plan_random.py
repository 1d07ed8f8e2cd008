"""Order plans at random: equal to plain arithmetic, within every limit, the same every time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hydra_pipelines.decision.plan import PlanReason
from hydra_pipelines.decision.plan_check import plan_violations
from hydra_pipelines.decision.sizing import NoteReason
from hydra_pipelines_tests.decision.cases import SLIPPAGE, cases, plan, random_case
from hydra_pipelines_tests.decision.reference import reference_plan, summary

MANY = settings(max_examples=6 * settings.default.max_examples)


def test_the_random_cases_meet_every_reason_there_is():
    reasons: set[str] = set()
    for seed in range(500):
        result = plan(*random_case(seed))
        reasons |= {f"{row.side} {row.reason}" for row in result.rows}
        reasons |= {note.reason for note in result.notes}
    assert reasons >= {f"{side} {reason}" for side in ("BUY", "SELL") for reason in PlanReason}
    assert reasons >= set(NoteReason)


@MANY
@given(cases())
def test_it_equals_plain_decimal_arithmetic(case):
    made, limits = case
    assert summary(plan(made, limits)) == reference_plan(made, limits, SLIPPAGE)


@MANY
@given(cases())
def test_no_plan_breaks_a_limit(case):
    made, limits = case
    assert plan_violations(plan(made, limits), made, limits) == []


@MANY
@given(cases(), st.randoms(use_true_random=False))
def test_the_same_inputs_give_the_same_plan_in_whatever_order_the_names_come(case, random):
    made, limits = case
    first = plan(made, limits)
    assert plan(made, limits) == first
    order = list(range(len(made.symbols)))
    random.shuffle(order)
    shuffled = made.take(np.array(order))
    assert plan(shuffled, limits) == first


@MANY
@given(cases())
def test_once_a_plan_is_filled_the_next_one_has_nothing_left_to_reduce(case):
    made, limits = case
    made = replace(made, working=np.zeros_like(made.working))
    done = plan(made, limits)
    filled = made.positions.copy()
    for row in done.rows:
        i = made.symbols.index(row.symbol)
        filled[i] += row.quantity if row.side == "BUY" else -row.quantity
        assert filled[i] == row.target_quantity
    again = plan(replace(made, positions=filled), limits)
    assert [row for row in again.rows if row.reduces] == []


@MANY
@given(cases())
def test_a_zero_target_exits_and_a_hold_is_kept(case):
    made, limits = case
    result = plan(made, limits)
    rows = {row.symbol: row for row in result.rows}
    noted = {note.symbol for note in result.notes}
    for i, symbol in enumerate(made.symbols):
        if made.targets.weights[i] == 0 and made.positions[i] and not made.working[i]:
            assert symbol in rows or symbol in noted
            if symbol in rows:
                assert rows[symbol].reason is PlanReason.EXIT
                assert rows[symbol].target_quantity == 0
        if np.isnan(made.targets.weights[i]) and symbol in rows:
            assert rows[symbol].reason is PlanReason.TRIM
            value = float(abs(made.positions[i])) * made.prices[i]
            assert value > limits.max_position_weight * float(made.equity) * 0.999
