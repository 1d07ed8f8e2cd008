"""Slippage: the predictor, the measures of a fill, and their reconciliation against hand work."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_pipelines.execution.slippage import (
    MIN_FILLS,
    Reconciliation,
    SlippageModel,
    actual_slippage,
    implementation_shortfall_bps,
    predicted_cost,
    reconcile,
)

MODEL = SlippageModel(
    half_spread_bps=2.0, y=0.8, assumed_adv_usd=50_000_000.0, assumed_sigma_daily=0.02
)
PRICES = st.decimals(Decimal("0.01"), Decimal("5000"), places=4)
BPS = st.floats(-500, 500).map(lambda value: round(value, 6))

# --- prediction ---------------------------------------------------------------------------------


def test_the_square_root_law_by_hand():
    # 10,000 of 1,000,000 shares: 2 + 10,000 x 0.8 x 0.015 x sqrt(0.01) = 2 + 12.
    assert MODEL.predict_bps(10_000, 50.0, 0.015, 1_000_000) == pytest.approx(14.0)


def test_what_is_not_known_is_assumed_as_documented():
    # 50,000,000 USD at 50 USD are 1,000,000 shares a day; the volatility is 2 %.
    known = MODEL.predict_bps(10_000, 50.0, 0.02, 1_000_000)
    for sigma in (float("nan"), -0.1, float("inf")):
        assert MODEL.predict_bps(10_000, 50.0, sigma, 1_000_000) == known
    for adv in (float("nan"), 0.0, -5.0, float("inf")):
        assert MODEL.predict_bps(10_000, 50.0, 0.02, adv) == known
    assert MODEL.predict_bps(10_000, 50.0, 0.0, 1_000_000) == 2.0


@given(
    st.lists(
        st.tuples(
            st.integers(-100_000, 100_000),
            st.floats(0.01, 5000),
            st.one_of(st.just(float("nan")), st.floats(0, 0.2)),
            st.one_of(st.just(float("nan")), st.floats(0, 1e9)),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_many_orders_at_once_cost_what_each_costs_alone(rows):
    quantity, price, sigma, adv = (np.array(column) for column in zip(*rows, strict=True))
    together = MODEL.predict_bps(quantity, price, sigma, adv)
    assert together.shape == (len(rows),)
    assert together.tolist() == [float(MODEL.predict_bps(*row)) for row in rows]
    assert (together >= MODEL.half_spread_bps).all()


@given(st.integers(1, 10**6), st.floats(0.001, 0.2), st.floats(1, 1e9))
def test_four_times_the_order_has_twice_the_impact_and_side_does_not_matter(quantity, sigma, adv):
    impact = MODEL.predict_bps(quantity, 100.0, sigma, adv) - MODEL.half_spread_bps
    four = MODEL.predict_bps(4 * quantity, 100.0, sigma, adv) - MODEL.half_spread_bps
    assert four == pytest.approx(2 * impact)
    assert MODEL.predict_bps(-quantity, 100.0, sigma, adv) == MODEL.predict_bps(
        quantity, 100.0, sigma, adv
    )


@pytest.mark.parametrize("price", [float("nan"), 0.0, -1.0, float("inf")])
def test_without_a_price_there_is_no_prediction(price):
    with pytest.raises(ValueError, match="without a price"):
        MODEL.predict_bps(100, price, 0.02, 1e6)


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ({"half_spread_bps": -1}, "half_spread_bps is -1; it must be finite and 0 or more"),
        ({"y": float("nan")}, "y is nan"),
        ({"assumed_adv_usd": 0}, "assumed_adv_usd is 0; it must be finite and above 0"),
        ({"assumed_sigma_daily": float("inf")}, "assumed_sigma_daily is inf"),
        ({"beyond_spread_bps": float("nan")}, "beyond_spread_bps is nan; it must be finite"),
        ({"by_algo": (("twap", float("inf")),)}, "twap is inf; it must be finite"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(parameter, message):
    with pytest.raises(ValueError, match=message):
        SlippageModel(**parameter)


def test_a_quoted_half_spread_takes_the_place_of_the_assumed_one():
    known = MODEL.predict_bps(10_000, 50.0, 0.015, 1_000_000, quoted_half_spread_bps=5.5)
    assert known == pytest.approx(17.5)
    for unknown in (float("nan"), -1.0, float("inf")):
        assert MODEL.predict_bps(
            10_000, 50.0, 0.015, 1_000_000, quoted_half_spread_bps=unknown
        ) == pytest.approx(14.0)


def test_what_is_beyond_the_spread_is_a_matter_of_how_orders_are_worked():
    model = replace(MODEL, beyond_spread_bps=1.5, by_algo=(("patience", -3.0), ("twap", 4.0)))
    order = (10_000, 50.0, 0.015, 1_000_000)
    assert model.predict_bps(*order) == pytest.approx(15.5)
    assert model.predict_bps(*order, algo="patience") == pytest.approx(11.0)
    assert model.predict_bps(*order, algo="twap") == pytest.approx(18.0)
    assert model.predict_bps(*order, algo="marketable_limit") == pytest.approx(15.5)
    assert SlippageModel.of(json.loads(json.dumps(model.parameters()))) == model


def test_no_prediction_is_below_nothing():
    model = replace(MODEL, by_algo=(("patience", -10.0),))
    shares = np.array([1.0, 2_500.0, 10_000.0, 1_000_000.0])
    costs = model.predict_bps(shares, 50.0, 0.015, 1_000_000, algo="patience")
    # 2 - 10 + 120 x sqrt(shares / 1,000,000)
    assert costs.tolist() == pytest.approx([0.0, 0.0, 4.0, 112.0])


def test_an_order_about_to_be_sent_is_predicted_with_its_terms():
    model = replace(MODEL, by_algo=(("patience", -1.0),))
    bid, ask = Decimal("49.99"), Decimal("50.01")
    found = predicted_cost(model, 10_000, Decimal("50"), bid, ask, 0.015, 1e6, "patience")
    assert found == {
        "quoted_half_spread_bps": pytest.approx(2.0),
        "unit_impact_bps": pytest.approx(15.0),
        "predicted_slippage_bps": pytest.approx(2.0 - 1.0 + 12.0),
    }
    # 50,000,000 USD at 50 USD are 1,000,000 shares a day; the volatility is 2 %.
    blind = predicted_cost(model, 10_000, Decimal("50"), bid, None, None, None, "patience")
    assert blind == {
        "quoted_half_spread_bps": None,
        "unit_impact_bps": pytest.approx(20.0),
        "predicted_slippage_bps": pytest.approx(2.0 - 1.0 + 16.0),
    }
    crossed = predicted_cost(model, 10_000, Decimal("50"), ask, bid, 0.015, 1e6, "patience")
    assert crossed["quoted_half_spread_bps"] is None


# --- measures of a fill -------------------------------------------------------------------------


def test_a_buy_above_and_a_sell_below_the_price_cost():
    assert actual_slippage("BUY", Decimal("100.00"), Decimal("100.05")) == (Decimal("0.05"), 5.0)
    assert actual_slippage("SELL", Decimal("100.00"), Decimal("99.95")) == (Decimal("0.05"), 5.0)
    assert actual_slippage("BUY", Decimal("100.00"), Decimal("99.95")).bps == -5.0
    assert implementation_shortfall_bps("BUY", Decimal("50"), Decimal("50.10")) == 20.0
    assert implementation_shortfall_bps("SELL", Decimal("50"), Decimal("50.10")) == -20.0


@given(PRICES, PRICES)
def test_what_one_side_pays_the_other_gains(order, fill):
    buy, sell = actual_slippage("BUY", order, fill), actual_slippage("SELL", order, fill)
    assert buy.per_share == -sell.per_share == fill - order
    assert buy.bps == -sell.bps
    assert implementation_shortfall_bps("BUY", order, fill) == buy.bps


@pytest.mark.parametrize("price", [Decimal(0), Decimal(-1), Decimal("NaN"), Decimal("Infinity")])
def test_prices_that_can_not_be_are_refused(price):
    for first, second in ((price, Decimal(1)), (Decimal(1), price)):
        with pytest.raises(ValueError, match="must be above 0"):
            actual_slippage("BUY", first, second)
        with pytest.raises(ValueError, match="must be above 0"):
            implementation_shortfall_bps("SELL", first, second)


def test_a_side_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match="'BOT' is not known"):
        actual_slippage("BOT", Decimal(1), Decimal(1))


# --- reconciliation -----------------------------------------------------------------------------

# Twenty fills: predictions 1..20, each outcome half as much again, less one.
PREDICTED = np.arange(1.0, 21.0)
ACTUAL = 1.5 * PREDICTED - 1.0


def test_twenty_fills_by_hand():
    found = reconcile(PREDICTED, ACTUAL)
    assert found.n == 20
    assert found.mean_predicted == 10.5
    assert found.mean_actual == 14.75
    assert found.bias == 4.25
    # Errors are p/2 - 1: the mean of p^2/4 - p + 1 with mean p^2 = 143.5 is 26.375.
    assert found.rmse == pytest.approx(math.sqrt(26.375))
    assert found.correlation == pytest.approx(1.0)
    assert found.relative_bias == pytest.approx(4.25 / 10.5)
    assert found.pessimism_multiplier == pytest.approx(14.75 / 10.5)
    assert found.colour == "yellow"
    assert found.is_model_calibrated is True
    assert found.message == "the model is calibrated"


def test_nineteen_fills_are_not_enough():
    found = reconcile(PREDICTED[:19], ACTUAL[:19])
    assert found == Reconciliation(n=19)
    assert not found.enough_fills
    assert found.message == "not enough fills: 19 of 20"
    assert reconcile(np.array([]), np.array([])).message == "not enough fills: 0 of 20"


@pytest.mark.parametrize(
    ("factor", "colour"), [(1.09, "green"), (1.11, "yellow"), (0.91, "green"), (1.51, "red")]
)
def test_colours_follow_the_size_of_the_relative_bias(factor, colour):
    assert reconcile(PREDICTED, PREDICTED * factor).colour == colour


def test_the_edges_belong_to_the_worse_colour():
    flat = np.full(20, 8.0)
    assert reconcile(flat, flat * 1.125).colour == "yellow"
    assert reconcile(flat, flat * 1.5).colour == "red"
    assert reconcile(flat, flat * 1.5).message == "the model is off: its bias is too large"
    assert reconcile(np.full(20, 10.0), np.full(20, 11.0)).colour == "yellow"


def test_much_worse_fills_are_said_to_be():
    found = reconcile(PREDICTED, PREDICTED * 1.6)
    assert found.pessimism_multiplier == pytest.approx(1.6)
    assert found.message == "fills are significantly worse than the model says"
    assert not found.is_model_calibrated


def test_better_fills_never_make_the_multiplier_less_than_one():
    assert reconcile(PREDICTED, PREDICTED * 0.2).pessimism_multiplier == 1.0


def test_without_correlation_the_model_is_not_calibrated():
    constant = reconcile(np.full(20, 5.0), np.linspace(4, 6, 20))
    assert constant.correlation is None
    assert constant.is_model_calibrated is False
    against = reconcile(PREDICTED, PREDICTED[::-1].copy())
    assert against.relative_bias == 0.0
    assert against.is_model_calibrated is False
    assert against.message == "the model is off: it does not tell dear orders from cheap ones"


def test_a_model_that_predicts_no_cost_has_nothing_to_compare_with():
    found = reconcile(np.zeros(20), np.ones(20))
    assert (found.bias, found.relative_bias, found.colour) == (1.0, None, None)
    assert found.is_model_calibrated is False
    assert "predicts no cost" in found.message


@given(st.lists(st.tuples(BPS, BPS), max_size=60))
def test_it_agrees_with_the_library_and_never_states_a_number_from_too_few(pairs):
    predicted = np.array([pair[0] for pair in pairs])
    actual = np.array([pair[1] for pair in pairs])
    found = reconcile(predicted, actual)
    if len(pairs) < MIN_FILLS:
        assert found == Reconciliation(n=len(pairs))
        return
    assert found.bias == pytest.approx(actual.mean() - predicted.mean(), abs=1e-9)
    assert found.rmse**2 == pytest.approx(np.var(actual - predicted) + found.bias**2, abs=1e-6)
    if found.correlation is not None:
        assert found.correlation == pytest.approx(np.corrcoef(predicted, actual)[0, 1], abs=1e-6)
    if found.relative_bias is not None:
        assert found.pessimism_multiplier >= 1.0
        assert found.pessimism_multiplier == pytest.approx(max(1.0, 1.0 + found.relative_bias))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_fills_without_a_number_have_to_be_left_out_by_the_caller(bad):
    broken = PREDICTED.copy()
    broken[3] = bad
    with pytest.raises(ValueError, match="predicted slippage of fill 3"):
        reconcile(broken, ACTUAL)
    with pytest.raises(ValueError, match="actual slippage of fill 3"):
        reconcile(PREDICTED, broken)
    with pytest.raises(ValueError, match="shapes"):
        reconcile(PREDICTED, ACTUAL[:19])
