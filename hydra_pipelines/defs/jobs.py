"""Jobs: which assets run together, and for which session when none is named."""

from __future__ import annotations

from datetime import date

import dagster as dg

PARTITION_TAG = "dagster/partition"
DRY_RUN_TAG = "hydra/dry_run"
TRADING_JOBS = frozenset({"daily_cycle"})


def daily_cycle_job(due: date) -> dg.UnresolvedAssetJobDefinition:
    """Everything for one session, from its bars to the account after its orders.

    due: the session of a run that names none. A run that names one carries its own tag.
    """
    return dg.define_asset_job(
        "daily_cycle",
        selection=dg.AssetSelection.assets("account").upstream(),
        description=(
            "One session: bars, features, predictions, signals, the order plan, its execution in "
            "the next session, positions and account."
        ),
        tags={PARTITION_TAG: due.isoformat(), "hydra/venue": "broker"},
    )


def train_job(due: date) -> dg.UnresolvedAssetJobDefinition:
    """Train every deployed strategy as of a session; the result waits as challenger."""
    return dg.define_asset_job(
        "train",
        selection=dg.AssetSelection.assets("trained_models").upstream(),
        description="Bars and features up to the session, then a new version of each strategy.",
        tags={PARTITION_TAG: due.isoformat()},
    )
