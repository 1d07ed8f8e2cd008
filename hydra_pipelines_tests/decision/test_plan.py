"""The order plan, rule by rule: what is ordered, what is not, and why."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

import numpy as np
import pytest

from hydra_pipelines.decision.plan import make_plan
from hydra_pipelines.decision.sizing import NoteReason
from hydra_pipelines.decision.targets import PlanLimits
from hydra_pipelines.execution.slippage import SlippageModel
from hydra_pipelines_tests.decision.cases import (
    CALM,
    SLIPPAGE,
    inputs,
    notes,
    orders,
    plan,
    targets,
)


def test_sells_come_first_then_buys_from_their_proceeds():
    made = inputs([0.0, 0.05, 0.095], [50, 80, 0], cash="1000")
    # A brings in 50 x 99.50 - 1.00, B 30 x 99.50 - 1.00: 7,958 and 1,000 less a buffer of 250.
    assert orders(made) == [
        ("A", "SELL", 50, "exit"),
        ("B", "SELL", 30, "reduce"),
        ("C", "BUY", 86, "enter"),
    ]
    result = plan(made)
    assert result.confirmed_funds == Decimal("750.00")
    assert result.expected_proceeds == Decimal("7958.00")
    assert notes(made) == {"C": NoteReason.CASH}
    with_cash_of_today = replace(CALM, buy_funding="confirmed_cash")
    assert orders(made, with_cash_of_today)[2:] == [("C", "BUY", 7, "enter")]


def test_a_row_says_what_a_person_wants_to_know():
    made = inputs([0.05], [20], cash="50000")
    row = plan(made).rows[0]
    assert (row.symbol, row.side, row.quantity, row.reason) == ("A", "BUY", 30, "increase")
    assert (row.target_weight, row.current_weight, row.target_quantity) == (0.05, 0.02, 50)
    assert (row.reference_price, row.notional) == (Decimal("100.0000"), Decimal("3000.0000"))
    assert row.predicted_slippage_bps == pytest.approx(
        float(SLIPPAGE.predict_bps(30, 100, 0.02, 0))
    )
    assert row.strategies == (("S1", 0.05),)
    assert row.row_id == f"{plan(made).plan_id}-0001"


def test_an_exit_names_the_strategies_that_want_no_position():
    assert plan(inputs([0.0], [20])).rows[0].strategies == (("S1", 0.0),)


def test_a_hold_has_no_order_but_is_trimmed_beyond_the_hard_limit():
    hold = float("nan")
    assert orders(inputs([hold, hold], [100, 0])) == []
    assert notes(inputs([hold, hold], [100, 0])) == {"A": NoteReason.HOLD}
    made = inputs([hold], [101])
    assert orders(made) == [("A", "SELL", 6, "trim over limit")]
    assert plan(made).rows[0].target_weight is None


def test_a_position_over_the_hard_limit_is_trimmed_even_inside_the_band():
    wide = replace(CALM, turnover_band=0.02)
    assert orders(inputs([0.095], [100]), wide) == []
    assert notes(inputs([0.095], [100]), wide) == {"A": NoteReason.INSIDE_BAND}
    assert orders(inputs([0.095], [101]), wide) == [("A", "SELL", 6, "trim over limit")]


def test_exits_ignore_the_band_but_not_the_minimum_order():
    limits = PlanLimits(turnover_band=0.05, min_order_usd=Decimal(500))
    assert orders(inputs([0.0], [5]), limits) == [("A", "SELL", 5, "exit")]
    assert orders(inputs([0.0], [4]), limits) == []
    assert notes(inputs([0.0], [4]), limits) == {"A": NoteReason.BELOW_MINIMUM}


def test_rounding_to_shares_alone_makes_no_trade():
    # 4.75 % of 10,000 USD is 475 USD: less than the one share held, but within the band of it.
    made = inputs([0.0475], [1], prices=[500.0], equity=Decimal(10_000))
    assert orders(made, PlanLimits()) == []


@pytest.mark.parametrize("price", [float("nan"), 0.0, -1.0, float("inf"), 0.00001])
def test_without_a_price_there_is_no_order_and_nothing_may_add_exposure(price):
    made = inputs([0.0, 0.05, 0.0], [10, 0, 10], prices=[price, 100.0, 100.0], cash="99000")
    assert orders(made) == [("C", "SELL", 10, "exit")]
    assert notes(made) == {"A": NoteReason.NO_PRICE, "B": NoteReason.EXPOSURE_UNKNOWN}
    valued = replace(made, unpriced_exposure=Decimal(1000))
    assert orders(valued)[1:] == [("B", "BUY", 50, "enter")]
    wanted = inputs([0.05], [0], prices=[price])
    assert orders(wanted) == []
    assert notes(wanted) == {"A": NoteReason.NO_PRICE}


def test_a_restricted_name_has_no_order_in_either_direction():
    made = inputs([0.0, 0.05], [10, 0], restricted=frozenset("AB"))
    assert orders(made) == []
    assert set(notes(made).values()) == {NoteReason.RESTRICTED}


def test_volume_and_value_bound_what_adds_risk_but_not_exits():
    made = inputs([0.05, 0.0], [0, 50], adv=np.array([1000.0, 1000.0]))
    assert orders(made) == [("B", "SELL", 50, "exit"), ("A", "BUY", 10, "enter")]
    assert notes(made) == {"A": NoteReason.ADV_SHARE}
    small = replace(CALM, max_order_notional=Decimal("999"))
    assert orders(made, small)[1:] == [("A", "BUY", 9, "enter")]
    assert notes(made, small) == {"A": NoteReason.MAX_ORDER_NOTIONAL}


def test_the_largest_targets_get_the_free_positions_and_ties_fall_by_symbol():
    made = inputs([0.03, 0.05, 0.05, 0.0], [0, 0, 0, 10])
    two = replace(CALM, max_positions=2)
    assert [o[0] for o in orders(made, two)] == ["D", "B", "C"]
    assert notes(made, two) == {"A": NoteReason.MAX_POSITIONS}
    # A position that is held takes a place.
    held = replace(made, targets=targets([0.03, 0.05, 0.05, float("nan")]))
    assert [o[0] for o in orders(held, two)] == ["B"]


def test_no_order_crosses_zero():
    short = replace(CALM, allow_short=True)
    assert orders(inputs([-0.05], [10]), short) == [("A", "SELL", 10, "exit")]
    assert notes(inputs([-0.05], [10]), short) == {"A": NoteReason.CROSSES_ZERO}
    assert orders(inputs([0.05], [-10]), short) == [("A", "BUY", 10, "exit")]
    assert orders(inputs([-0.05], [0]), short) == [("A", "SELL", 50, "enter")]
    assert orders(inputs([-0.05], [-10])) == [("A", "BUY", 10, "exit")]


def test_working_orders_count_in_the_worst_case():
    made = inputs([0.05], [20])
    buying = replace(made, working=np.array([20]))
    assert orders(buying) == [("A", "BUY", 10, "increase")]
    # The working sell may not fill, so nothing is bought against it.
    selling = replace(made, working=np.array([-20]))
    assert orders(selling) == [("A", "BUY", 30, "increase")]
    leaving = replace(inputs([0.0], [20]), working=np.array([-15]))
    assert orders(leaving) == [("A", "SELL", 5, "exit")]
    # The working buy may not fill, so only what is really there is sold.
    entering = replace(inputs([0.0], [20]), working=np.array([30]))
    assert orders(entering) == [("A", "SELL", 20, "exit")]
    on_its_way = replace(made, working=np.array([40]))
    assert orders(on_its_way) == []
    assert notes(on_its_way) == {"A": NoteReason.WORKING_ORDER}


def test_whole_lots_but_an_exit_takes_the_odd_rest_along():
    lots = replace(CALM, lot=20)
    assert orders(inputs([0.05], [0]), lots) == [("A", "BUY", 40, "enter")]
    assert orders(inputs([0.05], [75]), lots) == [("A", "SELL", 20, "reduce")]
    assert orders(inputs([0.0], [75]), lots) == [("A", "SELL", 75, "exit")]
    assert notes(inputs([0.01], [0]), lots) == {"A": NoteReason.BELOW_ONE_LOT}


def test_net_and_gross_caps_cut_the_last_increase():
    made = inputs([0.05, 0.05], [0, 0])
    assert orders(made, replace(CALM, gross_cap=0.07))[1] == ("B", "BUY", 20, "enter")
    assert notes(made, replace(CALM, gross_cap=0.07)) == {"B": NoteReason.GROSS_CAP}
    assert notes(made, replace(CALM, net_cap=0.07)) == {"B": NoteReason.NET_CAP}


def test_shorts_take_up_gross_exposure():
    made = inputs([-0.05, 0.05], [0, 0])
    limits = replace(CALM, allow_short=True, gross_cap=0.07)
    assert orders(made, limits) == [("A", "SELL", 50, "enter"), ("B", "BUY", 20, "enter")]


def test_a_note_says_how_much_was_wanted_and_how_much_is_ordered():
    made = inputs([0.05, 0.05, 0.0], [0, 10, 0], adv=np.array([1000.0, np.nan, np.nan]))
    made = replace(
        made,
        prices=np.array([100.0, np.nan, 100.0]),
        unpriced_exposure=Decimal(1000),
        targets=replace(made.targets, asked=np.array([0.05, 0.05, 0.05])),
    )
    assert [tuple(note) for note in plan(made).notes] == [
        ("A", NoteReason.ADV_SHARE, 50, 10),
        ("B", NoteReason.NO_PRICE, None, 0),
        ("C", NoteReason.MAX_POSITIONS, None, 0),
    ]


def test_a_target_counts_even_if_nobody_is_said_to_have_asked_for_it():
    made = inputs([0.05], [0])
    silent = replace(made, targets=replace(made.targets, asked=np.array([0.0])))
    assert orders(silent) == [("A", "BUY", 50, "enter")]


def test_shorts_have_a_net_cap_of_their_own_and_need_no_cash():
    made = inputs([-0.05, -0.05, 0.05], [0, 0, 0], cash="-5000")
    limits = replace(CALM, allow_short=True, net_cap=0.07)
    assert orders(made, limits) == [("A", "SELL", 50, "enter"), ("B", "SELL", 20, "enter")]
    assert notes(made, limits) == {"B": NoteReason.NET_CAP, "C": NoteReason.CASH}


def test_what_was_cut_off_is_no_note_where_it_is_sold():
    made = inputs([0.0], [10])
    cut = replace(made, targets=replace(made.targets, asked=np.array([0.05])))
    assert orders(cut) == [("A", "SELL", 10, "exit")]
    assert notes(cut) == {}


def test_names_left_out_by_the_targets_are_noted():
    made = inputs([0.0, 0.0], [0, 0])
    left = replace(made, targets=replace(made.targets, asked=np.array([0.05, -0.05])))
    assert notes(left) == {"A": NoteReason.MAX_POSITIONS, "B": NoteReason.SHORT_NOT_ALLOWED}


@pytest.mark.parametrize(
    "change",
    [
        {"account_id": "DU2"},
        {"execution_session": date(2022, 12, 29)},
        {"equity": Decimal("100000.01")},
        {"cash": Decimal("99999.99")},
        {"prices": np.array([100.0001, 100.0])},
        {"positions": np.array([1, 0])},
        {"working": np.array([0, 1])},
        {"adv": np.array([1.0, np.nan])},
        {"sigma_daily": np.array([0.02, 0.03])},
        {"restricted": frozenset("B")},
        {"targets": targets([0.05, 0.0])},
        {"symbols": ("A", "C")},
        {"unpriced_exposure": Decimal(1)},
    ],
)
def test_every_input_is_in_the_id(change):
    made = inputs([0.05, 0.04], [0, 0])
    assert plan(replace(made, **change)).plan_id != plan(made).plan_id


def test_limits_and_slippage_model_are_in_the_id():
    made = inputs([0.05], [0])
    assert plan(made, replace(CALM, max_positions=19)).plan_id != plan(made).plan_id
    assert make_plan(made, CALM, SlippageModel(y=0.9)).plan_id != plan(made).plan_id
    assert plan(made).plan_id == plan(replace(made, equity=Decimal("100000.00"))).plan_id


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"equity": Decimal(0)}, "equity is 0 USD"),
        ({"equity": Decimal("NaN")}, "equity of the account is NaN"),
        ({"cash": Decimal("Infinity")}, "cash of the account"),
        ({"symbols": ("A", "A")}, "repeated: A"),
        ({"prices": np.array([1.0])}, r"prices of the plan have shape \(1,\)"),
        ({"positions": np.array([0.5, 0.0])}, "whole shares"),
        ({"positions": np.array([10**15, 0])}, "A most of all"),
        ({"prices": np.array([1e12, 1.0])}, "price of A"),
        ({"adv": np.array([-1.0, 1.0])}, "adv of A"),
        ({"targets": targets([0.0, 11.0])}, "target weights of B"),
        ({"execution_session": date(2022, 12, 27)}, "must come after"),
    ],
)
def test_inputs_that_can_not_be_right_are_refused_by_name(change, message):
    with pytest.raises(ValueError, match=message):
        plan(replace(inputs([0.05, 0.05], [0, 0]), **change))
