"""Signals: what counts as long and short, and that no prediction is never read as zero."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_pipelines.decision.signals import SignalError, SignalRule, make_signals
from hydra_pipelines_tests.decision.reference import reference_rank

NAN = float("nan")
PREDICTIONS = st.lists(
    st.one_of(st.just(NAN), st.sampled_from([0.0, 0.1, -0.1]), st.floats(-1e300, 1e300)),
    max_size=40,
)
RULES = st.builds(
    SignalRule,
    method=st.sampled_from(["rank", "threshold", "zscore"]),
    top_fraction=st.floats(0, 1),
    bottom_fraction=st.floats(0, 1),
    threshold=st.floats(0, 2),
    zscore=st.floats(0, 3),
    allow_short=st.booleans(),
)


def signals(predictions: list[float], **rule: object) -> list[int | None]:
    """Signals as a list, None where there is no prediction."""
    made = make_signals(np.array(predictions, dtype=np.float64), SignalRule(**rule))
    assert made.values.dtype == np.int8
    return [int(v) if k else None for v, k in zip(made.values, made.known, strict=True)]


@given(PREDICTIONS, RULES)
def test_what_is_known_is_what_was_predicted_and_nothing_unknown_has_a_signal(predictions, rule):
    values = np.array(predictions, dtype=np.float64)
    try:
        made = make_signals(values, rule)
    except SignalError:
        return
    assert (made.known == ~np.isnan(values)).all()
    assert set(made.values.tolist()) <= ({-1, 0, 1} if rule.allow_short else {0, 1})
    assert not made.values[~made.known].any()


@given(PREDICTIONS, RULES)
def test_a_long_is_never_predicted_below_a_none_and_that_never_below_a_short(predictions, rule):
    values = np.array(predictions, dtype=np.float64)
    try:
        made = make_signals(values, rule)
    except SignalError:
        return
    for higher, lower in ((1, 0), (0, -1), (1, -1)):
        above = values[made.known & (made.values == higher)]
        below = values[made.known & (made.values == lower)]
        if len(above) and len(below):
            assert above.min() >= below.max()


@given(PREDICTIONS, st.floats(0, 1), st.floats(0, 1), st.booleans())
def test_rank_equals_a_plain_sort(predictions, top, bottom, allow_short):
    rule = SignalRule(top_fraction=top, bottom_fraction=bottom, allow_short=allow_short)
    if len({p for p in predictions if p == p}) == 1 and sum(p == p for p in predictions) > 1:
        with pytest.raises(SignalError):
            make_signals(np.array(predictions), rule)
        return
    made = make_signals(np.array(predictions, dtype=np.float64), rule)
    plain = [int(v) if k else None for v, k in zip(made.values, made.known, strict=True)]
    assert plain == reference_rank(predictions, rule)


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=30), st.floats(0.01, 1e9), RULES)
def test_rank_and_zscore_do_not_depend_on_the_unit(predictions, unit, rule):
    if rule.method == "threshold":
        return
    values = np.array(predictions)
    if len(set(values.tolist())) != len(set((values * 2.0**20).tolist())):
        return
    try:
        made = make_signals(values, rule)
    except SignalError:
        return
    # A power of two changes no digit.
    scaled = make_signals(values * 2.0 ** int(np.log2(unit)), rule)
    assert (scaled.values == made.values).all()


def test_rank_takes_the_top_tenth_rounded_down_and_one_at_least():
    assert signals([0.1, 0.3, 0.2], top_fraction=0.10) == [0, 1, 0]
    assert sum(signals(list(range(29)), top_fraction=0.10)) == 2
    assert sum(signals(list(range(30)), top_fraction=0.10)) == 3
    assert sum(signals(list(range(100)), top_fraction=0.29)) == 29
    assert signals([0.1, 0.3], top_fraction=0.0) == [0, 0]


def test_rank_shares_are_of_the_names_with_a_prediction():
    assert signals([NAN, 0.3, NAN, 0.2, 0.1], top_fraction=0.34) == [None, 1, None, 0, 0]


def test_ties_go_to_the_earlier_name_and_shorts_to_the_later():
    rule = {"top_fraction": 0.25, "bottom_fraction": 0.25, "allow_short": True}
    assert signals([0.1, 0.5, 0.5, 0.1], **rule) == [0, 1, 0, -1]


def test_in_a_small_universe_the_long_side_is_filled_first():
    rule = {"top_fraction": 0.7, "bottom_fraction": 0.7, "allow_short": True}
    assert signals([0.1, 0.2, 0.3], **rule) == [-1, 1, 1]
    assert signals([0.1], **rule) == [1]


def test_threshold_is_strict_and_two_sided():
    rule = {"method": "threshold", "threshold": 0.1}
    assert signals([0.1, 0.11, -0.1, -0.11, NAN], **rule) == [0, 1, 0, 0, None]
    assert signals([0.1, 0.11, -0.1, -0.11], **rule, allow_short=True) == [0, 1, 0, -1]


def test_zscore_uses_mean_and_deviation_of_the_session():
    # Mean 2, population standard deviation sqrt(2): z of 4 is 1.414, of 0 is -1.414.
    rule = {"method": "zscore", "zscore": 1.4, "allow_short": True}
    assert signals([0, 1, 2, 3, 4, NAN], **rule) == [-1, 0, 0, 0, 1, None]
    assert signals([0, 1, 2, 3, 4], **rule | {"zscore": 1.42}) == [0, 0, 0, 0, 0]


def test_no_prediction_at_all_leaves_every_name_unknown():
    for method in ("rank", "threshold", "zscore"):
        assert signals([NAN, NAN], method=method) == [None, None]
        assert signals([], method=method) == []


@pytest.mark.parametrize("predictions", [[0.1, float("inf")], [float("-inf")]])
def test_infinite_predictions_are_refused(predictions):
    with pytest.raises(SignalError, match="infinite"):
        signals(predictions, method="threshold")


def test_equal_predictions_can_not_be_told_apart():
    with pytest.raises(SignalError, match="all 3 predictions are equal"):
        signals([0.1, NAN, 0.1, 0.1])
    with pytest.raises(SignalError, match="z-score"):
        signals([0.1], method="zscore")
    assert signals([0.1, 0.1], method="threshold") == [1, 1]


def test_all_is_long_in_every_name_that_has_a_prediction():
    assert signals([0.0, NAN, 0.0, -3.0], method="all") == [1, None, 1, 1]
    assert signals([-1.0], method="all", allow_short=True) == [1]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"method": "best"}, "'best' is not known"),
        ({"top_fraction": 1.1}, "top_fraction is 1.1"),
        ({"bottom_fraction": NAN}, "bottom_fraction is nan"),
        ({"threshold": -0.1}, "threshold is -0.1"),
        ({"zscore": float("inf")}, "zscore is inf"),
    ],
)
def test_rules_that_make_no_sense_are_refused(rule, message):
    with pytest.raises(ValueError, match=message):
        SignalRule(**rule)
