"""The MLflow UI under `/mlflow`: its Flask application, in a thread, with what may reach it.

Only the Flask application is mounted: the other one that MLflow has brings an assistant that runs
commands, and jobs. Of the Flask one, what runs or calls something (gateway, webhooks, scorers,
jobs) is not let through. A move of an alias is noted before it is made, with who and from where,
so that whoever finds it writes that into the promotion history.
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fastapi import Request
from starlette.types import Receive, Scope, Send

from hydra_pipelines.dashboard.security import actor_of
from hydra_pipelines.desk import Desk
from hydra_pipelines.settings import Settings

_log = logging.getLogger(__name__)
MAX_BODY = 8 * 1024 * 1024
"""Bytes of a request: the UI sends searches and tags, no artifacts."""
REFUSED = re.compile(
    r"/(gateway|gateway-proxy|assistant|jobs|webhooks|scorers?|prompt-optimization|"
    r"evaluate|invoke|promptlab|create-promptlab-run|upload-artifact|demo|workspaces|"
    r"ui-telemetry|mpu|presigned)(/|$)|/mlflow-artifacts/|/issues/invoke"
)
"""Paths that run or call something, or write files: not of this desk."""
MOVES = re.compile(
    r"/mlflow/(registered-models/(alias|delete|rename)|model-versions/(delete|transition-stage))$"
)
"""Paths of changes that decide which version trades."""
CSP = (
    "default-src 'self'; script-src 'self'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self'; worker-src 'self' blob:; frame-ancestors 'self'; base-uri 'self'; "
    "form-action 'self'; object-src 'none'"
)
"""Of the foreign UI: its components write styles as they are drawn, so inline ones stay.

Its scripts are files, and what it could evaluate it does without. It reaches nothing but this
server.
"""


_SET = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")
"""What MLflow's server sets for its whole process."""


class MlflowUi:
    """An ASGI application around MLflow's Flask one, which is loaded when it is first asked for."""

    def __init__(self, settings: Settings):
        self._settings = settings
        self._guard = threading.Lock()
        self._app: Callable[..., Iterable[bytes]] | None = None
        self._before: dict[str, str | None] = {}
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="mlflow")

    @property
    def why_not(self) -> str:
        """Why there is nothing to show; empty where there is."""
        if not self._settings.dashboard.mlflow:
            return "dashboard.mlflow is off in the settings"
        if not Desk(self._settings).registry.exists():
            return "no model was ever trained: the first cycle does it, `hydra cycle`"
        return ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        path = "/" + scope["path"].removeprefix(scope.get("root_path", "")).lstrip("/")
        if REFUSED.search(path):
            await _answer(send, 403, "This part of MLflow is not served by the desk.\n")
            return
        if self.why_not:
            await _answer(send, 404, f"{self.why_not}\n")
            return
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:
                await _answer(send, 413, "The request is too large for this page.\n")
                return
        moves = bool(MOVES.search(path)) and scope["method"] not in ("GET", "HEAD")
        loop = asyncio.get_running_loop()
        if moves:
            try:
                await loop.run_in_executor(self._pool, self._note, request, path, body)
            except Exception as error:
                # Nobody would know who moved it.
                _log.exception("a move of an alias could not be noted")
                await _answer(
                    send, 403, f"Not moved, since it can't be noted who did it: {error}\n"
                )
                return
        status, headers, content = await loop.run_in_executor(
            self._pool, self._call, dict(scope), path, body
        )
        if moves and status < 400:
            threading.Thread(target=self._settle, daemon=True).start()
        names = {name for name, _ in headers}
        own = [(b"content-security-policy", CSP.encode())]
        headers = [h for h in headers if h[0] != b"content-security-policy"]
        if b"content-length" not in names:
            headers.append((b"content-length", str(len(content)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers + own})
        await send({"type": "http.response.body", "body": content})

    def _note(self, request: Request, path: str, body: bytes) -> None:
        """Who is about to move what, into the control store's journal."""
        from hydra_pipelines.day.moved_by import note_move

        try:
            asked: Any = json.loads(body) if body else {}
        except ValueError:
            asked = {}
        asked = {**dict(request.query_params), **(asked if isinstance(asked, dict) else {})}
        version = asked.get("version")
        note_move(
            Desk(self._settings).control,
            actor_of(request),
            strategy_id=str(asked.get("name", ""))[:200],
            version=int(version) if str(version or "").isdigit() else None,
            what=f"{request.method} {path.rpartition('/mlflow/')[2]}",
            alias=str(asked.get("alias", ""))[:100] or None,
        )

    def _settle(self) -> None:
        """Bring the promotion history up to the registry, without waiting for the sensor."""
        from hydra_pipelines import day

        try:
            day.look_at_registry(Desk(self._settings), verify=False)
        except Exception as error:
            _log.warning("the promotion history is brought up to date by the next run: %s", error)

    def _load(self) -> Callable[..., Iterable[bytes]]:
        with self._guard:
            if self._app is None:
                # Read while it is imported, or when the first request comes.
                self._before = {name: os.environ.get(name) for name in (*self._environment, *_SET)}
                os.environ |= self._environment
                from mlflow.server import app

                self._app = app
            return self._app

    @property
    def _environment(self) -> dict[str, str]:
        s = self._settings
        return {
            "_MLFLOW_SERVER_FILE_STORE": s.registry_uri,
            "_MLFLOW_SERVER_REGISTRY_STORE": s.registry_uri,
            "_MLFLOW_SERVER_ARTIFACT_ROOT": str(s.mlruns_path / "artifacts"),
            "_MLFLOW_SERVER_SERVE_ARTIFACTS": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "DO_NOT_TRACK": "true",
        }

    def close(self) -> None:
        """Take back what MLflow keeps for a whole process: another desk may be next in it."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        with self._guard:
            if self._app is None:
                return
            self._app = None
            import mlflow
            from mlflow.server import handlers

            handlers._tracking_store = handlers._model_registry_store = None
            mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
            mlflow.set_registry_uri(None)  # type: ignore[arg-type]
            for name, value in self._before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value

    def _call(
        self, scope: dict[str, Any], path: str, body: bytes
    ) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """The Flask application's answer, whole. Never raises."""
        try:
            app = self._load()
            return _wsgi(app, scope, path, body)
        except Exception:
            _log.exception("MLflow could not answer %s", ascii(path))
            return 424, [(b"content-type", b"text/plain")], b"MLflow could not answer this.\n"


def _wsgi(
    app: Callable[..., Iterable[bytes]], scope: dict[str, Any], path: str, body: bytes
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    server = scope.get("server") or ("localhost", 80)
    client = scope.get("client") or ("unknown", 0)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": scope.get("root_path", ""),
        "PATH_INFO": path.encode().decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1] or 80),
        "REMOTE_ADDR": client[0],
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if name in ("content-length", "authorization", "cookie"):
            # Ours, and none of its business.
            continue
        key = "CONTENT_TYPE" if name == "content-type" else f"HTTP_{name.upper().replace('-', '_')}"
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    told: dict[str, Any] = {}

    def start(status: str, headers: list[tuple[str, str]], _: Any = None) -> Callable[..., None]:
        told["status"], told["headers"] = int(status.split()[0]), headers
        return lambda data: None

    answer = app(environ, start)
    try:
        content = b"".join(answer)
    finally:
        close = getattr(answer, "close", None)
        if close:
            close()
    headers = [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in told["headers"]]
    status = told["status"]
    # A fault of MLflow's is told as one that this server is not the cause of.
    return (424 if status >= 500 else status), headers, content


async def _answer(send: Send, status: int, text: str) -> None:
    body = text.encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
