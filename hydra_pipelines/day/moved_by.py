"""Who moved an alias by hand: noted where it is done, found where the move is.

The registry does not say who moved an alias. A face that lets a person do it notes it first in the
control store's journal; whoever then finds the move looks for that note.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from hydra_pipelines.control import Control, ControlError

if TYPE_CHECKING:
    from hydra_pipelines.models.history import Move

NOTED = "registry_changed"
"""The event in the journal."""
GOOD_FOR = timedelta(hours=1)
"""A note says nothing about a move that is found later than this."""
UNKNOWN = "user:unknown"


def note_move(
    control: Control,
    actor: str,
    *,
    strategy_id: str,
    version: int | None,
    what: str,
    alias: str | None = None,
) -> None:
    """Note that a person is about to change the registry. what: the call, for people.

    version: the one that is to carry the alias, or that is deleted; None where that is not said.
    Raises ControlError.
    """
    control.note(
        NOTED,
        actor,
        {
            "strategy_id": strategy_id,
            "version": version,
            "alias": alias,
            "what": what,
            "why": "changed by hand in the MLflow UI of the dashboard",
        },
    )


def mover(
    control: Control,
    strategy_id: str,
    from_version: int | None,
    to_version: int | None,
    now: datetime | None = None,
) -> str:
    """Who moved the alias `champion` of a strategy between versions; UNKNOWN where nobody said.

    The latest note counts that is about the strategy and fits: it names the version that the alias
    went to, or, where it carries none any more, the alias or the version that it was on.
    """
    now = now or datetime.now(UTC)
    try:
        entries = control.journal()
    except ControlError:
        return UNKNOWN
    for entry in reversed(entries):
        if now - entry.occurred_at > GOOD_FOR:
            break
        details = entry.details
        if entry.event != NOTED or details.get("strategy_id") != strategy_id:
            continue
        alias, version = details.get("alias"), details.get("version")
        if alias not in (None, "champion"):
            continue
        if to_version is not None and version == to_version:
            return entry.actor
        if to_version is None and version in (None, from_version):
            return entry.actor
    return UNKNOWN


def named(control: Control, rows: Sequence[Move]) -> tuple[Move, ...]:
    """Rows of the history, those of moves by hand with who made them where that was noted."""
    out = []
    for row in rows:
        if row.actor == UNKNOWN:
            actor = mover(control, row.strategy_id, row.from_version, row.to_version)
            if actor != UNKNOWN:
                reason = row.reason.removesuffix(", which does not say by whom")
                row = replace(row, actor=actor, reason=f"{reason}, through the dashboard")
        out.append(row)
    return tuple(out)
