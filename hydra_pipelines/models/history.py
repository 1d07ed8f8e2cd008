"""What the promotion history has to say so that it explains what the registry shows.

Pure functions: from the history's last word, a move that was not finished and the aliases as they
are now, what is to be written and where `previous` belongs. Nothing is read, written or moved here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What happened to a champion."""

    FIRST_VERSION = "first_version"
    """Trained and promoted by the desk itself, since the strategy had nothing to trade with."""
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    MOVED_BY_HAND = "moved_by_hand"
    ALIAS_REMOVED = "alias_removed"
    VERSION_DELETED = "version_deleted"


class Stage(StrEnum):
    INTENDED = "intended"
    DONE = "done"
    ABANDONED = "abandoned"


@dataclass(frozen=True)
class Move:
    """One row of the history. Versions are None where no version carries the alias.

    to_version of a `first_version` is None until it is trained. previous_version: what carried the
    alias `previous` before the move.
    """

    move_id: str
    strategy_id: str
    kind: Kind
    stage: Stage
    from_version: int | None
    to_version: int | None
    previous_version: int | None
    actor: str
    reason: str
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Move:
        """From a row of the ledger."""
        values = {name: row[name] for name in cls.__dataclass_fields__}
        return cls(**{**values, "kind": Kind(row["kind"]), "stage": Stage(row["stage"])})

    @property
    def went_back(self) -> bool:
        """Whether it led back to the version before, whichever way it was made."""
        to_previous = self.to_version is not None and self.to_version == self.previous_version
        return self.kind is Kind.ROLLED_BACK or to_previous

    def at(self, stage: Stage) -> Move:
        return replace(self, stage=stage)


@dataclass(frozen=True)
class Seen:
    """A strategy's model as the registry shows it now. versions: those not deleted."""

    champion: int | None
    previous: int | None
    challenger: int | None
    versions: frozenset[int]


@dataclass(frozen=True)
class Explanation:
    """rows: to be appended to the history, in order. previous: the version to carry that alias.

    champion: what the history says once the rows are written.
    """

    rows: tuple[Move, ...]
    previous: int | None
    champion: int | None


def explain(
    strategy_id: str, word: int | None, pending: Move | None, seen: Seen, new_id: str
) -> Explanation:
    """What to write so that the history's last word is the alias again.

    word: the version that the history names now, None for none. pending: the intention of a move
    whose end was never written, by a process that is gone. new_id: for a move found in the
    registry.

    A pending move is done if the alias is where it was to go, and abandoned if not, `previous`
    going back to where it was. A first version in the making stays pending while there is no
    champion: that is for the training to finish. Whatever the alias shows beyond is a move by hand.
    """
    rows: list[Move] = []
    previous = seen.previous
    if pending is not None:
        if seen.champion is not None and seen.champion == pending.to_version:
            rows.append(pending.at(Stage.DONE))
            word = seen.champion
            previous = previous_after(pending.from_version, word, pending.previous_version, seen)
        elif not (pending.kind is Kind.FIRST_VERSION and seen.champion is None):
            rows.append(pending.at(Stage.ABANDONED))
            restored = pending.previous_version
            previous = restored if restored in seen.versions else None
    if seen.champion != word:
        kind = Kind.MOVED_BY_HAND
        if seen.champion is None:
            kind = Kind.ALIAS_REMOVED if word in seen.versions else Kind.VERSION_DELETED
        rows.append(
            Move(
                move_id=new_id,
                strategy_id=strategy_id,
                kind=kind,
                stage=Stage.DONE,
                from_version=word,
                to_version=seen.champion,
                previous_version=previous,
                actor="user:unknown",
                reason=_FOUND[kind],
            )
        )
        previous = previous_after(word, seen.champion, previous, seen)
    if previous == seen.champion:
        # Put there by hand: there is no going back to where one is.
        previous = None
    return Explanation(tuple(rows), previous, seen.champion)


_FOUND = {
    Kind.MOVED_BY_HAND: "the alias was moved by hand in the registry, which does not say by whom",
    Kind.ALIAS_REMOVED: "the alias was taken away by hand in the registry",
    Kind.VERSION_DELETED: "the version was deleted in the registry, and the alias with it",
}


def previous_after(
    from_version: int | None, to_version: int | None, previous: int | None, seen: Seen
) -> int | None:
    """Where `previous` belongs after a move: on the champion before it, if that still exists.

    Where there was none, or it is deleted, `previous` stays; it is never the champion itself.
    """
    for version in (from_version, previous):
        if version is not None and version != to_version and version in seen.versions:
            return version
    return None
