"""The history's rule: whatever the registry shows, one look makes the history explain it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_pipelines.models.history import Kind, Move, Seen, Stage, explain, previous_after

VERSIONS = st.one_of(st.none(), st.integers(1, 4))
MOVE = Move(
    move_id="m",
    strategy_id="HYP-2026-001",
    kind=Kind.PROMOTED,
    stage=Stage.INTENDED,
    from_version=1,
    to_version=2,
    previous_version=3,
    actor="user:ada",
    reason="better",
)


def seen(champion: int | None, previous: int | None = None, versions: str = "1234") -> Seen:
    return Seen(champion, previous, None, frozenset(map(int, versions)))


@st.composite
def registries(draw: st.DrawFn) -> Seen:
    versions = draw(st.frozensets(st.integers(1, 4)))
    some = st.one_of(st.none(), st.sampled_from(sorted(versions))) if versions else st.none()
    return Seen(draw(some), draw(some), draw(some), versions)


@given(VERSIONS, st.one_of(st.none(), st.tuples(VERSIONS, VERSIONS)), registries())
def test_after_a_look_the_history_explains_the_registry(
    word: int | None, pending: tuple[int | None, int | None] | None, shown: Seen
) -> None:
    move = None
    if pending is not None:
        to, before = pending
        move = replace(MOVE, from_version=word, to_version=to, previous_version=before)
    made = explain("HYP-2026-001", word, move, shown, "new")
    # Each move that was done begins where the one before it ended, and the last ends at the alias.
    at = word
    for row in made.rows:
        if row.stage is Stage.DONE:
            assert row.from_version == at
            at = row.to_version
    assert at == made.champion == shown.champion
    assert all(row.stage is not Stage.INTENDED for row in made.rows)
    assert made.previous is None or made.previous in shown.versions - {shown.champion}
    # A second look at what the first one left finds nothing.
    again = explain("HYP-2026-001", at, None, replace(shown, previous=made.previous), "other")
    assert again.rows == () and again.previous == made.previous


@pytest.mark.parametrize(
    ("shown", "rows", "previous"),
    [
        (seen(1, 3), [("promoted", "abandoned", 1, 2)], 3),
        # Killed between the two aliases: `previous` goes back.
        (seen(1, 1), [("promoted", "abandoned", 1, 2)], 3),
        (seen(2, 1), [("promoted", "done", 1, 2)], 1),
        (seen(4, 3), [("promoted", "abandoned", 1, 2), ("moved_by_hand", "done", 1, 4)], 1),
        (
            seen(None, 3, "34"),
            [("promoted", "abandoned", 1, 2), ("version_deleted", "done", 1, None)],
            3,
        ),
    ],
)
def test_an_unfinished_move_is_finished_or_abandoned(
    shown: Seen, rows: list[tuple[str, str, int, int | None]], previous: int | None
) -> None:
    made = explain("HYP-2026-001", 1, MOVE, shown, "new")
    found = [(r.kind.value, r.stage.value, r.from_version, r.to_version) for r in made.rows]
    assert found == rows and made.previous == previous


def test_what_was_done_by_hand_is_called_by_its_name() -> None:
    (moved,) = explain("S", 1, None, seen(3), "new").rows
    assert (moved.kind, moved.actor, moved.move_id) == (Kind.MOVED_BY_HAND, "user:unknown", "new")
    (removed,) = explain("S", 1, None, seen(None), "new").rows
    assert removed.kind is Kind.ALIAS_REMOVED and removed.to_version is None
    (deleted,) = explain("S", 1, None, seen(None, None, "23"), "new").rows
    assert deleted.kind is Kind.VERSION_DELETED


def test_a_first_version_in_the_making_is_left_to_its_training() -> None:
    begun = replace(MOVE, kind=Kind.FIRST_VERSION, from_version=None, to_version=None)
    assert explain("S", None, begun, seen(None), "new").rows == ()
    trained = replace(begun, to_version=2)
    assert explain("S", None, trained, seen(None), "new").rows == ()
    (done,) = explain("S", None, trained, seen(2), "new").rows
    assert (done.kind, done.stage) == (Kind.FIRST_VERSION, Stage.DONE)
    abandoned, moved = explain("S", None, begun, seen(3), "new").rows
    assert abandoned.stage is Stage.ABANDONED and moved.kind is Kind.MOVED_BY_HAND


@pytest.mark.parametrize(
    ("came_from", "to", "previous", "versions", "expected"),
    [
        (1, 2, 3, "1234", 1),
        (1, 2, 3, "234", 3),  # the champion before is deleted
        (None, 3, 3, "1234", None),  # back to `previous`: it is champion now
        (1, None, 3, "1234", 1),  # the alias was taken away: that is where to go back to
        (None, 1, None, "1234", None),
    ],
)
def test_previous_is_the_champion_before_and_never_the_champion(
    came_from: int | None, to: int | None, previous: int | None, versions: str, expected: int | None
) -> None:
    assert previous_after(came_from, to, previous, seen(to, previous, versions)) == expected
