"""The HTML report of a drift run: sampled rows to a process of its own, which may fail or hang."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from hydra_pipelines.day.champions import look_at_registry
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger import drift

if TYPE_CHECKING:
    import numpy as np

    from hydra_pipelines.day.drift import DriftRun
    from hydra_pipelines.day.drift_inputs import Watched

Say = Callable[[str], None]
FOLDER = Path("reports", "drift")
"""Under the data folder."""


def make_drift_report(desk: Desk, run: DriftRun, say: Say = lambda _: None) -> str | None:
    """Make the report of a run and keep its place with the run; None, and a word, where it fails.

    A run that has one keeps it. Never raises for what goes wrong with the report: the check stands.
    Returns the path relative to the data folder.
    """
    with desk.ledger.transaction() as tx:
        stored = drift.run_of(tx, run.session)
    known = stored["report"] if stored and stored["run_no"] == run.run_no else None
    if known and (desk.settings.data_path / known).exists():
        return str(known)
    place = FOLDER / f"{run.session}-{run.run_no}.html"
    timeout_s = desk.settings.monitoring.report_timeout_s
    try:
        with tempfile.TemporaryDirectory(prefix="hydra-drift-") as folder:
            if not _write_samples(desk, run, Path(folder)):
                return None
            _render(folder, desk.settings.data_path / place, run, timeout_s)
    except subprocess.TimeoutExpired:
        say(f"no HTML report: it took longer than {timeout_s:g} s")
        return None
    except Exception as error:
        say(f"no HTML report: {type(error).__name__}: {error}")
        return None
    with desk.ledger.transaction() as tx:
        drift.record_report(tx, run.run_no, place.as_posix())
    desk.ledger.publish()
    return place.as_posix()


def _render(folder: str, output: Path, run: DriftRun, timeout_s: float) -> None:
    title = f"Drift, session {run.session}: {run.status.replace('_', ' ')}"
    package = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "hydra_pipelines.monitoring.report", folder, str(output), title],
        env={**os.environ, "DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise RuntimeError(f"its process ended with {done.returncode}: {last}")


def _write_samples(desk: Desk, run: DriftRun, folder: Path) -> int:
    """Rows of reference and window, of each model that was checked; returns how many models."""
    from hydra_pipelines.day.drift_inputs import Market, watched
    from hydra_pipelines.monitoring.report import write_sample

    market = Market.read(desk, run.session)
    looked = {model.strategy_id: model for model in look_at_registry(desk, verify=False)}
    settings, written = desk.settings.monitoring, 0
    for row in run.models:
        model = looked.get(row["strategy_id"])
        if model is None or model.champion != row["model_version"]:
            # It was set back since, or moved by hand.
            continue
        one = watched(desk, market, model)
        columns = {
            name: (
                _sample(one, name, slice(None, one.trained), settings.report_rows),
                _sample(one, name, slice(-settings.window_sessions, None), settings.report_rows),
            )
            for name in one.columns
        }
        title = f"{row['strategy_id']}, version {row['model_version']}"
        write_sample(folder, written, title, str(row["why"]), columns)
        written += 1
    return written


def _sample(one: Watched, name: str, rows: slice, count: int) -> np.ndarray:
    """At most `count` of the values, evenly spaced; the same ones every time."""
    import numpy as np

    values = one.columns[name][rows].ravel()
    values = values[~np.isnan(values)]
    return values[:: -(-len(values) // count) or 1]
