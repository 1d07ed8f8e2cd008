"""What the desk made, and whether its books add up."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from hydra_pipelines import day
from hydra_pipelines.defs import metadata
from hydra_pipelines.defs.metadata import Told
from hydra_pipelines.defs.resources import DeskResource
from hydra_pipelines.defs.running import readable_errors
from hydra_pipelines.defs.steps import step

PARTS = ("name", "realised", "unrealised", "commissions", "income", "total")


def performance(partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    @dg.asset(
        name="performance",
        group_name="monitoring",
        kinds={"duckdb"},
        owners=["team:desk"],
        partitions_def=partitions,
        deps=["account"],
        check_specs=[
            dg.AssetCheckSpec(
                "pnl_identity",
                asset="performance",
                description=(
                    "Every session's change of equity is realised and unrealised profit less "
                    "commissions, income, and money paid in or out, to the cent."
                ),
            )
        ],
        description=(
            "Profit and loss by session, strategy and symbol (first in, first out), the equity "
            "curve with its drawdown, Sharpe ratio and hit rate."
        ),
    )
    @step
    def asset(context: dg.AssetExecutionContext, desk: DeskResource) -> Iterator[object]:
        with readable_errors():
            found = day.tell_profits(desk.desk)
        yield from tell_performance(found)

    return asset


def tell_performance(found: Mapping[str, Any] | None) -> Iterator[Told]:
    """What is shown of `day.profits`, None before the first trade, and whether it adds up."""
    if found is None:
        yield dg.MaterializeResult(metadata={"sessions": 0, "note": "nothing was traded yet"})
        yield dg.AssetCheckResult(
            check_name="pnl_identity",
            asset_key="performance",
            passed=True,
            description="nothing was traded yet",
        )
        return
    sessions, figures = found["sessions"], found["figures"]
    few = f"not enough sessions ({len(sessions)})"
    by_strategy = [{"name": row["name"], **row["parts"]} for row in found["by_strategy"]]
    by_symbol = [{"name": row["name"], **row["parts"]} for row in found["by_symbol"]]
    worst = figures["worst_drawdown"]
    shown: dict[str, Any] = {
        "sessions": len(sessions),
        "profit": float(sum(one["profit"] for one in sessions)),
        "worst_drawdown": worst if worst is not None else few,
        "sharpe_63": few if figures["sharpe"] is None else round(figures["sharpe"], 3),
        "hit_rate_63": few if figures["hit_rate"] is None else round(figures["hit_rate"], 3),
        "by_strategy": metadata.table([*by_strategy, {"name": "total", **found["total"]}], PARTS),
        "by_symbol": metadata.table(by_symbol, PARTS),
        "last_sessions": metadata.table(
            sessions[::-1],
            (
                "session",
                "equity",
                "change",
                "realised",
                "unrealised",
                "commissions",
                "income",
                "paid_in_and_out",
                "unexplained",
                "drawdown",
            ),
        ),
    }
    if sessions:
        labels = [one["session"].isoformat() for one in sessions]
        shown["equity"] = metadata.line_plot(
            [float(one["equity"]) for one in sessions], labels, "Equity (USD)"
        )
        shown["drawdown"] = metadata.line_plot(
            [-100 * one["drawdown"] for one in sessions], labels, "Drawdown (%)"
        )
    if found["rolling"]:
        shown["rolling_sharpe"] = metadata.line_plot(
            [sharpe for _, sharpe, _ in found["rolling"]],
            [session.isoformat() for session, _, _ in found["rolling"]],
            "Sharpe ratio over 63 sessions",
        )
    yield dg.MaterializeResult(metadata=shown)
    wrong = found["unexplained"]
    yield dg.AssetCheckResult(
        check_name="pnl_identity",
        asset_key="performance",
        passed=not wrong,
        severity=dg.AssetCheckSeverity.ERROR,
        description="; ".join(
            f"{one['session']}: {one['unexplained']} USD unexplained" for one in wrong[-10:]
        )
        or None,
    )
