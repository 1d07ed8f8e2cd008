"""Whether the models still see the market that they were trained on."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from hydra_pipelines import day
from hydra_pipelines.defs import metadata
from hydra_pipelines.defs.resources import DeskResource
from hydra_pipelines.defs.running import readable_errors, saying, session_of
from hydra_pipelines.defs.steps import step
from hydra_pipelines.monitoring.drift_bars import drift_bars

MODELS = ("strategy_id", "model_version", "state", "inputs", "inputs_level", "outcomes",
          "outcomes_level", "rolled_back_to", "why")  # fmt: skip
CHECKS = ("strategy_id", "family", "detector", "subject", "state", "value", "warn_at", "alarm_at",
          "decisive", "n", "window_first", "window_last")  # fmt: skip
_WORST_FIRST = ("alarm", "warning", "not_enough_data", "ok")


def drift_report(partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    @dg.asset(
        name="drift_report",
        group_name="monitoring",
        kinds={"numpy", "duckdb"},
        owners=["team:desk"],
        partitions_def=partitions,
        deps=["features", "predictions", "champion_models"],
        check_specs=[
            dg.AssetCheckSpec(
                "models_as_trained",
                asset="drift_report",
                description="No model has drifted, and orders cost what was predicted.",
            ),
            dg.AssetCheckSpec(
                "every_model_checked",
                asset="drift_report",
                description="A model that can't be checked leaves the others alone.",
            ),
        ],
        description=(
            "Features, predictions, errors and performance of every champion against what they "
            "were when it was trained; slippage and equity of the desk."
        ),
    )
    @step
    def asset(context: dg.AssetExecutionContext, desk: DeskResource) -> Iterator[object]:
        say = saying(context)
        with readable_errors(day.DriftError):
            run = day.check_drift(desk.desk, session_of(context), context.run.run_id, say)
            wanted = desk.desk.settings.monitoring.report and run.models
            report = day.make_drift_report(desk.desk, run, say) if wanted else None
        checks = sorted(run.checks, key=lambda check: _WORST_FIRST.index(check["state"]))
        counts = {state: sum(c["state"] == state for c in checks) for state in _WORST_FIRST}
        shown: dict[str, Any] = {
            "status": run.status,
            "run_no": run.run_no,
            "models_checked": run.models_checked,
            "models_drifted": len(run.drifted),
            "rollbacks": len(run.rollbacks),
            "found_before": run.repeated,
            **{f"checks_{state}": count for state, count in counts.items()},
            "models": metadata.table(run.models, MODELS),
            "checks": metadata.table(checks, CHECKS),
        }
        if report:
            shown["report"] = dg.MetadataValue.path(str(desk.desk.settings.data_path / report))
        for row in run.models:
            name = row["strategy_id"]
            mine = [c for c in checks if c["strategy_id"] == name]
            title = f"{name}: distance from training, 1 is the alarm level"
            shown[f"bars_{name}"] = metadata.image(drift_bars(mine), title)
        yield dg.MaterializeResult(metadata=shown)
        said = "; ".join(f"{row['strategy_id']}: {row['why']}" for row in run.drifted)
        yield dg.AssetCheckResult(
            check_name="models_as_trained",
            asset_key="drift_report",
            passed=run.status != "drift_detected",
            severity=dg.AssetCheckSeverity.WARN,
            description=said or run.status.replace("_", " "),
        )
        yield dg.AssetCheckResult(
            check_name="every_model_checked",
            asset_key="drift_report",
            passed=not run.failures,
            severity=dg.AssetCheckSeverity.WARN,
            description="; ".join(f"{k}: {v}" for k, v in run.failures.items()) or None,
        )

    return asset
