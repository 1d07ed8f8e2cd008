"""The order plan: equal to plain decimal arithmetic, within every limit, the same every time."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hydra_pipelines.decision.plan import PlanInputs, PlanReason, make_plan
from hydra_pipelines.decision.plan_check import plan_violations
from hydra_pipelines.decision.sizing import NoteReason
from hydra_pipelines.decision.targets import PlanLimits, Targets
from hydra_pipelines.execution.slippage import SlippageModel
from hydra_pipelines_tests.decision.reference import reference_plan, summary

SLIPPAGE = SlippageModel()
CALM = PlanLimits(min_order_usd=Decimal(0), turnover_band=0.0)


def targets(weights: list[float]) -> Targets:
    values = np.array(weights, dtype=np.float64)
    return Targets(values, np.nan_to_num(values), ("S1",), values[np.newaxis].copy())


def inputs(
    weights: list[float],
    positions: list[int],
    prices: list[float] | None = None,
    cash: str = "100000",
    **changes: object,
) -> PlanInputs:
    """Names A, B, C, ... at 100 USD in an account of 100,000 USD, unless told otherwise."""
    n = len(weights)
    made = PlanInputs(
        signal_session=date(2022, 12, 27),
        execution_session=date(2022, 12, 28),
        account_id="DU1",
        equity=Decimal("100000"),
        cash=Decimal(cash),
        symbols=tuple("ABCDEFGHIJ"[:n]),
        prices=np.array(prices or [100.0] * n),
        positions=np.array(positions),
        working=np.zeros(n, dtype=np.int64),
        targets=targets(weights),
        adv=np.full(n, np.nan),
        sigma_daily=np.full(n, 0.02),
    )
    return replace(made, **changes)


def plan(made: PlanInputs, limits: PlanLimits = CALM):
    return make_plan(made, limits, SLIPPAGE)


def orders(made: PlanInputs, limits: PlanLimits = CALM) -> list[tuple[str, str, int, str]]:
    rows = plan(made, limits).rows
    return [(row.symbol, row.side, row.quantity, row.reason.value) for row in rows]


def notes(made: PlanInputs, limits: PlanLimits = CALM) -> dict[str, NoteReason]:
    return {note.symbol: note.reason for note in plan(made, limits).notes}


# --- random plans -------------------------------------------------------------------------------

MANY = settings(max_examples=6 * settings.default.max_examples)


def random_case(seed: int) -> tuple[PlanInputs, PlanLimits]:
    """An account, its targets and limits. Drawn from a seed: what matters is the mix of states."""
    rng = np.random.default_rng(seed)

    def one(*choices: object) -> object:
        return choices[rng.integers(len(choices))]

    limits = PlanLimits(
        max_positions=one(0, 2, 3, 20, 20),
        max_position_weight=one(0.02, 0.1, 0.25, 1.0),
        position_headroom=one(0.0, 0.05, 0.5),
        gross_cap=one(0.3, 1.0, 2.0),
        net_cap=one(0.2, 1.0, 1.0),
        min_order_usd=one(Decimal(0), Decimal(100), Decimal(100), Decimal(5000)),
        turnover_band=one(0.0, 0.005, 0.05),
        cash_buffer=one(0.0, 0.0025, 0.2),
        max_adv_share=one(0.0, 0.01, 0.1),
        max_order_notional=one(None, Decimal(3000), Decimal("10000.5")),
        allow_short=one(True, False),
        lot=one(1, 1, 1, 10, 100),
        buy_funding=one("sells_first", "confirmed_cash"),
        price_collar=one(0.0, 0.005, 0.02),
    )
    n = int(rng.integers(1, 9))
    prices = np.round(np.exp(rng.uniform(-1, 6, n)), int(rng.integers(0, 7)))
    odd = rng.random(n) < 0.08
    prices[odd] = rng.choice([np.nan, 0.0, -1.0, 250_000.0], odd.sum())
    equity = float(rng.uniform(500, 200_000))
    # About what the largest position may be, in shares, so that some are below and some above.
    most = equity * limits.max_position_weight / np.where(prices > 0, prices, 100.0)
    positions = np.rint(rng.normal(0.4, 0.6, n) * most * (rng.random(n) < 0.5)).astype(np.int64)
    working = np.rint(rng.normal(0.0, 0.3, n) * most * (rng.random(n) < 0.2)).astype(np.int64)
    weights = rng.choice([0.0, 0.01, 0.03, 0.095, 1 / 3, -0.05], n) * rng.choice([1.0, 0.5], n)
    if rng.random() < 0.7:
        positions, weights = np.abs(positions), np.abs(weights)
    weights[rng.random(n) < 0.1] = np.nan
    adv = np.where(rng.random(n) < 0.5, np.nan, np.exp(rng.uniform(3, 14, n)))
    made = inputs(
        weights.tolist(),
        positions.tolist(),
        prices=prices.tolist(),
        cash=f"{rng.uniform(-0.1, 0.9) * equity:.2f}",
        equity=Decimal(f"{equity:.3f}"),
        symbols=tuple(rng.permutation(list("ABCDEFGHIJ"[:n])).tolist()),
        working=working,
        adv=adv,
        restricted=frozenset(rng.choice(list("ABCDEFGHIJ"), 1 if rng.random() < 0.3 else 0)),
        unpriced_exposure=one(None, Decimal("1234.56")),
    )
    return made, limits


def cases() -> st.SearchStrategy[tuple[PlanInputs, PlanLimits]]:
    return st.integers(0, 2**32 - 1).map(random_case)


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
    shuffled = replace(
        made,
        symbols=tuple(made.symbols[i] for i in order),
        targets=Targets(
            made.targets.weights[order],
            made.targets.asked[order],
            made.targets.strategy_ids,
            made.targets.shares[:, order],
        ),
        **{
            name: getattr(made, name)[order]
            for name in ("prices", "positions", "working", "adv", "sigma_daily")
        },
    )
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


# --- named cases --------------------------------------------------------------------------------


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
    assert (row.routing, row.strategies) == ("marketable_limit", (("S1", 0.05),))
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


# --- the independent check ----------------------------------------------------------------------


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
    ],
)
def test_the_check_finds_a_limit_that_is_broken(limit, violation):
    made = inputs([0.05, 0.05], [0, 0], adv=np.array([10_000.0, 10_000.0]))
    found = plan_violations(plan(made), made, replace(CALM, **limit))
    assert any(violation in sentence for sentence in found)


def test_the_check_finds_what_is_restricted_held_reordered_or_missing():
    made = inputs([0.0, 0.05], [10, 0])
    good = plan(made)

    def found(changed=good, facts=made) -> str:
        return " | ".join(plan_violations(changed, facts, CALM))

    assert found() == ""
    assert "A is restricted" in found(facts=replace(made, restricted=frozenset("A")))
    held = replace(made, targets=targets([float("nan"), 0.05]))
    assert "A is on hold" in found(facts=held)
    assert "comes after" in found(replace(good, rows=good.rows[::-1]))
    assert "A should be exited" in found(replace(good, rows=good.rows[1:]))
    assert "account_id" in found(replace(good, account_id="DU2"))
    oversold = good.rows[0]._replace(quantity=11, notional=Decimal(1100))
    assert "crosses zero" in found(replace(good, rows=(oversold, *good.rows[1:])))
    unpriced = replace(made, prices=np.array([np.nan, 100.0]))
    assert "nothing may add exposure" in found(replace(good, rows=good.rows[1:]), unpriced)
