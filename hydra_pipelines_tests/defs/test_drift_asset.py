"""The asset `drift_report` and `hydra diagnose`: figures, pictures, checks, and the HTML report."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from xml.etree import ElementTree

import dagster as dg
import pytest

from hydra_pipelines import api, day
from hydra_pipelines.defs.assets.drift import drift_report
from hydra_pipelines.defs.resources import DeskResource
from hydra_pipelines.desk import Desk
from hydra_pipelines.settings import load_settings
from hydra_pipelines_tests.day.versions import RIDGE, copy_of
from hydra_pipelines_tests.desks import OK, REFUSED, CommandLine
from hydra_pipelines_tests.scenarios.regimes import replay_predictions

# Dagster's own, of its own parts.
pytestmark = pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated")


@pytest.fixture(scope="module")
def folder(versions_made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A desk that predicted an evening."""
    desk = copy_of(versions_made, tmp_path_factory.mktemp("drift") / "my desk")
    replay_predictions(desk, [desk.next_session_due()])
    yield desk.settings.data_path


def made(desk: Desk) -> tuple[Mapping[str, dg.MetadataValue], dict[str, dg.AssetCheckEvaluation]]:
    session = desk.next_session_due().isoformat()
    partitions = dg.StaticPartitionsDefinition([session])
    before = [
        dg.AssetSpec(name, partitions_def=partitions)
        for name in ("features", "predictions", "champion_models")
    ]
    result = dg.materialize(
        [drift_report(partitions), *before],
        partition_key=session,
        resources={"desk": DeskResource.of(desk.settings)},
    )
    (event,) = result.get_asset_materialization_events()
    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    assert all(check.severity is dg.AssetCheckSeverity.WARN for check in checks.values())
    return event.materialization.metadata, checks


def test_the_asset_shows_what_was_found_and_links_the_report(folder: Path) -> None:
    desk = Desk(load_settings(data_dir=folder, monitoring={"report_rows": 200}))
    shown, checks = made(desk)
    assert set(checks) == {"models_as_trained", "every_model_checked"}
    assert all(check.passed for check in checks.values())
    assert shown["status"].value == "ok" and shown["models_checked"].value == 2
    table = shown["models"]
    assert isinstance(table, dg.TableMetadataValue) and len(table.records) == 2
    picture = str(shown[f"bars_{RIDGE}"].value)
    svg = base64.b64decode(picture.partition("base64,")[2].rstrip(")"))
    names = "".join(ElementTree.fromstring(svg).itertext())
    assert "bollinger_z_20, psi" in names and "alarm level" in names
    # The report is one file, needs no network, and is found by the run.
    path = Path(str(shown["report"].value))
    stored = api.drift(desk)["latest"]["report"]
    assert path == folder / stored and path.parent == folder / "reports" / "drift"
    text = path.read_text()
    assert text.count("<iframe") == 2 and f"{RIDGE}, version 1" in text
    assert "volatility_21d_rank" in text
    assert 'src="http' not in text and "src=&quot;http" not in text
    # Again it is the same run, with the report that it has.
    before = path.stat().st_mtime_ns
    again, _ = made(desk)
    assert again["run_no"].value == shown["run_no"].value and again["found_before"].value
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize("why", ["time-out", "crash"])
def test_a_report_that_fails_leaves_the_check_as_it_is(
    folder: Path, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(load_settings(data_dir=folder, monitoring={"report_timeout_s": 0.05}))
    session = desk.next_session_due()
    run = day.check_drift(desk, session, None)
    for left in (folder / "reports").rglob("*.html"):
        left.unlink()
    if why == "crash":
        monkeypatch.setattr(sys, "executable", shutil.which("false"))
    said: list[str] = []
    assert day.make_drift_report(desk, run, said.append) is None
    assert "no HTML report" in said[-1]
    assert ("longer than 0.05 s" if why == "time-out" else "ended with 1") in said[-1]
    assert api.drift(desk)["latest"]["run_no"] == run.run_no


def test_hydra_diagnose_prints_what_was_found(folder: Path) -> None:
    hydra = CommandLine(folder)
    done = hydra.run("diagnose", "--json")
    assert done.returncode == OK, done.stderr
    found = json.loads(done.stdout)
    assert found["status"] == "ok" and found["models_checked"] == 2
    assert {check["family"] for check in found["checks"]} >= {"feature", "performance"}
    done = hydra.run("diagnose", "--session", "2010-01-02")
    assert done.returncode not in (OK, REFUSED) and "2010-01-02" in done.stderr


def test_the_check_imports_neither_evidently_nor_mlflow(folder: Path) -> None:
    code = (
        "import sys; from datetime import date; from pathlib import Path\n"
        "from hydra_pipelines import day; from hydra_pipelines.desk import Desk\n"
        "from hydra_pipelines.settings import load_settings\n"
        "desk = Desk(load_settings(data_dir=Path(sys.argv[1])))\n"
        "day.check_drift(desk, desk.next_session_due(), None)\n"
        "print([m for m in ('evidently', 'mlflow', 'sklearn', 'dagster') if m in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, timeout=300
    )
    assert done.stdout.strip() == "[]", done.stderr
