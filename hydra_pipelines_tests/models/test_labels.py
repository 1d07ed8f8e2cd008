from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_pipelines.market.bars import BarPanel, MarketDataError
from hydra_pipelines.models.labels import make_labels
from hydra_pipelines_tests.market.builders import random_bars, with_value

DAYS = [date(2020, 1, 1) + timedelta(days=i) for i in range(40)]
PANEL = random_bars(DAYS)
PRICES = PANEL.fields["adj_close"]


def test_a_label_is_the_relative_return_from_the_next_session_on():
    labels = make_labels(PANEL, 5)
    returns = PRICES[10 + 1 + 5] / PRICES[10 + 1] - 1.0
    assert np.allclose(labels.values[10], returns - returns.mean(), rtol=1e-12)
    assert (labels.horizon, labels.symbols) == (5, PANEL.symbols)
    assert np.allclose(np.nansum(labels.values, axis=1), 0.0, atol=1e-12)


@given(horizon=st.integers(1, 45), cut=st.integers(1, 40))
def test_a_label_is_known_once_its_last_price_is(horizon, cut):
    labels = make_labels(PANEL, horizon).values
    early = make_labels(PANEL.up_to(DAYS[cut - 1]), horizon).values
    # The label of t ends at t + 1 + horizon, which must be at most the last session.
    known = max(0, cut - 1 - horizon)
    assert not np.isnan(early[:known]).any() and np.isnan(early[known:]).all()
    assert np.array_equal(early[:known], labels[:known])


def test_the_price_of_the_session_itself_plays_no_part():
    changed = with_value(PANEL, "adj_close", 10, 1, 1e3)
    assert np.array_equal(make_labels(changed, 5).values[10], make_labels(PANEL, 5).values[10])


@pytest.mark.parametrize("bad", [np.nan, 0.0, np.inf])
def test_unknown_prices_leave_the_symbol_out_of_the_mean(bad):
    values = make_labels(with_value(PANEL, "adj_close", 16, 1, bad), 5).values
    assert np.isnan(values[10, 1])
    returns = (PRICES[16] / PRICES[11] - 1.0)[[0, 2]]
    assert np.allclose(values[10, [0, 2]], returns - returns.mean())


def test_bars_without_adjusted_closes_have_no_labels():
    closes = BarPanel(PANEL.sessions, PANEL.symbols, {"close": PRICES})
    with pytest.raises(MarketDataError, match="adjusted closes"):
        make_labels(closes, 5)
