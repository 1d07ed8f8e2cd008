"""The source `files`: layouts of the common exports, and a folder in which anything is broken."""

from __future__ import annotations

import gzip
import io
import re
import zipfile
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest

from hydra_pipelines.market.bars import BarPanel, MarketDataError
from hydra_pipelines.market.ingest import bar_panel, ingest
from hydra_pipelines.market.lake import Lake, LakeMissing
from hydra_pipelines.market.quality import check_bars
from hydra_pipelines.market.sources import open_source
from hydra_pipelines.market.sources.files import FileSource

DAYS = [date(2022, 12, 20), date(2022, 12, 21), date(2022, 12, 22)]
NOW = datetime(2022, 12, 28, 22, 0, tzinfo=UTC)
PLAIN = (
    "Date,Open,High,Low,Close,Volume\n"
    "2022-12-20,10,12,9,11,1000\n"
    "2022-12-21,11,13,10,12,2000\n"
    "2022-12-22,12,14,11,13,3000\n"
)


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(folder: Path, **options) -> BarPanel:
    return FileSource(folder, **options).read()


LAYOUTS: dict[str, tuple[str, str]] = {
    "plain": ("AAA.csv", PLAIN),
    "lower case and spaces": (
        "AAA.csv",
        PLAIN.replace("Date,Open,High,Low,Close,Volume", "date, open ,high, low, close, vol"),
    ),
    "semicolons and decimal commas": (
        "AAA.csv",
        PLAIN.replace(",", ";").replace("12;9;11;1000", "12,0;9;11,0;1000"),
    ),
    "tabs": ("AAA.txt", PLAIN.replace(",", "\t")),
    "bars of an instant": (
        "AAA.csv",
        PLAIN.replace("-20,", "-20 00:00:00-05:00,").replace("-21,", "-22T02:00:00Z,"),
    ),
    "yfinance": (
        "AAA.csv",
        "Date,Open,High,Low,Close,Adj Close,Volume\n"
        "2022-12-20,10,12,9,11,11,1000\n2022-12-21,11,13,10,12,12,2000\n"
        "2022-12-22,12,14,11,13,13,3000\n",
    ),
    "yfinance with actions": (
        "AAA.csv",
        "Date,Open,High,Low,Close,Volume,Dividends,Stock Splits\n"
        "2022-12-20 00:00:00-05:00,10,12,9,11,1000,0.0,0.0\n"
        "2022-12-21 00:00:00-05:00,11,13,10,12,2000,0.5,4.0\n"
        "2022-12-22 00:00:00-05:00,12,14,11,13,3000,0.0,0.0\n",
    ),
    "yfinance download": (
        "prices.csv",
        "Price,Close,High,Low,Open,Volume\nTicker,AAA,AAA,AAA,AAA,AAA\nDate,,,,,\n"
        "2022-12-20,11,12,9,10,1000\n2022-12-21,12,13,10,11,2000\n2022-12-22,13,14,11,12,3000\n",
    ),
    "Stooq": (
        "aaa.us.txt",
        "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>\n"
        "AAA.US,D,20221220,000000,10,12,9,11,1000,0\n"
        "AAA.US,D,20221221,000000,11,13,10,12,2000,0\n"
        "AAA.US,D,20221222,000000,12,14,11,13,3000,0\n",
    ),
    "Alpha Vantage": (
        "AAA.csv",
        "timestamp,open,high,low,close,adjusted_close,volume,dividend_amount,split_coefficient\n"
        "2022-12-22,12,14,11,13,13,3000,0.0000,1.0\n"
        "2022-12-21,11,13,10,12,12,2000,0.0000,1.0\n"
        "2022-12-20,10,12,9,11,11,1000,0.0000,1.0\n",
    ),
    "numbered columns": (
        "AAA.csv",
        PLAIN.replace(
            "Date,Open,High,Low,Close,Volume",
            "date,1. open,2. high,3. low,4. close,5. volume",
        ),
    ),
}


def check(panel: BarPanel) -> None:
    assert panel.symbols == ("AAA",)
    assert panel.sessions.tolist() == DAYS
    expected = {
        "open": [10, 11, 12],
        "high": [12, 13, 14],
        "low": [9, 10, 11],
        "close": [11, 12, 13],
        "volume": [1000, 2000, 3000],
        "adj_close": [11, 12, 13],
    }
    for field, values in expected.items():
        assert panel.fields[field][:, 0].tolist() == values, field


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_common_exports_are_recognised(layout, tmp_path):
    name, content = LAYOUTS[layout]
    write(tmp_path, name, content)
    source = FileSource(tmp_path)
    check(source.read())
    assert source.problems == ()


def zipped(members: dict[str, str | bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def test_lean_zips_have_scaled_prices_and_no_header(tmp_path):
    lines = [
        f"{day:%Y%m%d} 00:00,{o * 10000},{h * 10000},{low * 10000},{c * 10000},{v}"
        for day, o, h, low, c, v in zip(
            DAYS, (10, 11, 12), (12, 13, 14), (9, 10, 11), (11, 12, 13), (1000, 2000, 3000),
            strict=True,
        )
    ]  # fmt: skip
    write(tmp_path, "aaa.zip", zipped({"aaa.csv": "\n".join(lines)}))
    check(read(tmp_path))


def test_packed_files_and_parquet_are_read(tmp_path):
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    write(tmp_path / "gz", "AAA.csv.gz", gzip.compress(PLAIN.encode()))
    check(read(tmp_path / "gz"))
    table = pa.csv.read_csv(io.BytesIO(PLAIN.encode()))
    (tmp_path / "pq").mkdir()
    pq.write_table(table, tmp_path / "pq" / "AAA.parquet")
    check(read(tmp_path / "pq"))
    instants = table.set_column(
        0, "Date", pa.array([datetime(d.year, d.month, d.day, 21, tzinfo=UTC) for d in DAYS])
    )
    pq.write_table(instants, tmp_path / "pq" / "AAA.parquet")
    check(read(tmp_path / "pq"))


def test_all_symbols_may_be_in_one_file_or_in_folders(tmp_path):
    rows = [line for line in PLAIN.splitlines()[1:]]
    long = "Ticker,Date,Open,High,Low,Close,Volume\n" + "".join(
        f"{symbol},{row}\n" for symbol in ("BBB", "AAA") for row in rows
    )
    write(tmp_path, "one/all.csv", long)
    write(tmp_path, "many/nyse/BBB.csv", PLAIN)
    write(tmp_path, "many/nasdaq/aaa.csv", PLAIN)
    write(tmp_path, "many/notes.md", "nothing")
    one, many = read(tmp_path / "one"), read(tmp_path / "many")
    assert one.symbols == many.symbols == ("AAA", "BBB")
    globbed = read(tmp_path / "many" / "n*" / "*.csv")
    for field, values in one.fields.items():
        assert np.array_equal(values, many.fields[field])
        assert np.array_equal(values, globbed.fields[field])


def test_a_download_of_many_tickers_is_taken_apart(tmp_path):
    write(
        tmp_path,
        "x.csv",
        "Price,Close,Close,Volume,Volume\nTicker,AAA,BBB,AAA,BBB\nDate,,,,\n"
        "2022-12-20,11,21,5,6\n2022-12-21,12,,7,\n",
    )
    panel = read(tmp_path)
    assert panel.symbols == ("AAA", "BBB")
    assert panel.fields["close"][0].tolist() == [11, 21]
    assert panel.fields["close"][1, 0] == 12 and np.isnan(panel.fields["close"][1, 1])


def test_other_names_scales_dates_and_renames_are_settings(tmp_path):
    write(tmp_path, "FB.csv", "when,px,traded\n20.12.2022,1100,5\n")
    write(tmp_path, "META.csv", "when,px,traded\n21.12.2022,1200,6\n")
    panel = read(
        tmp_path,
        columns={"date": "when", "close": "px", "volume": "traded"},
        date_format="%d.%m.%Y",
        price_scale=0.01,
        renames={"FB": "META"},
    )
    assert panel.symbols == ("META",)
    assert panel.fields["close"][:, 0].tolist() == [11, 12]
    assert panel.fields["volume"][:, 0].tolist() == [5, 6]
    assert panel.fields["adj_close"][:, 0].tolist() == [11, 12]


def test_raw_closes_with_actions_are_adjusted_going_forward(tmp_path, calendar):
    write(
        tmp_path,
        "AAA.csv",
        "date,close,split_ratio,dividend\n2022-12-20,100,,\n2022-12-21,26,4,\n2022-12-22,25,,1\n",
    )
    panel = read(tmp_path)
    assert panel.fields["close"][:, 0].tolist() == [100, 26, 25]
    assert panel.fields["adj_close"][:, 0].tolist() == [100, 104, 104]
    assert check_bars(panel, DAYS[1], calendar, ("AAA",)) == []


def test_bounds_are_inclusive_and_closes_may_be_adjusted_already(tmp_path):
    write(tmp_path, "AAA.csv", PLAIN)
    panel = FileSource(tmp_path, adjusted=True).read(DAYS[1], DAYS[1])
    assert panel.sessions.tolist() == [DAYS[1]]
    assert panel.fields["adj_close"].tolist() == [[12.0]]


def line(number: int, text: str) -> Callable[[], str]:
    """PLAIN with one line replaced."""

    def make() -> str:
        lines = PLAIN.splitlines()
        lines[number - 1] = text
        return "\n".join(lines) + "\n"

    return make


def bomb(name: str) -> Callable[[], bytes]:
    def make() -> bytes:
        content = PLAIN.encode() + b"\n" * (2 << 20)
        if name == "gz":
            return gzip.compress(content)
        if name == "parts":
            half = PLAIN.encode() + b"\n" * (600 << 10)
            return zipped({"a.csv": half, "b.csv": half.replace(b"2022", b"2021")})
        return zipped({"a.csv": content}) if name == "zip" else content

    return make


def parquet(columns: dict[str, list]) -> Callable[[], bytes]:
    def make() -> bytes:
        import pyarrow as pa
        import pyarrow.parquet as pq

        out = io.BytesIO()
        pq.write_table(pa.table(columns), out)
        return out.getvalue()

    return make


BAD_NUMBERS = (
    "abc", "1.2.3", "12USD", "$12", "1,5", "1e", "--3", "0x1F", "1_000", "inf", "-inf", "#REF!",
    "#N/A!", "twelve", "12%", "(12)", "1 2", "True", "é", "１x",
)  # fmt: skip
BAD_DATES = (
    "", "yesterday", "12/21/2022", "21.12.2022", "2022-13-01", "2022-02-30", "2022-12", "20221",
    "1671580800", "2022/12/21", "2022-12-21 25:00:00", "0000-01-01", "22-12-21", "Dec 21 2022",
    "2022-12-21T10:00:00+99:00", "nan",
)  # fmt: skip
HEADERS = (
    "Open,High,Low,Close,Volume,X", "Date,Open,High,Low,Price,Volume", "a,b,c,d,e,f",
    "Date,Date2,O2,X,Y,Z", "Date,Close,Close,Low,Open,Volume", "Date,Close,Last,Low,Open,Volume",
    "1,2,3,4,5,6", ",,,,,", "Date,Open,High,Low,,Volume", "Symbol,Open,High,Low,Close,Volume",
    "Datum,Open,High,Low,Close,Volume",
)  # fmt: skip
BROKEN: dict[str, tuple[str, Callable[[], str | bytes], str]] = {
    **{
        f"number {text!r}": (
            "BAD.csv",
            line(3, f'2022-12-21,11,13,10,"{text}",2000'),
            r"line 3: Close is",
        )
        for text in BAD_NUMBERS
    },
    **{
        f"volume {text!r}": (
            "BAD.csv",
            line(4, f"2022-12-22,12,14,11,13,{text}"),
            r"line 4: Volume is",
        )
        for text in ("many", "1k", "3.0.0", "Infinity")
    },
    **{
        f"date {text!r}": ("BAD.csv", line(3, f"{text},11,13,10,12,2000"), "line 3: .* is no date")
        for text in BAD_DATES
    },
    **{f"header {text!r}": ("BAD.csv", line(1, text), "line 1:") for text in HEADERS},
    "empty": ("BAD.csv", lambda: "", "is empty"),
    "only spaces": ("BAD.csv", lambda: " \n\n  \n", "is empty"),
    "only a header": ("BAD.csv", lambda: PLAIN.splitlines()[0] + "\n", "no rows"),
    "no header": ("BAD.csv", lambda: PLAIN.split("\n", 1)[1], "line 1: no column for date"),
    "one column": ("BAD.csv", lambda: "Date\n2022-12-20\n", "one column only"),
    "prose": ("BAD.csv", lambda: "Please find attached the prices.\n", "one column only"),
    "a web page": ("BAD.csv", lambda: "<html><body>Error 404</body></html>\n", "one column only"),
    "JSON": ("BAD.csv", lambda: '{"error": "limit", "code": 429}\n', "no rows"),
    "short row": ("BAD.csv", line(3, "2022-12-21,11,13"), "line 3: 3 cells where 6"),
    "long row": ("BAD.csv", line(3, "2022-12-21,11,13,10,12,2000,7"), "line 3: 7 cells where 6"),
    "cut off": ("BAD.csv", lambda: PLAIN[:-9], "line 4: .* cells"),
    "two dialects": ("BAD.csv", line(3, "2022-12-21;11;13;10;12;2000"), "line 3: 1 cells"),
    "two tables": ("BAD.csv", lambda: PLAIN + PLAIN, "line 5: 'Date' is no date"),
    "header again with a row": (
        "BAD.csv", line(3, "Date,Open,High,Low,Close,Volume"), "line 3: 'Date' is no date"),
    "trailing note": ("BAD.csv", lambda: PLAIN + "Source: somewhere\n", "line 5: 1 cells"),
    "unclosed quote": ("BAD.csv", line(3, '2022-12-21,"11,13,10,12,2000'), "line 3"),
    "latin text": (
        "BAD.csv", lambda: PLAIN.replace("Date", "Dät").encode("latin-1"), "line 1: is not UTF-8"),
    "latin row": (
        "BAD.csv", lambda: PLAIN.replace("11,13", "1é,13").encode("latin-1"), "line 3: is not UTF"),
    "zero bytes": ("BAD.csv", lambda: PLAIN.replace("11,13", "\0\0,13"), "line 3: binary"),
    "random bytes": (
        "BAD.csv", lambda: np.random.default_rng(0).bytes(2000), "is not UTF|binary|line 1"),
    "half of UTF-16": ("BAD.csv", lambda: PLAIN.encode("utf-16")[:-1], "is not UTF-1"),
    "duplicate that differs": (
        "BAD.csv", line(4, "2022-12-21,11,13,10,12.5,2000"), "line 4: BAD on 2022-12-21 again"),
    "contradicts another file": (
        "good/again/GOOD.csv", line(4, "2022-12-22,12,14,11,13.5,3000"), "an earlier file"),
    "no zip": ("BAD.zip", lambda: b"PK\x03\x04 nothing", "no zip archive"),
    "text as zip": ("BAD.zip", lambda: PLAIN, "no zip archive"),
    "empty zip": ("BAD.zip", lambda: zipped({}), "empty archive"),
    "zip in a zip": ("BAD.zip", lambda: zipped({"a.zip": zipped({"b.csv": PLAIN})}), "a.zip"),
    "program in a zip": ("BAD.zip", lambda: zipped({"a.exe": b"MZ"}), "a.exe"),
    "damaged zip": (
        "BAD.zip", lambda: zipped({"a.csv": PLAIN}).replace(b"\x01\x00", b"\xff\xff", 1)[:-30],
        "no zip archive"),
    "zip with a bad file": (
        "BAD.zip", lambda: zipped({"a.csv": PLAIN, "b.csv": "Date,Close\nx,1\n"}), "line 2: 'x'"),
    "zip bomb": ("BAD.zip", bomb("zip"), "more than 1 MB"),
    "zip bomb of parts": ("BAD.zip", bomb("parts"), "more than 1 MB"),
    "gzip bomb": ("BAD.csv.gz", bomb("gz"), "more than 1 MB"),
    "too large": ("BAD.csv", bomb("csv"), "more than 1 MB"),
    "no gzip": ("BAD.csv.gz", lambda: PLAIN, "no whole gzip"),
    "half a gzip": ("BAD.csv.gz", lambda: gzip.compress(PLAIN.encode())[:-12], "no whole gzip"),
    "no Parquet": ("BAD.parquet", lambda: PLAIN, "no Parquet"),
    "half a Parquet": (
        "BAD.parquet", lambda: parquet({"date": DAYS, "close": [1.0, 2.0, 3.0]})()[:200],
        "no Parquet"),
    "empty Parquet": (
        "BAD.parquet", parquet({"date": [], "close": []}), "no rows"),
    "Parquet without dates": (
        "BAD.parquet", parquet({"close": [1.0, 2.0]}), "no column for date"),
    "Parquet with text": (
        "BAD.parquet", parquet({"date": DAYS, "close": ["1", "x", "3"]}), "line 2: close"),
    "Parquet with no date": (
        "BAD.parquet", parquet({"date": [*DAYS[:2], None], "close": [1.0, 2.0, 3.0]}), "line 3"),
    "Parquet with infinity": (
        "BAD.parquet", parquet({"date": DAYS, "close": [1.0, float("inf"), 3.0]}), "infinite"),
    "Parquet with lists": (
        "BAD.parquet", parquet({"date": DAYS, "close": [[1.0], [2.0], [3.0]]}), "no number"),
    "no symbol": (
        "BAD.csv",
        lambda: "Symbol,Date,Close\nAAA,2022-12-20,1\n ,2022-12-21,2\n",
        "line 3: no symbol",
    ),
}  # fmt: skip


def test_there_are_a_hundred_kinds():
    assert len(BROKEN) + len(ODD) >= 100


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_named_and_the_others_load(kind, tmp_path, calendar):
    name, make, expected = BROKEN[kind]
    write(tmp_path, "good/GOOD.csv", PLAIN)
    write(tmp_path, "good/zero.csv", "")
    write(tmp_path, name, make())
    source = FileSource(tmp_path, max_mb=1)
    lake = Lake(tmp_path / "lake")
    report = ingest(source, lake, DAYS[-1], calendar, NOW)
    found = [p for p in report.problems if p.where == name]
    assert len(found) == 1
    assert found[0].detail.startswith("left out: ")
    assert re.search(expected, found[0].detail), found[0].detail
    held = bar_panel(lake.view())
    assert held.symbols == ("GOOD",) and held.sessions.tolist() == DAYS
    assert held.fields["close"][:, 0].tolist() == [11, 12, 13]


ODD: dict[str, tuple[Callable[[], str], str, str | None]] = {
    "negative price": (line(4, "2022-12-22,12,14,11,-13,3000"), "line 4: close is -13", "price"),
    "zero price": (line(4, "2022-12-22,0,14,11,13,3000"), "line 4: open is 0", "price"),
    "negative volume": (line(4, "2022-12-22,12,14,11,13,-5"), "line 4: volume is -5", "volume"),
    "high below low": (line(4, "2022-12-22,12,10,11,13,3000"), "line 4: high 10", "range"),
    "same row twice": (lambda: PLAIN + PLAIN.splitlines()[3], "line 5: ODD on 2022-12-22", None),
    "future": (lambda: PLAIN + "2099-01-05,1,1,1,1,1\n", "lies in the future", None),
    "a Saturday": (lambda: PLAIN + "2022-12-17,1,1,1,1,1\n", "(Saturday) is no session", None),
    "a holiday": (lambda: PLAIN + "2022-11-24,1,1,1,1,1\n", "(Thursday) is no session", None),
    "close above the high": (line(4, "2022-12-22,12,14,11,15,3000"), "", "range"),
    "unadjusted split": (line(4, "2022-12-22,3,3.5,2.75,3.25,3000"), "", "return"),
    "a hole": (lambda: "".join(PLAIN.splitlines(keepends=True)[:3]), "", "coverage"),
}


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_row_is_a_finding(kind, tmp_path, calendar):
    make, expected, check = ODD[kind]
    write(tmp_path, "ODD.csv", make())
    write(tmp_path, "GOOD.csv", PLAIN)
    lake = Lake(tmp_path / "lake")
    report = ingest(FileSource(tmp_path), lake, DAYS[-1], calendar, NOW)
    said = [f"{p.where} {p.detail}" for p in report.problems]
    assert bool(said) == bool(expected)
    assert all("ODD.csv" in text and expected in text for text in said)
    held = bar_panel(lake.view())
    assert held.symbols == ("GOOD", "ODD") and held.sessions.tolist() == DAYS
    found = check_bars(held, DAYS[-1], calendar, held.symbols)
    assert (check in {f.check for f in found}) if check else not found


def test_a_folder_without_a_usable_file_leaves_the_lake_alone(tmp_path, calendar):
    write(tmp_path, "in/BAD.csv", "Date\n")
    lake = Lake(tmp_path / "lake")
    with pytest.raises(MarketDataError, match=r"BAD\.csv"):
        ingest(FileSource(tmp_path / "in"), lake, DAYS[-1], calendar, NOW)
    with pytest.raises(LakeMissing):
        lake.view()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"path": "nowhere"}, "nowhere"),
        ({"path": ".", "columns": {"price": "x"}}, "price is no name of ours"),
        ({"path": ".", "timezone": "Mars/Base"}, "Mars/Base"),
        ({"path": ".", "price_scale": 0}, "price_scale"),
        ({"folder": "."}, "folder"),
    ],
)
def test_wrong_options_are_named(options, named, tmp_path):
    with pytest.raises(MarketDataError, match=named):
        open_source(
            "files",
            {**options, "path": str(tmp_path / options.get("path", "."))}
            if ("path" in options)
            else options,
        ).read()
