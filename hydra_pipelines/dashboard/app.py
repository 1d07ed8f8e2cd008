"""The dashboard put together: one function makes the application out of what it is handed."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.staticfiles import StaticFiles

from hydra_pipelines.dashboard.actions import Actions
from hydra_pipelines.dashboard.cells import where
from hydra_pipelines.dashboard.events import Channel
from hydra_pipelines.dashboard.mlflow_ui import MlflowUi
from hydra_pipelines.dashboard.reading import Readings
from hydra_pipelines.dashboard.rendering import HERE, Renderer, is_refresh
from hydra_pipelines.dashboard.routes import ROUTERS
from hydra_pipelines.dashboard.security import HEADERS, Rules
from hydra_pipelines.dashboard.workflows import Workflows
from hydra_pipelines.settings import Settings
from hydra_pipelines.webguard import Guard

_log = logging.getLogger(__name__)
WARM_UP_S = 0.3
"""After the start; what pages need and takes long to import or to make is made then."""


class Dash:
    """What the routes of one dashboard share; they find it as `request.app.state.dash`."""

    def __init__(self, settings: Settings, *, read_only: bool):
        s = settings.dashboard
        self.settings = settings
        self.rules = Rules(read_only=read_only, posts_per_minute=s.posts_per_minute)
        self.readings = Readings(settings)
        self.workflows = Workflows(settings)
        self.actions = Actions(settings, self.workflows)
        self.mlflow = MlflowUi(settings)
        self.renderer = Renderer(
            mode=settings.mode, venue=settings.broker.venue, read_only=read_only
        )
        # Made when the server runs: an event belongs to its loop.
        self.stopping: asyncio.Event = asyncio.Event()
        self.channels: dict[str, Channel] = {}

    def open_channels(self) -> None:
        from hydra_pipelines.dashboard.routes import streams

        self.channels = streams.channels(self)

    def warm_up(self) -> None:
        """Make what takes long, before somebody waits for it. Never raises."""
        from hydra_pipelines import api

        self.readings.read(api.status)
        self.readings.figure(api.risk, 10)
        self.workflows.warm_up()
        self.readings.figure(api.reconciliation)
        self.readings.figure(api.paper_gate)

    def page(
        self,
        request: Request,
        template: str,
        *,
        refresh: float | None = None,
        http_status: int = 200,
        stream: str = "cycle",
        as_of: datetime | None = None,
        still: bool = False,
        **values: Any,
    ) -> Response:
        """A page; one that is `still` is not refreshed.

        refresh: seconds until it looks again; None for the settings'. as_of: when its data is of;
        None for the published ledger's time. stream: what tells it to look at once.
        """
        from hydra_pipelines import api
        from hydra_pipelines.dashboard.routes import streams

        pulse = self.readings.read(api.pulse)
        # What the page shows is not told to it again.
        told = pulse.known and not still and not is_refresh(request)
        last = self.channels[stream].present() if told else ""
        return self.renderer.page(
            request,
            template,
            http_status,
            pulse=pulse,
            refresh=refresh or self.settings.dashboard.refresh_s,
            published=as_of or self.readings.published_at,
            still=still,
            stream=where(streams.PATHS[stream], last_id=last or None),
            **values,
        )


def create_app(
    settings: Settings,
    *,
    hosts: Collection[str],
    token: str | None = None,
    read_only: bool | None = None,
) -> Guarded:
    """The application, guarded. hosts: values of the header Host that it answers to.

    token: what a client has to show, None for none. read_only: None takes the settings'. The
    application behind the guard is `.app` of the result.
    """
    if read_only is None:
        read_only = settings.dashboard.read_only
    dash = Dash(settings, read_only=read_only)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        dash.stopping = asyncio.Event()
        dash.open_channels()
        timer = threading.Timer(WARM_UP_S, dash.warm_up)
        timer.daemon = True
        timer.start()
        yield
        timer.cancel()
        dash.stopping.set()
        dash.mlflow.close()

    app = FastAPI(
        title="Hydra desk",
        version="1",
        summary="The desk's read-only JSON API.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        lifespan=lifespan,
    )
    app.state.dash = dash
    app.mount("/static", _Static(directory=HERE / "static"), name="static")
    for router in ROUTERS:
        app.include_router(router)
    app.mount("/mlflow", dash.mlflow)
    _answer_errors(app, dash)
    guarded = Guarded(app, hosts, token=token, refuse=dash.rules.refuse, headers=HEADERS)
    return guarded


class Guarded(Guard):
    """The guard, with the application behind it in sight for whoever serves it."""

    def __init__(self, app: FastAPI, *arguments: Any, **named: Any):
        super().__init__(app, *arguments, **named)
        self.app = app

    @property
    def dash(self) -> Dash:
        found: Dash = self.app.state.dash
        return found


class _Static(StaticFiles):
    """Files of the package. Those of vendors have their version in the path and are kept."""

    def file_response(self, full_path: Any, *arguments: Any, **named: Any) -> Response:
        response = super().file_response(full_path, *arguments, **named)
        kept = "vendor" in Path(full_path).parts
        response.headers["cache-control"] = (
            "public, max-age=31536000, immutable" if kept else "no-cache"
        )
        return response


def _answer_errors(app: FastAPI, dash: Dash) -> None:
    """Every error as a page that says what it is; never a stack trace."""

    def wants_page(request: Request) -> bool:
        return "text/html" in request.headers.get("accept", "")

    def told(request: Request, status: int, text: str, headers: Any = None) -> Response:
        if not wants_page(request):
            return PlainTextResponse(f"{text}\n", status, headers)
        response = dash.page(
            request, "error.html", http_status=status, title="Not this", text=text, still=True
        )
        response.headers.update(headers or {})
        return response

    @app.exception_handler(StarletteHTTPException)
    def refused(request: Request, error: StarletteHTTPException) -> Response:
        return told(request, error.status_code, str(error.detail), error.headers)

    @app.exception_handler(Exception)
    def broken(request: Request, error: Exception) -> Response:
        # Starlette logs it, with its trace; nobody else gets to see that.
        return PlainTextResponse(
            "This page could not be made; the dashboard's log says more.\n", 500
        )

    @app.exception_handler(RequestValidationError)
    def unfit(request: Request, error: RequestValidationError) -> Response:
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in one['loc'][1:])}: {one['msg']}"
            for one in error.errors()
        )
        return told(request, 422, f"The address asks for what does not fit: {wrong}")
