"""A dashboard over sockets, in this process or in one of its own, and a small client for it."""

from __future__ import annotations

import html
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import uvicorn

from hydra_pipelines.dashboard.app import Dash, create_app
from hydra_pipelines.settings import Settings, load_settings
from hydra_pipelines.webguard import hosts_of
from hydra_pipelines_tests.desks import HYDRA

PAGES = (
    "/",
    "/positions",
    "/fills",
    "/orders",
    "/models",
    "/agent",
    "/drift",
    "/mlflow",
    "/workflows",
    "/components",
    "/system",
    "/audit",
    "/docs",
)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str

    def json(self) -> Any:
        return json.loads(self.text)


@dataclass
class Client:
    """Speaks to a dashboard as a browser on its own page would."""

    port: int
    dash: Dash | None = None
    cookies: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str | None
    ) -> Answer:
        """headers: by name with `_` for `-`; None leaves one out that is sent by default."""
        given = {"host": f"127.0.0.1:{self.port}", "accept": "text/html"}
        if method not in ("GET", "HEAD"):
            given |= {"origin": self.url, "sec-fetch-site": "same-origin"}
        if body is not None:
            given["content-type"] = "application/x-www-form-urlencoded"
        if self.cookies:
            given["cookie"] = "; ".join(f"{k}={v}" for k, v in self.cookies.items())
        for name, value in headers.items():
            key = name.replace("_", "-")
            given.pop(key, None)
            if value is not None:
                given[key] = value
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in given.items():
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("content-length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            for name, value in answer.getheaders():
                if name.lower() == "set-cookie":
                    key, _, rest = value.partition("=")
                    self.cookies[key] = rest.partition(";")[0]
            return Answer(
                answer.status,
                {name.lower(): value for name, value in answer.getheaders()},
                answer.read().decode(),
            )
        finally:
            connection.close()

    def get(self, path: str, **headers: str | None) -> Answer:
        return self.ask("GET", path, **headers)

    def post(self, path: str, form: Mapping[str, str] = {}, **headers: str | None) -> Answer:
        return self.ask("POST", path, urlencode(form).encode(), **headers)

    def form_of(self, action: str, subject: str = "") -> dict[str, str]:
        """The fields of an action's form, as its page has them."""
        page = self.get(f"/confirm/{action}?{urlencode({'subject': subject})}")
        assert page.status == 200, page.text
        fields = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page.text)
        found = {name: html.unescape(value) for name, value in fields}
        assert {"token", "key"} <= found.keys(), page.text
        return {**found, "confirmed": "yes", "why": "a test"}

    def act(self, action: str, subject: str = "") -> tuple[Answer, Answer]:
        """Does an action as a person does: the post, and the page that it leads to."""
        posted = self.post(f"/actions/{action}", self.form_of(action, subject))
        assert posted.status == 303, posted.text
        return posted, self.get(posted.headers["location"])

    @contextmanager
    def listening(self, path: str, last_id: str = "") -> Iterator[Stream]:
        stream = Stream(self.port, path, last_id)
        try:
            yield stream
        finally:
            stream.close()


class Stream:
    """A stream of server-sent events, read line by line."""

    def __init__(self, port: int, path: str, last_id: str = ""):
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        head = f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n"
        if last_id:
            head += f"last-event-id: {last_id}\r\n"
        self._socket.sendall(f"{head}\r\n".encode())
        self._file = self._socket.makefile("rb")
        self.status = int(self._file.readline().split()[1])
        while self._file.readline().strip():
            pass

    def event(self, name: str | None = None, within: float = 20) -> dict[str, Any]:
        """The next event (of a name): its `event`, `id` and `data`."""
        until = time.monotonic() + within
        found: dict[str, Any] = {}
        while True:
            self._socket.settimeout(max(0.05, until - time.monotonic()))
            line = self._file.readline().decode().strip()
            key, colon, value = line.partition(": ")
            if colon and key in ("event", "id", "data"):
                found[key] = json.loads(value) if key == "data" else value
            elif not line and found:
                if name is None or found.get("event") == name:
                    return found
                found = {}

    def ended(self, within: float) -> bool:
        self._socket.settimeout(within)
        try:
            while self._file.readline():
                pass
        except TimeoutError:
            return False
        except OSError:
            return True
        return True

    def close(self) -> None:
        self._file.close()
        self._socket.close()


@contextmanager
def dashboard(settings: Settings | Path, **options: Any) -> Iterator[Client]:
    """A dashboard of a desk in this process; options: of `create_app`."""
    if isinstance(settings, Path):
        settings = load_settings(data_dir=settings)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(64)
    port = listener.getsockname()[1]
    app = create_app(settings, hosts=hosts_of("127.0.0.1", port), **options)
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield Client(port, app.dash)
    finally:
        app.dash.stopping.set()
        server.should_exit = True
        thread.join(10)
        listener.close()


class Served:
    """`hydra serve` as a process of its own, on a free port or a given one."""

    def __init__(self, folder: Path, *options: str, port: int = 0, **environment: str):
        self.process = subprocess.Popen(
            [*HYDRA, "serve", "--port", str(port), *options],
            env={**os.environ, "HYDRA_DATA_DIR": str(folder), **environment},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        said = ""
        for line in self.process.stderr:
            said += line
            found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
            if found:
                self.client = Client(int(found.group(1)))
                break
        else:
            raise AssertionError(said)
        while True:
            try:
                self.client.get("/static/icon.svg")
                break
            except OSError:
                assert self.process.poll() is None, said
                time.sleep(0.02)

    def terminate(self) -> float:
        """SIGTERM; the seconds until the process was gone."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)
        return time.monotonic() - began

    def __enter__(self) -> Client:
        return self.client

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.terminate()
