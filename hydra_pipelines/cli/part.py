"""One part of `hydra up` as a process: `python -m hydra_pipelines.cli.part NAME`.

Not a command for people: it ends together with the `hydra up` that started it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from hydra_pipelines.cli.output import REFUSED
from hydra_pipelines.operations.processes import end_with_parent
from hydra_pipelines.operations.stack import TOKEN_VARIABLE


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="hydra up: part")
    parser.add_argument("name", choices=sorted(_PARTS))
    parser.add_argument("--socket", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=3000)
    parser.add_argument("--names", type=json.loads, default=())
    options = parser.parse_args(arguments)
    end_with_parent()
    from hydra_pipelines.control import ControlError
    from hydra_pipelines.ledger.store import LedgerError
    from hydra_pipelines.settings import SettingsError

    try:
        _PARTS[options.name](options)
    except (SettingsError, LedgerError, ControlError) as error:
        print(f"ERROR {error}", file=sys.stderr)
        return REFUSED
    return 0


def _prepare(options: argparse.Namespace) -> None:
    """What comes before the parts: each line that this prints is told."""
    from hydra_pipelines.defs.instance import desk_instance
    from hydra_pipelines.defs.janitor import free_dead_runs
    from hydra_pipelines.desk import Desk
    from hydra_pipelines.operations.integrity import require_sound_stores
    from hydra_pipelines.operations.retention import clean_up

    desk = Desk.open()
    require_sound_stores(desk)
    with desk_instance(desk) as instance:
        said = free_dead_runs(instance)
    for text in [*said, *clean_up(desk)]:
        print(text)


def _webserver(options: argparse.Namespace) -> None:
    from hydra_pipelines.defs.serving import serve_webserver
    from hydra_pipelines.desk import Desk

    # Not handed on to what this process may start.
    token = os.environ.pop(TOKEN_VARIABLE, None)
    serve_webserver(Desk.open(), options.socket, options.host, options.port, options.names, token)


def _daemon(options: argparse.Namespace) -> None:
    from hydra_pipelines.defs.serving import run_daemon
    from hydra_pipelines.desk import Desk

    run_daemon(Desk.open(), options.socket)


def _code_server(options: argparse.Namespace) -> None:
    from hydra_pipelines.defs.serving import run_code_server
    from hydra_pipelines.desk import Desk

    run_code_server(Desk.open(), options.socket)


def _dashboard(options: argparse.Namespace) -> None:
    from hydra_pipelines.cli.app import app

    app(["serve", "--host", options.host, "--port", str(options.port)])


_PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "prepare": _prepare,
    "webserver": _webserver,
    "daemon": _daemon,
    "code-server": _code_server,
    "dashboard": _dashboard,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
