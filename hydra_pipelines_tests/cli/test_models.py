"""`hydra models`, `promote`, `rollback`, `predict`, `plan` and `train`, as a person types them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from hydra_pipelines.desk import Desk
from hydra_pipelines_tests.day.versions import MOMENTUM, RIDGE, copy_of
from hydra_pipelines_tests.desks import OK, REFUSED, USAGE, CommandLine, shut_down


@pytest.fixture(scope="module")
def desk(versions_made: Path, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return copy_of(versions_made, tmp_path_factory.mktemp("models") / "my desk")


@pytest.fixture(scope="module")
def hydra(desk: Desk) -> Iterator[CommandLine]:
    yield CommandLine(desk.settings.data_path)
    shut_down(desk.settings.data_path)


def test_a_person_predicts_plans_promotes_and_goes_back(hydra: CommandLine, desk: Desk) -> None:
    predicted = hydra.json("predict")
    assert {(row["strategy_id"], row["model_version"]) for row in predicted} == {
        (RIDGE, 1),
        (MOMENTUM, 1),
    }
    plan = hydra.json("plan")
    assert plan["status"] == "draft" and plan["rows"]
    assert hydra.orders_received() == 0

    refused = hydra.run("promote", RIDGE, "--to", "2")
    assert refused.returncode == REFUSED and "--yes" in refused.stderr
    assert "The gate has not judged version 2" in refused.stderr
    assert desk.registry.aliases(RIDGE) == {"champion": 1}

    done = hydra.run("promote", RIDGE, "--to", "2", "--reason", "better", "--yes", "--json")
    moved = json.loads(done.stdout)
    assert (moved["from_version"], moved["to_version"], moved["previous"]) == (1, 2, 1)
    assert moved["predictions"]["made"] and "hydra plan" in done.stderr
    assert "#/models/HYP-2026-001/versions/2" in done.stderr

    shown = hydra.json("models")
    (ridge,) = (row for row in shown["strategies"] if row["strategy_id"] == RIDGE)
    assert (ridge["state"], ridge["champion"]["version"], ridge["previous"]["version"]) == (
        "ready",
        2,
        1,
    )
    assert ridge["champion"]["figures"]["rank_ic"] > 0
    assert ridge["champion"]["trained_through"] == desk.next_session_due().isoformat()
    last = shown["history"][0]
    assert (last["kind"], last["reason"]) == ("promoted", "better")
    assert last["actor"].startswith("user:") and last["evidence"]["gate"] == "not judged"

    back = hydra.run("rollback", "--model", RIDGE, "--yes")
    assert back.returncode == OK and "rolled back and verified" in back.stderr
    told = hydra.run("models")
    assert told.returncode == OK and "rolled_back" in told.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["promote", "HYP-1", "--yes"], USAGE, "there is no strategy 'HYP-1'"),
        (["promote", MOMENTUM, "--yes"], REFUSED, "has no challenger"),
        (["promote", MOMENTUM, "--to", "99", "--yes"], REFUSED, "has no version 99"),
        (["rollback", "--model", MOMENTUM, "--yes"], REFUSED, "alias previous to go back to"),
        (["train", "HYP-1"], USAGE, "there is no strategy 'HYP-1'"),
        (["predict", "--session", "2019-01-05"], USAGE, "is not a XNYS session"),
    ],
)
def test_what_can_not_be_is_refused_in_a_line(
    hydra: CommandLine, desk: Desk, arguments: list[str], code: int, message: str
) -> None:
    done = hydra.run(*arguments)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    assert message in done.stderr and done.stdout == ""
    assert desk.registry.aliases(MOMENTUM) == {"champion": 1}


def test_before_the_first_cycle_there_is_nothing_to_show(tmp_path: Path) -> None:
    done = CommandLine(tmp_path / "new").run("models")
    assert done.returncode == REFUSED and "hydra cycle" in done.stderr


def test_a_new_version_waits_and_a_stopped_strategy_is_unhealthy(
    hydra: CommandLine, desk: Desk
) -> None:
    (trained,) = hydra.json("train", MOMENTUM)
    assert (trained["champion"]["version"], trained["challenger"]["version"]) == (1, 5)
    assert trained["challenger"]["gate"] is not None, "the gate has judged it"
    desk.registry._client().delete_model_version(MOMENTUM, "1")
    done = hydra.run("models", "--json")
    assert done.returncode == REFUSED and "version 1 was deleted" in done.stderr
    states = {row["strategy_id"]: row["state"] for row in json.loads(done.stdout)["strategies"]}
    assert states[MOMENTUM] == "version_deleted" and states[RIDGE] == "ready"
