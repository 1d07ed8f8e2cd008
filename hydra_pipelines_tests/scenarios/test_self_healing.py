"""The whole reaction on real data: drift, diagnosis, experiments, a decision, and its undoing.

Models are trained, judged and watched as on any desk, in processes of their own. `make healing`
adds the regimes of 2008 and 2020, which take minutes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from hydra_pipelines import api, day
from hydra_pipelines.alerts import AlertKind
from hydra_pipelines.day.gathering import flaws_of
from hydra_pipelines.desk import Desk
from hydra_pipelines.settings import load_settings
from hydra_pipelines_tests.desks import Flawed
from hydra_pipelines_tests.scenarios.regimes import regime_desk, replay_predictions

RIDGE = "HYP-2026-001"
CRISIS = date(2009, 3, 20)
"""Momentum turned around in this month: the worst for a rule that follows it."""
long_form = pytest.mark.skipif(
    not os.environ.get("HEALING"), reason="takes minutes: `make healing` runs it"
)


def ridge(**changes: Any) -> list[dict[str, Any]]:
    """The ridge of hydra.yaml alone, with changes."""
    return [{**load_settings().strategies[0].model_dump(), **changes}]


def change(desk: Desk, **sections: dict[str, Any]) -> None:
    """Other settings from here on."""
    changed = {
        name: getattr(desk.settings, name).model_copy(update=values)
        for name, values in sections.items()
    }
    desk.settings = desk.settings.model_copy(update=changed)
    desk.__dict__.pop("gate_limits", None)


def go_on(desk: Desk, sessions: int) -> date:
    """Bars, features and predictions of so many more sessions; the last of them."""
    last: date = desk.features.view().sessions[-1].item()
    until = desk.calendar.next(last, sessions)
    assert not day.ingest_bars(desk, until).errors
    day.make_features(desk, until)
    replay_predictions(desk, desk.calendar.between(desk.calendar.next(last), until))
    return until


def in_dagster(desk: Desk, session: date) -> dict[str, dict[str, Any]]:
    """The job `self_heal`: asset -> what its materialisation shows."""
    import dagster as dg

    from hydra_pipelines.definitions import build_defs

    job = build_defs(desk.settings).resolve_job_def("self_heal")
    with dg.DagsterInstance.ephemeral() as instance:
        done = job.execute_in_process(instance=instance, partition_key=session.isoformat())
        assert done.success
        shown = {}
        for event in done.get_asset_materialization_events():
            made = event.materialization
            shown[made.asset_key.to_user_string()] = {
                name: value.value for name, value in made.metadata.items()
            }
    return shown


def run_tags(desk: Desk, row: dict[str, Any]) -> dict[str, str]:
    """What MLflow shows of an experiment's run."""
    return dict(desk.registry._client().get_run(row["mlflow_run_id"]).data.tags)


def audited(desk: Desk) -> list[tuple[str, str, str | None]]:
    """(event, actor, decision) of what became of models and experiments, in order."""
    with desk.ledger.transaction() as tx:
        rows = tx.query(
            "SELECT event, actor, details ->> '$.decision' AS decision FROM audit_events WHERE "
            "event IN ('drift_detected', 'experiment_finished', 'model_promoted', "
            "'model_rolled_back') AND details ->> '$.kind' IS DISTINCT FROM 'first_version' "
            "ORDER BY seq"
        )
    return [(r["event"], r["actor"], r["decision"]) for r in rows]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("crisis") / "desk"
    made = regime_desk(folder, date(2008, 12, 31), CRISIS, strategies=ridge(), agent={"budget": 2})
    yield made
    made.close()


def test_1_candidates_that_are_no_better_are_rejected_with_the_evidence_shown(desk: Desk) -> None:
    shown = in_dagster(desk, CRISIS)
    assert list(shown) == ["model_watches", "diagnosis", "experiments", "healing_cycle"]
    told = api.agent(desk)
    (diagnosis,) = told["last_cycle"]["diagnoses"]
    assert diagnosis["cause"] == "regime_change" and "volatility" in diagnosis["evidence"][0]
    assert shown["healing_cycle"]["outcome"] == "2 experiments rejected: the champions stay"
    assert shown["healing_cycle"]["cycle"] == told["last_cycle"]["cycle_id"]
    rows = api.experiments(desk)
    assert [(r["mutation_type"], r["decision"]) for r in rows] == [
        ("other_window", "rejected"),
        ("more_regularisation", "rejected"),
    ]
    for row in rows:
        figures = row["results"]["figures"]
        assert "not_better" in row["reason"] and figures["sessions"] > 2000
        assert figures["difference_lower"] < figures["margin"]
        assert figures["trials"] == 3, "the champion, this one and the other one of the cycle"
        tags = run_tags(desk, row)
        assert tags["hypothesis"] == row["hypothesis"] and tags["cycle"] == row["cycle_id"]
        assert tags["mutation_type"] == row["mutation_type"]
        assert (tags["verdict"], tags["decision"]) == ("not passed", "rejected")
        linked = [r.data["mlflow"] for r in shown["healing_cycle"]["journal"].records]
        assert row["mlflow"] in linked
    assert desk.registry.aliases(RIDGE) == {"champion": 1}
    assert audited(desk) == [
        ("drift_detected", "system", None),
        ("experiment_finished", "agent", "rejected"),
        ("experiment_finished", "agent", "rejected"),
    ]


def test_2_what_a_lax_gate_lets_through_is_rolled_back_by_what_comes(desk: Desk) -> None:
    change(
        desk,
        agent={"budget": 1, "autonomy": "auto"},
        promotion={"confidence": 0.5, "margin": 0.0, "min_deflated_sharpe": 0.0},
    )
    done = day.heal(desk, CRISIS, "a run")
    (row,) = done.experiments
    assert (row["mutation_type"], row["decision"]) == ("other_family", "promoted")
    version = row["candidate_version"]
    assert desk.registry.aliases(RIDGE) == {"champion": version, "previous": 1}
    assert json.loads(desk.registry.version(RIDGE, version).tags["features"]) == ["momentum_12_1_z"]
    first = desk.calendar.next(CRISIS)
    assert [w.state for w in day.watch_models(desk, first)] == ["watching"]

    later = go_on(desk, 16)
    (watched,) = day.watch_models(desk, later)
    assert watched.state == "rolled_back" and watched.comparison is not None
    assert watched.comparison.sessions == 10, "half of the sessions are enough for this much worse"
    assert watched.comparison.rank_ic_difference < -0.1 > watched.comparison.return_difference
    assert desk.registry.aliases(RIDGE) == {"champion": 1, "previous": version}
    assert api.experiments(desk, 1)[0]["decision"] == "rolled_back"
    assert run_tags(desk, row)["verdict"] == "passed"
    assert audited(desk)[3:] == [
        ("model_promoted", "agent", None),
        ("experiment_finished", "agent", "promoted"),
        ("model_rolled_back", "agent", None),
        ("experiment_finished", "agent", "rolled_back"),
    ]
    kinds = [alert.kind for alert in desk.alerts.recent(3)]
    assert kinds[0] == AlertKind.ROLLBACK and AlertKind.PROMOTION in kinds
    assert day.watch_models(desk, later) == (), "nothing is left to watch"


def test_3_damaged_data_stops_all_of_it_and_a_person_is_told(desk: Desk) -> None:
    last: date = desk.features.view().sessions[-1].item()
    damaged = desk.calendar.next(last)
    source = desk.source
    desk.__dict__["source"] = Flawed(source, damaged, -1.0)
    try:
        assert day.ingest_bars(desk, damaged).errors
        day.make_features(desk, damaged)
        before = len(api.experiments(desk, 100))
        trained = desk.registry.versions(RIDGE)
        shown = in_dagster(desk, damaged)
        following = desk.calendar.next(damaged)
        day.ingest_bars(desk, following)
        day.make_features(desk, following)
        again = day.heal(desk, following)
    finally:
        desk.__dict__["source"] = source
    told = api.agent(desk)["last_cycle"]
    assert [d["cause"] for d in told["diagnoses"]] == ["data_quality"]
    assert "refused to retrain" in told["outcome"] == shown["healing_cycle"]["outcome"]
    assert len(api.experiments(desk, 100)) == before and desk.registry.versions(RIDGE) == trained
    assert any("data is damaged" in alert.title for alert in desk.alerts.recent(3))
    assert again.refused, "what was wrong a session ago would be learnt from all the same"
    day.ingest_bars(desk, following)
    assert flaws_of(desk, following)[0].check == "stale", "the features are of the damaged bars"
    day.make_features(desk, following)
    assert flaws_of(desk, following) == (), "the source is right again, and so are the bars"


@long_form
@pytest.mark.parametrize(
    ("trained", "first", "last"),
    [
        (date(2007, 12, 31), date(2008, 9, 15), date(2009, 2, 27)),
        (date(2019, 12, 31), date(2020, 3, 2), date(2020, 8, 31)),
    ],
    ids=["2008", "2020"],
)
def test_a_regime_is_noticed_and_a_better_version_proposed(
    trained: date, first: date, last: date, tmp_path: Path
) -> None:
    short_sighted = ridge(parameters={"alpha": 1000.0, "window_sessions": 504})
    desk = regime_desk(
        tmp_path / "desk", trained, last, strategies=short_sighted, agent={"budget": 3}
    )
    found = None
    for session in desk.calendar.between(first, last)[::3]:
        if day.check_drift(desk, session, "a check").drifted:
            found = session
            break
    assert found is not None and found < desk.calendar.next(last, -30)
    done = day.heal(desk, found, "a run")
    assert done.done and done.diagnoses[0]["cause"] in ("regime_change", "concept_drift")
    decisions = {r["mutation_type"]: r["decision"] for r in done.experiments}
    assert sorted(decisions.values()).count("pending") == 1, decisions
    (row,) = (r for r in done.experiments if r["decision"] == "pending")
    figures = row["results"]["figures"]
    assert figures["difference_lower"] > figures["margin"] and figures["deflated_sharpe"] > 0.95
    assert desk.registry.aliases(RIDGE)["challenger"] == row["candidate_version"]
    assert run_tags(desk, row)["verdict"] == "passed"
    assert any("waits for your word" in alert.title for alert in desk.alerts.recent(5))

    day.promote(desk, RIDGE, actor="user:ada", reason="the evidence is good")
    (watched,) = day.watch_models(desk, desk.calendar.next(found, 26))
    assert watched.state in ("kept", "rolled_back") and watched.comparison is not None
    assert watched.comparison.sessions == 20
    decided = {"kept": "promoted", "rolled_back": "rolled_back"}[watched.state]
    assert api.experiments(desk, 10)[int(row["experiment_id"][-2:]) - 1]["decision"] == decided
    print(f"{trained.year + 1}: drift on {found}, {row['mutation_type']}, {watched.sentence}")
