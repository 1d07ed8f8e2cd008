"""What is wrong with bars: named checks over a panel, each finding an error or a warning.

Here belong the rules, as functions of a panel alone. What a finding stops is decided elsewhere:
an error makes trading on the session unsafe, a warning wants a look. A flaw of an earlier session
is a warning, for it can't be traded on any more; whether a return without corporate action is
beyond `MAX_RETURN` blocks for the asked session only, because real markets know such days too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np

from hydra_pipelines.market.bars import BarPanel, SourceProblem
from hydra_pipelines.sessions import Calendar

MAX_RETURN = 0.40
"""A one-session return beyond this, with no corporate action, looks like an unadjusted split."""
MIN_COVERAGE = 0.90
"""Below this share of the universe with a price, the session's data count as incomplete."""

_PRICES = ("open", "high", "low", "close", "adj_close")


@dataclass(frozen=True)
class Finding:
    """One flaw; `symbol` is None where it concerns the session as a whole."""

    check: str
    severity: Literal["error", "warning"]
    symbol: str | None
    session: date
    detail: str


def check_bars(
    panel: BarPanel,
    session: date,
    calendar: Calendar,
    universe: Sequence[str],
    accepted: Collection[tuple[str, date]] = (),
) -> list[Finding]:
    """Every flaw of the panel up to `session`, for a universe expected to have prices on it.

    accepted: moves, by symbol and session, that a person has looked at and found to be real.
    The checks cover the sessions that the panel has: pass the last weeks for a daily check, all
    of history for a review. An empty list means that nothing was found.
    """
    panel = panel.up_to(session)
    if not len(panel.sessions):
        return [Finding("stale", "error", None, session, f"there are no bars up to {session}")]
    findings = [
        *_stale(panel, session, calendar),
        *_missing_sessions(panel, calendar),
        *_bad_prices(panel, session),
        *_impossible_ranges(panel, session),
        *_unexplained_returns(panel, session, accepted),
        *_no_volume(panel),
    ]
    if panel.sessions[-1] == np.datetime64(session, "D"):
        findings += _coverage(panel, session, universe)
    return findings


def source_findings(problems: Sequence[SourceProblem], session: date) -> list[Finding]:
    """What a source left out or found odd, as warnings: whether enough is left is `coverage`."""
    return [Finding("source", "warning", None, session, f"{p.where}: {p.detail}") for p in problems]


def check_age(
    what: str,
    rows: int,
    last: date | None,
    session: date,
    calendar: Calendar,
    *,
    min_rows: int,
    max_age: int,
) -> list[Finding]:
    """Whether `what` has at least `min_rows` rows and is at most `max_age` sessions old."""
    if rows < min_rows or last is None:
        return [Finding("rows", "error", None, session, f"{what}: {rows} rows, need {min_rows}")]
    age = calendar.index(session) - calendar.index(last)
    if age > max_age:
        return [
            Finding(
                "age",
                "error",
                None,
                session,
                f"{what} end at {last}, {age} sessions before {session}; at most {max_age} allowed",
            )
        ]
    return []


def _stale(panel: BarPanel, session: date, calendar: Calendar) -> Iterator[Finding]:
    last = panel.sessions[-1].item()
    if last != session:
        behind = calendar.index(session) - calendar.index(last)
        yield Finding(
            "stale", "error", None, session, f"the last bars are of {last}, {behind} sessions ago"
        )


def _missing_sessions(panel: BarPanel, calendar: Calendar) -> Iterator[Finding]:
    held = set(panel.sessions.tolist())
    for day in calendar.between(panel.sessions[0].item(), panel.sessions[-1].item()):
        if day not in held:
            yield Finding(
                "missing session", "warning", None, day, f"no bars although {calendar.name} traded"
            )


def _bad_prices(panel: BarPanel, session: date) -> Iterator[Finding]:
    for name in _PRICES:
        values = panel.field(name)
        if values is None:
            continue
        bad = np.isinf(values) | (values <= 0)
        for day, symbol, i, n in _where(panel, bad):
            detail = f"{name} is {values[i, n]:g}"
            yield Finding("price", _severity(day, session), symbol, day, detail)


def _impossible_ranges(panel: BarPanel, session: date) -> Iterator[Finding]:
    high, low = panel.field("high"), panel.field("low")
    if high is None or low is None:
        return
    for day, symbol, i, n in _where(panel, high < low):
        detail = f"high {high[i, n]:g} is below low {low[i, n]:g}"
        yield Finding("range", _severity(day, session), symbol, day, detail)
    for name in ("open", "close"):
        values = panel.field(name)
        if values is None:
            continue
        outside = (high >= low) & ((values > high) | (values < low))
        for day, symbol, i, n in _where(panel, outside):
            detail = f"{name} {values[i, n]:g} is outside {low[i, n]:g} to {high[i, n]:g}"
            yield Finding("range", _severity(day, session), symbol, day, detail)


def _unexplained_returns(
    panel: BarPanel, session: date, accepted: Collection[tuple[str, date]]
) -> Iterator[Finding]:
    prices = panel.field("adj_close")
    if prices is None:
        prices = panel.field("close")
    if prices is None or len(prices) < 2:
        return
    with np.errstate(all="ignore"):
        jump = np.full(prices.shape, np.nan)
        jump[1:] = prices[1:] / prices[:-1] - 1.0
    beyond = (np.abs(jump) > MAX_RETURN) & ~_has_action(panel)
    for day, symbol, i, n in _where(panel, beyond):
        if (symbol, day) in accepted:
            continue
        detail = (
            f"return of {jump[i, n]:+.1%} with no corporate action: an unadjusted split? If it is "
            "real, name it under market.accepted_moves"
        )
        yield Finding("return", _severity(day, session), symbol, day, detail)


def _has_action(panel: BarPanel) -> np.ndarray:
    split, dividend = panel.field("split_ratio"), panel.field("cash_dividend")
    acted = np.zeros((len(panel.sessions), len(panel.symbols)), bool)
    if split is not None:
        acted |= ~np.isnan(split) & (split != 0.0) & (split != 1.0)
    if dividend is not None:
        acted |= dividend > 0.0
    return acted


def _no_volume(panel: BarPanel) -> Iterator[Finding]:
    volume = panel.field("volume")
    if volume is not None:
        for day, symbol, _, _ in _where(panel, volume <= 0):
            yield Finding("volume", "warning", symbol, day, "no shares traded")


def _coverage(panel: BarPanel, session: date, universe: Sequence[str]) -> Iterator[Finding]:
    close = panel.field("close")
    priced = set()
    if close is not None:
        ok = np.isfinite(close[-1]) & (close[-1] > 0)
        priced = {s for s, has in zip(panel.symbols, ok, strict=True) if has}
    missing = [symbol for symbol in universe if symbol not in priced]
    share = 1.0 - len(missing) / len(universe) if universe else 0.0
    if share < MIN_COVERAGE:
        yield Finding(
            "coverage",
            "error",
            None,
            session,
            f"{share:.0%} of {len(universe)} symbols have a price, at least {MIN_COVERAGE:.0%} "
            "are needed",
        )
    for symbol in missing:
        yield Finding("coverage", "warning", symbol, session, "no price on the session")


def _where(panel: BarPanel, flags: np.ndarray) -> Iterator[tuple[date, str, int, int]]:
    for i, n in np.argwhere(flags):
        yield panel.sessions[i].item(), panel.symbols[n], int(i), int(n)


def _severity(day: date, session: date) -> Literal["error", "warning"]:
    return "error" if day == session else "warning"
