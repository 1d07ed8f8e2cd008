"""What is old is removed, what is not stays, and what can't be made again is never touched."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from hydra_pipelines.desk import Desk
from hydra_pipelines.operations.retention import clean_up
from hydra_pipelines.settings import load_settings

DAY_S = 86_400
NOW = time.time()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    retention = {"backups": 2, "report_days": 30, "run_output_days": 10}
    return Desk(load_settings(data_dir=tmp_path / "my desk", retention=retention))


def made(desk: Desk, path: str, days_ago: float) -> Path:
    file = desk.settings.data_path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("x")
    os.utime(file, (NOW - days_ago * DAY_S,) * 2)
    return file


def test_what_is_old_goes_and_the_rest_stays(desk: Desk) -> None:
    kept = [
        made(desk, "reports/2022/new.html", 29),
        made(desk, "backups/hydra-20220103T000000Z.tar.gz", 400),
        made(desk, "backups/hydra-20220104T000000Z.tar.gz", 500),
        made(desk, "backups/of-my-own.tar.gz", 5000),
        made(desk, "hydra.duckdb", 5000),
        made(desk, "control.sqlite", 5000),
        made(desk, "mlruns/mlflow.db", 5000),
        made(desk, "dagster/storage/runs.db", 5000),
        made(desk, "dagster/storage/00000000-new/compute_logs/a.out", 1),
        made(desk, ".hydra.snapshot.duckdb.4711", 0.01),
    ]
    gone = [
        made(desk, "reports/old.html", 31),
        made(desk, "backups/hydra-20220102T000000Z.tar.gz", 1),
        made(desk, "backups/.hydra-20220102T000000Z.tar.gz.17.partial", 2),
        made(desk, ".hydra.snapshot.duckdb.4712", 1),
    ]
    output = made(desk, "dagster/storage/11111111-old/compute_logs/a.out", 11)
    os.utime(output.parents[1], (NOW - 11 * DAY_S,) * 2)
    said = clean_up(desk, NOW)
    assert len(said) == 4 and all("removed" in text for text in said)
    assert [path for path in kept if not path.exists()] == []
    assert [path for path in (*gone, output.parents[1]) if path.exists()] == []
    assert clean_up(desk, NOW) == []


def test_a_new_desk_has_nothing_to_clean(desk: Desk) -> None:
    assert clean_up(desk) == []
