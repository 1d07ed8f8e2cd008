"""Splits, dividends and renamed scales: what adjusted closes do while history grows."""

from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_pipelines.market.actions import adjusted_close
from hydra_pipelines.market.bars import BarPanel
from hydra_pipelines.market.ingest import bar_panel, ingest
from hydra_pipelines.market.lake import Lake
from hydra_pipelines.market.quality import check_bars
from hydra_pipelines_tests.market.builders import MemorySource, random_bars, with_value

NOW = datetime(2022, 12, 28, 22, 0, tzinfo=UTC)


def column(*values: float | None) -> np.ndarray:
    return np.array([[np.nan if v is None else v] for v in values], float)


def test_a_split_and_a_dividend_are_no_loss():
    close = column(100, 26, 25, 50)
    made = adjusted_close(close, column(None, 4, 1, 0), column(0, None, 1, 0))
    assert made[:, 0].tolist() == [100, 104, 104, 208]


def test_without_actions_the_close_is_the_adjusted_close():
    close = column(None, 3, None, 4, -1, 6)
    made = adjusted_close(close, None, None)
    assert np.array_equal(made, column(None, 3, None, 4, None, 6), equal_nan=True)


def test_an_action_on_a_session_without_price_counts_at_the_next():
    made = adjusted_close(column(100, None, 24), column(1, 4, 1), column(0, 0, 1))
    assert made[2, 0] == 100 * (24 * 4 + 1 * 4) / 100


@given(st.integers(0, 2**32), st.integers(2, 30))
def test_the_past_stays_and_returns_are_those_of_a_holder(seed, rows):
    rng = np.random.default_rng(seed)
    close = rng.uniform(5, 50, (rows, 3))
    close[rng.random(close.shape) < 0.1] = np.nan
    split = np.where(rng.random(close.shape) < 0.1, 2.0, 1.0)
    cash = np.where(rng.random(close.shape) < 0.1, 0.5, 0.0)
    made = adjusted_close(close, split, cash)
    cut = rows // 2
    assert np.array_equal(
        adjusted_close(close[:cut], split[:cut], cash[:cut]), made[:cut], equal_nan=True
    )
    # By hand: shares multiply with splits, dividends buy shares at the next close.
    for n in range(3):
        shares, pending, worth = None, 0.0, np.full(rows, np.nan)
        for t in range(rows):
            if shares is not None:
                pending += cash[t, n] * shares
                shares *= split[t, n]
            if np.isnan(close[t, n]):
                continue
            if shares is None:
                shares = 1.0
            shares += pending / close[t, n]
            pending = 0.0
            worth[t] = shares * close[t, n]
        assert np.allclose(made[:, n], worth, rtol=1e-12, equal_nan=True)


@pytest.fixture(scope="module")
def days(request):
    return request.getfixturevalue("calendar").between(date(2022, 9, 1), date(2022, 12, 28))


def rescaled(panel: BarPanel, symbol: int, factor: float) -> BarPanel:
    """As a source that adjusts backwards tells it after a dividend: another scale for all."""
    fields = {k: v.copy() for k, v in panel.fields.items()}
    fields["adj_close"][:, symbol] = np.round(fields["adj_close"][:, symbol] * factor, 6)
    return BarPanel(panel.sessions, panel.symbols, fields)


@pytest.mark.parametrize("verify_all", [False, True])
def test_a_source_that_adjusts_backwards_changes_no_stored_price(
    verify_all, tmp_path, days, calendar
):
    panel = random_bars(days)
    lake = Lake(tmp_path)
    ingest(MemorySource(panel), lake, days[60], calendar, NOW)
    before = lake.view()
    source = MemorySource(rescaled(panel, 1, 0.93))
    report = ingest(source, lake, days[62], calendar, NOW, verify_all=verify_all)
    assert (report.appended, report.corrected) == (2, 0)
    assert lake.view().snapshot(days[60]) == before.snapshot(days[60])
    held = bar_panel(lake.view()).fields["adj_close"]
    returns = held[1:] / held[:-1]
    expected = panel.fields["adj_close"][1:63] / panel.fields["adj_close"][:62]
    assert np.allclose(returns, expected, rtol=1e-6)


def test_a_correction_on_a_new_scale_is_still_found(tmp_path, days, calendar):
    panel = random_bars(days)
    lake = Lake(tmp_path)
    ingest(MemorySource(panel), lake, days[60], calendar, NOW)
    wrong = rescaled(with_value(panel, "adj_close", 55, 1, 77.0), 1, 0.93)
    report = ingest(MemorySource(wrong), lake, days[60], calendar, NOW)
    assert report.corrected == 1
    assert lake.log()[0]["session"] == str(days[55])
    assert bar_panel(lake.view()).fields["adj_close"][55, 1] == pytest.approx(77.0)


def test_a_correction_of_the_first_compared_value_is_no_new_scale(tmp_path, days, calendar):
    panel = random_bars(days)
    lake = Lake(tmp_path)
    ingest(MemorySource(panel), lake, days[60], calendar, NOW)
    report = ingest(
        MemorySource(with_value(panel, "adj_close", 40, 1, 77.0)), lake, days[60], calendar, NOW
    )
    assert report.corrected == 1
    assert bar_panel(lake.view()).fields["adj_close"][40, 1] == 77.0


def test_a_move_that_a_person_accepted_does_not_block(days, calendar):
    panel = with_value(random_bars(days), "adj_close", len(days) - 1, 1, 300.0)
    blocked = check_bars(panel, days[-1], calendar, panel.symbols)
    assert [(f.check, f.severity) for f in blocked] == [("return", "error")]
    assert "market.accepted_moves" in blocked[0].detail
    assert check_bars(panel, days[-1], calendar, panel.symbols, {("BBB", days[-1])}) == []
    others = {("BBB", days[-2]), ("AAA", days[-1])}
    assert check_bars(panel, days[-1], calendar, panel.symbols, others) == blocked
