"""The contest on the sample: one window for all, evidence where there is some, leaks caught."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hydra_pipelines.features.panel import FeaturePanel
from hydra_pipelines.market.bars import BarPanel
from hydra_pipelines.models.contest import Capacity, contender, contest, yardsticks
from hydra_pipelines.models.evaluation import TrainingData, TrainingError, training_data
from hydra_pipelines.models.gate import GateLimits, GateReason, Verdict
from hydra_pipelines.models.strategies import StrategySpec
from hydra_pipelines_tests.models.conftest import AS_OF, MOMENTUM, RIDGE, Market

CAPACITY = Capacity(capital=500_000.0, assumed_adv_usd=500e6)
LIMITS = GateLimits(min_sessions=252)


def hold(candidate: StrategySpec, champion: StrategySpec, market: Market) -> Verdict:
    return contest(
        candidate, champion, market.features, market.bars, AS_OF, [0.4, 0.6], CAPACITY, LIMITS
    )


def test_the_same_configuration_is_no_better_than_itself(market: Market) -> None:
    verdict = hold(RIDGE, RIDGE, market)
    assert verdict.figures["difference"] == 0.0
    assert verdict.reasons[0] is GateReason.NOT_BETTER
    assert verdict.figures["trials"] == 3
    assert {"equal_weight_sharpe", "momentum_sharpe"} <= set(verdict.figures)


def test_contenders_are_tested_on_the_same_sessions_whatever_history_they_need(
    market: Market,
) -> None:
    """A feature that needs a year and one that needs a day; the later start counts for both."""
    quick = dataclasses.replace(RIDGE, features=("return_1d_rank",))
    ours = training_data(quick, market.features, market.bars, AS_OF)
    theirs = training_data(RIDGE, market.features, market.bars, AS_OF)
    assert ours.sessions[0] < theirs.sessions[0]
    verdict = hold(quick, RIDGE, market)
    again = hold(RIDGE, quick, market)
    assert verdict.figures["sessions"] == again.figures["sessions"]
    assert verdict.figures["difference"] == pytest.approx(-again.figures["difference"])


def test_a_look_into_the_future_trips_the_alarm(market: Market) -> None:
    """The future return in the place of a feature, as a careless join would put it there."""
    data = training_data(RIDGE, market.features, market.bars, AS_OF)
    first = int(np.searchsorted(market.features.sessions, data.sessions[0]))
    rows = slice(first, first + len(data.sessions))
    values = market.features.values.copy()
    column = market.features.columns(["return_1d_rank"])[0]
    values[rows, column] = np.where(np.isnan(data.y), values[rows, column], data.y)
    leaky = FeaturePanel(**{**vars(market.features), "values": values})
    verdict = contest(RIDGE, MOMENTUM, leaky, market.bars, AS_OF, [], CAPACITY, LIMITS)
    assert {GateReason.LEAK_RANK_IC, GateReason.LEAK_SHARPE} <= set(verdict.reasons)


def test_several_seeds_where_a_family_draws(market: Market) -> None:
    drawing = dataclasses.replace(
        RIDGE, family="hist_gradient_boosting", parameters={"max_iter": 3}
    )
    data = training_data(drawing, market.features, market.bars, AS_OF)
    made = contender("candidate", drawing, data, market.bars, CAPACITY, 1998)
    assert made.returns.shape[0] == 3
    assert not np.array_equal(made.returns[0], made.returns[1])


def test_the_yardsticks_trade_the_same_universe_at_the_same_pace() -> None:
    some = dataclasses.replace(RIDGE, universe=("AAPL", "MSFT"), label_horizon=10)
    for spec in yardsticks(some).values():
        assert (spec.universe, spec.label_horizon) == (some.universe, 10)


def test_capacity_by_the_least_traded_name(market: Market) -> None:
    data = training_data(RIDGE, market.features, market.bars, AS_OF)

    def share(bars: BarPanel, data: TrainingData = data) -> float:
        return contender("c", RIDGE, data, bars, CAPACITY, 1998).adv_share

    held = max(1, int(RIDGE.signal.top_fraction * len(data.symbols)))
    order = 500_000.0 * 0.99 / held
    assert share(market.bars) == pytest.approx(order / 500e6), "the sample has no volume"
    close = market.bars.fields["close"]
    volume = np.full_like(close, 1e6)
    volume[:, 2] = 10.0
    with_volume = BarPanel(
        market.bars.sessions, market.bars.symbols, {**market.bars.fields, "volume": volume}
    )
    last = int(np.searchsorted(market.bars.sessions, np.datetime64(AS_OF)))
    recent = close[last - 62 : last + 1, 2].mean() * 10.0
    assert share(with_volume) == pytest.approx(order / recent)


def test_too_short_a_history_is_said(market: Market) -> None:
    with pytest.raises(TrainingError, match="a first test year needs"):
        contest(
            RIDGE,
            RIDGE,
            market.features,
            market.bars,
            market.features.sessions[900].item(),
            [],
            CAPACITY,
            LIMITS,
        )
