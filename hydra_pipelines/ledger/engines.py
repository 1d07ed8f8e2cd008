"""DuckDB engines that are used again: a file is attached to one, and detached when it is done with.

Starting an engine takes ten times as long as attaching a file to one that runs. So the writer's
engine stays between two uses of the ledger, in memory and without a file: the file itself is
opened, locked and closed each time as ever.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

_NAME = "ledger"
_idle: dict[int, list[duckdb.DuckDBPyConnection]] = {}
"""By process: the child of a fork can't go on with its parent's engines."""


def attach(path: Path) -> duckdb.DuckDBPyConnection:
    """A connection to the database at `path`, which is made where there is none; its times are in
    UTC. Raises duckdb.Error. To be handed to `detach`, or closed where anything went wrong."""
    import duckdb

    try:
        connection = _idle.setdefault(os.getpid(), []).pop()
    except IndexError:
        # Statements here are small: handing them to threads takes longer than running them.
        connection = duckdb.connect(":memory:", config={"threads": 1})
    try:
        connection.execute(f"ATTACH '{quoted(path)}' AS {_NAME}")
        connection.execute(f"USE {_NAME}")
        connection.execute("SET TimeZone = 'UTC'")
    except BaseException:
        connection.close()
        raise
    return connection


def detach(connection: duckdb.DuckDBPyConnection) -> None:
    """Close the file, checkpointed and unlocked, and keep the engine for the next one."""
    import duckdb

    try:
        connection.execute("USE memory")
        connection.execute(f"DETACH {_NAME}")
    except duckdb.Error:
        # A checkpoint that failed takes nothing back: what was committed is in the file's log.
        connection.close()
        return
    _idle.setdefault(os.getpid(), []).append(connection)


def quoted(path: Path) -> str:
    """A path as it stands within a string of SQL."""
    return str(path).replace("'", "''")
