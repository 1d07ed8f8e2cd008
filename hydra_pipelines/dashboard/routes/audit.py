"""The audit trail with its filters, and the walk from a fill back to its data."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, Request, Response

from hydra_pipelines import api
from hydra_pipelines.dashboard import cells, tables
from hydra_pipelines.dashboard.cells import Column, Table, where
from hydra_pipelines.dashboard.routes.common import Day, Number, Text, dash_of
from hydra_pipelines.ledger.audit import AuditEvent

router = APIRouter(include_in_schema=False)
PAGE = 50


@router.get("/audit")
def audit(
    request: Request,
    event: Text = None,
    actor: Text = None,
    strategy: Text = None,
    first: Day = None,
    last: Day = None,
    text: Text = None,
    before: Number = None,
) -> Response:
    dash = dash_of(request)
    read = dash.readings.read
    wanted = api.AuditFilter(event, actor, strategy, first, last, text, before)
    found = read(api.audit_events, wanted, PAGE + 1)
    rows = found.value or []
    more = ""
    if len(rows) > PAGE:
        more = where(
            "/audit",
            event=event,
            actor=actor,
            strategy=strategy,
            first=first,
            last=last,
            text=text,
            before=rows[PAGE - 1]["seq"],
        )
    fresh = read(api.carried_journal) if wanted == api.AuditFilter() else None
    return dash.page(
        request,
        "audit.html",
        title="Audit",
        found=found,
        wanted=wanted,
        kinds=[kind.value for kind in AuditEvent],
        strategies=[s.id for s in dash.settings.strategies],
        fresh=fresh,
        fresh_table=tables.audit(fresh.value or () if fresh else ()),
        audit_table=tables.audit(rows[:PAGE]),
        more=more,
    )


@router.get("/audit/fills/{exec_id}")
def trace(request: Request, exec_id: str) -> Response:
    dash = dash_of(request)
    found = dash.readings.read(api.trace_fill, exec_id[:200], none="there is no such fill")
    if found.missing and found.why == "there is no such fill":
        raise HTTPException(404, "There is no such fill in the ledger")
    value = found.value or {}
    return dash.page(
        request,
        "trace.html",
        title="Trace of a fill",
        found=found,
        fill_table=tables.fills([value["fill"]] if value else (), ""),
        plan_table=tables.plan_rows([value["plan_row"]] if value.get("plan_row") else ()),
        models_table=_models(value.get("predictions") or []),
    )


def _models(rows: list[api.Row]) -> Table:
    return Table(
        "models",
        "Predictions behind it",
        (
            Column("Strategy"),
            Column("Version", num=True),
            Column("Return", "bps", True),
            Column("Up", "%", True),
            Column("Trained through"),
            Column("Hash of its arrays"),
        ),
        [
            (
                cells.text(
                    row["strategy_id"],
                    where("/models", row["strategy_id"], version=row["model_version"]),
                ),
                cells.number(row["model_version"], 0),
                cells.number(row["prediction"] * 1e4, 1, signed=True, toned=True),
                cells.percent(row["probability_up"], 1),
                cells.day(row["trained_through"]),
                cells.code((row["artifact_sha256"] or "")[:16] or None),
            )
            for row in rows
        ],
        "None: no prediction of a strategy stands behind it.",
    )
