"""The read-only JSON API under `/api/v1`, and a page that documents it.

Every answer has `data`, null where it can't be read, `why`, and `as_of`. Money and prices are
decimal text in USD, shares of 1 are numbers, instants are UTC, sessions are dates.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from hydra_pipelines import api
from hydra_pipelines.dashboard.reading import Reading
from hydra_pipelines.dashboard.rendering import PlainResponse
from hydra_pipelines.dashboard.routes.common import dash_of, reading_or_404

router = APIRouter(tags=["data"], default_response_class=PlainResponse)
Limit = Annotated[int, Query(ge=1, le=1000)]


def _answer(found: Reading[Any]) -> Response:
    return PlainResponse({"data": found.value, "why": found.why, "as_of": found.as_of})


@router.get("/api/v1/status")
def status(request: Request) -> Response:
    """The desk at a glance: last cycle, money, controls, what is due next."""
    return _answer(dash_of(request).readings.read(api.status))


@router.get("/api/v1/positions")
def positions(request: Request) -> Response:
    """Live positions as of the last synchronisation with the broker."""
    return _answer(dash_of(request).readings.read(api.positions))


@router.get("/api/v1/fills")
def fills(
    request: Request,
    symbol: str | None = None,
    session: date | None = None,
    page: Annotated[int, Query(ge=1)] = 1,
    size: Limit = 50,
) -> Response:
    """A page of the fills, the latest first, with predicted and actual slippage in basis points."""
    wanted = api.FillFilter(symbol=symbol, session=session)
    return _answer(dash_of(request).readings.read(api.fill_page, wanted, page, size))


@router.get("/api/v1/orders")
def orders(
    request: Request, session: date | None = None, state: str | None = None, limit: Limit = 50
) -> Response:
    """Orders of a session's plan with their states; without a session the latest plan's."""
    return _answer(dash_of(request).readings.read(api.orders, session, state, limit))


@router.get("/api/v1/orders/{order_ref}")
def order(request: Request, order_ref: str) -> Response:
    """One order whole: intent, events, risk decisions, fills, plan."""
    found = dash_of(request).readings.read(api.order, order_ref, none="there is no such order")
    reading_or_404(found, "such order")
    return _answer(found)


@router.get("/api/v1/equity")
def equity(request: Request) -> Response:
    """The equity curve, the same signals without costs beside it, and what happened along it.

    `curve`: session, equity, drawdown (share of the peak). `signals`: session, growth (of 1).
    `markers`: session, kind, text.
    """
    dash = dash_of(request)
    curve = dash.readings.read(api.equity_curve)
    if curve.value is None:
        return _answer(curve)
    signals, markers = (
        dash.readings.figure(api.signal_curve),
        dash.readings.figure(api.curve_markers),
    )
    data = {
        "curve": [
            {key: row[key] for key in ("session", "equity", "drawdown", "daily_pnl")}
            for row in curve.value
        ],
        "signals": signals.value or [],
        "markers": markers.value or [],
    }
    why = "; ".join(one.why for one in (signals, markers) if one.why)
    return PlainResponse({"data": data, "why": why, "as_of": curve.as_of})


@router.get("/api/v1/predictions/{session}")
def predictions(request: Request, session: date) -> Response:
    """Predictions of a session by strategy and symbol, with the version that made each."""
    return _answer(dash_of(request).readings.read(api.predictions, session))


@router.get("/api/v1/models")
def models(request: Request, history: Limit = 30) -> Response:
    """Strategies with champion, challenger and previous, and the last moves."""
    return _answer(dash_of(request).readings.read(api.models, history))


@router.get("/api/v1/risk")
def risk(request: Request) -> Response:
    """Limits with their use, breakers, controls, denials, alerts."""
    return _answer(dash_of(request).readings.read(api.risk))


@router.get("/api/v1/reconciliation")
def reconciliation(request: Request) -> Response:
    """Predicted against actual slippage over the window of the settings."""
    return _answer(dash_of(request).readings.figure(api.reconciliation))


@router.get("/api/v1/audit")
def audit(
    request: Request,
    event: str | None = None,
    before: Annotated[int | None, Query(ge=1)] = None,
    limit: Limit = 50,
) -> Response:
    """Events of the audit trail, the latest first; `before` is the number of the last one seen."""
    wanted = api.AuditFilter(event=event, before=before)
    return _answer(dash_of(request).readings.read(api.audit_events, wanted, limit))


@router.get("/api/v1/trace/{exec_id}")
def trace(request: Request, exec_id: str) -> Response:
    """From a fill back to its order, plan, predictions, models and data."""
    found = dash_of(request).readings.read(api.trace_fill, exec_id, none="there is no such fill")
    reading_or_404(found, "such fill")
    return _answer(found)


@router.get("/docs", include_in_schema=False)
def docs(request: Request) -> Response:
    dash = dash_of(request)
    schema = request.app.openapi()
    calls = [
        {
            "path": path,
            "tag": (operation.get("tags") or ["other"])[0],
            "about": operation.get("description", ""),
            "parameters": [
                {
                    "name": parameter["name"],
                    "where": parameter["in"],
                    "needed": parameter.get("required", False),
                }
                for parameter in operation.get("parameters", [])
            ],
        }
        for path, operations in sorted(schema["paths"].items())
        for operation in operations.values()
    ]
    return dash.page(request, "docs.html", title="API", calls=calls)
