"""`hydra diagnose`: the drift check now, with what was found."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hydra_pipelines.cli.output import (
    FAILURE,
    REFUSED,
    Json,
    fail,
    print_json,
    print_table,
    readable_errors,
    say,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_ORDER = ("alarm", "warning", "not_enough_data", "ok")


def diagnose(
    session: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"],
            help="As of its close; without it, the last one with predictions.",
        ),
    ] = None,
    report: Annotated[
        bool, typer.Option("--report", help="Make the HTML report too; takes some seconds.")
    ] = False,
    every: Annotated[
        bool, typer.Option("--all", help="Every check, those that are ok as well.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check every champion for drift now. Exit code 3 where drift was detected."""
    from hydra_pipelines import day
    from hydra_pipelines.desk import Desk
    from hydra_pipelines.ledger import drift
    from hydra_pipelines.ledger.store import LedgerMissing

    with readable_errors():
        desk = Desk.open()
        with desk.ledger.snapshot() as rows:
            last = drift.last_predicted(rows)
        chosen = session.date() if session else last
        if chosen is None:
            raise LedgerMissing("there are no predictions yet: run a first cycle: `hydra cycle`")
        say(f"Drift check as of session {chosen}")
        try:
            run = day.check_drift(desk, chosen, None, say)
        except day.DriftError as error:
            fail(str(error), FAILURE)
        place = day.make_drift_report(desk, run, say) if report and run.models else None
        with desk.ledger.snapshot() as rows:
            stored = drift.run_of(rows, chosen)
    place = place or (stored or {}).get("report")
    if as_json:
        print_json(
            {
                "run_no": run.run_no,
                "session": run.session,
                "status": run.status,
                "models_checked": run.models_checked,
                "models_drifted": len(run.drifted),
                "rollbacks": dict(run.rollbacks),
                "failures": dict(run.failures),
                "report": str(desk.settings.data_path / place) if place else None,
                "models": list(run.models),
                "checks": list(run.checks),
            }
        )
    else:
        _print(run.models, run.checks, every)
        for name, why in run.failures.items():
            say(f"not checked: {name}: {why}")
        if place:
            say(f"HTML report: {desk.settings.data_path / place}")
        say(f"Drift, session {chosen}: {run.status.replace('_', ' ')}")
    if run.status == "drift_detected":
        raise typer.Exit(REFUSED)
    if run.failures and not run.models:
        fail("no model could be checked", FAILURE)


def _print(
    models: tuple[Mapping[str, Any], ...], checks: tuple[Mapping[str, Any], ...], every: bool
) -> None:
    print_table(
        [{**row, "state": row["state"].replace("_", " ")} for row in models],
        {
            "strategy_id": "strategy",
            "model_version": "version",
            "state": "state",
            "inputs": "inputs",
            "inputs_level": "level",
            "outcomes": "outcomes",
            "outcomes_level": "level ",
            "rolled_back_to": "set back to",
        },
        title="Models; drift is where inputs or outcomes are above their level",
    )
    rows = [
        {
            **check,
            "strategy": check["strategy_id"] or "the desk",
            "state": check["state"].replace("_", " ") + (" !" if check["decisive"] else ""),
            **{name: _figure(check[name]) for name in ("value", "warn_at", "alarm_at")},
        }
        for check in sorted(checks, key=lambda check: _ORDER.index(check["state"]))
        if every or check["state"] in ("alarm", "warning")
    ]
    counts = ", ".join(
        f"{sum(c['state'] == state for c in checks)} {state.replace('_', ' ')}" for state in _ORDER
    )
    print_table(
        rows,
        {
            "strategy": "strategy",
            "family": "family",
            "detector": "detector",
            "subject": "subject",
            "state": "state",
            "value": "value",
            "warn_at": "warns at",
            "alarm_at": "alarms at",
            "n": "n",
        },
        title=f"Checks: {counts}; ! decided it",
    )


def _figure(value: float | None) -> str | None:
    return None if value is None else f"{value:.4g}"
