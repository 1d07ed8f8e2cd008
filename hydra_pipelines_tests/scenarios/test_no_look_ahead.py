"""The proof that nothing of the future is used: cut it off, and nothing changes, bit for bit."""

from __future__ import annotations

from typing import Any

from hydra_pipelines import api
from hydra_pipelines.desk import Desk
from hydra_pipelines_tests.scenarios.conftest import MakeDesk
from hydra_pipelines_tests.scenarios.days import decide, run_day


def _decided(desk: Desk, session: Any) -> dict[str, Any]:
    """What was decided for a session, without the time of day at which it was written."""
    with desk.ledger.snapshot() as rows:
        predictions = rows.query(
            "SELECT * EXCLUDE (recorded_at) FROM predictions WHERE session = ? "
            "ORDER BY strategy_id, symbol",
            [session],
        )
        hashes = rows.query(
            "SELECT strategy_id, version, artifact_sha256 FROM model_versions ORDER BY ALL"
        )
    plan = api.order_plan(desk, session)
    for moving in ("recorded_at", "status"):
        plan.pop(moving)
    return {"predictions": predictions, "models": hashes, "plan": plan}


def test_predictions_and_plan_do_not_know_what_comes_after(make_desk: MakeDesk) -> None:
    """Two desks live the same three sessions; to one, the sample ends with the last of them."""
    whole = make_desk()
    sessions = [whole.calendar.next(whole.settings.embedded.first_session, n) for n in range(3)]
    cut = make_desk(
        market={"source": "sample", "options": {"last_session": sessions[-1].isoformat()}}
    )
    for session in sessions[:-1]:
        run_day(whole, session)
        run_day(cut, session)
    run_day(whole, sessions[-1])
    decide(cut, sessions[-1])
    assert cut.source.read().sessions[-1].item() == sessions[-1]
    for session in sessions:
        one, other = _decided(whole, session), _decided(cut, session)
        assert one["predictions"] and one["plan"]["rows"]
        assert one == other
