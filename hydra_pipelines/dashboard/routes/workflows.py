"""Dagster's runs: a list that filters, a page a run, and the buttons that work."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, HTTPException, Request, Response

from hydra_pipelines import api
from hydra_pipelines.dashboard import cells
from hydra_pipelines.dashboard.cells import Cell, Column, Table, Tone, where
from hydra_pipelines.dashboard.reading import Reading, why_not
from hydra_pipelines.dashboard.routes.common import Text, dash_of

if TYPE_CHECKING:
    from hydra_pipelines.dashboard.app import Dash
    from hydra_pipelines.defs.history import Run, RunStory

router = APIRouter(include_in_schema=False)
TONES: dict[str, Tone] = {
    "SUCCESS": "good",
    "FAILURE": "bad",
    "STARTED": "warn",
    "STARTING": "warn",
    "QUEUED": "warn",
    "NOT_STARTED": "warn",
    "CANCELING": "warn",
    "CANCELED": "quiet",
    "FAILED": "bad",
    "SKIPPED": "quiet",
    "IN_PROGRESS": "warn",
    "ERROR": "bad",
    "WARNING": "warn",
}
STATUSES = ("QUEUED", "STARTED", "SUCCESS", "FAILURE", "CANCELING", "CANCELED")
SPANS = {"today": timedelta(days=1), "week": timedelta(days=7), "all": None}


@router.get("/workflows")
def workflows(
    request: Request, status: Text = None, job: Text = None, time: Text = None
) -> Response:
    dash = dash_of(request)
    span = time or "all"
    if status is not None and status not in STATUSES:
        raise HTTPException(422, f"{status[:40]} is no status: {', '.join(STATUSES)}")
    if span not in SPANS:
        raise HTTPException(422, f"{span[:40]} is no time: {', '.join(SPANS)}")
    back = SPANS[span]
    since = datetime.now(UTC) - back if back else None
    runs = _runs(dash, status, job, since)
    costs = (
        dash.readings.read(api.run_costs, tuple(run.run_id for run in runs.value))
        if runs.value
        else None
    )
    return dash.page(
        request,
        "workflows.html",
        title="Workflows",
        refresh=dash.settings.dashboard.workflows_refresh_s,
        stream="workflows",
        as_of=runs.as_of,
        runs=runs,
        runs_table=_table(
            runs.value or [],
            (costs.value if costs else None) or {},
            "No runs fit: take a filter away."
            if status or job or since
            else "No run was recorded: a replay records none. `hydra cycle` starts one.",
        ),
        status=status,
        job=job,
        span=span,
        statuses=STATUSES,
        spans=SPANS,
        launch_why_not=_launch_why_not(dash),
    )


def _launch_why_not(dash: Dash) -> str:
    if dash.rules.read_only:
        return "this dashboard was started with --read-only"
    return dash.workflows.why_not_launch()


def _runs(
    dash: Dash, status: str | None, job: str | None, since: datetime | None
) -> Reading[list[Run]]:
    now = datetime.now(UTC)
    try:
        return Reading(dash.workflows.runs(status=status, job=job, since=since), as_of=now)
    except Exception as error:
        missing = type(error).__name__ == "HistoryMissing"
        return Reading(None, str(error) if missing else why_not(error), now, missing)


def _table(runs: list[Run], costs: dict[str, api.Row], none: str) -> Table:
    now = datetime.now(UTC)
    return Table(
        "runs",
        "Runs, the latest first",
        (
            Column("Run"),
            Column("Job"),
            Column("Status"),
            Column("Started"),
            Column("Duration", num=True),
            Column("Session"),
            Column("Rows", num=True),
            Column("Fills", num=True),
            Column("Commissions", "USD", True),
            Column("Slippage", "USD", True),
        ),
        [
            (
                cells.code(run.run_id[:8], where("/workflows", run.run_id)),
                cells.text(run.job, where("/workflows", job=run.job)),
                cells.badge(run.status.lower(), TONES.get(run.status, "")),
                cells.when(run.started or run.created),
                Cell(cells.duration(run.seconds(now)), "num"),
                cells.day(
                    run.partition, where("/orders", session=run.partition) if run.partition else ""
                ),
                cells.number(run.rows, 0),
                *_cost(costs.get(run.run_id)),
            )
            for run in runs
        ],
        none,
    )


def _cost(cost: api.Row | None) -> tuple[Cell, Cell, Cell]:
    if cost is None:
        return cells.number(None), cells.number(None), cells.number(None)
    return (
        cells.number(cost["fills"], 0),
        cells.number(cost["commissions"]),
        cells.number(cost["slippage"], 2, signed=True),
    )


@router.get("/workflows/{run_id}")
def run(request: Request, run_id: str) -> Response:
    dash = dash_of(request)
    now = datetime.now(UTC)
    try:
        story = dash.workflows.story(run_id[:100])
        found: Reading[RunStory] = Reading(story, as_of=now)
        if story is None:
            raise HTTPException(404, "Dagster's record has no such run")
    except HTTPException:
        raise
    except Exception as error:
        missing = type(error).__name__ == "HistoryMissing"
        found = Reading(None, str(error) if missing else why_not(error), now, missing)
        story = None
    cost = dash.readings.read(api.run_costs, (run_id,)) if story else None
    return dash.page(
        request,
        "run.html",
        title=f"Run {run_id[:8]}",
        refresh=dash.settings.dashboard.workflows_refresh_s,
        stream="workflows",
        as_of=now,
        found=found,
        story=story,
        tones=TONES,
        cost=(cost.value or {}).get(run_id) if cost else None,
        read_only=dash.rules.read_only,
        launch_why_not=_launch_why_not(dash),
        **_tables(story),
    )


def _tables(story: RunStory | None) -> dict[str, Any]:
    steps = story.steps if story else ()
    lines = story.lines if story else ()
    made = story.made if story else ()
    checks = story.checks if story else ()
    return {
        "steps_table": Table(
            "steps",
            "Steps, in the order they began",
            (Column("Step"), Column("Status"), Column("Began"), Column("Took", num=True)),
            [
                (
                    cells.code(step.key),
                    cells.badge(step.status.lower(), TONES.get(step.status, "")),
                    cells.when(step.started),
                    Cell(cells.duration(step.seconds), "num"),
                )
                for step in steps
            ],
            "No step has begun.",
        ),
        "lines_table": Table(
            "lines",
            "Log, the latest lines last",
            (Column("Time"), Column("Level"), Column("Step"), Column("Message")),
            [
                (
                    cells.when(line.at),
                    cells.badge(line.level.lower(), TONES.get(line.level, "quiet")),
                    cells.code(line.step or None),
                    cells.text(line.text),
                )
                for line in lines
            ],
            "Nothing was logged.",
        ),
        "made_table": Table(
            "made",
            "What it materialised",
            (Column("Time"), Column("Asset"), Column("Session"), Column("Said")),
            [
                (
                    cells.when(one.at),
                    cells.code(one.asset),
                    cells.day(one.partition),
                    cells.text(", ".join(f"{k}: {v}" for k, v in one.said.items())),
                )
                for one in made
            ],
            "Nothing.",
        ),
        "checks_table": Table(
            "checks",
            "Checks",
            (Column("Asset"), Column("Check"), Column("Result"), Column("Said")),
            [
                (
                    cells.code(check.asset),
                    cells.text(cells.words(check.name)),
                    cells.badge(
                        "passed" if check.passed else f"failed, {check.severity.lower()}",
                        "good" if check.passed else TONES.get(check.severity, "bad"),
                    ),
                    cells.text(check.text),
                )
                for check in checks
            ],
            "No check has run.",
        ),
    }
