"""RSI, ATR, MACD and Bollinger bands against those of vectorbt, on the sample and on bars.

vectorbt's exponential means are recursive (`ewm`, `adjust=False`) and take a span: Wilder's decay
of 13/14 is a span of 27, which is why `window` is 27 where the books say 14. Ours are cut off
after a fixed number of terms, so the two agree once the recursive one has forgotten its start;
what is left out weighs less than 5e-10. Ours divide MACD and ATR by the price and give Bollinger's
bands as the price's distance from the middle in deviations: the library's are brought to that.
"""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from hydra_pipelines.features.panel import build_features
from hydra_pipelines.market.bars import BarPanel
from hydra_pipelines.market.sources import open_source
from hydra_pipelines.sessions import Calendar
from hydra_pipelines_tests.market.builders import random_bars

pytestmark = pytest.mark.filterwarnings("ignore:.*reflected list.*")

CONVERGED = 900
"""Sessions after which the recursive means have forgotten their start: (25/27)**900 is 1e-30."""


@pytest.fixture(scope="module", params=["sample", "bars"])
def panel(request, tmp_path_factory) -> BarPanel:
    if request.param == "sample":
        return open_source("sample").read(date(2014, 1, 2))
    calendar = Calendar.load("XNYS", tmp_path_factory.mktemp("calendar"))
    bars = random_bars(calendar.between(date(2016, 1, 4), date(2022, 12, 28)))
    factor = np.where(np.arange(len(bars.sessions)) < 1200, 0.9, 1.0)[:, None]
    fields = {**bars.fields, "adj_close": bars.fields["close"] * factor}
    return BarPanel(bars.sessions, bars.symbols, fields)


@pytest.fixture(scope="module")
def built(panel) -> dict[str, np.ndarray]:
    names, values = build_features(panel)
    return {name: values[:, i] for i, name in enumerate(names)}


@pytest.fixture(scope="module")
def price(panel):
    import pandas as pd

    return pd.DataFrame(panel.fields["adj_close"], columns=panel.symbols)


def agree(ours: np.ndarray, theirs, *, scale: float = 0.0) -> bool:
    """To 1e-9, relative to the value, or to `scale` where a value may be next to nothing."""
    ours, theirs = ours[CONVERGED:], np.asarray(theirs)[CONVERGED:]
    return theirs.shape == ours.shape and np.allclose(ours, theirs, rtol=1e-9, atol=1e-9 * scale)


def test_rsi(built, price):
    import vectorbt

    theirs = vectorbt.RSI.run(price, window=27, ewm=True, adjust=False).rsi
    assert agree(built["rsi_14"], theirs)


def test_macd(built, price):
    import vectorbt

    run = vectorbt.MACD.run(
        price, fast_window=12, slow_window=26, signal_window=9, macd_ewm=True, signal_ewm=True
    )
    # A difference of means that are as large as the price, over the price: of the order of one.
    assert agree(built["macd"], run.macd.to_numpy() / price.to_numpy(), scale=1.0)
    assert agree(built["macd_histogram"], run.hist.to_numpy() / price.to_numpy(), scale=1.0)


def test_bollinger_bands(built, panel):
    """Each window goes in as a column of its own, and its last row counts.

    vectorbt takes windows from running sums of all history, which cancel: on the sample, its
    deviations in calm weeks are off by up to 6e-9 against exact fractions, ours by 3e-15.
    """
    import vectorbt

    price = panel.fields["adj_close"]
    windows = np.lib.stride_tricks.sliding_window_view(price, 20, axis=0)
    run = vectorbt.BBANDS.run(windows.reshape(-1, 20).T, window=20, ewm=False, alpha=2, ddof=0)
    upper, middle = (
        x.to_numpy()[-1].reshape(-1, len(panel.symbols)) for x in (run.upper, run.middle)
    )
    theirs = (price[19:] - middle) / (upper - middle) * 2.0
    assert agree(built["bollinger_z_20"][19:], theirs, scale=1.0)


def test_atr(panel, built, price):
    """vectorbt knows no raw prices: it gets ranges that are adjusted as the close is."""
    import pandas as pd
    import vectorbt

    if "high" not in panel.fields:
        assert "atr_14" not in built
        return
    factor = panel.fields["adj_close"] / panel.fields["close"]
    high, low = (
        pd.DataFrame(panel.fields[name] * factor, columns=panel.symbols) for name in ("high", "low")
    )
    run = vectorbt.ATR.run(high, low, price, window=27, ewm=True, adjust=False)
    assert agree(built["atr_14"], run.atr.to_numpy() / price.to_numpy())
