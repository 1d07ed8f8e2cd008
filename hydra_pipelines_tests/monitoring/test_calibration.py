"""The calibration of the slippage predictor: what it finds again, where it stops, what it keeps."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_pipelines.execution.slippage import SlippageModel, reconcile
from hydra_pipelines.monitoring.calibration import (
    LOWEST_Y,
    MAX_FACTOR,
    MAX_STEP_BPS,
    MIN_MEAN_BPS,
    NotEnoughFills,
    huber_slope,
    propose,
)
from hydra_pipelines.monitoring.reconciliation import Fills

BEFORE = SlippageModel(half_spread_bps=2.0, y=0.7)


def journal(
    impact: np.ndarray,
    shortfall: np.ndarray,
    *,
    half: np.ndarray | float = 3.0,
    algo: np.ndarray | str = "patience",
    parts: int = 1,
    predicted_by: SlippageModel = BEFORE,
) -> Fills:
    """Orders by their unit impact and cost, each of so many equal fills."""
    n = len(impact) * parts
    impact, shortfall = np.repeat(impact, parts), np.repeat(shortfall, parts)
    half = np.repeat(np.broadcast_to(half, n // parts), parts).astype(float)
    algos = np.repeat(np.broadcast_to(np.array(algo), n // parts), parts)
    made = Fills(
        session=np.datetime64("2019-01-03") + np.arange(n) // parts,
        symbol=np.full(n, "AAPL"),
        side=np.full(n, "BUY"),
        algo=algos,
        hour=np.full(n, "09"),
        order=np.repeat(np.arange(n // parts), parts),
        quantity=np.full(n, 100.0),
        arrival=np.full(n, 50.0),
        predicted=np.zeros(n),
        shortfall=shortfall,
        against_order=np.full(n, np.nan),
        half_spread=half,
        unit_impact=impact,
    )
    return replace(made, predicted=made.repredicted(predicted_by))


def test_the_law_behind_the_fills_is_found_again() -> None:
    impact = np.linspace(1.0, 9.0, 40)
    fills = journal(impact, 3.0 + 1.5 + 1.1 * impact, half=3.0)
    found = propose(fills, BEFORE)
    assert found.after.y == pytest.approx(1.1)
    assert found.after.half_spread_bps == pytest.approx(3.0)
    assert found.after.beyond_spread_bps == pytest.approx(1.5)
    assert found.after.by_algo == (("patience", pytest.approx(1.5)),)
    assert found.before == BEFORE and found.notes == ()
    assert (found.fills, found.orders) == (40, 40)
    assert (str(found.first), str(found.last)) == ("2019-01-03", "2019-02-11")
    # Before: 3 + 0.7 x; actual: 4.5 + 1.1 x; the mean of x is 5.
    assert found.was.relative_bias == pytest.approx((1.5 + 0.4 * 5) / (3 + 0.7 * 5))
    assert found.is_now.relative_bias == pytest.approx(0.0, abs=1e-9)
    assert found.is_now.rmse == pytest.approx(0.0, abs=1e-9)


def test_assumptions_of_volume_and_volatility_are_not_touched() -> None:
    impact = np.linspace(1.0, 9.0, 40)
    found = propose(journal(impact, 4.0 + impact), BEFORE)
    assert found.after.assumed_adv_usd == BEFORE.assumed_adv_usd
    assert found.after.assumed_sigma_daily == BEFORE.assumed_sigma_daily


def test_ways_of_working_have_terms_of_their_own_and_share_y() -> None:
    impact = np.tile(np.linspace(1.0, 9.0, 30), 2)
    algo = np.repeat(["market", "patience"], 30)
    # One crosses the spread and pays 2 beyond it; the other rests, and does not pay the spread.
    shortfall = 3.0 + np.where(algo == "market", 2.0, -3.5) + 0.9 * impact
    found = propose(journal(impact, shortfall, algo=algo), BEFORE)
    assert found.after.y == pytest.approx(0.9)
    assert dict(found.after.by_algo) == pytest.approx({"market": 2.0, "patience": -3.5})
    assert found.after.beyond_spread_bps == pytest.approx(-0.75)
    assert found.is_now.relative_bias == pytest.approx(0.0, abs=1e-9)
    assert found.is_now.correlation == pytest.approx(1.0)
    # Without its way known an order costs what orders cost on average.
    assert found.after.beyond("twap") == found.after.beyond(None) == pytest.approx(-0.75)


def test_a_way_with_few_orders_keeps_its_term() -> None:
    impact = np.tile(np.linspace(1.0, 9.0, 21), 2)[:40]
    algo = np.where(np.arange(40) < 21, "market", "twap")
    found = propose(
        journal(impact, 5.0 + impact, algo=algo), replace(BEFORE, by_algo=(("twap", 7.0),))
    )
    assert dict(found.after.by_algo)["twap"] == 7.0
    assert "twap: fewer than 20 orders" in " ".join(found.notes)


def test_patient_orders_that_cost_nothing_are_never_predicted_to_pay() -> None:
    """Fills at the mid or better: the prediction stays above 0, and is said to be a bound."""
    impact = np.linspace(0.5, 3.0, 60)
    for mean in (-2.0, 0.0, 0.3):
        shortfall = mean + np.linspace(-3.0, 3.0, 60) * np.where(np.arange(60) % 2, 1, -1)
        fills = journal(impact, shortfall - shortfall.mean() + mean)
        found = propose(fills, BEFORE)
        predicted = fills.repredicted(found.after)
        assert predicted.min() >= 0.0
        assert predicted.mean() == pytest.approx(MIN_MEAN_BPS)
        assert "doesn't count on being paid for trading" in " ".join(found.notes)
        assert found.is_now.relative_bias is not None, "so that a bias can be stated at all"


def test_a_price_that_ran_away_moves_the_mean_and_not_the_slope() -> None:
    """What least squares would make of it: five orders of 120 decide."""
    rng = np.random.default_rng(5)
    impact = rng.uniform(1.0, 6.0, 120)
    shortfall = 4.0 + 0.9 * impact + rng.normal(0.0, 1.0, 120)
    biggest = np.argsort(impact)[-5:]
    shortfall[biggest] += 80.0
    fills = journal(impact, shortfall)
    found = propose(fills, BEFORE)
    assert found.after.y == pytest.approx(0.9, abs=0.2)
    assert np.polyfit(impact, shortfall, 1)[0] > 3.0
    orders = reconcile(fills.repredicted(found.after), shortfall)
    assert orders.relative_bias == pytest.approx(0.0, abs=1e-9), "paid is paid"


def test_an_order_of_many_parts_is_one_observation() -> None:
    impact = np.linspace(1.0, 9.0, 40)
    cost = 4.0 + impact + np.tile([1.0, -1.0, 0.5, -0.5], 10)
    one = propose(journal(impact, cost), BEFORE)
    many = journal(impact, cost, parts=5)
    # One order, dearer than the law has it, in two hundred more parts.
    picked = np.concatenate([np.arange(len(many)), np.repeat(np.arange(5), 40)])
    again = propose(many.take(np.sort(picked)), BEFORE)
    assert again.after.beyond_spread_bps == pytest.approx(one.after.beyond_spread_bps)
    assert again.after.y == pytest.approx(one.after.y)
    assert (again.fills, again.orders) == (400, 40)


@pytest.mark.parametrize(
    ("orders", "parts", "message"),
    [
        (19, 1, "not enough fills: 19 of 19 orders can be used, and it takes 20 of 20"),
        (19, 40, "760 of 19 orders"),
        (0, 1, "0 of 0 orders"),
    ],
)
def test_too_few_orders_change_nothing(orders: int, parts: int, message: str) -> None:
    impact = np.linspace(1.0, 9.0, orders)
    with pytest.raises(NotEnoughFills, match=message):
        propose(journal(impact, 4.0 + impact, parts=parts), BEFORE)


def test_fills_without_the_terms_of_their_prediction_are_not_used() -> None:
    impact = np.linspace(1.0, 9.0, 45)
    cost = 4.0 + impact
    unknown = np.where(np.arange(45) < 25, np.nan, impact)
    cost[:25] = 500.0
    found = propose(journal(unknown, cost), BEFORE)
    assert (found.fills, found.after.y) == (20, pytest.approx(1.0))
    with pytest.raises(NotEnoughFills, match="of 26 more it is not recorded"):
        propose(journal(np.where(np.arange(45) < 26, np.nan, impact), cost), BEFORE)


def test_no_step_is_larger_than_its_bound_and_steps_add_up() -> None:
    impact = np.linspace(1.0, 9.0, 40)
    fills = journal(impact, 60.0 + 30.0 * impact, half=40.0)
    model, biases = BEFORE, []
    for _ in range(40):
        found = propose(fills, model)
        assert model.y / MAX_FACTOR <= found.after.y <= model.y * MAX_FACTOR * (1 + 1e-12)
        assert found.after.half_spread_bps <= model.half_spread_bps * MAX_FACTOR * (1 + 1e-12)
        assert abs(found.after.beyond_spread_bps - model.beyond_spread_bps) <= MAX_STEP_BPS + 1e-9
        biases.append(abs(found.is_now.relative_bias))
        model = found.after
    assert biases[0] > 0.5 and "the most in one step" in " ".join(propose(fills, BEFORE).notes)
    assert biases[-1] < 1e-9
    assert model.y == pytest.approx(30.0) and model.half_spread_bps == pytest.approx(40.0)
    assert propose(fills, model).after == model, "what is right stays"


def test_the_bound_holds_downwards_too() -> None:
    impact = np.linspace(1.0, 9.0, 40)
    found = propose(journal(impact, 2.0 + impact, half=30.0), BEFORE)
    assert found.after.beyond_spread_bps == -MAX_STEP_BPS
    assert "all orders: beyond: -28.00 by the fills, moved to -10.00" in " ".join(found.notes)


def test_y_stays_where_the_fills_do_not_say() -> None:
    rng = np.random.default_rng(1)
    flat = propose(journal(np.full(40, 3.0), rng.normal(8.0, 1.0, 40)), BEFORE)
    assert flat.after.y == BEFORE.y and "hardly varies" in " ".join(flat.notes)
    impact = np.tile([1.0, 1.1], 20)
    noise = np.tile([30.0, -30.0, -30.0, 30.0], 10)
    unsure = propose(journal(impact, 8.0 + noise), BEFORE)
    assert unsure.after.y == BEFORE.y and "does not contradict it" in " ".join(unsure.notes)
    assert unsure.is_now.relative_bias == pytest.approx(0.0, abs=1e-9)


def test_costs_that_do_not_grow_with_impact_bring_y_down_and_never_below_nothing() -> None:
    """Orders that rest have none; that larger ones are cheaper is no law of any market."""
    impact = np.linspace(1.0, 9.0, 40)
    for cost in (np.full(40, 20.0), 20.0 - impact):
        fills, model = journal(impact, cost), BEFORE
        first = propose(fills, model)
        assert first.after.y == pytest.approx(BEFORE.y / MAX_FACTOR)
        assert "no cost that grows with impact" in " ".join(first.notes)
        for _ in range(10):
            model = propose(fills, model).after
        assert model.y == LOWEST_Y
        assert fills.repredicted(model).mean() == pytest.approx(cost.mean())


def test_y_and_the_half_spread_may_be_nothing_before() -> None:
    impact = np.linspace(1.0, 9.0, 40)
    nothing = SlippageModel(half_spread_bps=0.0, y=0.0)
    found = propose(journal(impact, 3.0 + impact), nothing)
    assert (found.after.y, found.after.half_spread_bps) == (pytest.approx(1.0), 3.0)
    assert found.after.y > LOWEST_Y


def test_without_quotes_the_assumed_half_spread_stays() -> None:
    impact = np.linspace(1.0, 9.0, 40)
    found = propose(journal(impact, 6.0 + impact, half=np.nan), BEFORE)
    assert found.after.half_spread_bps == BEFORE.half_spread_bps
    assert "half spread kept: only 0 orders" in " ".join(found.notes)
    assert found.after.beyond_spread_bps == pytest.approx(4.0)


def test_the_slope_of_exact_and_of_noisy_lines() -> None:
    x = np.arange(12.0)
    groups = np.arange(12) % 3
    line = 2.5 * x + np.array([10.0, -5.0, 0.0])[groups]
    assert huber_slope(x, line, groups) == (pytest.approx(2.5), 0.0)
    assert huber_slope(groups.astype(float), line, groups) is None
    assert huber_slope(x[:4], line[:4], groups[:4]) is None, "four points, three constants, a slope"
    # Of well-behaved noise it says what least squares says, and how sure it is.
    rng = np.random.default_rng(3)
    slopes, errors = [], []
    for _ in range(300):
        x = rng.uniform(0.0, 5.0, 80)
        slope, error = huber_slope(x, 1.2 * x + rng.normal(0.0, 2.0, 80), np.zeros(80, dtype=int))
        slopes.append(slope)
        errors.append(error)
    assert np.mean(slopes) == pytest.approx(1.2, abs=0.05)
    assert np.mean(errors) == pytest.approx(np.std(slopes), rel=0.15)


@given(
    st.integers(20, 60),
    st.floats(0.1, 3.0),
    st.floats(-5.0, 8.0),
    st.floats(0.5, 6.0),
    st.integers(0, 2**32 - 1),
)
def test_whatever_the_fills_say_the_model_stays_usable(n, y, beyond, half, seed):
    rng = np.random.default_rng(seed)
    impact = rng.uniform(0.1, 10.0, n)
    shortfall = half + beyond + y * impact + 5.0 * rng.standard_t(3, n)
    fills = journal(impact, shortfall, half=half, parts=int(rng.integers(1, 4)))
    found = propose(fills, BEFORE)
    predicted = fills.repredicted(found.after)
    assert np.isfinite(predicted).all() and (predicted >= 0).all()
    assert BEFORE.y / MAX_FACTOR <= found.after.y <= BEFORE.y * MAX_FACTOR * (1 + 1e-12)
    target = max(shortfall.mean(), MIN_MEAN_BPS)
    bounded = any("in one step" in note for note in found.notes)
    assert bounded or math.isclose(predicted.mean(), target, rel_tol=1e-6, abs_tol=1e-6)
    assert SlippageModel.of(found.after.parameters()) == found.after
