"""A desk from its backup: checked before anything is touched, and what was there is kept aside.

What stops trading is stronger than a backup: a kill switch that is on, or a breaker that is
tripped, stays so. A desk at a broker is halted: the broker went on since the backup, and a person
should look at what reconciliation finds before anything is sent.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hydra_pipelines.control import Control, ControlError
from hydra_pipelines.ledger.store import exclusive, newest_schema
from hydra_pipelines.operations.backup import (
    ARTIFACTS,
    CONTROL,
    DAGSTER,
    LEDGER,
    MANIFEST,
    REGISTRY,
    SETTINGS,
    VENUE,
    BackupError,
    Manifest,
    checksum,
)
from hydra_pipelines.operations.integrity import require_sound_stores
from hydra_pipelines.operations.processes import ends
from hydra_pipelines.operations.stack import only_one

if TYPE_CHECKING:
    from hydra_pipelines.desk import Desk

_GATEWAY_ENDS_S = 10.0
_PATIENCE_S = 2.0


@dataclass(frozen=True)
class Restored:
    """What was done. aside: where the stores that were there lie now; None where none were."""

    manifest: Manifest
    aside: Path | None
    notes: tuple[str, ...]


def read_manifest(archive: Path) -> Manifest:
    """What an archive says of itself, its content not checked. Raises BackupError."""
    try:
        with tarfile.open(archive) as tar:
            file = tar.extractfile(MANIFEST)
            if file is None:
                raise BackupError(f"{archive} is no backup of this program")
            manifest = Manifest.of(file.read().decode())
    except (OSError, EOFError, tarfile.TarError, KeyError, UnicodeDecodeError) as error:
        raise BackupError(f"{archive} is no backup that can be read: {error}") from error
    if manifest.schema > newest_schema():
        raise BackupError(
            f"{archive} has a ledger of schema {manifest.schema}, this program knows up to "
            f"{newest_schema()}: update the program first"
        )
    return manifest


def stores_there(desk: Desk, manifest: Manifest) -> list[Path]:
    """What a restore would move aside."""
    return [path for path in _places(desk, manifest).values() if path.exists()]


def restore(desk: Desk, archive: Path, actor: str) -> Restored:
    """Put the stores of a backup in the place of the desk's.

    Raises BackupError where the archive isn't whole, UpRefused where the desk is up, LedgerBusy
    where a run works with it, StoreDamaged where what was restored doesn't fit together.
    """
    settings = desk.settings
    manifest = read_manifest(archive)
    if desk.embedded != (manifest.venue == "embedded"):
        raise BackupError(
            f"the backup is of a desk at broker.venue: {manifest.venue}, and this one's is "
            f"{settings.broker.venue}: set that first"
        )
    desk.close()
    settings.data_path.mkdir(parents=True, exist_ok=True)
    with (
        only_one(desk, f"process {os.getpid()}, which restores a backup"),
        exclusive(settings.data_path / "broker.lock", _PATIENCE_S, "the connection to the broker"),
        exclusive(settings.ledger_path.with_suffix(".lock"), _PATIENCE_S, "the ledger"),
        _extracted(archive, manifest, settings.data_path) as stage,
    ):
        end_venue(desk)
        stops = _what_stops(settings.control_path)
        aside = _move_aside(desk, manifest)
        notes = _put_in_place(desk, stage, manifest)
        _stop_again(desk, stops)
        _note(desk, manifest, archive, actor)
    # Its schema is brought forward by that.
    desk.ledger.publish()
    require_sound_stores(desk)
    if desk.registry.is_local and desk.registry.exists():
        notes += _check_models(desk)
    return Restored(manifest, aside, tuple(notes))


@contextmanager
def _extracted(archive: Path, manifest: Manifest, folder: Path) -> Iterator[Path]:
    """The archive's files, each of which is what the manifest says, and no others."""
    with tempfile.TemporaryDirectory(prefix=".restore-", dir=folder) as temporary:
        stage = Path(temporary)
        wrong = set(manifest.files)
        try:
            with tarfile.open(archive) as tar:
                for member in tar:
                    # Only what the manifest names is written, and that within the folder.
                    file = tar.extractfile(member) if member.isfile() else None
                    target = (stage / member.name).resolve()
                    if member.name == MANIFEST:
                        continue
                    if (
                        file is None
                        or member.name not in manifest.files
                        or not target.is_relative_to(stage.resolve())
                    ):
                        wrong.add(member.name)
                        continue
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with target.open("wb") as out:
                        shutil.copyfileobj(file, out)
                    if checksum(target) == manifest.files[member.name]:
                        wrong.discard(member.name)
        except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
            raise BackupError(f"{archive} can't be unpacked: {error}; nothing changed") from error
        if wrong:
            raise BackupError(
                f"{archive} is damaged: {', '.join(sorted(wrong)[:3])} is not what was backed up; "
                "nothing changed"
            )
        yield stage


def _places(desk: Desk, manifest: Manifest) -> dict[str, Path]:
    """Path in the archive -> where it belongs on this desk."""
    settings = desk.settings
    places = {LEDGER: settings.ledger_path, CONTROL: settings.control_path}
    if desk.embedded:
        places[VENUE] = settings.data_path / VENUE
    if desk.registry.is_local:
        places[REGISTRY] = settings.mlruns_path / "mlflow.db"
        places[ARTIFACTS] = settings.mlruns_path / "artifacts"
    if manifest.with_runs:
        places[DAGSTER] = settings.dagster_home
    return places


def end_venue(desk: Desk) -> None:
    from hydra_pipelines.paper_gateway.control import GatewayControl
    from hydra_pipelines.paper_gateway.launch import find_running

    running = find_running(desk.settings.venue_path)
    if running is not None:
        GatewayControl(running).shutdown()
        if not ends(running.pid, _GATEWAY_ENDS_S):
            raise BackupError(
                f"the paper venue, process {running.pid}, does not end; nothing changed"
            )


def _move_aside(desk: Desk, manifest: Manifest) -> Path | None:
    """Out of the way, each store with its write-ahead log; where they lie now."""
    if not stores_there(desk, manifest):
        return None
    data = desk.settings.data_path
    aside = data / f"before-restore-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    for name, place in _places(desk, manifest).items():
        for suffix in ("", ".wal", "-wal", "-shm"):
            path = place.with_name(place.name + suffix)
            if path.exists():
                target = aside / Path(name).with_name(path.name)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(path, target)
    # Of the ledger that was; it is published anew.
    desk.ledger.snapshot_path.unlink(missing_ok=True)
    return aside


def _put_in_place(desk: Desk, stage: Path, manifest: Manifest) -> list[str]:
    settings = desk.settings
    notes: list[str] = []
    if (stage / REGISTRY).exists():
        if desk.registry.is_local:
            new = (settings.mlruns_path / "artifacts").resolve().as_uri()
            lead_elsewhere(stage / REGISTRY, manifest.artifacts, new)
        else:
            notes.append(f"models stay those of {settings.registry_uri}, not the backup's")
    for name, place in _places(desk, manifest).items():
        if (stage / name).exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(stage / name, place)
    for own in stage.glob("*.yaml"):
        if own.name != SETTINGS:
            shutil.move(own, settings.data_path / own.name)
    notes += _compare_settings(desk, stage)
    return notes


def _compare_settings(desk: Desk, stage: Path) -> list[str]:
    """The desk's hydra.yaml is a person's: another one is put beside the stores, to compare."""
    backed_up, here = stage / SETTINGS, desk.settings.root / SETTINGS
    if not backed_up.exists() or (here.exists() and here.read_bytes() == backed_up.read_bytes()):
        return []
    beside = desk.settings.data_path / "hydra.yaml.of-the-backup"
    shutil.move(backed_up, beside)
    return [f"{here} differs from the one of the backup, which is now {beside}: compare them"]


def lead_elsewhere(database: Path, old: str, new: str) -> int:
    """Make the registry's records name another folder of artifacts; how many were changed.

    old, new: URIs. MLflow keeps them whole in every record.
    """
    changed = 0
    with closing(sqlite3.connect(database)) as connection, connection:
        tables = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        ).fetchall()
        for (table,) in tables:
            for _, column, kind, *_ in connection.execute(f'PRAGMA table_info("{table}")'):
                if not kind.upper().startswith(("VARCHAR", "TEXT", "CHAR")):
                    continue
                cursor = connection.execute(
                    f'UPDATE "{table}" SET "{column}" = ? || substr("{column}", ?) '
                    f'WHERE "{column}" = ? OR substr("{column}", 1, ?) = ?',
                    (new, len(old) + 1, old, len(old) + 1, f"{old}/"),
                )
                changed += cursor.rowcount
    return changed


def _what_stops(path: Path) -> list[tuple[str, str, str]]:
    """What keeps the desk as it is from trading: (what, reason, session)."""
    if not path.exists():
        return []
    try:
        control = Control(path)
        stops = [(b.name, b.reason, b.session) for b in control.tripped()]
        if control.kill_switch:
            stops.append(("kill_switch", "it was on before a backup was restored", ""))
        if control.agent_paused:
            stops.append(("agent", "it was paused before a backup was restored", ""))
    except ControlError:
        # A damaged one is a reason to restore, and what it stopped isn't known.
        return [("kill_switch", "the control store was damaged before a backup was restored", "")]
    return stops


def _stop_again(desk: Desk, stops: list[tuple[str, str, str]]) -> None:
    control = Control(desk.settings.control_path)
    for what, reason, session in stops:
        if what == "kill_switch":
            if not control.kill_switch:
                control.set_kill_switch(True, reason)
        elif what == "agent":
            if not control.agent_paused:
                control.set_agent_paused(True, reason)
        else:
            control.trip(what, reason, session)
    if not desk.embedded and not control.kill_switch:
        control.set_kill_switch(
            True, "a backup was restored: look at `hydra sync-positions` before trading goes on"
        )


def _note(desk: Desk, manifest: Manifest, archive: Path, actor: str) -> None:
    control = Control(desk.settings.control_path)
    details = {"of": manifest.made_at, "from": manifest.data, "archive": archive.name}
    control.note("backup_restored", actor, details)
    # Parts that ran when the backup was made don't run here.
    desk.components.forget_all()


def _check_models(desk: Desk) -> list[str]:
    """What can't be loaded of what trades."""
    from hydra_pipelines.models.registry import RegistryError

    notes = []
    for strategy in desk.strategies:
        try:
            champion = desk.registry.champion(strategy.id)
            if champion is not None and champion.sha256:
                desk.registry.load_inference(champion)
        except RegistryError as error:
            notes.append(f"the champion of {strategy.id} can't be used: {error}")
    return notes
