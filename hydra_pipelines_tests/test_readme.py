"""Every command of the README runs, in order, on a desk of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from hydra_pipelines_tests import documents
from hydra_pipelines_tests.desks import shut_down
from hydra_pipelines_tests.documents import ROOT

# `.ci/run` calls both, in a fresh clone.
RUN_ELSEWHERE = {"make cycle", "make test"}


def commands() -> list[str]:
    return documents.commands(ROOT / "README.md")


def test_the_readme_has_commands() -> None:
    assert set(commands()) > RUN_ELSEWHERE


def test_ci_runs_the_two_commands() -> None:
    ci = (ROOT / ".ci" / "run").read_text()
    assert "stage cycle" in ci and "make --no-print-directory test" in ci


@pytest.mark.skipif(
    not (ROOT / ".venv/bin/hydra").exists(),
    reason="the README's commands use .venv, which `make env` sets up",
)
def test_every_command_of_the_readme_runs(tmp_path: Path) -> None:
    # A folder that looks like a checkout to the commands, and shares the environment.
    checkout = tmp_path / "my desk"
    checkout.mkdir()
    for name in ("hydra.yaml", "dagster.yaml"):
        shutil.copy(ROOT / name, checkout / name)
    (checkout / ".venv").symlink_to(ROOT / ".venv")
    environment = {
        **os.environ,
        "HYDRA_ROOT": str(checkout),
        "HYDRA_DATA_DIR": str(checkout / "data"),
        "COLUMNS": "160",
    }
    script = documents.script([line for line in commands() if line not in RUN_ELSEWHERE])
    try:
        done = subprocess.run(
            ["bash", "-euxc", script],
            cwd=checkout,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        assert "equity" in done.stdout and "next due" in done.stdout
    finally:
        shut_down(checkout / "data")
