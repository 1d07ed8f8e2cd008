"""An ingest or a feature update that is killed at any moment, and run again."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from hydra_pipelines.features.panel import update_features
from hydra_pipelines.market import lake
from hydra_pipelines.market.ingest import ingest
from hydra_pipelines.market.lake import Lake, LakeMissing
from hydra_pipelines.sessions import Calendar
from hydra_pipelines_tests.market.builders import MemorySource, random_bars, with_value

NOW = datetime(2022, 12, 28, 22, 0, tzinfo=UTC)

KILLED = 9


def child(folder: Path, stage: str, calendar: Calendar, fatal: int) -> tuple[int, int]:
    """The stage in a process that dies at its n-th step on the disk: exit status, and steps made.

    A write dies with half of its bytes on the disk.
    """
    count = folder.parent / "steps"
    process = os.fork()
    if process:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), int(count.read_text())
    made = 0

    def step() -> bool:
        nonlocal made
        if made == fatal > 0:
            return True
        made += 1
        count.write_text(str(made))
        return made == fatal

    def mortal(owner, name: str) -> None:
        real = getattr(owner, name)

        def call(*args, **kwargs):
            if step():
                os._exit(KILLED)
            return real(*args, **kwargs)

        setattr(owner, name, call)

    def write(path: Path, offset: int, data) -> None:
        if step():
            content = bytes(memoryview(data).cast("B")) if len(data) else b""
            whole_write(path, offset, content[: len(content) // 2])
            os._exit(KILLED)
        whole_write(path, offset, data)

    status = 1
    try:
        whole_write = lake._write_at
        for name in ("fsync", "replace", "unlink"):
            mortal(os, name)
        mortal(lake.json, "dump")
        lake._write_at = write
        run(folder, stage, calendar)
        status = 0
    finally:
        os._exit(status)


def run(folder: Path, stage: str, calendar: Calendar) -> None:
    days = calendar.between(
        *(datetime.fromisoformat(d).date() for d in ("2022-10-03", "2022-12-28"))
    )
    panel = random_bars(days)
    if stage == "corrected":
        panel = with_value(panel, "close", 45, 1, 51.0)
    through = days[40] if stage == "first" else days[50]
    ingest(MemorySource(panel), Lake(folder / "bars"), through, calendar, NOW)
    update_features(Lake(folder / "bars"), Lake(folder / "features"), through)


def state(folder: Path) -> list:
    out = []
    for name in ("bars", "features"):
        view = Lake(folder / name).view()
        out += [view.sessions.tolist(), view.fields, view.symbols, view.snapshots.tobytes()]
        out += [np.array(view.values).tobytes(), Lake(folder / name).log()]
    return out


@pytest.mark.parametrize("stage", ["first", "appended", "corrected"])
def test_killed_at_any_moment_and_run_again_the_lake_is_the_same(stage, tmp_path, calendar):
    def start(name: str) -> Path:
        folder = tmp_path / name
        for before in {"first": (), "appended": ("first",), "corrected": ("first", "appended")}[
            stage
        ]:
            run(folder, before, calendar)
        return folder

    whole = start("whole")
    status, moments = child(whole, stage, calendar, 0)
    assert status == 0 and moments > 10
    expected = state(whole)
    for fatal in range(1, moments + 1):
        folder = start(f"killed at {fatal}")
        before = _readable(folder)
        assert child(folder, stage, calendar, fatal) == (KILLED, fatal)
        # Readers see what was, or what is to be, and nothing between.
        assert _readable(folder) in (before, _readable(whole), *_between(before, whole))
        run(folder, stage, calendar)
        assert state(folder) == expected, f"killed at {fatal}"


def _readable(folder: Path) -> tuple:
    seen = []
    for name in ("bars", "features"):
        try:
            view = Lake(folder / name).view()
            seen.append((len(view.sessions), np.array(view.values).tobytes()))
        except LakeMissing:
            seen.append(None)
    return tuple(seen)


def _between(before: tuple, whole: Path) -> list[tuple]:
    """Bars done and features not, or features set up anew and empty."""
    bars = _readable(whole)[0]
    kept = [before[1], (0, b"")]
    features = Lake(whole / "features").view()
    for count in range(len(features.sessions)):
        kept.append((count, np.array(features.values[:count]).tobytes()))
    return [(bars, state) for state in kept]
