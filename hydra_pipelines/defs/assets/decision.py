"""Predictions, signals and the order plan of a session."""

from collections.abc import Iterator

import dagster as dg

from hydra_pipelines import day
from hydra_pipelines.day.planning import PlanResult
from hydra_pipelines.day.research import PredictionsResult, SignalsResult
from hydra_pipelines.day.supply import PREDICTIONS
from hydra_pipelines.defs import metadata
from hydra_pipelines.defs.engines import STEP_AT_THE_BROKER
from hydra_pipelines.defs.metadata import Told
from hydra_pipelines.defs.policies import FRESH, enough, enough_spec
from hydra_pipelines.defs.resources import DeskResource
from hydra_pipelines.defs.running import (
    is_dry_run,
    readable_errors,
    refuse_backfill,
    session_of,
)
from hydra_pipelines.defs.steps import step, step_tried_again


def predictions(partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    @dg.asset(
        name="predictions",
        group_name="decision",
        kinds={"numpy", "duckdb"},
        owners=["team:desk"],
        partitions_def=partitions,
        deps=["features", "champion_models", "universe"],
        freshness_policy=FRESH,
        check_specs=[
            enough_spec("predictions", PREDICTIONS),
            dg.AssetCheckSpec(
                "every_strategy_predicts",
                asset="predictions",
                description="A strategy that fails trades nothing new and keeps what it holds.",
            ),
        ],
        description="One prediction per member and deployed strategy, by its champion.",
    )
    @step_tried_again
    def asset(context: dg.AssetExecutionContext, desk: DeskResource) -> Iterator[object]:
        with readable_errors():
            result = day.make_predictions(desk.desk, session_of(context), context.run.run_id)
        yield from tell_predictions(result)

    return asset


def tell_predictions(result: PredictionsResult) -> Iterator[Told]:
    """What is shown of a session's predictions, and which strategies have none."""
    rows = [{"strategy": strategy, **row} for strategy, rows in result.rows.items() for row in rows]
    rows.sort(key=lambda row: (row["strategy"], -row["prediction"]))
    yield dg.MaterializeResult(
        metadata={
            "status": result.status,
            "rows": len(rows),
            "strategies_predicting": len(result.rows),
            "strategies_failing": len(result.failures),
            "kept_from_execution": result.kept,
            "predictions": metadata.table(
                rows, ("strategy", "symbol", "prediction", "probability_up", "model_version")
            ),
        }
    )
    yield dg.AssetCheckResult(
        check_name="every_strategy_predicts",
        asset_key="predictions",
        passed=not result.failures,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(f"{k}: {v}" for k, v in result.failures.items()) or None,
    )
    none_wanted = result.status == "no_deployed_strategies"
    yield enough(
        "predictions", result.supply, "no strategy is deployed: none" if none_wanted else ""
    )


def signals(partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    @dg.asset(
        name="signals",
        group_name="decision",
        kinds={"numpy", "duckdb"},
        owners=["team:desk"],
        partitions_def=partitions,
        deps=["predictions"],
        check_specs=[
            dg.AssetCheckSpec(
                "every_strategy_decides",
                asset="signals",
                description="A strategy without signals trades nothing new and keeps its holdings.",
            )
        ],
        description="Long, flat or short per member and strategy, from its predictions.",
    )
    @step
    def asset(context: dg.AssetExecutionContext, desk: DeskResource) -> Iterator[object]:
        with readable_errors():
            result = day.make_session_signals(desk.desk, session_of(context))
        yield from tell_signals(result)

    return asset


def tell_signals(result: SignalsResult) -> Iterator[Told]:
    """What is shown of a session's signals, and which strategies have none."""
    rows = [
        {"strategy": strategy, **row}
        for strategy, rows in result.rows.items()
        for row in rows
        if row["signal"]
    ]
    yield dg.MaterializeResult(
        metadata={
            "strategies": len(result.rows),
            "long": result.long,
            "without_signals": dict(result.failures),
            "signals": metadata.table(rows, ("strategy", "symbol", "signal", "prediction")),
        }
    )
    yield dg.AssetCheckResult(
        check_name="every_strategy_decides",
        asset_key="signals",
        passed=not result.failures,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(f"{k}: {v}" for k, v in result.failures.items()) or None,
    )


def order_plan(partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    @dg.asset(
        name="order_plan",
        op_tags=STEP_AT_THE_BROKER,
        group_name="decision",
        kinds={"numpy", "duckdb"},
        owners=["team:desk"],
        partitions_def=partitions,
        deps=["signals", "bars"],
        check_specs=[
            dg.AssetCheckSpec(
                "limits",
                asset="order_plan",
                blocking=True,
                description="The plan breaks no limit, checked by other code than made it.",
            )
        ],
        description=(
            "The orders for the next session: sells and reductions first, buys from the cash that "
            "is there. A table to read, and to veto, before it is executed."
        ),
    )
    @step
    def asset(context: dg.AssetExecutionContext, desk: DeskResource) -> Iterator[object]:
        from hydra_pipelines.execution.broker.messages import BrokerError

        refuse_backfill(context)
        session, dry_run = session_of(context), is_dry_run(context)
        with readable_errors(day.BrokerStateUnknown, BrokerError):
            day.check_session(desk.desk, session, dry_run=dry_run)
            result = day.make_order_plan(desk.desk, session, context.run.run_id, dry_run=dry_run)
        yield from tell_plan(result)

    return asset


def tell_plan(result: PlanResult) -> Iterator[Told]:
    """What is shown of a session's plan, and whether it may be worked."""
    yield dg.MaterializeResult(
        metadata={
            "plan_id": result.header["plan_id"],
            "orders": len(result.rows),
            "equity": float(result.header["equity"]),
            "cash": float(result.header["cash"]),
            "kept_from_execution": result.kept,
            "plan": metadata.table(
                result.rows,
                (
                    "sequence",
                    "symbol",
                    "side",
                    "quantity",
                    "reason",
                    "target_weight",
                    "current_weight",
                    "reference_price",
                    "notional",
                    "predicted_slippage_bps",
                    "routing",
                    "strategies",
                ),
            ),
            "not_ordered": metadata.table(result.notes, ("symbol", "why", "wanted", "ordered")),
        }
    )
    yield dg.AssetCheckResult(
        check_name="limits",
        asset_key="order_plan",
        passed=not result.violations,
        severity=dg.AssetCheckSeverity.ERROR,
        description="; ".join(result.violations) or None,
    )
