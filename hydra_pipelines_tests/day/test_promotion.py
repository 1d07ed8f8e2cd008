"""Promotion, rollback, and what a look at the registry makes of hands, losses and damage."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from hydra_pipelines import api, day
from hydra_pipelines.day.showing import list_models
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger import decisions
from hydra_pipelines.models.registry import (
    INFERENCE_FILE,
    ArtifactMismatch,
    NoSuchVersion,
    RegistryUnavailable,
)
from hydra_pipelines_tests.day.versions import MOMENTUM, RIDGE
from hydra_pipelines_tests.ledger import builders


@pytest.fixture
def desk(models_desk: Desk) -> Desk:
    """With predictions of the session due, by version 1 of each strategy."""
    made = day.make_predictions(models_desk, models_desk.next_session_due(), "test")
    assert made.status == "success"
    return models_desk


def predicted_by(desk: Desk) -> dict[str, set[int]]:
    with desk.ledger.transaction() as tx:
        return decisions.prediction_versions(tx, desk.next_session_due())


def aliases(desk: Desk, strategy: str = RIDGE) -> dict[str, int]:
    return desk.registry.aliases(strategy)


def state(desk: Desk, strategy: str = RIDGE) -> day.StrategyModel:
    (model,) = (m for m in day.look_at_registry(desk) if m.strategy_id == strategy)
    return model


def client(desk: Desk) -> Any:
    return desk.registry._client()


def last_move(desk: Desk) -> dict[str, Any]:
    return list_models(desk)["history"][0]


def audited(desk: Desk) -> list[tuple[str, str, str]]:
    with desk.ledger.transaction() as tx:
        rows = tx.query(
            "SELECT event, actor, details FROM audit_events WHERE event LIKE 'model%' ORDER BY seq"
        )
    return [(r["event"], r["actor"], json.loads(r["details"])["reason"]) for r in rows]


# on a person's word


def test_a_promotion_moves_keeps_explains_and_predicts_anew(desk: Desk) -> None:
    client(desk).set_registered_model_alias(RIDGE, "challenger", "2")
    moved = day.promote(desk, RIDGE, actor="user:ada", reason="better", evidence={"n": 1})
    assert (moved.from_version, moved.to_version, moved.previous, moved.changed) == (1, 2, 1, True)
    assert aliases(desk) == {"champion": 2, "previous": 1}, "the challenger waits no more"
    assert predicted_by(desk) == {RIDGE: {2}, MOMENTUM: {1}} and moved.predictions.made
    told = last_move(desk)
    assert (told["kind"], told["actor"], told["reason"]) == ("promoted", "user:ada", "better")
    assert told["evidence"]["n"] == 1 and len(told["evidence"]["artifact_sha256"]) == 64
    assert audited(desk)[-1] == ("model_promoted", "user:ada", "better")
    again = day.promote(desk, RIDGE, 2, actor="user:ada", reason="again")
    assert not again.changed and not again.predictions.made
    assert last_move(desk)["reason"] == "better", "nothing moved, nothing is written"


def test_a_rollback_goes_to_previous_and_is_verified(desk: Desk) -> None:
    day.promote(desk, RIDGE, 2, actor="user:ada", reason="better")
    back = day.rollback(desk, RIDGE, actor="user:bob", reason="worse")
    assert (back.from_version, back.to_version, back.previous) == (2, 1, 2)
    assert aliases(desk) == {"champion": 1, "previous": 2}
    assert predicted_by(desk)[RIDGE] == {1}
    assert audited(desk)[-1] == ("model_rolled_back", "user:bob", "worse")
    other = day.rollback(desk, RIDGE, 4, actor="user:bob", reason="further")
    assert other.to_version == 4 and predicted_by(desk)[RIDGE] == {4}


def test_a_rollback_that_does_not_hold_is_not_called_done(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    day.promote(desk, RIDGE, 2, actor="user:ada", reason="better")
    drop = desk.registry.load_inference

    def broken(ref: Any, recorded: str | None = None) -> Any:
        if recorded is not None and aliases(desk)["champion"] == 1:
            raise ArtifactMismatch("the disk is failing")
        return drop(ref, recorded)

    monkeypatch.setattr(desk.registry, "load_inference", broken)
    with pytest.raises(
        day.PromotionError, match=r"set back to version 1, and then: .*disk is fail"
    ):
        day.rollback(desk, RIDGE, actor="user:bob", reason="worse")


def test_what_was_made_of_the_old_predictions_is_removed(desk: Desk) -> None:
    due = desk.next_session_due()
    day.make_session_signals(desk, due)
    with desk.ledger.transaction() as tx:
        decisions.save_plan(tx, builders.plan_header("p", session=due), [], [])
    client(desk).set_registered_model_alias(RIDGE, "champion", "2")
    _, outdated = day.watch_champions(desk)
    assert outdated is not None and outdated.planned and set(outdated.strategies) == {RIDGE}
    moved = day.renew_predictions(desk)
    assert "draft plan is gone: hydra plan" in moved.note
    with desk.ledger.transaction() as tx:
        assert decisions.plan(tx, due) is None
        assert len(decisions.signals(tx, due)) == len(decisions.predictions(tx, due))


def test_predictions_that_orders_were_made_from_stay(desk: Desk) -> None:
    due = desk.next_session_due()
    with desk.ledger.transaction() as tx:
        decisions.save_plan(tx, builders.plan_header("p", session=due), [], [])
        decisions.set_plan_status(tx, "p", "working")
    moved = day.promote(desk, RIDGE, 2, actor="user:ada", reason="better")
    assert moved.changed and not moved.predictions.made and "stay" in moved.predictions.note
    assert predicted_by(desk)[RIDGE] == {1}
    assert day.rollback(desk, RIDGE, actor="user:ada", reason="worse").to_version == 1


def test_nothing_that_can_not_predict_is_promoted(desk: Desk) -> None:
    before = aliases(desk), last_move(desk)
    for version, error in ((99, "no version 99"), (None, "no challenger")):
        with pytest.raises((day.PromotionError, NoSuchVersion), match=error):
            day.promote(desk, RIDGE, version, actor="user:ada", reason="x")
    with pytest.raises(day.PromotionError, match="no strategy 'HYP-1'"):
        day.promote(desk, "HYP-1", 1, actor="user:ada", reason="x")
    with pytest.raises(day.PromotionError, match="no version under the alias previous"):
        day.rollback(desk, RIDGE, actor="user:ada", reason="x")
    assert (aliases(desk), last_move(desk)) == before


# by hand in the registry


def test_an_alias_moved_by_hand_is_found_and_told(desk: Desk) -> None:
    client(desk).set_registered_model_alias(RIDGE, "champion", "3")
    found = state(desk)
    assert found.ready and [m.kind.value for m in found.found] == ["moved_by_hand"]
    assert aliases(desk) == {"champion": 3, "previous": 1}
    assert last_move(desk)["actor"] == "user:unknown", "the readers see it"
    assert audited(desk)[-1][0] == "model_promoted"
    assert state(desk).found == (), "once"
    client(desk).set_registered_model_alias(RIDGE, "champion", "1")
    assert state(desk).found and aliases(desk) == {"champion": 1, "previous": 3}
    assert audited(desk)[-1][0] == "model_rolled_back"


def test_the_cycle_looks_before_it_predicts(desk: Desk) -> None:
    client(desk).set_registered_model_alias(RIDGE, "champion", "2")
    day.make_predictions(desk, desk.next_session_due(), "test")
    assert last_move(desk)["to_version"] == 2 and predicted_by(desk)[RIDGE] == {2}


def test_what_predicts_is_what_the_history_names_also_in_a_race(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An alias that moves after the look waits for the next one."""
    from hydra_pipelines.day import research

    look = research.look_at_registry

    def looked(*arguments: Any, **options: Any) -> Any:
        found = look(*arguments, **options)
        client(desk).set_registered_model_alias(RIDGE, "champion", "3")
        return found

    monkeypatch.setattr(research, "look_at_registry", looked)
    day.make_predictions(desk, desk.next_session_due(), "test")
    assert predicted_by(desk)[RIDGE] == {1} and last_move(desk)["to_version"] == 1


# lost and damaged


def delete_version(desk: Desk) -> None:
    client(desk).delete_model_version(RIDGE, "1")


def remove_alias(desk: Desk) -> None:
    desk.registry.drop_alias(RIDGE, "champion")


def move_to_one_without_arrays(desk: Desk) -> None:
    made = client(desk).create_model_version(RIDGE, "file:///nowhere")
    client(desk).set_registered_model_alias(RIDGE, "champion", made.version)


def move_to_one_of_another_desk(desk: Desk) -> None:
    ref = desk.registry.version(RIDGE, 2)
    made = client(desk).create_model_version(RIDGE, ref.location, tags=dict(ref.tags))
    client(desk).set_registered_model_alias(RIDGE, "champion", made.version)


def lose_the_file(desk: Desk) -> None:
    Path(unquote(urlsplit(desk.registry.version(RIDGE, 1).location).path), INFERENCE_FILE).unlink()


def change_the_file(desk: Desk) -> None:
    folder = Path(unquote(urlsplit(desk.registry.version(RIDGE, 1).location).path))
    (folder / INFERENCE_FILE).write_bytes(b"something else")


def forge_file_and_tag(desk: Desk) -> None:
    """A model put in the champion's place with its own hash in the tag: only our record tells."""
    other = desk.registry.version(RIDGE, 2)
    mine = desk.registry.version(RIDGE, 1)
    content = Path(unquote(urlsplit(other.location).path), INFERENCE_FILE).read_bytes()
    Path(unquote(urlsplit(mine.location).path), INFERENCE_FILE).write_bytes(content)
    desk.registry.set_tags(RIDGE, 1, {"inference_sha256": other.sha256})


@pytest.fixture
def files_restored(desk: Desk) -> Iterator[None]:
    """The versions' files are shared by all desks of these tests."""
    path = Path(unquote(urlsplit(desk.registry.version(RIDGE, 1).location).path), INFERENCE_FILE)
    content = path.read_bytes()
    yield
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "expected", "why"),
    [
        (delete_version, "version_deleted", "version 1 was deleted"),
        (remove_alias, "alias_removed", "rollback --model"),
        (move_to_one_without_arrays, "not_exported", "no inference arrays"),
        (move_to_one_of_another_desk, "not_recorded", "--to 5 takes it over"),
        (lose_the_file, "artifact_missing", "can't be read"),
        (change_the_file, "artifact_changed", "changed after training"),
        (forge_file_and_tag, "artifact_changed", "our record says"),
    ],
)
def test_a_strategy_without_its_model_stops_alone_and_says_so(
    desk: Desk, files_restored: None, damage: Any, expected: str, why: str
) -> None:
    damage(desk)
    champions = {c.strategy_id: c for c in day.ensure_champions(desk, desk.next_session_due())}
    assert champions[RIDGE].state == expected and why in (champions[RIDGE].error or "")
    assert champions[RIDGE].ref is None and champions[MOMENTUM].ref is not None
    assert len(desk.registry.versions(RIDGE)) in (3, 4, 5), "nothing was trained in its place"
    made = day.make_predictions(desk, desk.next_session_due(), "test")
    assert made.status == "partial_failure" and set(made.failures) == {RIDGE}
    assert predicted_by(desk) == {MOMENTUM: {1}}
    shown = {row["strategy_id"]: row for row in api.models(desk)["strategies"]}
    assert shown[RIDGE]["state"] == expected and shown[MOMENTUM]["state"] == "ready"
    assert list_models(desk)["history"][0]["to_version"] == desk.registry.aliases(RIDGE).get(
        "champion"
    ), "the history explains what is there"
    # A person's word brings it back, also where nothing was predicted any more.
    moved = day.promote(desk, RIDGE, 3, actor="user:ada", reason="mended")
    assert moved.changed and moved.predictions.made
    assert predicted_by(desk) == {RIDGE: {3}, MOMENTUM: {1}} and state(desk).ready


def test_a_version_of_another_desk_is_taken_over_on_a_persons_word(desk: Desk) -> None:
    move_to_one_of_another_desk(desk)
    assert state(desk).state == "not_recorded"
    day.promote(desk, RIDGE, 5, actor="user:ada", reason="ours")
    assert state(desk).ready and predicted_by(desk)[RIDGE] == {5}
    with desk.ledger.transaction() as tx:
        taken = decisions.model_version(tx, RIDGE, 5)
    assert taken is not None
    assert taken["trained_through"] == desk.next_session_due(), "as the registry says"


def test_a_registry_that_is_down_stops_all_and_changes_nothing(desk: Desk) -> None:
    path = Path(desk.registry.uri.removeprefix("sqlite:///"))
    content = path.read_bytes()
    before = last_move(desk)
    for damage in (path.unlink, lambda: path.write_bytes(b"no database at all" * 500)):
        damage()
        champions = day.ensure_champions(desk, desk.next_session_due())
        assert {c.state.value for c in champions} == {"registry_down"}
        assert last_move(desk) == before
        with pytest.raises((day.PromotionError, RegistryUnavailable)):
            day.promote(desk, RIDGE, 2, actor="user:ada", reason="x")
        assert not path.exists() or path.read_bytes().startswith(b"no database"), "not made anew"
        path.write_bytes(content)
    assert state(desk).ready


def test_odd_models_in_the_registry_are_shown_and_never_trade(desk: Desk) -> None:
    client(desk).create_registered_model('it\'s; a "model" -- ünïcode')
    client(desk).create_registered_model("HYP-2030-001")
    assert state(desk).ready
    assert api.models(desk)["other_models"] == ["HYP-2030-001", 'it\'s; a "model" -- ünïcode']


# the first version


def test_a_first_version_cut_short_goes_on_by_itself(
    models_desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the version was registered and before it was promoted."""
    from hydra_pipelines.day import models

    desk, due = models_desk, models_desk.next_session_due()
    client(desk).delete_registered_model(RIDGE)
    with desk.ledger.transaction() as tx:
        tx.execute("DELETE FROM promotions WHERE strategy_id = ?", [RIDGE])
        tx.execute("DELETE FROM model_versions WHERE strategy_id = ?", [RIDGE])
    promote = models.move_champion

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(models, "move_champion", killed)
    with pytest.raises(KeyboardInterrupt):
        day.ensure_champions(desk, due)
    assert desk.registry.versions(RIDGE) == (1,) and aliases(desk) == {}
    monkeypatch.setattr(models, "move_champion", promote)
    assert all(c.error is None for c in day.ensure_champions(desk, due))
    assert aliases(desk) == {"champion": 2} and last_move(desk)["kind"] == "first_version"


def test_versions_that_nobody_promoted_are_left_to_a_person(models_desk: Desk) -> None:
    desk = models_desk
    desk.registry.drop_alias(RIDGE, "champion")
    with desk.ledger.transaction() as tx:
        tx.execute("DELETE FROM promotions WHERE strategy_id = ?", [RIDGE])
    champions = {c.strategy_id: c for c in day.ensure_champions(desk, desk.next_session_due())}
    assert champions[RIDGE].state == "no_champion" and not champions[RIDGE].trained
    assert "hydra promote HYP-2026-001 --to 4" in (champions[RIDGE].error or "")


def test_without_a_registry_nothing_is_trained(models_desk: Desk) -> None:
    """Models that were promoted are in a registry that is gone: a new one would not know them."""
    (models_desk.settings.mlruns_path / "mlflow.db").unlink()
    said: list[str] = []
    with pytest.raises(RegistryUnavailable, match=f"{RIDGE}|{MOMENTUM}"):
        day.train_strategies(models_desk, models_desk.next_session_due(), said.append)
    assert said == [], "it begins with none of them"
    assert not (models_desk.settings.mlruns_path / "mlflow.db").exists()
