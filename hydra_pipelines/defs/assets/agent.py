"""The self-healing agent, a step an asset: watches, diagnosis, experiments, the cycle's end."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import dagster as dg

from hydra_pipelines import day
from hydra_pipelines.day import healing
from hydra_pipelines.day.healing import Healed
from hydra_pipelines.defs import metadata
from hydra_pipelines.defs.engines import experiment_runner
from hydra_pipelines.defs.resources import DeskResource
from hydra_pipelines.defs.running import BACKFILL_TAG, readable_errors, saying, session_of
from hydra_pipelines.defs.steps import step
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger import experiments as journal

EXPERIMENT_COLUMNS = (
    "experiment_id",
    "strategy_id",
    "mutation_type",
    "hypothesis",
    "decision",
    "reason",
    "champion_version",
    "candidate_version",
    "difference_lower",
    "sharpe",
    "rank_ic",
    "mlflow",
)


WATCH_COLUMNS = (
    "strategy",
    "version",
    "instead_of",
    "state",
    "why",
    "sessions",
    "rank_ic",
    "replaced_rank_ic",
    "net_return",
    "replaced_net_return",
)


def model_watches(partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    @dg.asset(
        name="model_watches",
        group_name="agent",
        kinds={"numpy", "mlflow"},
        owners=["team:desk"],
        partitions_def=partitions,
        deps=["features", "champion_models"],
        description=(
            "Versions that were promoted on the agent's word, held against those that they "
            "replaced: both predict every session since. One that does worse is rolled back."
        ),
    )
    @step
    def asset(context: dg.AssetExecutionContext, desk: DeskResource) -> Iterator[object]:
        _refuse_backfill(context)
        with _errors():
            seen = day.watch_models(desk.desk, session_of(context), saying(context))
        rows = [
            {
                "strategy": w.strategy_id,
                "version": w.version,
                "instead_of": w.replaced_version,
                "state": w.state,
                "why": w.sentence,
                **(w.comparison.figures if w.comparison else {}),
            }
            for w in seen
        ]
        yield dg.MaterializeResult(
            metadata={
                "watched": len(rows),
                "rolled_back": sum(w.state == "rolled_back" for w in seen),
                "watches": metadata.table(rows, WATCH_COLUMNS),
            }
        )

    return asset


def diagnosis(partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    @dg.asset(
        name="diagnosis",
        group_name="agent",
        kinds={"numpy"},
        owners=["team:desk"],
        partitions_def=partitions,
        deps=["model_watches", "drift_report"],
        description=(
            "From the detectors that fired to a cause with its evidence, and from there to the "
            "experiments that are worth making. On damaged data nothing is tried. A cycle that was "
            "cut short is taken up."
        ),
    )
    @step
    def asset(context: dg.AssetExecutionContext, desk: DeskResource) -> Iterator[object]:
        _refuse_backfill(context)
        with _errors():
            found = day.begin_cycle(
                desk.desk, session_of(context), context.run.run_id, saying(context)
            )
        rows = [
            {**d, "strategy": d["strategy_id"] or "the desk", "evidence": "; ".join(d["evidence"])}
            for d in found.diagnoses
        ]
        yield dg.MaterializeResult(
            metadata={
                "cycle": str(found.cycle_id),
                "taken_up": found.resumed,
                "outcome": found.outcome,
                "diagnoses": metadata.table(rows, ("strategy", "cause", "evidence")),
                "planned": metadata.table(
                    found.experiments, ("strategy_id", "mutation_type", "hypothesis", "difference")
                ),
            }
        )

    return asset


def experiments(partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    @dg.asset(
        name="experiments",
        group_name="agent",
        kinds={"scikitlearn", "mlflow"},
        owners=["team:desk"],
        partitions_def=partitions,
        deps=["diagnosis"],
        description=(
            "Each candidate trained, validated and judged by the promotion gate, in a process of "
            "its own. One that crashes or takes too long fails alone."
        ),
    )
    @step
    def asset(context: dg.AssetExecutionContext, desk: DeskResource) -> Iterator[object]:
        _refuse_backfill(context)
        with _errors():
            cycle = _unfinished(desk.desk)
            if cycle is None:
                yield dg.MaterializeResult(metadata={"experiments": 0})
                return
            runner = experiment_runner(desk.desk)
            found = day.run_experiments(desk.desk, cycle, runner, saying(context))
        yield dg.MaterializeResult(metadata=_shown(desk.desk, found))

    return asset


def healing_cycle(partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    @dg.asset(
        name="healing_cycle",
        group_name="agent",
        kinds={"duckdb", "mlflow"},
        owners=["team:desk"],
        partitions_def=partitions,
        deps=["experiments"],
        description=(
            "The decision on each experiment. The best that passed the gate is reported, proposed "
            "as `challenger` or promoted, as the autonomy allows; the others are rejected."
        ),
    )
    @step
    def asset(context: dg.AssetExecutionContext, desk: DeskResource) -> Iterator[object]:
        _refuse_backfill(context)
        with _errors():
            cycle = _unfinished(desk.desk)
            if cycle is not None:
                found = day.end_cycle(desk.desk, cycle, saying(context))
            elif (last := _last(desk.desk)) is not None:
                found = healing.told(desk.desk, last)
            else:
                yield dg.MaterializeResult(metadata={"outcome": healing.PAUSED})
                return
        yield dg.MaterializeResult(metadata=_shown(desk.desk, found))

    return asset


def _unfinished(desk: Desk) -> str | None:
    with desk.ledger.transaction() as tx:
        cycle = journal.unfinished_cycle(tx)
    return cycle["cycle_id"] if cycle else None


def _last(desk: Desk) -> str | None:
    with desk.ledger.transaction() as tx:
        found = journal.cycles(tx, 1)
    return found[0]["cycle_id"] if found else None


def _shown(desk: Desk, found: Healed) -> dict[str, Any]:
    """A cycle with its experiments, each with its figures and its place in MLflow."""
    rows = []
    for row in found.experiments:
        version, figures = row["candidate_version"], (row["results"] or {}).get("figures", {})
        link = desk.registry.link(row["strategy_id"], version) if version else None
        rows.append({**figures, **row, "mlflow": link})
    return {
        "cycle": str(found.cycle_id),
        "outcome": found.outcome,
        "experiments": len(rows),
        "decisions": {name: sum(r["decision"] == name for r in rows) for name in _DECISIONS},
        "journal": metadata.table(rows, EXPERIMENT_COLUMNS),
    }


_DECISIONS = ("promoted", "pending", "rejected", "failed", "rolled_back")


def _errors() -> AbstractContextManager[None]:
    """What a step of the agent can be refused for."""
    from hydra_pipelines.models.evaluation import TrainingError
    from hydra_pipelines.models.registry import RegistryError

    return readable_errors(RegistryError, TrainingError, day.PromotionError)


def _refuse_backfill(context: dg.AssetExecutionContext) -> None:
    """The agent works on the present: a past session's cure is no cure."""
    if BACKFILL_TAG in context.run.tags:
        raise dg.Failure(
            description=f"{context.asset_key.to_user_string()} is not part of backfills: the agent "
            "cures what is wrong now. One session at a time: hydra agent run --session D",
            allow_retries=False,
        )
