"""Promotion and rollback: one function each, for people, for the agent and for the desk itself.

The order of writes makes a crash at any of them harmless: the intention goes into the history, then
the alias moves, then the history says that it is done. Whoever looks next (`champions`) finishes or
abandons what was left. Training, and whether a candidate deserves it, is not here.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any

from hydra_pipelines.day.alerting import tell_of_moves
from hydra_pipelines.day.champions import (
    ModelState,
    StrategyModel,
    look_at_registry,
    moving,
    put_alias,
    settle,
    word_of,
    write_moves,
)
from hydra_pipelines.day.research import make_predictions, make_session_signals
from hydra_pipelines.day.session import is_frozen
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger import decisions

if TYPE_CHECKING:
    from hydra_pipelines.models.history import Kind, Move
    from hydra_pipelines.models.registry import ChampionRef


class PromotionError(RuntimeError):
    """A promotion or rollback that can't be carried out, or not to its end; the message says
    what was done and what was not."""


class UnknownStrategy(PromotionError):
    """A name that no strategy of the settings has."""


@dataclass(frozen=True)
class Renewed:
    """What became of the session's predictions after a move.

    made: predicted anew. note: in a sentence. failures: strategy -> why it does not predict.
    """

    session: date | None
    made: bool
    note: str
    failures: Mapping[str, str]


@dataclass(frozen=True)
class Moved:
    """A champion as it is now. changed: False where the version was champion already."""

    strategy_id: str
    from_version: int | None
    to_version: int
    previous: int | None
    changed: bool
    predictions: Renewed


def promote(
    desk: Desk,
    strategy_id: str,
    version: int | None = None,
    *,
    actor: str,
    reason: str,
    evidence: Mapping[str, Any] | None = None,
) -> Moved:
    """Let a version of a strategy trade, and predict the session due anew where it is not frozen.

    version: None takes the challenger. Its arrays are loaded and their hash is checked before
    anything moves. A version that the ledger does not know is taken over into its records, as it
    is now. Promoting the champion again moves nothing. Raises PromotionError, RegistryError or
    LedgerError; then either nothing has moved, or the next look at the registry says what has.
    """
    from hydra_pipelines.models.history import Kind

    with moving(desk):
        _require_strategy(desk, strategy_id)
        _, seen, _ = settle(desk, strategy_id)
        if version is None:
            version = seen.challenger
        if version is None:
            raise PromotionError(
                f"{strategy_id} has no challenger; name a version: "
                f"hydra promote {strategy_id} --to VERSION"
                + (f" (there are {_listed(seen.versions)})" if seen.versions else "")
            )
        move = move_champion(desk, strategy_id, version, Kind.PROMOTED, actor, reason, evidence)
    return _finish(desk, strategy_id, version, move)


def rollback(
    desk: Desk,
    strategy_id: str,
    to: int | None = None,
    *,
    actor: str,
    reason: str,
    evidence: Mapping[str, Any] | None = None,
) -> Moved:
    """Go back to the version under the alias `previous`, or to `to`, and verify that it trades.

    Verified is, all read anew: the alias, the history, the arrays by their recorded hash, and that
    the session's predictions are by that version unless they are frozen. Raises as `promote`, and
    PromotionError where one of these is not so.
    """
    from hydra_pipelines.models.history import Kind

    with moving(desk):
        _require_strategy(desk, strategy_id)
        _, seen, _ = settle(desk, strategy_id)
        to = seen.previous if to is None else to
        if to is None:
            raise PromotionError(
                f"{strategy_id} has no version under the alias previous to go back to; name one: "
                f"hydra rollback --model {strategy_id} --to VERSION"
                + (f" (there are {_listed(seen.versions)})" if seen.versions else "")
            )
        move = move_champion(desk, strategy_id, to, Kind.ROLLED_BACK, actor, reason, evidence)
    moved = _finish(desk, strategy_id, to, move)
    _verify(desk, moved)
    return moved


def move_champion(
    desk: Desk,
    strategy_id: str,
    version: int,
    kind: Kind,
    actor: str,
    reason: str,
    evidence: Mapping[str, Any] | None = None,
    move_id: str | None = None,
) -> Move | None:
    """Move the alias, with its intention before and its confirmation after; while `moving`.

    Returns the move, or None where the version is champion already. move_id: of an intention that
    this move fulfils.
    """
    from hydra_pipelines.models.history import Move, Stage, previous_after
    from hydra_pipelines.models.registry import CHALLENGER, CHAMPION, PREVIOUS

    word, seen, _ = settle(desk, strategy_id)
    ref = desk.registry.version(strategy_id, version)
    desk.registry.load_inference(ref, word.hashes.get(version))
    facts: dict[str, Any] = {"artifact_sha256": ref.sha256, **(evidence or {})}
    if version not in word.hashes:
        _take_over(desk, ref)
        facts["taken_over"] = "the version was not in the ledger's records before"
    if seen.champion == version:
        return None
    move = Move(
        move_id=move_id or uuid.uuid4().hex,
        strategy_id=strategy_id,
        kind=kind,
        stage=Stage.INTENDED,
        from_version=seen.champion,
        to_version=version,
        previous_version=seen.previous,
        actor=actor,
        reason=reason,
        evidence=facts,
    )
    with desk.ledger.transaction() as tx:
        write_moves(tx, [move])
    previous = previous_after(seen.champion, version, seen.previous, seen)
    put_alias(desk, strategy_id, PREVIOUS, seen.previous, previous)
    put_alias(desk, strategy_id, CHAMPION, seen.champion, version)
    if seen.challenger == version:
        put_alias(desk, strategy_id, CHALLENGER, version, None)
    done = replace(move, stage=Stage.DONE)
    with desk.ledger.transaction() as tx:
        write_moves(tx, [done])
    tell_of_moves([done], desk.alerts.send)
    return done


@dataclass(frozen=True)
class Outdated:
    """Predictions of the session due that are not by the versions that the history names.

    strategies: id -> (version that the history names, number of the row that says so).
    planned: a draft plan was made from them.
    """

    session: date
    strategies: Mapping[str, tuple[int | None, int | None]]
    planned: bool

    @property
    def key(self) -> str:
        """The same for the same moves: whoever acts on it acts once."""
        moves = [f"{name}:{to}:{seq}" for name, (to, seq) in sorted(self.strategies.items())]
        return " ".join([self.session.isoformat(), *moves])


def outdated_predictions(desk: Desk, models: Sequence[StrategyModel]) -> Outdated | None:
    """Predictions of the session due to be made anew, or None; so where they are frozen.

    models: as just looked at. A strategy that never predicted the session is left to the cycle.
    """
    session = desk.next_session_due()
    strategies = {}
    with desk.ledger.transaction() as tx:
        plan = decisions.plan(tx, session)
        if plan is not None and plan["status"] != "draft":
            return None
        stored = decisions.prediction_versions(tx, session)
        for model in models:
            if not model.deployed or model.state is ModelState.REGISTRY_DOWN:
                continue
            name = model.strategy_id
            by, wanted = stored.get(name, set()), {model.champion} if model.ready else set()
            if by != wanted and (by or decisions.was_predicted(tx, session, name)):
                strategies[name] = (model.champion, model.seq)
    return Outdated(session, strategies, plan is not None) if strategies else None


def watch_champions(desk: Desk) -> tuple[tuple[StrategyModel, ...], Outdated | None]:
    """Look at the registry, and say which predictions of the session due are to be made anew.

    A desk that has no ledger yet has nothing to look at. Raises LedgerError.
    """
    if not desk.ledger.path.exists():
        return (), None
    # Files that lie on a server are not fetched every time that somebody looks.
    models = look_at_registry(desk, verify=desk.registry.is_local)
    return models, outdated_predictions(desk, models)


def renew_predictions(desk: Desk, run_id: str = "promotion") -> Renewed:
    """Predict the session due anew, and its signals, if the champions have changed since.

    What was made from the old predictions is removed; the plan, which needs the broker, is left
    to `hydra plan` or the promotion sensor.
    """
    _, outdated = watch_champions(desk)
    if outdated is None:
        return Renewed(None, False, _why_not(desk), {})
    made = make_predictions(desk, outdated.session, run_id)
    make_session_signals(desk, outdated.session)
    desk.ledger.publish()
    note = f"the predictions of {outdated.session} are made anew"
    if outdated.planned:
        note += ", and its draft plan is gone: hydra plan"
    return Renewed(outdated.session, True, note, made.failures)


def _why_not(desk: Desk) -> str:
    session = desk.next_session_due()
    if is_frozen(desk, session):
        return f"orders of {session} are out: its predictions stay; the next session's are new"
    with desk.ledger.transaction() as tx:
        if decisions.prediction_versions(tx, session):
            return f"the predictions of {session} are by the champions already"
    return f"there are no predictions of {session} yet"


def _finish(desk: Desk, strategy_id: str, version: int, move: Move | None) -> Moved:
    desk.ledger.publish()
    try:
        renewed = renew_predictions(desk)
    except Exception as error:
        # The move is done, and a later look renews; but nobody should think that it happened.
        if move is None:
            raise
        raise PromotionError(
            f"version {version} of {strategy_id} is champion, but the predictions were not made "
            f"anew: {error}. Try again: hydra predict"
        ) from error
    now = desk.registry.aliases(strategy_id)
    return Moved(
        strategy_id=strategy_id,
        from_version=move.from_version if move else version,
        to_version=version,
        previous=now.get("previous"),
        changed=move is not None,
        predictions=renewed,
    )


def _verify(desk: Desk, moved: Moved) -> None:
    """Read everything anew; raises PromotionError for what is not as a rollback leaves it."""
    name, version = moved.strategy_id, moved.to_version
    (model,) = (m for m in look_at_registry(desk) if m.strategy_id == name)
    wrong = []
    if model.champion != version:
        wrong.append(f"the alias champion is on version {model.champion}")
    if not model.ready:
        wrong.append(model.why)
    session = desk.next_session_due()
    frozen = is_frozen(desk, session)
    with desk.ledger.transaction() as tx:
        said = word_of(tx, name).champion
        stored = decisions.prediction_versions(tx, session).get(name, set())
    if said != version:
        wrong.append(f"the history names version {said}")
    if not frozen and stored - {version}:
        wrong.append(f"the predictions of {session} are by version {_listed(stored)}")
    if name in moved.predictions.failures:
        wrong.append(f"it does not predict: {moved.predictions.failures[name]}")
    if wrong:
        raise PromotionError(
            f"{name} was set back to version {version}, and then: {'; '.join(wrong)}"
        )


def _require_strategy(desk: Desk, strategy_id: str) -> None:
    known = [spec.id for spec in desk.candidates]
    if strategy_id not in known:
        raise UnknownStrategy(
            f"there is no strategy {strategy_id!r} in hydra.yaml; "
            f"there are {', '.join(known) or 'none'}"
        )
    if not desk.registry.exists():
        raise PromotionError(
            f"{strategy_id} has no versions yet: the registry {desk.registry.uri} is made by the "
            "first training, hydra train"
        )


def _take_over(desk: Desk, ref: ChampionRef) -> None:
    """Record a version that was trained elsewhere, or before a crash, as it is now."""
    if not ref.as_of:
        raise PromotionError(
            f"version {ref.version} of {ref.strategy_id} does not say through which session it was "
            "trained, so it was not trained by this program; promote one that was"
        )
    with desk.ledger.transaction() as tx:
        decisions.record_model_version(
            tx,
            {
                "strategy_id": ref.strategy_id,
                "version": ref.version,
                "mlflow_run_id": ref.run_id,
                "artifact_sha256": ref.sha256,
                "trained_through": date.fromisoformat(ref.as_of),
                "data_snapshot_id": ref.data_snapshot,
                "code_version": ref.tags.get("code_version", ""),
                "metrics": figures_of(ref),
            },
        )


def figures_of(ref: ChampionRef) -> dict[str, float]:
    """The figures of a version's evaluation, as the registry has them."""
    out = {}
    for name in FIGURES:
        try:
            out[name] = float(json.loads(ref.tags[name]))
        except (KeyError, ValueError, TypeError):
            continue
    return out


FIGURES = ("rank_ic", "icir", "hit_rate", "sharpe", "annual_return", "max_drawdown", "turnover")
"""Figures of an evaluation that people compare versions by."""


def _listed(versions: Any) -> str:
    return ", ".join(map(str, sorted(versions)))
