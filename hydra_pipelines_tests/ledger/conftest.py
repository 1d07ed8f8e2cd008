"""A ledger of its own for each test, and processes that hold, write or die."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hydra_pipelines.ledger.store import Ledger, Transaction

StartProcess = Callable[[str], "subprocess.Popen[str]"]

PROLOGUE = """
import os, sys, time
from pathlib import Path
import hydra_pipelines.ledger.store as store
ledger = store.Ledger(Path(sys.argv[1]), lock_timeout_s=20)
def here(): print("here", flush=True); time.sleep(60)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "it's my desk" / "hydra.duckdb"


@pytest.fixture
def ledger(path: Path) -> Ledger:
    return Ledger(path, lock_timeout_s=0.3)


@pytest.fixture(scope="module")
def module_ledger(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    """One ledger for many examples; each undoes what it wrote."""
    return Ledger(tmp_path_factory.mktemp("module") / "hydra.duckdb")


class Undo(Exception):
    """Raised at the end of an example, so that its transaction leaves nothing."""


@pytest.fixture
def tx(ledger: Ledger) -> Iterator[Transaction]:
    with ledger.transaction() as tx:
        yield tx


@pytest.fixture
def start(path: Path) -> Iterator[StartProcess]:
    """Start another process on the same ledger; returns once its code has called `here()`."""
    started: list[subprocess.Popen[str]] = []

    def run(code: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", PROLOGUE + code, str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "here\n", process.stderr.read()
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
