"""Whether the models still see the market that they were trained on, and how good they were."""

from __future__ import annotations

from hydra_pipelines.api.rows import Row
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger.store import LedgerMissing, Rows

NOT_CHECKED = "not_checked"


def drift(desk: Desk, runs: int = 20) -> Row:
    """The latest drift run with its verdicts and checks, and the runs before it.

    status: `no_models`, `ok` or `drift_detected` of the latest session checked; `not_checked`
    before the first. latest: the columns of `drift_runs`, with `models` (of `drift_models`),
    `checks` (of `drift_checks`) and `states`, how many checks are in each state; None before the
    first. runs: the standing run of each session, the latest first, the latest included.
    """
    from hydra_pipelines.ledger import drift as ledger

    try:
        with desk.ledger.snapshot() as rows:
            found = ledger.runs(rows, runs)
            latest = found[0] if found else None
            if latest is not None:
                latest = {
                    **latest,
                    "models": ledger.models(rows, latest["run_no"]),
                    "checks": ledger.checks(rows, latest["run_no"]),
                }
    except LedgerMissing:
        return {"status": NOT_CHECKED, "latest": None, "runs": []}
    if latest is None:
        return {"status": NOT_CHECKED, "latest": None, "runs": []}
    states = [check["state"] for check in latest["checks"]]
    latest["states"] = {state: states.count(state) for state in sorted(set(states))}
    return {"status": latest["status"], "latest": latest, "runs": found}


def drift_history(
    desk: Desk,
    *,
    strategy_id: str | None = None,
    family: str | None = None,
    detector: str | None = None,
    subject: str | None = None,
    sessions: int = 250,
) -> list[Row]:
    """Checks of the last sessions that were checked, oldest first; columns of `drift_checks`."""
    from hydra_pipelines.ledger import drift as ledger

    with desk.ledger.snapshot() as rows:
        return ledger.check_history(
            rows,
            strategy_id=strategy_id,
            family=family,
            detector=detector,
            subject=subject,
            sessions=sessions,
        )


def session_scores(desk: Desk, strategy_id: str, version: int) -> list[Row]:
    """What a version scored in each session whose labels are known, oldest first."""
    from hydra_pipelines.ledger import drift as ledger

    with desk.ledger.snapshot() as rows:
        return ledger.scores(rows, strategy_id, version)


def latest_status(rows: Rows) -> str:
    """The status of the latest session checked; `not_checked` before the first."""
    from hydra_pipelines.ledger import drift as ledger

    found = ledger.runs(rows, 1)
    return found[0]["status"] if found else NOT_CHECKED
