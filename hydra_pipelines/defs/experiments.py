"""The agent's experiments on Celery workers, each as a task; the default is processes here."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial

from hydra_pipelines.agent.experiment import ExperimentResult, ExperimentSpec
from hydra_pipelines.defs.engines import EXPERIMENTS
from hydra_pipelines.defs.workers import EXPERIMENT, Limits, WatchedTask, answers_now, celery_app
from hydra_pipelines.desk import Desk

_POLL_S = 0.2


class ExperimentsOnWorkers:
    """A `Runner` whose experiments are done by `hydra worker --queue experiments`, on any machine
    that has the desk's folder. A worker that is lost costs its experiment only."""

    def __init__(self, desk: Desk):
        settings, agent = desk.settings.dagster, desk.settings.agent
        self._app = celery_app(settings)
        self._at_a_time = agent.workers
        # One may have to wait until another one is over.
        wait_s = settings.step_wait_s + agent.experiment_timeout_s
        self._limits = Limits(wait_s, settings.worker_silence_s)

    def run(self, specs: Sequence[ExperimentSpec]) -> Iterator[ExperimentResult]:
        waiting = list(specs)
        working: dict[str, WatchedTask] = {}
        try:
            while waiting or working:
                while waiting and len(working) < self._at_a_time:
                    spec = waiting.pop(0)
                    working[spec.experiment_id] = self._send(spec)
                for experiment_id in [name for name, task in working.items() if task.ready()]:
                    yield _result(experiment_id, working.pop(experiment_id))
                time.sleep(_POLL_S if working else 0)
        finally:
            for task in working.values():
                task.revoke()

    def _send(self, spec: ExperimentSpec) -> WatchedTask:
        sent = self._app.tasks[EXPERIMENT].apply_async(
            [spec.to_json()], queue=EXPERIMENTS, expires=self._limits.wait_s
        )
        what = f"the experiment {spec.experiment_id}"
        return WatchedTask(what, EXPERIMENTS, sent, self._limits, partial(answers_now, self._app))


def _result(experiment_id: str, task: WatchedTask) -> ExperimentResult:
    try:
        return ExperimentResult.from_json(task.get())
    except Exception as error:
        # Whatever a worker can die of, or raise: it is this experiment's alone.
        return ExperimentResult(experiment_id, error=f"{type(error).__name__}: {error}")
