"""The Dagster instance of a desk: its home under the data folder, made once and alone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger.store import exclusive


def prepare_home(desk: Desk) -> Path:
    """The instance's home with the project's `dagster.yaml` in it."""
    home = desk.settings.dagster_home
    home.mkdir(parents=True, exist_ok=True)
    source, target = desk.settings.root / "dagster.yaml", home / "dagster.yaml"
    if source.exists() and (not target.exists() or source.read_bytes() != target.read_bytes()):
        shutil.copyfile(source, target)
    return home


@contextmanager
def desk_instance(desk: Desk) -> Iterator[dg.DagsterInstance]:
    """The desk's instance; `DAGSTER_HOME` of this process points to it from here on."""
    home = prepare_home(desk)
    os.environ["DAGSTER_HOME"] = str(home)
    # Two first starts at the same time would corrupt the instance's SQLite files.
    with exclusive(home / ".first-start.lock", 60, "the Dagster instance's start"):
        instance = dg.DagsterInstance.get()
    with instance:
        yield instance
