"""`hydra paper reset`: the embedded desk started over."""

from __future__ import annotations

from typing import Annotated

import typer

from hydra_pipelines.cli.output import (
    REFUSED,
    Json,
    confirm,
    fail,
    person,
    print_json,
    readable_errors,
    say,
)

app = typer.Typer(help="The embedded paper venue.", no_args_is_help=True)


@app.command("reset")
def reset(
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    as_json: Json = False,
) -> None:
    """Start the embedded desk over: a new account and ledger; the old ones are kept aside."""
    from hydra_pipelines.desk import Desk
    from hydra_pipelines.ledger.store import LedgerBusy
    from hydra_pipelines.operations import resetting
    from hydra_pipelines.operations.backup import BackupError
    from hydra_pipelines.operations.stack import UpRefused

    with readable_errors():
        desk = Desk.open()
        try:
            resetting.require_resettable(desk)
            if there := resetting.stores_there(desk):
                confirm(
                    f"The desk in {desk.settings.data_path} begins anew: "
                    f"{', '.join(path.name for path in there)} are moved aside. Go on?",
                    yes,
                )
            done = resetting.reset(desk, person())
        except (resetting.ResetRefused, UpRefused, LedgerBusy, BackupError) as error:
            fail(str(error), REFUSED)
    if as_json:
        print_json(vars(done))
        return
    typer.echo(f"The desk begins anew: its next cycle decides on session {done.first}.")
    if done.aside:
        say(f"The old ledger and all that belongs to it are in {done.aside}.")
    if desk.control.kill_switch:
        say("Trading stays halted: `hydra resume-trading` lets it go on.")
