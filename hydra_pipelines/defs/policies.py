"""What several assets share: how fresh they are, how ranges are run, and the check that there is
enough to decide on."""

from __future__ import annotations

import warnings
from datetime import timedelta

import dagster as dg

from hydra_pipelines.day.supply import Requirement, Supply

IN_ONE_RUN = dg.BackfillPolicy.single_run()
"""A range of sessions costs little more than its last one."""
# A job of such assets and others runs one session at a time, as it should, and Dagster warns of it.
warnings.filterwarnings("ignore", message="Asset job .* with varying BackfillPolicies")
warnings.filterwarnings("ignore", message="Parameter `backfill_policy` .* is currently in beta")

FRESH = dg.FreshnessPolicy.time_window(
    fail_window=timedelta(days=4, hours=6), warn_window=timedelta(days=3, hours=6)
)
"""Made every session: on a Friday evening and again on Monday evening, over a holiday on Tuesday
evening. Real time, so an embedded desk that nobody runs is shown as late, which it is. A session
that is missing in the middle of a week is noticed the same evening by `stale_data_sensor`."""


def enough_spec(asset: str, requirement: Requirement) -> dg.AssetCheckSpec:
    """The blocking check that there are enough rows and fresh ones; see `enough`."""
    old = requirement.sessions_old
    return dg.AssetCheckSpec(
        "enough_and_fresh",
        asset=asset,
        blocking=True,
        description=(
            f"There are {requirement.what}, {requirement.rows:,} of them at least, and the latest "
            f"are not older than {old} session{'s' * (old != 1)}: nothing is decided on less."
        ),
    )


def enough(asset: str, supply: Supply, allowed: str = "") -> dg.AssetCheckResult:
    """Its result. allowed: why less will do this time; empty where it won't."""
    short = supply.shortfall
    return dg.AssetCheckResult(
        check_name="enough_and_fresh",
        asset_key=asset,
        passed=not short or bool(allowed),
        severity=dg.AssetCheckSeverity.ERROR,
        description=allowed if short and allowed else short or str(supply),
        metadata={
            "rows": supply.rows,
            "sessions_old": supply.sessions_old if supply.sessions_old is not None else "none",
        },
    )
