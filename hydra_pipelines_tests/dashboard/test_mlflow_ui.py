"""The MLflow UI under the dashboard: what is let through, and whose a move is said to be."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hydra_pipelines import day
from hydra_pipelines.control import Control
from hydra_pipelines.day.moved_by import UNKNOWN, mover, note_move
from hydra_pipelines.day.showing import list_models
from hydra_pipelines.desk import Desk
from hydra_pipelines_tests.dashboard.served import Client, dashboard
from hydra_pipelines_tests.day.versions import MOMENTUM, RIDGE, copy_of

API = "/mlflow/ajax-api/2.0/mlflow"


@pytest.fixture(scope="module")
def desk(versions_made: Path, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    made = copy_of(versions_made, tmp_path_factory.mktemp("mlflow") / "desk")
    made.ledger.publish()
    return made


@pytest.fixture(scope="module")
def ui(desk: Desk) -> Iterator[Client]:
    with dashboard(desk.settings) as made:
        yield made


def send(ui: Client, method: str, path: str, body: dict[str, object], **headers: str | None):
    return ui.ask(
        method, path, json.dumps(body).encode(), content_type="application/json", **headers
    )


def test_the_ui_and_its_reading_calls_are_there(ui: Client) -> None:
    page = ui.get("/mlflow/")
    assert page.status == 200
    # Its scripts are files: what is written into a page, or made out of a text, is not MLflow's.
    policy = page.headers["content-security-policy"].split("; ")
    assert "script-src 'self'" in policy and "default-src 'self'" in policy
    found = ui.get(f"{API}/registered-models/search").json()
    assert {m["name"] for m in found["registered_models"]} >= {RIDGE, MOMENTUM}
    searched = send(ui, "POST", f"{API}/experiments/search", {"max_results": 5})
    assert searched.status == 200 and "hydra_pipelines" in searched.text


@pytest.mark.parametrize(
    "path",
    [
        "/mlflow/ajax-api/3.0/mlflow/assistant/message",
        "/mlflow/ajax-api/3.0/mlflow/jobs/1",
        "/mlflow/ajax-api/3.0/mlflow/jobs/cancel/1",
        "/mlflow/ajax-api/3.0/mlflow/gateway/endpoints/list",
        "/mlflow/ajax-api/3.0/mlflow/gateway/secrets/list",
        "/mlflow/ajax-api/2.0/mlflow/gateway-proxy",
        "/mlflow/api/2.0/mlflow/gateway-proxy",
        "/mlflow/api/3.0/mlflow/scorers/list",
        "/mlflow/ajax-api/3.0/mlflow/scorer/invoke",
        "/mlflow/ajax-api/3.0/mlflow/genai/evaluate/invoke",
        "/mlflow/ajax-api/3.0/mlflow/prompt-optimization/jobs",
        "/mlflow/ajax-api/2.0/mlflow/webhooks",
        "/mlflow/ajax-api/2.0/mlflow-artifacts/artifacts/x",
        "/mlflow/ajax-api/2.0/mlflow/upload-artifact",
        "/mlflow/%61jax-api/3.0/mlflow/gatewa%79/secrets/list",
        "/mlflow/ajax-api/3.0/mlflow//gateway/secrets/list",
    ],
)
def test_what_runs_or_calls_something_is_not_reachable(ui: Client, path: str) -> None:
    assert ui.get(path).status == 403
    assert send(ui, "POST", path, {}).status == 403


def test_a_change_from_elsewhere_is_refused(ui: Client, desk: Desk) -> None:
    move = {"name": RIDGE, "alias": "champion", "version": "2"}
    path = f"{API}/registered-models/alias"
    for headers in (
        {"origin": "http://evil.example"},
        {"origin": f"http://127.0.0.1:{ui.port + 1}", "sec_fetch_site": "same-site"},
        {"origin": None, "sec_fetch_site": None},
    ):
        assert send(ui, "POST", path, move, **headers).status == 403
    assert desk.registry.aliases(RIDGE)["champion"] == 1


def history_says(desk: Desk, strategy: str, version: int | None) -> dict[str, object]:
    until = time.monotonic() + 30
    while True:
        told = list_models(desk)["history"][0]
        if (told["strategy_id"], told["to_version"]) == (strategy, version):
            return told
        assert time.monotonic() < until, told
        time.sleep(0.1)


def test_a_moved_alias_is_in_the_history_with_who_and_from_where(ui: Client, desk: Desk) -> None:
    move = {"name": RIDGE, "alias": "champion", "version": "2"}
    assert send(ui, "POST", f"{API}/registered-models/alias", move).status == 200
    told = history_says(desk, RIDGE, 2)
    assert told["kind"] == "moved_by_hand" and told["from_version"] == 1
    assert told["actor"].startswith("user:") and told["actor"].endswith("@127.0.0.1")
    assert "by whom" not in told["reason"]
    assert told["actor"] in ui.get("/models").text

    gone = {"name": RIDGE, "alias": "champion"}
    assert send(ui, "DELETE", f"{API}/registered-models/alias", gone).status == 200
    told = history_says(desk, RIDGE, None)
    assert told["kind"] == "alias_removed" and told["actor"].endswith("@127.0.0.1")


def test_a_move_past_the_dashboard_is_nobodys(ui: Client, desk: Desk) -> None:
    desk.registry.set_alias(MOMENTUM, "champion", 3)
    day.look_at_registry(desk, verify=False)
    assert history_says(desk, MOMENTUM, 3)["actor"] == UNKNOWN


def test_read_only_searches_and_moves_nothing(desk: Desk) -> None:
    with dashboard(desk.settings, read_only=True) as client:
        assert send(client, "POST", f"{API}/experiments/search", {"max_results": 5}).status == 200
        move = {"name": MOMENTUM, "alias": "champion", "version": "1"}
        assert send(client, "POST", f"{API}/registered-models/alias", move).status == 403
        for path in ("runs/create", "registered-models/create", "model-versions/delete"):
            assert send(client, "POST", f"{API}/{path}", {}).status == 403


def test_where_nobody_can_be_noted_nothing_is_moved(desk: Desk, tmp_path: Path) -> None:
    settings = desk.settings
    control = settings.control_path
    with dashboard(settings) as client:
        before = desk.registry.aliases(MOMENTUM)["champion"]
        kept = control.rename(tmp_path / "kept")
        control.mkdir()
        try:
            move = {"name": MOMENTUM, "alias": "champion", "version": "2"}
            answer = send(client, "POST", f"{API}/registered-models/alias", move)
        finally:
            control.rmdir()
            for left in control.parent.glob("control.sqlite*"):
                left.unlink()
            kept.rename(control)
        assert answer.status == 403 and "can't be noted" in answer.text
        assert desk.registry.aliases(MOMENTUM)["champion"] == before


def test_a_note_counts_for_its_own_move_and_not_for_ever(tmp_path: Path) -> None:
    control = Control(tmp_path / "control.sqlite")

    def noted(strategy: str, version: int | None, alias: str | None = "champion") -> None:
        note_move(control, "user:a@b", strategy_id=strategy, version=version, what="x", alias=alias)

    noted("S", 2)
    assert mover(control, "S", 1, 2) == "user:a@b"
    assert mover(control, "S", 1, 3) == UNKNOWN
    assert mover(control, "T", 1, 2) == UNKNOWN
    assert mover(control, "S", 1, None) == UNKNOWN
    assert mover(control, "S", 1, 2, datetime.now(UTC) + timedelta(hours=2)) == UNKNOWN
    noted("T", 3, alias="challenger")
    assert mover(control, "T", 1, 3) == UNKNOWN
    noted("T", None)
    assert mover(control, "T", 3, None) == "user:a@b"
