"""The steps that talk to the broker: what Dagster may do with them, and what it may not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from hydra_pipelines import day
from hydra_pipelines.day import trading
from hydra_pipelines.definitions import build_defs
from hydra_pipelines.defs.jobs import PARTITION_TAG, RECONCILE_TAG, all_jobs
from hydra_pipelines.defs.running import BACKFILL_TAG, order_errors
from hydra_pipelines.desk import Desk
from hydra_pipelines.execution.broker.messages import BrokerError, NotSubmitted
from hydra_pipelines.execution.orders.manager import OrderManager, WindowPassed
from hydra_pipelines.ledger import orders
from hydra_pipelines.ledger.store import LedgerError, exclusive
from hydra_pipelines.sessions import ClockError
from hydra_pipelines.settings import load_settings
from hydra_pipelines_tests.conftest import TradedDesk
from hydra_pipelines_tests.defs.test_runs import execute, failure, shown, started
from hydra_pipelines_tests.ledger import builders
from hydra_pipelines_tests.scenarios.days import decide

# Dagster's own, of its own parts.
pytestmark = pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated")

SESSION = date(2019, 1, 2)
BROKER_ASSETS = ("order_plan", "executions", "positions", "account")


@pytest.fixture
def fresh(tmp_path: Path, traded_desk: TradedDesk) -> Iterator[Desk]:
    """A desk with an empty ledger; nothing of it needs a venue."""
    folder = tmp_path / "my desk"
    folder.mkdir()
    (folder / "cache").symlink_to(traded_desk.hydra.folder / "cache")
    desk = Desk(load_settings(data_dir=folder))
    desk.ledger.publish()
    yield desk
    desk.close()


# jobs


def test_jobs_look_ahead_or_back(fresh: Desk) -> None:
    """Those that trade take the session due, those that look at what was done the last worked."""
    due, worked = date(2019, 1, 4), date(2019, 1, 3)
    back = {"sync_positions", "reconcile", "drift_check", "self_heal"}
    for job in all_jobs(due, worked):
        assert job.tags[PARTITION_TAG] == str(worked if job.name in back else due), job.name
    assert {job.tags[PARTITION_TAG] for job in all_jobs(due, None)} == {str(due)}


def test_the_session_worked_last_is_that_of_the_ledger(traded_desk: TradedDesk) -> None:
    desk = Desk(load_settings(data_dir=traded_desk.hydra.folder))
    worked = desk.last_session_worked()
    assert worked is not None and worked < desk.next_session_due()
    job = build_defs(desk.settings).resolve_job_def("reconcile")
    assert job.tags[PARTITION_TAG] == str(worked) and job.tags[RECONCILE_TAG] == "true"


def test_a_desk_that_never_traded_has_worked_none(fresh: Desk) -> None:
    assert fresh.last_session_worked() is None


# backfills


@pytest.mark.parametrize("name", BROKER_ASSETS)
def test_a_backfill_of_what_belongs_to_the_broker_is_refused(fresh: Desk, name: str) -> None:
    """Before the desk asks anybody anything: no venue is started for it."""
    defs = build_defs(fresh.settings)
    with dg.DagsterInstance.ephemeral() as instance:
        run = dg.materialize(
            [asset for asset in defs.assets or () if isinstance(asset, dg.AssetsDefinition)],
            selection=[name],
            partition_key=str(SESSION),
            instance=instance,
            resources=defs.resources,
            tags={BACKFILL_TAG: "abcdefgh"},
            raise_on_error=False,
        )
    assert not run.success and started(run) == {name}
    text = failure(run)
    assert text.startswith(f"{name} is not part of backfills") and "hydra execute" in text
    assert not fresh.settings.venue_path.exists()


# retries


class Sent(Exception):
    """A bug, after the first order."""


@pytest.mark.parametrize(
    ("error", "sent", "message", "retried"),
    [
        (BrokerError("the socket is gone"), False, "the socket is gone", True),
        (
            BrokerError("the socket is gone"),
            True,
            "the socket is gone. Orders of 2019-01-02",
            False,
        ),
        (NotSubmitted("IB is lost"), True, "IB is lost. Orders", False),
        (Sent("a bug"), True, "Sent: a bug. Orders of 2019-01-02 may have been sent", False),
        (WindowPassed("it is over"), False, "it is over", False),
        (day.NoPlan("there is no plan"), False, "there is no plan", False),
        (ClockError("the venue does not answer"), True, "the venue does not answer", False),
    ],
)
def test_after_the_first_send_nothing_is_tried_again_blindly(
    fresh: Desk,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    sent: bool,
    message: str,
    retried: bool,
) -> None:
    monkeypatch.setattr(day, "may_have_sent", lambda *_: sent)
    with pytest.raises(dg.Failure) as caught, order_errors(fresh, SESSION):
        raise error
    assert (caught.value.description or "").startswith(message)
    assert caught.value.allow_retries is retried
    assert caught.value.__cause__ is error


def test_a_bug_before_the_first_send_keeps_its_trace(fresh: Desk) -> None:
    with pytest.raises(ZeroDivisionError), order_errors(fresh, SESSION):
        _ = 1 / 0


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], False),
        (["pending"], False),
        (["pending", "never_sent"], False),
        (["pending", "sending"], True),
        (["pending", "sending", "submitted", "filled"], True),
        (["pending", "sending", "unknown"], True),
        (["pending", "sending", "never_sent"], False),
    ],
)
def test_what_may_have_been_sent_is_read_from_the_events(
    fresh: Desk, events: list[str], expected: bool
) -> None:
    with fresh.ledger.transaction() as tx:
        orders.insert_intents(tx, [builders.intent("one"), builders.intent("two", 2)])
        orders.append_events(tx, [("one", "pending", {}, builders.NOW)])
        orders.append_events(tx, [("two", event, {}, builders.NOW) for event in events])
    assert trading.may_have_sent(fresh, SESSION) is expected
    assert trading.may_have_sent(fresh, date(2019, 1, 3)) is False


def test_what_cant_be_told_may_have_been_sent(fresh: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise LedgerError("damaged")

    monkeypatch.setattr("hydra_pipelines.ledger.store.Ledger.transaction", broken)
    assert trading.may_have_sent(fresh, SESSION) is True


def test_a_retry_policy_stops_at_the_first_send(
    traded_desk: TradedDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that somebody put on the job; the step fails after its orders, and is not run again."""
    settings = load_settings(data_dir=traded_desk.hydra.folder)
    desk = Desk(settings)
    session = desk.next_session_due()
    decide(desk, session)
    desk.close()
    tries: list[int] = []
    settle = OrderManager._settle

    def fail_after_sending(self: Any, *arguments: Any) -> None:
        tries.append(1)
        raise BrokerError("the socket is gone")

    monkeypatch.setattr(OrderManager, "_settle", fail_after_sending)
    defs = build_defs(settings)
    job = dg.define_asset_job(
        "stubborn",
        selection=["executions"],
        op_retry_policy=dg.RetryPolicy(max_retries=3),
    )
    with dg.DagsterInstance.ephemeral() as instance:
        run = (
            dg.Definitions(assets=defs.assets, resources=defs.resources, jobs=[job])
            .resolve_job_def("stubborn")
            .execute_in_process(instance=instance, partition_key=str(session), raise_on_error=False)
        )
    assert "may have been sent" in failure(run) and len(tries) == 1

    # The next run reconciles, and finishes what is left.
    monkeypatch.setattr(OrderManager, "_settle", settle)
    refs = [o["order_ref"] for o in traded_desk.hydra.venue.truth()["orders"]]
    done = execute(settings, "execute", session=str(session))
    assert done.success, [e.message for e in done.all_events if e.is_failure]
    assert len(refs) == len(set(refs))
    again = [o["order_ref"] for o in traded_desk.hydra.venue.truth()["orders"]]
    assert len(again) == len(set(again)) and again[: len(refs)] == refs
    checks = {c.check_name: c.passed for c in done.get_asset_check_evaluations()}
    assert checks["journal_equals_broker"] and checks["no_unknown_orders"]


def test_a_second_run_waits_its_turn_or_says_who_is_at_work(traded_desk: TradedDesk) -> None:
    folder = traded_desk.hydra.folder
    settings = load_settings(data_dir=folder, ledger={"lock_timeout_s": 0.2})
    before = traded_desk.hydra.orders_received()
    for lock, what in (("broker", "the connection to the broker"), ("execution", "the execution")):
        with exclusive(folder / f"{lock}.lock", 1, "a test"):
            run = execute(settings, "reconcile")
        assert failure(run).startswith(f"{what}") and f"process {os.getpid()}" in failure(run)
        assert started(run) == {"executions"}
    assert traded_desk.hydra.orders_received() == before


# looking without touching


def test_reconcile_asks_and_sends_nothing(traded_desk: TradedDesk) -> None:
    settings = load_settings(data_dir=traded_desk.hydra.folder)
    before = traded_desk.hydra.orders_received(), traded_desk.hydra.venue.status()["now"]
    run = execute(settings, "reconcile")
    assert run.success
    metadata = shown(run)
    assert metadata["executions"]["orders_sent_by_this_run"] == 0
    assert metadata["executions"]["orders"] > 0
    assert {"executions", "positions", "account"} <= started(run)
    assert (
        traded_desk.hydra.orders_received(),
        traded_desk.hydra.venue.status()["now"],
    ) == before


def test_executions_alone_refuse_what_cant_be_traded(traded_desk: TradedDesk) -> None:
    settings = load_settings(data_dir=traded_desk.hydra.folder)
    run = execute(settings, "execute", session="2019-01-02")
    worked = Desk(settings).last_session_worked()
    assert worked is not None and worked > SESSION, "another test has traded on"
    assert "2019-01-02 can't be traded any more" in failure(run)
    assert started(run) == {"executions"}
