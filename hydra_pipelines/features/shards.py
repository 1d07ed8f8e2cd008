"""Features of a part of the universe, made by itself and joined later.

Here belong the files in which the parts lie until they are joined. What a feature needs of the
other symbols comes last: the market's mean return is read by each part from the bars, ranks and
scores are made by the update of the lake, of all symbols together. So a joined panel is the one
that a single process would have made, bit for bit; and since a part is used only where it fits to
the very same bars and sessions, one that is missing or old costs time and changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from hydra_pipelines.features.panel import Missing, Part, compute_raw, missing_sessions
from hydra_pipelines.market.ingest import bar_panel
from hydra_pipelines.market.lake import Lake, LakeMissing

WORTH_SESSIONS = 32
"""Fewer sessions are computed faster than parts of them are written and joined."""
_LEFT_BEHIND_S = 24 * 3600


@dataclass(frozen=True)
class ShardReport:
    """What one part made: sessions is 0 where there was nothing worth a part."""

    symbols: int
    sessions: int


@dataclass(frozen=True)
class Shards:
    """The folder with the parts, on a disk that all who make and join them share."""

    folder: Path

    def make(self, bars: Lake, features: Lake, through: date, number: int, of: int) -> ShardReport:
        """Compute part `number` (from 0) of `of` of what an update through this session needs.

        Raises LakeMissing where there are no bars.
        """
        source = bars.view()
        try:
            held = features.view()
        except LakeMissing:
            held = None
        missing = missing_sessions(source, held, through)
        symbols, count = _share(len(source.symbols), number, of), missing.stop - missing.start
        width = symbols.stop - symbols.start
        if count < WORTH_SESSIONS or not width:
            return ShardReport(width, 0)
        self.folder.mkdir(parents=True, exist_ok=True)
        target = self._file(missing, symbols)
        if target.exists():
            return ShardReport(width, count)
        part = target.with_name(f".{target.name}.{os.getpid()}")
        panel = bar_panel(source)
        try:
            with part.open("wb") as file:
                for block in missing.blocks():
                    values = np.empty((block.stop - block.start, len(missing.entries), width))
                    compute_raw(missing.entries, panel, block.start, block.stop, symbols, values)
                    file.write(values.astype("<f8", copy=False).data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)
        return ShardReport(width, count)

    def made(self, missing: Missing) -> Sequence[Part]:
        """The parts that fit to what an update is about to make, in the order of their symbols."""
        prefix, entries = _identity(missing), len(missing.entries)
        count = missing.stop - missing.start
        found: list[Part] = []
        for file in self.folder.glob(f"{prefix}-*.f64"):
            first, last = (int(number) for number in file.stem.split("-")[1:])
            if file.stat().st_size == 8 * count * entries * (last - first):
                values = np.memmap(file, "<f8", mode="r", shape=(count, entries, last - first))
                found.append((slice(first, last), values.view(np.ndarray)))
        found.sort(key=lambda part: (part[0].start, -part[0].stop))
        # Two divisions of the universe may overlap, where the number of parts was changed.
        chosen: list[Part] = []
        for part in found:
            if not chosen or part[0].start >= chosen[-1][0].stop:
                chosen.append(part)
        return chosen

    def clear(self) -> None:
        """Remove the parts that are there: they were joined, or nobody will ask for them."""
        for file in self.folder.glob("*.f64"):
            file.unlink(missing_ok=True)
        for file in self.folder.glob(".*.f64.*"):
            # Of a process that was killed; a younger one may be at work on it.
            if time.time() - file.stat().st_mtime > _LEFT_BEHIND_S:
                file.unlink(missing_ok=True)

    def _file(self, missing: Missing, symbols: slice) -> Path:
        return self.folder / f"{_identity(missing)}-{symbols.start}-{symbols.stop}.f64"


def _share(symbols: int, number: int, of: int) -> slice:
    """The symbols of part `number` (from 0) of `of`, which differ by one in size at most."""
    if not 0 <= number < of:
        raise ValueError(f"part {number} of {of}: they count from 0")
    return slice(symbols * number // of, symbols * (number + 1) // of)


def _identity(missing: Missing) -> str:
    """Of the bars, the sessions and the catalogue that values are made from."""
    source = missing.source
    last = source.snapshots[missing.stop - 1].tobytes().hex() if missing.stop else ""
    what = [missing.start, missing.stop, last, source.symbols, missing.names, missing.about]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:32]
