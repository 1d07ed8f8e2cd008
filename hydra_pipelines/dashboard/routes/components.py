"""The parts of the desk that run for long, by their heartbeats."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter, Request, Response

from hydra_pipelines.components import Registered
from hydra_pipelines.dashboard import cells
from hydra_pipelines.dashboard.cells import Cell, Column, Table, Tone, where
from hydra_pipelines.dashboard.reading import Reading, why_not
from hydra_pipelines.dashboard.routes.common import dash_of

router = APIRouter(include_in_schema=False)
HEALTH: dict[str, Tone] = {"well": "good", "late": "warn", "dead": "bad"}


@router.get("/components")
def components(request: Request) -> Response:
    dash = dash_of(request)
    now = datetime.now(UTC)
    try:
        found: Reading[tuple[Registered, ...]] = Reading(
            dash.readings.desk.components.all(), as_of=now
        )
    except Exception as error:
        found = Reading(None, why_not(error), now)
    return dash.page(
        request,
        "components.html",
        title="Components",
        refresh=dash.settings.dashboard.components_refresh_s,
        as_of=now,
        found=found,
        components_table=_table(found.value or (), now, dash.rules.read_only),
    )


def _table(parts: tuple[Registered, ...], now: datetime, read_only: bool) -> Table:
    rows = []
    for part in parts:
        c, health = part.component, part.health(now)
        at = f"{c.host}:{c.port}" if c.port else c.host
        rows.append(
            (
                cells.text(c.name, note=c.detail),
                cells.code(c.id),
                cells.badge(health.value, HEALTH[health.value]),
                Cell(
                    f"{cells.duration(part.age_s(now))} ago", "num", hint=cells.utc(part.last_beat)
                ),
                cells.code(at),
                Cell(", ".join(c.capabilities) or cells.NOTHING, "text"),
                Cell("docs", "text", c.url)
                if c.url.startswith(("http://", "https://", "/"))
                else cells.text(None),
                Cell(str(c.pid or cells.NOTHING), "num"),
                cells.text(None)
                if read_only
                else Cell(
                    "deregister…",
                    "text",
                    where("/confirm/deregister", subject=c.id, back="/components"),
                ),
            )
        )
    return Table(
        "components",
        "Registered components",
        (
            Column("Name"),
            Column("Id"),
            Column("Health"),
            Column("Last heartbeat", num=True),
            Column("Where"),
            Column("Can"),
            Column("API"),
            Column("Process", num=True),
            Column("Action"),
        ),
        rows,
        "No component is registered. `hydra up` starts the daemon, the webserver and the rest.",
    )
