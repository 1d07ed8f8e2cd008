"""Targets: netting, caps, attribution, and hold kept apart from exit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_pipelines.decision.signals import SignalRule, Signals, make_signals
from hydra_pipelines.decision.targets import PlanLimits, StrategyView, make_targets
from hydra_pipelines_tests.decision.reference import reference_weights

WIDE = PlanLimits(max_position_weight=1.0, position_headroom=0.0, cash_buffer=0.0, allow_short=True)


def view(
    name: str,
    signals: list[int | None] | None,
    capital: float = 0.5,
    universe: list[bool] | None = None,
    n: int = 0,
    **more: object,
) -> StrategyView:
    """A strategy's view; None in `signals` is no prediction, None instead of them a failure."""
    n = n or len(signals or ())
    made = None
    if signals is not None:
        made = Signals(
            np.array([s or 0 for s in signals], dtype=np.int8),
            np.array([s is not None for s in signals], dtype=bool),
        )
    members = np.ones(n, dtype=bool) if universe is None else np.array(universe)
    return StrategyView(name, capital, members, made, **more)


def weights(*views: StrategyView, limits: PlanLimits = WIDE) -> list[float | None]:
    made = make_targets(views, limits)
    return [None if w != w else round(float(w), 12) for w in made.weights]


LIMITS = st.builds(
    PlanLimits,
    max_positions=st.integers(0, 8),
    max_position_weight=st.floats(0.01, 1),
    position_headroom=st.floats(0, 0.5),
    gross_cap=st.floats(0.1, 2),
    net_cap=st.floats(0.05, 1),
    cash_buffer=st.floats(0, 0.3),
    allow_short=st.booleans(),
)
SIGNAL = st.sampled_from([None, 0, 0, 1, 1, -1])


@st.composite
def desks(draw: st.DrawFn) -> list[StrategyView]:
    n = draw(st.integers(1, 10))
    views = []
    for k in range(draw(st.integers(1, 4))):
        signals = draw(st.one_of(st.none(), st.lists(SIGNAL, min_size=n, max_size=n)))
        views.append(
            view(
                f"S{k}",
                signals,
                draw(st.sampled_from([0.0, 0.2, 0.5, 1.0])),
                draw(st.lists(st.booleans(), min_size=n, max_size=n)),
                n=n,
                weighting=draw(st.sampled_from(["equal", "prediction"])),
                predictions=np.array(
                    draw(st.lists(st.floats(-1, 1), min_size=n, max_size=n)), dtype=np.float64
                ),
            )
        )
    return views


@given(desks(), LIMITS)
def test_no_target_is_beyond_a_cap(views, limits):
    made = make_targets(views, limits).weights
    made = made[~np.isnan(made)]
    assert (np.abs(made) <= limits.target_cap).all()
    assert (made != 0).sum() <= limits.max_positions
    assert np.abs(made).sum() <= limits.gross_cap * (1 + 1e-12)
    assert made.sum() <= min(limits.net_cap, 1 - limits.cash_buffer) + 1e-12
    assert made.sum() >= -limits.net_cap - 1e-12
    if not limits.allow_short:
        assert (made >= 0).all()


@given(desks(), LIMITS)
def test_limits_only_make_weights_smaller(views, limits):
    made = make_targets(views, limits)
    known = ~made.hold
    assert (np.abs(made.weights[known]) <= np.abs(made.asked[known]) + 1e-15).all()
    assert (made.weights[known] * made.asked[known] >= 0).all()


@given(desks(), LIMITS)
def test_the_shares_of_the_strategies_add_up_to_the_weight(views, limits):
    made = make_targets(views, limits)
    known = ~made.hold
    assert np.allclose(np.nansum(made.shares, axis=0)[known], made.weights[known], atol=1e-12)
    assert np.isnan(made.shares[:, made.hold]).all()
    assert not np.signbit(made.shares[made.shares == 0.0]).any()
    for row, own in zip(made.shares, sorted(views, key=lambda v: v.strategy_id), strict=True):
        assert np.isnan(row[~own.universe]).all()


@given(desks(), LIMITS)
def test_a_name_is_held_where_a_strategy_that_could_hold_it_is_silent_and_only_there(views, limits):
    made = make_targets(views, limits)
    for i in range(len(made.weights)):
        silent = any(
            v.universe[i] and v.capital_weight and (v.signals is None or not v.signals.known[i])
            for v in views
        )
        assert made.hold[i] == silent


@given(desks(), LIMITS, st.randoms(use_true_random=False))
def test_the_order_of_the_strategies_does_not_matter(views, limits, random):
    shuffled = list(views)
    random.shuffle(shuffled)
    first, second = make_targets(views, limits), make_targets(shuffled, limits)
    assert first.strategy_ids == second.strategy_ids
    assert first.weights.tobytes() == second.weights.tobytes()
    assert first.shares.tobytes() == second.shares.tobytes()


@given(
    st.lists(st.lists(st.floats(-1, 1), min_size=8, max_size=8), min_size=1, max_size=3),
    LIMITS,
)
def test_it_equals_a_plain_loop(predictions, limits):
    rule = SignalRule(method="threshold", threshold=0.2, allow_short=limits.allow_short)
    capital = [0.7, 0.4, 0.3][: len(predictions)]
    made = [make_signals(np.array(column), rule) for column in predictions]
    views = [
        StrategyView(f"S{k}", capital[k], np.ones(8, dtype=bool), signals)
        for k, signals in enumerate(made)
    ]
    plain = reference_weights([signals.values.tolist() for signals in made], capital, limits)
    # Weights that tie but for the last digit may be told apart in one way or the other.
    assert np.allclose(
        sorted(make_targets(views, limits).weights), sorted(plain), rtol=1e-9, atol=1e-12
    )


def test_capital_is_spread_over_the_names_of_a_strategy_and_netted_over_strategies():
    assert weights(view("A", [1, 1, 0, 0], 0.6), view("B", [1, 0, 0, -1], 0.4)) == [
        0.5,
        0.3,
        0.0,
        -0.2,
    ]


def test_no_prediction_holds_and_zero_exits():
    assert weights(view("A", [0, None, 1])) == [0.0, None, 0.5]
    # The other strategy's wish does not decide over what this one may still hold.
    assert weights(view("A", [0, None, 1]), view("B", [1, 1, 0])) == [0.25, None, 0.5]
    assert weights(view("A", None, n=2), view("B", [1, 0])) == [None, None]


def test_a_strategy_is_only_waited_for_where_it_could_hold_something():
    outside = view("A", [None, None], universe=[False, True])
    assert weights(outside, view("B", [1, 1])) == [0.25, None]
    assert weights(view("A", [None, None], capital=0.0), view("B", [1, 1])) == [0.25, 0.25]


def test_what_no_strategy_has_in_its_universe_is_exited():
    assert weights(view("A", [1, 1], universe=[True, False])) == [0.5, 0.0]


def test_no_strategy_is_no_reason_to_sell_everything():
    with pytest.raises(ValueError, match="no deployed strategy"):
        make_targets([], WIDE)


def test_a_cap_leaves_the_excess_in_cash():
    capped = PlanLimits(max_position_weight=0.2, position_headroom=0.05)
    assert weights(view("A", [1, 1], 0.9), limits=capped) == [0.19, 0.19]


def test_the_largest_weights_stay_and_ties_keep_the_earlier_name():
    two = PlanLimits(max_positions=2, max_position_weight=1.0, allow_short=True)
    assert weights(view("A", [1, 1, 1], 0.3), view("B", [0, 0, 1], 0.1), limits=two) == [
        0.1,
        0.0,
        0.2,
    ]


def test_gross_is_scaled_for_all_and_net_on_the_larger_side():
    three = [view("A", [1, -1, 0], 1.0), view("B", [0, 0, 1], 0.5)]
    gross = PlanLimits(
        max_position_weight=1.0, position_headroom=0.0, allow_short=True, gross_cap=0.75
    )
    assert weights(*three, limits=gross) == [0.25, -0.25, 0.25]
    net = PlanLimits(
        max_position_weight=1.0, position_headroom=0.0, allow_short=True, gross_cap=2, net_cap=0.1
    )
    assert weights(*three, limits=net) == [0.3, -0.5, 0.3]
    buffer = PlanLimits(max_position_weight=1.0, position_headroom=0.0, cash_buffer=0.1)
    assert weights(view("A", [1, 1], 1.0), limits=buffer) == [0.45, 0.45]


def test_prediction_weighting_is_in_proportion_and_leaves_the_wrong_sign_out():
    by_prediction = {"weighting": "prediction", "predictions": np.array([0.3, 0.1, -0.2, 0.9])}
    assert weights(view("A", [1, 1, 0, 0], 0.8, **by_prediction)) == [0.6, 0.2, 0.0, 0.0]
    assert weights(view("A", [1, 0, 1, -1], 0.8, **by_prediction)) == [0.8, 0.0, 0.0, 0.0]
    assert weights(view("A", [0, 0, 1, -1], 0.8, **by_prediction)) == [0.0, 0.0, 0.4, -0.4]


@pytest.mark.parametrize(
    ("views", "message"),
    [
        ([view("A", [1]), view("A", [1])], "not unique: A, A"),
        ([view("A", [1], -0.1)], "capital weight of A is -0.1"),
        ([view("A", [1], float("nan"))], "capital weight of A is nan"),
        ([view("A", [1]), view("B", [1, 1])], r"universe of B have shape \(2,\)"),
        ([view("A", [1, 1], universe=[True])], r"signals of A have shape \(2,\)"),
        ([view("A", [1], weighting="prediction")], "comes without predictions"),
        ([view("A", [1], weighting="best")], "'best'"),
    ],
)
def test_views_that_can_not_be_right_are_refused_by_name(views, message):
    with pytest.raises(ValueError, match=message):
        make_targets(views, WIDE)


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ({"max_position_weight": 1.5}, "max_position_weight is 1.5"),
        ({"turnover_band": float("nan")}, "turnover_band is nan"),
        ({"min_order_usd": -1}, "min_order_usd is -1"),
        ({"max_order_notional": 0}, "max_order_notional is 0"),
        ({"max_positions": -1}, "max_positions = -1"),
        ({"lot": 0}, "lot = 0"),
        ({"buy_funding": "margin"}, "'margin'"),
    ],
)
def test_limits_that_make_no_sense_are_refused(limit, message):
    with pytest.raises(ValueError, match=message):
        PlanLimits(**limit)
