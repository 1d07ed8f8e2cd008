"""`hydra worker` and `hydra instance`: the parts of a desk whose runs are spread over processes."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from hydra_pipelines.cli.output import readable_errors, say


class Queue(StrEnum):
    RESEARCH = "research"
    BROKER = "broker"
    EXPERIMENTS = "experiments"


def worker(
    queue: Annotated[
        Queue,
        typer.Option(
            help="What to do: steps of research; those that ask the broker, one at a time by one "
            "worker; or the agent's experiments."
        ),
    ] = Queue.RESEARCH,
    concurrency: Annotated[
        int, typer.Option(min=1, help="Steps or experiments at a time; of the broker's always 1.")
    ] = 1,
    name: Annotated[
        str | None, typer.Option(help="To tell several workers of a machine apart.")
    ] = None,
) -> None:
    """Execute steps of runs until told to stop, where dagster.executor is celery."""
    from hydra_pipelines.desk import Desk
    from hydra_pipelines.settings import SettingsError

    with readable_errors():
        if queue is Queue.BROKER and concurrency != 1:
            raise typer.BadParameter("the broker is asked one step at a time: leave it at 1")
        desk = Desk.open()
        if desk.settings.dagster.executor != "celery":
            raise SettingsError(
                f"dagster.executor is {desk.settings.dagster.executor}: workers get nothing to do; "
                "set it to celery (docs/scale-out.md)"
            )
        say(f"Loading Celery; the queue is {queue} …")
        from hydra_pipelines.defs.workers import work

        work(desk, f"hydra.{queue}", concurrency, name or queue)


def instance() -> None:
    """Make the Dagster instance of the desk, once and alone, and print its DAGSTER_HOME."""
    from hydra_pipelines.desk import Desk

    with readable_errors():
        desk = Desk.open()
        from hydra_pipelines.defs.instance import desk_instance

        with desk_instance(desk):
            typer.echo(desk.settings.dagster_home)
