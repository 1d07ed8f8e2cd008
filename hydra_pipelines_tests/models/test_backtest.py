from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from hydra_pipelines.models.backtest import backtest


def walks(sessions: int, symbols: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    prices = 20.0 * np.exp(np.cumsum(rng.normal(0.0003, 0.02, (sessions, symbols)), axis=0))
    return rng.normal(size=prices.shape), prices


@pytest.mark.parametrize(("top", "every", "cost_bps"), [(4, 5, 5.0), (1, 1, 30.0), (7, 21, 0.0)])
def test_agrees_with_vectorbt(top, every, cost_bps):
    import vectorbt as vbt

    scores, prices = walks(260, 9)
    got = backtest(scores, prices, top=top, every=every, cost_bps=cost_bps, gross=0.97)

    size = np.full(prices.shape, np.nan)
    for decided in range(0, len(prices) - 1, every):
        best = np.argsort(-scores[decided], kind="stable")[:top]
        size[decided + 1] = 0.0
        size[decided + 1, best] = 0.97 / top
    index = pd.date_range("2020-01-01", periods=len(prices), freq="D")
    portfolio = vbt.Portfolio.from_orders(
        pd.DataFrame(prices, index=index),
        size=pd.DataFrame(size, index=index),
        size_type="targetpercent",
        fees=cost_bps / 1e4,
        init_cash=1.0,
        group_by=True,
        cash_sharing=True,
        call_seq="auto",
    )
    assert np.allclose(got.equity, portfolio.value().to_numpy(), rtol=1e-9, atol=0)
    assert got.costs == pytest.approx(portfolio.orders.records["fees"].sum(), rel=1e-9, abs=1e-12)
    assert got.max_drawdown == pytest.approx(-portfolio.max_drawdown(), rel=1e-9)
    # vectorbt counts the first session, which has no return yet, as one of zero.
    returns = portfolio.returns().to_numpy()[1:]
    assert got.sharpe == pytest.approx(returns.mean() / returns.std(ddof=1) * 252**0.5, rel=1e-9)


def test_a_choice_is_traded_on_the_next_close():
    prices = np.array([[10.0, 10.0], [10.0, 20.0], [10.0, 40.0], [10.0, 40.0]])
    scores = np.array([[0.0, 1.0]] * 4)
    got = backtest(scores, prices, top=1, every=5, cost_bps=0.0, gross=1.0)
    assert got.equity.tolist() == [1.0, 1.0, 2.0, 2.0]


def test_scores_of_the_future_play_no_part():
    scores, prices = walks(60, 5)
    cut = backtest(scores[:40], prices[:40]).equity
    scores[39:] *= -1.0
    prices[40:] *= 3.0
    assert np.array_equal(backtest(scores, prices).equity[:40], cut)


def test_costs_and_turnover_are_counted():
    prices = np.full((253, 2), 10.0)
    scores = np.tile([[1.0, 0.0], [0.0, 1.0]], (127, 1))[:253]
    got = backtest(scores, prices, top=1, every=126, cost_bps=10.0, gross=0.5)
    # Decided on sessions 0 and 126, both even: bought once, then topped up to half of what is left.
    first = 0.5 * 0.001
    second = abs(0.5 * (1.0 - first) - 0.5) * 0.001
    assert got.equity[-1] == pytest.approx(1.0 - first - second, rel=1e-12)
    assert got.costs == pytest.approx(first + second)
    assert got.turnover == pytest.approx((0.5 + second * 1000 / (1 - first)) / 2)
    assert got.sharpe < 0.0 and got.max_drawdown == pytest.approx(first + second)


def test_a_name_without_a_price_keeps_its_shares():
    prices = np.full((12, 2), 10.0)
    prices[6:9, 0] = np.nan
    scores = np.zeros((12, 2))
    scores[:5, 0], scores[5:, 1] = 1.0, 1.0
    got = backtest(scores, prices, top=1, every=5, cost_bps=0.0, gross=0.5)
    assert got.equity.tolist() == [1.0] * 12
    # On session 6 the first name can't be sold: the second is bought beside it. On 11 it is sold.
    assert got.turnover == pytest.approx((0.5 + 0.5 + 0.5) / 2 * 252 / 11)


def test_without_scores_nothing_is_traded():
    _, prices = walks(30, 4)
    got = backtest(np.full(prices.shape, np.nan), prices)
    assert (got.equity == 1.0).all()
    assert (got.sharpe, got.turnover, got.costs) == (0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="do not fit"):
        backtest(np.zeros((3, 2)), np.ones((3, 4)))
