"""Runs in this process: what they refuse, what stops them, and what they leave to be seen."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import date
from typing import Any

import dagster as dg
import pytest

from hydra_pipelines import api, day
from hydra_pipelines.control import ControlError
from hydra_pipelines.day.session import SessionRefused
from hydra_pipelines.decision import plan_check
from hydra_pipelines.definitions import build_defs
from hydra_pipelines.defs.jobs import DRY_RUN_TAG, PARTITION_TAG
from hydra_pipelines.defs.running import readable_errors
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger.store import LedgerBusy
from hydra_pipelines.market.sources import open_source
from hydra_pipelines.paper_gateway.launch import find_running
from hydra_pipelines.sessions import ClockError, NotASession
from hydra_pipelines.settings import Settings, SettingsError, load_settings
from hydra_pipelines_tests.conftest import TradedDesk
from hydra_pipelines_tests.desks import CommandLine, Flawed, shut_down

Run = dg.ExecuteInProcessResult
# Dagster's own, of its own parts.
pytestmark = pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated")

BY_THE_FILLS = {"model_calibrated", "fills_as_predicted"}
"""Checks whose outcome depends on what other tests have traded on the shared desk."""


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A desk that has not traded."""
    folder = tmp_path_factory.mktemp("runs") / "my desk"
    yield load_settings(data_dir=folder)
    shut_down(folder)


def execute(settings: Settings, job: str = "daily_cycle", **tags: str) -> Run:
    quiet = dg.LoggerDefinition(lambda _: _silent(), {})
    defs = build_defs(settings, loggers={"quiet": quiet})
    with dg.DagsterInstance.ephemeral() as instance:
        return defs.resolve_job_def(job).execute_in_process(
            instance=instance,
            tags={
                {"session": PARTITION_TAG, "dry_run": DRY_RUN_TAG}[k]: v for k, v in tags.items()
            },
            run_config={"loggers": {"quiet": {}}},
            raise_on_error=False,
        )


def _silent() -> Any:
    import logging

    logger = logging.Logger("silent")
    logger.disabled = True
    return logger


def started(run: Run) -> set[str]:
    return {e.step_key for e in run.all_events if e.event_type_value == "STEP_START"}


def shown(run: Run) -> dict[str, dict[str, Any]]:
    """The metadata of each asset that was materialised."""
    return {
        event.asset_key.to_user_string(): {
            name: entry.value for name, entry in event.materialization.metadata.items()
        }
        for event in run.get_asset_materialization_events()
    }


def failure(run: Run) -> str:
    """The message of the one step that failed, which was not tried again."""
    assert not run.success
    assert not [e for e in run.all_events if e.event_type_value == "STEP_UP_FOR_RETRY"]
    (event,) = [e for e in run.all_events if e.is_step_failure]
    return event.step_failure_data.user_failure_data.description


# refused at the first step


@pytest.mark.parametrize(
    ("session", "message"),
    [
        ("2019-04-19", "2019-04-19 (Friday) is not a XNYS session; the nearest are 2019-04-18"),
        ("2019-01-05", "2019-01-05 (Saturday) is not a XNYS session"),
        ("2018-12-31", "session 2018-12-31 can't be traded any more: its orders belong to"),
    ],
)
def test_what_cant_be_traded_fails_at_the_first_step_and_nothing_happens(
    fresh: Settings, session: str, message: str
) -> None:
    run = execute(fresh, session=session)
    assert message in failure(run)
    assert started(run) == {"bars"}
    assert not fresh.ledger_path.exists() and not fresh.lake_path.exists()
    # Without a session to ask about, the venue is not even started.
    assert bool(find_running(fresh.venue_path)) or "not a XNYS session" in message
    if find_running(fresh.venue_path):
        hydra = CommandLine(fresh.data_path)
        assert hydra.orders_received() == 0
        assert hydra.venue.status()["now"] == "2019-01-02T21:00:00+00:00", "no time has passed"


# stopped by a check


def test_a_price_that_cant_be_stops_the_run_before_anything_is_decided(
    fresh: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that names no session, too: it takes the one due."""
    flawed = Flawed(open_source("sample"), date(2019, 1, 2), -5.0)
    monkeypatch.setattr(Desk, "source", flawed)
    run = execute(fresh)
    assert run.dagster_run.tags[PARTITION_TAG] == "2019-01-02"
    assert not run.success and started(run) == {"bars"}
    check = next(c for c in run.get_asset_check_evaluations() if not c.passed)
    assert (check.check_name, check.passed, check.blocking) == ("quality", False, True)
    assert check.description.startswith("BBY: close is -5; BBY: adj_close is -5")
    assert check.metadata["findings"].value.records[0].data["symbol"] == "BBY"
    with Desk(fresh).ledger.snapshot() as rows:
        assert rows.value("SELECT count(*) FROM predictions") == 0
        assert rows.value("SELECT count(*) FROM plans") == 0
    assert CommandLine(fresh.data_path).orders_received() == 0
    assert not fresh.mlruns_path.exists(), "no model was made"


def test_a_plan_that_breaks_a_rule_stops_the_run_before_the_broker(
    traded_desk: TradedDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(data_dir=traded_desk.hydra.folder)
    before = traded_desk.hydra.venue.truth(), traded_desk.hydra.orders_received()
    due = Desk(settings).next_session_due()
    monkeypatch.setattr(plan_check, "plan_violations", lambda *_: ["AAPL is above its limit"])
    run = execute(settings)
    assert not run.success
    assert "order_plan" in started(run)
    assert started(run).isdisjoint({"executions", "positions", "account"})
    failed = [check for check in run.get_asset_check_evaluations() if not check.passed]
    assert [(c.check_name, c.description) for c in failed] == [
        ("limits", "AAPL is above its limit")
    ]
    plan = api.order_plan(Desk(settings), due)
    assert plan is None or plan["dry_run"], "a plan that breaks a rule is not kept"
    assert (traded_desk.hydra.venue.truth(), traded_desk.hydra.orders_received()) == before


# what a run leaves


def test_a_dry_run_shows_every_step_and_sends_nothing(traded_desk: TradedDesk) -> None:
    hydra = traded_desk.hydra
    settings = load_settings(data_dir=hydra.folder)
    before = hydra.orders_received(), hydra.venue.status()["now"]
    run = execute(settings, dry_run="True")
    assert run.success
    assert (hydra.orders_received(), hydra.venue.status()["now"]) == before
    assert hydra.venue.status()["clients"] == [], "the run closed its connection"
    metadata = shown(run)
    assert set(metadata) == started(run)
    desk = Desk(settings)
    due = date.fromisoformat(run.dagster_run.tags[PARTITION_TAG])
    plan = api.order_plan(desk, due)
    assert plan is not None and plan["dry_run"] and plan["session"] == due
    assert metadata["bars"]["symbols"] == len(metadata["bars"]["closes"].records) == 20
    assert metadata["universe"]["symbols"] == 20
    assert metadata["features"]["features"] >= 12
    assert metadata["champion_models"]["without_champion"] == 0
    assert metadata["predictions"]["status"] == "success"
    assert metadata["predictions"]["rows"] == 40
    assert metadata["signals"]["long"] == len(metadata["signals"]["signals"].records) == 10
    assert metadata["order_plan"]["plan_id"] == plan["plan_id"]
    assert metadata["order_plan"]["orders"] == len(plan["rows"])
    assert [r.data["symbol"] for r in metadata["order_plan"]["plan"].records] == [
        row["symbol"] for row in plan["rows"]
    ]
    assert metadata["executions"]["dry_run"] is True
    assert metadata["executions"]["orders_sent_by_this_run"] == 0
    positions = api.positions(desk)
    assert metadata["positions"]["positions"] == len(positions)
    assert sorted(r.data["symbol"] for r in metadata["positions"]["table"].records) == sorted(
        row["symbol"] for row in positions
    )
    curve = api.equity_curve(desk)
    assert metadata["account"]["equity"] == float(curve[-1]["equity"])
    assert metadata["account"]["equity_curve"].startswith("![Equity (USD)](data:image/svg+xml")
    checks = {check.check_name: check.passed for check in run.get_asset_check_evaluations()}
    assert checks.keys() >= BY_THE_FILLS
    assert {name: passed for name, passed in checks.items() if name not in BY_THE_FILLS} == (
        dict.fromkeys(
            ["quality", "every_strategy_has_a_champion", "every_strategy_predicts", "limits",
             "no_unknown_orders", "journal_equals_broker", "pnl_identity", "enough_and_fresh",
             "has_members", "every_strategy_decides", "no_breaker_is_tripped"], True,
        )
    )  # fmt: skip


def test_a_strategy_that_cant_predict_is_a_warning_and_the_others_go_on(
    traded_desk: TradedDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(data_dir=traded_desk.hydra.folder)
    original = day.make_predictions

    def without_one(*arguments: Any) -> Any:
        from hydra_pipelines.models import registry

        def refuse(self: Any, ref: Any, *rest: Any) -> Any:
            if ref.strategy_id == "HYP-2026-001":
                raise registry.ArtifactMissing("its file is gone")
            return load(self, ref, *rest)

        load = registry.Registry.load_inference
        with monkeypatch.context() as patch:
            patch.setattr(registry.Registry, "load_inference", refuse)
            return original(*arguments)

    monkeypatch.setattr(day, "make_predictions", without_one)
    run = execute(settings, dry_run="true")
    assert run.success
    failed, undecided = [
        check
        for check in run.get_asset_check_evaluations()
        if not check.passed and check.check_name not in BY_THE_FILLS
    ]
    assert failed.check_name == "every_strategy_predicts"
    assert undecided.check_name == "every_strategy_decides"
    assert failed.severity is dg.AssetCheckSeverity.WARN
    assert failed.description is not None
    assert failed.description.startswith("HYP-2026-001: ")
    assert "its file is gone" in failed.description


def test_the_session_due_follows_the_one_that_was_traded(traded_desk: TradedDesk) -> None:
    desk = Desk(load_settings(data_dir=traded_desk.hydra.folder))
    defs = build_defs(desk.settings)
    for job in ("daily_cycle", "train"):
        due = date.fromisoformat(defs.resolve_job_def(job).tags[PARTITION_TAG])
        assert due == desk.next_session_due() > date(2019, 1, 2)


def test_newly_trained_versions_are_shown(fresh: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from hydra_pipelines.day.models import TrainedVersion

    made = (
        TrainedVersion("HYP-2026-001", 1, "run1", {"rank_ic": 0.02}, True),
        TrainedVersion("HYP-2026-002", 3, "run2", {"rank_ic": math.nan}, False),
    )
    monkeypatch.setattr(day, "train_strategies", lambda *_: made)
    run = execute(fresh, "train")
    assert run.success and started(run) == {"bars", "features", "trained_models"}
    metadata = shown(run)["trained_models"]
    assert metadata["versions"] == 2
    first, second = (record.data for record in metadata["validation"].records)
    assert (first["version"], first["alias"], first["rank_ic"]) == (1, "champion", 0.02)
    assert (second["version"], second["alias"], second["rank_ic"]) == (3, "challenger", None)


# errors


@pytest.mark.parametrize(
    "error",
    [
        SettingsError("mode is live"),
        NotASession("a Sunday"),
        SessionRefused("too late"),
        ClockError("the venue does not answer"),
        LedgerBusy("held by process 7"),
        ControlError("no disk"),
        FloatingPointError("one that the step knows"),
    ],
)
def test_a_refusal_is_a_failure_in_its_own_words_and_final(error: Exception) -> None:
    with pytest.raises(dg.Failure) as caught, readable_errors(FloatingPointError):
        raise error
    assert caught.value.description == str(error) and not caught.value.allow_retries
    assert caught.value.__cause__ is error


def test_an_error_that_nobody_expects_keeps_its_trace() -> None:
    with pytest.raises(ZeroDivisionError), readable_errors():
        _ = 1 / 0
