"""A reader that keeps the published snapshot open, for processes that answer many questions.

Opening the file costs more than most questions do. The handle is made anew when the file was
replaced. Nothing is written or published here, also not where the snapshot is missing or old:
that is said, with what brings it back.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from hydra_pipelines.ledger.store import (
    Ledger,
    LedgerError,
    LedgerMissing,
    Rows,
    Transaction,
    attach_read_only,
)

if TYPE_CHECKING:
    import duckdb

Fingerprint = tuple[int, int, int]
"""(inode, modification time in ns, size) of a file."""


class OldSnapshot(LedgerError):
    """The snapshot is of another version of the schema than this program reads."""


class SnapshotReader(Ledger):
    """As a ledger to its readers, and no ledger to anybody else. Threads may share it."""

    def __init__(self, path: Path):
        super().__init__(path, lock_timeout_s=0)
        self._guard = threading.Lock()
        self._handle: duckdb.DuckDBPyConnection | None = None
        self._of: Fingerprint | None = None

    def fingerprint(self) -> Fingerprint | None:
        """Changes with every publication; None where nothing is published."""
        return fingerprint(self.snapshot_path)

    @contextmanager
    def snapshot(self) -> Iterator[Rows]:
        """The published state. Raises LedgerMissing or LedgerError; never publishes."""
        cursor = self._cursor()
        rows = Rows(cursor)
        try:
            yield rows
        finally:
            rows.close()
            cursor.close()

    @contextmanager
    def session(self) -> Iterator[None]:
        self._refuse()
        yield

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        self._refuse()
        yield

    def publish(self) -> None:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise LedgerError("this process only reads the ledger: nothing was written")

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        with self._guard:
            now = self.fingerprint()
            if now is None:
                self._handle = self._of = None
                if self.path.exists():
                    raise LedgerMissing(
                        "the ledger is there and was never published for readers: "
                        "`hydra status` does it"
                    )
                raise LedgerMissing("there is no ledger yet: run a first cycle, `hydra cycle`")
            if self._handle is None or now != self._of:
                # Whoever still reads from the old handle keeps it alive by a cursor.
                self._handle, self._of = None, None
                self._handle, self._of = self._open_snapshot(), now
            cursor = self._handle.cursor()
        cursor.execute("USE ledger")
        cursor.execute("SET TimeZone = 'UTC'")
        return cursor

    def _open_snapshot(self) -> duckdb.DuckDBPyConnection:
        connection, have, known = attach_read_only(self.snapshot_path)
        if have == known:
            # Many small questions at a time: each in its own thread, and no pool beside them.
            connection.execute("SET threads = 1")
            return connection
        connection.close()
        if have > known:
            raise OldSnapshot(
                f"the ledger has schema version {have} and this program reads {known}: "
                "update the program"
            )
        raise OldSnapshot(
            f"the published ledger has schema version {have} and this program reads {known}: "
            "the next cycle brings it forward, or `hydra status` now"
        )


def fingerprint(path: Path) -> Fingerprint | None:
    """Of a file that is replaced or written to; None where it is not there."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size
