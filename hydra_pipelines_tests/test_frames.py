"""The frames for notebooks: columns as documented, rows of the same store, the example."""

from __future__ import annotations

import inspect
import json
import re
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from hydra_pipelines import api, day
from hydra_pipelines.api.frames import COLUMNS
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger.store import LedgerMissing
from hydra_pipelines.settings import load_settings
from hydra_pipelines_tests import documents
from hydra_pipelines_tests.conftest import TradedDesk

DOCUMENT = documents.ROOT / "docs" / "api.md"
EMPTY = {"get_drift", "get_experiments"}
"""What a desk has none of after its first cycle."""


@pytest.fixture(scope="module")
def traded(traded_desk: TradedDesk) -> Desk:
    """The desk as its first cycle left it."""
    return Desk(load_settings(data_dir=traded_desk.left))


def test_every_frame_of_the_read_side_has_its_columns_written_down() -> None:
    assert {name for name in api.__all__ if name.startswith("get_")} == set(COLUMNS)
    for name in COLUMNS:
        assert inspect.getdoc(getattr(api, name))


@pytest.mark.parametrize("name", COLUMNS)
def test_a_frame_has_the_documented_columns_filled(traded: Desk, name: str) -> None:
    section = DOCUMENT.read_text().partition(f"### {name}\n")[2].partition("\n### ")[0]
    told = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", section, re.MULTILINE))
    assert told == COLUMNS[name]
    frame = getattr(api, name)(desk=traded)
    assert list(frame.columns) == list(told)
    assert (len(frame) == 0) is (name in EMPTY)
    for column, meaning in told.items() if name not in EMPTY else ():
        assert "missing" in meaning or frame[column].notna().any(), f"{column} is nowhere filled"
        if "USD" in meaning or "bps" in meaning:
            assert frame[column].dtype == float, column


def test_the_columns_of_checks_and_experiments_are_those_of_their_tables(traded: Desk) -> None:
    with traded.ledger.snapshot() as rows:
        for name, table in (("get_drift", "drift_checks"), ("get_experiments", "experiments")):
            found = rows.query(
                "SELECT column_name FROM information_schema.columns WHERE table_name = ?", [table]
            )
            held = {row["column_name"] for row in found}
            assert set(COLUMNS[name]) - {"mlflow"} <= held


def test_frames_hold_the_rows_of_the_read_side(traded: Desk) -> None:
    rows = api.trades(traded, limit=5)
    frame = api.get_executed_trades(rows[0]["symbol"], date(2019, 1, 3), limit=5, desk=traded)
    same = api.trades(traded, rows[0]["symbol"], date(2019, 1, 3), limit=5)
    assert list(frame["exec_id"]) == [row["exec_id"] for row in same]
    assert list(frame["price"]) == [float(row["price"]) for row in same]
    assert len(api.get_executed_trades(end=date(2019, 1, 2), desk=traded)) == 0
    value, curve = api.get_portfolio_value(traded), api.get_equity_curve(traded)
    assert value["equity"].iloc[0] == curve["equity"].iloc[-1]
    last = api.get_predictions(desk=traded)
    assert last.equals(api.get_predictions(date(2019, 1, 2), desk=traded))
    assert set(last["strategy_id"]) == {"HYP-2026-001", "HYP-2026-002"}
    strategies = api.get_deployed_strategies(traded).set_index("strategy_id")
    assert strategies["champion"]["HYP-2026-001"] == 1


def test_before_the_first_cycle_nothing_is_read_as_none_held(tmp_path: Path) -> None:
    with pytest.raises(LedgerMissing):
        api.get_live_positions(Desk(load_settings(data_dir=tmp_path / "desk")))


def test_the_example_of_the_document_plots_curve_slippage_and_drift(
    traded: Desk, traded_desk: TradedDesk, tmp_path: Path
) -> None:
    (example,) = documents.blocks(DOCUMENT.read_text(), "py")
    # Drift is what the first cycle has none of: the session is checked, on a copy.
    copy = Desk(
        load_settings(data_dir=Path(shutil.copytree(traded_desk.left, tmp_path / "my desk")))
    )
    day.check_drift(copy, date(2019, 1, 2), None, lambda text: None)
    done = subprocess.run(
        [sys.executable, "-c", example + "\nprint([len(trace.x) for trace in figure.data])"],
        env={**traded_desk.hydra.environment, "HYDRA_DATA_DIR": str(tmp_path / "my desk")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    curve, fills, checks = json.loads(done.stdout.splitlines()[-1])
    assert curve == len(api.equity_curve(copy)) and checks == len(api.drift_history(copy)) > 0
    assert fills == len(api.trades(copy, limit=1000)) > 10
    assert (tmp_path / "desk.html").stat().st_size > 10_000
