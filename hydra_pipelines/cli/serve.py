"""`hydra serve`: the dashboard, until Ctrl-C."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hydra_pipelines.cli.output import REFUSED, USAGE, fail, readable_errors, say

if TYPE_CHECKING:
    from hydra_pipelines.settings import Settings


def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; default: the settings', 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Default: the settings', 7861; 0 takes a free one."),
    ] = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Refuse every action, by the server.")
    ] = False,
    token_file: Annotated[
        Path | None,
        typer.Option(help="A file with the token to show; needed on any address but loopback."),
    ] = None,
) -> None:
    """Serve the dashboard until Ctrl-C."""
    from hydra_pipelines.dashboard.serving import ServeRefused, read_token
    from hydra_pipelines.dashboard.serving import serve as serving
    from hydra_pipelines.settings import load_settings

    with readable_errors(), ExitStack() as around:
        settings = load_settings()
        s = settings.dashboard
        _start_runner(settings, around)
        try:
            serving(
                settings,
                host or s.host,
                s.port if port is None else port,
                token=read_token(token_file) if token_file else None,
                read_only=read_only,
                ready=lambda url: say(f"Dashboard on {url} (Ctrl-C ends it)"),
            )
        except ServeRefused as error:
            fail(str(error), REFUSED)


def _start_runner(settings: Settings, around: ExitStack) -> None:
    """Dagster's processes beside it, where HYDRA_START_RUNNER says so."""
    from hydra_pipelines.operations import runner

    try:
        if not runner.is_wanted():
            return
    except ValueError as error:
        fail(str(error), USAGE)
    from hydra_pipelines.desk import Desk

    settings.data_path.mkdir(parents=True, exist_ok=True)
    around.enter_context(runner.beside(Desk(settings), say))
