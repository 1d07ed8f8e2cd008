"""Costs that do not depend on the machine: modules imported, files opened, rows read.

A count above its bound is a regression whatever the clock says; where one has to rise, raise its
bound in the same commit.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from hydra_pipelines.features import panel as features_panel
from hydra_pipelines.features.catalogue import CATALOGUE
from hydra_pipelines.features.panel import update_features
from hydra_pipelines.market.ingest import ingest
from hydra_pipelines.market.lake import Lake
from hydra_pipelines.sessions import Calendar
from hydra_pipelines_tests.desks import PROGRAM
from hydra_pipelines_tests.market.builders import MemorySource, random_bars

COUNTED = """
import json, sys
opened = []
sys.addaudithook(lambda event, found: opened.append(str(found[0])) if event == "open" else None)
before = set(sys.modules)
try:
    {code}
except SystemExit as end:
    assert not end.code
# What a package brings, its description among it, depends on what else is installed.
files = [name for name in opened if "site-packages" not in name and name not in ("", "None")
         and not name.endswith((".py", ".pyc", ".so"))]
print("\\n" + json.dumps([len(set(sys.modules) - before), len(files)]))
"""


@pytest.mark.parametrize(
    ("code", "arguments", "modules", "files"),
    [
        (PROGRAM, ["--help"], 330, 5),
        (PROGRAM, ["status"], 1000, 80),
        ("from hydra_pipelines import dagster_definitions", [], 1650, 80),
    ],
    ids=["help", "status", "definitions"],
)
def test_starts_import_and_open_no_more_than_they_did(
    tmp_path: Path, code: str, arguments: list[str], modules: int, files: int
) -> None:
    Calendar.load("XNYS", tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", COUNTED.format(code=code), *arguments],
        env={**os.environ, "HYDRA_DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    imported, opened = json.loads(done.stdout.splitlines()[-1])
    assert 0 < imported <= modules and opened <= files, (imported, opened)


def test_a_session_of_features_reads_its_look_back_and_no_more(tmp_path: Path) -> None:
    """Rows of the bars that an update asks for, after two years of history and after eight."""
    calendar = Calendar.load("XNYS", tmp_path)
    read = []
    for years in (2, 8):
        sessions = [day for day in calendar.sessions if day.year >= 2010][: 252 * years]
        bars, features = Lake(tmp_path / f"bars{years}"), Lake(tmp_path / f"features{years}")
        source, now = MemorySource(random_bars(sessions)), datetime(2023, 1, 1, tzinfo=UTC)
        ingest(source, bars, sessions[-2], calendar, now)
        update_features(bars, features, sessions[-2])
        ingest(source, bars, sessions[-1], calendar, now)
        rows: list[int] = []
        real = features_panel._input

        def counted(
            *given: Any, rows: list[int] = rows, real: Callable[..., Any] = real
        ) -> np.ndarray:
            found = real(*given)
            rows.append(len(found))
            return found

        with patch.object(features_panel, "_input", counted):
            assert update_features(bars, features, sessions[-1]).added == 1
        read.append(sorted(rows))
    longest = max(entry.lookback for entry in CATALOGUE)
    assert read[0] == read[1] and 0 < read[0][-1] <= longest + 1
