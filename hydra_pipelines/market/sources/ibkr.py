"""Daily bars from the broker's historical data: one symbol at a time, paced, kept as they come.

Here belongs what is asked for and when, and what a cut connection leaves behind. The wire is the
broker gateway's, behind `DailyHistory`.

What has arrived is kept in a folder, a file a symbol, so a run that ends in the middle goes on
where it stopped, and a day's update asks for days.
"""

from __future__ import annotations

import os
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Protocol

import numpy as np

from hydra_pipelines.market.bars import BarPanel, MarketDataError, SourceProblem

OVERLAP_DAYS = 35
"""Calendar days that an update asks for again, so that corrections arrive."""
_FIELDS = ("open", "high", "low", "close", "volume", "adj_close")

Bars = dict[str, np.ndarray]
"""A symbol's: `sessions` (S,), `values` (S, fields), and `asked`, the day they were fetched."""


@dataclass(frozen=True)
class DailyBar:
    """One session as the broker tells it; volume in shares, -1 where it has none."""

    session: date
    open: float
    high: float
    low: float
    close: float
    volume: float


class NoHistory(RuntimeError):
    """The broker has no bars of this symbol, or refuses them; others may go on."""


class DailyHistory(Protocol):
    """What this source needs of a broker connection."""

    def historical_daily(self, symbol: str, *, days: int, adjusted: bool) -> Sequence[DailyBar]:
        """Bars of the last `days` calendar days up to now, the oldest first.

        adjusted: for splits and dividends (ADJUSTED_LAST), else as traded (TRADES). Raises
        NoHistory for this symbol alone; any other error says that the connection is no good.
        """
        ...


class Pace:
    """At most `requests` in any `seconds`; waits where the next one would be too many."""

    def __init__(
        self,
        requests: int,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ):
        self._requests, self._seconds = requests, seconds
        self._clock, self._sleep = clock, sleep
        self._sent: list[float] = []

    def wait(self) -> None:
        now = self._clock()
        self._sent = [at for at in self._sent if now - at < self._seconds]
        if len(self._sent) >= self._requests:
            self._sleep(self._sent[-self._requests] + self._seconds - now)
        self._sent.append(self._clock())


class IbkrSource:
    """Bars of the broker.

    symbols: which ones. connect: gives a connection for as long as it is held. folder: where
    bars are kept. years: of history for a new symbol. requests_per_minute: the pace.
    """

    name = "ibkr"
    adjusted_only = False

    def __init__(
        self,
        symbols: Sequence[str],
        connect: Callable[[], AbstractContextManager[DailyHistory]],
        folder: Path | str,
        years: int = 10,
        requests_per_minute: int = 60,
        pace: Pace | None = None,
        today: Callable[[], date] = lambda: datetime.now(UTC).date(),
    ):
        if isinstance(symbols, str) or not symbols:
            raise MarketDataError("market.options.symbols: a list of symbols is needed")
        if not 1 <= years <= 60 or requests_per_minute < 1:
            raise MarketDataError("market.options: years is 1 to 60, requests_per_minute above 0")
        self._symbols = tuple(dict.fromkeys(symbols))
        self._connect, self._folder, self._years = connect, Path(folder), years
        self._pace, self._today = pace or Pace(requests_per_minute, 60.0), today
        self.problems: tuple[SourceProblem, ...] = ()

    def read(self, first: date | None = None, last: date | None = None) -> BarPanel:
        """What is kept, brought up to `last` from the broker where it ends before.

        Raises MarketDataError where the connection fails; what came until then is kept.
        """
        problems: list[SourceProblem] = []
        wanted = min(last or self._today(), self._today())
        held = {symbol: self._load(symbol) for symbol in self._symbols}
        # A symbol that was asked for today has what there is, be it less than what is wanted.
        due = [
            symbol
            for symbol, bars in held.items()
            if bars is None or (_asked(bars) < self._today() and _end(bars) < wanted)
        ]
        if due:
            self._fetch(due, held, problems)
        self.problems = tuple(problems)
        kept = {symbol: bars for symbol, bars in held.items() if bars is not None}
        if not kept:
            raise MarketDataError(
                "the broker has no bars of any symbol: "
                + "; ".join(f"{p.where}: {p.detail}" for p in problems[:3])
            )
        return _panel(kept, first, last)

    def _fetch(
        self,
        due: Sequence[str],
        held: dict[str, Bars | None],
        problems: list[SourceProblem],
    ) -> None:
        done = 0
        try:
            with self._connect() as broker:
                for symbol in due:
                    try:
                        fresh = self._ask(broker, symbol, held[symbol])
                    except NoHistory as error:
                        problems.append(SourceProblem(symbol, str(error)))
                    else:
                        held[symbol] = bars = _joined(held[symbol], fresh)
                        self._save(symbol, bars)
                    done += 1
        except MarketDataError:
            raise
        except Exception as error:
            raise MarketDataError(
                f"the broker's history broke off after {done} of {len(due)} symbols: {error}; "
                "what came is kept, run it again to go on"
            ) from error

    def _ask(self, broker: DailyHistory, symbol: str, held: Bars | None) -> Bars:
        days = 366 * self._years
        if held is not None:
            days = (self._today() - _end(held)).days + OVERLAP_DAYS
        replies = []
        for adjusted in (False, True):
            self._pace.wait()
            bars = broker.historical_daily(symbol, days=days, adjusted=adjusted)
            replies.append({bar.session: bar for bar in bars})
        raw, adjusted_bars = replies
        sessions = sorted(raw)
        if not sessions:
            raise NoHistory("no bars")
        rows = [
            (
                b.open, b.high, b.low, b.close,
                b.volume if b.volume >= 0 else np.nan,
                adjusted_bars[d].close if d in adjusted_bars else np.nan,
            )
            for d, b in raw.items()
        ]  # fmt: skip
        values = np.array(rows)[np.argsort(np.array(list(raw), "datetime64[D]"))]
        return {
            "sessions": np.array(sessions, "datetime64[D]"),
            "values": values,
            "asked": np.array(self._today(), "datetime64[D]"),
        }

    def _path(self, symbol: str) -> Path:
        return self._folder / f"{urllib.parse.quote(symbol, safe='')}.npz"

    def _load(self, symbol: str) -> Bars | None:
        try:
            with np.load(self._path(symbol), allow_pickle=False) as archive:
                return {name: archive[name] for name in ("sessions", "values", "asked")}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise MarketDataError(
                f"{self._path(symbol)} can't be read ({error}); remove it to have it fetched anew"
            ) from error

    def _save(self, symbol: str, bars: Bars) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=self._folder, prefix=".new-")
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **bars)  # type: ignore[arg-type]  # of names, none is its own
        os.replace(temporary, self._path(symbol))


def _end(bars: Bars) -> date:
    last: date = bars["sessions"][-1].item()
    return last


def _asked(bars: Bars) -> date:
    on: date = bars["asked"].item()
    return on


def _joined(held: Bars | None, fresh: Bars) -> Bars:
    """Old bars up to the first fresh one, and the fresh ones, on the scale of the old."""
    if held is None:
        return fresh
    values = fresh["values"].copy()
    _, old, new = np.intersect1d(held["sessions"], fresh["sessions"], return_indices=True)
    if len(old):
        scale = held["values"][old[0], 5] / values[new[0], 5]
        values[:, 5] *= scale if np.isfinite(scale) else 1.0
    before = held["sessions"] < fresh["sessions"][0]
    return {
        "sessions": np.concatenate([held["sessions"][before], fresh["sessions"]]),
        "values": np.concatenate([held["values"][before], values]),
        "asked": fresh["asked"],
    }


def _panel(kept: dict[str, Bars], first: date | None, last: date | None) -> BarPanel:
    sessions = np.unique(np.concatenate([bars["sessions"] for bars in kept.values()]))
    start = 0 if first is None else np.searchsorted(sessions, np.datetime64(first))
    stop = (
        len(sessions)
        if last is None
        else np.searchsorted(sessions, np.datetime64(last), side="right")
    )
    cube = np.full((len(_FIELDS), len(sessions), len(kept)), np.nan)
    for n, bars in enumerate(kept.values()):
        cube[:, np.searchsorted(sessions, bars["sessions"]), n] = bars["values"].T
    return BarPanel(
        sessions[start:stop],
        tuple(kept),
        {field: cube[i, start:stop] for i, field in enumerate(_FIELDS)},
    )
