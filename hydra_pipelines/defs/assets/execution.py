"""Executions, positions and account: the part of the day that talks to the broker."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg

from hydra_pipelines import day
from hydra_pipelines.day.books import AccountResult, PositionsResult
from hydra_pipelines.defs import metadata
from hydra_pipelines.defs.engines import STEP_AT_THE_BROKER
from hydra_pipelines.defs.metadata import Told
from hydra_pipelines.defs.resources import DeskResource
from hydra_pipelines.defs.running import (
    is_dry_run,
    is_reconcile_only,
    order_errors,
    readable_errors,
    refuse_backfill,
    saying,
    session_of,
)
from hydra_pipelines.defs.steps import checkpoint, step

if TYPE_CHECKING:
    from hydra_pipelines.execution.orders.outcome import ExecutionReport


def executions(partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    # Not tried again: after a send only reconciliation, by the next run, may decide what to do.
    @dg.asset(
        name="executions",
        op_tags=STEP_AT_THE_BROKER,
        group_name="execution",
        kinds={"ibkr", "duckdb"},
        owners=["team:desk"],
        partitions_def=partitions,
        deps=["order_plan"],
        check_specs=[
            dg.AssetCheckSpec(
                "no_unknown_orders",
                asset="executions",
                description="The state of every order is known; an unknown one freezes its symbol.",
            )
        ],
        description="The plan worked in the next session: limit orders only, each at most once.",
    )
    @step
    def asset(context: dg.AssetExecutionContext, desk: DeskResource) -> Iterator[object]:
        refuse_backfill(context)
        session, run_id, dry_run = session_of(context), context.run.run_id, is_dry_run(context)
        report: ExecutionReport | None
        with order_errors(desk.desk, session):
            if is_reconcile_only(context):
                report = day.reconcile_orders(desk.desk, session, run_id, say=saying(context))
            else:
                if context.job_name != "daily_cycle":  # whose first step asks this
                    day.check_session(desk.desk, session, dry_run=dry_run)
                report = day.execute_plan(
                    desk.desk,
                    session,
                    run_id,
                    dry_run=dry_run,
                    say=saying(context),
                    checkpoint=checkpoint(context),
                )
        yield from tell_executions(report)

    return asset


def tell_executions(report: "ExecutionReport | None") -> Iterator[Told]:
    """What is shown of a session's orders; None for a dry run."""
    orders = [vars(order) for order in report.orders] if report else []
    yield dg.MaterializeResult(
        metadata={
            "dry_run": report is None,
            "orders_sent_by_this_run": report.sent if report else 0,
            "orders": len(orders),
            "shares_filled": sum(order["filled"] for order in orders),
            "outcome": metadata.table(
                orders, ("symbol", "side", "quantity", "filled", "state", "reason", "order_ref")
            ),
            "notes": "\n".join(report.notes) if report else "",
        }
    )
    unknown = report.unknown if report else ()
    yield dg.AssetCheckResult(
        check_name="no_unknown_orders",
        asset_key="executions",
        passed=not unknown,
        severity=dg.AssetCheckSeverity.ERROR,
        description="; ".join(f"{o.symbol}: {o.reason}" for o in unknown) or None,
    )


def positions(partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    @dg.asset(
        name="positions",
        op_tags=STEP_AT_THE_BROKER,
        group_name="execution",
        kinds={"ibkr", "duckdb"},
        owners=["team:desk"],
        partitions_def=partitions,
        deps=["executions"],
        check_specs=[
            dg.AssetCheckSpec(
                "journal_equals_broker",
                asset="positions",
                description=(
                    "Shares and cash by the fill journal are those of the broker, or what differs "
                    "is explained and booked. Shares that nothing explains are not traded."
                ),
            )
        ],
        description="Positions as the broker has them at the end of the execution session.",
    )
    @step
    def asset(context: dg.AssetExecutionContext, desk: DeskResource) -> Iterator[object]:
        from hydra_pipelines.execution.broker.messages import BrokerError

        refuse_backfill(context)
        with readable_errors(BrokerError, day.BrokerStateUnknown):
            result = day.sync_positions(
                desk.desk, session_of(context), context.run.run_id, dry_run=is_dry_run(context)
            )
        yield from tell_positions(result)

    return asset


def tell_positions(result: PositionsResult) -> Iterator[Told]:
    """What is shown of the positions, and whether the journal agrees."""
    findings = (*result.breaks, *result.explained)
    yield dg.MaterializeResult(
        metadata={
            "as_of": result.as_of.isoformat(),
            "positions": len(result.positions),
            "breaks": metadata.table(
                [b.record() | {"symbol": b.symbol or "cash"} for b in findings],
                ("symbol", "ours", "brokers", "kind", "explained", "why"),
            ),
            "table": metadata.table(
                result.positions,
                (
                    "symbol",
                    "quantity",
                    "entry_price",
                    "current_price",
                    "market_value",
                    "unrealized_pnl",
                    "strategies",
                ),
            ),
        }
    )
    yield dg.AssetCheckResult(
        check_name="journal_equals_broker",
        asset_key="positions",
        passed=not result.breaks,
        severity=dg.AssetCheckSeverity.ERROR,
        description="; ".join(str(b) for b in result.breaks) or None,
    )


def account(partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    @dg.asset(
        name="account",
        op_tags=STEP_AT_THE_BROKER,
        group_name="execution",
        kinds={"ibkr", "duckdb"},
        owners=["team:desk"],
        partitions_def=partitions,
        deps=["positions"],
        check_specs=[
            dg.AssetCheckSpec(
                "no_breaker_is_tripped",
                asset="account",
                description=(
                    "No circuit breaker is tripped; one that is blocks what adds risk, until the "
                    "next session or a person resets it (`hydra risk`)."
                ),
            )
        ],
        description="Equity, cash, exposure, P&L and drawdown: one row of the equity curve.",
    )
    @step
    def asset(context: dg.AssetExecutionContext, desk: DeskResource) -> Iterator[object]:
        from hydra_pipelines.execution.broker.messages import BrokerError

        refuse_backfill(context)
        with readable_errors(BrokerError, day.BrokerStateUnknown):
            result = day.sync_account(desk.desk)
        yield from tell_account(result)

    return asset


def tell_account(result: AccountResult) -> Iterator[Told]:
    """What is shown of the account, and whether a breaker stands in its way."""
    row = result.row
    yield dg.MaterializeResult(
        metadata={
            "session": row["session"].isoformat(),
            "equity": float(row["equity"]),
            "cash": float(row["cash"]),
            "daily_pnl": float(row["daily_pnl"]),
            "drawdown": row["drawdown"],
            "equity_curve": metadata.line_plot(
                [float(point["equity"]) for point in result.curve],
                [point["session"].isoformat() for point in result.curve],
                "Equity (USD)",
            ),
            "drawdown_curve": metadata.line_plot(
                [-100 * point["drawdown"] for point in result.curve],
                [point["session"].isoformat() for point in result.curve],
                "Drawdown (%)",
            ),
        }
    )
    yield dg.AssetCheckResult(
        check_name="no_breaker_is_tripped",
        asset_key="account",
        passed=not result.tripped,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(f"{name}: {why}" for name, why in result.tripped.items()) or None,
    )
