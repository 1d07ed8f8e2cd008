"""Training: the first version of a strategy, and those that come after and wait.

A strategy is trained and promoted by the desk itself only once, when it has neither a version nor a
history. One that had a champion and lost it stops until a person decides.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING

from hydra_pipelines.day.champions import (
    ModelState,
    look_at_registry,
    moving,
    word_of,
    write_moves,
)
from hydra_pipelines.day.promotion import UnknownStrategy, move_champion
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger import decisions

if TYPE_CHECKING:
    from hydra_pipelines.models.registry import ChampionRef
    from hydra_pipelines.models.strategies import StrategySpec

Say = Callable[[str], None]
FIRST = "first version of the strategy"


@dataclass(frozen=True)
class Champion:
    """What a strategy trades with, or why it can't; `ref` is None then."""

    strategy_id: str
    ref: ChampionRef | None
    error: str | None
    trained: bool = False
    state: ModelState = ModelState.READY


def ensure_champions(desk: Desk, session: date, say: Say = lambda _: None) -> tuple[Champion, ...]:
    """The champion of each deployed strategy; one that never had any is trained and promoted.

    Looks at the registry first, so that what was moved by hand is in the history before its model
    predicts. A strategy that can't trade is returned with its state and leaves the others alone.
    """
    _ensure_registry(desk)
    looked = {model.strategy_id: model for model in look_at_registry(desk)}
    trained = {}
    for spec in desk.strategies:
        if looked[spec.id].state is ModelState.UNTRAINED:
            say(f"{spec.id}: no champion yet, training as of {session}")
            trained[spec.id] = _first_version(desk, spec, session)
    if trained:
        looked = {model.strategy_id: model for model in look_at_registry(desk)}
    out = []
    for spec in desk.strategies:
        model, error = looked[spec.id], trained.get(spec.id)
        if not model.ready:
            say(f"{spec.id}: {error or model.why}")
        out.append(
            Champion(
                strategy_id=spec.id,
                ref=model.ref if model.ready else None,
                error=None if model.ready else error or model.why,
                trained=spec.id in trained and error is None,
                state=model.state,
            )
        )
    return tuple(out)


@dataclass(frozen=True)
class TrainedVersion:
    strategy_id: str
    version: int
    mlflow_run_id: str
    figures: Mapping[str, float]
    promoted: bool
    gate: str = ""
    """The promotion gate's word; empty where it was not asked."""


def train_strategies(
    desk: Desk, session: date, say: Say = lambda _: None, only: Sequence[str] = ()
) -> tuple[TrainedVersion, ...]:
    """Train strategies as of the session: those named, or every deployed one.

    The first version of a deployed strategy is promoted; any other one becomes `challenger`, is
    judged by the promotion gate and waits for a person. Raises UnknownStrategy for a name that no
    strategy has, and RegistryUnavailable before anything is trained where the versions would have
    nowhere to go.
    """
    from hydra_pipelines.models.registry import CHALLENGER, RegistryUnavailable

    chosen = strategies_named(desk, only)
    _ensure_registry(desk)
    looked = {model.strategy_id: model for model in look_at_registry(desk)}
    for spec in chosen:
        if looked[spec.id].state is ModelState.REGISTRY_DOWN:
            raise RegistryUnavailable(f"{spec.id}: {looked[spec.id].why}")
    out = []
    for spec in chosen:
        model = looked[spec.id]
        say(f"{spec.id}: training as of {session}")
        if model.state is ModelState.UNTRAINED and model.deployed:
            made = _begin_and_promote(desk, spec, session, report=True)
        else:
            made = train_version(desk, spec, session, report=True)
        if not made.promoted:
            desk.registry.set_alias(spec.id, CHALLENGER, made.version)
            made = replace(made, gate=_judge(desk, made, say))
        out.append(made)
    desk.ledger.publish()
    return tuple(out)


def _judge(desk: Desk, made: TrainedVersion, say: Say) -> str:
    """The promotion gate's word on a challenger, also written where a person promotes it."""
    from hydra_pipelines.day.gating import judge_version
    from hydra_pipelines.models.evaluation import TrainingError
    from hydra_pipelines.models.registry import RegistryError
    from hydra_pipelines.models.strategies import StrategyError

    try:
        verdict = judge_version(desk, made.strategy_id, made.version, say)
    except (RegistryError, TrainingError, StrategyError) as error:
        # The version is made and waits; a person sees that nothing speaks for it.
        say(f"{made.strategy_id}: the gate can't judge version {made.version}: {error}")
        return f"not judged: {error}"
    return "not judged: there is no champion" if verdict is None else verdict.message


def strategies_named(desk: Desk, only: Sequence[str]) -> tuple[StrategySpec, ...]:
    """The strategies by their ids, those in research too; without ids, the deployed ones.

    Raises UnknownStrategy for an id that no strategy has.
    """
    if not only:
        return desk.strategies
    known = {spec.id: spec for spec in desk.candidates}
    for name in only:
        if name not in known:
            raise UnknownStrategy(
                f"there is no strategy {name!r} in hydra.yaml; there are {', '.join(known)}"
            )
    return tuple(known[name] for name in dict.fromkeys(only))


def _ensure_registry(desk: Desk) -> None:
    """Make the registry where there is none and never was one."""
    if desk.registry.exists():
        return
    if any(model.seq is not None for model in look_at_registry(desk, verify=False)):
        # It was there once. An empty one in its place would look as if all was deleted.
        return
    # The first initialisation must be over before anything else looks at the store.
    desk.registry.initialise()


def _first_version(desk: Desk, spec: StrategySpec, session: date) -> str | None:
    """Train and promote; returns what went wrong, or None."""
    from hydra_pipelines.models.evaluation import TrainingError
    from hydra_pipelines.models.registry import RegistryError

    try:
        _begin_and_promote(desk, spec, session)
    except (RegistryError, TrainingError, decisions.VersionConflict) as error:
        return str(error)
    return None


def _begin_and_promote(
    desk: Desk, spec: StrategySpec, session: date, *, report: bool = False
) -> TrainedVersion:
    """The first version: what is intended is in the history before the training begins.

    So a crash after the version was registered leaves a strategy that goes on by itself, not one
    with a version that nobody ever promoted.
    """
    from hydra_pipelines.models.history import Kind

    move_id = _intend_first_version(desk, spec.id)
    made = train_version(desk, spec, session, report=report)
    with moving(desk):
        if desk.registry.champion(spec.id) is not None:
            # Somebody was faster.
            return made
        move_champion(desk, spec.id, made.version, Kind.FIRST_VERSION, "system", FIRST, {}, move_id)
    return TrainedVersion(spec.id, made.version, made.mlflow_run_id, made.figures, promoted=True)


def _intend_first_version(desk: Desk, strategy_id: str) -> str:
    """Write the intention, or find the one of a run that ended before; its move id."""
    from hydra_pipelines.models.history import Kind, Move, Stage

    with moving(desk), desk.ledger.transaction() as tx:
        pending = word_of(tx, strategy_id).pending
        if pending is not None and pending.kind is Kind.FIRST_VERSION:
            return pending.move_id
        move_id = uuid.uuid4().hex
        move = Move(
            move_id=move_id,
            strategy_id=strategy_id,
            kind=Kind.FIRST_VERSION,
            stage=Stage.INTENDED,
            from_version=None,
            to_version=None,
            previous_version=None,
            actor="system",
            reason=FIRST,
        )
        write_moves(tx, [move])
        return move_id


def train_version(
    desk: Desk,
    spec: StrategySpec,
    session: date,
    *,
    report: bool = False,
    tags: Mapping[str, str] = {},
) -> TrainedVersion:
    """A new version, in the registry and the ledger. report: vectorbt's too, which takes long.

    tags: of the run and the version, beside those of every version.
    """
    from hydra_pipelines.features.panel import read_features
    from hydra_pipelines.market.ingest import bar_panel
    from hydra_pipelines.models.training import train

    made = train(
        spec,
        read_features(desk.features, last=session),
        bar_panel(desk.bars.view(), last=session),
        session,
        desk.registry,
        code_version=desk.code_version,
        report=report,
        tags=tags,
    )
    with desk.ledger.transaction() as tx:
        decisions.record_model_version(
            tx,
            {
                "strategy_id": spec.id,
                "version": made.version,
                "mlflow_run_id": made.run_id,
                "artifact_sha256": made.sha256,
                "trained_through": session,
                "data_snapshot_id": made.data_snapshot,
                "code_version": desk.code_version,
                "metrics": dict(made.figures),
            },
        )
    return TrainedVersion(spec.id, made.version, made.run_id, made.figures, promoted=False)
