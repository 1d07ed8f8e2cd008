"""Ledgers of every version that there was, brought to the newest with all that was in them.

They are made here by the schema's own files, up to the version, with rows in every table.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from hydra_pipelines.ledger.store import SCHEMA_DIR, Ledger, newest_schema

NEWEST = newest_schema()
ROWS = 3
Kept = dict[str, tuple[list[str], list[tuple[Any, ...]]]]


def value(column: str, kind: str, i: int) -> Any:
    """Something of a type, another one in each row."""
    if column == "version" or column.endswith("_version"):
        return i + 1
    match kind.partition("(")[0]:
        case "VARCHAR":
            return f"{column} {i}, it's one"
        case "JSON":
            return f'{{"{column}": {i}}}'
        case "DATE":
            return date(2019, 1, 2) + timedelta(days=i)
        case "TIMESTAMP WITH TIME ZONE":
            return datetime(2019, 1, 2, 15, 30, i, 123456, tzinfo=UTC)
        case "DECIMAL":
            return Decimal(f"{100 + i}.25")
        case "DOUBLE":
            return 0.1 + i
        case "BOOLEAN":
            return i % 2 == 0
        case "BIGINT" | "INTEGER" | "TINYINT":
            return i + 1
    raise AssertionError(f"say what a {kind} is like")


def make_ledger(path: Path, version: int) -> Kept:
    """A ledger of a version; its tables with what is in them."""
    path.parent.mkdir(parents=True)
    connection = duckdb.connect(str(path))
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(
        "CREATE TABLE schema_versions (number INTEGER PRIMARY KEY, name VARCHAR, "
        "applied_at TIMESTAMPTZ)"
    )
    for number in range(1, version + 1):
        (file,) = SCHEMA_DIR.glob(f"{number:04}_*.sql")
        connection.execute(file.read_text())
        connection.execute("INSERT INTO schema_versions VALUES (?, ?, now())", [number, file.stem])
    for table in tables(connection):
        columns = connection.execute(
            f"SELECT name, type FROM pragma_table_info('{table}') WHERE dflt_value IS NULL"
        ).fetchall()
        for i in range(ROWS):
            connection.execute(
                f"INSERT INTO {table} ({', '.join(name for name, _ in columns)}) "
                f"VALUES ({', '.join('?' * len(columns))})",
                [value(name, kind, i) for name, kind in columns],
            )
    kept = {table: content(connection, table) for table in tables(connection)}
    connection.close()
    return kept


def tables(connection: duckdb.DuckDBPyConnection) -> list[str]:
    found = connection.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall()
    return [name for (name,) in found if name != "schema_versions"]


def content(
    connection: duckdb.DuckDBPyConnection, table: str, columns: list[str] | None = None
) -> tuple[list[str], list[tuple[Any, ...]]]:
    if columns is None:
        described = connection.execute(f"SELECT name FROM pragma_table_info('{table}')").fetchall()
        columns = [name for (name,) in described]
    listed = ", ".join(columns)
    return columns, connection.execute(f"SELECT {listed} FROM {table} ORDER BY ALL").fetchall()


@pytest.mark.parametrize("version", range(1, NEWEST))
def test_a_ledger_of_every_version_keeps_all_that_is_in_it(tmp_path: Path, version: int) -> None:
    path = tmp_path / "it's my desk" / "hydra.duckdb"
    kept = make_ledger(path, version)
    assert all(len(rows) == ROWS for _, rows in kept.values())

    ledger = Ledger(path)
    with ledger.transaction() as tx:
        assert tx.value("SELECT max(number) FROM schema_versions") == NEWEST
        # Numbers go on where they were.
        for table in ("order_events", "audit_events"):
            last = tx.value(f"SELECT max(seq) FROM {table}")
            tx.execute(f"INSERT INTO {table} BY NAME SELECT * EXCLUDE (seq) FROM {table} LIMIT 1")
            assert tx.value(f"SELECT max(seq) FROM {table}") == last + 1
            tx.execute(f"DELETE FROM {table} WHERE seq = {last + 1}")
    ledger.publish()

    for file in (path, ledger.snapshot_path):
        connection = duckdb.connect(str(file), read_only=True)
        connection.execute("SET TimeZone = 'UTC'")
        assert set(tables(connection)) >= kept.keys()
        for table, (columns, rows) in kept.items():
            assert content(connection, table, columns)[1] == rows, table
        connection.close()


def test_promotions_of_the_first_version_become_moves_that_are_done(tmp_path: Path) -> None:
    path = tmp_path / "desk" / "hydra.duckdb"
    make_ledger(path, 1)
    with Ledger(path).transaction() as tx:
        moves = tx.query("SELECT * FROM promotions ORDER BY seq")
    assert [(m["kind"], m["stage"], m["to_version"]) for m in moves] == [
        ("promoted", "done", 1), ("promoted", "done", 2), ("promoted", "done", 3),
    ]  # fmt: skip
    assert len({m["move_id"] for m in moves}) == ROWS
