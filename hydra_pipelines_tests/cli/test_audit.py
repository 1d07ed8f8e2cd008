"""`hydra audit`: from a fill back to its data, and what happened last."""

from __future__ import annotations

from hydra_pipelines_tests.conftest import TradedDesk
from hydra_pipelines_tests.desks import FAILURE, OK, USAGE


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
