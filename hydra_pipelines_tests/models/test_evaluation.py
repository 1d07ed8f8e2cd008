"""What a strategy learns from, and the walk-forward: honest, reproducible, and as good as it is."""

from __future__ import annotations

import dataclasses
from datetime import date

import numpy as np
import pytest

from hydra_pipelines.models.backtest import backtest
from hydra_pipelines.models.evaluation import (
    TrainingData,
    TrainingError,
    evaluate,
    fit,
    held,
    one_thread_each,
    training_data,
)
from hydra_pipelines.models.families import build_pipeline
from hydra_pipelines.models.validation import ic_figures, leak_alarms, rank_ic
from hydra_pipelines_tests.models.conftest import (
    AS_OF,
    BOOSTING,
    EQUAL,
    FAMILIES,
    MOMENTUM,
    RIDGE,
    SMALL_BOOSTING,
    Market,
    market_until,
)


@pytest.fixture(scope="module")
def data(market) -> TrainingData:
    return training_data(RIDGE, market.features, market.bars, AS_OF)


@pytest.fixture(scope="module")
def history(tmp_path_factory) -> Market:
    """The whole sample."""
    return market_until(tmp_path_factory.mktemp("history"), date(2022, 12, 28))


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return np.array_equal(a.view(np.int64), b.view(np.int64))


def test_training_data_end_with_the_labels_known(market, data):
    assert data.sessions[-1].item() == AS_OF
    assert np.isnan(data.y[-6:]).all() and not np.isnan(data.y[:-6]).any()
    assert data.complete[0].any() and data.x.shape == (*data.y.shape, 15)
    assert data.snapshot == market.features.snapshot(AS_OF)
    row = int(np.searchsorted(market.bars.sessions, np.datetime64(AS_OF)))
    assert np.array_equal(data.prices[-1], market.bars.fields["adj_close"][row])


def test_each_year_is_predicted_by_what_was_known_before_it(data):
    evaluation = evaluate(RIDGE, data)
    assert [fold.name for fold in evaluation.folds] == ["1997", "1998", "1999"]
    assert np.isnan(evaluation.predictions[: evaluation.folds[0].test_start]).all()
    fold = evaluation.folds[1]
    known = ~np.isnan(data.y)
    x, y = (a[: fold.train_stop][known[: fold.train_stop]] for a in (data.x, data.y))
    expected = build_pipeline(RIDGE).fit(x, y).predict(data.x[fold.test_start])
    assert np.array_equal(evaluation.predictions[fold.test_start], expected)
    # Labels from the gap on have no influence on the year: the purge does what it says.
    poisoned = data.y.copy()
    poisoned[fold.train_stop :] = 9.9
    again = evaluate(RIDGE, dataclasses.replace(data, y=poisoned))
    part = slice(fold.test_start, fold.test_stop)
    assert np.array_equal(again.predictions[part], evaluation.predictions[part])


@pytest.mark.parametrize("spec", FAMILIES, ids=lambda spec: spec.family)
def test_the_number_of_workers_changes_no_bit(spec, market):
    data = training_data(spec, market.features, market.bars, AS_OF)
    one, three = (evaluate(spec, data, workers=n) for n in (1, 3))
    assert same_bits(one.predictions, three.predictions)
    assert same_bits(one.backtest.equity, three.backtest.equity)
    assert one.figures == three.figures


def test_seeds_are_different_models_where_there_is_chance(data):
    by_seed = [evaluate(SMALL_BOOSTING, data, seed=seed, first_test=1999) for seed in (3, 4)]
    assert not same_bits(by_seed[0].predictions, by_seed[1].predictions)
    own = evaluate(SMALL_BOOSTING, data, first_test=1999)
    assert same_bits(own.predictions, by_seed[0].predictions), "its own seed is 3"
    linear = [evaluate(RIDGE, data, seed=seed, first_test=1999) for seed in (3, 4)]
    assert same_bits(linear[0].predictions, linear[1].predictions)


def test_the_first_test_year_can_be_chosen(data):
    late = evaluate(RIDGE, data, first_test=1998)
    assert [fold.name for fold in late.folds] == ["1998", "1999"]
    assert late.begin == late.folds[0].test_start and np.isnan(late.ic[: late.begin]).all()
    assert len(late.backtest.equity) == len(data.sessions) - late.begin
    full = evaluate(RIDGE, data)
    assert same_bits(late.predictions[late.begin :], full.predictions[late.begin :])
    with pytest.raises(TrainingError, match="first test year"):
        evaluate(RIDGE, data, first_test=2000)


@pytest.mark.parametrize("spec", [RIDGE, SMALL_BOOSTING], ids=lambda spec: spec.family)
def test_a_window_learns_from_its_last_sessions_only(spec, data):
    stop, window = 1300, 400
    limited = dataclasses.replace(spec, parameters={**spec.parameters, "window_sessions": window})
    part = slice(stop - window, stop)
    rows = data.complete[part] & ~np.isnan(data.y[part])
    with one_thread_each(1):
        expected = build_pipeline(spec).fit(data.x[part][rows], data.y[part][rows])
        got = fit(limited, data, stop)
        everything = fit(spec, data, stop)
    x = data.x[stop]
    assert same_bits(got.predict(x), expected.predict(x))
    assert not same_bits(got.predict(x), everything.predict(x))
    # A window longer than the history is the history.
    long = dataclasses.replace(spec, parameters={**spec.parameters, "window_sessions": 9999})
    assert same_bits(fit(long, data, stop).predict(x), everything.predict(x))


def test_a_half_life_is_weighted_least_squares(data):
    """Against the closed form: coefficients of the weighted, centred, penalised problem."""
    stop, half_life = 1300, 250.0
    spec = dataclasses.replace(RIDGE, parameters={"alpha": 50.0, "half_life_sessions": half_life})
    pipeline = fit(spec, data, stop)
    session, symbol = np.nonzero(data.complete[:stop] & ~np.isnan(data.y[:stop]))
    x, y = data.x[session, symbol], data.y[session, symbol]
    weight = 0.5 ** ((stop - 1 - session) / half_life)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    zc = z - np.average(z, axis=0, weights=weight)
    yc = y - np.average(y, weights=weight)
    expected = np.linalg.solve(
        zc.T @ (weight[:, None] * zc) + 50.0 * np.eye(z.shape[1]), zc.T @ (weight * yc)
    )
    assert pipeline[-1].coef_ == pytest.approx(expected, rel=1e-7)
    flat = dataclasses.replace(spec, parameters={"alpha": 50.0, "half_life_sessions": 1e12})
    plain = dataclasses.replace(spec, parameters={"alpha": 50.0})
    assert fit(flat, data, stop)[-1].coef_ == pytest.approx(fit(plain, data, stop)[-1].coef_)


def test_a_universe_is_all_that_a_strategy_sees(market, data):
    some = data.symbols[3:9]
    spec = dataclasses.replace(RIDGE, universe=some[::-1])
    mine = training_data(spec, market.features, market.bars, AS_OF)
    assert mine.symbols == some
    assert np.array_equal(mine.x, data.x[:, 3:9]) and np.array_equal(
        mine.prices, data.prices[:, 3:9]
    )
    known = ~np.isnan(mine.y).any(axis=1)
    # Labels are relative to these six, not to all twenty.
    assert np.abs(mine.y[known].mean(axis=1)).max() < 1e-15
    shift = data.y[:, 3:9] - mine.y
    assert np.allclose(shift[known], shift[known][:, :1], atol=1e-15)
    assert evaluate(spec, mine, first_test=1999).predictions.shape == mine.y.shape
    with pytest.raises(TrainingError, match=r"HYP-2026-001: its universe has ZZZ, of which"):
        training_data(
            dataclasses.replace(RIDGE, universe=("KO", "ZZZ")), market.features, market.bars, AS_OF
        )


def test_how_many_names_the_simulation_holds():
    assert held(RIDGE, 20) == 5 and held(RIDGE, 3) == 1
    assert held(EQUAL, 20) == 20


# how good it is, and what would be too good


RANGE = {"rank_ic": (0.01, 0.03), "sharpe": (0.5, 0.9)}
"""What honest models reach on these survivors: five sessions ahead, the top 4, 5 bp a side."""


@pytest.mark.parametrize(
    "spec",
    [RIDGE, dataclasses.replace(BOOSTING, parameters={"max_iter": 30, "learning_rate": 0.1})],
    ids=lambda spec: spec.family,
)
def test_a_walk_forward_lands_where_honest_models_do(spec, history):
    """Boosting with fewer, larger steps than the benchmark's, which shows the full table."""
    data = training_data(spec, history.features, history.bars, date(2022, 12, 28))
    evaluation = evaluate(top_four(spec), data, first_test=2001)
    assert [fold.name for fold in evaluation.folds] == [str(year) for year in range(2001, 2023)]
    figures = evaluation.figures
    for name, (low, high) in RANGE.items():
        assert low < figures[name] < high, name
    assert leak_alarms(figures) == ()


@pytest.mark.parametrize(("spec", "sharpe"), [(EQUAL, (0.7, 0.78)), (MOMENTUM, (0.8, 0.95))])
def test_the_yardsticks_are_beside_it(spec, sharpe, history):
    data = training_data(spec, history.features, history.bars, date(2022, 12, 28))
    figures = evaluate(top_four(spec), data, first_test=2001).figures
    assert sharpe[0] < figures["sharpe"] < sharpe[1]
    assert leak_alarms(figures) == ()


def top_four(spec):
    if spec.signal.method == "all":
        return spec
    return dataclasses.replace(spec, signal=dataclasses.replace(spec.signal, top_fraction=0.2))


def test_the_future_among_the_features_trips_the_alarm(data):
    """A feature that knows the label, with noise over it: it looks like a very good one."""
    leaky = dataclasses.replace(data, x=data.x.copy())
    noise = np.random.default_rng(0).normal(0.0, 3.0 * np.nanstd(data.y), data.y.shape)
    leaky.x[:, :, 0] = np.nan_to_num(data.y) + noise
    honest, alarmed = evaluate(RIDGE, data).figures, evaluate(RIDGE, leaky).figures
    assert alarmed["rank_ic"] < 0.5 and alarmed["sharpe"] > 2.5
    assert leak_alarms(honest) == ()
    found = leak_alarms(alarmed)
    assert len(found) == 2 and "rank IC of" in found[0] and "Sharpe ratio of" in found[1]


def test_shuffled_folds_trip_the_alarm(data):
    """Neighbouring sessions share four fifths of their labels: shuffling is learning by heart."""
    spec = dataclasses.replace(
        BOOSTING,
        parameters={
            "max_iter": 40, "learning_rate": 0.3, "max_leaf_nodes": 31, "min_samples_leaf": 20
        },
    )  # fmt: skip
    last = slice(len(data.sessions) - 600, len(data.sessions) - 6)
    x, y = data.x[last], data.y[last]
    rows = np.argwhere(data.complete[last] & ~np.isnan(y))
    part = np.random.default_rng(0).integers(0, 5, len(rows))
    predictions = np.full(y.shape, np.nan)
    with one_thread_each(1):
        for fold in range(5):
            seen, tested = tuple(rows[part != fold].T), tuple(rows[part == fold].T)
            predictions[tested] = build_pipeline(spec).fit(x[seen], y[seen]).predict(x[tested])
    simulated = backtest(predictions, data.prices[last], top=4)
    figures = {**ic_figures(rank_ic(predictions, y)), "sharpe": simulated.sharpe}
    assert len(leak_alarms(figures)) == 2, figures


def test_the_alarm_has_bounds_and_knows_what_it_does_not_know():
    assert leak_alarms({"rank_ic": 0.1, "sharpe": 2.5}) == ()
    assert len(leak_alarms({"rank_ic": 0.1001, "sharpe": -9.0})) == 1
    assert leak_alarms({}) == leak_alarms({"rank_ic": float("nan")}) == ()
    assert len(leak_alarms({"sharpe": 1.0}, max_sharpe=0.9)) == 1
