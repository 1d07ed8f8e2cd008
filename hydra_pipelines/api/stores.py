"""The desk's stores as files: there or not, how large, of which version. Nothing is opened to
write, and nothing is made that is missing."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

from hydra_pipelines.api.rows import Row
from hydra_pipelines.desk import Desk


def stores(desk: Desk) -> list[Row]:
    """A row a store: name, what (for people), path, state (`present`, `missing`, `old`, `new` or
    `unreadable`), version, known (the version this program works with), bytes, changed_at, why.

    version and known are None for stores without one.
    """
    s = desk.settings
    return [
        _snapshot(desk),
        _file("ledger", "the truth of the desk", s.ledger_path),
        _sqlite("control", "kill switch, agent, breakers, alerts", s.control_path),
        _folder("lake", "bars and features", s.lake_path),
        _sqlite("registry", "models and their aliases", s.mlruns_path / "mlflow.db")
        if not s.mlflow_uri
        else _row("registry", "models and their aliases", s.mlflow_uri, "present"),
        _folder("runs", "Dagster runs, events and schedules", s.dagster_home),
    ]


def _row(name: str, what: str, path: Path | str, state: str, why: str = "") -> Row:
    return {
        "name": name,
        "what": what,
        "path": str(path),
        "state": state,
        "version": None,
        "known": None,
        "bytes": None,
        "changed_at": None,
        "why": why,
    }


def _file(name: str, what: str, path: Path) -> Row:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return _row(name, what, path, "missing", "made by the first cycle: `hydra cycle`")
    except OSError as error:
        return _row(name, what, path, "unreadable", error.strerror or str(error))
    return {
        **_row(name, what, path, "present"),
        "bytes": stat.st_size,
        "changed_at": datetime.fromtimestamp(stat.st_mtime, UTC),
    }


def _folder(name: str, what: str, path: Path) -> Row:
    if not path.is_dir():
        return _row(name, what, path, "missing", "made by the first run that needs it")
    return {**_file(name, what, path), "bytes": None}


def _sqlite(name: str, what: str, path: Path) -> Row:
    row = _file(name, what, path)
    if row["state"] != "present":
        return row
    try:
        connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=0.5)
        try:
            (row["version"],) = connection.execute("PRAGMA user_version").fetchone()
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        finally:
            connection.close()
    except sqlite3.Error as error:
        row |= {"state": "unreadable", "why": str(error)}
    if not row["version"]:
        row["version"] = None
    return row


def _snapshot(desk: Desk) -> Row:
    from hydra_pipelines.ledger.store import LedgerError, schema_of

    path = desk.ledger.snapshot_path
    row = _file("snapshot", "the ledger as last published; all pages read it", path)
    if row["state"] != "present":
        return row
    try:
        row["version"], row["known"] = schema_of(path)
    except LedgerError as error:
        return row | {"state": "unreadable", "why": str(error)}
    if row["version"] < row["known"]:
        row |= {"state": "old", "why": "the next cycle brings it forward, or `hydra status` now"}
    elif row["version"] > row["known"]:
        row |= {"state": "new", "why": "written by a newer program: update this one"}
    return row
