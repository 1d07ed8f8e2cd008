"""Jobs: which assets run together, and for which session when none is named."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import dagster as dg

PARTITION_TAG = "dagster/partition"
DRY_RUN_TAG = "hydra/dry_run"
RECONCILE_TAG = "hydra/reconcile_only"
"""On a run whose `executions` bring the orders up to date and send nothing."""
STRATEGIES_TAG = "hydra/strategies"
"""Which strategies `train` trains, by their ids with commas between; without it, those deployed."""
TRADING_JOBS = frozenset({"daily_cycle", "plan", "execute"})
"""Jobs that refuse a session which can't be traded any more."""
AT_THE_BROKER = {"hydra/venue": "broker"}
"""Tag of runs that talk to the broker: the queue lets one of them through at a time."""


def all_jobs(due: date, worked: date | None) -> list[dg.UnresolvedAssetJobDefinition]:
    """Every job of the project.

    due: the session of a run that names none. worked: the last one whose orders were sent, which
    jobs that only look back take instead; None before the first. A run that names a session
    carries its own tag.
    """
    before = worked or due
    executions = dg.AssetSelection.assets("executions")
    after = executions.downstream()
    return [
        _job(
            "daily_cycle",
            executions.upstream() | after,
            due,
            "One session: bars, features, predictions, signals, the order plan, its execution in "
            "the next session, positions, account, and what is made of them.",
            AT_THE_BROKER,
        ),
        _job(
            "predict",
            dg.AssetSelection.assets("predictions").upstream(),
            due,
            "Bars, features and the champions' predictions of the session.",
        ),
        _job(
            "plan",
            dg.AssetSelection.assets("order_plan").upstream(),
            due,
            "Everything up to the order plan of the session. Sends nothing.",
            AT_THE_BROKER,
        ),
        _job(
            "execute",
            after,
            due,
            "The stored plan of the session worked as it is, then positions and account.",
            AT_THE_BROKER,
        ),
        _job(
            "sync_positions",
            dg.AssetSelection.assets("positions").downstream(),
            before,
            "Positions and account read from the broker and compared with the journal.",
            AT_THE_BROKER,
        ),
        _job(
            "reconcile",
            after,
            before,
            "The session's orders, and all that are unfinished, brought up to date with what the "
            "broker knows; then positions and account. Sends nothing.",
            {**AT_THE_BROKER, RECONCILE_TAG: "true"},
        ),
        _job(
            "train",
            dg.AssetSelection.assets("trained_models").upstream(),
            due,
            "Bars and features up to the session, then a new version of each strategy.",
        ),
        _job(
            "drift_check",
            dg.AssetSelection.assets("drift_report", "model_watches"),
            before,
            "Every champion against what it was trained on, as of the session; the HTML report; "
            "versions promoted on the agent's word beside those that they replaced. Sends nothing, "
            "and trains nothing.",
        ),
        _job(
            "self_heal",
            dg.AssetSelection.assets("model_watches", "diagnosis", "experiments", "healing_cycle"),
            before,
            "The agent: what is wrong with a model, what may cure it, experiments, and what "
            "follows from them. Sends nothing.",
        ),
    ]


def _job(
    name: str,
    selection: dg.AssetSelection,
    session: date,
    description: str,
    tags: Mapping[str, str] = {},
) -> dg.UnresolvedAssetJobDefinition:
    return dg.define_asset_job(
        name,
        selection=selection,
        description=description,
        tags={PARTITION_TAG: session.isoformat(), **tags},
    )
