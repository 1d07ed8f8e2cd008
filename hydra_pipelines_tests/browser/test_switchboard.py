"""A person moves `champion` in the MLflow UI, and the desk follows: the real UI, the real daemon.

In Chromium where there is one on this machine (`apt-get install chromium`); over MLflow's REST API,
which is what the UI speaks, everywhere.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hydra_pipelines import day
from hydra_pipelines.day.showing import list_models
from hydra_pipelines.defs.instance import prepare_home
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger import decisions
from hydra_pipelines_tests.day.versions import MOMENTUM, RIDGE, copy_of

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
WITHIN_S = 60
"""What is promised, on a machine that is not busy with something else."""


@dataclass(frozen=True)
class Running:
    desk: Desk
    url: str

    def follows(self, strategy: str, version: int) -> float:
        """Waits until the history names the version and it has predicted; the seconds it took."""
        start = time.monotonic()
        busy = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
        while time.monotonic() - start < WITHIN_S * busy:
            with self.desk.ledger.snapshot() as rows:
                by = decisions.prediction_versions(rows, self.desk.next_session_due())
            if by.get(strategy) == {version}:
                break
            time.sleep(0.5)
        took = time.monotonic() - start
        told = list_models(self.desk)["history"][0]
        assert (told["kind"], told["strategy_id"]) == ("moved_by_hand", strategy), took
        assert (told["to_version"], told["actor"]) == (version, "user:unknown"), took
        assert by[strategy] == {version}, f"predictions are not made anew after {took:.0f} s"
        return took


@pytest.fixture(scope="module")
def running(versions_made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """An MLflow server and the Dagster daemon, on a desk with predictions of the session due."""
    folder = tmp_path_factory.mktemp("switchboard")
    desk = copy_of(versions_made, folder / "desk")
    day.make_predictions(desk, desk.next_session_due(), "test")
    home = prepare_home(desk)
    environment = {
        **os.environ,
        "HYDRA_DATA_DIR": str(desk.settings.data_path),
        "DAGSTER_HOME": str(home),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # A fresh instance is made alone: two first starts at a time spoil it.
    subprocess.run(
        [sys.executable, "-m", "dagster", "instance", "info"],
        env=environment,
        check=True,
        capture_output=True,
    )
    server = ["mlflow", "server", "--backend-store-uri", desk.registry.uri]
    server += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    daemon = ["dagster._daemon", "run", "-w", str(ROOT / "workspace.yaml")]
    with (
        process(server, folder / "mlflow.log", environment),
        process(daemon, folder / "daemon.log", environment),
    ):
        url = f"http://127.0.0.1:{port}"
        wait_for(url, folder / "mlflow.log")
        yield Running(desk, url)


@contextmanager
def process(module: list[str], log: Path, environment: dict[str, str]) -> Iterator[None]:
    with log.open("w") as output:
        started = subprocess.Popen(
            [sys.executable, "-m", *module],
            env=environment,
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield
    finally:
        # With the workers that it started.
        os.killpg(started.pid, signal.SIGTERM)
        try:
            started.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            started.wait()


def wait_for(url: str, log: Path) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            urllib.request.urlopen(f"{url}/health", timeout=2).close()
            return
        except OSError:
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.2)


@pytest.mark.skipif(CHROMIUM is not None, reason="the browser shows the same, and more")
def test_a_move_over_the_servers_api_is_followed(
    running: Running, record_property: Callable[[str, object], None]
) -> None:
    from mlflow import MlflowClient

    MlflowClient(running.url).set_registered_model_alias(MOMENTUM, "champion", "2")
    record_property("seconds", running.follows(MOMENTUM, 2))
    assert running.desk.registry.aliases(MOMENTUM) == {"champion": 2, "previous": 1}


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH: apt-get install chromium")
def test_a_move_in_the_ui_is_followed_and_so_is_moving_it_back(
    running: Running, record_property: Callable[[str, object], None]
) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.set_default_timeout(60_000)
        move_champion(page, running.url, 2)
        record_property("seconds there", running.follows(RIDGE, 2))
        page.goto("about:blank")
        move_champion(page, running.url, 1)
        record_property("seconds back", running.follows(RIDGE, 1))
        browser.close()
    assert running.desk.registry.aliases(RIDGE) == {"champion": 1, "previous": 2}


def move_champion(page: Any, url: str, version: int) -> None:
    """As a person does: on the version's page, Aliases, Add, `champion`, Save."""
    page.goto(f"{url}/#/models/{RIDGE}/versions/{version}")
    page.locator("[data-component-id*=modelversionviewaliaseditor]").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("combobox").fill("champion")
    dialog.get_by_role("combobox").press("Enter")
    dialog.get_by_role("button", name="Save aliases").click()
    dialog.wait_for(state="hidden")
    page.get_by_text("champion", exact=False).first.wait_for()
