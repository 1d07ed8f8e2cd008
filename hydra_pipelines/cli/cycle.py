"""`hydra cycle`: one daily cycle as a Dagster run in this process, with its progress."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from hydra_pipelines.cli.output import (
    FAILURE,
    REFUSED,
    Json,
    fail,
    print_json,
    readable_errors,
    say,
)


def cycle(
    session: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"],
            help="Session whose close decides; without it, the next one due.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write the plan, send nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run one daily cycle: data, predictions, plan, orders, positions, account."""
    from hydra_pipelines import api, day
    from hydra_pipelines.cli.running import run_job
    from hydra_pipelines.desk import Desk

    with readable_errors():
        desk = Desk.open()
        chosen = session.date() if session else desk.next_session_due()
        desk.calendar.index(chosen)
        if desk.embedded:
            say("Starting the paper venue …")
        try:
            day.check_session(desk, chosen, dry_run=dry_run)
        except day.SessionRefused as error:
            fail(str(error), REFUSED)
        say(f"Cycle of session {chosen} ({desk.settings.mode}, {desk.settings.broker.venue} venue)")
        outcome = run_job(desk, "daily_cycle", chosen, dry_run=dry_run)
        state = api.status(desk)
    if as_json:
        print_json(state)
    if outcome.failure:
        fail(f"the cycle of {chosen} failed: {outcome.failure}", FAILURE)
    if not as_json:
        from hydra_pipelines.cli.read import print_status

        typer.echo()
        print_status(state)
        typer.echo()
        typer.echo("Look next:   hydra positions, hydra trades, hydra cycle (the next session)")
    if outcome.findings:
        found = "; ".join(outcome.findings)
        fail(f"the cycle ran, and found what needs a person: {found}", REFUSED)
