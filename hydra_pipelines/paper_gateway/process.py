"""A gateway at work: both listening sockets, the idle watch, and an orderly end.

`run` is the life of the process; `start` and `Running.stop` serve a venue within another one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import signal
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hydra_pipelines.paper_gateway.control_server import ControlServer
from hydra_pipelines.paper_gateway.server import Connection, Gateway
from hydra_pipelines.paper_gateway.venue import Venue

PORT_FILE = "gateway.json"
LOCK_FILE = "gateway.lock"
LOG_FILE = "gateway.log"
STORE_FILE = "venue.sqlite"
ALREADY_RUNNING = 3
"""Exit code of a process that found another one at work in its home."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Endpoint:
    """Where a gateway listens: TWS clients at `port`, control at `control_port` with `token`."""

    host: str
    port: int
    control_port: int
    token: str
    pid: int
    account: str


class Running:
    """A gateway that listens."""

    def __init__(self, gateway: Gateway, control: ControlServer, endpoint: Endpoint) -> None:
        self.gateway = gateway
        self.control = control
        self.endpoint = endpoint
        self.servers: list[asyncio.Server] = []

    async def stop(self) -> None:
        """Closes the sockets and the account's file."""
        for server in self.servers:
            server.close()
        self.gateway.close()
        await asyncio.sleep(0)
        self.gateway.venue.store.close()

    async def idle(self, timeout: float) -> None:
        """Returns once nobody has been connected, and nobody has called, for `timeout` seconds."""
        last_client = time.monotonic()
        while True:
            now = time.monotonic()
            if self.gateway.clients:
                last_client = now
            left = max(last_client, self.control.last_call) + timeout - now
            if left <= 0:
                return
            await asyncio.sleep(min(left, 1.0))


async def start(
    venue: Venue, stopping: asyncio.Event, host: str = "127.0.0.1", port: int = 0
) -> Running:
    """Listens for TWS clients at a port (0: any free one) and for control at a free one.

    stopping: set when the gateway wants to end, by a control request or a failure.
    """
    loop = asyncio.get_running_loop()
    gateway = Gateway(venue, stopping.set)
    control = ControlServer(gateway, secrets.token_urlsafe(24), stopping.set)
    tws = await loop.create_server(lambda: Connection(gateway), host, port)
    side = await asyncio.start_server(control.serve, "127.0.0.1", 0)
    endpoint = Endpoint(
        host=host,
        port=tws.sockets[0].getsockname()[1],
        control_port=side.sockets[0].getsockname()[1],
        token=control.token,
        pid=os.getpid(),
        account=venue.terms.account,
    )
    running = Running(gateway, control, endpoint)
    running.servers = [tws, side]
    return running


async def run(venue: Venue, home: Path, host: str, port: int, idle_timeout: float) -> None:
    """Serves until told to stop or idle for too long; the port file exists meanwhile."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    running = await start(venue, stopping, host, port)
    port_file = home / PORT_FILE
    _write_port_file(port_file, running.endpoint)
    log.info("listening on %s:%d for account %s", host, running.endpoint.port, venue.terms.account)
    waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(stopping.wait())]
    waits.append(asyncio.ensure_future(running.idle(idle_timeout)))
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        port_file.unlink(missing_ok=True)
        await running.stop()
        log.info("stopped")


def _write_port_file(path: Path, endpoint: Endpoint) -> None:
    record = {**asdict(endpoint), "started": datetime.now(UTC).isoformat()}
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as out:
        json.dump(record, out)
    os.replace(temporary, path)
