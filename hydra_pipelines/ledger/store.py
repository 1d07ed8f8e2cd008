"""The ledger's file: one writer at a time, short transactions, a published snapshot for readers.

Everything that writes goes through `Ledger.transaction`. A kernel file lock serialises writers of
all processes and dies with its holder. Readers (status, dashboard, notebooks) open the snapshot,
which is replaced whole by `publish`, and never the live file. What the rows mean is the business
of the family files beside this one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra_pipelines.ledger import engines
from hydra_pipelines.ledger.engines import quoted
from hydra_pipelines.ledger.locks import LedgerBusy, LedgerError, acquire, exclusive, waited_for

if TYPE_CHECKING:
    import duckdb

__all__ = [
    "Ledger",
    "LedgerBusy",
    "LedgerError",
    "LedgerMissing",
    "Rows",
    "Transaction",
    "exclusive",
    "migrate",
    "newest_schema",
]

FEW_ROWS = 4
"""Up to so many are inserted by a statement with a parameter per value."""

SCHEMA_DIR = Path(__file__).parent / "schema"


class LedgerMissing(LedgerError):
    """There is no ledger yet: no cycle has run here."""


class Rows:
    """A connection inside a transaction or a snapshot: queries in, plain rows out."""

    def __init__(self, connection: duckdb.DuckDBPyConnection):
        self._open: duckdb.DuckDBPyConnection | None = connection

    @property
    def _connection(self) -> duckdb.DuckDBPyConnection:
        if self._open is None:
            raise LedgerError("this ledger transaction or snapshot is over: open a new one")
        return self._open

    def close(self) -> None:
        """Refuse everything from here on, for whoever kept this beyond its block."""
        self._open = None

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        cursor = self._connection.execute(_parsed(sql), list(parameters))
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def one(self, sql: str, parameters: Sequence[Any] = ()) -> dict[str, Any] | None:
        rows = self.query(sql, parameters)
        if len(rows) > 1:
            raise LedgerError(f"expected at most one row, got {len(rows)}: {sql}")
        return rows[0] if rows else None

    def value(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        row = self._connection.execute(_parsed(sql), list(parameters)).fetchone()
        return row[0] if row else None


class Transaction(Rows):
    """A write transaction: all of it is committed, or nothing."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        column_types: dict[str, dict[str, str]] | None = None,
    ):
        """column_types: of tables, as far as known; kept over the transactions of a connection."""
        super().__init__(connection)
        self._known_types = {} if column_types is None else column_types

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        self._connection.execute(_parsed(sql), list(parameters))

    def insert(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append rows in one statement; all rows have the columns of the first."""
        if not rows:
            return
        names, keys = list(rows[0]), rows[0].keys()
        types = self._column_types(table)
        missing = [name for name in names if name not in types]
        if missing:
            raise LedgerError(f"the ledger has no column {table}.{missing[0]}")
        uneven = next((row.keys() ^ keys for row in rows if row.keys() != keys), ())
        if uneven:
            raise LedgerError(f"rows for {table} differ in their columns: {', '.join(uneven)}")
        into = f"INSERT INTO {table} ({', '.join(names)})"
        if len(rows) <= FEW_ROWS and not any(
            isinstance(v, dict | list) for row in rows for v in row.values()
        ):
            # Planned in half the time of the other way, which is for many rows.
            marks = f"({', '.join('?' * len(names))})"
            self.execute(
                f"{into} VALUES {', '.join([marks] * len(rows))}",
                [row[name] for row in rows for name in names],
            )
            return
        # One list parameter per column: two orders of magnitude faster than a statement per row.
        columns = ", ".join(f"unnest(CAST(? AS {types[name]}[])) AS {name}" for name in names)
        self.execute(
            f"{into} SELECT {columns}", [_column([row[name] for row in rows]) for name in names]
        )

    def _column_types(self, table: str) -> dict[str, str]:
        if table not in self._known_types:
            rows = self._connection.execute(f"SELECT name, type FROM pragma_table_info('{table}')")
            self._known_types[table] = dict(rows.fetchall())
        return self._known_types[table]


class Ledger:
    """The live file, its lock and its snapshot. One object per process and desk."""

    def __init__(self, path: Path, lock_timeout_s: float = 30):
        self.path = path
        self.snapshot_path = path.with_suffix(".snapshot.duckdb")
        self._lock_path = path.with_suffix(".lock")
        self._behind_path = path.with_suffix(".behind")
        """Not empty, and locked by its writer, while readers see less than the ledger holds."""
        self._lock_timeout_s = lock_timeout_s
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._held: object | None = None
        self._in_transaction = False
        self._publishing_later = False
        self._column_types: dict[str, dict[str, str]] = {}
        self.transactions = 0

    @contextmanager
    def session(self) -> Iterator[None]:
        """Keep lock and connection over several transactions: for a stage that doesn't wait."""
        if self._connection is not None:
            yield
            return
        with self._locked():
            self._connection, self._column_types = self._open(), {}
            connection, self._held = self._connection, object()
            try:
                yield
            except BaseException:
                self._connection = self._held = None
                connection.close()
                raise
            self._connection = self._held = None
            engines.detach(connection)

    @property
    def waited_for(self) -> bool:
        """Whether somebody waits for the ledger while it is kept by `session`."""
        return waited_for(self._lock_path)

    @property
    def held(self) -> object | None:
        """The same object for as long as the ledger is kept by `session`; None where it isn't.

        Nobody else writes meanwhile, so what was read stays true until one writes oneself.
        """
        return self._held

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """A committed transaction, or none at all when the block raises.

        Raises LedgerBusy when the write lock can't be had in time.
        """
        if self._in_transaction:
            raise LedgerError("ledger transactions don't nest: pass the open one on")
        with self.session():
            import duckdb

            connection = self._connection
            assert connection is not None
            connection.execute("BEGIN")
            self._in_transaction = True
            tx = Transaction(connection, self._column_types)
            try:
                yield tx
                connection.execute("COMMIT")
                self.transactions += 1
            except BaseException as error:
                # A commit that failed has rolled back already.
                with contextlib.suppress(duckdb.Error):
                    connection.execute("ROLLBACK")
                if isinstance(error, duckdb.OperationalError):
                    raise LedgerError(f"{self.path} can't be written: {error}") from error
                raise
            finally:
                self._in_transaction = False
                tx.close()

    @contextmanager
    def snapshot(self) -> Iterator[Rows]:
        """The published state, read-only; published anew first where the file is gone or unfit.

        Raises LedgerMissing where nothing was ever written.
        """
        if not (self.snapshot_path.exists() or self.path.exists()):
            raise LedgerMissing(f"no ledger at {self.path} yet: run a first cycle: `hydra cycle`")
        if self._left_behind():
            # Where somebody writes, it is published after that.
            with contextlib.suppress(LedgerBusy):
                self.publish()
        try:
            connection = self._attached_snapshot()
        except LedgerError:
            if not self.path.exists():
                raise
            self.publish()
            connection = self._attached_snapshot()
        rows = Rows(connection)
        try:
            yield rows
        finally:
            rows.close()
            connection.close()

    def _attached_snapshot(self) -> duckdb.DuckDBPyConnection:
        connection, have, known = attach_read_only(self.snapshot_path)
        if have != known:
            connection.close()
            raise LedgerError(
                f"{self.snapshot_path} has schema version {have}, this program reads {known}"
            )
        return connection

    def publish(self) -> None:
        """Replace the readers' snapshot by the committed state."""
        if self._in_transaction:
            raise LedgerError("the ledger is published after a transaction, not within one")
        if self._publishing_later:
            return
        new = self.snapshot_path.with_name(f".{self.snapshot_path.name}.{os.getpid()}")
        with self.session():
            # The lock is ours: what lies here was left by a process that was killed.
            for left in self.path.parent.glob(f".{self.snapshot_path.name}.*"):
                left.unlink(missing_ok=True)
            try:
                self.copy_to(new)
                os.replace(new, self.snapshot_path)
                if self._left_behind():
                    os.truncate(self._behind_path, 0)
            finally:
                new.unlink(missing_ok=True)

    def copy_to(self, path: Path) -> None:
        """Write the committed state to a new file, a database of its own."""
        if self._in_transaction:
            raise LedgerError("the ledger is copied after a transaction, not within one")
        with self.session():
            connection = self._connection
            assert connection is not None
            connection.execute(f"ATTACH '{quoted(path)}' AS copied")
            try:
                (name,) = connection.execute("SELECT current_database()").fetchone() or ()
                connection.execute(f'COPY FROM DATABASE "{name}" TO copied')
            finally:
                connection.execute("DETACH copied")

    @contextmanager
    def publishing_later(self) -> Iterator[None]:
        """Within the block `publish` does nothing; it is done once, at the end.

        For many stages in a row, of which readers need not see each. The snapshot of a process
        that is killed meanwhile is found to be behind by whoever reads next, and published anew.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self._behind_path, "a+") as behind:
            acquire(behind, self._lock_timeout_s, self._behind_path, "the ledger's snapshot")
            self._publishing_later = True
            try:
                yield
            finally:
                self._publishing_later = False
                if self.path.exists():
                    self.publish()
                behind.truncate(0)

    def _left_behind(self) -> bool:
        """Whether a process that was to publish later is gone without having done so."""
        if self._publishing_later:
            return False
        try:
            with open(self._behind_path) as behind:
                fcntl.flock(behind, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return bool(behind.read())
        except OSError:
            # There is none, or the process lives.
            return False

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self._lock_path, "a+") as handle:
            acquire(handle, self._lock_timeout_s, self._lock_path)
            # The lock goes with the file description, also when the process is killed.
            yield

    def _open(self) -> duckdb.DuckDBPyConnection:
        import duckdb

        deadline = time.monotonic() + self._lock_timeout_s
        while True:
            try:
                connection = engines.attach(self.path)
                break
            except duckdb.Error as error:
                if "could not set lock" not in str(error).lower():
                    raise LedgerError(
                        f"{self.path} can't be opened: {error}; go on from a backup (`hydra "
                        "restore`) or from the last published state by putting "
                        f"{self.snapshot_path.name} in its place, or move it aside to begin anew"
                    ) from error
                # Somebody opened the live file past the lock (a DuckDB shell, for example).
                if time.monotonic() > deadline:
                    raise LedgerBusy(
                        f"{self.path} is held open by another program; close it and try again "
                        f"({error})"
                    ) from error
                time.sleep(random.uniform(0.02, 0.1))
        try:
            migrate(connection)
        except BaseException:
            connection.close()
            raise
        return connection


def attach_read_only(path: Path) -> tuple[duckdb.DuckDBPyConnection, int, int]:
    """A published file as the database `ledger`, its schema version, and the one known here.

    Raises LedgerError where it can't be read.
    """
    import duckdb

    # Attached to a database of its own: a direct connection would be shared within the process
    # by path, and show the old file for as long as anybody reads from that.
    connection = duckdb.connect(":memory:")
    try:
        connection.execute(f"ATTACH '{quoted(path)}' AS ledger (READ_ONLY)")
        connection.execute("USE ledger")
        connection.execute("SET TimeZone = 'UTC'")
        return connection, _schema_version(connection), max(_schema_files())
    except duckdb.Error as error:
        connection.close()
        raise LedgerError(f"{path} can't be read: {error}") from error
    except BaseException:
        connection.close()
        raise


def schema_of(path: Path) -> tuple[int, int]:
    """(schema version of a published file, the one known here). Raises LedgerError."""
    connection, have, known = attach_read_only(path)
    connection.close()
    return have, known


def migrate(connection: duckdb.DuckDBPyConnection) -> None:
    """Bring the schema forward by the numbered files it has not seen, each in a transaction."""
    connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_versions (number INTEGER PRIMARY KEY, name VARCHAR, "
        "applied_at TIMESTAMPTZ)"
    )
    have, files = _schema_version(connection), _schema_files()
    if have > max(files):
        raise LedgerError(
            f"the ledger has schema version {have}, this program knows up to {max(files)}: "
            "update the program, or restore an older ledger"
        )
    for number in sorted(n for n in files if n > have):
        connection.execute("BEGIN")
        try:
            connection.execute(files[number].read_text())
            connection.execute(
                "INSERT INTO schema_versions VALUES (?, ?, ?)",
                [number, files[number].stem, datetime.now(UTC)],
            )
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise


def newest_schema() -> int:
    """The schema version that this program brings every ledger to."""
    return max(_schema_files())


def _schema_files() -> dict[int, Path]:
    return {int(file.name.split("_")[0]): file for file in SCHEMA_DIR.glob("[0-9]*.sql")}


def _schema_version(connection: duckdb.DuckDBPyConnection) -> int:
    row = connection.execute("SELECT coalesce(max(number), 0) FROM schema_versions").fetchone()
    return row[0] if row else 0


def _column(values: list[Any]) -> list[Any]:
    """Decimals as text, which is read in half the time and to the same digits."""
    if isinstance(values[0], Decimal) and {*map(type, values)} <= {Decimal, type(None)}:
        return [None if value is None else str(value) for value in values]
    return values


@lru_cache(maxsize=512)
def _parsed(sql: str) -> Any:
    """The statement, read once a process: parsing takes a third of a small statement's time."""
    import duckdb

    (statement,) = duckdb.extract_statements(sql)
    return statement
