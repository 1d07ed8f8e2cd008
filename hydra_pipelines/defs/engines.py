"""Where the steps of a run are executed, by the settings: here, on Celery workers, in pods.

The libraries of the engines that are not chosen are not imported.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import dagster as dg

from hydra_pipelines.desk import Desk
from hydra_pipelines.settings import Settings

if TYPE_CHECKING:
    from hydra_pipelines.agent.experiment import Runner

RESEARCH, BROKER, EXPERIMENTS = "hydra.research", "hydra.broker", "hydra.experiments"
"""Queues of Celery. Whatever asks the broker or its clock goes through the second one; the third
has workers of its own, since a step of the first waits for them."""
STEP_AT_THE_BROKER = {"dagster-celery/queue": BROKER}
"""Tag of steps whose one worker at a time is that of the broker's queue."""

POSTGRES_URL = "HYDRA_DAGSTER__POSTGRES_URL"
STORAGE = {
    "sqlite": "",
    "postgres": f"""
# By the setting dagster.storage. The URL holds a password: it is in the environment alone.
storage:
  postgres:
    postgres_url:
      env: {POSTGRES_URL}
""",
}
"""What is added to the project's `dagster.yaml` for each kind of storage."""


def executor_of(settings: Settings) -> dg.ExecutorDefinition:
    """The executor of all jobs that the settings ask for."""
    if settings.dagster.executor == "celery":
        from hydra_pipelines.defs.workers import celery_executor

        return celery_executor(settings.dagster)
    if settings.dagster.executor == "k8s":
        from dagster_k8s import k8s_job_executor

        # The rest (image, volumes, secrets) is the run launcher's, from the Helm values.
        return k8s_job_executor.configured({"max_concurrent": 8}, name="k8s")
    return dg.in_process_executor


def experiment_runner(desk: Desk) -> Runner | None:
    """Where the agent's experiments run by the settings; None for processes of this machine."""
    if desk.settings.dagster.executor != "celery":
        return None
    from hydra_pipelines.defs.experiments import ExperimentsOnWorkers

    return ExperimentsOnWorkers(desk)


def lend_secrets(settings: Settings) -> None:
    """Put into this process's environment what `dagster.yaml` looks for there, if it was read
    from `.env`; the processes that it starts inherit it."""
    url = settings.dagster.postgres_url.get_secret_value()
    if url:
        os.environ[POSTGRES_URL] = url
