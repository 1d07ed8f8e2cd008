"""Champions of the strategies: the first one of each, and training of those that follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger import audit, decisions
from hydra_pipelines.ledger.audit import AuditEvent

if TYPE_CHECKING:
    from hydra_pipelines.models.registry import ChampionRef


@dataclass(frozen=True)
class Champion:
    """What a strategy trades with, or why it can't."""

    strategy_id: str
    ref: ChampionRef | None
    error: str | None
    trained: bool = False


def ensure_champions(
    desk: Desk, session: date, say: Callable[[str], None] = lambda _: None
) -> tuple[Champion, ...]:
    """The champion of each deployed strategy; one that never had any is trained and promoted.

    A strategy that fails is returned with its error and leaves the others as they are.
    """
    from hydra_pipelines.models.registry import RegistryError
    from hydra_pipelines.models.training import TrainingError

    out = []
    _ensure_registry(desk)
    for spec in desk.strategies:
        try:
            ref = desk.registry.champion(spec.id)
            trained = ref is None
            if ref is None:
                say(f"{spec.id}: no champion yet, training as of {session}")
                _train_one(desk, spec.id, session, promote_because="first version of the strategy")
                ref = desk.registry.require_champion(spec.id)
            out.append(Champion(spec.id, ref, None, trained))
        except (RegistryError, TrainingError) as error:
            say(f"{spec.id}: {error}")
            out.append(Champion(spec.id, None, str(error)))
    return tuple(out)


@dataclass(frozen=True)
class TrainedVersion:
    strategy_id: str
    version: int
    mlflow_run_id: str
    figures: Mapping[str, float]
    promoted: bool


def train_strategies(
    desk: Desk, session: date, say: Callable[[str], None] = lambda _: None
) -> tuple[TrainedVersion, ...]:
    """Train every deployed strategy as of the session.

    The first version of a strategy is promoted; any later one becomes `challenger` and waits for
    a person.
    """
    from hydra_pipelines.models.registry import CHALLENGER

    out = []
    _ensure_registry(desk)
    for spec in desk.strategies:
        say(f"{spec.id}: training as of {session}")
        first = desk.registry.champion(spec.id) is None
        made = _train_one(
            desk,
            spec.id,
            session,
            promote_because="first version of the strategy" if first else None,
        )
        if not first:
            desk.registry.set_alias(spec.id, CHALLENGER, made.version)
        out.append(made)
    return tuple(out)


def _ensure_registry(desk: Desk) -> None:
    # The first initialisation must be over before anything else looks at the store.
    if not desk.registry.exists():
        desk.registry.initialise()


def _train_one(
    desk: Desk, strategy_id: str, session: date, promote_because: str | None
) -> TrainedVersion:
    from hydra_pipelines.features.panel import read_features
    from hydra_pipelines.market.ingest import bar_panel
    from hydra_pipelines.models.training import train

    spec = next(s for s in desk.strategies if s.id == strategy_id)
    made = train(
        spec,
        read_features(desk.features, last=session),
        bar_panel(desk.bars.view(), last=session),
        session,
        desk.registry,
        code_version=desk.code_version,
    )
    with desk.ledger.transaction() as tx:
        decisions.record_model_version(
            tx,
            {
                "strategy_id": strategy_id,
                "version": made.version,
                "mlflow_run_id": made.run_id,
                "artifact_sha256": made.sha256,
                "trained_through": session,
                "data_snapshot_id": made.data_snapshot,
                "code_version": desk.code_version,
                "metrics": dict(made.figures),
            },
        )
    if promote_because:
        # The version is in the ledger before it can trade; its record can't be lost to a crash.
        moved = desk.registry.promote(strategy_id, made.version)
        with desk.ledger.transaction() as tx:
            decisions.record_promotion(
                tx, strategy_id, moved.previous, made.version, "system", promote_because
            )
            audit.log(
                tx,
                AuditEvent.MODEL_PROMOTED,
                {"from": moved.previous, "to": made.version, "reason": promote_because},
                strategy_id=strategy_id,
            )
    return TrainedVersion(
        strategy_id, made.version, made.run_id, made.figures, promote_because is not None
    )
