"""Dagster's own long-running processes as the desk runs them: webserver, daemon, code server.

The webserver has no log-in and takes changes from any page that the browser has open. So it is
served behind the web guard, and never without. All three share one code server, at a socket in a
folder that only its user can enter.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import parse_qs

from hydra_pipelines.components import Component
from hydra_pipelines.defs.instance import desk_instance
from hydra_pipelines.desk import Desk
from hydra_pipelines.operations.processes import listens
from hydra_pipelines.webguard import Guard, Refusal, Scope, hosts_of

LOCATION = "hydra_pipelines"
_WORKSPACE = """\
load_from:
  - grpc_server:
      socket: "{socket}"
      location_name: {location}
"""
_WAIT_S = 60.0
_JANITOR_S = 30.0
_CLEAN_EVERY_S = 86_400
_DATABASE_TIMEOUT_MS, _POOL_RECYCLE_S, _POOL_OVERFLOW = 15_000, 3600, 20
"""As the webserver's own command line has them."""


def serve_webserver(
    desk: Desk,
    code_socket: Path,
    host: str,
    port: int,
    names: Sequence[str] = (),
    token: str | None = None,
) -> None:
    """Serve the Dagster UI behind the guard until told to end.

    code_socket: of the code server. names: hosts that it is known by beside its address. token:
    what a browser has to show; needed on any address but loopback.
    """
    import uvicorn
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import WorkspaceFileTarget
    from dagster_webserver.app import create_app_from_workspace_process_context
    from dagster_webserver.version import __version__

    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    part = Component(
        "webserver", "webserver", "Dagster UI", host, port, f"{url}/graphql",
        ("assets", "runs", "schedules", "sensors"),
    )  # fmt: skip
    with desk_instance(desk) as instance, desk.components.beating(part):
        instance.optimize_for_webserver(_DATABASE_TIMEOUT_MS, _POOL_RECYCLE_S, _POOL_OVERFLOW)
        _wait_for(code_socket)
        workspace = WorkspaceFileTarget([str(_write_workspace(desk, code_socket))])
        with WorkspaceProcessContext(instance, workspace, version=__version__) as context:
            app = Guard(
                create_app_from_workspace_process_context(context),
                hosts_of(host, port, names),
                token=token,
                refuse=no_query_by_get,
                headers={"x-frame-options": "DENY"},
            )
            # uvicorn hands the signal on once it has shut down; then what is open here is closed.
            signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
            uvicorn.run(
                app,
                host=host,
                port=port,
                log_level="warning",
                proxy_headers=False,
                server_header=False,
                # Open subscriptions would hold up the end for ever.
                timeout_graceful_shutdown=1,
            )


def no_query_by_get(scope: Scope, headers: Mapping[str, str]) -> None:
    """Refuse GraphQL by GET, mutations among it, which a mere link or image could send."""
    if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
        return
    path = str(scope["path"]).rstrip("/")
    if path.endswith("/graphql") and "query" in parse_qs(
        scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True
    ):
        raise Refusal(405, "GraphQL is taken by POST alone")


def run_daemon(desk: Desk, code_socket: Path) -> None:
    """Run Dagster's daemon until told to end, and the janitor beside it."""
    from dagster._daemon.cli import run_command

    from hydra_pipelines.defs.janitor import free_dead_runs
    from hydra_pipelines.operations.retention import clean_up

    part = Component(
        "daemon", "daemon", "Dagster daemon", capabilities=("schedules", "sensors", "run queue")
    )
    with desk_instance(desk) as instance, desk.components.beating(part):
        _wait_for(code_socket)

        def keep_clean() -> None:
            cleaned = time.monotonic()
            while True:
                time.sleep(_JANITOR_S)
                try:
                    said = free_dead_runs(instance)
                    if time.monotonic() - cleaned > _CLEAN_EVERY_S:
                        cleaned = time.monotonic()
                        said += clean_up(desk)
                    for text in said:
                        print(f"janitor: {text}", flush=True)
                except Exception as error:
                    print(f"janitor: ERROR {type(error).__name__}: {error}", flush=True)

        threading.Thread(target=keep_clean, name="janitor", daemon=True).start()
        workspace = _write_workspace(desk, code_socket)
        run_command.main(["--workspace", str(workspace)], standalone_mode=False)


def run_code_server(desk: Desk, code_socket: Path) -> None:
    """Serve the project's definitions, and run what is launched, until told to end."""
    from dagster._cli.api import grpc_command

    part = Component(
        "code-server", "code server", "Dagster code server", capabilities=("definitions", "runs")
    )
    with desk_instance(desk), desk.components.beating(part):
        # Left by one that was killed, it would keep the new one from listening.
        code_socket.unlink(missing_ok=True)
        grpc_command.main(
            [
                "--socket", str(code_socket), "--module-name", LOCATION,
                "--location-name", LOCATION, "--lazy-load-user-code",
                "--working-directory", str(desk.settings.root),
            ],
            standalone_mode=False,
        )  # fmt: skip


def _wait_for(code_socket: Path) -> None:
    deadline = time.monotonic() + _WAIT_S
    while not listens(code_socket):
        if time.monotonic() > deadline:
            sys.exit(f"the code server does not answer at {code_socket}")
        time.sleep(0.1)


def _write_workspace(desk: Desk, code_socket: Path) -> Path:
    path = desk.settings.dagster_home / "up.workspace.yaml"
    text = _WORKSPACE.format(socket=code_socket, location=LOCATION)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.write_text(text)
    os.replace(new, path)
    return path
