"""The gate asked for a registered version: its word is where a person reads it."""

from __future__ import annotations

from hydra_pipelines.day.gating import judge_version
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger import decisions
from hydra_pipelines.models.verdicts import verdict_of
from hydra_pipelines_tests.day.versions import RIDGE


def test_the_verdict_is_on_the_version_and_its_report_beside_the_run(models_desk: Desk) -> None:
    said: list[str] = []
    verdict = judge_version(models_desk, RIDGE, 2, said.append)
    assert verdict is not None and not verdict.passed, "the same configuration is no better"
    assert said == [f"{RIDGE}, version 2 against version 1: {verdict.message}"]

    version = models_desk.registry.version(RIDGE, 2)
    told = verdict_of(version.tags)
    assert told is not None and (told.passed, told.against) == (False, 1)
    assert told.reasons == ", ".join(verdict.reasons) and "not_better" in told.reasons
    assert told.figures["difference"] == 0.0
    assert told.figures["sessions"] == verdict.figures["sessions"] > 4000
    client = models_desk.registry._client()
    assert "gate.md" in {file.path for file in client.list_artifacts(version.run_id)}
    assert verdict_of(models_desk.registry.version(RIDGE, 3).tags) is None, "nobody asked"


def test_every_version_that_was_ever_trained_counts_as_a_trial(models_desk: Desk) -> None:
    with models_desk.ledger.transaction() as tx:
        trained = decisions.trial_sharpes(tx, RIDGE)
    assert sorted(trained) == [1, 2, 3, 4]
    models_desk.registry._client().delete_model_version(RIDGE, "4")
    verdict = judge_version(models_desk, RIDGE, 2)
    assert verdict is not None
    assert verdict.figures["trials"] == 4, "deleting one does not undo that it was tried"


def test_without_a_champion_there_is_nothing_to_be_better_than(models_desk: Desk) -> None:
    models_desk.registry.drop_alias(RIDGE, "champion")
    assert judge_version(models_desk, RIDGE, 2) is None
