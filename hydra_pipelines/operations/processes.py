"""Which process is which, by its id and start; and the end of a process together with its parent.

A process id alone names nobody: the system gives it away again. Together with the time at which it
started, it does.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import signal
import socket
import subprocess
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

_PROC = Path("/proc")
_TOLERANCE = timedelta(seconds=2)
"""Of start times: the system keeps them in hundredths, relative to a boot time in seconds."""
_LOOK_S = 0.5
_GRACE_S = 5.0


def started_at(pid: int) -> datetime | None:
    """When the process began, in UTC; None where there is none. A zombie has ended.

    Raises OSError where the system doesn't tell.
    """
    if (_PROC / "stat").exists():
        return _started_by_proc(pid)
    done = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)],
        capture_output=True,
        text=True,
        env={**os.environ, "LC_ALL": "C", "TZ": "UTC"},
    )
    state, _, began = done.stdout.strip().partition(" ")
    if not began or state.startswith("Z"):
        return None
    return datetime.strptime(began.strip(), "%a %b %d %H:%M:%S %Y").replace(tzinfo=UTC)


def _started_by_proc(pid: int) -> datetime | None:
    fields = _stat(pid)
    if not fields or fields[0] == "Z":
        return None
    boot = next(
        int(line.split()[1])
        for line in (_PROC / "stat").read_text().splitlines()
        if line.startswith("btime")
    )
    return datetime.fromtimestamp(boot + int(fields[19]) / os.sysconf("SC_CLK_TCK"), UTC)


def _stat(pid: int) -> list[str]:
    """State, parent, group, … of a process; empty where there is none."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    # The name, in brackets, may hold anything.
    return text.rpartition(")")[2].split()


def is_the_one(pid: int, seen: datetime) -> bool:
    """Whether the process that had this id at the instant `seen` still lives."""
    began = started_at(pid)
    return began is not None and began <= seen + _TOLERANCE


def ends(pid: int, within_s: float) -> bool:
    """Wait for a process that was asked to end, ours or not; false where it is still there."""
    deadline = time.monotonic() + within_s
    while started_at(pid) is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@functools.cache
def machine() -> str:
    """Names the machine, or the container, whose process ids are the ones seen here."""
    try:
        ids = os.readlink(_PROC / "self" / "ns" / "pid")
    except OSError:
        ids = ""
    return hashlib.sha256(f"{socket.gethostname()} {ids}".encode()).hexdigest()[:10]


def group_lives(group: int) -> bool:
    """Whether a process of the group is there, be it one that we may not signal.

    Not those that have ended and wait for somebody to collect their exit code, as far as the system
    tells: in a container that may be never.
    """
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    if not (_PROC / "stat").exists():
        return True
    return any(
        fields[0] != "Z" and int(fields[2]) == group
        for entry in _PROC.iterdir()
        if entry.name.isdigit() and (fields := _stat(int(entry.name)))
    )


def signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def listens(path: Path) -> bool:
    """Whether somebody answers at a socket in the file system."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def end_with_parent() -> None:
    """From here on, end this process in order soon after the one that started it is gone."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_S)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_GRACE_S)
        os._exit(1)

    threading.Thread(target=watch, name="parent watch", daemon=True).start()
