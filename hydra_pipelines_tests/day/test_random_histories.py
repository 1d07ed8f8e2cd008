"""A hundred histories of promotions, rollbacks, hands in the registry and crashes at any write.

After every look the history explains the alias, and what predicts is what the history names.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from hydra_pipelines import day
from hydra_pipelines.day.champions import words_of
from hydra_pipelines.day.promotion import Moved
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger import decisions, promotions
from hydra_pipelines.ledger.store import Transaction
from hydra_pipelines.models.registry import RegistryError
from hydra_pipelines_tests.day.versions import MOMENTUM, RIDGE, copy_of

HISTORIES, STEPS = 100, 3
WRITES = ("set_registered_model_alias", "delete_registered_model_alias")


class Killed(BaseException):
    """The process is gone: no handler for errors of the program may see it."""


class Fuse:
    """Blows at a write to the registry or the ledger, before it or after, and cuts off what
    follows. Unlit, it lets everything pass."""

    def __init__(self, desk: Desk, monkeypatch: pytest.MonkeyPatch):
        self.left: int | None = None
        self.after = False
        ask, transaction = desk.registry._ask, desk.ledger.transaction

        def asked(method: str, *arguments: Any, **options: Any) -> Any:
            if method not in WRITES:
                return ask(method, *arguments, **options)
            with self.write():
                return ask(method, *arguments, **options)

        @contextmanager
        def written() -> Iterator[Transaction]:
            with self.write(), transaction() as tx:
                yield tx

        monkeypatch.setattr(desk.registry, "_ask", asked)
        monkeypatch.setattr(desk.ledger, "transaction", written)

    @contextmanager
    def write(self) -> Iterator[None]:
        blows = self.left == 0
        if self.left is not None:
            self.left -= 1
        if blows and not self.after:
            raise Killed
        yield
        if blows:
            raise Killed


def steps(desk: Desk, fuse: Fuse, drawn: random.Random) -> dict[str, Callable[[str], object]]:
    """What people, the desk and the world do to a strategy's model."""

    def client() -> Any:
        return desk.registry._client()

    def some(strategy: str) -> int | None:
        versions = desk.registry.versions(strategy)
        return drawn.choice(versions) if versions else None

    def told(moved: Moved, kind: str) -> None:
        with desk.ledger.transaction() as tx:
            (last,) = promotions.history(tx, moved.strategy_id, limit=1)
        if moved.changed:
            assert (last["kind"], last["actor"]) == (kind, "user:ada")
        assert last["to_version"] == moved.to_version

    def promote(strategy: str) -> None:
        moved = day.promote(desk, strategy, some(strategy), actor="user:ada", reason="better")
        told(moved, "promoted")

    def rollback(strategy: str) -> None:
        to = drawn.choice([None, some(strategy)])
        told(day.rollback(desk, strategy, to, actor="user:ada", reason="worse"), "rolled_back")

    def move_by_hand(strategy: str) -> None:
        alias = drawn.choice(["champion", "champion", "challenger", "previous"])
        client().set_registered_model_alias(strategy, alias, str(some(strategy)))

    def delete(strategy: str) -> None:
        client().delete_model_version(strategy, str(some(strategy)))

    def drop(strategy: str) -> None:
        client().delete_registered_model_alias(strategy, "champion")

    def by_hand() -> int:
        with desk.ledger.transaction() as tx:
            return sum(row["actor"] == "user:unknown" for row in promotions.history(tx))

    def crash(strategy: str) -> None:
        another_hand, before = False, by_hand()
        fuse.left, fuse.after = drawn.randrange(8), drawn.random() < 0.5
        try:
            drawn.choice([promote, rollback, lambda _: day.look_at_registry(desk)])(strategy)
        except Killed:
            if drawn.random() < 0.3:
                # Another hand in the registry before anybody looks.
                fuse.left = None
                another_hand = True
                move_by_hand(strategy)
        finally:
            fuse.left = None
        day.look_at_registry(desk)
        assert another_hand or by_hand() == before, "what the desk moved is never called a hand's"

    return {
        "promote": promote,
        "rollback": rollback,
        "move by hand": move_by_hand,
        "delete": delete,
        "drop": drop,
        "crash": crash,
    }


def check(desk: Desk, session: date) -> None:
    """The registry itself, read past the desk's own code, against the history and what predicts."""
    aliases: dict[str, dict[str, int]] = {RIDGE: {}, MOMENTUM: {}}
    with closing(sqlite3.connect(desk.registry.uri.removeprefix("sqlite:///"))) as connection:
        for name, alias, version in connection.execute(
            "SELECT name, alias, version FROM registered_model_aliases"
        ):
            aliases[name][alias] = version
    with desk.ledger.transaction() as tx:
        words = words_of(tx, aliases)
        moves = promotions.history(tx)[::-1]
        predicted = decisions.prediction_versions(tx, session)
    for strategy, of in aliases.items():
        word, champion = words[strategy], of.get("champion")
        done = [row for row in moves if row["strategy_id"] == strategy]
        assert word.champion == champion, "the history explains the alias"
        assert word.pending is None, "nothing is left half-done"
        assert [row["from_version"] for row in done[1:]] == [row["to_version"] for row in done[:-1]]
        assert all(a["recorded_at"] <= b["recorded_at"] for a, b in pairwise(done))
        assert champion is None or champion not in (of.get("previous"), of.get("challenger"))
        expected = set() if champion is None else {champion}
        assert predicted.get(strategy, set()) == expected, "what predicts is what is named"


@pytest.mark.parametrize("block", range(4))
def test_the_history_explains_the_alias_and_names_what_predicts(
    versions_made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    crashes = 0
    for number in range(block * HISTORIES // 4, (block + 1) * HISTORIES // 4):
        drawn = random.Random(number)
        desk = copy_of(versions_made, tmp_path / str(number))
        # Readers have their own tests, and a copy of the ledger at each step takes the longest.
        monkeypatch.setattr(desk.ledger, "publish", lambda: None)
        due = desk.settings.embedded.first_session
        monkeypatch.setattr(desk, "next_session_due", lambda due=due: due)
        with desk.ledger.session():
            assert day.make_predictions(desk, due, "test").status == "success"
            with pytest.MonkeyPatch.context() as patch:
                fuse = Fuse(desk, patch)
                acts = steps(desk, fuse, drawn)
                for _ in range(STEPS):
                    name = drawn.choice(list(acts))
                    strategy = drawn.choice([RIDGE, MOMENTUM])
                    crashes += name == "crash"
                    try:
                        acts[name](strategy)
                    except (RegistryError, day.PromotionError, Exception) as error:
                        if not isinstance(error, RegistryError | day.PromotionError):
                            # The client, asked to move an alias to a version that is gone.
                            assert type(error).__module__.startswith("mlflow"), repr(error)
                    day.renew_predictions(desk)
                    check(desk, due)
    assert crashes > 5
