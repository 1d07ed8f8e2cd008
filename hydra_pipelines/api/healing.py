"""The self-healing agent: its state and cycles, the journal of experiments, what it watches."""

from __future__ import annotations

from hydra_pipelines.api.rows import Row
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger.store import LedgerMissing


def agent(desk: Desk, cycles: int = 10, watches: int = 10) -> Row:
    """The agent at a glance.

    state: `running` or `paused`; `by`, `since` and `why` say who paused it. autonomy and the other
    settings of the section `agent` by their names. last_cycle: the latest of `cycles` (columns of
    `healing_cycles`, decoded), None before the first. counts: experiments by decision. waiting:
    experiments that passed the gate and wait for a person. watches: columns of `model_watches`.
    """
    from hydra_pipelines.ledger import experiments

    paused = desk.control.agent_paused
    entry = desk.control.last("agent_paused") if paused else None
    out: Row = {
        "state": "paused" if paused else "running",
        "by": entry.actor if entry else None,
        "since": entry.occurred_at if entry else None,
        "why": entry.details.get("why") if entry else None,
        **desk.settings.agent.model_dump(),
        "last_cycle": None,
        "cycles": [],
        "counts": {},
        "experiments": 0,
        "waiting": [],
        "watches": [],
    }
    try:
        with desk.ledger.snapshot() as rows:
            out["cycles"] = experiments.cycles(rows, cycles)
            out["counts"] = experiments.counts(rows)
            out["waiting"] = experiments.waiting(rows)
            out["watches"] = experiments.watches(rows, watches)
    except LedgerMissing:
        return out
    out["last_cycle"] = out["cycles"][0] if out["cycles"] else None
    out["experiments"] = sum(out["counts"].values())
    return out


def experiments(desk: Desk, limit: int = 20) -> list[Row]:
    """The journal, the latest first: columns of the table `experiments`, decoded.

    results: `figures` (of the gate, by name), `reasons`, `warnings`, `message`, `seconds`; None
    until it is measured. mlflow: where the MLflow UI shows the candidate, None without one.
    """
    from hydra_pipelines.ledger import experiments as journal

    try:
        with desk.ledger.snapshot() as rows:
            found = journal.journal(rows, limit)
    except LedgerMissing:
        return []
    for row in found:
        version = row["candidate_version"]
        row["mlflow"] = desk.registry.link(row["strategy_id"], version) if version else None
    return found
