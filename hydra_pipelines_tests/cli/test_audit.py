"""`hydra audit`: from a fill back to its data, and what happened last."""

from __future__ import annotations

import ast
from pathlib import Path

import hydra_pipelines
from hydra_pipelines.ledger.audit import AuditEvent
from hydra_pipelines_tests.conftest import TradedDesk
from hydra_pipelines_tests.desks import FAILURE, OK, USAGE

PACKAGE = Path(hydra_pipelines.__file__).parent


def test_a_fill_leads_back_to_its_order_plan_prediction_model_and_data(
    traded_desk: TradedDesk,
) -> None:
    trade = traded_desk.trades[0]
    done = traded_desk.hydra.run("audit", trade["exec_id"])
    assert done.returncode == OK, done.stderr
    said = done.stdout
    assert f"{trade['side']} " in said and trade["symbol"] in said and trade["order_ref"] in said
    stations = [line.split()[0] for line in said.splitlines() if not line.startswith(" ")]
    assert stations[:2] == ["fill", "order"] and stations[-1] == "data"
    assert {"risk", "plan", "prediction"} <= set(stations)
    assert "of session 2019-01-02" in said and "by version 1" in said and "sample" in said
    found = traded_desk.hydra.json("audit", trade["exec_id"])
    assert found["fill"]["exec_id"] == trade["exec_id"]
    assert found["predictions"][0]["artifact_sha256"][:12] in said


def test_without_a_fill_it_tells_what_happened(traded_desk: TradedDesk) -> None:
    events = traded_desk.hydra.json("audit", "--limit", "200")
    seen = {row["event"] for row in events}
    assert {"fill_recorded", "order_submitted", "position_synced"} <= seen
    (first,) = traded_desk.hydra.json("audit", "--event", "setting_changed")
    assert first["details"]["after"]["risk.daily_loss"] == 0.02, "the settings at the first run"


def test_what_there_is_not_is_said(traded_desk: TradedDesk) -> None:
    unknown = traded_desk.hydra.run("audit", "no-such-fill")
    assert unknown.returncode == FAILURE and "hydra trades" in unknown.stderr
    event = traded_desk.hydra.run("audit", "--event", "nonsense")
    assert event.returncode == USAGE and "setting_changed" in event.stderr


def test_events_are_picked_by_actor_and_day(traded_desk: TradedDesk) -> None:
    hydra = traded_desk.hydra
    assert {row["actor"] for row in hydra.json("audit", "--actor", "system")} == {"system"}
    assert hydra.json("audit", "--actor", "user:nobody") == []
    assert hydra.json("audit", "--since", "2099-01-01") == []
    wrong = hydra.run("audit", traded_desk.trades[0]["exec_id"], "--actor", "system")
    assert wrong.returncode == USAGE


def test_trace_is_a_word_for_the_same(traded_desk: TradedDesk) -> None:
    fill = traded_desk.trades[0]["exec_id"]
    told = traded_desk.hydra.json("audit", "trace", fill)
    assert told == traded_desk.hydra.json("audit", fill)
    for prediction in told["predictions"]:
        assert len(prediction["features"]) > 3 and "#/models/" in prediction["mlflow"]
        assert prediction["data_snapshot_id"] == told["data"]["snapshot_id"]


WRITTEN_BY = {
    "prediction_generated": "day/research.py",
    "plan_made": "day/planning.py",
    "order_submitted": "execution/orders/book.py",
    "order_state_changed": "execution/orders/book.py",
    "fill_recorded": "execution/orders/book.py",
    "position_synced": "day/books.py",
    "drift_detected": "day/drift.py",
    "experiment_finished": "ledger/experiments.py",
    "model_promoted": "day/champions.py",
    "model_rolled_back": "day/champions.py",
    "model_stopped": "day/champions.py",
    "breaker_tripped": "day/carrying.py",
    "breaker_reset": "day/carrying.py",
    "agent_paused": "day/carrying.py",
    "connection_lost": "day/carrying.py",
    "connection_restored": "day/carrying.py",
    "drill": "day/carrying.py",
    "paper_gate_signed_off": "day/carrying.py",
    "setting_changed": "day/settings_trail.py",
    "manual_action": "day/carrying.py",
}
"""Event -> the file that brings it into the trail; what people switch, by the control store."""


def test_every_kind_of_event_is_written_somewhere() -> None:
    assert set(WRITTEN_BY) == set(AuditEvent)
    for event, file in WRITTEN_BY.items():
        tree = ast.parse((PACKAGE / file).read_text())
        compared = {
            id(n) for c in ast.walk(tree) if isinstance(c, ast.Compare) for n in ast.walk(c)
        }
        written = {
            node.attr.lower()
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "AuditEvent"
            and id(node) not in compared
        }
        assert event in written, f"{file} does not write {event}"
