"""One file of daily bars as a table of text: unpacking, encoding, dialect, header.

Here belongs everything up to named columns of strings with their line numbers. What the columns
mean is `layouts`, what a folder of files adds up to is `files`.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

SUFFIXES = (".csv", ".txt", ".tsv", ".parquet", ".gz", ".zip")

_DELIMITERS = ",;\t|"
_LEAN_LINE = re.compile(r"\d{8} \d\d:\d\d,-?\d")
_LEAN_HEADER = ["date", "open", "high", "low", "close", "volume"]


class BadFile(ValueError):
    """A file that can't be used; the text says where and why, without the file's name."""


@dataclass(frozen=True)
class Table:
    """name: of the file or archive member, without folders. columns: header -> cells.

    Cells are strings, or for Parquet whatever they are; `lines` has the line number of each row
    (the row number, from 1, where there are no lines). scale: what a price is multiplied with.
    """

    name: str
    columns: dict[str, list[Any]]
    lines: list[int]
    scale: float = 1.0
    decimal_comma: bool = False
    symbol: str | None = None


def tables(path: Path, max_bytes: int) -> Iterator[Table]:
    """The tables of a file: one, or one for each member of a zip and each symbol of a wide table.

    Raises BadFile, and unpacks at most `max_bytes`.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        yield _parquet(path, max_bytes)
    elif suffix == ".zip":
        for name, content in _members(path, max_bytes):
            yield from _text_tables(name, content)
    else:
        content = _unpacked(path, max_bytes) if suffix == ".gz" else _limited(path, max_bytes)
        yield from _text_tables(path.name, content)


def _limited(path: Path, max_bytes: int) -> bytes:
    with path.open("rb") as file:
        return _bounded(file, max_bytes)


def _bounded(file: IO[bytes] | gzip.GzipFile, max_bytes: int, used: int = 0) -> bytes:
    content = file.read(max_bytes - used + 1)
    if used + len(content) > max_bytes:
        raise BadFile(
            f"holds more than {max_bytes >> 20} MB unpacked; raise max_mb in market.options if "
            "that is right"
        )
    return content


def _unpacked(path: Path, max_bytes: int) -> bytes:
    try:
        with gzip.open(path) as file:
            return _bounded(file, max_bytes)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise BadFile(f"is no whole gzip file: {error}") from error


def _members(path: Path, max_bytes: int) -> Iterator[tuple[str, bytes]]:
    used = 0
    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if not m.is_dir()]
            if not members:
                raise BadFile("is an empty archive")
            for member in members:
                if Path(member.filename).suffix.lower() not in (".csv", ".txt", ".tsv"):
                    raise BadFile(f"holds {member.filename!r}, which is no CSV or text file")
                with archive.open(member) as file:
                    content = _bounded(file, max_bytes, used)
                used += len(content)
                yield Path(member.filename).name, content
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, zlib.error, EOFError) as error:
        raise BadFile(f"is no zip archive that can be read: {error}") from error


def _text_tables(name: str, content: bytes) -> Iterator[Table]:
    text = _decoded(content)
    first = next((line for line in text.splitlines() if line.strip()), "")
    if not first:
        raise BadFile("is empty")
    if _LEAN_LINE.match(first):
        rows = list(csv.reader(io.StringIO(text)))
        yield _table(name, _LEAN_HEADER, rows, 0, scale=1e-4)
        return
    counts = {mark: first.count(mark) for mark in _DELIMITERS}
    delimiter = max(counts, key=lambda mark: counts[mark])
    if not counts[delimiter]:
        raise BadFile(f"line 1: one column only ({first[:40]!r}); expected a header of columns")
    try:
        rows = list(csv.reader(io.StringIO(text), delimiter=delimiter))
    except csv.Error as error:
        raise BadFile(f"is no CSV: {error}") from error
    comma = delimiter == ";"
    header = [cell.strip() for cell in rows[0]]
    if header[0].lower() == "price" and len(rows) > 2 and rows[1][0].strip().lower() == "ticker":
        yield from _by_ticker(name, rows, comma)
    else:
        yield _table(name, header, rows, 1, decimal_comma=comma)


def _by_ticker(name: str, rows: list[list[str]], decimal_comma: bool) -> Iterator[Table]:
    """yfinance's export of a download: fields, tickers and then `Date` as three header lines."""
    fields, tickers = rows[0][1:], rows[1][1:]
    start = 3 if len(rows) > 2 and rows[2][0].strip().lower() in ("date", "datetime") else 2
    for ticker in dict.fromkeys(tickers):
        places = [i + 1 for i, t in enumerate(tickers) if t == ticker]
        header = ["Date", *(fields[i - 1] for i in places)]
        width = len(rows[0])
        picked = [[row[0], *(row[i] for i in places)] if len(row) == width else row for row in rows]
        yield _table(
            name,
            header,
            picked,
            start,
            decimal_comma=decimal_comma,
            symbol=ticker,
            expected=width,
        )


def _table(
    name: str,
    header: list[str],
    rows: list[list[str]],
    start: int,
    *,
    scale: float = 1.0,
    decimal_comma: bool = False,
    symbol: str | None = None,
    expected: int | None = None,
) -> Table:
    kept, lines = [], []
    for line, row in enumerate(rows[start:], start=start + 1):
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(header):
            raise BadFile(
                f"line {line}: {len(row)} cells where {expected or len(header)} are expected"
            )
        kept.append(row)
        lines.append(line)
    if not kept:
        raise BadFile("has a header and no rows")
    twice = {h for h in header if header.count(h) > 1}
    if twice:
        raise BadFile(f"line 1: column {sorted(twice)[0]!r} stands there more than once")
    cells = [list(column) for column in zip(*kept, strict=True)]
    return Table(name, dict(zip(header, cells, strict=True)), lines, scale, decimal_comma, symbol)


def _decoded(content: bytes) -> str:
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise BadFile(
            f"line {line}: is not {encoding[:6].upper()} text; save it as UTF-8"
        ) from error
    if "\0" in text:
        raise BadFile(f"line {text[: text.index(chr(0))].count(chr(10)) + 1}: binary data, no text")
    return text


def _parquet(path: Path, max_bytes: int) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            meta = file.metadata
            size = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
            if size > max_bytes:
                raise BadFile(
                    f"holds {size >> 20} MB unpacked, more than the {max_bytes >> 20} MB of max_mb"
                )
            table = file.read(use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise BadFile(f"is no Parquet file that can be read: {error}") from error
    if not table.num_rows:
        raise BadFile("has no rows")
    columns = {
        name: column.to_pylist()
        for name, column in zip(table.column_names, table.columns, strict=True)
    }
    return Table(path.name, columns, list(range(1, table.num_rows + 1)))
