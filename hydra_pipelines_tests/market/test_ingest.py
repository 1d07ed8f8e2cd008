from __future__ import annotations

import shutil
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hydra_pipelines.market.bars import BarPanel, MarketDataError
from hydra_pipelines.market.ingest import VERIFIED_SESSIONS, bar_panel, ingest, snapshot_chain
from hydra_pipelines.market.lake import Lake, LakeMissing
from hydra_pipelines_tests.market.builders import (
    MemorySource,
    random_bars,
    select,
    take_symbols,
    with_value,
)

NOW = datetime(2022, 12, 28, 22, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def days(request) -> tuple[date, ...]:
    calendar = request.getfixturevalue("calendar")
    return calendar.between(date(2022, 9, 1), date(2022, 12, 28))


@pytest.fixture(scope="module")
def panel(days) -> BarPanel:
    return random_bars(days)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def same(lake: Lake, panel: BarPanel) -> bool:
    held = bar_panel(lake.view())
    return (
        np.array_equal(held.sessions, panel.sessions)
        and held.symbols == panel.symbols
        and set(held.fields) == set(panel.fields)
        and all(
            np.array_equal(held.fields[k], panel.fields[k], equal_nan=True) for k in held.fields
        )
    )


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(stops=st.sets(st.integers(0, 80), max_size=8))
def test_in_one_go_or_in_steps_the_lake_is_the_same(stops, tmp_path, calendar, days, panel):
    source = MemorySource(panel)
    shutil.rmtree(tmp_path, ignore_errors=True)
    whole, stepwise = Lake(tmp_path / "whole"), Lake(tmp_path / "steps")
    ingest(source, whole, days[-1], calendar, NOW)
    for stop in (*sorted(stops), len(days) - 1):
        report = ingest(source, stepwise, days[stop], calendar, NOW)
        assert report.last == days[stop]
        assert report.snapshot == whole.view().snapshot(days[stop])
    assert same(whole, panel) and same(stepwise, panel)
    assert np.array_equal(whole.view().snapshots, stepwise.view().snapshots)


def test_the_same_session_twice_changes_nothing(tmp_path, calendar, days, panel):
    lake = Lake(tmp_path)
    first = ingest(MemorySource(panel), lake, days[50], calendar, NOW)
    before = content(tmp_path)
    again = ingest(MemorySource(panel), lake, days[50], calendar, NOW)
    earlier = ingest(MemorySource(panel), lake, days[30], calendar, NOW)
    assert content(tmp_path) == before
    assert (first.appended, again.appended, earlier.appended) == (51, 0, 0)
    assert again.snapshot == first.snapshot and earlier.last == days[50]


def test_a_new_session_costs_one_row(tmp_path, calendar, days, panel):
    lake, source = Lake(tmp_path), MemorySource(panel)
    ingest(source, lake, days[50], calendar, NOW)
    sizes = {p.name: p.stat().st_size for p in tmp_path.glob("*-*")}
    source.requests.clear()
    report = ingest(source, lake, days[51], calendar, NOW)
    assert report.appended == 1
    assert source.requests == [(days[51 - VERIFIED_SESSIONS], days[51])]
    grown = {p.name: p.stat().st_size - sizes[p.name] for p in tmp_path.glob("*-*")}
    assert sorted(grown.values()) == [40, 8 * 6 * 3]


def test_a_correction_replaces_the_value_and_leaves_a_trace(tmp_path, calendar, days, panel):
    lake = Lake(tmp_path)
    ingest(MemorySource(panel), lake, days[50], calendar, NOW)
    before = lake.view()
    corrected = with_value(panel, "close", 45, 1, 123.25)
    report = ingest(MemorySource(corrected), lake, days[51], calendar, NOW)
    assert (report.appended, report.corrected) == (1, 1)
    assert same(lake, corrected.up_to(days[51]))
    assert lake.log() == [
        {
            "when": "2022-12-28T22:00:00+00:00",
            "session": str(days[45]),
            "symbol": "BBB",
            "field": "close",
            "old": panel.fields["close"][45, 1],
            "new": 123.25,
        }
    ]
    after = lake.view()
    assert after.snapshot(days[44]) == before.snapshot(days[44])
    assert after.snapshot(days[45]) != before.snapshot(days[45])
    assert after.snapshot(days[50]) != before.snapshot(days[50])
    at_once = Lake(tmp_path / "at once")
    ingest(MemorySource(corrected), at_once, days[51], calendar, NOW)
    assert np.array_equal(at_once.view().snapshots, after.snapshots)
    assert ingest(MemorySource(corrected), lake, days[51], calendar, NOW).corrected == 0
    assert len(lake.log()) == 1


def test_old_corrections_are_found_by_a_full_verification(tmp_path, calendar, days, panel):
    lake = Lake(tmp_path)
    ingest(MemorySource(panel), lake, days[60], calendar, NOW)
    corrected = MemorySource(with_value(panel, "adj_close", 3, 0, 7.5))
    assert ingest(corrected, lake, days[60], calendar, NOW).corrected == 0
    assert ingest(corrected, lake, days[60], calendar, NOW, verify_all=True).corrected == 1
    assert same(lake, corrected.panel.up_to(days[60]))


def test_what_a_source_no_longer_says_is_kept(tmp_path, calendar, days, panel):
    lake = Lake(tmp_path)
    ingest(MemorySource(panel), lake, days[50], calendar, NOW)
    before = content(tmp_path)
    forgotten = with_value(panel, "close", 50, 0, np.nan)
    gone = select(forgotten, np.arange(len(days)) != 48)
    fewer = take_symbols(gone, ("CCC", "AAA"))
    report = ingest(MemorySource(fewer), lake, days[50], calendar, NOW)
    assert content(tmp_path) == before and report.corrected == 0
    ingest(MemorySource(fewer), lake, days[51], calendar, NOW)
    last = {k: v[-1].tolist() for k, v in bar_panel(lake.view()).fields.items()}
    assert np.isnan(last["close"][1]) and last["close"][2] == panel.fields["close"][51, 2]


def test_a_correction_does_not_bring_forgetting(tmp_path, calendar, days, panel):
    lake = Lake(tmp_path)
    ingest(MemorySource(panel), lake, days[50], calendar, NOW)
    corrected = with_value(panel, "close", 45, 1, 123.25)
    both = with_value(corrected, "high", 49, 2, np.nan)
    assert ingest(MemorySource(both), lake, days[50], calendar, NOW).corrected == 1
    assert same(lake, corrected.up_to(days[50]))


def test_a_source_that_says_too_much_is_cut_off(tmp_path, calendar, days, panel):
    class Talkative(MemorySource):
        def read(self, first=None, last=None):
            return self.panel

    lake = Lake(tmp_path)
    for stop in (50, 51):
        assert ingest(Talkative(panel), lake, days[stop], calendar, NOW).last == days[stop]
    assert same(lake, panel.up_to(days[51]))


def test_a_value_that_was_unknown_is_filled_in(tmp_path, calendar, days, panel):
    lake = Lake(tmp_path)
    ingest(MemorySource(with_value(panel, "volume", 50, 2, np.nan)), lake, days[50], calendar, NOW)
    assert ingest(MemorySource(panel), lake, days[50], calendar, NOW).corrected == 1
    assert lake.log()[0]["old"] is None
    assert same(lake, panel.up_to(days[50]))


def test_a_late_session_is_put_in_its_place(tmp_path, calendar, days, panel):
    lake = Lake(tmp_path)
    ingest(MemorySource(select(panel, np.arange(len(days)) != 48)), lake, days[50], calendar, NOW)
    ingest(MemorySource(panel), lake, days[50], calendar, NOW)
    assert same(lake, panel.up_to(days[50]))
    assert [line["session_added"] for line in lake.log()] == [str(days[48])]


def test_new_symbols_and_fields_come_with_their_history(tmp_path, calendar, days, panel):
    lake, at_once = Lake(tmp_path / "grown"), Lake(tmp_path / "at once")
    closes = BarPanel(panel.sessions, panel.symbols, {"close": panel.fields["close"]})
    ingest(MemorySource(take_symbols(closes, ("AAA", "CCC"))), lake, days[50], calendar, NOW)
    report = ingest(MemorySource(panel), lake, days[51], calendar, NOW)
    assert report.symbols_added == ("BBB",) and report.corrected == 0
    held = bar_panel(lake.view())
    assert held.symbols == ("AAA", "CCC", "BBB")
    assert np.array_equal(held.fields["adj_close"][:, 2], panel.fields["adj_close"][:52, 1])
    ingest(MemorySource(panel), at_once, days[51], calendar, NOW)
    assert np.array_equal(lake.view().snapshots, at_once.view().snapshots)
    assert {key for line in lake.log() for key in line} == {"when", "symbols_added", "fields_added"}


def test_columns_follow_the_listings_whenever_they_become_known(tmp_path, calendar, days, panel):
    fields = {k: v.copy() for k, v in panel.fields.items()}
    for values in fields.values():
        values[:20, 0] = np.nan
        values[:10, 1] = np.nan
    listed = BarPanel(panel.sessions, panel.symbols, fields)
    at_once, stepwise = Lake(tmp_path / "whole"), Lake(tmp_path / "steps")
    ingest(MemorySource(listed), at_once, days[-1], calendar, NOW)
    for known, last in ((("CCC",), 9), (panel.symbols, 30), (panel.symbols, len(days) - 1)):
        ingest(MemorySource(take_symbols(listed, known)), stepwise, days[last], calendar, NOW)
    assert at_once.view().symbols == stepwise.view().symbols == ("CCC", "BBB", "AAA")
    assert np.array_equal(at_once.view().values, stepwise.view().values, equal_nan=True)


def test_dates_the_exchange_does_not_know_are_refused(tmp_path, calendar, days, panel):
    saturday = np.datetime64("2022-10-01")
    sessions = np.sort(np.append(panel.sessions, saturday))
    odd = random_bars(sessions.tolist())
    lake = Lake(tmp_path)
    with pytest.raises(MarketDataError, match=r"memory.*2022-10-01 \(Saturday\).*XNYS"):
        ingest(MemorySource(odd), lake, days[-1], calendar, NOW)
    with pytest.raises(LakeMissing):
        lake.view()


def test_a_source_with_nothing_to_start_from_is_an_error(tmp_path, calendar, panel):
    with pytest.raises(MarketDataError, match="no session up to 2020-01-02"):
        ingest(MemorySource(panel), Lake(tmp_path), date(2020, 1, 2), calendar, NOW)


def test_identity_is_of_names_and_numbers_not_of_places(panel):
    def ids(panel: BarPanel, symbols: tuple[str, ...], fields: tuple[str, ...]) -> np.ndarray:
        moved = take_symbols(panel, symbols)
        values = np.stack([moved.fields[name] for name in fields], axis=1)
        return snapshot_chain(fields, symbols, panel.sessions, values)

    straight = ids(panel, ("AAA", "BBB", "CCC"), ("close", "adj_close"))
    assert np.array_equal(straight, ids(panel, ("CCC", "AAA", "BBB"), ("close", "adj_close")))
    assert (straight != ids(panel, ("AAA", "BBB"), ("close", "adj_close"))).any(axis=1).all()
    swapped = BarPanel(panel.sessions, ("BBB", "AAA", "CCC"), panel.fields)
    assert (straight != ids(swapped, ("AAA", "BBB", "CCC"), ("close", "adj_close"))).any()
    changed = with_value(panel, "close", 10, 0, 1.0)
    other = ids(changed, ("AAA", "BBB", "CCC"), ("close", "adj_close"))
    assert np.array_equal(other[:10], straight[:10])
    assert (other[10:] != straight[10:]).any(axis=1).all()


def test_a_panel_of_the_lake_has_inclusive_bounds(tmp_path, calendar, days, panel):
    lake = Lake(tmp_path)
    ingest(MemorySource(panel), lake, days[-1], calendar, NOW)
    part = bar_panel(lake.view(), days[3], days[5])
    assert part.sessions.tolist() == list(days[3:6])
    assert np.array_equal(part.fields["high"], panel.fields["high"][3:6])
