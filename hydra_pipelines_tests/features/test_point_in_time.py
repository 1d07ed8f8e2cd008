"""Random cut-offs and random sessions: nothing looks ahead, and a day's update is the full build.

Cut-offs and sessions are drawn by a fixed seed, from the whole sample and from a panel of listings,
delistings, gaps, splits and bars without volume or range.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from hydra_pipelines.features.catalogue import CATALOGUE
from hydra_pipelines.features.panel import (
    MAX_GAP,
    build_features,
    read_features,
    update_features,
)
from hydra_pipelines.market.bars import BarPanel
from hydra_pipelines.market.ingest import bar_panel, ingest
from hydra_pipelines.market.lake import Lake
from hydra_pipelines.market.sources import open_source
from hydra_pipelines.market.universe import members
from hydra_pipelines.sessions import Calendar
from hydra_pipelines_tests.market.builders import (
    MemorySource,
    adjusted,
    eventful_bars,
    select,
    take_symbols,
)

NOW = datetime(2022, 12, 28, 22, 0, tzinfo=UTC)
LAST = date(2022, 12, 28)
CUTS, DRAWN = 25, 300
# The market's return of a session needs the price before it, which a gap may have to bridge.
LOOKBACK = max(entry.lookback for entry in CATALOGUE) + 1 + MAX_GAP


@pytest.fixture(scope="module")
def calendar(tmp_path_factory) -> Calendar:
    return Calendar.load("XNYS", tmp_path_factory.mktemp("calendar"))


@pytest.fixture(scope="module")
def eventful(calendar) -> BarPanel:
    return eventful_bars(calendar.between(date(2017, 1, 3), LAST))


@pytest.fixture(scope="module", params=["sample", "eventful"])
def world(request, eventful, calendar) -> Iterator[tuple[Lake, np.ndarray]]:
    """A lake of bars with all there is, and the features of all of it."""
    panel = open_source("sample").read() if request.param == "sample" else adjusted(eventful)
    # Not kept for later, as temporary folders of tests are: the sample's features are 100 MB.
    with TemporaryDirectory() as folder:
        lake = Lake(Path(folder) / "bars")
        ingest(MemorySource(panel), lake, LAST, calendar, NOW)
        yield lake, build_features(bar_panel(lake.view()))[1]


def bits(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x).view(np.int64)


def test_with_the_future_removed_features_and_universe_are_the_same(world):
    lake, whole = world
    panel = bar_panel(lake.view())
    days = panel.sessions.tolist()
    universe = [members(panel, day) for day in days]
    for cut in np.random.default_rng(11).integers(1, len(days), CUTS):
        past = panel.up_to(days[cut - 1])
        assert len(past.sessions) == cut
        assert np.array_equal(bits(build_features(past)[1]), bits(whole[:cut])), days[cut]
        assert [members(past, day) for day in past.sessions.tolist()] == universe[:cut]


def test_with_another_future_features_and_universe_are_the_same(world):
    lake, whole = world
    panel = bar_panel(lake.view())
    rng = np.random.default_rng(12)
    universe = [members(panel, day) for day in panel.sessions.tolist()]
    for cut in rng.integers(1, len(panel.sessions), CUTS // 2):
        fields = {name: values.copy() for name, values in panel.fields.items()}
        for values in fields.values():
            values[cut:] = rng.uniform(1.0, 100.0, values[cut:].shape)
            values[cut:][rng.random(values[cut:].shape) < 0.1] = np.nan
        other = BarPanel(panel.sessions, panel.symbols, fields)
        assert np.array_equal(bits(build_features(other)[1][:cut]), bits(whole[:cut]))
        assert [members(other, day) for day in panel.sessions[:cut].tolist()] == universe[:cut]


def test_who_is_not_listed_yet_is_not_known_yet(eventful, calendar, tmp_path):
    """The whole way, from traded prices: later symbols, splits and dividends do not exist yet."""
    days = eventful.sessions.tolist()
    later, features_later = Lake(tmp_path / "later"), Lake(tmp_path / "features-later")
    ingest(MemorySource(adjusted(eventful)), later, LAST, calendar, NOW)
    update_features(later, features_later, LAST)
    full, known = bar_panel(later.view()), read_features(features_later)
    counts = set()
    for cut in np.random.default_rng(13).integers(30, len(days), CUTS).tolist():
        past = select(eventful, slice(0, cut))
        listed = ~np.isnan(past.fields["close"]).all(axis=0)
        past = take_symbols(
            past, [s for s, is_listed in zip(past.symbols, listed, strict=True) if is_listed]
        )
        bars, lake = Lake(tmp_path / f"bars-{cut}"), Lake(tmp_path / f"features-{cut}")
        ingest(MemorySource(adjusted(past)), bars, LAST, calendar, NOW)
        update_features(bars, lake, LAST)
        then, panel = read_features(lake), bar_panel(bars.view())
        columns = [known.symbols.index(symbol) for symbol in then.symbols]
        assert np.array_equal(bits(then.values), bits(known.values[:cut][:, :, columns])), days[cut]
        assert np.isnan(np.delete(known.values[:cut], columns, axis=2)).all()
        assert then.snapshot(days[cut - 1]) == known.snapshot(days[cut - 1])
        assert all(members(panel, day) == members(full, day) for day in days[:cut])
        counts.add(len(columns))
    assert len(counts) > 1


def test_300_random_sessions_updated_one_by_one_equal_the_whole(world):
    bars, whole = world
    view = bars.view()
    panel, days = bar_panel(view), view.sessions.tolist()
    drawn = np.sort(np.random.default_rng(14).choice(np.arange(1, len(days)), DRAWN, replace=False))
    lake = Lake(bars.folder.parent / "features")
    update_features(bars, lake, days[0])
    held = 1
    for t in drawn.tolist():
        # What came before is there already, as on any other day.
        with lake.writing() as writer:
            writer.append(view.sessions[held:t], whole[held:t], view.snapshots[held:t])
        report = update_features(bars, lake, days[t])
        assert (report.added, report.rebuilt_from) == (1, None)
        held = t + 1
        lookback = select(panel, slice(max(t - LOOKBACK, 0), held))
        assert np.array_equal(bits(build_features(lookback)[1][-1]), bits(whole[t])), days[t]
    assert np.array_equal(bits(read_features(lake).values), bits(whole[:held]))
