"""Sources behind a connection: the broker's history over the wire, and yfinance's replies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hydra_pipelines.desk import Desk
from hydra_pipelines.execution.broker.gateway import BrokerGateway, Endpoint
from hydra_pipelines.execution.risk.gate import RiskGate
from hydra_pipelines.execution.risk.limits import RiskLimits
from hydra_pipelines.market.bars import MarketDataError
from hydra_pipelines.market.ingest import bar_panel, ingest
from hydra_pipelines.market.lake import Lake
from hydra_pipelines.market.sources import open_source
from hydra_pipelines.market.sources.ibkr import DailyBar, IbkrSource, NoHistory, Pace
from hydra_pipelines.market.sources.yfinance import YfinanceSource
from hydra_pipelines.settings import RiskSettings, Settings, SettingsError
from hydra_pipelines_tests.paper_gateway.served import (
    ACCOUNT,
    SYMBOLS,
    Served,
    connect,
    make_panel,
    make_venue,
)

NOW = datetime(2022, 12, 28, 22, 0, tzinfo=UTC)


class WireHistory:
    """The broker's history as another client library asks for it; dies at request `fatal`."""

    def __init__(self, ib, asked: list[tuple[str, int, bool]], fatal: int = 0):
        self.ib, self.asked, self.fatal = ib, asked, fatal

    def historical_daily(self, symbol: str, *, days: int, adjusted: bool) -> Sequence[DailyBar]:
        from ib_insync import Stock
        from ib_insync.wrapper import RequestError

        self.asked.append((symbol, days, adjusted))
        if len(self.asked) == self.fatal:
            raise ConnectionError("the socket is closed")
        duration = f"{days} D" if days <= 365 else f"{-(-days // 366)} Y"
        kind = "ADJUSTED_LAST" if adjusted else "TRADES"
        try:
            bars = self.ib.reqHistoricalData(
                Stock(symbol, "SMART", "USD"), "", duration, "1 day", kind, True
            )
        except RequestError as error:
            raise NoHistory(str(error)) from error
        return [DailyBar(b.date, b.open, b.high, b.low, b.close, b.volume) for b in bars]


@pytest.fixture
def served(calendar, tmp_path) -> Iterator[Served]:
    server = Served(lambda: make_venue(calendar, tmp_path / "venue.sqlite"))
    yield server
    server.stop()


def source_of(
    served: Served,
    folder: Path,
    asked: list,
    *,
    fatal: int = 0,
    symbols: Sequence[str] = SYMBOLS,
    now: date | None = None,
) -> IbkrSource:
    @contextmanager
    def connection():
        ib = connect(served.endpoint)
        try:
            yield WireHistory(ib, asked, fatal)
        finally:
            ib.disconnect()

    return IbkrSource(
        symbols,
        connection,
        folder,
        pace=Pace(1000, 1.0),
        today=lambda: now or served.venue.now.date(),
    )


def test_the_brokers_bars_arrive_whole(served, tmp_path, calendar):
    asked: list = []
    source = source_of(served, tmp_path / "kept", asked)
    panel, market = source.read(), make_panel(calendar)
    assert panel.symbols == SYMBOLS and len(asked) == 2 * len(SYMBOLS)
    rows = np.searchsorted(market.sessions, panel.sessions)
    assert len(rows) >= 25 and panel.sessions[-1].item() == served.venue.now.date()
    for field in ("open", "high", "low", "close"):
        assert np.allclose(panel.fields[field], market.fields[field][rows], atol=1e-4), field
    assert np.allclose(panel.fields["adj_close"], panel.fields["close"])


def test_a_connection_that_breaks_off_is_gone_on_with(served, tmp_path):
    asked: list = []
    with pytest.raises(MarketDataError, match=r"after 2 of 5 symbols: the socket is closed"):
        source_of(served, tmp_path / "kept", asked, fatal=6).read()
    again: list = []
    panel = source_of(served, tmp_path / "kept", again).read()
    assert panel.symbols == SYMBOLS
    assert {symbol for symbol, _, _ in again} == set(SYMBOLS[2:])
    whole = source_of(served, tmp_path / "other", []).read()
    for field, values in whole.fields.items():
        assert np.array_equal(values, panel.fields[field], equal_nan=True)


def test_a_day_asks_for_days_and_the_same_day_for_nothing(served, tmp_path, calendar):
    first = source_of(served, tmp_path / "kept", []).read()
    asked: list = []
    source_of(served, tmp_path / "kept", asked).read()
    assert asked == []
    last = first.sessions[-1].item()
    served.advance(calendar.close(calendar.next(last)) + timedelta(minutes=5))
    panel = source_of(served, tmp_path / "kept", asked).read()
    assert panel.sessions[-1].item() == calendar.next(last)
    assert {days for _, days, _ in asked} <= set(range(35, 42))
    assert np.array_equal(panel.fields["close"][:-1], first.fields["close"])
    lake = Lake(tmp_path / "lake")
    source = source_of(served, tmp_path / "kept", [])
    ingest(source, lake, last, calendar, NOW)
    assert ingest(source, lake, calendar.next(last), calendar, NOW).appended == 1
    assert bar_panel(lake.view()).symbols == SYMBOLS


def test_an_unknown_symbol_leaves_the_others(served, tmp_path):
    source = source_of(served, tmp_path / "kept", [], symbols=("ALFA", "NONE"))
    assert source.read().symbols == ("ALFA",)
    assert [p.where for p in source.problems] == ["NONE"]
    with pytest.raises(MarketDataError, match="NONE"):
        source_of(served, tmp_path / "kept", [], symbols=("NONE",)).read()


def test_a_damaged_file_is_named(served, tmp_path):
    source_of(served, tmp_path / "kept", []).read()
    (tmp_path / "kept" / "ALFA.npz").write_bytes(b"PK nothing")
    with pytest.raises(MarketDataError, match=r"ALFA\.npz.*remove it"):
        source_of(served, tmp_path / "kept", []).read()


def test_the_desks_own_gateway_gives_the_same(served, tmp_path):
    endpoint = Endpoint(
        host=served.endpoint.host,
        port=served.endpoint.port,
        client_id=17,
        account=ACCOUNT,
        connect_timeout_s=4,
        connect_attempts=1,
        request_timeout_s=10,
    )
    limits = RiskLimits(**{**RiskSettings().model_dump(), "restricted": frozenset()})
    source = IbkrSource(
        (*SYMBOLS, "NONE"),
        lambda: BrokerGateway(endpoint, RiskGate(limits)),
        tmp_path / "kept",
        pace=Pace(1000, 1.0),
        today=lambda: served.venue.now.date(),
    )
    panel, other = source.read(), source_of(served, tmp_path / "other", []).read()
    assert panel.symbols == SYMBOLS and [p.where for p in source.problems] == ["NONE"]
    assert panel.sessions.tolist() == other.sessions.tolist()
    for field, values in panel.fields.items():
        assert np.array_equal(values, other.fields[field], equal_nan=True), field


def test_the_embedded_venue_can_not_be_its_own_source(tmp_path):
    settings = Settings(root=tmp_path, market={"source": "ibkr", "options": {"symbols": ["ALFA"]}})
    with pytest.raises(SettingsError, match=r"broker\.venue: ibkr"):
        _ = Desk(settings).source
    there = Settings(**{**settings.model_dump(), "broker": {"venue": "ibkr"}})
    assert Desk(there).source.name == "ibkr"


def test_the_pace_is_kept():
    time, slept = [0.0], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        time[0] += seconds

    pace = Pace(3, 10.0, clock=lambda: time[0], sleep=sleep)
    sent = []
    for _ in range(8):
        pace.wait()
        sent.append(time[0])
        time[0] += 1.0
    assert sent == [0, 1, 2, 10, 11, 12, 20, 21]
    for at in sent:
        assert sum(at <= other < at + 10.0 for other in sent) <= 3


def reply(*symbols: str, days: int = 4) -> pd.DataFrame:
    """As yfinance 0.2 and 1.0 give it: columns (Price, Ticker), dates as the index."""
    index = pd.DatetimeIndex(pd.date_range("2022-12-20", periods=days, name="Date"))
    columns = {}
    for k, symbol in enumerate(symbols):
        close = np.arange(days) + 10.0 * (k + 1)
        for name, values in (
            ("Adj Close", close * 0.9), ("Close", close), ("Dividends", close * 0),
            ("High", close + 1), ("Low", close - 1), ("Open", close), ("Stock Splits", close * 0),
            ("Volume", close * 100),
        ):  # fmt: skip
            columns[(name, symbol)] = values
    frame = pd.DataFrame(columns, index=index)
    frame.columns = pd.MultiIndex.from_tuples(frame.columns, names=["Price", "Ticker"])
    return frame


def test_a_download_becomes_a_panel():
    asked = []

    def download(symbols, **options):
        asked.append((symbols, options["start"], options["end"], options["auto_adjust"]))
        frame = reply("AAA", "BBB")
        frame[("Close", "CCC")] = np.nan
        return frame[::-1]

    source = YfinanceSource(["AAA", "BBB", "CCC"], download=download)
    panel = source.read(date(2022, 12, 20), date(2022, 12, 23))
    assert asked == [(["AAA", "BBB", "CCC"], "2022-12-20", "2022-12-24", False)]
    assert panel.symbols == ("AAA", "BBB") and [p.where for p in source.problems] == ["CCC"]
    assert [str(day) for day in panel.sessions] == [f"2022-12-{d}" for d in range(20, 24)]
    assert panel.fields["close"][:, 1].tolist() == [20, 21, 22, 23]
    assert panel.fields["adj_close"][0].tolist() == [9, 18]
    assert panel.fields["volume"][3, 0] == 1300


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        (lambda: pd.DataFrame(), "gave no bars of AAA"),
        (lambda: None, "gave no bars of AAA"),
        (lambda: pd.DataFrame({"Close": [1.0]}, index=[0]), "unexpected columns"),
        (lambda: reply("ZZZ"), "unexpected columns"),
        (lambda: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_replies_that_make_no_sense_are_errors(answer, named):
    with pytest.raises(MarketDataError, match=named):
        YfinanceSource(["AAA"], download=lambda *_, **__: answer()).read()


def test_wrong_options_of_services_are_named(tmp_path):
    for options in ({"symbols": "AAA"}, {"symbols": []}):
        with pytest.raises(MarketDataError, match="list of symbols"):
            open_source("yfinance", options)
        with pytest.raises(MarketDataError, match="list of symbols"):
            IbkrSource(options["symbols"], lambda: None, tmp_path)
    with pytest.raises(MarketDataError, match="'soon'"):
        open_source("yfinance", {"symbols": ["AAA"], "start": "soon"})
