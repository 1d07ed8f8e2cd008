"""The venue's prices: daily bars turned into one-minute quotes, the same for the same seed.

The path of (seed, symbol, session) depends on that session's bar and on what came before it, and
on nothing after. It runs from the open (drawn from the overnight move where the source has none)
to exactly the close as a Brownian bridge, through the bar's high and low where they are known and
never beyond them. Paths are made when asked for and kept for the current session only.

Spreads, depth and average daily volume live here too, because they are seeded in the same way.
What an order gets against a quote is decided in `matching`.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from fractions import Fraction

import numpy as np

from hydra_pipelines.market.actions import adjusted_close
from hydra_pipelines.market.bars import BarPanel
from hydra_pipelines.paper_gateway.matching import Quote
from hydra_pipelines.paper_gateway.money import UNITS, UNITS_PER_CENT, tick_size
from hydra_pipelines.sessions import Calendar

TRAILING = 21
"""Sessions before a session that its volatility and volume are measured on."""

_DEFAULT_SIGMA = 0.02
_MIN_RETURNS = 5
_OVERNIGHT_SHARE = 0.3
"""Part of a day's variance between close and open, for sources without opens."""

_HALF_SPREAD_BPS = (1.0, 4.0)
_DEPTH_SHARE = 0.06
"""Median share of a minute's average volume that is visible at the touch."""
_DEPTH_SPREAD = 0.8
_MEDIAN_ADV_DOLLARS = 250e6
_ADV_SPREAD = 0.8


@dataclass(frozen=True)
class Bar:
    """One complete session; prices in dollars as the source gave them, volume -1 if unknown."""

    session: date
    open: float
    high: float
    low: float
    close: float
    volume: float


@dataclass(frozen=True)
class Action:
    """A corporate action: new shares for one old, and units of cash for each old share."""

    ratio: Fraction
    dividend: int

    def __bool__(self) -> bool:
        return self.ratio != 1 or self.dividend != 0


NO_ACTION = Action(Fraction(1), 0)


@dataclass(frozen=True)
class _Path:
    """Quotes at each minute 0..steps after the open; prices in units, depths in shares."""

    bid: list[int]
    ask: list[int]
    last: list[int]
    bid_depth: list[int]
    ask_depth: list[int]
    sigma: float
    adv: float


class NoPricesError(ValueError):
    """The venue has no prices where it needs some; the text says where, and where it has."""


class VenuePrices:
    """Closes, quotes and daily bars of a panel's symbols on the calendar's sessions."""

    def __init__(self, panel: BarPanel, calendar: Calendar, seed: int) -> None:
        """Raises ValueError for a panel without closes or without a session of the calendar."""
        closes = panel.field("close")
        if closes is None:
            raise ValueError("the venue needs closing prices; the panel has no field 'close'")
        self.symbols = panel.symbols
        self.seed = seed
        self._panel = panel
        self._splits, self._dividends = panel.field("split_ratio"), panel.field("cash_dividend")
        adjusted = panel.field("adj_close")
        if adjusted is None:
            adjusted = closes
            if self.has_actions:
                adjusted = adjusted_close(closes, self._splits, self._dividends)
        self._adjusted: np.ndarray = adjusted
        self._closes = closes
        self._calendar = calendar
        self._columns = {symbol: i for i, symbol in enumerate(panel.symbols)}
        days = panel.sessions.astype("datetime64[D]").astype(object)
        self._rows = {day: row for row, day in enumerate(days) if calendar.is_session(day)}
        if not self._rows:
            raise ValueError(f"the panel has no session of the {calendar.name} calendar")
        self._days = tuple(sorted(self._rows))
        self.first, self.last = self._days[0], self._days[-1]
        self._kept_for: date | None = None
        self._paths: dict[str, _Path | None] = {}

    def require(self, session: date, symbols: Iterable[str] = ()) -> None:
        """Raises NoPricesError for a session without bars or a symbol the venue does not have."""
        if session not in self._rows:
            raise NoPricesError(
                f"no prices for session {session}; "
                f"the venue's prices run from {self.first} to {self.last}"
            )
        unknown = set(symbols) - self._columns.keys()
        if unknown:
            raise NoPricesError(
                f"the account holds or works {', '.join(sorted(unknown))}, which the prices "
                "do not have; start with prices that do"
            )

    def quote(self, symbol: str, session: date, minute: int) -> Quote | None:
        """The quote `minute` minutes after the open; None where the symbol has no bar that day."""
        path = self._path(symbol, session)
        if path is None:
            return None
        return Quote(
            bid=path.bid[minute],
            ask=path.ask[minute],
            last=path.last[minute],
            bid_depth=path.bid_depth[minute],
            ask_depth=path.ask_depth[minute],
            sigma=path.sigma,
            adv=path.adv,
        )

    def close_before(self, symbol: str, day: date) -> int | None:
        """The latest close before a date, in units; None where there was none."""
        earlier = bisect.bisect_left(self._days, day)
        return self.close(symbol, self._days[earlier - 1]) if earlier else None

    def close(self, symbol: str, session: date) -> int | None:
        """The latest close on or before a session, in units; None before the first one."""
        row = self._rows[session]
        column = self._closes[: row + 1, self._columns[symbol]]
        if _is_price(column[-1]):
            return _units(column[-1])
        known = np.flatnonzero(np.isfinite(column) & (column > 0))
        return _units(column[known[-1]]) if len(known) else None

    @property
    def has_actions(self) -> bool:
        """Whether the source has splits or dividends."""
        return self._splits is not None or self._dividends is not None

    def action(self, symbol: str, session: date) -> Action:
        """What happens to a share at the open of a session."""
        row, column = self._rows[session], self._columns[symbol]
        split = 1.0 if self._splits is None else self._splits[row, column]
        dividend = 0.0 if self._dividends is None else self._dividends[row, column]
        return Action(
            ratio=Fraction(str(float(split))).limit_denominator(10_000)
            if _is_price(split)
            else Fraction(1),
            dividend=round(float(dividend) * UNITS) if _is_price(dividend) else 0,
        )

    def bars(self, symbol: str, last: date, count: int, *, adjusted: bool) -> list[Bar]:
        """The `count` latest bars on or before `last`, oldest first; days without one left out."""
        column = self._columns[symbol]
        closes = self._adjusted if adjusted else self._closes
        found: list[Bar] = []
        for day in reversed(self._days[: bisect.bisect_right(self._days, last)]):
            if len(found) == count:
                break
            row = self._rows[day]
            raw, close = self._closes[row, column], closes[row, column]
            if not (_is_price(raw) and _is_price(close)):
                continue
            open_, high, low = (
                value * close / raw if (value := self._value(name, row, column)) else close
                for name in ("open", "high", "low")
            )
            volume = self._value("volume", row, column)
            found.append(Bar(day, open_, high, low, float(close), volume or -1))
        return found[::-1]

    def _path(self, symbol: str, session: date) -> _Path | None:
        if session != self._kept_for:
            self._kept_for, self._paths = session, {}
        if symbol not in self._paths:
            self._paths[symbol] = self._make_path(symbol, session)
        return self._paths[symbol]

    def _make_path(self, symbol: str, session: date) -> _Path | None:
        row, column = self._rows[session], self._columns[symbol]
        close = self._closes[row, column]
        if not _is_price(close):
            return None
        span = self._calendar.close(session) - self._calendar.open(session)
        steps = int(span.total_seconds() // 60)
        returns = self._log_returns(row, column)
        sigma = float(np.std(returns)) if len(returns) >= _MIN_RETURNS else 0.0
        sigma = sigma or _DEFAULT_SIGMA
        rng = self._generator("path", symbol, session.isoformat())
        mid = np.exp(self._log_mids(rng, row, column, steps, sigma)) * UNITS

        spread = self._generator("spread", symbol).uniform(*_HALF_SPREAD_BPS) / 1e4
        tick = np.where(mid >= UNITS, UNITS_PER_CENT, 1)
        half = np.maximum(mid * spread, tick / 2)
        bid = np.maximum(np.floor((mid - half) / tick) * tick, tick)
        ask = np.maximum(np.ceil((mid + half) / tick) * tick, bid + tick)
        last = np.maximum(np.rint(mid / tick) * tick, tick)

        adv = self._average_volume(symbol, row, column, close)
        depth = adv / steps * _DEPTH_SHARE
        sizes = depth * np.exp(rng.normal(0.0, _DEPTH_SPREAD, (2, steps + 1)))
        sizes = np.maximum(sizes, 1).astype(np.int64)
        return _Path(
            bid=bid.astype(np.int64).tolist(),
            ask=ask.astype(np.int64).tolist(),
            last=last.astype(np.int64).tolist(),
            bid_depth=sizes[0].tolist(),
            ask_depth=sizes[1].tolist(),
            sigma=sigma,
            adv=adv,
        )

    def _log_mids(
        self, rng: np.random.Generator, row: int, column: int, steps: int, sigma: float
    ) -> np.ndarray:
        """Log prices of shape (steps + 1,), ending at the log of the close."""
        close = float(np.log(self._closes[row, column]))
        opened = self._value("open", row, column)
        step_sigma = sigma * np.sqrt((1 - _OVERNIGHT_SHARE) / steps)
        if opened:
            start = float(np.log(opened))
        else:
            total = self._log_return(row, column)
            gap = sigma * np.sqrt(_OVERNIGHT_SHARE * (1 - _OVERNIGHT_SHARE)) * rng.normal()
            start = close - total * (1 - _OVERNIGHT_SHARE) + gap
        high, low = self._value("high", row, column), self._value("low", row, column)
        if not (high and low):
            return _bridge(rng, [(0, start), (steps, close)], step_sigma)
        top = max(float(np.log(high)), start, close)
        bottom = min(float(np.log(low)), start, close)
        first, second = sorted(rng.choice(np.arange(1, steps), size=2, replace=False).tolist())
        extremes = (top, bottom) if rng.random() < 0.5 else (bottom, top)
        knots = [(0, start), (first, extremes[0]), (second, extremes[1]), (steps, close)]
        return np.clip(_bridge(rng, knots, step_sigma), bottom, top)

    def _average_volume(self, symbol: str, row: int, column: int, close: float) -> float:
        """Shares a day: the trailing mean, or where volume is unknown a seeded draw.

        The draw is of dollars: lognormal, median 250 million, fixed for a symbol.
        """
        volumes = self._panel.field("volume")
        if volumes is not None:
            known = volumes[max(row - TRAILING, 0) : row, column]
            known = known[np.isfinite(known) & (known > 0)]
            if len(known):
                return float(known.mean())
        draw = self._generator("volume", symbol).normal(0.0, _ADV_SPREAD)
        reference = self._closes[row - 1, column] if row else close
        reference = reference if _is_price(reference) else close
        return float(_MEDIAN_ADV_DOLLARS * np.exp(draw) / reference)

    def _log_returns(self, row: int, column: int) -> np.ndarray:
        """Returns of the trailing sessions, ending with the one before `row`."""
        prices = self._adjusted[max(row - TRAILING - 1, 0) : row, column]
        prices = prices[np.isfinite(prices) & (prices > 0)]
        return np.diff(np.log(prices))

    def _log_return(self, row: int, column: int) -> float:
        """This session's return; 0 where the session before has no price."""
        prices = self._adjusted
        if row == 0 or not (_is_price(prices[row - 1, column]) and _is_price(prices[row, column])):
            return 0.0
        return float(np.log(prices[row, column] / prices[row - 1, column]))

    def _value(self, name: str, row: int, column: int) -> float | None:
        values = self._panel.field(name)
        if values is None or not _is_price(values[row, column]):
            return None
        return float(values[row, column])

    def _generator(self, *parts: str) -> np.random.Generator:
        return generator(self.seed, *parts)


def generator(seed: int, *parts: str) -> np.random.Generator:
    """Random numbers that depend on the seed and the names alone, on every machine."""
    digest = hashlib.blake2b("|".join((str(seed), *parts)).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))


def on_tick_grid(price: int) -> int:
    """The nearest price in units that the exchange prints."""
    tick = tick_size(price)
    return max(round(price / tick) * tick, tick)


def _bridge(
    rng: np.random.Generator, knots: list[tuple[int, float]], step_sigma: float
) -> np.ndarray:
    """Brownian bridges from knot to knot: (position, value) pairs, positions ascending."""
    path = np.empty(knots[-1][0] + 1)
    for (left, start), (right, end) in itertools.pairwise(knots):
        walk = np.concatenate(([0.0], np.cumsum(rng.normal(0.0, step_sigma, right - left))))
        time = np.linspace(0.0, 1.0, right - left + 1)
        path[left : right + 1] = start + (end - start) * time + walk - walk[-1] * time
    return path


def _is_price(value: float) -> bool:
    return bool(np.isfinite(value) and value > 0)


def _units(price: float) -> int:
    return max(round(float(price) * UNITS), 1)
