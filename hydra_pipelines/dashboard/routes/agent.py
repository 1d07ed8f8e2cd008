"""The agent and the drift that it heals: live values, thresholds, experiments, cycles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import FileResponse

from hydra_pipelines import api
from hydra_pipelines.dashboard import cells, drawing
from hydra_pipelines.dashboard.cells import Cell, Column, Table, Tone, where
from hydra_pipelines.dashboard.routes.common import Text, dash_of

router = APIRouter(include_in_schema=False)
DECISIONS: dict[str, Tone] = {
    "promoted": "good",
    "pending": "warn",
    "rejected": "quiet",
    "rolled_back": "bad",
    "failed": "bad",
}
STATES: dict[str, Tone] = {
    "ok": "good",
    "warning": "warn",
    "alarm": "bad",
    "drift_detected": "bad",
    "not_enough_data": "quiet",
    "no_models": "quiet",
    "not_checked": "quiet",
}
ABOUT = {
    "psi": "Share of the distribution that moved between bins of the training data. Textbook "
    "levels (0.1, 0.25) alarm falsely on autocorrelated features: the alarm level is of its own "
    "history.",
    "ks": "Largest gap between two distributions. Alarms falsely on large samples of dependent "
    "data: the alarm level is of its own history.",
    "adwin": "Whether the mean of a stream has changed. Never fires on unscaled returns, so the "
    "stream is standardised; falsely about as often as its delta says.",
    "cusum": "Sum of small deviations in one direction. With k 0.5 and h 5 one false alarm in some "
    "430 observations, fewer with fat tails, more.",
    "rolling_sharpe": "Return over risk of the last window. Noise of some 0.8 a year: a low value "
    "alone is weak evidence.",
    "drawdown": "Loss from the peak against what the validation saw. Late, and rarely false.",
    "hit_rate": "Share of predictions with the right sign. Near one half for good models too.",
    "brier": "Squared error of the probability of a rise. 0.25 is a coin.",
    "rank_ic": "Rank correlation of predictions and outcomes. Single sessions vary by ± 0.2.",
    "slippage_bias": "Actual less predicted slippage. Needs some 20 orders to mean anything.",
}
"""What a detector sees, and when it alarms falsely."""


@router.get("/agent")
def agent(request: Request) -> Response:
    dash = dash_of(request)
    read = dash.readings.read
    found, journal = read(api.agent), read(api.experiments, 20)
    value = found.value or {}
    return dash.page(
        request,
        "agent.html",
        title="Agent",
        stream="agents",
        found=found,
        journal=journal,
        counts=value.get("counts", {}),
        experiments_table=_experiments(journal.value or []),
        cycles_table=_cycles(value.get("cycles", [])),
        watches_table=_watches(value.get("watches", [])),
        read_only=dash.rules.read_only,
    )


def _experiments(rows: list[api.Row]) -> Table:
    return Table(
        "experiments",
        "Experiments, the latest first",
        (
            Column("Id"),
            Column("Time"),
            Column("Strategy"),
            Column("Hypothesis"),
            Column("Mutation"),
            Column("Outcome"),
            Column("Key figures"),
        ),
        [
            (
                cells.code(row["experiment_id"]),
                cells.when(row["created_at"]),
                cells.text(
                    row["strategy_id"],
                    where("/models", row["strategy_id"]) if row["strategy_id"] else "",
                ),
                cells.text(row["hypothesis"], note=_difference(row["difference"])),
                cells.badge(cells.words(row["mutation_type"])),
                Cell(
                    cells.words(row["decision"]),
                    "badge",
                    tone=DECISIONS.get(row["decision"], ""),
                    note=row["reason"],
                ),
                cells.text(_key_figures(row["results"])),
            )
            for row in rows
        ],
        "No experiments yet. The agent makes them once drift is found: `hydra agent run`.",
    )


def _difference(difference: Any) -> str:
    if not isinstance(difference, dict):
        return ""
    return ", ".join(
        f"{name}: {change[0]} → {change[1]}"
        for name, change in difference.items()
        if isinstance(change, list | tuple) and len(change) == 2
    )


def _key_figures(results: Any) -> str:
    figures = (results or {}).get("figures") or {}
    return ", ".join(
        f"{cells.words(name)} {cells.figure(value, 3)}"
        for name, value in list(figures.items())[:5]
        if isinstance(value, int | float)
    )


def _cycles(rows: list[api.Row]) -> Table:
    return Table(
        "cycles",
        "Cycles of the agent, the latest first",
        (
            Column("Began"),
            Column("Session"),
            Column("Autonomy"),
            Column("Stage"),
            Column("Outcome"),
            Column("Run"),
        ),
        [
            (
                cells.when(row["started_at"]),
                cells.day(row["session"]),
                cells.badge(cells.words(row["autonomy"])),
                cells.badge(row["stage"], "good" if row["stage"] == "done" else "warn"),
                cells.text(row["outcome"]),
                cells.code(row["run_id"][:8], where("/workflows", row["run_id"]))
                if row["run_id"]
                else cells.text(None),
            )
            for row in rows
        ],
        "It never ran. `hydra agent run` lets it look once.",
    )


def _watches(rows: list[api.Row]) -> Table:
    tones: dict[str, Tone] = {"watching": "warn", "kept": "good", "rolled_back": "bad"}
    return Table(
        "watches",
        "Versions that were promoted on its word",
        (
            Column("Strategy"),
            Column("Version", num=True),
            Column("Instead of", num=True),
            Column("State"),
            Column("Since"),
            Column("Why"),
        ),
        [
            (
                cells.text(row["strategy_id"], where("/models", row["strategy_id"])),
                cells.number(row["version"], 0),
                cells.number(row["replaced_version"], 0),
                cells.badge(cells.words(row["state"]), tones.get(row["state"], "quiet")),
                cells.day(row["first_session"]),
                cells.text(row["reason"]),
            )
            for row in rows
        ],
        "None.",
    )


@router.get("/drift")
def drift(request: Request, strategy: Text = None, detector: Text = None) -> Response:
    dash = dash_of(request)
    read = dash.readings.read
    found = read(api.drift, 20)
    latest = (found.value or {}).get("latest")
    checks = latest["checks"] if latest else []
    shown = [
        check
        for check in checks
        if (strategy is None or check["strategy_id"] == strategy)
        and (detector is None or check["detector"] == detector)
    ]
    history = dash.readings.figure(api.drift_history, sessions=60) if latest else None
    return dash.page(
        request,
        "drift.html",
        title="Drift",
        found=found,
        latest=latest,
        tones=STATES,
        verdicts_table=_verdicts(latest["models"] if latest else []),
        checks_table=_checks(shown, (history.value if history else None) or []),
        shown=len(shown),
        runs_table=_runs((found.value or {}).get("runs", [])),
        detectors=sorted({check["detector"] for check in checks}),
        strategies=sorted({check["strategy_id"] for check in checks if check["strategy_id"]}),
        strategy=strategy,
        detector=detector,
        about={name: ABOUT[name] for name in ABOUT},
        launch_why_not="this dashboard was started with --read-only"
        if dash.rules.read_only
        else dash.workflows.why_not_launch(),
    )


MOST_CHECKS = 120


def _verdicts(rows: list[api.Row]) -> Table:
    return Table(
        "verdicts",
        "Verdict on each model",
        (
            Column("Strategy"),
            Column("Version", num=True),
            Column("State"),
            Column("Inputs", num=True),
            Column("Inputs alarm at", num=True),
            Column("Outcomes", num=True),
            Column("Outcomes alarm at", num=True),
            Column("Why"),
        ),
        [
            (
                cells.text(row["strategy_id"], where("/models", row["strategy_id"])),
                cells.number(row["model_version"], 0),
                cells.badge(cells.words(row["state"]), STATES.get(row["state"], "")),
                cells.number(row["inputs"]),
                cells.number(row["inputs_level"]),
                cells.number(row["outcomes"]),
                cells.number(row["outcomes_level"]),
                cells.text(
                    row["why"],
                    note=f"rolled back to version {row['rolled_back_to']}"
                    if row["rolled_back_to"]
                    else "",
                ),
            )
            for row in rows
        ],
        "No model was checked.",
    )


def _checks(rows: list[api.Row], history: list[api.Row]) -> Table:
    def key(check: api.Row) -> tuple[Any, ...]:
        return check["strategy_id"], check["family"], check["detector"], check["subject"]

    before: dict[tuple[Any, ...], list[float | None]] = {}
    for check in history:
        before.setdefault(key(check), []).append(check["value"])
    order = {"alarm": 0, "warning": 1, "ok": 2, "not_enough_data": 3}
    ranked = sorted(rows, key=lambda c: (order.get(c["state"], 9), str(key(c))))
    return Table(
        "checks",
        "Detectors, what alarms first",
        (
            Column("Strategy"),
            Column("Detector"),
            Column("Of"),
            Column("State"),
            Column("Value", num=True),
            Column("Textbook", num=True),
            Column("Alarm at", num=True),
            Column("n", num=True),
            Column("History"),
        ),
        [
            (
                cells.text(check["strategy_id"] or "the desk"),
                cells.badge(cells.words(check["detector"]), hint=ABOUT.get(check["detector"], "")),
                cells.code(check["subject"]),
                # Beyond the textbook's level alone: said, and no reason to worry.
                cells.badge(
                    "beyond textbook"
                    if check["state"] == "warning"
                    else cells.words(check["state"]),
                    "" if check["state"] == "warning" else STATES.get(check["state"], ""),
                ),
                cells.number(check["value"], 4),
                cells.number(check["warn_at"], 4),
                cells.number(check["alarm_at"], 4),
                cells.number(check["n"], 0),
                _history(check, before.get(key(check), [])),
            )
            for check in ranked[:MOST_CHECKS]
        ],
        "No check fits. Take a filter away.",
    )


def _history(check: api.Row, before: list[float | None]) -> Cell:
    picture = drawing.sparkline(
        before, f"{check['detector']} of {check['subject']}, {len(before)} checks"
    )
    return Cell("", "svg", at=picture) if picture else cells.text(None)


def _runs(rows: list[api.Row]) -> Table:
    return Table(
        "runs",
        "Drift checks, the latest first",
        (
            Column("Session"),
            Column("Status"),
            Column("Models", num=True),
            Column("Drifted", num=True),
            Column("Rolled back", num=True),
            Column("Report"),
            Column("Recorded"),
        ),
        [
            (
                cells.day(row["session"]),
                cells.badge(cells.words(row["status"]), STATES.get(row["status"], "")),
                cells.number(row["models_checked"], 0),
                cells.number(row["models_drifted"], 0),
                cells.number(row["rollbacks"], 0),
                cells.text("report", where("/drift/report", row["run_no"]))
                if row["report"]
                else cells.text(None),
                cells.when(row["recorded_at"]),
            )
            for row in rows
        ],
        "No drift check has run. `hydra diagnose` checks now.",
    )


@router.get("/drift/report/{run_no}")
def report(request: Request, run_no: int) -> Response:
    """The HTML report of a drift run, as it was made: in a sandbox, since it brings scripts."""
    dash = dash_of(request)
    found = dash.readings.read(api.drift, 500)
    row = next((r for r in (found.value or {}).get("runs", []) if r["run_no"] == run_no), None)
    data = dash.settings.data_path
    path = (data / Path(row["report"])).resolve() if row and row["report"] else None
    if path is None or not path.is_relative_to(data) or not path.is_file():
        raise HTTPException(404, "There is no report of this run")
    return FileResponse(
        path,
        media_type="text/html",
        headers={
            # Scripts of the report run, without an origin, and reach nothing.
            "content-security-policy": "sandbox allow-scripts; default-src 'none'; "
            "script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
            "img-src data: blob:; font-src data:",
            "cache-control": "no-store",
        },
    )
