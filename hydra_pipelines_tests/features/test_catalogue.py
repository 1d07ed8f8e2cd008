"""Each feature against an independent slow computation, its look-back, and its blindness ahead."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from hydra_pipelines.features import engine
from hydra_pipelines.features.catalogue import CATALOGUE, MARKET
from hydra_pipelines.features.panel import MAX_GAP, build_features
from hydra_pipelines.market.bars import BarPanel
from hydra_pipelines_tests.market.builders import random_bars

SESSIONS = 640
FEATURES = {entry.name: entry for entry in CATALOGUE}


@pytest.fixture(scope="module")
def panel() -> BarPanel:
    days = [date(2020, 1, 1) + timedelta(days=i) for i in range(SESSIONS)]
    bars = random_bars(days, [f"S{i}" for i in range(7)])
    # A factor between raw and adjusted prices that changes on the way, as after a dividend.
    factor = np.where(np.arange(SESSIONS) < 300, 0.9, 1.0)[:, None]
    fields = {**bars.fields, "adj_close": bars.fields["close"] * factor}
    return BarPanel(bars.sessions, bars.symbols, fields)


@pytest.fixture(scope="module")
def built(panel) -> dict[str, np.ndarray]:
    names, values = build_features(panel)
    return {name: values[:, i] for i, name in enumerate(names)}


@pytest.fixture(scope="module")
def slow(panel) -> dict[str, pd.DataFrame]:
    return expected(panel)


def wilder(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.ewm(alpha=1 / 14, adjust=False).mean()


def ema(frame: pd.DataFrame, span: int) -> pd.DataFrame:
    return frame.ewm(span=span, adjust=False).mean()


def expected(panel: BarPanel) -> dict[str, pd.DataFrame]:
    bars = {name: pd.DataFrame(values) for name, values in panel.fields.items()}
    price, close = bars["adj_close"], bars["close"]
    returns = price.pct_change()
    market = returns.mean(axis=1)
    move = price.diff()
    rise, fall = wilder(move.clip(lower=0)), wilder(-move.clip(upper=0))
    line = ema(price, 12) - ema(price, 26)
    ratio = price / close
    opened, high, low = (bars[name] * ratio for name in ("open", "high", "low"))
    before = price.shift(1)
    ranges = [high - low, (high - before).abs(), (low - before).abs()]
    true_range = pd.DataFrame(np.maximum.reduce([r.to_numpy() for r in ranges]))
    dollars = close * bars["volume"]
    top, bottom = high.rolling(14).max(), low.rolling(14).min()
    fits = returns.apply(lambda r: _regressions(r.to_numpy(), market.to_numpy(), 63))
    return {
        **{f"return_{n}d": price / price.shift(n) - 1 for n in (1, 5, 21, 63, 126, 252)},
        "momentum_12_1": price.shift(21) / price.shift(252) - 1,
        **{f"volatility_{n}d": returns.rolling(n).std(ddof=0) for n in (21, 63, 252)},
        "rsi_14": 100 - 100 / (1 + rise / fall),
        "bollinger_z_20": (price - price.rolling(20).mean()) / price.rolling(20).std(ddof=0),
        "macd": line / price,
        "macd_histogram": (line - ema(line, 9)) / price,
        "high_52w_distance": price / price.rolling(252).max() - 1,
        "low_52w_distance": price / price.rolling(252).min() - 1,
        "max_return_21d": returns.rolling(21).max(),
        "downside_63d": (returns.clip(upper=0) ** 2).rolling(63).mean() ** 0.5,
        "efficiency_63d": (price - price.shift(63)) / move.abs().rolling(63).sum(),
        **{f"trend_gap_{n}d": price / price.rolling(n).mean() - 1 for n in (50, 200)},
        **{
            f"beta_{n}d": returns.apply(lambda r, n=n: r.rolling(n).cov(market)).div(
                market.rolling(n).var(), axis=0
            )
            for n in (63, 252)
        },
        "market_correlation_63d": returns.apply(lambda r: r.rolling(63).corr(market)),
        "residual_volatility_63d": fits,
        "atr_14": wilder(true_range[1:]) / price,
        "range_21d": ((bars["high"] - bars["low"]) / close).rolling(21).mean(),
        "stochastic_14": 100 * (price - bottom) / (top - bottom),
        "overnight_21d": (opened / before - 1).rolling(21).mean(),
        "adv_21": dollars.rolling(21).mean(),
        "volume_surge_5d": dollars.rolling(5).mean() / dollars.rolling(63).mean() - 1,
        "amihud_21": (returns.abs() / dollars * 1e6).rolling(21).mean(),
    }


def _regressions(y: np.ndarray, x: np.ndarray, length: int) -> pd.Series:
    """Deviation of what a least-squares line on x leaves of y, over each window."""
    left = np.full(len(y), np.nan)
    for t in range(length, len(y)):
        window = slice(t - length + 1, t + 1)
        slope, level = np.polyfit(x[window], y[window], 1)
        left[t] = np.std(y[window] - level - slope * x[window])
    return pd.Series(left)


@pytest.mark.parametrize("name", FEATURES)
def test_feature_agrees_with_a_slow_computation(name, panel, built, slow):
    got, want = built[name], slow[name].to_numpy()
    lookback = FEATURES[name].lookback
    assert np.isnan(got[:lookback]).all() and not np.isnan(got[lookback:]).any()
    # The last sessions, for a recursive mean needs time to forget where it started.
    assert np.allclose(got[-100:], want[-100:], rtol=1e-9, atol=1e-9)
    if FEATURES[name].lookback < 300:
        assert np.allclose(got[lookback:], want[lookback:], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", FEATURES)
def test_lookback_is_enough_and_needed(name, panel, built):
    entry = FEATURES[name]
    market = engine.row_mean(engine.change(panel.fields["adj_close"], 1))
    given = {**panel.fields, MARKET: np.append(np.nan, market)[:, None]}
    inputs = [given[field] for field in entry.inputs]
    exact = entry.compute(*(x[-entry.lookback - 1 :] for x in inputs))
    assert exact.shape == (1, 7)
    assert np.array_equal(exact.view(np.int64), built[name][-1:].view(np.int64))
    assert len(entry.compute(*(x[-entry.lookback :] for x in inputs))) == 0


def test_ranks_and_scores_stand_beside_each_feature(built):
    assert len(built) == 3 * len(FEATURES)
    for name in FEATURES:
        raw = pd.DataFrame(built[name])
        n = raw.notna().sum(axis=1)
        rank = (raw.rank(axis=1) - 0.5).div(n, axis=0)
        score = raw.sub(raw.mean(axis=1), axis=0).div(raw.std(axis=1, ddof=0), axis=0)
        assert np.allclose(built[f"{name}_rank"], rank, equal_nan=True)
        assert np.allclose(built[f"{name}_z"], score, equal_nan=True)


def test_what_comes_later_changes_nothing(panel, built):
    rng = np.random.default_rng(5)
    for cut in (400, 530, 600):
        fields = {k: v.copy() for k, v in panel.fields.items()}
        for values in fields.values():
            values[cut:] *= rng.uniform(0.5, 2.0, values[cut:].shape)
            values[cut + 3, 2] = np.nan
        changed = BarPanel(panel.sessions, panel.symbols, fields)
        for variant in (panel.up_to(panel.sessions[cut - 1].item()), changed):
            names, values = build_features(variant)
            for i, name in enumerate(names):
                same = np.ascontiguousarray(values[:cut, i]).view(np.int64)
                assert np.array_equal(same, built[name][:cut].copy().view(np.int64)), name


def constant(value: float, name: str) -> float:
    days = [date(2020, 1, 1) + timedelta(days=i) for i in range(520)]
    prices = np.full((520, 2), value)
    panel = BarPanel(np.array(days, "datetime64[D]"), ("A", "B"), {"adj_close": prices})
    names, values = build_features(panel)
    return values[-1, names.index(name), 0]


@pytest.mark.parametrize("price", [0.1, 17.3, 1e6 / 3])
def test_a_flat_price_has_defined_features(price):
    assert constant(price, "rsi_14") == 50.0
    assert constant(price, "bollinger_z_20") == 0.0
    assert constant(price, "volatility_63d") == 0.0
    assert constant(price, "return_5d_rank") == 0.5
    assert constant(price, "return_5d_z") == 0.0
    assert abs(constant(price, "macd")) < 1e-12
    assert np.isnan(constant(price, "beta_63d"))


def without(panel: BarPanel, field: str, rows: slice, value: float) -> BarPanel:
    fields = {k: v.copy() for k, v in panel.fields.items()}
    fields[field][rows, 3] = value
    return BarPanel(panel.sessions, panel.symbols, fields)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0, -3.0])
def test_a_session_without_its_price_is_unknown_and_later_ones_bridge_it(panel, built, bad):
    names, values = build_features(without(panel, "adj_close", slice(600, 603), bad))
    price = panel.fields["adj_close"][:, 3]
    got = values[:, names.index("return_5d")]
    assert np.isnan(got[600:603, 3]).all() and not np.isnan(np.delete(got[600], 3)).any()
    # The last known price stands in for the missing ones.
    assert got[603, 3] == price[603] / price[598] - 1 == built["return_5d"][603, 3]
    assert got[606, 3] == price[606] / price[599] - 1
    assert got[608, 3] == built["return_5d"][608, 3]
    assert np.array_equal(np.delete(got, 3, 1)[5:], np.delete(built["return_5d"], 3, 1)[5:])
    for name in FEATURES:
        column = values[:, names.index(name), 3]
        assert np.isnan(column[600]) == ("adj_close" in FEATURES[name].inputs), name
        assert not np.isnan(column[603:]).any(), name
    assert not np.isinf(values).any()


def test_a_long_gap_is_not_bridged(panel):
    names, values = build_features(
        without(panel, "adj_close", slice(400, 400 + MAX_GAP + 1), np.nan)
    )
    after = 400 + MAX_GAP + 1
    got = values[:, names.index("return_21d"), 3]
    # What lies in the gap is bridged as far as it may be, and the session after that is not.
    assert np.isnan(got[[400, after - 1, after + 20]]).all() and not np.isnan(got[after + 21])
    assert np.isnan(values[after : after + 252, names.index("volatility_252d"), 3]).all()


def test_listings_and_delistings_begin_and_end_a_symbol(panel):
    fields = {k: v.copy() for k, v in panel.fields.items()}
    for values in fields.values():
        values[:300, 1] = np.nan
        values[500:, 2] = np.nan
    names, values = build_features(BarPanel(panel.sessions, panel.symbols, fields))
    for name, entry in FEATURES.items():
        got = values[:, names.index(name)]
        if MARKET not in entry.inputs:
            assert np.isnan(got[: 300 + entry.lookback, 1]).all(), name
            assert not np.isnan(got[300 + entry.lookback :, 1]).any(), name
        assert np.isnan(got[500:, 2]).all(), name
        assert np.isnan(values[500:, names.index(name) + 1, 2]).all(), name
        ranked = values[530, names.index(name) + 1]
        count = np.count_nonzero(~np.isnan(got[530]))
        assert count == 5 + (300 + entry.lookback <= 530)
        assert np.nanmax(ranked) == 1 - 0.5 / count, name


def test_no_volume_leaves_illiquidity_unknown(panel):
    fields = {k: v.copy() for k, v in panel.fields.items()}
    fields["volume"][600, 3] = 0.0
    names, values = build_features(BarPanel(panel.sessions, panel.symbols, fields))
    assert np.isnan(values[600:621, names.index("amihud_21"), 3]).all()
    assert np.isfinite(values[621, names.index("amihud_21"), 3])
    assert np.isfinite(values[600:, names.index("adv_21"), 3]).all()
