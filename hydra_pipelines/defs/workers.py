"""Steps on Celery workers: the app that both ends share, the executor, and who has fallen silent.

A step is sent once. Celery acknowledges it before it runs, so a step whose worker dies is not
given to another one: its run fails, and the next run reconciles before it sends anything. That a
worker died is seen by its silence, since a broker of messages doesn't tell.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import dagster as dg
from celery import Celery
from celery.result import AsyncResult
from dagster_celery.config import TASK_EXECUTE_PLAN_NAME
from dagster_celery.core_execution_loop import core_celery_execution_loop
from dagster_celery.executor import CeleryExecutor
from dagster_celery.tasks import create_task

from hydra_pipelines.agent.experiment import ExperimentSpec
from hydra_pipelines.day.experimenting import local_runner
from hydra_pipelines.defs.engines import BROKER, RESEARCH, lend_secrets
from hydra_pipelines.defs.whereabouts import note
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger.store import exclusive
from hydra_pipelines.settings import DagsterSettings

EXPERIMENT = "hydra.experiment"
"""Name of the task that runs one."""
_PING_S = 1.0
"""How long one question to a worker waits for its answer."""


class WorkerLost(RuntimeError):
    """No worker took a task in time, or the one that had it doesn't answer any more."""


@dataclass(frozen=True)
class Limits:
    """Seconds until a task that no worker has taken, or whose worker is silent, is given up."""

    wait_s: float
    silence_s: float


def celery_app(settings: DagsterSettings) -> Celery:
    """The app of senders and workers, with the tasks: a step of a run, and an experiment."""
    broker = settings.broker_url.get_secret_value()
    app = Celery("hydra", broker=broker, backend=settings.results_url.get_secret_value() or broker)
    app.conf.update(_configuration())
    create_task(app)
    app.task(name=EXPERIMENT)(_experiment)
    return app


def _experiment(spec: str) -> str:
    """One experiment, as JSON in and out, by the desk of this machine."""
    desk = Desk.open()
    (result,) = local_runner(desk).run([ExperimentSpec.from_json(spec)])
    return result.to_json()


def _configuration() -> dict[str, Any]:
    return {
        "task_default_queue": RESEARCH,
        # Tells which worker has a step, so that it can be asked whether it still lives.
        "task_track_started": True,
        # A worker takes a step when it can begin it: what it kept for later would be sent to
        # another one after an hour, and would run twice.
        "worker_prefetch_multiplier": 1,
        "worker_disable_prefetch": True,
        # A fresh process now and then: definitions, and the calendar behind them, grow old.
        "worker_max_tasks_per_child": 100,
        "broker_connection_retry_on_startup": True,
        # Connections to the broker of messages come and go; the step goes on.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "result_expires": 24 * 3600,
        "accept_content": ["json"],
    }


def work(desk: Desk, queue: str, concurrency: int, name: str) -> None:
    """Be a worker until told to stop; SIGTERM lets the steps that run come to their end.

    queue: of Celery. concurrency: tasks at a time. Raises LedgerBusy where the broker's queue has
    its worker already.
    """
    settings = desk.settings
    lend_secrets(settings)
    arguments = [
        "worker",
        f"--queues={queue}",
        f"--concurrency={concurrency}",
        f"--hostname={name}@%h",
        "--loglevel=INFO",
        "--without-gossip",
        "--without-mingle",
    ]
    with ExitStack() as held:
        if queue == BROKER:
            lock, timeout_s = (
                settings.data_path / "broker-worker.lock",
                settings.ledger.lock_timeout_s,
            )
            held.enter_context(exclusive(lock, timeout_s, f"the queue {BROKER}"))
        celery_app(settings.dagster).worker_main(arguments)


def answers_now(app: Celery, worker: str) -> bool:
    """Whether a worker answers; one at work on something does, too."""
    return bool(app.control.ping([worker], timeout=_PING_S, limit=1))


def celery_executor(settings: DagsterSettings) -> dg.ExecutorDefinition:
    """Dagster's Celery executor, which also notices that a worker is gone."""

    # Nothing to configure by run: URLs hold passwords, and a run's configuration is stored.
    @dg.executor(name="celery", requirements=dg.multiple_process_executor_requirements())
    def executor(_: dg.InitExecutorContext) -> StepsOnWorkers:
        return StepsOnWorkers(settings)

    return executor


class StepsOnWorkers(CeleryExecutor):
    """Sends each step to its queue and watches over it until it is done."""

    def __init__(self, settings: DagsterSettings):
        from dagster._core.execution.retries import RetryMode

        super().__init__(
            retries=RetryMode.ENABLED,
            broker=settings.broker_url.get_secret_value(),
            config_source={"task_default_queue": RESEARCH},
        )
        self._settings = settings
        self._celery = celery_app(settings)

    def execute(self, plan_context: Any, execution_plan: Any) -> Iterator[dg.DagsterEvent]:
        note(plan_context.instance, plan_context.dagster_run)
        yield from core_celery_execution_loop(plan_context, execution_plan, self._send)

    def _send(
        self, _: Celery, plan_context: Any, step: Any, queue: str, priority: int, known_state: Any
    ) -> WatchedTask:
        """The core loop's way to send a step; it asks what comes back for `ready` and `get`."""
        from dagster._grpc.types import ExecuteStepArgs
        from dagster._serdes import pack_value

        job = plan_context.reconstructable_job
        arguments = ExecuteStepArgs(
            job_origin=job.get_python_origin(),
            run_id=plan_context.dagster_run.run_id,
            step_keys_to_execute=[step.key],
            instance_ref=plan_context.instance.get_ref(),
            retry_mode=self.retries.for_inner_plan(),
            known_state=known_state,
        )
        sent = self._celery.tasks[TASK_EXECUTE_PLAN_NAME].apply_async(
            kwargs={
                "execute_step_args_packed": pack_value(arguments),
                "executable_dict": job.to_dict(),
            },
            queue=queue,
            priority=priority,
            # Orders of a session that is over by then, for example, are nobody's to send.
            expires=self._settings.step_wait_s,
        )
        limits = Limits(self._settings.step_wait_s, self._settings.worker_silence_s)
        answers = partial(answers_now, self._celery)
        return WatchedTask(f"the step {step.key}", queue, sent, limits, answers)


class WatchedTask:
    """A task that was sent: its result, or WorkerLost once there can be none."""

    def __init__(
        self,
        what: str,
        queue: str,
        sent: AsyncResult,
        limits: Limits,
        answers: Callable[[str], bool],
        clock: Callable[[], float] = time.monotonic,
    ):
        """what: said of it in errors. answers: whether the worker of this name does. clock: s."""
        self._what, self._queue, self._sent = what, queue, sent
        self._limits, self._answers, self._clock = limits, answers, clock
        self._heard = self._asked = clock()
        self._taken = False
        self._lost: WorkerLost | None = None

    def ready(self) -> bool:
        """Whether `get` returns, or raises, at once."""
        if self._lost is None and not self._sent.ready():
            self._lost = self._look()
        return self._lost is not None or self._sent.ready()

    def get(self) -> Any:
        """What the task returned. Raises what it raised, or WorkerLost."""
        if self._sent.ready():
            return self._sent.get()
        assert self._lost is not None, "asked for the result of a task that still runs"
        raise self._lost

    def revoke(self) -> None:
        self._sent.revoke()

    def _look(self) -> WorkerLost | None:
        meta, now = self._sent.backend.get_task_meta(self._sent.id), self._clock()
        wait, silence = self._limits.wait_s, self._limits.silence_s
        if meta["status"] == "PENDING":
            if now - self._heard <= wait:
                return None
            return WorkerLost(
                f"no worker has taken {self._what} from the queue {self._queue} for {wait:g} s: "
                "is one running? `hydra worker` starts it"
            )
        if meta["status"] != "STARTED":
            return None
        worker = meta["result"]["hostname"]
        if not self._taken:
            self._taken, self._heard, self._asked = True, now, now
        if now - self._asked >= silence / 10:
            self._asked = now
            if self._answers(worker):
                self._heard = self._clock()
        if self._clock() - self._heard <= silence:
            return None
        return WorkerLost(
            f"the worker {worker} has not answered for {silence:g} s while it had {self._what}. "
            "If it lives, it goes on: until it has ended it keeps the locks that it holds, and the "
            "next run reconciles before it sends anything"
        )
