"""Four weeks of paper trading end to end: twenty sessions by the day's steps, drills, a sign-off.

What makes the gate red, one thing at a time, is tested on the rule itself; here that the evidence
gets from the day's work into the ledger and from there into the verdict, and to the live guard.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from hydra_pipelines import api, day
from hydra_pipelines.control import Control
from hydra_pipelines.day import drills, halting
from hydra_pipelines.day.drills.rig import TradingRig
from hydra_pipelines.desk import Desk
from hydra_pipelines.execution.broker.guard import GuardRefused
from hydra_pipelines.ledger import audit, experiments, orders
from hydra_pipelines.monitoring.connections import RESTORED
from hydra_pipelines.settings import load_settings
from hydra_pipelines_tests.desks import REFUSED, USAGE, CommandLine
from hydra_pipelines_tests.scenarios.days import truth
from hydra_pipelines_tests.scenarios.year import trade_a_year

SESSIONS = 20
WHO = "user:ann"
ROUTING = {"routing": "market"}
"""Orders at once scatter little, so that twenty sessions of them say what they cost."""
HOST = f"127.78.{os.getpid() % 250}.1"
"""A loopback address of this run's own, where nothing but the tests listens."""


def open_ones(desk: Desk, venue: str = "embedded") -> set[str]:
    """The conditions that do not hold."""
    return {c["name"] for c in api.paper_gate(desk, venue)["conditions"] if not c["holds"]}


def healed(desk: Desk, session: date) -> None:
    """A healing cycle that ended in a rejection, as the agent writes it down."""
    experiment = {
        "experiment_id": "c-01", "cycle_id": "c", "session": session,
        "strategy_id": "HYP-2026-001", "cause": "concept_drift", "hypothesis": "it may be better",
        "mutation_type": "recent_window", "difference": {}, "configuration": {},
        "champion_version": 1, "earlier_trials": [],
    }  # fmt: skip
    cycle = {
        "cycle_id": "c", "session": session, "autonomy": "propose", "stage": "measured",
        "diagnoses": [], "choices": [],
    }  # fmt: skip
    with desk.ledger.transaction() as tx:
        experiments.open_cycle(tx, cycle, [experiment])
        experiments.decide(tx, experiment, experiments.REJECTED, "not better")
        experiments.set_stage(tx, "c", experiments.DONE, outcome="rejected")
    desk.ledger.publish()


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Desk, dict[str, Any]]]:
    """A desk whose gate is passed, and what was seen on the way there."""
    seen: dict[str, Any] = {}
    folder = tmp_path_factory.mktemp("paper") / "my desk"
    folder.mkdir()
    with trade_a_year(folder, SESSIONS, execution=ROUTING) as year:
        desk = year.desk
        seen["traded"] = open_ones(desk)
        day.calibrate_slippage(desk, actor=WHO, reason="the weekly look")
        seen["calibrated"] = open_ones(desk)
        before = truth(desk)
        for fault in (drills.Fault.DISCONNECT, drills.Fault.BREAKER):
            seen[fault] = drills.drill(desk, fault, WHO)
        seen["untouched"] = truth(desk) == before and not desk.control.tripped()
        seen["drilled"] = open_ones(desk)
        with pytest.raises(day.NothingToSign, match="a healing cycle completed does not hold"):
            day.sign_off(desk, WHO, "too early")
        healed(desk, year.days[-1].session)
        seen["healed"] = open_ones(desk)
        with pytest.raises(day.NothingToSign, match="a reason is needed"):
            day.sign_off(desk, WHO, "  ")
        seen["signed"] = day.sign_off(desk, WHO, "all looked at")
        yield desk, seen


@pytest.fixture
def desk(story: tuple[Desk, dict[str, Any]], tmp_path: Path) -> Desk:
    """The same with stores of its own, to change; it has no venue."""
    return copied(story[0], tmp_path)


def copied(desk: Desk, folder: Path, **settings: Any) -> Desk:
    shutil.copy(desk.ledger.snapshot_path, folder / "hydra.duckdb")
    shutil.copy(desk.settings.control_path, folder / "control.sqlite")
    shutil.copytree(desk.settings.cache_path, folder / "cache")
    return Desk(load_settings(data_dir=folder, **{"execution": ROUTING, **settings}))


def changed(desk: Desk, sql: str, *parameters: Any) -> Desk:
    with desk.ledger.transaction() as tx:
        tx.execute(sql, parameters)
    desk.ledger.publish()
    return desk


def by_hand(desk: Desk) -> None:
    """What a person did at the control store is in the audit trail."""
    assert halting.record(desk.settings, desk.control)


# green


def test_twenty_sessions_with_drills_turn_the_gate_green(story) -> None:
    desk, seen = story
    once = {"healing", "breakers", "reconnect", "review"}
    assert seen["traded"] - {"slippage"} == once
    assert seen["calibrated"] == once
    assert seen["drilled"] == {"healing", "review"}
    assert seen["healed"] == {"review"}
    gate = seen["signed"]
    assert gate.passed and len(gate.count.sessions) == SESSIONS and gate.escalations == ()
    assert desk.evaluate_paper_gate("embedded") == gate


def test_it_is_a_rehearsal_and_opens_nothing(story) -> None:
    desk, seen = story
    assert not seen["signed"].opens_live
    verdict = desk.paper_gate()
    assert not verdict.passed and "no session was traded at IBKR paper yet" in verdict.why


def test_the_figures_of_the_slippage_condition(story) -> None:
    found = api.paper_gate(story[0])["slippage"]
    assert found["orders"] > 40 and found["sessions"] == SESSIONS
    assert found["level"]["value"] == pytest.approx(1.0, abs=0.02)
    assert 0.5 < found["level"]["low"] < found["level"]["high"] < 1.5
    assert found["attainable_correlation"] > 0
    report = api.reconciliation(story[0])["summary"][-1]
    assert found["correlation"] == pytest.approx(report["correlation"])
    assert found["is_model_calibrated"] == report["is_model_calibrated"]


# red


def test_an_act_of_a_person_begins_the_count_anew(desk: Desk) -> None:
    desk.control.set_kill_switch(True, "to be sure", WHO)
    desk.control.set_kill_switch(False, "all is well", WHO)
    by_hand(desk)
    gate = api.paper_gate(desk)
    assert gate["sessions"] == 0 and "ann (kill_switch_" in gate["broken_by"]
    assert open_ones(desk) == {"sessions", "review"}, "the sign-off was on the old count"


def test_what_the_desk_does_by_itself_does_not(desk: Desk) -> None:
    desk.control.trip("daily_loss", "a loss", "2019-01-31")
    desk.control.reset("daily_loss", "a new session has begun")
    desk.control.note("component_deregistered", WHO, {"component": "x"})
    by_hand(desk)
    assert day.paper_gate(desk).passed


def test_a_setting_that_decides_what_is_traded_begins_the_count_anew(desk: Desk) -> None:
    """As the first run with the changed settings writes it down; others leave it alone."""
    for setting, sessions in (("broker.port", SESSIONS), ("risk.daily_loss", 0)):
        with desk.ledger.transaction() as tx:
            change = {"setting": setting, "before": 1, "after": 2, "noticed": True}
            audit.log(tx, audit.AuditEvent.SETTING_CHANGED, change)
        desk.ledger.publish()
        assert api.paper_gate(desk)["sessions"] == sessions
    assert "risk.daily_loss changed" in day.paper_gate(desk).count.broken_by


def test_a_session_that_is_missing(desk: Desk) -> None:
    worked = day.paper_gate(desk).count.sessions
    changed(desk, "DELETE FROM session_venues WHERE session = ?", worked[11].session)
    gate = api.paper_gate(desk)
    assert gate["sessions"] == SESSIONS - 12
    assert gate["broken_by"] == (f"1 sessions were not traded after {worked[10].execution_session}")


def test_a_session_whose_venue_is_not_known_does_not_count(desk: Desk) -> None:
    """As those of a ledger that was written before venues were."""
    changed(desk, "DELETE FROM session_venues")
    assert "sessions" in open_ones(desk) and day.paper_gate(desk).account is None


def test_an_order_in_doubt_and_a_difference_that_nothing_explains(desk: Desk) -> None:
    with desk.ledger.transaction() as tx:
        ref = tx.value("SELECT order_ref FROM order_intents LIMIT 1")
        now = tx.value("SELECT now()")
        orders.append_events(tx, [(ref, "reopened", {}, now), (ref, "unknown", {}, now)])
    desk.ledger.publish()
    assert open_ones(desk) == {"errors"}
    assert f"what became of order {ref} is not known" in day.paper_gate(desk).why


def test_settings_that_were_changed_since_the_sign_off(story, tmp_path: Path) -> None:
    other = copied(story[0], tmp_path, risk={"daily_loss": 0.05})
    assert open_ones(other) == {"review"}
    assert "settings of risk" in day.paper_gate(other).why
    assert day.sign_off(other, WHO, "5 % it is").passed, "signed anew, for what holds now"


def test_stores_that_can_not_be_read_open_nothing_and_crash_nothing(desk: Desk) -> None:
    desk.settings.control_path.write_bytes(b"no database")
    assert open_ones(desk) == {"errors"}
    desk.ledger.path.write_bytes(b"no database")
    desk.ledger.snapshot_path.write_bytes(b"no database")
    verdict = desk.paper_gate()
    assert not verdict.passed and "it can't be evaluated" in verdict.why


# the live guard


LIVE = {
    "mode": "live",
    "live_confirmed": True,
    "broker": {"venue": "ibkr", "host": HOST, "port": 4001, "account": "U7"},
    "live": {"accounts": ["U7"]},
}


def at_ibkr(desk: Desk) -> Desk:
    """The same evidence, as if all of it were from IBKR paper, reconnect and sign-off included."""
    changed(desk, "UPDATE session_venues SET venue = 'ibkr'")
    assert open_ones(desk, "ibkr") == {"reconnect", "review"}, "a drill shows nothing of IBKR's"
    desk.control.note(RESTORED, "system", {"venue": "ibkr", "lost_at": "2026-01-05T15:00:00"})
    by_hand(desk)
    assert day.sign_off(desk, WHO, "looked at", "ibkr").opens_live
    return desk


def test_a_red_gate_refuses_live_before_any_socket_and_a_green_one_opens_that_alone(
    desk: Desk, tmp_path: Path
) -> None:
    came: list[object] = []
    with socket.create_server((HOST, 4001)) as listener:
        threading.Thread(target=_answer_nobody, args=(listener, came), daemon=True).start()
        red = Desk(load_settings(data_dir=tmp_path, execution=ROUTING, **LIVE))
        with pytest.raises(GuardRefused, match=r"paper gate is not passed .*IBKR paper yet"):
            assert red.broker_endpoint
        with pytest.raises(GuardRefused, match="paper gate"), red.broker():
            pass
        assert came == []

        at_ibkr(desk)
        green = Desk(load_settings(data_dir=tmp_path, execution=ROUTING, **LIVE))
        assert green.paper_gate().passed and not green.clearance.overridden
        assert green.broker_endpoint.port == 4001
        green.settings.control_path.unlink()
        for missing in ({"live_confirmed": False}, {"live": {"accounts": []}}):
            settings = load_settings(data_dir=tmp_path, execution=ROUTING, **{**LIVE, **missing})
            with pytest.raises(GuardRefused) as caught:
                assert Desk(settings).broker_endpoint
            assert "paper gate" not in str(caught.value)
        assert came == []


def _answer_nobody(listener: socket.socket, came: list[object]) -> None:
    while True:
        try:
            came.append(listener.accept())
        except OSError:
            return


# drills


def test_what_a_drill_shows_and_leaves(story) -> None:
    desk, seen = story
    assert seen["untouched"], "the desk's own venue and breakers"
    for fault in (drills.Fault.DISCONNECT, drills.Fault.BREAKER):
        report = seen[fault]
        assert report.passed, report.why
        phases = [step.phase.value for step in report.steps]
        for phase in ("injected", "detected", "reacted", "recovered", "checked"):
            assert phase in phases
    assert [f.name for f in (desk.settings.data_path / "drills").iterdir()] == ["drill.lock"]
    with desk.ledger.snapshot() as rows:
        kept = rows.query(
            "SELECT actor, details FROM audit_events WHERE event = 'drill' ORDER BY seq"
        )
    assert [json.loads(row["details"])["fault"] for row in kept] == ["disconnect", "breaker"]
    assert {row["actor"] for row in kept} == {WHO}


def test_a_breaker_that_does_not_trip_fails_its_drill(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hydra_pipelines.execution.risk import breakers

    monkeypatch.setattr(breakers, "_losses", lambda state, limits: iter(()))
    report = drills.drill(desk, drills.Fault.BREAKER, WHO)
    assert not report.passed and "daily_loss did not trip" in report.why
    assert "the venue has 1 orders in" in report.why
    assert open_ones(desk) == {"breakers"}, "the drill before it does not count any more"


def test_a_drill_that_can_not_be_held_to_its_end_has_failed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no plan today")

    monkeypatch.setattr(TradingRig, "plan", broken)
    with pytest.raises(RuntimeError, match="no plan today"):
        drills.drill(desk, drills.Fault.DISCONNECT, WHO)
    assert open_ones(desk) == {"reconnect"}
    assert not list((desk.settings.data_path / "drills").glob("drill-*"))


def test_no_drill_in_mode_live(tmp_path: Path) -> None:
    live = Desk(load_settings(data_dir=tmp_path, **LIVE))
    for fault in drills.Fault:
        with pytest.raises(drills.DrillRefused, match="mode is live"):
            drills.drill(live, fault, WHO)
    assert list(tmp_path.iterdir()) == [], "nothing was touched"


# the commands


def test_the_command_tells_each_condition_and_its_exit_code(desk: Desk) -> None:
    hydra = CommandLine(desk.settings.data_path, HYDRA_EXECUTION__ROUTING="market")
    gate = hydra.json("paper-gate")
    assert gate["passed"] and not gate["opens_live"] and len(gate["conditions"]) == 7
    done = hydra.run("paper-gate", "--venue", "ibkr")
    assert done.returncode == REFUSED and "OPEN" in done.stdout
    assert "let the desk trade every session by itself" in done.stdout
    assert hydra.run("paper-gate", "--sign-off").returncode == USAGE
    refused = hydra.run("paper-gate", "--venue", "ibkr", "--sign-off", "--reason", "x", "--yes")
    assert refused.returncode == REFUSED and "nothing to sign off yet" in refused.stderr


def test_the_command_on_a_desk_that_never_traded(tmp_path: Path) -> None:
    hydra = CommandLine(tmp_path / "new")
    done = hydra.run("paper-gate", "--json")
    assert done.returncode == REFUSED and not json.loads(done.stdout)["passed"]
    assert not (tmp_path / "new" / "hydra.duckdb").exists()
    assert not Control(tmp_path / "new" / "control.sqlite").path.exists()
