"""Connections to an SQLite file: one that is kept from one use to the next, for who asks the same
file often, and one for the moment.

Here belongs when a kept connection may be used again. What is asked is the asker's business.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@contextmanager
def connected(path: Path, table: str, timeout_s: float) -> Iterator[sqlite3.Connection]:
    """A connection for the block, its folder and `table` (CREATE TABLE IF NOT EXISTS …) made.

    Each statement commits by itself. timeout_s: how long another writer is waited for. Raises
    sqlite3.Error and OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=timeout_s, isolation_level=None)
    try:
        connection.execute(table)
        yield connection
    finally:
        connection.close()


class KeptConnection:
    """The connection to one file, opened when it is first used.

    It is opened anew after an error, in another thread, in the child of a fork, and where the file
    was replaced or written past SQLite's WAL. While it is in use, a second use gets its own.
    """

    def __init__(self, path: Path, connect: Callable[[], sqlite3.Connection]):
        self._path = path
        self._connect = connect
        self._kept: _Kept | None = None

    def __del__(self) -> None:
        self.drop()

    @contextmanager
    def use(self) -> Iterator[sqlite3.Connection]:
        """Raises what `connect` and the block raise."""
        kept, self._kept = self._kept, None
        if kept is None or not kept.fits(self._path):
            if kept is not None:
                kept.drop()
            kept = self._open()
        try:
            yield kept.connection
        except BaseException:
            kept.drop()
            raise
        # Another use in between may have left one of its own.
        self.drop()
        self._kept = kept

    def drop(self) -> None:
        """Close what is kept."""
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.drop()

    def _open(self) -> _Kept:
        connection = self._connect()
        try:
            return _Kept(connection, _owner(), _identity(self._path))
        except BaseException:
            connection.close()
            raise


_NOT_OURS: list[sqlite3.Connection] = []
"""Connections that a fork's parent or another thread may still use, so that nobody closes them."""


@dataclass(frozen=True)
class _Kept:
    connection: sqlite3.Connection
    owner: tuple[int, int]
    file: tuple[int, int, int, int]

    def fits(self, path: Path) -> bool:
        try:
            return self.owner == _owner() and self.file == _identity(path)
        except OSError:
            return False

    def drop(self) -> None:
        if self.owner == _owner():
            self.connection.close()
        else:
            _NOT_OURS.append(self.connection)


def _owner() -> tuple[int, int]:
    return os.getpid(), threading.get_ident()


def _identity(path: Path) -> tuple[int, int, int, int]:
    """Another one when the file is replaced, restored or damaged."""
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
