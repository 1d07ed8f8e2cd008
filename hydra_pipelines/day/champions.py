"""What each strategy trades with: the registry's aliases, held against the promotion history.

Here belongs looking: whatever was moved in the registry by hand, or left half-done by a process
that is gone, gets into the history, and every strategy gets a state. Moving an alias on somebody's
word is `promotion`'s. One strategy's trouble is never another's, and nothing falls back by itself.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from hydra_pipelines.day.alerting import tell_of_moves
from hydra_pipelines.day.moved_by import named
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger import audit, decisions, promotions
from hydra_pipelines.ledger.audit import AuditEvent
from hydra_pipelines.ledger.store import Rows, Transaction, exclusive

if TYPE_CHECKING:
    from hydra_pipelines.models.history import Move, Seen
    from hydra_pipelines.models.registry import ChampionRef
    from hydra_pipelines.models.strategies import StrategySpec


PROMOTIONS_LOCK = "promotions.lock"
"""In the data folder; see `moving`."""


class ModelState(StrEnum):
    """Whether a strategy can trade, and what is in the way."""

    READY = "ready"
    UNTRAINED = "untrained"
    """Nothing was ever promoted or registered; the next cycle trains and promotes a version."""
    NO_CHAMPION = "no_champion"
    """There are versions, and none was ever promoted."""
    ALIAS_REMOVED = "alias_removed"
    VERSION_DELETED = "version_deleted"
    NOT_RECORDED = "not_recorded"
    """The ledger does not know the version: it was not trained by this desk."""
    NOT_EXPORTED = "not_exported"
    """The version has no inference arrays."""
    ARTIFACT_MISSING = "artifact_missing"
    ARTIFACT_CHANGED = "artifact_changed"
    REGISTRY_DOWN = "registry_down"


@dataclass(frozen=True)
class StrategyModel:
    """A strategy's model as it stands.

    why: what is the matter and what to do, empty where the state is `ready`. champion, previous,
    challenger: versions that carry the alias, all None where the registry is down. ref: the
    champion, where it exists. seq: number of the history's last word, None without any. found: what
    this look wrote into the history.
    """

    strategy_id: str
    deployed: bool
    state: ModelState
    why: str = ""
    champion: int | None = None
    previous: int | None = None
    challenger: int | None = None
    versions: tuple[int, ...] = ()
    ref: ChampionRef | None = None
    seq: int | None = None
    found: tuple[Move, ...] = ()

    @property
    def ready(self) -> bool:
        return self.state is ModelState.READY

    @property
    def stopped(self) -> bool:
        """Deployed, and without a model to trade with, which the next cycle will not mend."""
        return self.deployed and self.state not in (ModelState.READY, ModelState.UNTRAINED)


@dataclass(frozen=True)
class Word:
    """What the history says of a strategy.

    last: the last move that was done, and seq its number; None where nothing was ever done.
    pending: a move that was not finished. hashes: version -> the recorded hash of its arrays.
    """

    last: Move | None
    seq: int | None
    pending: Move | None
    hashes: Mapping[int, str]

    @property
    def champion(self) -> int | None:
        """The version that trades; None for none."""
        return self.last.to_version if self.last else None


def words_of(rows: Rows, strategies: Iterable[str]) -> dict[str, Word]:
    """Strategy -> the history's last word on it."""
    from hydra_pipelines.models.history import Move

    latest, hashes = promotions.latest(rows), decisions.artifact_hashes(rows)
    out = {}
    for name in strategies:
        last = latest.get(name, promotions.Last())
        out[name] = Word(
            last=Move.of(last.done) if last.done else None,
            seq=last.done["seq"] if last.done else None,
            pending=Move.of(last.unfinished) if last.unfinished else None,
            hashes=hashes.get(name, {}),
        )
    return out


def word_of(rows: Rows, strategy_id: str) -> Word:
    """The history's last word on a strategy."""
    return words_of(rows, [strategy_id])[strategy_id]


def look_at_registry(desk: Desk, *, verify: bool = True) -> tuple[StrategyModel, ...]:
    """Bring the history up to what the registry shows, and say how each strategy stands.

    All strategies that are not retired are looked at. verify: load each champion's arrays and
    check their hash too. The readers' snapshot is published where anything was written. Raises
    LedgerError where the history can't be read or written.
    """
    with desk.ledger.transaction() as tx:
        words = words_of(tx, [spec.id for spec in desk.candidates])
    looked = tuple(_look(desk, spec, words[spec.id], verify) for spec in desk.candidates)
    if any(model.found for model in looked):
        desk.ledger.publish()
    return looked


def model_states(desk: Desk) -> tuple[StrategyModel, ...]:
    """As `look_at_registry`, for readers: from the snapshot, and nothing is written or mended."""
    from hydra_pipelines.models.registry import RegistryError

    out = []
    with desk.ledger.snapshot() as rows:
        words = words_of(rows, [spec.id for spec in desk.candidates])
    for spec in desk.candidates:
        try:
            seen = _see(desk, spec.id, words[spec.id])
        except RegistryError as error:
            out.append(_down(spec, words[spec.id], error))
            continue
        out.append(_stands(desk, spec, words[spec.id], seen, verify=True))
    return tuple(out)


@contextmanager
def moving(desk: Desk) -> Iterator[None]:
    """Nobody else of this desk moves an alias or writes the history meanwhile.

    Always taken before the ledger's own lock, never within a session of the ledger, unless the
    desk has it already: then it stays as it is.
    """
    if desk.moving_models:
        yield
        return
    lock = desk.settings.data_path / PROMOTIONS_LOCK
    with exclusive(lock, desk.settings.ledger.lock_timeout_s, "the promotion of models"):
        desk.moving_models = True
        try:
            yield
        finally:
            desk.moving_models = False


def settle(desk: Desk, strategy_id: str) -> tuple[Word, Seen, tuple[Move, ...]]:
    """Make the history explain the registry; to be called while `moving`.

    The alias `previous` is put where it belongs before the rows are written, so that a crash in
    between is found again. Returns the history's word, the registry and the rows written.
    """
    from hydra_pipelines.models.history import explain
    from hydra_pipelines.models.registry import CHALLENGER, PREVIOUS

    with desk.ledger.transaction() as tx:
        word = word_of(tx, strategy_id)
    seen = _see(desk, strategy_id, word)
    made = explain(strategy_id, word.champion, word.pending, seen, uuid.uuid4().hex)
    put_alias(desk, strategy_id, PREVIOUS, seen.previous, made.previous)
    if seen.challenger is not None and seen.challenger == seen.champion:
        # It waits no more.
        put_alias(desk, strategy_id, CHALLENGER, seen.challenger, None)
    rows = named(desk.control, made.rows)
    if rows:
        with desk.ledger.transaction() as tx:
            write_moves(tx, rows)
            word = word_of(tx, strategy_id)
        tell_of_moves(made.rows, desk.alerts.send)
    seen = replace(
        seen,
        previous=made.previous,
        challenger=None if seen.challenger == seen.champion else seen.challenger,
    )
    return word, seen, rows


def put_alias(desk: Desk, strategy_id: str, alias: str, now: int | None, to: int | None) -> None:
    """Bring an alias from one version to another; None for no version."""
    if now == to:
        return
    if to is None:
        desk.registry.drop_alias(strategy_id, alias)
    else:
        desk.registry.set_alias(strategy_id, alias, to)


def write_moves(tx: Transaction, rows: Sequence[Move], run_id: str | None = None) -> None:
    """Append rows to the history, and what was done to the audit trail."""
    from hydra_pipelines.models.history import Stage

    promotions.append(tx, [vars(row) for row in rows])
    for row in rows:
        if row.stage is not Stage.DONE:
            continue
        event = AuditEvent.MODEL_PROMOTED
        if row.to_version is None:
            event = AuditEvent.MODEL_STOPPED
        elif row.went_back:
            event = AuditEvent.MODEL_ROLLED_BACK
        audit.log(
            tx,
            event,
            {
                "from": row.from_version,
                "to": row.to_version,
                "kind": row.kind.value,
                "reason": row.reason,
                "move_id": row.move_id,
            },
            actor=row.actor,
            strategy_id=row.strategy_id,
            run_id=run_id,
        )


def _look(desk: Desk, spec: StrategySpec, word: Word, verify: bool) -> StrategyModel:
    from hydra_pipelines.models.history import explain
    from hydra_pipelines.models.registry import RegistryError

    try:
        seen = _see(desk, spec.id, word)
        rows: tuple[Move, ...] = ()
        made = explain(spec.id, word.champion, word.pending, seen, "")
        waits_no_more = seen.challenger is not None and seen.challenger == seen.champion
        if made.rows or made.previous != seen.previous or waits_no_more:
            # What looks unfinished may be a promotion at work: once the lock is ours, it is not.
            with moving(desk):
                word, seen, rows = settle(desk, spec.id)
    except RegistryError as error:
        return _down(spec, word, error)
    return replace(_stands(desk, spec, word, seen, verify), found=rows)


def _see(desk: Desk, strategy_id: str, word: Word) -> Seen:
    """The strategy's model in the registry. Raises RegistryUnavailable."""
    from hydra_pipelines.models.history import Seen
    from hydra_pipelines.models.registry import CHALLENGER, CHAMPION, PREVIOUS, RegistryUnavailable

    if not desk.registry.exists():
        if word.seq is not None:
            raise RegistryUnavailable(
                f"registry {desk.registry.uri} is gone, and the history names version "
                f"{word.champion}: bring it back from a backup"
            )
        return Seen(None, None, None, frozenset())
    # Versions last: one that is registered in between is there, and its alias is not yet.
    aliases = desk.registry.aliases(strategy_id)
    versions = frozenset(desk.registry.versions(strategy_id))
    return Seen(aliases.get(CHAMPION), aliases.get(PREVIOUS), aliases.get(CHALLENGER), versions)


def _down(spec: StrategySpec, word: Word, error: Exception) -> StrategyModel:
    return StrategyModel(
        strategy_id=spec.id,
        deployed=spec.status == "deployed",
        state=ModelState.REGISTRY_DOWN,
        why=str(error),
        seq=word.seq,
    )


def _stands(desk: Desk, spec: StrategySpec, word: Word, seen: Seen, verify: bool) -> StrategyModel:
    model = StrategyModel(
        strategy_id=spec.id,
        deployed=spec.status == "deployed",
        state=ModelState.READY,
        champion=seen.champion,
        previous=seen.previous,
        challenger=seen.challenger,
        versions=tuple(sorted(seen.versions)),
        seq=word.seq,
    )
    if seen.champion is None:
        state, why = _without_champion(model, word, seen)
        return replace(model, state=state, why=why)
    return _with_champion(desk, model, word, verify)


def _without_champion(model: StrategyModel, word: Word, seen: Seen) -> tuple[ModelState, str]:
    from hydra_pipelines.models.history import Kind

    name = model.strategy_id
    if word.last is None:
        begun = word.pending is not None and word.pending.kind is Kind.FIRST_VERSION
        if begun or not seen.versions:
            does = "the next cycle trains one" if model.deployed else f"hydra train {name}"
            return ModelState.UNTRAINED, f"no version was ever promoted: {does}"
        return ModelState.NO_CHAMPION, (
            "there are versions and none was ever promoted: "
            f"hydra promote {name} --to {max(seen.versions)}"
        )
    last = word.last.to_version if word.last.to_version is not None else word.last.from_version
    todo = f"hydra promote {name} --to VERSION"
    if seen.previous is not None:
        todo = f"hydra rollback --model {name} (to version {seen.previous}), or {todo}"
    if last not in seen.versions:
        return ModelState.VERSION_DELETED, f"version {last} was deleted: {todo}"
    return ModelState.ALIAS_REMOVED, f"version {last} does not carry the alias any more: {todo}"


def _with_champion(desk: Desk, model: StrategyModel, word: Word, verify: bool) -> StrategyModel:
    from hydra_pipelines.models.registry import (
        ArtifactMismatch,
        ArtifactMissing,
        NoSuchVersion,
        RegistryError,
    )

    assert model.champion is not None
    number, name = model.champion, model.strategy_id
    try:
        ref = desk.registry.version(name, number)
        model = replace(model, ref=ref)
        if not ref.sha256:
            return replace(
                model,
                state=ModelState.NOT_EXPORTED,
                why=f"version {number} has no inference arrays, so it was not trained here: "
                f"promote one that was, or hydra train {name}",
            )
        if number not in word.hashes:
            return replace(
                model,
                state=ModelState.NOT_RECORDED,
                why=f"version {number} is not in the ledger's records, so nobody can tell whether "
                f"it is what was trained: hydra promote {name} --to {number} takes it over",
            )
        if verify:
            desk.registry.load_inference(ref, word.hashes[number])
    except NoSuchVersion:
        why = f"version {number} was deleted: hydra promote {name} --to VERSION"
        return replace(model, state=ModelState.VERSION_DELETED, why=why)
    except ArtifactMissing as error:
        return replace(model, state=ModelState.ARTIFACT_MISSING, why=str(error))
    except ArtifactMismatch as error:
        return replace(model, state=ModelState.ARTIFACT_CHANGED, why=str(error))
    except RegistryError as error:
        return replace(model, state=ModelState.REGISTRY_DOWN, why=str(error))
    return model
