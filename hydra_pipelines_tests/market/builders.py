"""Small bar panels and a source that holds one, for tests of what reads bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

import numpy as np

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
