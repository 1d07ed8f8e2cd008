"""Features as arrays: [sessions, features, symbols], made from bars and kept in a lake.

Here belong the layout, building block by block, and knowing when stored features are out of date.
What a feature is stands in the catalogue. There are no labels here: see `models/labels.py`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from hydra_pipelines.features import engine
from hydra_pipelines.features.catalogue import CATALOGUE, MARKET, Feature, names_of
from hydra_pipelines.market.bars import BarPanel
from hydra_pipelines.market.ingest import bar_panel
from hydra_pipelines.market.lake import Lake, LakeView, LakeWriter

MAX_GAP = 5
"""A bar missing in a symbol's life is bridged by the last known one for so many sessions."""

_BLOCK_BYTES = 1 << 30
"""Size of the features computed at a time: bounds memory, and changes no number."""
_TILE_BYTES, _FEW_BYTES = 192 << 10, 1 << 20
"""Size of one input of the symbols computed at a time, so that it stays in the cache; more of them
for few sessions, where the calls cost more than the arithmetic."""
_FEW = 16
_WORKERS = min(os.cpu_count() or 1, 8)


class FeatureError(ValueError):
    """A feature that does not exist, or that these bars can't give."""


@dataclass(frozen=True)
class FeaturePanel:
    """Features of N symbols over S sessions.

    sessions: datetime64[D] (S,); names: F feature names; symbols: N; values: float64 (S, F, N),
    NaN where unknown; snapshots: uint8 (S, 32), the identity of the bars behind each session;
    version: of the catalogue; unavailable: feature -> why these bars can't give it.
    """

    sessions: np.ndarray
    names: tuple[str, ...]
    symbols: tuple[str, ...]
    values: np.ndarray
    snapshots: np.ndarray
    version: str
    unavailable: Mapping[str, str]

    def columns(self, names: Sequence[str]) -> list[int]:
        """Places of the named features; raises FeatureError for one that is not there."""
        place = {name: i for i, name in enumerate(self.names)}
        for name in names:
            if name not in place:
                why = self.unavailable.get(name.removesuffix("_rank").removesuffix("_z"))
                raise FeatureError(
                    f"feature {name!r} is not available: "
                    + (
                        why
                        or f"the catalogue has {', '.join(f.name for f in CATALOGUE)}, each "
                        "also with _rank and _z"
                    )
                )
        return [place[name] for name in names]

    def index(self, session: date) -> int:
        day = np.datetime64(session, "D")
        i = int(np.searchsorted(self.sessions, day))
        if i == len(self.sessions) or self.sessions[i] != day:
            raise FeatureError(f"there are no features of {session}; build them first")
        return i

    def matrix(self, session: date, names: Sequence[str]) -> np.ndarray:
        """Features of one session, a row per symbol: C-contiguous float64 (N, len(names))."""
        return np.ascontiguousarray(self.values[self.index(session), self.columns(names)].T)

    def snapshot(self, session: date) -> str:
        """Identity of the bars up to and including the session."""
        return self.snapshots[self.index(session)].tobytes().hex()

    def up_to(self, session: date) -> FeaturePanel:
        """The panel with everything after `session` cut off."""
        end = int(np.searchsorted(self.sessions, np.datetime64(session, "D"), side="right"))
        return FeaturePanel(
            self.sessions[:end],
            self.names,
            self.symbols,
            self.values[:end],
            self.snapshots[:end],
            self.version,
            self.unavailable,
        )


@dataclass(frozen=True)
class FeatureReport:
    """What one update did. `rebuilt_from` is the first session that had to be made again."""

    last: date | None
    sessions: int
    added: int
    rebuilt_from: date | None
    features: int
    version: str
    unavailable: Mapping[str, str]


@dataclass(frozen=True)
class Missing:
    """What an update has to make: sessions start .. stop - 1 of the bars, by these entries."""

    source: LakeView
    entries: tuple[Feature, ...]
    start: int
    stop: int
    about: Mapping[str, Any]

    @property
    def names(self) -> tuple[str, ...]:
        return names_of(self.entries)

    def blocks(self) -> Iterator[slice]:
        """The sessions in parts whose features fit into memory."""
        each = 8 * 3 * len(self.entries) * max(len(self.source.symbols), 1)
        step = max(32, _BLOCK_BYTES // each)
        for first in range(self.start, self.stop, step):
            yield slice(first, min(first + step, self.stop))


Part = tuple[slice, np.ndarray]
"""Symbols, and their values before ranks and scores: (sessions missing, entries, symbols)."""


def update_features(
    bars: Lake,
    features: Lake,
    through: date,
    made: Callable[[Missing], Sequence[Part]] = lambda _: (),
) -> FeatureReport:
    """Bring the lake of features up to `through`, and never beyond what the bars have.

    Makes only the sessions that are missing, from their look-back. Starts again where the
    catalogue, the symbols or the fields of the bars changed, and from the first session whose bars
    were corrected since. made: which of it others have computed already, see `shards`.
    Raises LakeMissing where there are no bars.
    """
    source = bars.view()
    with features.writing() as writer:
        held = writer.view()
        missing = missing_sessions(source, held, through)
        valid, about = missing.start, missing.about
        rebuilt_from = None
        if held is None or valid < len(held.sessions) or held.about != about:
            if held is not None and valid < len(held.sessions):
                rebuilt_from = held.sessions[valid].item()
            _keep(writer, held, valid, missing.names, source.symbols, about)
        panel, parts = bar_panel(source), made(missing)
        for block in missing.blocks():
            inside = slice(block.start - valid, block.stop - valid)
            ready = [(symbols, values[inside]) for symbols, values in parts]
            values = _compute(missing.entries, panel, block.start, block.stop, ready)
            writer.append(source.sessions[block], values, source.snapshots[block])
        sessions = features.view().sessions
    return FeatureReport(
        last=sessions[-1].item() if len(sessions) else None,
        sessions=len(sessions),
        added=max(0, missing.stop - valid),
        rebuilt_from=rebuilt_from,
        features=len(missing.names),
        version=about["catalogue"],
        unavailable=about["unavailable"],
    )


def missing_sessions(source: LakeView, held: LakeView | None, through: date) -> Missing:
    """What the features held lack of those of the bars. Raises FeatureError where these bars can
    give none at all."""
    chosen, unavailable = available(source.fields)
    if not chosen:
        raise FeatureError("; ".join(f"{name}: {why}" for name, why in unavailable.items()))
    about = {"catalogue": catalogue_version(), "unavailable": unavailable}
    valid = _valid_sessions(held, source, names_of(chosen), about)
    return Missing(source, chosen, valid, source.count_through(through), about)


def read_features(lake: Lake, first: date | None = None, last: date | None = None) -> FeaturePanel:
    """Stored features from `first` to `last`, both included, without copying them."""
    view = lake.view()
    start = 0 if first is None else int(np.searchsorted(view.sessions, np.datetime64(first, "D")))
    stop = len(view.sessions) if last is None else view.count_through(last)
    return FeaturePanel(
        view.sessions[start:stop],
        view.fields,
        view.symbols,
        view.values[start:stop],
        view.snapshots[start:stop],
        view.about["catalogue"],
        view.about["unavailable"],
    )


def build_features(panel: BarPanel) -> tuple[tuple[str, ...], np.ndarray]:
    """Names and values (S, F, N) of all features these bars can give, for every session."""
    chosen, _ = available(tuple(panel.fields))
    return names_of(chosen), _compute(chosen, panel, 0, len(panel.sessions))


def available(fields: Sequence[str]) -> tuple[tuple[Feature, ...], dict[str, str]]:
    """The entries that bars with these fields can give, and why they can't give the others."""
    chosen, unavailable = [], {}
    for entry in CATALOGUE:
        needs = ("adj_close" if name == MARKET else name for name in entry.inputs)
        lacking = [name for name in dict.fromkeys(needs) if name not in fields]
        if lacking:
            unavailable[entry.name] = f"the bars have no {' and no '.join(lacking)}"
        else:
            chosen.append(entry)
    return tuple(chosen), unavailable


def catalogue_version() -> str:
    """Changes with any entry of the catalogue or its arithmetic."""
    digest = hashlib.sha256()
    folder = Path(__file__).parent
    for name in ("catalogue.py", "engine.py", "kernels.py", "panel.py"):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()[:16]


def _valid_sessions(
    held: LakeView | None, source: LakeView, names: Sequence[str], about: Mapping[str, object]
) -> int:
    """How many of the stored sessions still stand for the bars as they are now.

    Snapshot ids are chained, so equal ids mean equal bars up to that session, and the first
    session that differs is found by halving.
    """
    if (
        held is None
        or held.fields != tuple(names)
        or held.symbols != source.symbols
        or held.about != about
    ):
        return 0
    low, high = 0, min(len(held.sessions), len(source.sessions))
    if high and (held.snapshots[high - 1] == source.snapshots[high - 1]).all():
        return high
    while low < high:
        middle = (low + high) // 2
        if (held.snapshots[middle] == source.snapshots[middle]).all():
            low = middle + 1
        else:
            high = middle
    return low


def _keep(
    writer: LakeWriter,
    held: LakeView | None,
    valid: int,
    names: Sequence[str],
    symbols: Sequence[str],
    about: Mapping[str, object],
) -> None:
    """Write the first `valid` sessions anew, with the layout that follows."""
    empty = LakeView(
        np.empty(0, "datetime64[D]"),
        np.empty((0, 32), np.uint8),
        tuple(names),
        tuple(symbols),
        np.empty((0, len(names), len(symbols))),
        about,
    )
    kept = held if held is not None and valid else empty
    writer.replace(
        names,
        symbols,
        kept.sessions[:valid],
        kept.values[:valid],
        kept.snapshots[:valid],
        about,
    )


def _compute(
    entries: Sequence[Feature],
    panel: BarPanel,
    start: int,
    stop: int,
    ready: Sequence[Part] = (),
) -> np.ndarray:
    """Values (stop - start, 3 x entries, N) of the sessions start .. stop - 1 of a panel.

    ready: values of some symbols, in their order; those of the others are computed.
    """
    count, width = stop - start, len(panel.symbols)
    values = np.empty((count, 3 * len(entries), width))
    if not values.size:
        return values
    raw, done = values[:, ::3], 0
    for symbols, given in (*ready, (slice(width, width), np.empty((count, len(entries), 0)))):
        rest = slice(done, symbols.start)
        compute_raw(entries, panel, start, stop, rest, raw[:, :, rest])
        raw[:, :, symbols] = given
        done = symbols.stop

    def score(part: slice) -> None:
        engine.score_rows(values[part].reshape(-1, 3, width))

    share = -(-count // max(1, min(count, 4 * _WORKERS)))
    _spread(score, [slice(first, first + share) for first in range(0, count, share)])
    return values


def compute_raw(
    entries: Sequence[Feature],
    panel: BarPanel,
    start: int,
    stop: int,
    symbols: slice,
    out: np.ndarray,
) -> None:
    """Fill `out`, (stop - start, entries, symbols), with values before ranks and scores.

    Each is the same number, bit for bit, whichever symbols and sessions are computed with it.
    """
    count, width = stop - start, symbols.stop - symbols.start
    if count <= 0 or width <= 0:
        return
    depth: dict[str, int] = {}
    for entry in entries:
        for name in entry.inputs:
            depth[name] = max(depth.get(name, 0), entry.lookback)
    market = None
    if MARKET in depth:
        market = _market(panel, start - depth.pop(MARKET), stop)

    rows = count + max(depth.values()) + MAX_GAP
    columns = max(16, (_FEW_BYTES if count < _FEW else _TILE_BYTES) // (8 * rows) // 16 * 16)
    tiles = [
        slice(first, min(first + columns, symbols.stop))
        for first in range(symbols.start, symbols.stop, columns)
    ]

    def fill(tile: slice) -> None:
        held = {name: _input(panel, name, start - deep, stop, tile) for name, deep in depth.items()}
        missing = {name: _missing(panel, name, start, stop, tile) for name in depth}
        if market is not None:
            held[MARKET] = market
        shape = (count, tile.stop - tile.start)
        for i, entry in enumerate(entries):
            inputs = (held[name] for name in entry.inputs)
            with np.errstate(all="ignore"):
                raw = entry.compute(*(x[len(x) - count - entry.lookback :] for x in inputs))
            if raw.shape != shape:
                raise FeatureError(
                    f"feature {entry.name!r} returned shape {raw.shape} for "
                    f"{count + entry.lookback} sessions: its look-back is not {entry.lookback}"
                )
            mine = out[:, i, tile.start - symbols.start : tile.stop - symbols.start]
            mine[:] = raw
            for name in entry.inputs:
                if (unknown := missing.get(name)) is not None:
                    mine[unknown] = np.nan

    _spread(fill, tiles)


def _spread(work: Callable[[slice], None], parts: Sequence[slice]) -> None:
    """Do the parts on all processors; a single session's work is not worth a thread."""
    if len(parts) < 4 * _WORKERS:
        for part in parts:
            work(part)
        return
    with ThreadPoolExecutor(_WORKERS) as pool:
        for done in [pool.submit(work, part) for part in parts]:
            done.result()


def _input(panel: BarPanel, name: str, start: int, stop: int, symbols: slice) -> np.ndarray:
    """Bars of the sessions start .. stop - 1, short gaps bridged; NaN before the first session."""
    first = max(start - MAX_GAP, 0)
    given = panel.fields[name][first:stop, symbols]
    values = engine.bridge(given, MAX_GAP, zero=name == "volume")
    if start < 0:
        values = np.concatenate([np.full((-start, values.shape[1]), np.nan), values])
    return values[max(start - first, 0) :]


def _missing(
    panel: BarPanel, name: str, start: int, stop: int, symbols: slice
) -> np.ndarray | None:
    """Where the sessions have no value of their own, (stop - start, N); None where all have."""
    given = panel.fields[name][start:stop, symbols]
    missing = ~((given >= 0.0 if name == "volume" else given > 0.0) & (given < np.inf))
    return missing if missing.any() else None


def _market(panel: BarPanel, start: int, stop: int) -> np.ndarray:
    """Mean one-session return of all symbols, (stop - start, 1); NaN where there is none."""
    prices = _input(panel, "adj_close", start - 1, stop, slice(None))
    with np.errstate(all="ignore"):
        return engine.row_mean(engine.change(prices, 1))[:, None]
