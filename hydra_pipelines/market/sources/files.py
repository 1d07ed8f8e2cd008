"""A folder of CSV or Parquet files as a source: any number of symbols, the common layouts.

Here belongs what many files add up to: symbols, one panel, and what is wrong with which file. A
file that can't be read is left out and said; the others load.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from hydra_pipelines.market.actions import adjusted_close
from hydra_pipelines.market.bars import FIELDS, BarPanel, MarketDataError, SourceProblem
from hydra_pipelines.market.sources.layouts import Columns, read_columns
from hydra_pipelines.market.sources.tables import SUFFIXES, BadFile, Table, tables

_PRICES = ("open", "high", "low", "close", "adj_close")
Row = tuple[float, ...]
"""The fields of a symbol on a day, in the order of FIELDS."""
_EXCHANGES = (".US",)
"""What Stooq writes behind a US ticker."""


class FileSource:
    """Bars of files.

    path: a file, a folder (all files below it) or a glob. columns: our name -> the file's, for
    names that are not recognised. renames: old symbol -> new, for symbol changes. timezone: of the
    exchange, for files with instants instead of dates. date_format: as of `strptime`. price_scale:
    what every price is multiplied with. adjusted: the close is adjusted already, and there is no
    other. max_mb: how much one file may unpack to.
    """

    name = "files"

    def __init__(
        self,
        path: Path | str,
        columns: Mapping[str, str] | None = None,
        renames: Mapping[str, str] | None = None,
        timezone: str = "America/New_York",
        date_format: str | None = None,
        price_scale: float = 1.0,
        adjusted: bool = False,
        max_mb: int = 512,
    ):
        unknown = set(columns or {}) - {"date", "symbol", *FIELDS}
        if unknown:
            raise MarketDataError(
                f"market.options.columns: {', '.join(sorted(unknown))} is no name of ours; use "
                f"date, symbol, {', '.join(FIELDS)}"
            )
        try:
            self._zone = ZoneInfo(timezone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise MarketDataError(f"market.options.timezone: {timezone!r} is unknown") from error
        if not price_scale > 0 or not max_mb > 0:
            raise MarketDataError("market.options: price_scale and max_mb must be above 0")
        self._path, self._columns = Path(path).expanduser(), dict(columns or {})
        self._renames = {old.upper(): new.upper() for old, new in (renames or {}).items()}
        self._date_format, self._scale = date_format, float(price_scale)
        self.adjusted_only, self._max_bytes = bool(adjusted), int(max_mb) << 20
        self.problems: tuple[SourceProblem, ...] = ()
        self._rows: dict[date, str] = {}

    def read(self, first: date | None = None, last: date | None = None) -> BarPanel:
        """What the files hold; `problems` then tells what was left out, and why."""
        files = self._files()
        problems: list[SourceProblem] = []
        held: dict[str, dict[date, Row]] = {}
        present: set[str] = set()
        self._rows = {}
        for path in files:
            name = self._name(path)
            try:
                # Whole or not at all: rows count once the file has been read to its end.
                parts = [self._rows_of(path, table) for table in tables(path, self._max_bytes)]
                fresh, notes, fields = _one_file(parts, held)
            except (BadFile, OSError) as error:
                problems.append(SourceProblem(name, f"left out: {error}"))
                continue
            problems += [SourceProblem(name, note) for note in notes]
            present |= fields
            for symbol, rows in fresh.items():
                held.setdefault(symbol, {}).update({day: row for day, (row, _) in rows.items()})
                for day, (_, line) in rows.items():
                    self._rows.setdefault(day, f"{name}, line {line}")
        today = datetime.now(UTC).date()
        for day in sorted(d for d in self._rows if d > today):
            problems.append(SourceProblem(self._rows[day], f"{day} lies in the future: left out"))
            for known in held.values():
                known.pop(day, None)
        self.problems = tuple(problems)
        if not any(held.values()):
            raise MarketDataError(
                f"no file of {self._path} could be used: "
                + "; ".join(f"{p.where}: {p.detail}" for p in problems[:3])
            )
        return _cut(self._panel(held, present), first, last)

    def origin(self, day: date) -> str:
        """File and line that a day comes from."""
        return self._rows.get(day, str(self._path))

    def _files(self) -> list[Path]:
        if self._path.is_dir():
            found = [p for p in self._path.rglob("*") if p.is_file()]
        else:
            found = [Path(p) for p in glob.glob(str(self._path), recursive=True)]
        found = sorted(p for p in found if p.suffix.lower() in SUFFIXES and p.name[0] != ".")
        if not found:
            raise MarketDataError(
                f"market.options.path: no {', '.join(SUFFIXES)} file at {self._path}"
            )
        return found

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self._path)) if self._path.is_dir() else path.name

    def _rows_of(self, path: Path, table: Table) -> tuple[Table, Columns, list[str]]:
        columns = read_columns(table, self._columns, self._zone, self._date_format)
        for field in (*_PRICES, "cash_dividend"):
            if field in columns.fields:
                columns.fields[field] *= self._scale
        fallback = table.symbol or _stem(table.name)
        symbols = [self._symbol(s) for s in columns.symbols or [fallback] * len(columns.days)]
        return table, columns, symbols

    def _symbol(self, text: str) -> str:
        symbol = text.strip().upper()
        for suffix in _EXCHANGES:
            symbol = symbol.removesuffix(suffix)
        # A chain of changes ends at the last name; a circle is cut where it closes.
        seen = {symbol}
        while (symbol_now := self._renames.get(symbol)) and symbol_now not in seen:
            symbol = symbol_now
            seen.add(symbol)
        return symbol

    def _panel(self, held: Mapping[str, Mapping[date, Row]], present: set[str]) -> BarPanel:
        symbols = tuple(sorted(symbol for symbol, rows in held.items() if rows))
        days = sorted({day for rows in held.values() for day in rows})
        place = {day: i for i, day in enumerate(days)}
        cube = np.full((len(FIELDS), len(days), len(symbols)), np.nan)
        for n, symbol in enumerate(symbols):
            at = [place[day] for day in held[symbol]]
            cube[:, at, n] = np.array(list(held[symbol].values())).T
        fields = {field: cube[i] for i, field in enumerate(FIELDS) if field in present}
        if self.adjusted_only or "close" not in fields:
            prices = fields.get("close", fields.get("adj_close"))
            fields = {**fields, "close": prices, "adj_close": prices}
        else:
            made = adjusted_close(
                fields["close"], fields.get("split_ratio"), fields.get("cash_dividend")
            )
            given = fields.get("adj_close", np.full(made.shape, np.nan))
            lacking = np.isnan(given).all(axis=0)
            fields["adj_close"] = np.where(lacking, made, given)
        return BarPanel(np.array(days, "datetime64[D]"), symbols, fields)


def _one_file(
    parts: list[tuple[Table, Columns, list[str]]], held: Mapping[str, Mapping[date, Row]]
) -> tuple[dict[str, dict[date, tuple[Row, int]]], list[str], set[str]]:
    """Rows of a file by symbol and day, with their lines; what is odd about it; its fields.

    Raises BadFile for a row that contradicts another one of this file or an earlier one.
    """
    fresh: dict[str, dict[date, tuple[Row, int]]] = {}
    notes: list[str] = []
    present: set[str] = set()
    for table, columns, symbols in parts:
        present |= columns.fields.keys()
        empty = np.full(len(columns.days), np.nan)
        values = np.stack([columns.fields.get(field, empty) for field in FIELDS], axis=1)
        notes += _odd_numbers(table, columns)
        rows = zip(symbols, columns.days, values.tolist(), table.lines, strict=True)
        for symbol, day, row, line in rows:
            given = tuple(row)
            before, where = fresh.get(symbol, {}).get(day), "line {}"
            if before is None and day in held.get(symbol, {}):
                before, where = (held[symbol][day], 0), "an earlier file"
            if before is None:
                fresh.setdefault(symbol, {})[day] = given, line
            elif not np.array_equal(before[0], given, equal_nan=True):
                raise BadFile(
                    f"line {line}: {symbol} on {day} again, with other numbers than "
                    + where.format(before[1])
                )
            else:
                notes.append(f"line {line}: {symbol} on {day} again, with the same numbers")
    return fresh, notes, present


def _odd_numbers(table: Table, columns: Columns) -> Iterator[str]:
    """Numbers that no market makes; they are kept, and the quality checks judge them."""
    for field, values in columns.fields.items():
        if field in _PRICES:
            for i in np.flatnonzero(values <= 0):
                yield f"line {table.lines[i]}: {field} is {values[i]:g}"
        elif field == "volume":
            for i in np.flatnonzero(values < 0):
                yield f"line {table.lines[i]}: volume is {values[i]:g}"
    high, low = columns.fields.get("high"), columns.fields.get("low")
    if high is not None and low is not None:
        for i in np.flatnonzero(high < low):
            yield f"line {table.lines[i]}: high {high[i]:g} is below low {low[i]:g}"


def _stem(name: str) -> str:
    stem = name
    for suffix in (*SUFFIXES, *(s.upper() for s in SUFFIXES)):
        stem = stem.removesuffix(suffix)
    for suffix in SUFFIXES:
        stem = stem.removesuffix(suffix)
    return stem


def _cut(panel: BarPanel, first: date | None, last: date | None) -> BarPanel:
    keep = np.ones(len(panel.sessions), bool)
    if first is not None:
        keep &= panel.sessions >= np.datetime64(first)
    if last is not None:
        keep &= panel.sessions <= np.datetime64(last)
    return BarPanel(
        panel.sessions[keep], panel.symbols, {k: v[keep] for k, v in panel.fields.items()}
    )
