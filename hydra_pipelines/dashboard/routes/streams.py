"""The streams of server-sent events, and the fragments that pages or scripts take by themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Header, HTTPException, Query, Request, Response
from fastapi.responses import StreamingResponse

from hydra_pipelines import api
from hydra_pipelines.dashboard import tables
from hydra_pipelines.dashboard.events import Channel
from hydra_pipelines.dashboard.routes.common import dash_of

if TYPE_CHECKING:
    from hydra_pipelines.dashboard.app import Dash

router = APIRouter(tags=["streams"])
PATHS = {
    "cycle": "/api/sse/cycle-status",
    "workflows": "/metrics/workflows/stream",
    "agents": "/metrics/agents/stream",
}
"""Where each channel is."""
LastId = Annotated[str | None, Query(max_length=64, description="As the header Last-Event-ID.")]


def channels(dash: Dash) -> dict[str, Channel]:
    """The channels of one dashboard, by name."""
    s = dash.settings.dashboard
    times = {"look_s": s.look_s, "heartbeat_s": s.heartbeat_s}
    readings = dash.readings

    def cycle() -> dict[str, Any]:
        found = readings.read(api.pulse)
        if found.value is None:
            return {"why": found.why, "fill_count": None, "agent": "unknown"}
        return {**found.value, "published_at": readings.published_at}

    def agent() -> dict[str, Any]:
        found = readings.read(api.pulse)
        value = found.value or {}
        return {
            "agent": value.get("agent", "unknown"),
            "halted": value.get("halted"),
            "why": found.why or value.get("why", ""),
            "published_at": readings.published_at,
        }

    def runs() -> dict[str, Any]:
        try:
            latest = dash.workflows.runs(status=None, job=None, since=None)[:20]
        except Exception as error:
            return {"runs": [], "why": str(error)[:300]}
        return {
            "runs": [
                {
                    "run_id": run.run_id,
                    "job": run.job,
                    "status": run.status,
                    "session": run.partition,
                    "started": run.started,
                    "ended": run.ended,
                    "rows": run.rows,
                }
                for run in latest
            ],
            "why": "",
        }

    return {
        "cycle": Channel("cycle_update", readings.state, cycle, **times),
        "agents": Channel("agent_update", readings.state, agent, **times),
        "workflows": Channel("workflow_update", dash.workflows.state, runs, **times),
    }


async def _stream(request: Request, name: str, header: str | None, query: str | None) -> Response:
    dash = dash_of(request)
    channel = dash.channels[name]
    if channel.full:
        raise HTTPException(429, "Too many streams are open; close a page")

    async def body() -> AsyncIterator[bytes]:
        async for event in channel.listen(header or query or "", dash.stopping):
            yield event

    return StreamingResponse(
        body(),
        media_type="text/event-stream",
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


@router.get(PATHS["cycle"])
async def cycle_status(
    request: Request,
    last_event_id: Annotated[str | None, Header()] = None,
    last_id: LastId = None,
) -> Response:
    """Events `cycle_update` with fill_count, agent and time (ISO 8601, UTC), and heartbeats."""
    return await _stream(request, "cycle", last_event_id, last_id)


@router.get(PATHS["workflows"])
async def workflows_stream(
    request: Request,
    last_event_id: Annotated[str | None, Header()] = None,
    last_id: LastId = None,
) -> Response:
    """Events `workflow_update` with the latest runs and their status."""
    return await _stream(request, "workflows", last_event_id, last_id)


@router.get(PATHS["agents"])
async def agents_stream(
    request: Request,
    last_event_id: Annotated[str | None, Header()] = None,
    last_id: LastId = None,
) -> Response:
    """Events `agent_update` with the state of the agent and its last experiment."""
    return await _stream(request, "agents", last_event_id, last_id)


@router.get("/api/fills/recent", tags=["fragments"])
def fills_recent(request: Request, limit: Annotated[int, Query(ge=1, le=200)] = 10) -> Response:
    """The latest fills as a fragment of HTML."""
    dash = dash_of(request)
    found = dash.readings.read(api.fill_page, api.FillFilter(), 1, limit)
    rows = found.value["rows"] if found.value else ()
    return dash.renderer.part(
        "parts/fills.html", found=found, table=tables.fills(rows, "No fills yet: `hydra cycle`.")
    )


@router.get("/api/agent/state", tags=["fragments"])
def agent_state(request: Request) -> Response:
    """The agent's state as a fragment of HTML: a badge with a word."""
    dash = dash_of(request)
    return dash.renderer.part("parts/agent.html", pulse=dash.readings.read(api.pulse))
