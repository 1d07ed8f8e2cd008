"""From a source into the lake of bars: incremental, idempotent, with a trace of corrections.

Here belong what is appended, what counts as a correction, and the identity of the data. How a
source reads and how the lake stores do not.

What a source said once is kept until it says something else: a session or a value that it no
longer delivers stays as it was, and only a number that differs from the stored one corrects it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

import numpy as np

from hydra_pipelines.market.bars import (
    FIELDS,
    BarPanel,
    BarSource,
    MarketDataError,
    SourceProblem,
)
from hydra_pipelines.market.lake import Lake, LakeView
from hydra_pipelines.sessions import Calendar

VERIFIED_SESSIONS = 21
"""How many stored sessions each ingest compares with the source again, to find corrections."""
_ROUNDING = 1e-4
"""How far a rescaled adjusted close may be from the stored one, relative, and still be the same."""


@dataclass(frozen=True)
class IngestReport:
    """What one ingest did. `snapshot` is the identity of the data up to `last`."""

    source: str
    through: date
    first: date
    last: date
    sessions: int
    symbols: int
    appended: int
    corrected: int
    symbols_added: tuple[str, ...]
    snapshot: str
    problems: tuple[SourceProblem, ...] = ()
    """What the source left out, and what it found odd."""


def ingest(
    source: BarSource,
    lake: Lake,
    through: date,
    calendar: Calendar,
    now: datetime,
    *,
    verify_all: bool = False,
) -> IngestReport:
    """Bring the lake up to `through`, and never beyond.

    Reads from the source what is new and the last `VERIFIED_SESSIONS` stored sessions (everything
    with `verify_all`, or where symbols or fields are new). A value that differs replaces the
    stored one and is written to the lake's log with `now`, as is a session or symbol that turns
    up late. Raises MarketDataError where the source delivers a date that is no session of the
    calendar, or nothing at all to start from.
    """
    with lake.writing() as writer:
        held = writer.view()
        fresh, problems = _known_sessions(
            source, _read(source, held, through, verify_all), calendar
        )
        if held is not None and len(held.sessions):
            fresh = _rebased(held, fresh)
        if held is None or not len(held.sessions):
            if not len(fresh.sessions):
                raise MarketDataError(
                    f"source {source.name!r} has no session up to {through} to start from"
                )
            fields = [name for name in FIELDS if name in fresh.fields]
            symbols = _by_listing(fresh)
            values = _block(fresh, fields, symbols)
            ids = snapshot_chain(fields, symbols, fresh.sessions, values)
            writer.replace(fields, symbols, fresh.sessions, values, ids)
            appended, log = len(fresh.sessions), []
            added: tuple[str, ...] = ()
        else:
            merged = _merge(held, fresh, now)
            appended, log, added = merged.appended, merged.log, merged.symbols_added
            if log:
                ids = snapshot_chain(merged.fields, merged.symbols, merged.sessions, merged.values)
                writer.replace(
                    merged.fields, merged.symbols, merged.sessions, merged.values, ids, log=log
                )
            elif appended:
                ids = snapshot_chain(
                    merged.fields,
                    merged.symbols,
                    merged.sessions,
                    merged.values,
                    previous=held.snapshots[-1].tobytes(),
                )
                writer.append(merged.sessions, merged.values, ids)
        view = lake.view()
    last = view.sessions[-1].item()
    return IngestReport(
        source=source.name,
        through=through,
        first=view.sessions[0].item(),
        last=last,
        sessions=len(view.sessions),
        symbols=len(view.symbols),
        appended=appended,
        corrected=sum("field" in line for line in log),
        symbols_added=added,
        snapshot=view.snapshot(last),
        problems=(*getattr(source, "problems", ()), *problems),
    )


def bar_panel(view: LakeView, first: date | None = None, last: date | None = None) -> BarPanel:
    """Bars of a lake from `first` to `last`, both included, without copying them."""
    start = 0 if first is None else int(np.searchsorted(view.sessions, np.datetime64(first, "D")))
    stop = len(view.sessions) if last is None else view.count_through(last)
    return BarPanel(
        view.sessions[start:stop],
        view.symbols,
        {name: view.values[start:stop, i] for i, name in enumerate(view.fields)},
    )


def snapshot_chain(
    fields: Sequence[str],
    symbols: Sequence[str],
    sessions: np.ndarray,
    values: np.ndarray,
    previous: bytes = bytes(32),
) -> np.ndarray:
    """Identity of the data up to each session: SHA-256 of the one before and this session's bars.

    Returns uint8 (S, 32). Only fields and symbols with a value in the session count, by name and
    not by place, so the identity is the same whatever else the lake holds or will hold.
    """
    known = ~np.isnan(values)
    values = np.where(known, values, np.nan)
    has_field, has_symbol = known.any(axis=2), known.any(axis=1)
    by_name = np.argsort(np.array(symbols))
    days = sessions.astype("datetime64[D]").astype("<i8")
    ids = np.empty((len(sessions), 32), np.uint8)
    for i in range(len(sessions)):
        rows = np.flatnonzero(has_field[i])
        columns = by_name[has_symbol[i, by_name]]
        digest = hashlib.sha256(previous)
        digest.update(days[i].tobytes())
        digest.update("\n".join(fields[j] for j in rows.tolist()).encode() + b"\0")
        digest.update("\n".join(symbols[j] for j in columns.tolist()).encode() + b"\0")
        digest.update(values[i][np.ix_(rows, columns)].tobytes())
        previous = digest.digest()
        ids[i] = np.frombuffer(previous, np.uint8)
    return ids


@dataclass(frozen=True)
class _Merged:
    """The whole new panel where `log` has lines, else only the sessions to append."""

    fields: tuple[str, ...]
    symbols: tuple[str, ...]
    sessions: np.ndarray
    values: np.ndarray
    appended: int
    log: list[dict[str, object]]
    symbols_added: tuple[str, ...]


def _read(source: BarSource, held: LakeView | None, through: date, everything: bool) -> BarPanel:
    if held is None or not len(held.sessions) or everything:
        return source.read(None, through).up_to(through)
    first = held.sessions[-min(VERIFIED_SESSIONS, len(held.sessions))].item()
    fresh = source.read(first, through).up_to(through)
    if set(fresh.symbols) - set(held.symbols) or set(fresh.fields) - set(held.fields):
        return source.read(None, through).up_to(through)
    return fresh


def _known_sessions(
    source: BarSource, panel: BarPanel, calendar: Calendar
) -> tuple[BarPanel, list[SourceProblem]]:
    """The panel on the calendar's sessions, and the other days as problems.

    Raises MarketDataError where the source can't say where such a day is from: then it is the
    wrong source, or the wrong calendar.
    """
    strange = [day for day in panel.sessions.tolist() if not calendar.is_session(day)]
    origin = getattr(source, "origin", None)
    if strange and (origin is None or len(strange) > len(panel.sessions) // 2):
        day = strange[0]
        raise MarketDataError(
            f"source {source.name!r} has prices for {day} ({day:%A}), which is not a session of "
            f"{calendar.name}; correct the source or choose its calendar in the settings"
        )
    if not strange or origin is None:
        return panel, []
    keep = ~np.isin(panel.sessions, np.array(strange, "datetime64[D]"))
    kept = BarPanel(
        panel.sessions[keep], panel.symbols, {k: v[keep] for k, v in panel.fields.items()}
    )
    return kept, [
        SourceProblem(origin(day), f"{day} ({day:%A}) is no session of {calendar.name}: left out")
        for day in strange
    ]


def _rebased(held: LakeView, fresh: BarPanel) -> BarPanel:
    """The panel with adjusted closes on the scale of the stored ones.

    A source that adjusts backwards rescales a symbol's whole history with every dividend. Only
    ratios mean anything, so each symbol is brought to agree with what is stored at the first
    session that both have; what then differs by no more than rounding is what is stored.
    """
    prices = fresh.field("adj_close")
    if prices is None or "adj_close" not in held.fields:
        return fresh
    both, in_held, in_fresh = np.intersect1d(held.sessions, fresh.sessions, return_indices=True)
    columns = [i for i, s in enumerate(fresh.symbols) if s in held.symbols]
    if not len(both) or not columns:
        return fresh
    place = {symbol: i for i, symbol in enumerate(held.symbols)}
    stored = held.values[
        np.ix_(
            in_held,
            np.array([held.fields.index("adj_close")]),
            np.array([place[fresh.symbols[i]] for i in columns]),
        )
    ][:, 0]
    given = prices[np.ix_(in_fresh, np.array(columns, np.intp))]
    usable = (stored > 0) & (given > 0) & np.isfinite(stored) & np.isfinite(given)
    at = usable.argmax(axis=0)
    some = np.arange(len(columns))
    with np.errstate(all="ignore"):
        scale = np.where(usable[at, some], stored[at, some] / given[at, some], 1.0)
        rest = np.abs(given * scale / stored - 1.0)
    # One corrected value is no new scale: most of the overlap has to agree on it.
    agree = (np.where(usable, rest, 0.0) < _ROUNDING).mean(axis=0) > 0.5
    moved = agree & (np.abs(scale - 1.0) > _ROUNDING)
    if not moved.any():
        return fresh
    out = prices.copy()
    for k in np.flatnonzero(moved):
        out[:, columns[k]] *= scale[k]
        same = usable[:, k] & (rest[:, k] < _ROUNDING)
        out[in_fresh[same], columns[k]] = stored[same, k]
    return replace(fresh, fields={**fresh.fields, "adj_close": out})


def _by_listing(panel: BarPanel) -> tuple[str, ...]:
    """The symbols in the order of their first bars.

    Sums over symbols run in the order of columns. Who is listed later comes later, so they are
    the same, bit for bit, before that listing is known.
    """
    known = np.zeros((len(panel.sessions), len(panel.symbols)), bool)
    for values in panel.fields.values():
        known |= ~np.isnan(values)
    # A last row of ones: who has no bar at all comes last.
    known = np.concatenate([known, np.ones((1, len(panel.symbols)), bool)])
    return tuple(panel.symbols[i] for i in np.argsort(known.argmax(axis=0), kind="stable"))


def _block(panel: BarPanel, fields: Sequence[str], symbols: Sequence[str]) -> np.ndarray:
    """Bars as float64 (S, F, N) in the given order; NaN where the panel has no such bar."""
    values = np.full((len(panel.sessions), len(fields), len(symbols)), np.nan)
    place = {symbol: i for i, symbol in enumerate(symbols)}
    columns = [place[symbol] for symbol in panel.symbols]
    for i, name in enumerate(fields):
        if name in panel.fields:
            values[:, i, columns] = panel.fields[name]
    return values


def _merge(held: LakeView, fresh: BarPanel, now: datetime) -> _Merged:
    when = now.isoformat(timespec="seconds")
    added = tuple(s for s in _by_listing(fresh) if s not in held.symbols)
    symbols = held.symbols + added
    fields = tuple(n for n in FIELDS if n in fresh.fields or n in held.fields)
    incoming = _block(fresh, fields, symbols)

    is_new = fresh.sessions > held.sessions[-1]
    log: list[dict[str, object]] = []
    if added:
        log.append({"when": when, "symbols_added": list(added)})
    if fields != held.fields:
        log.append({"when": when, "fields_added": [n for n in fields if n not in held.fields]})
    late = np.setdiff1d(fresh.sessions[~is_new], held.sessions)
    log += [{"when": when, "session_added": str(day)} for day in late]

    both, in_held, in_fresh = np.intersect1d(held.sessions, fresh.sessions, return_indices=True)
    kept = [fields.index(name) for name in held.fields]
    old = held.values[in_held]
    new = incoming[in_fresh][:, kept, : len(held.symbols)]
    for i, f, n in np.argwhere(~np.isnan(new) & (new != old)):
        log.append(
            {
                "when": when,
                "session": str(both[i]),
                "symbol": held.symbols[n],
                "field": held.fields[f],
                "old": _json_number(old[i, f, n]),
                "new": _json_number(new[i, f, n]),
            }
        )
    if not log:
        return _Merged(
            fields, symbols, fresh.sessions[is_new], incoming[is_new], int(is_new.sum()), log, added
        )
    sessions = np.union1d(held.sessions, fresh.sessions)
    values = np.full((len(sessions), len(fields), len(symbols)), np.nan)
    rows = np.searchsorted(sessions, held.sessions)
    values[np.ix_(rows, np.array(kept, np.intp), np.arange(len(held.symbols)))] = held.values
    rows = np.searchsorted(sessions, fresh.sessions)
    values[rows] = np.where(np.isnan(incoming), values[rows], incoming)
    return _Merged(fields, symbols, sessions, values, int(is_new.sum()), log, added)


def _json_number(value: float) -> float | str | None:
    """A float as JSON has it: NaN as null, an infinity by its name."""
    if math.isnan(value):
        return None
    return float(value) if math.isfinite(value) else repr(float(value))
