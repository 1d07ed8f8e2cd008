"""Settings that changed between two runs are in the audit trail, one event for each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hydra_pipelines.day.settings_trail import note_settings
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger import audit
from hydra_pipelines.ledger.audit import AuditEvent
from hydra_pipelines.settings import load_settings


def noted(folder: Path, **settings: Any) -> list[dict[str, Any]]:
    """What a run with these settings adds to the trail."""
    desk = Desk(load_settings(data_dir=folder, **settings))
    with desk.ledger.transaction() as tx:
        seen = tx.value("SELECT coalesce(max(seq), 0) FROM audit_events")
        count = note_settings(desk, tx, "run")
        rows = tx.query("SELECT details FROM audit_events WHERE seq > ? ORDER BY seq", [seen])
        assert note_settings(desk, tx, "run") == 0
    assert len(rows) == count
    return [json.loads(row["details"]) for row in rows]


def test_the_first_run_writes_down_all_and_the_next_what_is_other(tmp_path: Path) -> None:
    (first,) = noted(tmp_path, alerts={"urls": ["mailto://me:secret@example.com"]})
    assert first["after"]["risk.daily_loss"] == 0.02
    assert first["after"]["strategies.HYP-2026-001.capital_weight"] == 0.5
    assert "secret" not in json.dumps(first) and str(tmp_path) not in json.dumps(first)
    assert noted(tmp_path) == [], "who is told is no part of what is traded"
    changed = noted(tmp_path, risk={"daily_loss": 0.01}, execution={"work_minutes": 20})
    assert [(c["setting"], c["before"], c["after"]) for c in changed] == [
        ("execution.work_minutes", 30, 20),
        ("risk.daily_loss", 0.02, 0.01),
    ]
    assert changed[1]["why"] == "risk.daily_loss: 0.02 → 0.01"
    back = noted(tmp_path)
    assert {c["setting"]: c["after"] for c in back} == {
        "execution.work_minutes": 30,
        "risk.daily_loss": 0.02,
    }


def test_a_strategy_that_comes_or_goes_is_named(tmp_path: Path) -> None:
    strategies = [s.model_dump() for s in load_settings().strategies]
    noted(tmp_path, strategies=strategies[:2])
    added = {c["setting"] for c in noted(tmp_path, strategies=strategies[:3])}
    assert added and all(name.startswith("strategies.HYP-2026-003.") for name in added)
    gone = noted(tmp_path, strategies=strategies[:2])
    assert {c["setting"] for c in gone} == added and {c["after"] for c in gone} == {None}
    assert noted(tmp_path, strategies=strategies[:2]) == []


def test_events_of_other_changes_are_not_taken_for_settings(tmp_path: Path) -> None:
    noted(tmp_path)
    with Desk(load_settings(data_dir=tmp_path)).ledger.transaction() as tx:
        audit.log(tx, AuditEvent.SETTING_CHANGED, {"setting": "slippage", "after": {"y": 2.0}})
    assert noted(tmp_path) == []
