"""What `hydra up` runs for a desk: its parts as processes, the venue, the lock, the ports.

The embedded venue is a process of its own that cycles start by themselves and that outlives them.
While the desk is up it is kept alive, and at the end it ends too, unless somebody trades through
it at that moment. It keeps its account, so nothing is lost by that.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hydra_pipelines.components import Component
from hydra_pipelines.operations.processes import ends, listens, machine
from hydra_pipelines.operations.supervisor import (
    USUAL,
    Event,
    Happening,
    Part,
    Restarts,
    Supervisor,
)
from hydra_pipelines.webguard import is_loopback

if TYPE_CHECKING:
    from hydra_pipelines.desk import Desk

TOKEN_VARIABLE = "HYDRA_WEB_TOKEN"
"""Where the token of the Dagster UI is handed over: command lines can be read by everybody."""
ENTRY = "hydra_pipelines.cli.part"
_PREPARE_S = 120
_VENUE_LOOK_S = 5.0
_VENUE_ATTEMPTS = 6
_VENUE_ENDS_S = 4.0


_OURSELVES = Component("supervisor", "supervisor", "hydra up", capabilities=("starts parts again",))


class UpRefused(RuntimeError):
    """The desk is not started; the message says why and what to do."""


@dataclass(frozen=True)
class Address:
    """Where a part serves. token: what a browser has to show; needed beyond loopback."""

    host: str
    port: int
    names: Sequence[str] = ()
    token: str | None = None

    @property
    def is_local(self) -> bool:
        """Whether the dashboard may launch runs there."""
        return is_loopback(self.host)

    @property
    def url(self) -> str:
        shown = "127.0.0.1" if self.host in ("", "0.0.0.0") else self.host
        shown = "::1" if shown == "::" else shown
        return f"http://{f'[{shown}]' if ':' in shown else shown}:{self.port}"


def checked(address: Address, option: str) -> Address:
    """The address with a port that is free. Raises UpRefused where it isn't, or isn't safe.

    option: how the port is given on the command line.
    """
    if not is_loopback(address.host) and address.token is None:
        raise UpRefused(
            f"{address.host} is not an address of this machine alone: whoever reaches it could "
            "trade. Give a token (--token-file), or listen on 127.0.0.1 and use an SSH tunnel"
        )
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family) as probe:
        # As the server will: what closed a moment ago doesn't count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            raise UpRefused(
                f"can't listen on {address.host}:{address.port} ({error.strerror}); choose another "
                f"port with {option}"
            ) from error
        port = probe.getsockname()[1]
    return Address(address.host, port, address.names, address.token)


@contextmanager
def only_one(desk: Desk, says: str) -> Iterator[None]:
    """Hold the place of the one `hydra up` of a desk. Raises UpRefused, naming who has it."""
    path = desk.settings.data_path / "up.lock"
    with open(path, "a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            raise UpRefused(
                f"the desk in {desk.settings.data_path} is up already: "
                f"{handle.read().strip() or 'by an unknown process'}. End that first (Ctrl-C there)"
            ) from None
        handle.truncate(0)
        handle.write(says)
        handle.flush()
        try:
            yield
        finally:
            handle.truncate(0)


class Stack:
    """The running parts of one desk. `start` returns at once, `stop` when nothing is left.

    web: where the Dagster UI serves. dashboard: where the dashboard does; None without it.
    tell: gets every event of a part as it happens.
    """

    def __init__(
        self,
        desk: Desk,
        web: Address,
        dashboard: Address | None,
        tell: Callable[[Event], None],
        restarts: Restarts = USUAL,
    ):
        self._desk = desk
        self._tell = tell
        self._folder = Path(tempfile.mkdtemp(prefix=f"hydra-{machine()}-"))
        # Of the code server's socket: only its owner enters it, its path is short, and by it runs
        # are known to be of this machine.
        self._over = threading.Event()
        self._venue = threading.Thread(target=self._keep_venue, name="keeper of the venue")
        self._background: list[threading.Thread] = []
        retention = desk.settings.retention
        self.supervisor = Supervisor(
            self._parts(web, dashboard),
            logs_of(desk),
            self._on_event,
            restarts,
            retention.log_mb * 1_000_000,
            retention.log_files,
        )

    def start(self) -> None:
        self._beats = contextlib.ExitStack()
        self._beats.enter_context(self._desk.components.beating(_OURSELVES, self._described))
        self.supervisor.start()
        if self._desk.embedded:
            self._venue.start()

    def stop(self) -> None:
        self._over.set()
        try:
            self.supervisor.stop()
            for part in self.supervisor.names:
                # One that was killed has not done so itself.
                self._desk.components.leave(part)
            if self._desk.embedded:
                self._venue.join()
                self._end_venue()
            for thread in self._background:
                thread.join()
        finally:
            self._beats.close()
            shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def nothing_left(self) -> bool:
        """Whether every part was given up."""
        return self.supervisor.all_given_up

    def _parts(self, web: Address, dashboard: Address | None) -> list[Part]:
        code_socket = self._folder / "code.sock"
        here = ["--socket", str(code_socket)]
        shared = _environment(self._desk)
        served = ["--host", web.host, "--port", str(web.port), "--names", json.dumps(web.names)]
        parts = [
            # Its group holds the runs, too. SIGINT is what a run ends by in order.
            Part(
                "code-server",
                _command("code-server", *here),
                shared,
                lambda: listens(code_socket),
                signal.SIGINT,
            ),
            Part(
                "webserver",
                _command("webserver", *here, *served),
                {**shared, **({TOKEN_VARIABLE: web.token} if web.token else {})},
                lambda: _answers(f"{web.url}/server_info"),
            ),
            Part("daemon", _command("daemon", *here), shared),
        ]
        if dashboard is not None:
            options = ["--host", dashboard.host, "--port", str(dashboard.port)]
            parts.append(
                Part(
                    "dashboard",
                    _command("dashboard", *options),
                    {
                        **shared,
                        "HYDRA_START_RUNNER": "false",
                        **({"HYDRA_DASHBOARD__DAGSTER_URL": web.url} if web.is_local else {}),
                    },
                    lambda: _answers(dashboard.url),
                )
            )
        return parts

    def _described(self, component: Component) -> Component:
        alive, lost = self.supervisor.alive, self.supervisor.given_up
        detail = f"running: {', '.join(sorted(alive)) or 'nothing'}"
        if lost:
            detail += f"; given up: {', '.join(sorted(lost))}"
        return replace(component, pid=os.getpid(), detail=detail)

    def _on_event(self, event: Event) -> None:
        self._tell(event)
        if event.what is not Happening.TROUBLE:
            self._desk.components.beat(self._described(_OURSELVES))
        if event.what in (Happening.DIED, Happening.GIVEN_UP):
            # It may take as long as the slowest channel: what keeps the part alive doesn't wait.
            thread = threading.Thread(target=self._alert, args=(event,), daemon=True)
            self._background = [t for t in self._background if t.is_alive()] + [thread]
            thread.start()

    def _alert(self, event: Event) -> None:
        from hydra_pipelines.alerts import AlertKind

        self._desk.alerts.send(
            AlertKind.COMPONENT_DOWN,
            f"{event.part} {event.what}",
            f"hydra: the {event.part} {event.what}",
            event.text,
        )

    def _keep_venue(self) -> None:
        """Keep the embedded venue alive, and known as a part."""
        from hydra_pipelines.paper_gateway.launch import find_running

        failures, known = 0, False
        while not self._over.is_set():
            try:
                # Asking it is also what keeps it from ending for want of clients.
                running = find_running(self._desk.settings.venue_path) if known else None
                if running is None:
                    vars(self._desk).pop("venue", None)
                    running = self._desk.venue
                    self._tell(Event("gateway", Happening.STARTED, f"process {running.pid}"))
                failures, known = 0, True
                self._desk.components.beat(
                    Component(
                        "gateway",
                        "gateway",
                        "Paper venue",
                        running.host,
                        running.port,
                        capabilities=("TWS API", "paper trading"),
                        pid=running.pid,
                        detail=f"account {running.account}",
                    )
                )
            except Exception as error:
                failures += 1
                given_up = failures >= _VENUE_ATTEMPTS
                what = Happening.GIVEN_UP if given_up else Happening.DIED
                self._on_event(Event("gateway", what, str(error)))
                if given_up:
                    return
            self._over.wait(_VENUE_LOOK_S * 2**failures)

    def _end_venue(self) -> None:
        from hydra_pipelines.paper_gateway.control import GatewayControl, GatewayControlError
        from hydra_pipelines.paper_gateway.launch import find_running

        self._desk.components.leave("gateway")
        running = find_running(self._desk.settings.venue_path)
        if running is None:
            return
        with open(self._desk.settings.data_path / "broker.lock", "a+") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._tell(
                    Event("gateway", Happening.LEFT_OVER, "a command trades through it: left alone")
                )
                return
            with contextlib.suppress(GatewayControlError):
                GatewayControl(running).shutdown()
            if not ends(running.pid, _VENUE_ENDS_S):
                self._tell(Event("gateway", Happening.LEFT_OVER, "it did not end in time: killed"))
                with contextlib.suppress(ProcessLookupError):
                    os.kill(running.pid, signal.SIGKILL)


@contextmanager
def running(
    desk: Desk,
    web: Address,
    dashboard: Address | None,
    tell: Callable[[Event], None],
    restarts: Restarts = USUAL,
) -> Iterator[Stack]:
    """The desk up while the block runs: all that `hydra up` is, but for its terminal.

    Raises UpRefused where it is up already, where a store is damaged, or an address can't be had.
    """
    with only_one(desk, who_runs(web)):
        for text in _prepared(desk):
            tell(Event("janitor", Happening.STARTED, text))
        stack = Stack(desk, web, dashboard, tell, restarts)
        try:
            stack.start()
            yield stack
        finally:
            stack.stop()


def _prepared(desk: Desk) -> list[str]:
    """Stores looked at, what a killed run left freed, what is old removed; a sentence on each.

    In a process of its own: it loads what the supervisor itself does without.
    """
    done = subprocess.run(
        _command("prepare"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, **_environment(desk)},
        timeout=_PREPARE_S,
    )
    if done.returncode != 0:
        raise UpRefused(done.stderr.strip().removeprefix("ERROR ") or "the desk can't be prepared")
    return done.stdout.splitlines()


def _environment(desk: Desk) -> dict[str, str]:
    """What leads a part to this desk, wherever its environment would look."""
    return {
        "HYDRA_DATA_DIR": str(desk.settings.data_path),
        "HYDRA_ROOT": str(desk.settings.root),
        "PYTHONUNBUFFERED": "1",
    }


def logs_of(desk: Desk) -> Path:
    """Folder of the log files, one a part."""
    return desk.settings.data_path / "logs"


def who_runs(web: Address) -> str:
    """What a second `hydra up` is told of the first."""
    return f"process {os.getpid()} since {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {web.url}"


def _command(part: str, *options: str) -> tuple[str, ...]:
    return (sys.executable, "-m", ENTRY, part, *options)


def _answers(url: str) -> bool:
    """Whether a server answers, with whatever it says; one that asks for a token answers too."""
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except urllib.error.HTTPError:
        return True
    except (urllib.error.URLError, OSError):
        return False
