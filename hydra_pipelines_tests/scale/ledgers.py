"""Two ledgers compared, row by row and column by column."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

OF_THE_RUN = {
    # The wall's time, and names that are drawn anew by every run.
    *("recorded_at", "occurred_at", "updated_at", "applied_at"),
    *("run_id", "mlflow_run_id", "move_id"),
    "code_version",  # the commit at hand
}
"""Columns that differ between two runs of the same thing."""
IN_DETAILS = {"age_seconds", "mlflow_run_id", "move_id", "run_id"}
"""The same, within columns of JSON: the age of a quote is measured by the wall's clock."""


def content(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Every table of a ledger in the order in which it was written; columns of the run left out.

    Events of orders keep their times: these are the venue's.
    """
    import duckdb

    with duckdb.connect(str(path), read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        names = connection.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall()
        return {name: _rows(connection, name) for (name,) in names}


def _rows(connection: Any, table: str) -> list[dict[str, Any]]:
    cursor = connection.execute(f"SELECT * FROM {table}")
    columns = [(column[0], str(column[1])) for column in cursor.description]
    left_out = OF_THE_RUN - ({"occurred_at"} if table == "order_events" else set())
    return [
        {
            name: _settled(json.loads(value)) if kind == "JSON" and value else value
            for (name, kind), value in zip(columns, row, strict=True)
            if name not in left_out
        }
        for row in cursor.fetchall()
    ]


def _settled(details: Any) -> Any:
    if isinstance(details, dict):
        return {k: _settled(v) for k, v in details.items() if k not in IN_DETAILS}
    return [_settled(v) for v in details] if isinstance(details, list) else details
