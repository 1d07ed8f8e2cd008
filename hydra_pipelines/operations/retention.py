"""What is removed when it is old: by the settings' section `retention`, and here alone.

Ledger, models and the history of runs are never cut. Dagster removes old ticks by itself, as
`dagster.yaml` says; a part's logs are bounded while they are written.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hydra_pipelines.desk import Desk

BACKUP_PATTERN = "hydra-*.tar.gz"
_DAY_S = 86_400
_LEFT_BEHIND_S = 3600
"""A file that is being written is renamed within this time, or its writer was killed."""


def clean_up(desk: Desk, now: float | None = None) -> list[str]:
    """Remove what is old; a sentence on each kind of which something was removed.

    now: seconds since the epoch. What can't be removed stays, and is said.
    """
    settings, now = desk.settings, time.time() if now is None else now
    keep = settings.retention
    data = settings.data_path
    # What a run printed lies in a folder of its own, beside those of the instance's databases.
    outputs = settings.dagster_home / "storage"
    kinds = {
        "reports": _older(_files(data / "reports"), now - keep.report_days * _DAY_S),
        "outputs of runs": _older(
            (path for path in _listed(outputs) if _is_run_output(path)),
            now - keep.run_output_days * _DAY_S,
        ),
        "backups": sorted(_listed(backups_of(desk), BACKUP_PATTERN))[: -keep.backups],
        "files left by a killed process": _older(
            [*data.glob(".*.duckdb.*"), *_listed(backups_of(desk), ".*.partial")],
            now - _LEFT_BEHIND_S,
        ),
    }
    return [text for kind, paths in kinds.items() for text in _removed(kind, list(paths))]


def backups_of(desk: Desk) -> Path:
    """Where backups lie unless another folder is named."""
    return desk.settings.data_path / "backups"


def _listed(folder: Path, pattern: str = "*") -> list[Path]:
    return list(folder.glob(pattern)) if folder.is_dir() else []


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []


def _is_run_output(path: Path) -> bool:
    return path.is_dir() and (path / "compute_logs").is_dir()


def _older(paths: Iterator[Path] | list[Path], than: float) -> list[Path]:
    found = []
    for path in paths:
        try:
            if path.stat().st_mtime < than:
                found.append(path)
        except FileNotFoundError:
            continue
    return found


def _removed(kind: str, paths: list[Path]) -> Iterator[str]:
    gone = 0
    for path in paths:
        try:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            gone += 1
        except OSError as error:
            yield f"{path} can't be removed: {error.strerror}"
    if gone:
        yield f"{gone} {kind} removed, by the settings' section retention"
