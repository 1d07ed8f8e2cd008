"""The overview: whether the desk is all right, in five seconds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response

from hydra_pipelines import api
from hydra_pipelines.dashboard import drawing, tables
from hydra_pipelines.dashboard.reading import Reading, why_not
from hydra_pipelines.dashboard.routes.common import dash_of
from hydra_pipelines.dashboard.workflows import Trading

if TYPE_CHECKING:
    from hydra_pipelines.dashboard.app import Dash

router = APIRouter(include_in_schema=False)


@router.get("/")
def overview(request: Request) -> Response:
    dash = dash_of(request)
    read = dash.readings.read
    money = read(api.money, none="the account was never read: run a first cycle, `hydra cycle`")
    limit = dash.settings.risk.drawdown
    value = money.value["drawdown"] if money.value else None
    activity = read(api.recent_activity)
    curve = read(api.equity_curve)
    return dash.page(
        request,
        "overview.html",
        title="Overview",
        money=money,
        status=read(api.status),
        limit=limit,
        meter=drawing.meter(value, limit, f"Drawdown towards the breaker at {limit:.0%}"),
        activity=activity,
        activity_table=tables.activity(activity.value or ()),
        curve=curve,
        curve_table=_curve_table(
            curve.value or [], dash.readings.figure(api.curve_markers).value or []
        ),
        trading=_trading(dash),
    )


def _trading(dash: Dash) -> Reading[Trading]:
    now = datetime.now(UTC)
    try:
        return Reading(dash.workflows.trading(), as_of=now)
    except Exception as error:
        return Reading(None, why_not(error), now)


def _curve_table(curve: list[api.Row], markers: list[api.Row]) -> Any:
    from hydra_pipelines.dashboard import cells
    from hydra_pipelines.dashboard.cells import Column, Table, where

    marked: dict[Any, list[str]] = {}
    for marker in markers:
        marked.setdefault(marker["session"], []).append(marker["text"])
    return Table(
        "curve",
        "Equity by session, the latest first",
        (
            Column("Session"),
            Column("Equity", "USD", True),
            Column("Day P&L", "USD", True),
            Column("Drawdown", "%", True),
            Column("Events"),
        ),
        [
            (
                cells.day(row["session"], where("/positions", session=row["session"])),
                cells.usd(row["equity"]),
                cells.usd(row["daily_pnl"], signed=True),
                cells.percent(row["drawdown"]),
                cells.text("; ".join(marked.get(row["session"], ()))),
            )
            for row in reversed(curve[-60:])
        ],
        "No session was closed yet.",
    )
