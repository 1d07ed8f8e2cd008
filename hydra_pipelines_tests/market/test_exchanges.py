"""Exchanges other than New York's: their holidays, early closes and time zones, all the way."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from hydra_pipelines.features.panel import build_features, read_features, update_features
from hydra_pipelines.market.bars import MarketDataError
from hydra_pipelines.market.ingest import bar_panel, ingest
from hydra_pipelines.market.lake import Lake
from hydra_pipelines.market.quality import check_bars
from hydra_pipelines.market.sources import open_source
from hydra_pipelines.sessions import Calendar, UnknownCalendar
from hydra_pipelines_tests.market.builders import MemorySource, random_bars, select

NOW = datetime(2022, 12, 30, 22, 0, tzinfo=UTC)
FIRST, LAST = date(2021, 1, 1), date(2022, 12, 30)
CHRISTMAS_EVE, BEFORE, AFTER = date(2021, 12, 24), date(2022, 12, 23), date(2022, 12, 28)
"""Early closes of both exchanges in 2021, and the sessions around their holidays of 2022."""
EARLY, USUAL = {"XLON": time(12, 30), "XHKG": time(4)}, {"XLON": time(16, 30), "XHKG": time(8)}
ZONES = {"XLON": "Europe/London", "XHKG": "Asia/Hong_Kong"}


@pytest.fixture(scope="module", params=["XLON", "XHKG"])
def exchange(request, tmp_path_factory) -> Calendar:
    return Calendar.load(request.param, tmp_path_factory.mktemp("exchange"))


@pytest.fixture(scope="module")
def panel(exchange):
    return random_bars(exchange.between(FIRST, LAST))


def test_a_lake_has_the_exchanges_own_sessions(exchange, calendar, panel, tmp_path):
    days = exchange.between(FIRST, LAST)
    lake, features = Lake(tmp_path / "bars"), Lake(tmp_path / "features")
    # From the day before the holidays on, a session at a time, as they complete.
    for last in (BEFORE, *exchange.between(BEFORE + timedelta(days=1), LAST)):
        report = ingest(MemorySource(panel), lake, last, exchange, NOW)
        update_features(lake, features, last)
        assert report.last == last and report.corrected == 0
    held = bar_panel(lake.view())
    assert tuple(held.sessions.tolist()) == days != calendar.between(FIRST, LAST)
    assert date(2022, 11, 24) in days and date(2022, 12, 27) not in days
    assert check_bars(held, LAST, exchange, panel.symbols) == []
    built = read_features(features)
    names, whole = build_features(panel)
    assert np.array_equal(
        np.ascontiguousarray(built.values).view(np.int64),
        np.ascontiguousarray(whole).view(np.int64),
    )
    prices, t = panel.fields["adj_close"], built.index(AFTER)
    assert days[t - 1] == BEFORE
    one_session = built.values[t, names.index("return_1d")]
    assert np.array_equal(one_session, prices[t] / prices[t - 1] - 1.0)


def test_days_of_another_exchange_are_refused(exchange, calendar, tmp_path):
    days = calendar.between(date(2022, 12, 19), LAST)
    with pytest.raises(MarketDataError, match=rf"2022-12-27 \(Tuesday\).*{exchange.name}"):
        ingest(MemorySource(random_bars(days)), Lake(tmp_path), LAST, exchange, NOW)
    days = exchange.between(date(2022, 11, 21), date(2022, 11, 25))
    with pytest.raises(MarketDataError, match=r"2022-11-24 \(Thursday\).*XNYS"):
        ingest(MemorySource(random_bars(days)), Lake(tmp_path), LAST, calendar, NOW)
    assert (
        ingest(MemorySource(random_bars(days)), Lake(tmp_path), LAST, exchange, NOW).sessions == 5
    )


def test_an_early_close_completes_the_session_early(exchange, panel, tmp_path):
    day_before = exchange.previous(CHRISTMAS_EVE)
    for session, at in ((CHRISTMAS_EVE, EARLY), (day_before, USUAL)):
        close = datetime.combine(session, at[exchange.name], UTC)
        assert exchange.close(session) == close
        lake = Lake(tmp_path / str(session))
        for now, last in (
            (close - timedelta(seconds=1), exchange.previous(session)),
            (close, session),
        ):
            through = exchange.latest_complete(now)
            assert ingest(MemorySource(panel), lake, through, exchange, now).last == last


def test_age_and_holes_are_counted_in_the_exchanges_sessions(exchange, calendar, panel):
    stale = check_bars(panel.up_to(BEFORE), AFTER, exchange, panel.symbols)
    assert [(f.check, f.severity) for f in stale] == [("stale", "error")]
    assert f"{BEFORE}, 1 sessions ago" in stale[0].detail
    holes = np.isin(panel.sessions, np.array([CHRISTMAS_EVE, date(2022, 11, 24)], "datetime64[D]"))
    findings = check_bars(select(panel, ~holes), LAST, exchange, panel.symbols)
    assert [(f.check, f.session) for f in findings] == [
        ("missing session", CHRISTMAS_EVE),
        ("missing session", date(2022, 11, 24)),
    ]
    assert exchange.name in findings[0].detail


def test_instants_in_files_are_the_exchanges_days(exchange, tmp_path):
    days = exchange.between(date(2022, 5, 25), date(2022, 6, 15))
    zone = ZONES[exchange.name]
    # Midnight there: both zones are ahead in summer, so in UTC it is the day before.
    starts = [datetime.combine(day, time(), ZoneInfo(zone)).astimezone(UTC) for day in days]
    rows = "".join(f"{at.isoformat()},10,11,9,{10 + i / 8},500\n" for i, at in enumerate(starts))
    (tmp_path / "VOD.csv").write_text("date,open,high,low,close,volume\n" + rows)
    source = open_source("files", {"path": str(tmp_path), "timezone": zone})
    lake = Lake(tmp_path / "lake")
    report = ingest(source, lake, LAST, exchange, NOW)
    assert (report.sessions, report.problems) == (len(days), ())
    assert tuple(bar_panel(lake.view()).sessions.tolist()) == days


def test_an_unknown_exchange_is_named(tmp_path):
    with pytest.raises(UnknownCalendar, match=r"market\.calendar: 'XLONDON'.*such as XNYS"):
        Calendar.load("XLONDON", tmp_path)
    assert list(tmp_path.iterdir()) == []
