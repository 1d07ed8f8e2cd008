"""`hydra up`: everything that a desk runs, in one command, until Ctrl-C."""

from __future__ import annotations

import signal
import sys
import threading
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hydra_pipelines.cli.output import FAILURE, REFUSED, fail, readable_errors, say

if TYPE_CHECKING:
    from hydra_pipelines.operations.stack import Address
    from hydra_pipelines.operations.supervisor import Event

_WIDTH = 160
_LOOK_S = 0.5


def up(
    host: Annotated[
        str | None, typer.Option(help="Address of the Dagster UI; default: the settings'.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Its port, 0 for a free one; default: the settings'.")
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(help="File with the token that a browser has to show (20 characters up)."),
    ] = None,
    dashboard_port: Annotated[
        int | None, typer.Option(help="Port of the dashboard; default: the settings'.")
    ] = None,
    no_dashboard: Annotated[bool, typer.Option("--no-dashboard", help="Without it.")] = False,
) -> None:
    """Start the Dagster UI, its daemon, the dashboard and the paper venue, until Ctrl-C."""
    from hydra_pipelines.desk import Desk
    from hydra_pipelines.operations.stack import Address, UpRefused, checked, logs_of, running

    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: over.set())
    with readable_errors():
        desk = Desk.open()
        settings = desk.settings
    try:
        web = checked(
            Address(
                host or settings.up.host,
                settings.up.port if port is None else port,
                settings.up.allowed_hosts,
                _token(token_file),
            ),
            "--port",
        )
        dashboard = None
        if not no_dashboard and _has_dashboard():
            chosen = settings.dashboard.port if dashboard_port is None else dashboard_port
            dashboard = checked(Address("127.0.0.1", chosen), "--dashboard-port")
        say(f"Desk in {settings.data_path}; logs in {logs_of(desk)}. Ctrl-C ends all of it.")
        with running(desk, web, dashboard, _Terminal(web, dashboard)) as stack:
            while not over.wait(_LOOK_S):
                if stack.nothing_left:
                    break
            lost = stack.nothing_left
            say("Ending …")
    except UpRefused as error:
        fail(str(error), REFUSED)
    if lost:
        fail(f"every part was given up, see {logs_of(desk)}", FAILURE)
    say("Nothing runs any more.")


def _token(file: Path | None) -> str | None:
    from hydra_pipelines.webguard import MIN_TOKEN

    if file is None:
        return None
    try:
        token = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{file} can't be read: {error}", REFUSED)
    if len(token) < MIN_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        fail(
            f"{file} does not hold a token: {MIN_TOKEN} printable characters or more without a "
            f"space, for example of `{sys.executable} -c 'import secrets; "
            "print(secrets.token_urlsafe(32))'`",
            REFUSED,
        )
    return token


def _has_dashboard() -> bool:
    from hydra_pipelines.cli.app import app

    return any(command.name == "serve" for command in app.registered_commands)


class _Terminal:
    """What is said of each event: one short line. The whole of it is in the logs."""

    def __init__(self, web: Address, dashboard: Address | None):
        self._urls = {"webserver": ("Dagster UI", web.url)}
        if dashboard is not None:
            self._urls["dashboard"] = ("Dashboard", dashboard.url)
        self._last: tuple[str, str] = ("", "")

    def __call__(self, event: Event) -> None:
        from hydra_pipelines.operations.supervisor import Happening

        text = f"{event.what}{f': {event.text}' if event.text else ''}"
        if event.what is Happening.TROUBLE:
            text = event.text
        if event.what is Happening.READY and event.part in self._urls:
            name, url = self._urls[event.part]
            text = f"{name} at {url}"
        # A part that fails again and again says the same each time.
        if (event.part, text) == self._last:
            return
        self._last = (event.part, text)
        say(f"{datetime.now():%H:%M:%S} {event.part:<12} {text[:_WIDTH]}")
