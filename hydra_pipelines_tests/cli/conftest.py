"""Desks on which nothing was run, to look at or to break."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from hydra_pipelines_tests.desks import CommandLine, shut_down


@pytest.fixture(scope="package")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """A desk on which nothing was ever run."""
    hydra = CommandLine(tmp_path_factory.mktemp("empty") / "my desk")
    yield hydra
    shut_down(hydra.folder)


@pytest.fixture
def broken(tmp_path: Path, empty: CommandLine) -> CommandLine:
    """A desk to break, which has its calendar already."""
    empty.json("status")
    hydra = CommandLine(tmp_path / "my desk")
    shutil.copytree(empty.folder / "cache", hydra.folder / "cache")
    return hydra
