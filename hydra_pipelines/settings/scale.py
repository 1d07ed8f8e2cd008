"""The section `dagster`: where runs are recorded, and on which machines their steps run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr, model_validator

from hydra_pipelines.settings.families import Positive, Section, refusal

SECRET_URLS = ("postgres_url", "broker_url", "results_url")
"""They hold passwords, so only the environment and `.env` set them."""

POSTGRES = "postgresql+psycopg2://"


class DagsterSettings(Section):
    """Where runs are recorded, and on which machines their steps run."""

    storage: Literal["sqlite", "postgres"] = "sqlite"
    """Of runs, events and schedules: files under the data folder, or a PostgreSQL database."""
    postgres_url: SecretStr = SecretStr("")
    """`postgresql+psycopg2://user:password@host:5432/database`; only HYDRA_DAGSTER__POSTGRES_URL
    sets it."""
    executor: Literal["in_process", "celery", "k8s"] = "in_process"
    """Steps of a run: one after the other in its own process, as tasks of Celery workers (started
    by `hydra worker`), or each in a pod of Kubernetes. `hydra cycle` runs here in any case."""
    broker_url: SecretStr = SecretStr("")
    """Celery's message broker, `redis://:password@host:6379/0`; only HYDRA_DAGSTER__BROKER_URL
    sets it. Whoever can write to it can run code on every worker."""
    results_url: SecretStr = SecretStr("")
    """Where Celery keeps results; empty means in its broker."""
    step_wait_s: Positive = 900
    """A step that no worker has taken for so long is withdrawn, and its run fails."""
    worker_silence_s: Positive = 60
    """A worker that has not answered for so long is lost, and the run of its step fails."""
    feature_shards: Annotated[int, Field(ge=1, le=256)] = 1
    """Parts of the universe whose features are made as steps of their own, side by side."""

    @model_validator(mode="after")
    def _complete(self) -> DagsterSettings:
        wrong: dict[tuple[str | int, ...], str] = {}
        given = self.postgres_url.get_secret_value()
        if self.storage == "postgres" and not given:
            wrong["storage",] = "postgres needs HYDRA_DAGSTER__POSTGRES_URL in the environment"
        elif self.storage == "postgres" and not given.startswith(POSTGRES):
            wrong["postgres_url",] = f"it begins with {POSTGRES}, which names the driver too"
        if self.executor != "in_process" and self.storage != "postgres":
            wrong["executor",] = f"{self.executor} needs storage: postgres, for several writers"
        elif self.executor == "celery" and not self.broker_url.get_secret_value():
            wrong["executor",] = "celery needs HYDRA_DAGSTER__BROKER_URL in the environment"
        if wrong:
            raise refusal("DagsterSettings", wrong)
        return self
