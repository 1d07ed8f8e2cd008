from __future__ import annotations

import shutil
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hydra_pipelines.features import panel as features_panel
from hydra_pipelines.features.panel import (
    FeatureError,
    build_features,
    read_features,
    update_features,
)
from hydra_pipelines.market.bars import BarPanel
from hydra_pipelines.market.ingest import bar_panel, ingest
from hydra_pipelines.market.lake import Lake, LakeMissing
from hydra_pipelines.market.sources import open_source
from hydra_pipelines.sessions import Calendar
from hydra_pipelines_tests.market.builders import (
    MemorySource,
    random_bars,
    take_symbols,
    with_value,
)

NOW = datetime(2022, 12, 28, 22, 0, tzinfo=UTC)
FIRST = date(2015, 1, 1)


@pytest.fixture(scope="module")
def calendar(tmp_path_factory) -> Calendar:
    return Calendar.load("XNYS", tmp_path_factory.mktemp("calendar"))


@pytest.fixture(scope="module")
def bars(tmp_path_factory, calendar) -> Lake:
    """The sample from 2015 on."""
    lake = Lake(tmp_path_factory.mktemp("bars"))
    sample = open_source("sample").read(FIRST)
    ingest(MemorySource(sample), lake, date(2022, 12, 28), calendar, NOW)
    return lake


@pytest.fixture(scope="module")
def whole(bars) -> np.ndarray:
    return build_features(bar_panel(bars.view()))[1]


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return np.array_equal(
        np.ascontiguousarray(a).view(np.int64), np.ascontiguousarray(b).view(np.int64)
    )


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(start=0, steps=[1, 1, 600])
@given(start=st.integers(0, 2000), steps=st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_built_at_once_or_session_by_session_is_the_same(start, steps, tmp_path, bars, whole):
    shutil.rmtree(tmp_path, ignore_errors=True)
    lake, days = Lake(tmp_path), bars.view().sessions.tolist()
    at = min(start, len(days) - 1)
    update_features(bars, lake, days[at])
    for step in steps:
        before, at = at, min(at + step, len(days) - 1)
        report = update_features(bars, lake, days[at])
        assert report.added == at - before and report.rebuilt_from is None
    assert same_bits(read_features(lake).values, whole[: at + 1])


def test_300_single_updates_equal_the_whole(tmp_path, bars, whole):
    lake, days = Lake(tmp_path), bars.view().sessions.tolist()
    for day in days[-301:]:
        update_features(bars, lake, day)
    assert same_bits(read_features(lake).values, whole)


def test_updates_bridge_the_gaps_that_the_whole_bridges(tmp_path, calendar):
    days = calendar.between(date(2021, 1, 4), date(2022, 3, 1))
    panel = random_bars(days)
    rng = np.random.default_rng(4)
    # The same holes in all fields, some of them longer than what is bridged.
    holes = rng.random((len(days), 3)) < 0.05
    holes[100:109, 1] = True
    holes[-1] = False
    fields = {name: np.where(holes, np.nan, values) for name, values in panel.fields.items()}
    holed = BarPanel(panel.sessions, panel.symbols, fields)
    bars, lake = Lake(tmp_path / "bars"), Lake(tmp_path / "features")
    ingest(MemorySource(holed), bars, days[-1], calendar, NOW)
    for day in days[-40:]:
        update_features(bars, lake, day)
    assert same_bits(read_features(lake).values, build_features(holed)[1])


def test_cutting_the_sample_off_changes_nothing(tmp_path, calendar, bars, whole):
    session = date(2020, 3, 16)
    cut = Lake(tmp_path / "bars")
    sample = open_source("sample", {"last_session": session}).read(FIRST)
    ingest(MemorySource(sample), cut, date(2022, 12, 28), calendar, NOW)
    lake = Lake(tmp_path / "features")
    update_features(cut, lake, date(2022, 12, 28))
    panel = read_features(lake)
    assert panel.sessions[-1].item() == session
    assert same_bits(panel.values, whole[: len(panel.sessions)])
    assert panel.snapshot(session) == bars.view().snapshot(session)


def test_the_same_update_twice_changes_nothing(tmp_path, bars):
    lake = Lake(tmp_path)
    update_features(bars, lake, date(2016, 6, 1))
    before = content(tmp_path)
    again = update_features(bars, lake, date(2016, 6, 1))
    assert content(tmp_path) == before and again.added == 0
    earlier = update_features(bars, lake, date(2016, 1, 4))
    assert content(tmp_path) == before and earlier.last == date(2016, 6, 1)


def test_never_beyond_what_was_asked_or_is_known(tmp_path, bars):
    lake = Lake(tmp_path)
    assert update_features(bars, lake, date(2016, 6, 5)).last == date(2016, 6, 3)
    assert update_features(bars, lake, date(2030, 1, 1)).last == date(2022, 12, 28)
    with pytest.raises(LakeMissing):
        update_features(Lake(tmp_path / "none"), lake, date(2016, 6, 5))


def test_corrected_bars_rebuild_from_there(tmp_path, calendar):
    days = calendar.between(date(2019, 1, 2), date(2022, 1, 3))
    panel = random_bars(days)
    bars, lake = Lake(tmp_path / "bars"), Lake(tmp_path / "features")
    ingest(MemorySource(panel), bars, days[-1], calendar, NOW)
    update_features(bars, lake, days[-1])
    row = len(days) - 10
    corrected = with_value(panel, "adj_close", row, 1, 55.0)
    ingest(MemorySource(corrected), bars, days[-1], calendar, NOW)
    report = update_features(bars, lake, days[-1])
    assert (report.rebuilt_from, report.added) == (days[row], 10)
    assert same_bits(read_features(lake).values, build_features(corrected)[1])


def test_new_symbols_and_fields_rebuild_all(tmp_path, calendar):
    days = calendar.between(date(2021, 1, 4), date(2022, 1, 3))
    panel = random_bars(days)
    closes = BarPanel(panel.sessions, panel.symbols, {"adj_close": panel.fields["adj_close"]})
    bars, lake = Lake(tmp_path / "bars"), Lake(tmp_path / "features")
    ingest(MemorySource(closes), bars, days[-2], calendar, NOW)
    first = update_features(bars, lake, days[-1])
    assert first.unavailable == {
        "atr_14": "the bars have no high and no low and no close",
        "range_21d": "the bars have no high and no low and no close",
        "stochastic_14": "the bars have no high and no low and no close",
        "overnight_21d": "the bars have no open and no close",
        "adv_21": "the bars have no close and no volume",
        "volume_surge_5d": "the bars have no close and no volume",
        "amihud_21": "the bars have no close and no volume",
    }
    ingest(MemorySource(panel), bars, days[-1], calendar, NOW)
    second = update_features(bars, lake, days[-1])
    assert second.rebuilt_from == days[0] and second.unavailable == {}
    assert second.features == first.features + 21
    assert same_bits(read_features(lake).values, build_features(panel)[1])


def test_a_symbol_listed_yesterday_gets_its_column(tmp_path, calendar):
    days = calendar.between(date(2021, 1, 4), date(2022, 1, 3))
    panel = random_bars(days)
    fields = {k: v.copy() for k, v in panel.fields.items()}
    for values in fields.values():
        values[:-2, 2] = np.nan
    listed = BarPanel(panel.sessions, panel.symbols, fields)
    bars, lake = Lake(tmp_path / "bars"), Lake(tmp_path / "features")
    ingest(MemorySource(take_symbols(listed, ("AAA", "BBB"))), bars, days[-3], calendar, NOW)
    update_features(bars, lake, days[-1])
    ingest(MemorySource(listed), bars, days[-1], calendar, NOW)
    update_features(bars, lake, days[-1])
    built = read_features(lake)
    assert built.symbols == panel.symbols
    assert same_bits(built.values, build_features(listed)[1])


def test_a_changed_catalogue_rebuilds_all(tmp_path, bars, monkeypatch):
    lake = Lake(tmp_path)
    report = update_features(bars, lake, date(2016, 1, 4))
    monkeypatch.setattr(features_panel, "catalogue_version", lambda: "another")
    again = update_features(bars, lake, date(2016, 1, 5))
    assert again.rebuilt_from == FIRST.replace(day=2)
    assert (again.added, again.version) == (report.sessions + 1, "another")
    assert read_features(lake).version == "another"


def test_a_matrix_has_a_row_per_symbol_and_a_column_per_name(tmp_path, bars, whole):
    lake = Lake(tmp_path)
    update_features(bars, lake, date(2017, 1, 3))
    panel = read_features(lake, first=date(2016, 12, 1))
    names = ("momentum_12_1_z", "return_1d", "return_1d_rank")
    x = panel.matrix(date(2016, 12, 30), names)
    assert x.shape == (20, 3) and x.flags.c_contiguous
    row = bars.view().index(date(2016, 12, 30))
    for column, name in enumerate(names):
        assert np.array_equal(x[:, column], whole[row, panel.names.index(name)])
    assert panel.up_to(date(2016, 12, 30)).sessions[-1].item() == date(2016, 12, 30)
    with pytest.raises(FeatureError, match="2017-01-04"):
        panel.matrix(date(2017, 1, 4), names)
    with pytest.raises(FeatureError, match=r"'atr_14_rank'.*no high and no low"):
        panel.columns(["atr_14_rank"])
    with pytest.raises(FeatureError, match=r"'alpha'.*return_1d"):
        panel.columns(["alpha"])


def test_bars_without_adjusted_closes_have_no_features(tmp_path, calendar):
    days = calendar.between(date(2021, 12, 1), date(2022, 1, 3))
    fields = {"high": random_bars(days).fields["high"]}
    bars = Lake(tmp_path / "bars")
    panel = BarPanel(np.array(days, "datetime64[D]"), ("AAA", "BBB", "CCC"), fields)
    ingest(MemorySource(panel), bars, days[-1], calendar, NOW)
    with pytest.raises(FeatureError, match="return_1d: the bars have no adj_close"):
        update_features(bars, Lake(tmp_path / "features"), days[-1])
