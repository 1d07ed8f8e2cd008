"""Features made in parts: joined they are those that one process makes, bit for bit."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest

from hydra_pipelines.features import panel as features_panel
from hydra_pipelines.features import shards as features_shards
from hydra_pipelines.features.panel import Missing, Part, read_features, update_features
from hydra_pipelines.features.shards import ShardReport, Shards
from hydra_pipelines.market.ingest import ingest
from hydra_pipelines.market.lake import Lake, LakeMissing
from hydra_pipelines.market.sources import open_source
from hydra_pipelines.sessions import Calendar
from hydra_pipelines_tests.features.test_panel import same_bits
from hydra_pipelines_tests.market.builders import MemorySource, take_symbols, with_value

NOW = datetime(2022, 12, 28, 22, 0, tzinfo=UTC)
FIRST, MIDDLE, LAST = date(2018, 1, 2), date(2020, 6, 1), date(2022, 12, 28)


@pytest.fixture(scope="module")
def calendar(tmp_path_factory: pytest.TempPathFactory) -> Calendar:
    return Calendar.load("XNYS", tmp_path_factory.mktemp("calendar"))


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory, calendar: Calendar) -> Lake:
    """The sample, with a gap in one symbol's life."""
    lake = Lake(tmp_path_factory.mktemp("bars"))
    sample = open_source("sample").read(FIRST)
    for name in sample.fields:
        sample = with_value(sample, name, 700, 3, np.nan)
    ingest(MemorySource(sample), lake, LAST, calendar, NOW)
    return lake


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, bars: Lake) -> np.ndarray:
    lake = Lake(tmp_path_factory.mktemp("whole"))
    update_features(bars, lake, LAST)
    return read_features(lake).values


class Watched:
    """What an update was given of the parts."""

    def __init__(self, shards: Shards):
        self.shards, self.symbols = shards, 0

    def __call__(self, missing: Missing) -> list[Part]:
        parts = list(self.shards.made(missing))
        self.symbols = sum(part.stop - part.start for part, _ in parts)
        return parts


@pytest.mark.parametrize("of", [1, 2, 3, 7, 20, 23])
def test_joined_parts_are_the_whole(of: int, tmp_path: Path, bars: Lake, whole: np.ndarray) -> None:
    """Also where there are more parts than symbols, and in whatever order they were made."""
    lake, shards = Lake(tmp_path / "features"), Shards(tmp_path / "shards")
    reports = [shards.make(bars, lake, LAST, number, of) for number in reversed(range(of))]
    assert sum(report.symbols for report in reports) == 20
    given = Watched(shards)
    update_features(bars, lake, LAST, given)
    assert given.symbols == 20
    assert same_bits(read_features(lake).values, whole)


def test_what_is_written_in_blocks_is_joined_in_others(
    tmp_path: Path, bars: Lake, whole: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, shards = Lake(tmp_path / "features"), Shards(tmp_path / "shards")
    monkeypatch.setattr(features_panel, "_BLOCK_BYTES", 1)
    assert shards.make(bars, lake, LAST, 0, 2) == ShardReport(10, len(whole))
    monkeypatch.setattr(features_panel, "_BLOCK_BYTES", 1 << 20)
    shards.make(bars, lake, LAST, 1, 2)
    update_features(bars, lake, LAST, shards.made)
    assert same_bits(read_features(lake).values, whole)


def test_a_part_that_is_missing_or_cut_short_is_computed(
    tmp_path: Path, bars: Lake, whole: np.ndarray
) -> None:
    lake, shards = Lake(tmp_path / "features"), Shards(tmp_path / "shards")
    for number in (0, 2, 3):
        shards.make(bars, lake, LAST, number, 5)
    cut = sorted(shards.folder.glob("*-8-12.f64"))[0]
    os.truncate(cut, cut.stat().st_size - 8)
    given = Watched(shards)
    update_features(bars, lake, LAST, given)
    assert given.symbols == 8
    assert same_bits(read_features(lake).values, whole)


def test_values_of_parts_are_what_is_stored(tmp_path: Path, bars: Lake, whole: np.ndarray) -> None:
    """That they are taken at all: one that says otherwise is believed."""
    lake, shards = Lake(tmp_path / "features"), Shards(tmp_path / "shards")
    shards.make(bars, lake, LAST, 0, 2)
    (file,) = shards.folder.glob("*.f64")
    file.write_bytes(np.full(file.stat().st_size // 8, 0.5).tobytes())
    update_features(bars, lake, LAST, shards.made)
    values = read_features(lake).values
    assert (values[:, ::3, :10] == 0.5).all()
    assert same_bits(values[:, ::3, 10:], whole[:, ::3, 10:])


def test_parts_of_other_sessions_bars_or_divisions_are_not_mixed_in(
    tmp_path: Path, bars: Lake, calendar: Calendar, whole: np.ndarray
) -> None:
    lake, shards = Lake(tmp_path / "features"), Shards(tmp_path / "shards")
    shards.make(bars, lake, MIDDLE, 0, 2)
    given = Watched(shards)
    update_features(bars, lake, LAST, given)
    assert given.symbols == 0, "made for fewer sessions"

    other, lake = Lake(tmp_path / "other bars"), Lake(tmp_path / "other features")
    sample = with_value(open_source("sample").read(FIRST), "adj_close", 5, 0, 123.0)
    ingest(MemorySource(sample), other, LAST, calendar, NOW)
    shards.make(other, lake, LAST, 0, 2)
    update_features(bars, lake := Lake(tmp_path / "features again"), LAST, given)
    assert given.symbols == 0, "made from other bars"

    for number, of in ((0, 2), (1, 3), (2, 3)):
        shards.make(bars, lake := Lake(tmp_path / "third"), LAST, number, of)
    update_features(bars, lake, LAST, given)
    assert given.symbols == 10 + 7, "parts that overlap are taken once"
    assert same_bits(read_features(lake).values, whole)


def test_the_rest_of_a_history_can_be_made_in_parts(
    tmp_path: Path, bars: Lake, whole: np.ndarray
) -> None:
    lake, shards = Lake(tmp_path / "features"), Shards(tmp_path / "shards")
    update_features(bars, lake, MIDDLE)
    made = len(read_features(lake).sessions)
    assert shards.make(bars, lake, LAST, 1, 2) == ShardReport(10, len(whole) - made)
    given = Watched(shards)
    assert update_features(bars, lake, LAST, given).added == len(whole) - made
    assert given.symbols == 10
    assert same_bits(read_features(lake).values, whole)


def test_a_few_sessions_are_not_worth_a_part(tmp_path: Path, bars: Lake) -> None:
    lake, shards = Lake(tmp_path / "features"), Shards(tmp_path / "shards")
    days = bars.view().sessions.tolist()
    update_features(bars, lake, days[-features_shards.WORTH_SESSIONS])
    assert shards.make(bars, lake, days[-1], 0, 2) == ShardReport(10, 0)
    assert not shards.folder.exists()


def test_clearing_removes_parts_and_what_a_killed_process_left(tmp_path: Path, bars: Lake) -> None:
    lake, shards = Lake(tmp_path / "features"), Shards(tmp_path / "shards")
    shards.make(bars, lake, MIDDLE, 0, 2)
    old, young = shards.folder / ".a-0-1.f64.1", shards.folder / ".b-0-1.f64.2"
    old.touch()
    young.touch()
    os.utime(old, (0, 0))
    shards.clear()
    assert list(shards.folder.iterdir()) == [young]


def test_what_cant_be_a_part_is_refused(tmp_path: Path, bars: Lake) -> None:
    lake, shards = Lake(tmp_path / "features"), Shards(tmp_path / "shards")
    with pytest.raises(ValueError, match="part 2 of 2: they count from 0"):
        shards.make(bars, lake, LAST, 2, 2)
    with pytest.raises(LakeMissing):
        shards.make(Lake(tmp_path / "nothing"), lake, LAST, 0, 2)


def test_a_universe_of_one_symbol_has_one_part(tmp_path: Path, calendar: Calendar) -> None:
    bars, lake, shards = Lake(tmp_path / "b"), Lake(tmp_path / "f"), Shards(tmp_path / "s")
    alone = MemorySource(take_symbols(open_source("sample").read(FIRST), ["AAPL"]))
    ingest(alone, bars, LAST, calendar, NOW)
    assert [shards.make(bars, lake, LAST, n, 2).symbols for n in range(2)] == [0, 1]
    given = Watched(shards)
    update_features(bars, lake, LAST, given)
    assert given.symbols == 1
