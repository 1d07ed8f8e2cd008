"""What fills cost against what was predicted of them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg

from hydra_pipelines import day
from hydra_pipelines.defs import metadata
from hydra_pipelines.defs.metadata import Told
from hydra_pipelines.defs.resources import DeskResource
from hydra_pipelines.defs.running import readable_errors
from hydra_pipelines.defs.steps import step

if TYPE_CHECKING:
    from hydra_pipelines.monitoring.reconciliation import SlippageReport

COLUMNS = (
    "name",
    "n",
    "mean_predicted",
    "mean_actual",
    "bias",
    "relative_bias",
    "rmse",
    "correlation",
    "pessimism_multiplier",
    "colour",
    "against_order_bps",
    "predicted_usd",
    "actual_usd",
    "message",
)


def slippage_reconciliation(partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    @dg.asset(
        name="slippage_reconciliation",
        group_name="monitoring",
        kinds={"numpy", "duckdb"},
        owners=["team:desk"],
        partitions_def=partitions,
        deps=["executions"],
        check_specs=[
            dg.AssetCheckSpec(
                "model_calibrated",
                asset="slippage_reconciliation",
                description=(
                    "Of the orders that the model in force predicted: |relative bias| below 0.5, "
                    "correlation above 0.3. Passes with fewer than 20, and says so."
                ),
            ),
            dg.AssetCheckSpec(
                "fills_as_predicted",
                asset="slippage_reconciliation",
                description=(
                    "Of the same orders: they cost at most 1.5 times what was predicted. Passes "
                    "with fewer than 20, and says so."
                ),
            ),
        ],
        description=(
            "Predicted against actual slippage of the orders so far: overall, and by "
            "symbol, side, way of working and hour. Actual is against the arrival price."
        ),
    )
    @step
    def asset(context: dg.AssetExecutionContext, desk: DeskResource) -> Iterator[object]:
        with readable_errors():
            report = day.reconcile_slippage(desk.desk)
        yield from tell_slippage(report)

    return asset


def tell_slippage(report: "SlippageReport | None") -> Iterator[Told]:
    """What is shown of a slippage report, None before the first cycle."""
    from hydra_pipelines.execution.slippage import WARN_ABOVE
    from hydra_pipelines.monitoring.scatter import slippage_scatter

    if report is None:
        yield dg.MaterializeResult(metadata={"fills": 0})
    else:
        tables = {
            f"by_{name}": metadata.table([line.row() for line in lines], COLUMNS)
            for name, lines in report.groups.items()
        }
        fills = report.fills
        orders = fills.by_order()
        pictures = (
            {
                "scatter": metadata.image(
                    slippage_scatter(orders.predicted, orders.shortfall, orders.side),
                    "Predicted against actual slippage of each order",
                )
            }
            if len(fills)
            else {}
        )
        yield dg.MaterializeResult(
            metadata={
                "fills": report.journalled,
                "first_session": str(report.first),
                "last_session": str(report.last),
                "left_out": dict(report.left_out),
                "model": report.model.parameters(),
                "reconciliation": metadata.table([line.row() for line in report.summary], COLUMNS),
                **tables,
                **pictures,
            }
        )
    found = report.in_force.reconciliation if report else None
    text = found.message if found else "not enough fills: none yet"
    enough = found is not None and found.enough_fills
    calibrated = found is not None and bool(found.is_model_calibrated)
    multiplier = found.pessimism_multiplier if found else None
    yield dg.AssetCheckResult(
        check_name="model_calibrated",
        asset_key="slippage_reconciliation",
        passed=not enough or calibrated,
        severity=dg.AssetCheckSeverity.WARN,
        description=text + ("" if not enough or calibrated else _WHAT_TO_DO),
    )
    yield dg.AssetCheckResult(
        check_name="fills_as_predicted",
        asset_key="slippage_reconciliation",
        passed=multiplier is None or bool(multiplier <= WARN_ABOVE),
        severity=dg.AssetCheckSeverity.WARN,
        description=text,
    )


_WHAT_TO_DO = "; `hydra calibrate-slippage` re-estimates it from the fills"
