"""The agent's commands: state and its short forms, the journal, one cycle."""

from __future__ import annotations

from pathlib import Path

import pytest

from hydra_pipelines import day
from hydra_pipelines.control import Control
from hydra_pipelines_tests.day.healing_desk import Given, alarm, detect
from hydra_pipelines_tests.day.versions import RIDGE, copy_of
from hydra_pipelines_tests.desks import OK, REFUSED, CommandLine


def test_a_desk_on_which_nothing_ran_has_an_agent_and_no_journal(broken: CommandLine) -> None:
    state = broken.json("agent", "status")
    assert (state["state"], state["autonomy"], state["experiments"]) == ("running", "propose", 0)
    assert state["last_cycle"] is None and broken.json("journal") == []
    assert "No experiment was made yet" in broken.run("journal").stdout
    refused = broken.run("agent", "run")
    assert refused.returncode == REFUSED and "hydra cycle" in refused.stderr


def test_pause_and_run_have_one_meaning_whichever_command_says_it(broken: CommandLine) -> None:
    control = Control(broken.folder / "control.sqlite")
    assert broken.json("pause", "--why", "holiday") == {
        "schema": "hydra.pause/1",
        "state": "paused",
        "changed": True,
        "kill_switch": False,
    }
    assert control.agent_paused
    assert control.last("agent_paused").details["why"] == "holiday"
    again = broken.run("agent", "pause")
    assert again.returncode == OK and "paused already" in again.stderr
    refused = broken.run("agent", "run")
    assert refused.returncode == REFUSED and "hydra run" in refused.stderr
    assert "holiday" in broken.run("agent", "status").stdout
    assert broken.json("run")["state"] == "running" and not control.agent_paused
    control.set_agent_paused(True, "x", "user:ada")
    assert broken.json("agent", "resume")["changed"] and not control.agent_paused
    control.halt("a test", "user:ada")
    done = broken.run("run")
    assert not control.agent_paused and control.kill_switch
    assert "Trading stays halted" in done.stderr


@pytest.fixture
def healed(versions_made: Path, tmp_path: Path) -> CommandLine:
    """A desk on which a version was proposed, and whose models are well otherwise."""
    desk = copy_of(versions_made, tmp_path / "desk")
    due = desk.next_session_due()
    number = detect(desk, due, alarm())
    day.heal(desk, due, "a run", runner=Given(outcomes=(2, -3)))
    well = [alarm(s.id, state="ok", decisive=False, value=float(number)) for s in desk.strategies]
    detect(desk, due, *well)
    return CommandLine(tmp_path / "desk")


def test_the_journal_and_a_cycle_that_finds_nothing(healed: CommandLine) -> None:
    rows = healed.json("journal", "--limit", "3")
    assert len(rows) == 3 and rows[0]["candidate_version"] == 2
    assert rows[0]["difference"] and rows[0]["results"]["figures"] and rows[0]["mlflow"]
    shown = healed.run("journal").stdout
    assert "recent_window" in shown and "rejected" in shown and rows[0]["hypothesis"] in shown
    state = healed.run("agent", "status").stdout
    assert f"hydra promote {RIDGE} --to 2" in state and "concept_drift" in state

    cycle = healed.json("agent", "run")
    assert cycle["stage"] == "done" and cycle["outcome"] == "nothing to do: no drift is detected"
    assert [d["cause"] for d in cycle["diagnoses"]] == ["none", "none"]
    assert cycle["experiments"] == [] and healed.json("agent", "status")["waiting"]
