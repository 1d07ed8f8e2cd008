"""What a replay does, told to Dagster as if the assets had run: materialisations and checks.

A replay runs the day's steps without a Dagster run for each session. Here its results become the
same events, made by the functions that the assets themselves use; and what the assets' checks say
of them decides whether the day goes on, as it does in a run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import dagster as dg

from hydra_pipelines.day.cycle import Finding
from hydra_pipelines.day.replaying import Published, Replayed
from hydra_pipelines.defs.assets import ALL_ASSETS
from hydra_pipelines.defs.assets.decision import tell_plan, tell_predictions, tell_signals
from hydra_pipelines.defs.assets.execution import tell_account, tell_executions, tell_positions
from hydra_pipelines.defs.assets.market import tell_bars, tell_features, tell_universe
from hydra_pipelines.defs.assets.models import tell_champions
from hydra_pipelines.defs.assets.performance import tell_performance
from hydra_pipelines.defs.assets.slippage import tell_slippage
from hydra_pipelines.defs.metadata import Told
from hydra_pipelines.defs.partitions import session_partitions
from hydra_pipelines.defs.runless import Reported, report_together
from hydra_pipelines.desk import Desk

DATA_VERSION_TAG = "dagster/data_version"
"""Dagster's own, on materialisations whose data version is known."""

Teller = Callable[[Desk, Any], Iterator[Told]]

TELLERS: Mapping[str, Teller] = {
    "bars": lambda _, result: tell_bars(result),
    "features": lambda _, result: tell_features(result),
    "universe": lambda _, result: tell_universe(result),
    "champion_models": lambda desk, result: tell_champions(result, desk.registry),
    "predictions": lambda _, result: tell_predictions(result),
    "signals": lambda _, result: tell_signals(result),
    "order_plan": lambda _, result: tell_plan(result),
    "executions": lambda _, result: tell_executions(result),
    "positions": lambda _, result: tell_positions(result),
    "account": lambda _, result: tell_account(result),
    "slippage_reconciliation": lambda _, result: tell_slippage(result),
    "performance": lambda _, result: tell_performance(result),
}
"""Name of a step or report -> what its asset shows of the result."""


class Reporter:
    """Judges each step of a replay by its asset's checks, and reports sessions as they are done."""

    def __init__(self, instance: dg.DagsterInstance, desk: Desk):
        self._instance = instance
        self._desk = desk
        self._told: list[tuple[str, Told]] = []
        self._unstored: list[Reported] = []
        self._sessions = 0
        partitions = session_partitions(desk.calendar, desk.settings.embedded.first_session)
        assets = [build(partitions) for build in ALL_ASSETS]
        self._blocking = {
            (spec.asset_key.to_user_string(), spec.name): spec.blocking
            for asset in assets
            for spec in asset.check_specs
        }

    def judge(self, name: str, result: Any) -> Sequence[Finding]:
        """The checks of severity ERROR that failed; what is shown is kept for `report`."""
        told = list(TELLERS[name](self._desk, result))
        self._told += [(name, one) for one in told]
        return [
            Finding(f"{one.check_name}: {one.description}", self._blocks(name, one))
            for one in told
            if isinstance(one, dg.AssetCheckResult)
            and not one.passed
            and one.severity is dg.AssetCheckSeverity.ERROR
        ]

    def report(self, done: Replayed | Published) -> None:
        """Have the instance show a session's partitions as materialised, with their checks.

        Stored every few sessions and with each publication; `flush` stores what is left.
        """
        told, self._told = self._told, []
        events: list[Reported] = [self._event(name, done.session, one) for name, one in told]
        if isinstance(done, Replayed) and done.result("account"):
            events += _reports_in_short(done)
        self._unstored += events
        self._sessions += 1
        if self._sessions >= STORE_EVERY or isinstance(done, Published):
            self.flush()

    def flush(self) -> None:
        """Store what was reported and is not stored yet."""
        events, self._unstored, self._sessions = self._unstored, [], 0
        report_together(self._instance, events)

    def catch_up(self) -> None:
        """Report finished sessions of which a replay was killed before it could tell.

        Only that they were finished: what they showed went with the process, and is in the ledger.
        """
        first, due = self._desk.settings.embedded.first_session, self._desk.next_session_due()
        done = [str(day) for day in self._desk.calendar.between(first, due) if day < due]
        storage = self._instance.event_log_storage
        for name in TELLERS:
            there = storage.get_materialized_partitions(dg.AssetKey(name))
            self._unstored += [
                dg.AssetMaterialization(
                    asset_key=name,
                    partition=day,
                    metadata={**RUN_BY, "shows": "only that it was finished"},
                )
                for day in done
                if day not in there
            ]
        self.flush()

    def _blocks(self, name: str, told: dg.AssetCheckResult) -> bool:
        return self._blocking[name, told.check_name or ""]

    def _event(self, name: str, session: date, told: Told) -> Reported:
        if isinstance(told, dg.MaterializeResult):
            version = told.data_version
            return dg.AssetMaterialization(
                asset_key=name,
                partition=session.isoformat(),
                metadata={**_main(name, told.metadata or {}), **RUN_BY},
                tags={DATA_VERSION_TAG: version.value} if version else None,
            )
        # Without a partition, as in a daily run: a check is of its asset as it is now.
        return dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey(name),
            check_name=told.check_name or "",
            passed=told.passed,
            severity=told.severity,
            description=told.description,
            blocking=self._blocks(name, told),
            metadata={**(told.metadata or {}), "session": session.isoformat()},
        )


STORE_EVERY = 5
"""Sessions whose events are stored together."""
RUN_BY = {"run_by": "hydra replay"}
WHOLE = frozenset(
    {"champion_models", "order_plan", "executions", "performance", "slippage_reconciliation"}
)
"""Of these tables and plots are kept too; of the others they would take longer than the session."""


def _main(name: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    large = dg.TableMetadataValue | dg.MarkdownMetadataValue
    return {
        key: value
        for key, value in metadata.items()
        if name in WHOLE or not isinstance(value, large)
    }


def _reports_in_short(done: Replayed) -> Iterator[dg.AssetMaterialization]:
    """The reports on the whole journal, after a session that was not published.

    They are of that session alone; the whole is shown with the next one that is published.
    """
    row, report = done.result("account").row, done.result("executions")
    shown: dict[str, dict[str, Any]] = {
        "performance": {
            "equity": float(row["equity"]),
            "daily_pnl": float(row["daily_pnl"]),
            "drawdown": row["drawdown"],
        },
        "slippage_reconciliation": {
            "orders_filled": sum(bool(order.filled) for order in report.orders) if report else 0
        },
    }
    for name, values in shown.items():
        yield dg.AssetMaterialization(
            asset_key=name,
            partition=done.session.isoformat(),
            metadata={**values, **RUN_BY, "shows": "this session alone"},
        )
