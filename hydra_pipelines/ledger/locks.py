"""Kernel file locks between the processes of a desk: they die with their holder.

Whoever waits for one says so, so that a holder who works for long can let others in between.
"""

from __future__ import annotations

import fcntl
import os
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO


class LedgerError(RuntimeError):
    """The ledger can't be read or written; the message says why and what to do."""


class LedgerBusy(LedgerError):
    """Another process held the write lock for longer than the time-out."""


@contextmanager
def exclusive(path: Path, timeout_s: float, purpose: str) -> Iterator[None]:
    """Hold a kernel file lock for as long as the block runs; raises LedgerBusy naming `purpose`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+") as handle:
        acquire(handle, timeout_s, path, purpose)
        yield


def acquire(handle: IO[str], timeout_s: float, path: Path, purpose: str = "the ledger") -> None:
    """Lock an open file; it stays locked until it is closed. Raises LedgerBusy."""
    deadline = time.monotonic() + timeout_s
    with ExitStack() as stack:
        waiting = False
        while not _locked(handle):
            if not waiting:
                sign = stack.enter_context(open(_sign(path), "a"))
                fcntl.flock(sign, fcntl.LOCK_SH)
                waiting = True
            if time.monotonic() > deadline:
                handle.seek(0)
                holder = handle.read().strip() or "unknown"
                raise LedgerBusy(
                    f"{purpose} is held by process {holder} for more than {timeout_s:g} s "
                    f"(lock {path}); wait for it to end, or end it, and try again"
                ) from None
            time.sleep(random.uniform(0.005, 0.03))
    handle.truncate(0)
    handle.write(str(os.getpid()))
    handle.flush()


def waited_for(path: Path) -> bool:
    """Whether anybody waits for the lock at `path`; its holder asks."""
    try:
        with open(_sign(path)) as sign:
            return not _locked(sign)
    except FileNotFoundError:
        return False


def _locked(handle: IO[str]) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sign(path: Path) -> Path:
    """Locked by all who wait for another lock, each sharing it."""
    return path.with_name(path.name + ".wanted")
