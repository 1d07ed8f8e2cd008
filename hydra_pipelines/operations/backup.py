"""A desk in one file: what can't be made again, as it was at one moment.

The ledger's lock is held while the stores are copied, so no stage of a run falls in between: with
the embedded venue, account and ledger tell of the same orders. What a run keeps to itself at that
moment is what a crash would lose, and reconciliation is made for that.

Not in it: bars and features, which are made again from their source; secrets (`.env`); the history
of runs in Dagster, unless it is asked for.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra_pipelines.ledger.store import LedgerError
from hydra_pipelines.operations.retention import backups_of

if TYPE_CHECKING:
    from hydra_pipelines.desk import Desk

FORMAT = 1
MANIFEST = "manifest.json"
LEDGER, CONTROL, VENUE = "hydra.duckdb", "control.sqlite", "paper/venue.sqlite"
REGISTRY, ARTIFACTS = "mlruns/mlflow.db", "mlruns/artifacts"
SETTINGS, DAGSTER = "hydra.yaml", "dagster"
_LOCKS = ("*.lock", "*-wal", "*-shm", "*-journal")


class BackupError(LedgerError):
    """A backup can't be made or used; the message says why and what to do."""


@dataclass(frozen=True)
class Manifest:
    """What a backup holds, and of what.

    files: path in the archive -> SHA-256. artifacts: the folder that the registry's records name.
    """

    format: int
    made_at: str
    version: str
    schema: int
    mode: str
    venue: str
    account: str
    data: str
    artifacts: str
    sessions_planned: int
    executions: int
    last_session: str | None
    with_runs: bool
    files: dict[str, str]

    @classmethod
    def of(cls, text: str) -> Manifest:
        """Raises BackupError where it is none, or of a later program."""
        try:
            content = json.loads(text)
            if content["format"] > FORMAT:
                raise BackupError(
                    f"the backup is of version {content['version']} of this program, which writes "
                    f"format {content['format']}; this one reads {FORMAT}: update the program"
                )
            return cls(**content)
        except (ValueError, KeyError, TypeError) as error:
            raise BackupError(f"its {MANIFEST} can't be read: {error}") from error


def back_up(desk: Desk, folder: Path | None = None, with_runs: bool = False) -> Path:
    """Write a backup into a folder (default: the data folder's `backups/`); the archive's path.

    with_runs: with Dagster's history of runs. Raises BackupError, or LedgerBusy where a run holds
    the ledger for longer than its time-out.
    """
    settings = desk.settings
    if not settings.ledger_path.exists():
        raise BackupError(f"there is no ledger at {settings.ledger_path} to back up")
    folder = folder or backups_of(desk)
    now = datetime.now(UTC)
    name = f"hydra-{now:%Y%m%dT%H%M%SZ}.tar.gz"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".hydra-backup-", dir=folder) as temporary:
            stage = Path(temporary)
            facts = _copy_stores(desk, stage)
            _copy_files(desk, stage, with_runs)
            manifest = Manifest(
                format=FORMAT,
                made_at=now.isoformat(timespec="seconds"),
                version=version("hydra-pipelines"),
                mode=settings.mode,
                venue=settings.broker.venue,
                account=(settings.embedded.account if desk.embedded else settings.broker.account),
                data=str(settings.data_path),
                artifacts=(settings.mlruns_path / "artifacts").resolve().as_uri(),
                with_runs=with_runs,
                files={path: checksum(stage / path) for path in _paths(stage)},
                **facts,
            )
            (stage / MANIFEST).write_text(json.dumps(asdict(manifest), indent=2))
            partial = folder / f".{name}.{os.getpid()}.partial"
            try:
                _pack(stage, partial)
                os.replace(partial, folder / name)
            finally:
                partial.unlink(missing_ok=True)
    except (OSError, sqlite3.Error) as error:
        raise BackupError(f"the backup can't be written to {folder}: {error}") from error
    return folder / name


def checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def copy_sqlite(source: Path, target: Path) -> None:
    """A consistent copy, also while others write."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True, timeout=30)) as old,
        closing(sqlite3.connect(target)) as new,
    ):
        old.backup(new)
        # One file, whatever the original keeps beside it.
        new.execute("PRAGMA journal_mode = DELETE")


def _copy_stores(desk: Desk, stage: Path) -> dict[str, Any]:
    """All stores as they are at one moment; what the manifest says of the ledger."""
    settings = desk.settings
    with desk.ledger.session():
        with desk.ledger.transaction() as tx:
            facts = {
                "schema": tx.value("SELECT max(number) FROM schema_versions"),
                "sessions_planned": tx.value("SELECT count(DISTINCT session) FROM plans"),
                "executions": tx.value("SELECT count(*) FROM executed_trades"),
                "last_session": tx.value("SELECT CAST(max(session) AS VARCHAR) FROM plans"),
            }
        desk.ledger.copy_to(stage / LEDGER)
        copy_sqlite(settings.control_path, stage / CONTROL)
        venue = settings.data_path / VENUE
        if desk.embedded and venue.exists():
            copy_sqlite(venue, stage / VENUE)
        if desk.registry.is_local and desk.registry.exists():
            # What the ledger names is there already: versions are registered before they are used.
            copy_sqlite(settings.mlruns_path / "mlflow.db", stage / REGISTRY)
    return facts


def _copy_files(desk: Desk, stage: Path, with_runs: bool) -> None:
    """What is written once and not changed, and so needs no lock."""
    settings = desk.settings
    artifacts = settings.mlruns_path / "artifacts"
    if (stage / REGISTRY).exists() and artifacts.is_dir():
        shutil.copytree(artifacts, stage / ARTIFACTS)
    for own in settings.data_path.glob("*.yaml"):
        shutil.copyfile(own, stage / own.name)
    if (settings.root / SETTINGS).exists():
        shutil.copyfile(settings.root / SETTINGS, stage / SETTINGS)
    if with_runs and settings.dagster_home.is_dir():
        _copy_dagster(settings.dagster_home, stage / DAGSTER)


def _copy_dagster(home: Path, target: Path) -> None:
    shutil.copytree(home, target, ignore=shutil.ignore_patterns("*.db", *_LOCKS))
    for database in home.rglob("*.db"):
        copy_sqlite(database, target / database.relative_to(home))


def _paths(stage: Path) -> Iterator[str]:
    for path in sorted(stage.rglob("*")):
        if path.is_file():
            yield path.relative_to(stage).as_posix()


def _pack(stage: Path, target: Path) -> None:
    # Positions and account are nobody else's business.
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        with tarfile.open(fileobj=file, mode="w:gz", compresslevel=3) as archive:
            archive.add(stage / MANIFEST, MANIFEST)
            for path in _paths(stage):
                if path != MANIFEST:
                    archive.add(stage / path, path)
        file.flush()
        os.fsync(file.fileno())
