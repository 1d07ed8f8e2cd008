"""`hydra backup` and `hydra restore`: the desk as one file, and from one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
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


def backup(
    to: Annotated[
        Path | None, typer.Option(help="Folder; default: backups/ in the data folder.")
    ] = None,
    with_runs: Annotated[
        bool, typer.Option("--with-runs", help="With Dagster's history of runs.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write ledger, control store, models and paper account to one archive, also during a run."""
    from hydra_pipelines.desk import Desk
    from hydra_pipelines.operations.backup import back_up
    from hydra_pipelines.operations.restore import read_manifest

    with readable_errors():
        archive = back_up(Desk.open(), to, with_runs)
        manifest = read_manifest(archive)
    if as_json:
        print_json({"archive": str(archive), "bytes": archive.stat().st_size, **asdict(manifest)})
        return
    typer.echo(str(archive))
    say(
        f"{manifest.sessions_planned} sessions, {manifest.executions} executions, "
        f"{len(manifest.files)} files, {archive.stat().st_size / 1e6:.1f} MB. It holds positions "
        "and account, no secrets: keep it where only you can read it."
    )


def restore(
    archive: Annotated[Path, typer.Argument(help="Made by `hydra backup`.")],
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    as_json: Json = False,
) -> None:
    """Put a backup in the place of this desk's stores, which are kept aside."""
    from hydra_pipelines.desk import Desk
    from hydra_pipelines.operations.restore import read_manifest, stores_there
    from hydra_pipelines.operations.restore import restore as put_in_place
    from hydra_pipelines.operations.stack import UpRefused

    with readable_errors():
        desk = Desk.open()
        manifest = read_manifest(archive)
        if there := stores_there(desk, manifest):
            confirm(
                f"{len(there)} stores in {desk.settings.data_path} are moved aside for the backup "
                f"of {manifest.made_at} ({manifest.sessions_planned} sessions). Go on?",
                yes,
            )
        try:
            done = put_in_place(desk, archive, person())
        except UpRefused as error:
            fail(str(error), REFUSED)
    if as_json:
        print_json(
            {
                "made_at": manifest.made_at,
                "sessions_planned": manifest.sessions_planned,
                "last_session": manifest.last_session,
                "aside": str(done.aside) if done.aside else None,
                "notes": done.notes,
                "halted": desk.control.kill_switch,
            }
        )
        return
    for note in done.notes:
        say(f"Note: {note}")
    typer.echo(
        f"The desk is the one of {manifest.made_at}: {manifest.sessions_planned} sessions, the "
        f"last {manifest.last_session or 'none'}."
    )
    if done.aside:
        say(f"What was here before is in {done.aside}.")
    if desk.control.kill_switch:
        say(
            "Trading is halted. Look at `hydra sync-positions` and `hydra status`, then "
            "`hydra resume-trading`."
        )
