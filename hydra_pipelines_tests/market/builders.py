"""Small bar panels and a source that holds one, for tests of what reads bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

import numpy as np

from hydra_pipelines.market.actions import adjusted_close
from hydra_pipelines.market.bars import BarPanel


class MemorySource:
    """A source whose whole content is a panel that the test may exchange."""

    name = "memory"
    adjusted_only = False

    def __init__(self, panel: BarPanel):
        self.panel = panel
        self.requests: list[tuple[date | None, date | None]] = []

    def read(self, first: date | None = None, last: date | None = None) -> BarPanel:
        self.requests.append((first, last))
        keep = np.ones(len(self.panel.sessions), bool)
        if first is not None:
            keep &= self.panel.sessions >= np.datetime64(first)
        if last is not None:
            keep &= self.panel.sessions <= np.datetime64(last)
        return select(self.panel, keep)


def select(panel: BarPanel, rows: np.ndarray) -> BarPanel:
    return BarPanel(
        panel.sessions[rows], panel.symbols, {k: v[rows] for k, v in panel.fields.items()}
    )


def take_symbols(panel: BarPanel, symbols: Sequence[str]) -> BarPanel:
    columns = [panel.symbols.index(symbol) for symbol in symbols]
    return BarPanel(
        panel.sessions, tuple(symbols), {k: v[:, columns] for k, v in panel.fields.items()}
    )


def with_value(panel: BarPanel, field: str, row: int, column: int, value: float) -> BarPanel:
    fields: Mapping[str, np.ndarray] = {k: v.copy() for k, v in panel.fields.items()}
    fields[field][row, column] = value
    return BarPanel(panel.sessions, panel.symbols, fields)


def random_bars(
    sessions: Sequence[date], symbols: Sequence[str] = ("AAA", "BBB", "CCC"), seed: int = 0
) -> BarPanel:
    """Random walks with ranges and volume; adjusted closes are the closes less a fixed dividend."""
    rng = np.random.default_rng(seed)
    shape = (len(sessions), len(symbols))
    close = 50.0 * np.exp(np.cumsum(rng.normal(0.0, 0.02, shape), axis=0))
    high = close * (1.0 + rng.uniform(0.0, 0.02, shape))
    low = close * (1.0 - rng.uniform(0.0, 0.02, shape))
    return BarPanel(
        np.array(sessions, "datetime64[D]"),
        tuple(symbols),
        {
            "open": low + (high - low) * rng.uniform(0.0, 1.0, shape),
            "high": high,
            "low": low,
            "close": close,
            "volume": rng.integers(1_000, 100_000, shape).astype(float),
            "adj_close": close * 0.97,
        },
    )


def eventful_bars(sessions: Sequence[date], count: int = 13, seed: int = 0) -> BarPanel:
    """Traded bars and corporate actions of symbols to which everything happens, but no adj_close.

    Listings (out of the symbols' order) and delistings, gaps short and long, splits, dividends,
    sessions without volume, and bars that lack their volume or their range. Needs 60 sessions.
    """
    rng = np.random.default_rng(seed)
    rows = len(sessions)
    panel = random_bars(sessions, [f"E{n:02}" for n in range(count)], seed)
    fields = {k: v.copy() for k, v in panel.fields.items() if k != "adj_close"}
    split, dividend = np.ones((rows, count)), np.zeros((rows, count))
    for n in range(count):
        for t in rng.integers(0, rows, 2):
            split[t, n] = rng.choice([2.0, 3.0, 0.1])
            for name in ("open", "high", "low", "close"):
                fields[name][t:, n] /= split[t, n]
            fields["volume"][t:, n] *= split[t, n]
        for t in rng.integers(0, rows, rows // 60):
            dividend[t, n] = 0.01 * fields["close"][t, n]
        fields["volume"][rng.integers(0, rows, 3), n] = 0.0
        fields["volume"][rng.integers(0, rows, 3), n] = np.nan
        lacking = rng.integers(0, rows, 3)
        fields["high"][lacking, n] = fields["low"][lacking, n] = np.nan
        for t, length in zip(rng.integers(0, rows, 6), (1, 1, 2, 4, 5, 9), strict=True):
            for values in fields.values():
                values[t : t + length, n] = np.nan
    for n in range(0, count, 3):
        listed, left = rng.integers(1, rows, 2)
        for values in (*fields.values(), split, dividend):
            values[:listed, n] = np.nan
            values[left:, (n + 1) % count] = np.nan
    actions = {"split_ratio": split, "cash_dividend": dividend}
    return BarPanel(panel.sessions, panel.symbols, {**fields, **actions})


def adjusted(panel: BarPanel) -> BarPanel:
    """The panel with the adjusted closes that its actions make."""
    made = adjusted_close(
        panel.fields["close"], panel.field("split_ratio"), panel.field("cash_dividend")
    )
    return BarPanel(panel.sessions, panel.symbols, {**panel.fields, "adj_close": made})
