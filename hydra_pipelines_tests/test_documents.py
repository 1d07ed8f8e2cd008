"""What the documents say is there is there, and every command in them is run or read.

The convention, for README.md and each file of `docs/`:

- A block ```sh is run, in order, every line of it, by this test: on a copy of a desk that traded
  one session, one copy a document (README.md's, from nothing, by `test_readme.py`). A comment
  `# exit code 3` behind a command names the exit code that it has to end with; without, it is 0.
- A block whose first line names a file changes the project. A document with such blocks is followed
  on a copy of the whole project.
- What can't run here (a server that stays, IB Gateway, docker, what takes minutes) stands in a
  block ```console or ```text; usage lines and output are ```text too.
- In those, and in `code` in the prose, each `hydra …` has to be a command that takes these
  options, each `make …` a target, each HYDRA_ variable and each `section.field` a setting, each
  option, file, module and link something that exists.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hydra_pipelines.desk import Desk
from hydra_pipelines.operations.backup import back_up
from hydra_pipelines.operations.restore import restore
from hydra_pipelines.settings import load_settings
from hydra_pipelines_tests import documents
from hydra_pipelines_tests.conftest import TradedDesk
from hydra_pipelines_tests.desks import PROGRAM, shut_down

CHANGING = [d for d in documents.DOCS if any(kind == "change" for kind, _ in documents.steps(d))]
RUN = [d for d in documents.DOCS if documents.commands(d) and d not in CHANGING]


@pytest.mark.parametrize("document", documents.DOCUMENTS, ids=lambda path: path.stem)
def test_what_a_document_names_exists(document: Path) -> None:
    wrong = []
    for code in documents.named(document.read_text()):
        try:
            documents.check(code)
        except documents.Wrong as error:
            wrong.append(str(error))
    assert wrong == [] and documents.broken_links(document) == []


@pytest.mark.parametrize(
    "code",
    ["hydra papergate", "hydra paper-gate --sign", "hydra drill breaker --fault",
     "hydra status now", "hydra cycle --session", "hydra paper-trade begin", "make tests",
     "make up DOWN=1",
     "HYDRA_RISK__DAILY_LOS=1 hydra status", "risk.daily_los", "--no-such-option",
     "python -m benchmarks.nothing", "day/nothing.py", "nothing.py"],
)  # fmt: skip
def test_what_does_not_exist_is_noticed(code: str) -> None:
    with pytest.raises(documents.Wrong):
        documents.check(code)


def test_links_that_lead_nowhere_are_noticed(tmp_path: Path) -> None:
    document = tmp_path / "a.md"
    document.write_text("# It is\n[a](b.md) [b](#it-is) [c](#it-is-not) [d](https://example.com)")
    assert documents.broken_links(document) == ["b.md", "#it-is-not"]


def test_an_exit_code_that_is_named_has_to_come() -> None:
    def ends(*commands: str) -> int:
        return subprocess.run(["bash", "-ec", documents.script([*commands])]).returncode

    assert ends("(exit 3)  # exit code 3: so it is", "true") == 0
    assert ends("true  # exit code 3") and ends("(exit 1)  # exit code 3") and ends("false", "true")


@pytest.fixture(scope="module")
def backup(traded_desk: TradedDesk, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the desk that traded one session."""
    desk = Desk(load_settings(data_dir=traded_desk.hydra.folder))
    return back_up(desk, tmp_path_factory.mktemp("backup"))


@pytest.mark.parametrize("document", RUN, ids=lambda path: path.stem)
def test_the_commands_of_a_document_run(
    document: Path, backup: Path, traded_desk: TradedDesk, tmp_path: Path
) -> None:
    checkout = tmp_path / "my desk"
    data = a_desk(checkout, backup, traded_desk)
    try:
        type_in(checkout, documents.script(documents.commands(document)))
    finally:
        shut_down(data)


@pytest.mark.parametrize("document", CHANGING, ids=lambda path: path.stem)
def test_a_document_that_changes_the_project_is_followed(
    document: Path, backup: Path, traded_desk: TradedDesk, tmp_path: Path
) -> None:
    checkout = tmp_path / "my desk"
    data = a_desk(checkout, backup, traded_desk)
    for name in ("hydra_pipelines", "hydra_pipelines_tests", "data/sample"):
        shutil.copytree(documents.ROOT / name, checkout / name)
    shutil.copy(documents.ROOT / "pyproject.toml", checkout)
    try:
        for kind, step in documents.steps(document):
            if kind == "change":
                documents.change(checkout, step)
            else:
                type_in(checkout, step)
    finally:
        shut_down(data)


def test_a_change_between_lines_that_are_not_there_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("one\ntwo\n")
    documents.change(tmp_path, "# a.py\n one\n-two\n+three\n")
    assert (tmp_path / "a.py").read_text() == "one\nthree\n"
    with pytest.raises(documents.Wrong):
        documents.change(tmp_path, "# a.py\n one\n two\n+three\n")


def a_desk(checkout: Path, backup: Path, traded_desk: TradedDesk) -> Path:
    """Settings, programs and the desk that traded one session, in a folder; its data folder."""
    data, programs = checkout / "data", checkout / "bin"
    programs.mkdir(parents=True)
    for name in ("hydra.yaml", "dagster.yaml"):
        shutil.copy(documents.ROOT / name, checkout)
    for name in ("lake", "cache"):
        shutil.copytree(traded_desk.hydra.folder / name, data / name)
    restore(Desk(load_settings(checkout, data_dir=data)), backup, "user:test")
    for name, call in (("hydra", f' -c "{PROGRAM}"'), ("python", "")):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}"{call} "$@"\n')
        (programs / name).chmod(0o755)
    return data


def type_in(checkout: Path, script: str) -> None:
    done = subprocess.run(
        ["bash", "-euxc", script],
        cwd=checkout,
        env={
            **os.environ,
            "PATH": f"{checkout / 'bin'}:{os.environ['PATH']}",
            "HYDRA_ROOT": str(checkout),
            "HYDRA_DATA_DIR": str(checkout / "data"),
            "COLUMNS": "160",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{done.stdout[-1500:]}\n{done.stderr[-4000:]}"
