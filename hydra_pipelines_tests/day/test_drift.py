"""The drift check on a desk: the crash of 2020, what is stored and told, and what may go wrong."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from scipy.stats import spearmanr

from hydra_pipelines import api, day
from hydra_pipelines.alerts import AlertKind
from hydra_pipelines.day import drift as day_drift
from hydra_pipelines.day import drift_inputs
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger import drift as drift_rows
from hydra_pipelines.ledger.store import LedgerMissing
from hydra_pipelines.market.ingest import bar_panel
from hydra_pipelines.monitoring.checks import Joint
from hydra_pipelines.monitoring.drift import ModelDrift
from hydra_pipelines.sessions import NotASession
from hydra_pipelines.settings import load_settings
from hydra_pipelines_tests.day.versions import MOMENTUM, RIDGE, copy_of
from hydra_pipelines_tests.desks import REFUSED, CommandLine
from hydra_pipelines_tests.monitoring.journal import write_fills
from hydra_pipelines_tests.scenarios.regimes import regime_desk, replay_predictions

TRAINED, PEAK, LAST = date(2019, 12, 31), date(2020, 2, 19), date(2020, 3, 31)
WITHIN = 22
"""Sessions after the market's peak by which drift must be found."""


@pytest.fixture(scope="module")
def crash(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Champions trained to the end of 2019, with what they predicted of the first quarter."""
    desk = regime_desk(tmp_path_factory.mktemp("crash") / "my desk", TRAINED, LAST)
    yield desk
    desk.close()


@pytest.fixture(scope="module")
def calm_run(crash: Desk) -> day.DriftRun:
    return day.check_drift(crash, PEAK, "before")


@pytest.fixture(scope="module")
def crash_run(crash: Desk, calm_run: day.DriftRun) -> day.DriftRun:
    return day.check_drift(crash, crash.calendar.next(PEAK, WITHIN), "after")


def test_the_crash_of_2020_is_found_and_the_calm_before_it_is_not(
    calm_run: day.DriftRun, crash_run: day.DriftRun
) -> None:
    assert calm_run.status == "ok" and not calm_run.failures
    assert crash_run.status == "drift_detected" and crash_run.drifted
    for row in crash_run.drifted:
        mine = [c for c in crash_run.checks if c["strategy_id"] == row["strategy_id"]]
        decisive = [c for c in mine if c["decisive"]]
        assert decisive and all(c["state"] == "alarm" for c in decisive)
        assert decisive[0]["subject"] in row["why"]


def test_the_crash_of_2008_is_found_within_a_week_of_the_fifteenth_of_september(
    tmp_path: Path,
) -> None:
    desk = regime_desk(tmp_path / "my desk", date(2007, 12, 31), date(2008, 9, 22))
    assert day.check_drift(desk, date(2008, 9, 12), "before").status == "ok"
    run = day.check_drift(desk, date(2008, 9, 22), "after")
    assert [row["strategy_id"] for row in run.drifted] == [RIDGE]
    assert "adwin of residual" in run.drifted[0]["why"]


def test_every_family_and_detector_is_there(crash_run: day.DriftRun) -> None:
    found = {(c["family"], c["detector"]) for c in crash_run.checks}
    assert found == {
        ("feature", "psi"), ("feature", "ks"), ("prediction", "psi"), ("prediction", "ks"),
        ("concept", "adwin"), ("concept", "cusum"), ("performance", "rolling_sharpe"),
        ("performance", "drawdown"), ("performance", "hit_rate"), ("performance", "brier"),
        ("performance", "rank_ic"), ("execution", "slippage_bias"),
    }  # fmt: skip
    # Ranks lie the same whatever happens; so what they were made of is looked at too.
    features = {c["subject"] for c in crash_run.checks if c["strategy_id"] == RIDGE}
    assert {"volatility_21d_rank", "volatility_21d"} <= features
    # Nothing was traded: that is not enough data, and not ok.
    desk_wide = [c for c in crash_run.checks if c["strategy_id"] is None]
    assert {c["state"] for c in desk_wide} == {"not_enough_data"}


def test_it_is_stored_told_and_logged_once(crash: Desk, crash_run: day.DriftRun) -> None:
    again = day.check_drift(crash, crash_run.session, "again")
    assert again.repeated and again.run_no == crash_run.run_no
    assert again.status == crash_run.status and again.checks == crash_run.checks
    shown = api.drift(crash)
    assert shown["status"] == api.status(crash)["drift"] == "drift_detected"
    latest = shown["latest"]
    assert (latest["run_no"], latest["session"]) == (crash_run.run_no, crash_run.session)
    assert len(latest["checks"]) == len(crash_run.checks) == sum(latest["states"].values())
    assert [run["session"] for run in shown["runs"]] == [crash_run.session, PEAK]
    with crash.ledger.snapshot() as rows:
        events = rows.query("SELECT * FROM audit_events WHERE event = 'drift_detected'")
    assert [e["strategy_id"] for e in events] == [r["strategy_id"] for r in crash_run.drifted]
    alerts = [a for a in crash.alerts.recent(50) if a.kind == AlertKind.DRIFT]
    assert len(alerts) == 1 and str(crash_run.session) in alerts[0].text
    past = api.drift_history(crash, strategy_id=RIDGE, detector="drawdown")
    assert [row["session"] for row in past] == [PEAK, crash_run.session]


def test_hydra_diagnose_ends_with_3_where_drift_was_detected(
    crash: Desk, crash_run: day.DriftRun
) -> None:
    hydra = CommandLine(crash.settings.data_path, HYDRA_EMBEDDED__FIRST_SESSION=str(TRAINED))
    done = hydra.run("diagnose", "--session", str(crash_run.session))
    assert done.returncode == REFUSED, done.stderr
    assert "alarm !" in done.stdout and "drift detected" in done.stderr


def test_what_became_known_later_changes_nothing(
    crash: Desk, calm_run: day.DriftRun, crash_run: day.DriftRun
) -> None:
    """The lake and the scores go beyond the session by now; the check of it is the same."""
    assert day.check_drift(crash, PEAK, "later").repeated


def test_scores_are_those_of_the_stored_predictions(crash: Desk, crash_run: day.DriftRun) -> None:
    scores = api.session_scores(crash, RIDGE, 1)
    session = scores[7]["session"]
    bars = bar_panel(crash.bars.view())
    t = int(np.searchsorted(bars.sessions, np.datetime64(session)))
    prices = bars.fields["adj_close"]
    returns = prices[t + 6] / prices[t + 1] - 1
    labels = dict(zip(bars.symbols, returns - returns.mean(), strict=True))
    rows = [r for r in api.predictions(crash, session) if r["strategy_id"] == RIDGE]
    predicted = np.array([r["prediction"] for r in rows])
    realised = np.array([labels[r["symbol"]] for r in rows])
    assert scores[7]["n"] == 20 and scores[7]["known_on"] == bars.sessions[t + 6].item()
    assert scores[7]["rank_ic"] == pytest.approx(spearmanr(predicted, realised).statistic)
    assert scores[7]["accuracy"] == pytest.approx(np.mean((predicted > 0) == (realised > 0)))
    up = np.array([r["probability_up"] for r in rows])
    assert scores[7]["brier"] == pytest.approx(np.mean((up - (realised > 0)) ** 2))
    assert scores[-1]["known_on"] <= crash_run.session


def test_replayed_predictions_are_those_of_a_cycle(crash: Desk, crash_run: day.DriftRun) -> None:
    session = LAST
    replayed = api.predictions(crash, session)
    day.make_predictions(crash, session, "test")
    made = api.predictions(crash, session)
    names = ("strategy_id", "symbol", "prediction", "probability_up", "model_version")
    assert len(made) == 40
    assert [[r[n] for n in names] for r in replayed] == [[r[n] for n in names] for r in made]


def test_one_models_failure_leaves_the_others_alone(crash: Desk, crash_run: day.DriftRun) -> None:
    real = drift_inputs.observe

    def observe(desk, market, model, share):  # type: ignore[no-untyped-def]
        if model.strategy_id == RIDGE:
            raise OSError("the reference can't be read")
        return real(desk, market, model, share)

    session = crash.calendar.next(PEAK, 1)
    with patch.object(drift_inputs, "observe", observe):
        run = day.check_drift(crash, session, "broken")
    assert [row["strategy_id"] for row in run.models] == [MOMENTUM]
    assert "can't be read" in run.failures[RIDGE] and run.status == "ok"
    assert any("could not be made" in alert.title for alert in crash.alerts.recent(50))
    # Whole again, the same session is another finding, and is what readers see.
    assert day.check_drift(crash, session, "mended").run_no > run.run_no
    with crash.ledger.snapshot() as rows:
        stored = drift_rows.run_of(rows, session)
    assert stored is not None and not stored["failures"] and stored["models_checked"] == 2


def test_what_can_not_be_checked_is_refused(crash: Desk, tmp_path: Path) -> None:
    with pytest.raises(day.DriftError, match="2020-06-01"):
        day.check_drift(crash, date(2020, 6, 1), "x")
    with pytest.raises(NotASession):
        day.check_drift(crash, date(2020, 3, 1), "x")
    empty = Desk(load_settings(data_dir=tmp_path / "empty"))
    with pytest.raises(LedgerMissing, match="hydra cycle"):
        day.check_drift(empty, PEAK, "x")
    assert api.drift(empty)["status"] == api.status(empty)["drift"] == "not_checked"


def drifted(*_: object) -> ModelDrift:
    return ModelDrift(
        "drift_detected", "errors are twice as large", Joint(0.1, 2.0, 99), Joint(3.0, 2.0, 99), ()
    )


def test_without_predictions_a_model_is_not_judged_and_the_run_is_not_ok(
    models_desk: Desk,
) -> None:
    session = models_desk.next_session_due()
    run = day.check_drift(models_desk, session, "x")
    assert run.status == "no_models" and run.models_checked == 0 and not run.failures
    assert {check["state"] for check in run.checks} == {"not_enough_data"}
    assert "0 predictions in the 7 sessions" in run.models[0]["why"]
    # From the tenth on it is: one evening's, of twenty names.
    replay_predictions(models_desk, [session])
    run = day.check_drift(models_desk, session, "x")
    assert run.status == "ok" and run.models_checked == 2
    states = {(c["family"], c["detector"]): c["state"] for c in run.checks}
    assert states["concept", "cusum"] == states["performance", "brier"] == "not_enough_data"
    assert states["feature", "psi"] != "not_enough_data"


def test_orders_that_cost_twice_what_was_predicted_are_drift_of_the_desk(
    models_desk: Desk,
) -> None:
    session = models_desk.next_session_due()
    with models_desk.ledger.transaction() as tx:
        write_fills(tx, [(4.0 + i % 3, 2.2 * (4.0 + i % 3)) for i in range(30)])
        # All of them in the execution session of the one that is checked.
        tx.execute("UPDATE executed_trades SET session = ?", [models_desk.calendar.next(session)])
    run = day.check_drift(models_desk, session, "x")
    (check,) = [c for c in run.checks if c["family"] == "execution"]
    assert check["state"] == "alarm" and check["value"] == pytest.approx(1.2) and check["n"] == 30
    assert run.status == "drift_detected" and not run.drifted
    with models_desk.ledger.snapshot() as rows:
        (event,) = rows.query("SELECT * FROM audit_events WHERE event = 'drift_detected'")
    assert event["strategy_id"] is None and "slippage_bias" in event["details"]
    assert "drift in execution" in models_desk.alerts.recent(1)[0].title
    # The session before, nothing of that was known.
    earlier = models_desk.calendar.previous(session)
    assert day.check_drift(models_desk, earlier, "x").status == "no_models"


def test_rollback_by_drift_is_off_by_default(models_desk: Desk) -> None:
    day.promote(models_desk, RIDGE, 2, actor="user:test", reason="newer")
    with patch.object(drift_inputs, "observe", drifted):
        run = day.check_drift(models_desk, models_desk.next_session_due(), "x")
    assert run.status == "drift_detected" and not run.rollbacks
    assert models_desk.registry.aliases(RIDGE)["champion"] == 2


def test_a_model_that_drifts_is_set_back_once_where_that_is_asked_for(
    versions_made: Path, tmp_path: Path
) -> None:
    folder = copy_of(versions_made, tmp_path / "desk").settings.data_path
    desk = Desk(load_settings(data_dir=folder, monitoring={"auto_rollback": True}))
    session = desk.next_session_due()
    day.promote(desk, RIDGE, 2, actor="user:test", reason="newer")
    with patch.object(drift_inputs, "observe", drifted):
        run = day.check_drift(desk, session, "x")
        # The momentum rule has no version to go back to; that is said, and stops nothing.
        assert run.rollbacks == {RIDGE: 1} and "not rolled back" in run.failures[MOMENTUM]
        assert desk.registry.aliases(RIDGE)["champion"] == 1
        # The version that it went back to has drifted as well: it stays.
        again = day.check_drift(desk, session, "y")
    assert not again.rollbacks and desk.registry.aliases(RIDGE)["champion"] == 1
    last = next(m for m in api.models(desk)["history"] if m["strategy_id"] == RIDGE)
    assert last["kind"] == "rolled_back" and last["actor"] == day_drift.ACTOR
    assert last["reason"] == f"drift in session {session}: errors are twice as large"
    with desk.ledger.snapshot() as rows:
        (event,) = rows.query("SELECT * FROM audit_events WHERE event = 'model_rolled_back'")
        assert rows.query("SELECT rolled_back_to, run_no FROM drift_models "
                          "WHERE rolled_back_to IS NOT NULL") == [
            {"rolled_back_to": 1, "run_no": run.run_no}]  # fmt: skip
    assert "errors are twice as large" in event["details"]
