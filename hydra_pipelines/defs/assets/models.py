"""Champions that trade, and newly trained versions that wait."""

import dagster as dg

from hydra_pipelines import day
from hydra_pipelines.defs import metadata
from hydra_pipelines.defs.resources import DeskResource
from hydra_pipelines.defs.running import readable_errors, saying, session_of


def champion_models(partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    @dg.asset(
        name="champion_models",
        group_name="models",
        kinds={"mlflow"},
        owners=["team:desk"],
        partitions_def=partitions,
        deps=["features"],
        description=(
            "The version of each deployed strategy that carries the alias `champion`. A strategy "
            "without any version is trained as of the session and promoted."
        ),
    )
    def asset(context: dg.AssetExecutionContext, desk: DeskResource) -> dg.MaterializeResult:
        with readable_errors():
            champions = day.ensure_champions(desk.desk, session_of(context), saying(context))
        rows = [
            {
                "strategy": c.strategy_id,
                "version": c.ref.version if c.ref else None,
                "trained_as_of": c.ref.as_of if c.ref else None,
                "mlflow_run": c.ref.run_id if c.ref else None,
                "error": c.error,
            }
            for c in champions
        ]
        return dg.MaterializeResult(
            data_version=dg.DataVersion(
                ",".join(f"{row['strategy']}:{row['version']}" for row in rows)
            ),
            metadata={
                "strategies": len(rows),
                "without_champion": sum(row["version"] is None for row in rows),
                "champions": metadata.table(
                    rows, ("strategy", "version", "trained_as_of", "mlflow_run", "error")
                ),
            },
        )

    return asset


def trained_models(partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    @dg.asset(
        name="trained_models",
        group_name="models",
        kinds={"scikitlearn", "mlflow"},
        owners=["team:desk"],
        partitions_def=partitions,
        deps=["features"],
        description=(
            "A new version of each deployed strategy, trained and validated as of the session. "
            "It waits as `challenger` until a person moves the alias `champion`."
        ),
    )
    def asset(context: dg.AssetExecutionContext, desk: DeskResource) -> dg.MaterializeResult:
        from hydra_pipelines.models.registry import RegistryError
        from hydra_pipelines.models.training import TrainingError

        with readable_errors(RegistryError, TrainingError):
            made = day.train_strategies(desk.desk, session_of(context), saying(context))
        rows = [
            {
                "strategy": v.strategy_id,
                "version": v.version,
                "alias": "champion" if v.promoted else "challenger",
                **v.figures,
                "mlflow_run": v.mlflow_run_id,
            }
            for v in made
        ]
        columns = tuple(rows[0]) if rows else ("strategy",)
        return dg.MaterializeResult(
            metadata={"versions": len(rows), "validation": metadata.table(rows, columns)}
        )

    return asset
