"""The Dagster instance of a desk: its home under the data folder, made once and alone."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from hydra_pipelines.defs.engines import STORAGE, lend_secrets
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger.store import exclusive
from hydra_pipelines.settings import SettingsError


def prepare_home(desk: Desk) -> Path:
    """The instance's home with its `dagster.yaml`: the project's, and the storage of the settings.

    What that names of the environment is there for this process and those that it starts. Raises
    SettingsError where the project's file has a storage of its own.
    """
    home, chosen = desk.settings.dagster_home, desk.settings.dagster.storage
    home.mkdir(parents=True, exist_ok=True)
    source, target = desk.settings.root / "dagster.yaml", home / "dagster.yaml"
    text = source.read_text() if source.exists() else ""
    if STORAGE[chosen] and re.search(r"^storage\s*:", text, re.MULTILINE):
        raise SettingsError(
            f"{source} names a storage, and dagster.storage is {chosen}: remove one of them"
        )
    text += STORAGE[chosen]
    if text and (not target.exists() or target.read_text() != text):
        # Whole at every moment: other processes of the desk may be starting.
        new = home / f".dagster.yaml.{os.getpid()}"
        new.write_text(text)
        os.replace(new, target)
    lend_secrets(desk.settings)
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
