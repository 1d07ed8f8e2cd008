"""What the columns of the common exports are called, and how their cells read.

Here belong names, dates and numbers of one table: yfinance, Stooq, Alpha Vantage, Lean, and plain
OHLCV under the usual names. Files and folders are `tables` and `files`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

import numpy as np

from hydra_pipelines.market.bars import FIELDS
from hydra_pipelines.market.sources.tables import BadFile, Table

_NAMES = {
    "date": ("date", "datetime", "timestamp", "time", "session", "day", "tradedate"),
    "symbol": ("symbol", "ticker", "instrument", "asset"),
    "open": ("open", "o", "openprice"),
    "high": ("high", "h", "highprice", "max"),
    "low": ("low", "l", "lowprice", "min"),
    "close": ("close", "c", "last", "closeprice"),
    "volume": ("volume", "v", "vol", "shares"),
    "adj_close": ("adjclose", "adjustedclose", "closeadj", "adjustedcloseprice"),
    "split_ratio": ("stocksplits", "splitcoefficient", "splitratio", "split", "splitfactor"),
    "cash_dividend": ("dividends", "dividendamount", "dividend", "cashdividend", "divcash"),
}
_KNOWN = {name: field for field, names in _NAMES.items() for name in names}
_UNKNOWN = ("", "null", "none", "nan", "na", "n/a", "-", "n/d")
_DATE = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)(?:$|[T ])")


@dataclass(frozen=True)
class Columns:
    """Rows of a table, by our names: days (R,), symbols (R,) or None, fields float64 (R,)."""

    days: list[date]
    symbols: list[str] | None
    fields: dict[str, np.ndarray]


def read_columns(
    table: Table, mapping: Mapping[str, str], zone: ZoneInfo, date_format: str | None
) -> Columns:
    """The table's bars. mapping: our name -> the column's, for what is not recognised.

    Raises BadFile that names the line and the cell.
    """
    place = _places(list(table.columns), mapping)
    if "date" not in place:
        raise BadFile(_lacking("date", table))
    if "close" not in place and "adj_close" not in place:
        raise BadFile(_lacking("close", table))
    days = [
        _day(cell, line, zone, date_format)
        for cell, line in zip(table.columns[place["date"]], table.lines, strict=True)
    ]
    symbols = None
    if "symbol" in place:
        symbols = [str(cell).strip() for cell in table.columns[place["symbol"]]]
        if "" in symbols:
            raise BadFile(f"line {table.lines[symbols.index('')]}: no symbol")
    fields = {}
    for field in FIELDS:
        if field in place:
            values = _numbers(table, place[field])
            if field in ("open", "high", "low", "close", "adj_close", "cash_dividend"):
                values *= table.scale
            fields[field] = values
    splits = place.get("split_ratio", "")
    if "adj_close" not in fields and re.sub(r"[^a-z]", "", splits.lower()) == "stocksplits":
        # yfinance without `Adj Close`: its close is adjusted already, for splits and dividends.
        fields["adj_close"] = fields["close"].copy()
    return Columns(days, symbols, fields)


def _places(header: list[str], mapping: Mapping[str, str]) -> dict[str, str]:
    place: dict[str, str] = {}
    for field, column in mapping.items():
        if column not in header:
            raise BadFile(f"line 1: no column {column!r} for {field}; found {', '.join(header)}")
        place[field] = column
    for column in header:
        plain = re.sub(r"^\d+\.", "", column.strip().lower())
        known = _KNOWN.get(re.sub(r"[^a-z]", "", plain))
        if known is None or known in mapping:
            continue
        field = known
        # Stooq has a date and a time; the first is the one that counts.
        if field in place and field != "date":
            raise BadFile(
                f"line 1: columns {place[field]!r} and {column!r} could both be {field}; "
                "say which in market.options.columns"
            )
        place.setdefault(field, column)
    return place


def _lacking(field: str, table: Table) -> str:
    return (
        f"line 1: no column for {field} among {', '.join(map(str, table.columns))}; name it in "
        f"market.options.columns, as in {{{field}: <column>}}"
    )


def _day(cell: object, line: int, zone: ZoneInfo, date_format: str | None) -> date:
    if isinstance(cell, datetime):
        return _session_of(cell, zone)
    if isinstance(cell, date):
        return cell
    text = str(cell).strip()
    try:
        if date_format:
            return datetime.strptime(text, date_format).date()
        found = _DATE.match(text)
        if found is None:
            raise ValueError
        if len(text) <= 10:
            return date(int(found[1]), int(found[2]), int(found[3]))
        if "-" not in text[:8]:
            text = f"{found[1]}-{found[2]}-{found[3]}{text[8:]}"
        return _session_of(datetime.fromisoformat(text), zone)
    except ValueError:
        raise BadFile(
            f"line {line}: {text!r} is no date"
            + (f" by date_format {date_format!r}" if date_format else
               " like 2022-12-28 or 20221228; give date_format in market.options for any other")
        ) from None  # fmt: skip


def _session_of(moment: datetime, zone: ZoneInfo) -> date:
    """Midnight stands for the date, whatever its zone; any other instant is moved to ours."""
    if moment.tzinfo is None or (moment.hour, moment.minute, moment.second) == (0, 0, 0):
        return moment.date()
    return moment.astimezone(zone).date()


def _numbers(table: Table, column: str) -> np.ndarray:
    out = np.empty(len(table.lines))
    for i, cell in enumerate(table.columns[column]):
        out[i] = _number(cell, table, column, i)
    return out


def _number(cell: object, table: Table, column: str, i: int) -> float:
    if cell is None:
        return math.nan
    try:
        if isinstance(cell, str):
            text = cell.strip()
            if text.lower() in _UNKNOWN:
                return math.nan
            if table.decimal_comma and "." not in text:
                text = text.replace(",", ".")
            if "_" in text:
                raise ValueError
            cell = text
        value = float(cell)  # type: ignore[arg-type]  # a TypeError is caught below
    except (TypeError, ValueError):
        raise BadFile(f"line {table.lines[i]}: {column} is {cell!r}, which is no number") from None
    if math.isinf(value):
        raise BadFile(f"line {table.lines[i]}: {column} is infinite")
    return value
