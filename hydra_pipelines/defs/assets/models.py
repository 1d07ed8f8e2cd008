"""Champions that trade, and newly trained versions that wait."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import dagster as dg

from hydra_pipelines import day
from hydra_pipelines.day.models import Champion
from hydra_pipelines.defs import metadata
from hydra_pipelines.defs.jobs import STRATEGIES_TAG
from hydra_pipelines.defs.metadata import Told
from hydra_pipelines.defs.resources import DeskResource
from hydra_pipelines.defs.running import readable_errors, saying, session_of
from hydra_pipelines.defs.steps import step_tried_again

if TYPE_CHECKING:
    from hydra_pipelines.models.registry import Registry


def champion_models(partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    @dg.asset(
        name="champion_models",
        group_name="models",
        kinds={"mlflow"},
        owners=["team:desk"],
        partitions_def=partitions,
        deps=["features"],
        check_specs=[
            dg.AssetCheckSpec(
                "every_strategy_has_a_champion",
                asset="champion_models",
                description=(
                    "A deployed strategy whose champion is missing, deleted, changed or not ours "
                    "stands still until a person decides; the others go on."
                ),
            )
        ],
        description=(
            "The version of each deployed strategy that carries the alias `champion`; what was "
            "moved in the MLflow UI gets into the promotion history first. A strategy that never "
            "had a version is trained as of the session and promoted."
        ),
    )
    @step_tried_again
    def asset(context: dg.AssetExecutionContext, desk: DeskResource) -> Iterator[object]:
        with readable_errors():
            champions = day.ensure_champions(desk.desk, session_of(context), saying(context))
        yield from tell_champions(champions, desk.desk.registry)

    return asset


def tell_champions(champions: Sequence[Champion], registry: "Registry") -> Iterator[Told]:
    """What is shown of the champions, and whether every strategy has one."""
    rows = [
        {
            "strategy": c.strategy_id,
            "version": c.ref.version if c.ref else None,
            "trained_as_of": c.ref.as_of if c.ref else None,
            "mlflow_run": c.ref.run_id if c.ref else None,
            "state": c.state.value,
            "error": c.error,
        }
        for c in champions
    ]
    yield dg.MaterializeResult(
        data_version=dg.DataVersion(
            ",".join(f"{row['strategy']}:{row['version']}" for row in rows)
        ),
        metadata={
            "strategies": len(rows),
            "without_champion": sum(row["version"] is None for row in rows),
            "champions": metadata.table(
                rows,
                (
                    "strategy",
                    "version",
                    "trained_as_of",
                    "state",
                    "error",
                    "mlflow_run",
                ),
            ),
            "in_mlflow": metadata.links(
                {
                    f"{c.strategy_id}, version {c.ref.version}": registry.url(
                        c.strategy_id, c.ref.version
                    )
                    for c in champions
                    if c.ref
                }
            ),
        },
    )
    failed = {c.strategy_id: f"{c.state}: {c.error}" for c in champions if c.error}
    yield dg.AssetCheckResult(
        check_name="every_strategy_has_a_champion",
        asset_key="champion_models",
        passed=not failed,
        severity=dg.AssetCheckSeverity.ERROR,
        description="; ".join(f"{name}: {why}" for name, why in failed.items()) or None,
    )


def trained_models(partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    @dg.asset(
        name="trained_models",
        group_name="models",
        kinds={"scikitlearn", "mlflow"},
        owners=["team:desk"],
        partitions_def=partitions,
        deps=["features"],
        check_specs=[
            dg.AssetCheckSpec(
                "no_leak_suspected",
                asset="trained_models",
                description=(
                    "No version validates better than daily prices allow: a rank IC or a Sharpe "
                    "ratio above the limits of the section `promotion` is taken for a leak."
                ),
            )
        ],
        description=(
            "A new version of each deployed strategy, trained and validated as of the session. "
            "It waits as `challenger` until a person moves the alias `champion`."
        ),
    )
    @step_tried_again
    def asset(context: dg.AssetExecutionContext, desk: DeskResource) -> Iterator[object]:
        from hydra_pipelines.models.evaluation import TrainingError
        from hydra_pipelines.models.registry import RegistryError
        from hydra_pipelines.models.validation import leak_alarms

        with readable_errors(RegistryError, TrainingError, day.PromotionError):
            only = context.run.tags.get(STRATEGIES_TAG, "")
            made = day.train_strategies(
                desk.desk, session_of(context), saying(context), [s for s in only.split(",") if s]
            )
        rows = [
            {
                "strategy": v.strategy_id,
                "version": v.version,
                "alias": "champion" if v.promoted else "challenger",
                **v.figures,
                "gate": v.gate,
                "mlflow_run": v.mlflow_run_id,
            }
            for v in made
        ]
        columns = tuple(rows[0]) if rows else ("strategy",)
        places = {
            f"{v.strategy_id}, version {v.version}": desk.desk.registry.url(
                v.strategy_id, v.version
            )
            for v in made
        }
        yield dg.MaterializeResult(
            metadata={
                "versions": len(rows),
                "validation": metadata.table(rows, columns),
                "in_mlflow": metadata.links(places),
            }
        )
        limits = desk.desk.gate_limits
        suspicious = [
            f"{v.strategy_id}, version {v.version}: {alarm}"
            for v in made
            for alarm in leak_alarms(
                v.figures, max_rank_ic=limits.max_rank_ic, max_sharpe=limits.max_sharpe
            )
        ]
        yield dg.AssetCheckResult(
            check_name="no_leak_suspected",
            asset_key="trained_models",
            passed=not suspicious,
            severity=dg.AssetCheckSeverity.ERROR,
            description="; ".join(suspicious) or None,
        )

    return asset
