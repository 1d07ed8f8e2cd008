from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from hydra_pipelines.market.bars import BarPanel, MarketDataError
from hydra_pipelines.market.quality import check_age, check_bars
from hydra_pipelines.market.sources import open_source
from hydra_pipelines.market.universe import members
from hydra_pipelines_tests.market.builders import random_bars, select, take_symbols, with_value

SYMBOLS = ("AAA", "BBB", "CCC")


@pytest.fixture(scope="module")
def days(request):
    return request.getfixturevalue("calendar").between(date(2022, 11, 1), date(2022, 11, 30))


@pytest.fixture(scope="module")
def panel(days) -> BarPanel:
    return random_bars(days)


def found(panel, session, calendar, universe=SYMBOLS):
    return [
        (f.check, f.severity, f.symbol, f.session)
        for f in check_bars(panel, session, calendar, universe)
    ]


def test_clean_bars_have_no_findings(panel, days, calendar):
    assert check_bars(panel, days[-1], calendar, SYMBOLS) == []


def test_the_sample_has_four_days_that_look_like_splits(calendar):
    panel = open_source("sample").read()
    findings = check_bars(panel, date(2022, 12, 28), calendar, panel.symbols)
    assert [(f.symbol, str(f.session), f.severity) for f in findings] == [
        ("RRC", "1990-04-10", "warning"),
        ("RRC", "1998-10-19", "warning"),
        ("AAPL", "2000-09-29", "warning"),
        ("AMD", "2016-04-22", "warning"),
    ]
    on_the_day = check_bars(panel, date(2016, 4, 22), calendar, panel.symbols)
    assert on_the_day[-1].severity == "error" and "+52.3%" in on_the_day[-1].detail


@pytest.mark.parametrize(
    ("field", "value", "check"),
    [
        ("close", 0.0, "price"),
        ("close", -1.0, "price"),
        ("adj_close", np.inf, "price"),
        ("open", 0.0, "price"),
        ("high", 1.0, "range"),
        ("open", 1e4, "range"),
        ("close", 1.0, "range"),
        ("adj_close", 1e3, "return"),
    ],
)
def test_bad_numbers_block_the_session_they_are_of(panel, days, calendar, field, value, check):
    bad = with_value(panel, field, len(days) - 1, 1, value)
    assert (check, "error", "BBB", days[-1]) in found(bad, days[-1], calendar)
    earlier = with_value(panel, field, 5, 1, value)
    assert (check, "warning", "BBB", days[5]) in found(earlier, days[-1], calendar)
    assert not any(f[1] == "error" for f in found(earlier, days[-1], calendar))


@pytest.mark.parametrize(("field", "value"), [("split_ratio", 4.0), ("cash_dividend", 20.0)])
def test_a_corporate_action_explains_a_return(panel, days, calendar, field, value):
    action = np.zeros(panel.fields["close"].shape)
    action[-1, 1] = value
    jumped = with_value(panel, "adj_close", len(days) - 1, 1, 1e3)
    explained = BarPanel(panel.sessions, panel.symbols, {**jumped.fields, field: action})
    assert found(explained, days[-1], calendar) == []


def test_no_volume_is_a_warning(panel, days, calendar):
    bad = with_value(panel, "volume", len(days) - 1, 0, 0.0)
    assert found(bad, days[-1], calendar) == [("volume", "warning", "AAA", days[-1])]


def test_bars_that_end_earlier_are_stale(panel, days, calendar):
    findings = check_bars(panel.up_to(days[-3]), days[-1], calendar, SYMBOLS)
    assert [(f.check, f.severity) for f in findings] == [("stale", "error")]
    assert f"{days[-3]}, 2 sessions ago" in findings[0].detail
    assert found(panel.up_to(date(2000, 1, 3)), days[-1], calendar) == [
        ("stale", "error", None, days[-1])
    ]


def test_later_bars_are_not_looked_at(panel, days, calendar):
    bad = with_value(panel, "close", len(days) - 1, 1, -5.0)
    assert found(bad, days[-2], calendar) == []


def test_missing_sessions_are_named(panel, days, calendar):
    gap = select(panel, ~np.isin(np.arange(len(days)), [4, 7]))
    assert found(gap, days[-1], calendar) == [
        ("missing session", "warning", None, days[4]),
        ("missing session", "warning", None, days[7]),
    ]


def test_coverage_counts_the_universe(panel, days, calendar):
    partial = with_value(panel, "close", len(days) - 1, 1, np.nan)
    assert found(partial, days[-1], calendar) == [
        ("coverage", "error", None, days[-1]),
        ("coverage", "warning", "BBB", days[-1]),
    ]
    wide = random_bars(days, [f"S{i:02}" for i in range(20)])
    one_missing = with_value(wide, "close", len(days) - 1, 3, np.nan)
    assert found(one_missing, days[-1], calendar, wide.symbols) == [
        ("coverage", "warning", "S03", days[-1])
    ]
    absent = take_symbols(wide, wide.symbols[:10])
    assert ("coverage", "error", None, days[-1]) in found(absent, days[-1], calendar, wide.symbols)
    assert ("coverage", "error", None, days[-1]) in found(panel, days[-1], calendar, ())


def test_age_is_counted_in_sessions(days, calendar):
    def check(rows, last):
        return check_age("prices", rows, last, days[-1], calendar, min_rows=1000, max_age=3)

    assert check(1000, days[-4]) == []
    assert [f.check for f in check(1000, days[-5])] == ["age"]
    assert [f.check for f in check(999, days[-1])] == ["rows"]
    assert [f.check for f in check(5000, None)] == ["rows"]


def test_members_have_a_price_on_the_day(panel, days):
    bad = with_value(with_value(panel, "close", 5, 0, np.nan), "close", 6, 1, -1.0)
    assert members(bad, days[4]) == SYMBOLS
    assert members(bad, days[5]) == ("BBB", "CCC")
    assert members(bad, days[6]) == ("AAA", "CCC")
    with pytest.raises(MarketDataError, match="2022-11-05"):
        members(panel, date(2022, 11, 5))
