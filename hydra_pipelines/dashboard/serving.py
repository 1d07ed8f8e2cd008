"""Serving the dashboard: from the settings to a server that ends within a second."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import uvicorn

from hydra_pipelines.components import Component
from hydra_pipelines.dashboard.app import Guarded, create_app
from hydra_pipelines.desk import Desk
from hydra_pipelines.settings import Settings
from hydra_pipelines.webguard import MIN_TOKEN, hosts_of, is_loopback


class ServeRefused(ValueError):
    """It can't be served that way; the message says what to do."""


def read_token(path: Path) -> str:
    """The token of a file that only its owner can read. Raises ServeRefused."""
    try:
        mode = path.stat().st_mode
        token = path.read_text().strip()
    except OSError as error:
        raise ServeRefused(f"the token file {path} can't be read: {error.strerror}") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ServeRefused(f"others can read the token file {path}: chmod 600 {path}")
    if len(token) < MIN_TOKEN:
        raise ServeRefused(
            f"the token in {path} has {len(token)} characters, {MIN_TOKEN} are needed; a good one: "
            f"{secrets.token_urlsafe(32)}"
        )
    return token


def serve(
    settings: Settings,
    host: str,
    port: int,
    *,
    token: str | None = None,
    read_only: bool = False,
    ready: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve until told to end. ready: called with the address once it listens.

    Raises ServeRefused for an address that needs a token and has none, or that is taken.
    """
    if not is_loopback(host) and token is None:
        raise ServeRefused(
            f"on {host} others can reach the dashboard: give it a token with --token-file, or "
            "leave it on 127.0.0.1 and come by an SSH tunnel"
        )
    listener = _listen(host, port)
    port = listener.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{port}"

    app = create_app(
        settings,
        hosts=hosts_of(host, port, _names(settings)),
        token=token,
        read_only=read_only or settings.dashboard.read_only,
    )
    part = Component(
        id="dashboard",
        kind="dashboard",
        name="Dashboard",
        host=host,
        port=port,
        url=f"{url}/docs",
        capabilities=("read",) if read_only else ("read", "actions"),
    )
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=1,
        timeout_keep_alive=5,
    )
    server = Server(config, app)
    with Desk(settings).components.beating(part):
        ready(url)
        server.run(sockets=[listener])


class Server(uvicorn.Server):
    """Ends its streams first: an open one would hold the server for ever."""

    def __init__(self, config: uvicorn.Config, app: Guarded):
        super().__init__(config)
        self._served = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._served.dash.stopping.set()
        # Not kept as uvicorn would, which raises it again at the end: there is more to end here.
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def _names(settings: Settings) -> tuple[str, ...]:
    return tuple(name.rsplit(":", 1)[0] for name in settings.dashboard.allowed_hosts)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise ServeRefused(
            f"port {port} of {host} can't be had ({os.strerror(error.errno or 0)}): another "
            "dashboard may run there; choose another with --port"
        ) from error
    return listener
