"""The one schema of daily bars: a dense panel, and the interface of a source.

One row per (session, symbol) for each field. Raw fields (`open` to `volume`) are what was traded
and feed orders and positions; `adj_close` is adjusted for splits and dividends and feeds features.
A field that a source does not have is absent from `fields`; a single missing value is NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Protocol

import numpy as np

RAW_FIELDS = ("open", "high", "low", "close", "volume")
FIELDS = (*RAW_FIELDS, "adj_close", "split_ratio", "cash_dividend")


@dataclass(frozen=True)
class BarPanel:
    """Daily bars of N symbols over S sessions.

    sessions: datetime64[D] of shape (S,), ascending and unique.
    symbols: N names, the order of the columns.
    fields: name -> float64 of shape (S, N); prices in the listing's currency, volume in shares.
    """

    sessions: np.ndarray
    symbols: tuple[str, ...]
    fields: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        shape = (len(self.sessions), len(self.symbols))
        for name, values in self.fields.items():
            if name not in FIELDS:
                raise ValueError(f"unknown bar field {name!r}; the schema has {', '.join(FIELDS)}")
            if values.shape != shape:
                raise ValueError(f"bar field {name!r} has shape {values.shape}, expected {shape}")
        if len(self.sessions) > 1 and not (self.sessions[1:] > self.sessions[:-1]).all():
            raise ValueError("sessions of a bar panel must ascend without repeats")

    def field(self, name: str) -> np.ndarray | None:
        return self.fields.get(name)

    def up_to(self, session: date) -> BarPanel:
        """The panel with everything after `session` cut off."""
        end = int(np.searchsorted(self.sessions, np.datetime64(session), side="right"))
        return BarPanel(
            self.sessions[:end], self.symbols, {k: v[:end] for k, v in self.fields.items()}
        )


@dataclass(frozen=True)
class SourceProblem:
    """Something a source could not use, or found odd; `where` names the file or service."""

    where: str
    detail: str


class BarSource(Protocol):
    """Where bars come from. A new source is one class in one file under `sources/`.

    A source that leaves something out and goes on has `problems` after a read, a tuple of
    SourceProblem; one that knows which line a day is from has `origin(day)`.
    """

    name: str
    adjusted_only: bool
    """True where the traded series is the adjusted one, so that raw and adjusted closes agree."""

    def read(self, first: date | None = None, last: date | None = None) -> BarPanel:
        """Bars of all symbols from `first` to `last`, both included; None means no bound.

        Raises MarketDataError, naming the file or service, for anything that is not a clean reply.
        """
        ...


class MarketDataError(RuntimeError):
    """A source could not give what was asked, or gave something that can't be right."""
