"""A run that is told to end ends: by the interrupt that Dagster sends its process, once, and where
that got lost. No order is sent after it, and none twice."""

from __future__ import annotations

import contextlib
import os
import signal
from collections import Counter
from collections.abc import Callable
from typing import Any

import dagster as dg
import pytest

from hydra_pipelines import day
from hydra_pipelines.day.trading import Checkpoint
from hydra_pipelines.definitions import build_defs
from hydra_pipelines.defs import steps
from hydra_pipelines.desk import Desk
from hydra_pipelines.execution.orders.sender import Sender
from hydra_pipelines.settings import load_settings
from hydra_pipelines_tests.conftest import TradedDesk
from hydra_pipelines_tests.defs.test_runs import Run, execute, started
from hydra_pipelines_tests.scenarios.days import decide

# Dagster's own, of its own parts.
pytestmark = pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated")

TRADED = "2019-01-02"
INSTANCE: list[dg.DagsterInstance] = []
"""The one of the run at work, for what happens in it."""


def told_to_end(instance: dg.DagsterInstance) -> None:
    """What a launcher notes before it tells the run's process."""
    (run,) = instance.get_runs()
    instance.report_run_canceling(run)


def interrupted(instance: dg.DagsterInstance) -> None:
    told_to_end(instance)
    os.kill(os.getpid(), signal.SIGINT)


def turned_into_an_error(instance: dg.DagsterInstance) -> None:
    told_to_end(instance)
    raise RuntimeError("query interrupted")


def cancelled(desk: TradedDesk, job: str, session: str) -> tuple[Run | None, list[str], str]:
    """A run that something in it cancels; its steps that began, and its status."""
    defs = build_defs(load_settings(data_dir=desk.hydra.folder))
    with dg.DagsterInstance.ephemeral() as instance:
        INSTANCE[:] = [instance]
        run = None
        with contextlib.suppress(dg.DagsterExecutionInterruptedError):
            run = defs.resolve_job_def(job).execute_in_process(
                instance=instance, partition_key=session, raise_on_error=False
            )
        (record,) = instance.get_runs()
        events = instance.all_logs(record.run_id)
        seen = [
            f"{e.dagster_event.event_type_value} {e.dagster_event.step_key}"
            for e in events
            if e.dagster_event and e.dagster_event.event_type_value.startswith("STEP_")
        ]
        return run, seen, record.status.value


@pytest.mark.parametrize("cancel", [interrupted, told_to_end, turned_into_an_error])
def test_a_cancelled_step_is_not_tried_again_and_none_comes_after_it(
    cancel: Callable[[dg.DagsterInstance], None],
    traded_desk: TradedDesk,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make = day.make_features

    def cancelled_meanwhile(*arguments: Any) -> Any:
        cancel(INSTANCE[0])
        return make(*arguments)

    monkeypatch.setattr(day, "make_features", cancelled_meanwhile)
    _, seen, status = cancelled(traded_desk, "predict", TRADED)
    assert status == "CANCELED", seen
    begun = [one for one in seen if "STEP_START" in one]
    assert begun[:2] == ["STEP_START bars", "STEP_START features"]
    # A lost one is noticed where the next step begins.
    assert len(begun) == (3 if cancel is told_to_end else 2), seen
    assert not [one for one in seen if "RETRY" in one or "RESTART" in one]


def test_errors_of_steps_before_the_first_order_are_tried_again(
    traded_desk: TradedDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "AGAIN", dg.RetryPolicy(max_retries=2, delay=0))
    tries: list[int] = []
    make = day.make_features

    def hiccup(*arguments: Any) -> Any:
        tries.append(1)
        if len(tries) == 1:
            raise OSError("the disk was away for a moment")
        return make(*arguments)

    monkeypatch.setattr(day, "make_features", hiccup)
    run, seen, status = cancelled(traded_desk, "predict", TRADED)
    assert status == "SUCCESS" and run is not None and len(tries) == 2
    assert "STEP_UP_FOR_RETRY features" in seen

    monkeypatch.setattr(day, "make_features", lambda *_: 1 / 0)
    _, seen, status = cancelled(traded_desk, "predict", TRADED)
    assert status == "FAILURE" and "STEP_FAILURE features" in seen
    assert seen.count("STEP_UP_FOR_RETRY features") == 2


def test_a_cancelled_run_sends_no_further_order_and_the_next_goes_on(
    traded_desk: TradedDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interrupt got lost, after the first orders were sent."""
    monkeypatch.setattr(steps, "ASK_EVERY_S", 0.0)
    settings = load_settings(data_dir=traded_desk.hydra.folder)
    desk = Desk(settings)
    session = desk.next_session_due()
    decide(desk, session)
    desk.close()
    send, sent = Sender.send, []

    def send_and_be_cancelled(self: Any, plan: Any, wishes: Any, market: Any) -> None:
        send(self, plan, wishes, market)
        sent.append(len(wishes))
        if len(sent) == 1:
            told_to_end(INSTANCE[0])

    monkeypatch.setattr(Sender, "send", send_and_be_cancelled)
    before = traded_desk.hydra.orders_received()
    _, seen, status = cancelled(traded_desk, "execute", str(session))
    assert status == "CANCELED", seen
    assert [one for one in seen if "STEP_START" in one] == ["STEP_START executions"]
    assert len(sent) == 1 and traded_desk.hydra.orders_received() > before

    monkeypatch.setattr(Sender, "send", send)
    done = execute(settings, "execute", session=str(session))
    assert done.success and {"executions", "positions", "account"} <= started(done)
    refs = Counter(order["order_ref"] for order in traded_desk.hydra.venue.truth()["orders"])
    assert set(refs.values()) == {1}, "no order was sent twice"
    checks = {c.check_name: c.passed for c in done.get_asset_check_evaluations()}
    assert checks["journal_equals_broker"] and checks["no_unknown_orders"]


def test_a_store_that_does_not_answer_ends_no_run_that_works_orders() -> None:
    said: list[str] = []

    class Context:
        run = type("Run", (), {"run_id": "one"})
        log = type("Log", (), {"warning": staticmethod(said.append)})
        instance = None

    ask: Checkpoint = steps.checkpoint(Context())  # type: ignore[arg-type]
    ask()
    assert len(said) == 1 and "can't be read" in said[0]
    ask()
    assert len(said) == 1, "not asked again at once"
