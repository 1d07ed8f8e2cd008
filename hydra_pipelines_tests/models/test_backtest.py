from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_pipelines.models.backtest import backtest
from hydra_pipelines.models.report import simulate


def walks(sessions: int, symbols: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    prices = 20.0 * np.exp(np.cumsum(rng.normal(0.0003, 0.02, (sessions, symbols)), axis=0))
    return rng.normal(size=prices.shape), prices


def sessions_of(prices: np.ndarray) -> np.ndarray:
    return np.datetime64("2012-01-02", "D") + np.arange(len(prices))


@pytest.mark.parametrize(
    ("shape", "top", "every", "cost_bps"),
    [
        ((260, 9), 4, 5, 5.0),
        ((260, 9), 1, 1, 30.0),
        ((260, 9), 7, 21, 0.0),
        ((260, 9), 9, 5, 5.0),
        ((2520, 500), 50, 5, 5.0),
    ],
)
def test_agrees_with_vectorbt(shape, top, every, cost_bps):
    scores, prices = walks(*shape)
    scores[shape[0] // 2 :, 1] = np.nan
    prices[:100, 2] = scores[:100, 2] = np.nan
    options = {"top": top, "every": every, "cost_bps": cost_bps, "gross": 0.97}
    got = backtest(scores, prices, **options)
    portfolio = simulate(scores, prices, sessions_of(prices), **options)
    assert np.allclose(got.equity, portfolio.value().to_numpy(), rtol=1e-9, atol=0)
    assert got.costs == pytest.approx(portfolio.orders.records["fees"].sum(), rel=1e-9, abs=1e-12)
    assert got.max_drawdown == pytest.approx(-portfolio.max_drawdown(), rel=1e-9)
    # vectorbt counts the first session, which has no return yet, as one of zero.
    returns = portfolio.returns().to_numpy()[1:]
    assert got.returns == pytest.approx(returns, rel=1e-9, abs=1e-12)
    assert got.sharpe == pytest.approx(returns.mean() / returns.std(ddof=1) * 252**0.5, rel=1e-9)


ODD = st.sampled_from(
    [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, 1.0 + 2**-52, 1e300, -1e300, 5e-324]
)
SCORES = st.lists(st.one_of(ODD, st.floats(-3, 3), st.integers(-2, 2).map(float)), min_size=1)


@given(scores=SCORES, repeats=st.integers(1, 8), top=st.integers(1, 60))
def test_the_best_are_chosen_whatever_the_scores(scores, repeats, top):
    """What is bought, read off the prices: each symbol's own return is a power of two."""
    scores = np.array(scores * repeats)
    order = np.argsort(-scores, kind="stable")
    expected = sorted(order[: min(top, int((~np.isnan(scores)).sum()))].tolist())
    # One symbol at a time doubles its price after the purchase: it was bought or not.
    n = len(scores)
    for symbol in {0, n // 2, n - 1, *expected[:2], *expected[-2:]}:
        prices = np.ones((3, n))
        prices[2, symbol] = 2.0
        panel = np.full((3, n), np.nan)
        panel[0] = scores
        got = backtest(panel, prices, top=top, every=5, cost_bps=0.0, gross=1.0).equity[-1]
        share = 1.0 / len(expected) if symbol in expected else 0.0
        assert got == pytest.approx(1.0 + share, rel=1e-12)


@pytest.mark.parametrize("kind", ["normal", "coarse", "outlier", "sorted", "tiny"])
def test_the_best_of_many_are_chosen(kind):
    rng = np.random.default_rng(1)
    scores = rng.normal(size=3000)
    if kind == "coarse":
        scores = np.round(scores, 1)
    elif kind == "outlier":
        scores[:3] = 1e12
    elif kind == "sorted":
        scores = np.sort(scores)
    elif kind == "tiny":
        scores *= 1e-310
    growth = rng.uniform(0.5, 1.5, 3000)
    prices = np.vstack([np.ones((2, 3000)), growth])
    panel = np.tile(scores, (3, 1))
    chosen = np.argsort(-scores, kind="stable")[:400]
    got = backtest(panel, prices, top=400, cost_bps=0.0, gross=1.0).equity
    assert got[-1] == pytest.approx(growth[chosen].mean(), rel=1e-12)


def test_kept_code_runs_in_a_fresh_process():
    """The machine code as it was kept, without the compiler that made it in the process."""
    scores, prices = walks(60, 40)
    expected = backtest(scores, prices).equity[-1]
    code = (
        "import sys; from hydra_pipelines_tests.models.test_backtest import backtest, walks;"
        "print(repr(float(backtest(*walks(60, 40)).equity[-1])), 'numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == [repr(float(expected)), "False"], done.stderr


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


def test_money_that_is_stuck_is_not_spent_twice():
    prices = np.full((13, 3), 10.0)
    prices[6:, 0] = np.nan
    prices[12, 1] = 20.0
    scores = np.zeros((13, 3))
    scores[:5, 0], scores[5:, 1] = 1.0, 1.0
    got = backtest(scores, prices, top=1, every=5, cost_bps=0.0, gross=0.8)
    # 0.8 can't be sold; of the 0.2 that are left, four fifths buy the second, which then doubles.
    assert got.equity[-1] == pytest.approx(1.0 + 0.8 * 0.2)


def test_without_scores_nothing_is_traded():
    _, prices = walks(30, 4)
    got = backtest(np.full(prices.shape, np.nan), prices)
    assert (got.equity == 1.0).all()
    assert (got.sharpe, got.turnover, got.costs) == (0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="do not fit"):
        backtest(np.zeros((3, 2)), np.ones((3, 4)))
    with pytest.raises(ValueError, match="top is 0"):
        backtest(prices, prices, top=0)


def test_fewer_names_than_asked_for_share_the_money():
    prices = np.array([[1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [2.0, 4.0, 8.0]])
    scores = np.array([[np.nan, 1.0, 2.0]] * 3)
    got = backtest(scores, prices, top=9, cost_bps=0.0, gross=1.0)
    assert got.equity.tolist() == [1.0, 1.0, 6.0]
