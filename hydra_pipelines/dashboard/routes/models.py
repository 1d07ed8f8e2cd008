"""Strategies and their models: who trades, who waits, who moved them and what they predict."""

from __future__ import annotations

import re
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response

from hydra_pipelines import api
from hydra_pipelines.dashboard import cells, tables
from hydra_pipelines.dashboard.cells import Cell, Column, Table, Tone, where
from hydra_pipelines.dashboard.reading import Reading
from hydra_pipelines.dashboard.routes.common import Day, Number, Text, dash_of

router = APIRouter(include_in_schema=False)
HISTORY = 30
READY_TONES: dict[str, Tone] = {"ready": "good", "untrained": "warn", "no_champion": "warn"}


@router.get("/models")
def models(request: Request, session: Day = None) -> Response:
    dash = dash_of(request)
    read = dash.readings.read
    found = read(api.models, HISTORY)
    status = read(api.status)
    cycle = status.value["last_cycle"] if status.value else None
    shown = session or (cycle["session"] if cycle else None)
    predicted = read(api.predictions, shown) if shown else None
    return dash.page(
        request,
        "models.html",
        title="Models",
        found=found,
        strategies_table=_strategies(found.value["strategies"] if found.value else []),
        history_table=tables.moves(found.value["history"] if found.value else ()),
        session=shown,
        predicted=predicted,
        predictions_table=tables.predictions(
            predicted.value if predicted and predicted.value else (),
            f"Nothing was predicted for {shown}: `hydra predict`."
            if shown
            else "Nothing was predicted yet. The first cycle does it: `hydra cycle`.",
        ),
        drift=status.value["drift"] if status.value else None,
    )


def _strategies(rows: list[api.Row]) -> Table:
    return Table(
        "strategies",
        "Strategies",
        (
            Column("Strategy"),
            Column("Status"),
            Column("Capital", "%", True),
            Column("State"),
            Column("Champion", num=True),
            Column("Challenger", num=True),
            Column("Previous", num=True),
            Column("Rank IC", num=True),
            Column("Sharpe", num=True),
            Column("Trained through"),
        ),
        [
            (
                cells.text(
                    row["strategy_id"], where("/models", row["strategy_id"]), note=row["title"]
                ),
                cells.badge(row["status"]),
                cells.percent(row["capital_weight"], 0),
                Cell(
                    cells.words(row["state"]),
                    "badge",
                    tone=READY_TONES.get(row["state"], "bad"),
                    note=row["why"],
                ),
                _version(row["strategy_id"], row["champion"]),
                _version(row["strategy_id"], row["challenger"]),
                _version(row["strategy_id"], row["previous"]),
                cells.number(_figure(row["champion"], "rank_ic"), 4),
                cells.number(_figure(row["champion"], "sharpe"), 2),
                cells.day((row["champion"] or {}).get("trained_through")),
            )
            for row in rows
        ],
        "No strategy is declared. Add one under strategies in hydra.yaml.",
    )


def _figure(version: Any, name: str) -> Any:
    return ((version or {}).get("figures") or {}).get(name)


def _version(strategy: str, version: Any) -> Cell:
    if not version:
        return cells.number(None)
    number = version["version"]
    return Cell(f"v{number}", "num", where("/models", strategy, version=number))


@router.get("/mlflow")
def mlflow(request: Request, at: Text = None) -> Response:
    """The MLflow UI in a frame. at: a place within it, as `models/NAME`."""
    dash = dash_of(request)
    why = dash.mlflow.why_not
    place = at if at and re.fullmatch(r"[\w/.-]+", at) else "models"
    return dash.page(
        request,
        "mlflow.html",
        title="MLflow",
        state=Reading(None, why, missing=True) if why else Reading(True),
        source=f"/mlflow/#/{place}",
    )


@router.get("/models/{strategy}")
def model(request: Request, strategy: str, version: Number = None) -> Response:
    dash = dash_of(request)
    read = dash.readings.read
    declared = {s.id: s for s in dash.settings.strategies}
    if strategy not in declared:
        raise HTTPException(404, "There is no such strategy in the settings")
    found = read(api.models, 500)
    row = (
        next((r for r in found.value["strategies"] if r["strategy_id"] == strategy), None)
        if found.value
        else None
    )
    chosen = version or ((row or {}).get("champion") or {}).get("version")
    described = read(api.model_version, strategy, chosen) if chosen else None
    status = read(api.status)
    cycle = status.value["last_cycle"] if status.value else None
    predicted = read(api.predictions, cycle["session"]) if cycle else None
    return dash.page(
        request,
        "model.html",
        title=strategy,
        spec=declared[strategy],
        found=found,
        row=row,
        chosen=chosen,
        described=described,
        figures_table=_figures(described.value if described else None),
        history_table=tables.moves(
            [m for m in found.value["history"] if m["strategy_id"] == strategy]
            if found.value
            else ()
        ),
        session=cycle["session"] if cycle else None,
        predicted=predicted,
        predictions_table=tables.predictions(
            [p for p in predicted.value if p["strategy_id"] == strategy]
            if predicted and predicted.value
            else (),
            "It predicted nothing yet.",
        ),
        mlflow=where("/mlflow", at=f"models/{strategy}"),
    )


def _figures(version: api.Row | None) -> Table:
    figures = (version or {}).get("figures") or {}
    return Table(
        "figures",
        "Figures of the version, out of sample",
        (Column("Figure"), Column("Value", num=True)),
        [
            (cells.text(cells.words(name)), cells.number(value, 4))
            for name, value in figures.items()
        ],
        "No figures are kept of it.",
    )
