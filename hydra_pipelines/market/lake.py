"""The lake: a dense panel on disk that grows by one block a session.

Here belongs the storage of float64 panels [sessions, fields, symbols] and its promise to readers
and after a crash. What the numbers mean (bars, features) does not.

A folder holds

- `values-<n>.f64`: one block of [fields, symbols] float64 per session, appended;
- `sessions-<n>.bin`: per session its date and a 32-byte snapshot id, given by the writer;
- `log.jsonl`: what was changed after the fact, one JSON object a line;
- `manifest.json`: the layout, the file number `n` and how many sessions and log bytes count.

The manifest is the commit point: it is replaced atomically after the data has reached the disk,
and bytes beyond its counts do not exist. Appending writes behind what readers have mapped; any
other change writes a new pair of files, so a view taken earlier stays whole. Readers take no lock;
writers exclude each other by a file lock.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

_FORMAT = 1
_SESSION_ROW = np.dtype([("session", "<i8"), ("snapshot", "u1", (32,))])
_LOCK_PATIENCE = 30.0
_READ_ATTEMPTS = 5


class LakeError(RuntimeError):
    """The lake can't be read or written as asked."""


class LakeMissing(LakeError):
    """Nothing has been written to this lake yet."""


@dataclass(frozen=True)
class LakeView:
    """What a lake held at one commit; later writes do not change it.

    sessions: datetime64[D] (S,), ascending and unique.
    snapshots: uint8 (S, 32), the identity of the data up to and including each session.
    values: float64 (S, F, N), read-only and memory-mapped.
    about: what the writer noted about the panel as a whole.
    """

    sessions: np.ndarray
    snapshots: np.ndarray
    fields: tuple[str, ...]
    symbols: tuple[str, ...]
    values: np.ndarray
    about: Mapping[str, Any]

    def index(self, session: date) -> int:
        """Row of a session; raises LakeError where the lake does not have it."""
        day = np.datetime64(session, "D")
        i = int(np.searchsorted(self.sessions, day))
        if i == len(self.sessions) or self.sessions[i] != day:
            held = f"{self.sessions[0]} to {self.sessions[-1]}" if len(self.sessions) else "none"
            raise LakeError(f"session {session} is not in the lake, which holds {held}")
        return i

    def count_through(self, session: date) -> int:
        """How many sessions are not after `session`."""
        return int(np.searchsorted(self.sessions, np.datetime64(session, "D"), side="right"))

    def snapshot(self, session: date) -> str:
        """Identity of all data up to and including a session; later sessions don't change it."""
        return self.snapshots[self.index(session)].tobytes().hex()


class Lake:
    """A panel stored in one folder."""

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)

    def view(self) -> LakeView:
        """The panel as of the last commit. Raises LakeMissing, or LakeError for a damaged lake."""
        for _ in range(_READ_ATTEMPTS):
            manifest = self._manifest()
            if manifest is None:
                raise LakeMissing(f"nothing has been written to {self.folder} yet")
            try:
                return self._open(manifest)
            except FileNotFoundError as error:
                # A writer replaced the files between our two reads: look again.
                missing = error
        raise LakeError(f"{self.folder}: {missing}; remove the folder to have it built anew")

    def log(self) -> list[dict[str, Any]]:
        """Every change made after the fact, oldest first."""
        manifest = self._manifest()
        if manifest is None or not manifest["log_bytes"]:
            return []
        with open(self.folder / "log.jsonl", "rb") as file:
            return [json.loads(line) for line in file.read(manifest["log_bytes"]).splitlines()]

    @contextmanager
    def writing(self, patience: float = _LOCK_PATIENCE) -> Iterator[LakeWriter]:
        """The only writer of this lake, until the block ends.

        Raises LakeError where another writer holds the lake for longer than `patience` seconds.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _lock(handle, self.folder, patience)
            yield LakeWriter(self)
        finally:
            os.close(handle)

    def _manifest(self) -> dict[str, Any] | None:
        path = self.folder / "manifest.json"
        try:
            manifest = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise LakeError(f"{path} is not readable JSON: {error}") from error
        if manifest.get("format") != _FORMAT:
            raise LakeError(
                f"{path} has format {manifest.get('format')!r}, this version reads {_FORMAT}; "
                "remove the folder to have it built anew"
            )
        return manifest

    def _open(self, manifest: dict[str, Any]) -> LakeView:
        count, fields, symbols = (manifest[k] for k in ("sessions", "fields", "symbols"))
        values_path, sessions_path = _files(self.folder, manifest["generation"])
        with open(sessions_path, "rb") as file:
            rows = np.frombuffer(file.read(count * _SESSION_ROW.itemsize), _SESSION_ROW)
        shape = (count, len(fields), len(symbols))
        size = values_path.stat().st_size
        if len(rows) != count or size < 8 * np.prod(shape, dtype=int):
            raise LakeError(
                f"{values_path} or its sessions end before session {count} of the manifest; "
                "remove the folder to have it built anew"
            )
        values = (
            np.memmap(values_path, "<f8", mode="r", shape=shape)
            if 0 not in shape
            else np.empty(shape)
        )
        return LakeView(
            sessions=rows["session"].astype("datetime64[D]"),
            snapshots=rows["snapshot"],
            fields=tuple(fields),
            symbols=tuple(symbols),
            values=values.view(np.ndarray),
            about=manifest["about"],
        )


class LakeWriter:
    """Changes to a lake, each of them one commit. Made by `Lake.writing`."""

    def __init__(self, lake: Lake):
        self._lake = lake
        self._folder = lake.folder

    def view(self) -> LakeView | None:
        try:
            return self._lake.view()
        except LakeMissing:
            return None

    def append(self, sessions: np.ndarray, values: np.ndarray, snapshots: np.ndarray) -> None:
        """Add sessions behind the last one: (k,), (k, F, N) and (k, 32)."""
        manifest = self._lake._manifest()
        if manifest is None:
            raise LakeMissing(f"{self._folder} has no layout yet: write it with replace() first")
        count = manifest["sessions"]
        if count and len(sessions):
            held = self._lake.view().sessions[-1]
            if sessions[0] <= held:
                raise LakeError(f"{sessions[0]} can't be appended behind {held}")
        self._write(manifest, count, sessions, values, snapshots)
        self._commit(manifest | {"sessions": count + len(sessions)})

    def replace(
        self,
        fields: Sequence[str],
        symbols: Sequence[str],
        sessions: np.ndarray,
        values: np.ndarray,
        snapshots: np.ndarray,
        about: Mapping[str, Any] | None = None,
        log: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Put a whole panel in the place of what was there, and add lines to the log.

        Costs a copy of the panel: for a first fill, a changed layout and corrections.
        """
        old = self._lake._manifest() or {"generation": 0, "log_bytes": 0}
        manifest = {
            "format": _FORMAT,
            "generation": old["generation"] + 1,
            "fields": list(fields),
            "symbols": list(symbols),
            "sessions": len(sessions),
            "log_bytes": self._write_log(old["log_bytes"], log),
            "about": dict(about or {}),
        }
        self._write(manifest, 0, sessions, values, snapshots)
        self._commit(manifest)
        kept = set(_files(self._folder, manifest["generation"]))
        for path in (*self._folder.glob("values-*.f64"), *self._folder.glob("sessions-*.bin")):
            if path not in kept:
                path.unlink()

    def _write(
        self,
        manifest: Mapping[str, Any],
        count: int,
        sessions: np.ndarray,
        values: np.ndarray,
        snapshots: np.ndarray,
    ) -> None:
        shape = (len(sessions), len(manifest["fields"]), len(manifest["symbols"]))
        if values.shape != shape or snapshots.shape != (len(sessions), 32):
            raise LakeError(f"values of shape {values.shape} do not fit a layout of {shape}")
        if not (sessions[1:] > sessions[:-1]).all():
            raise LakeError("sessions of a lake must ascend without repeats")
        rows = np.zeros(len(sessions), _SESSION_ROW)
        rows["session"] = sessions.astype("datetime64[D]").astype(np.int64)
        rows["snapshot"] = snapshots
        values_path, sessions_path = _files(self._folder, manifest["generation"])
        _write_at(values_path, 8 * count * shape[1] * shape[2], np.ascontiguousarray(values, "<f8"))
        _write_at(sessions_path, count * _SESSION_ROW.itemsize, rows)

    def _write_log(self, end: int, lines: Sequence[Mapping[str, Any]]) -> int:
        if not lines:
            return end
        text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines).encode()
        _write_at(self._folder / "log.jsonl", end, text)
        return end + len(text)

    def _commit(self, manifest: Mapping[str, Any]) -> None:
        temporary = self._folder / "manifest.json.new"
        with open(temporary, "w") as file:
            json.dump(manifest, file, separators=(",", ":"))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self._folder / "manifest.json")
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _files(folder: Path, generation: int) -> tuple[Path, Path]:
    return folder / f"values-{generation:06d}.f64", folder / f"sessions-{generation:06d}.bin"


def _write_at(path: Path, offset: int, data: np.ndarray | bytes) -> None:
    """Write behind what counts and wait until it is on the disk; what was there is dropped."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    with open(handle, "r+b") as file:
        file.seek(offset)
        file.truncate()
        file.write(memoryview(data).cast("B") if len(data) else b"")  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())


def _lock(handle: int, folder: Path, patience: float) -> None:
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise LakeError(
                    f"{folder} is being written by another process; try again when it is done"
                ) from None
            time.sleep(0.02)
