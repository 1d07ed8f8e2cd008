"""Healing cycles: what is decided, by whom it may be carried out, and what is never done twice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hydra_pipelines import api, day
from hydra_pipelines.agent.experiment import ExperimentSpec
from hydra_pipelines.alerts import AlertKind
from hydra_pipelines.day.champions import moving
from hydra_pipelines.day.experimenting import run_experiment
from hydra_pipelines.day.healing import MAX_ATTEMPTS
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger import decisions, experiments, promotions
from hydra_pipelines.ledger.store import LedgerBusy, exclusive
from hydra_pipelines.models.registry import RegistryUnavailable
from hydra_pipelines_tests.day.healing_desk import Given, alarm, detect
from hydra_pipelines_tests.day.versions import RIDGE


@pytest.fixture
def desk(models_desk: Desk) -> Desk:
    """Version 1 of the ridge drifts, as of the session due."""
    detect(models_desk, models_desk.next_session_due(), alarm())
    return models_desk


def heal(desk: Desk, runner: Given | None = None, **agent: Any) -> day.Healed:
    """A cycle with these settings of the agent. The ledger stays open: faster."""
    changed = desk.settings.agent.model_copy(update=agent)
    desk.settings = desk.settings.model_copy(update={"agent": changed})
    due = desk.next_session_due()
    with moving(desk), desk.ledger.session():
        return day.heal(desk, due, "run", runner=runner or Given())


def aliases(desk: Desk) -> dict[str, int]:
    return desk.registry.aliases(RIDGE)


def moves(desk: Desk) -> list[tuple[str, int | None, str]]:
    """Kind, version and actor of the ridge's promotion history, the first version left out."""
    with desk.ledger.transaction() as tx:
        found = promotions.history(tx, RIDGE)
    return [(m["kind"], m["to_version"], m["actor"]) for m in found if m["kind"] != "first_version"]


def journal(desk: Desk) -> dict[str, str]:
    """Mutation -> decision of the latest cycle."""
    rows = api.experiments(desk, 100)
    return {r["mutation_type"]: r["decision"] for r in reversed(rows)}


def events(desk: Desk) -> list[dict[str, Any]]:
    with desk.ledger.transaction() as tx:
        found = tx.query(
            "SELECT details FROM audit_events WHERE event = 'experiment_finished' ORDER BY seq"
        )
    return [json.loads(row["details"]) for row in found]


def alerts(desk: Desk) -> list[tuple[str, str]]:
    return [(a.kind, a.title) for a in desk.alerts.recent(50)]


# what is decided


def test_the_best_that_passes_is_proposed_and_a_person_is_told(desk: Desk) -> None:
    runner = Given(outcomes=(2, 3, -4), lower={2: 0.01, 3: 0.02})
    done = heal(desk, runner, budget=3)
    assert done.done and not done.resumed and done.diagnoses[0]["cause"] == "concept_drift"
    assert aliases(desk) == {"champion": 1, "challenger": 3}, "nothing trades that nobody promoted"
    assert [r["decision"] for r in done.experiments] == ["rejected", "pending", "rejected"]
    first, best, last = done.experiments
    assert "was better" in first["reason"] and "hydra promote" in best["reason"]
    assert last["reason"] == "not_better: it is not"
    assert alerts(desk)[0] == (
        AlertKind.PROMOTION,
        f"hydra: a better version of {RIDGE} waits for your word",
    )
    assert [e["decision"] for e in events(desk)] == ["rejected", "rejected", "pending"]
    assert all(s.champion_version == 1 and len(s.earlier_trials) == 4 + 2 for s in runner.ran)
    told = api.agent(desk)
    assert told["state"] == "running" and told["counts"] == {"pending": 1, "rejected": 2}
    assert told["waiting"][0]["candidate_version"] == 3 and "challenger" in done.outcome
    assert told["last_cycle"]["cycle_id"] == done.cycle_id
    assert api.experiments(desk)[1]["mlflow"].endswith("/versions/3")


def test_with_autonomy_auto_it_is_promoted_once_and_watched(desk: Desk) -> None:
    done = heal(desk, Given(outcomes=(2,)), budget=2, autonomy="auto")
    assert aliases(desk)["champion"] == 2 and moves(desk) == [("promoted", 2, "agent")]
    assert journal(desk) == {"recent_window": "promoted", "other_window": "rejected"}
    with desk.ledger.transaction() as tx:
        move = promotions.history(tx, RIDGE, 1)[0]
    assert move["evidence"]["experiment"] == done.experiments[0]["experiment_id"]
    assert move["evidence"]["gate_figures"] == {"difference_lower": 0.01}
    (watch,) = api.agent(desk)["watches"]
    assert (watch["version"], watch["replaced_version"], watch["state"]) == (2, 1, "watching")
    assert watch["first_session"] > done.session
    assert (AlertKind.PROMOTION, f"hydra: {RIDGE} was promoted to version 2") in alerts(desk)
    assert day.watch_models(desk, done.session)[0].state == "watching"


def test_with_autonomy_observe_nothing_is_moved(desk: Desk) -> None:
    done = heal(desk, Given(outcomes=(2,)), budget=1, autonomy="observe")
    assert aliases(desk) == {"champion": 1} and moves(desk) == []
    assert "only observes" in done.outcome and done.experiments[0]["decision"] == "pending"


def test_a_candidate_that_is_no_better_is_rejected_and_not_tried_again(desk: Desk) -> None:
    first = Given(outcomes=(-2,))
    done = heal(desk, first, budget=1)
    assert journal(desk) == {"recent_window": "rejected"} and aliases(desk) == {"champion": 1}
    assert done.outcome == "1 experiments rejected: the champions stay"
    second = Given()
    heal(desk, second, budget=50)
    assert first.ran[0].configuration not in {s.configuration for s in second.ran}
    assert len(second.ran) > 5
    assert "nothing left to try" in heal(desk, second).outcome
    with desk.ledger.transaction() as tx:
        tx.execute("UPDATE experiments SET session = session - INTERVAL 100 DAY")
    third = Given()
    heal(desk, third, budget=1)
    assert third.ran[0].configuration == first.ran[0].configuration, "the cool-down is over"


def test_what_failed_is_tried_again(desk: Desk) -> None:
    failing = Given(outcomes=("it hung",))
    done = heal(desk, failing, budget=1)
    assert done.experiments[0]["decision"] == "failed"
    assert done.outcome == "1 failed: it hung" and done.experiments[0]["passed"] is None
    again = Given(outcomes=(2,))
    heal(desk, again, budget=1)
    assert again.ran[0].configuration == failing.ran[0].configuration
    assert aliases(desk)["challenger"] == 2


def test_no_drift_and_no_knowledge_ask_for_nothing(models_desk: Desk) -> None:
    due = models_desk.next_session_due()
    detect(models_desk, due, *(alarm(s.id, state="ok", decisive=False)
                               for s in models_desk.strategies))  # fmt: skip
    runner = Given()
    done = heal(models_desk, runner)
    assert done.done and done.outcome == "nothing to do: no drift is detected" and not runner.ran
    detect(models_desk, due, alarm(state="not_enough_data", decisive=False))
    assert "as far as is known" in heal(models_desk, runner).outcome and not runner.ran


def test_execution_that_degrades_asks_for_a_calibration(models_desk: Desk) -> None:
    due = models_desk.next_session_due()
    slip = alarm(None, "execution", detector="slippage_bias", subject="slippage")
    detect(models_desk, due, slip, alarm(state="ok", decisive=False))
    done = heal(models_desk)
    (row,) = done.experiments
    assert (row["mutation_type"], row["strategy_id"]) == ("slippage_pessimism", None)
    assert row["decision"] == "failed" and "fills" in row["reason"], "there are none to learn from"


# people


def test_a_proposal_that_a_person_promotes_is_journalled_and_watched(desk: Desk) -> None:
    heal(desk, Given(outcomes=(3,)), budget=1)
    day.promote(desk, RIDGE, actor="user:ada", reason="looks right")
    seen = day.watch_models(desk, desk.next_session_due())
    assert [(w.version, w.replaced_version, w.state) for w in seen] == [(3, 1, "watching")]
    (row,) = api.experiments(desk)
    assert (row["decision"], row["reason"]) == ("promoted", "promoted by user:ada: looks right")
    assert api.agent(desk)["watches"][0]["promoted_by"] == "user:ada"
    day.rollback(desk, RIDGE, actor="user:bob", reason="I do not trust it")
    (ended,) = day.watch_models(desk, desk.next_session_due())
    assert ended.state == "rolled_back" and "user:bob" in ended.sentence
    assert api.experiments(desk)[0]["decision"] == "rolled_back"
    assert day.watch_models(desk, desk.next_session_due()) == ()


def test_a_proposal_moved_by_hand_in_the_registry_counts_too(desk: Desk) -> None:
    heal(desk, Given(outcomes=(3,)), budget=1)
    desk.registry.set_alias(RIDGE, "champion", 3)
    (seen,) = day.watch_models(desk, desk.next_session_due())
    assert seen.version == 3 and api.experiments(desk)[0]["decision"] == "promoted"
    assert (AlertKind.PROMOTION, f"hydra: {RIDGE} was promoted to version 3") in alerts(desk)


def test_a_proposal_against_a_champion_of_the_past_is_worth_nothing(desk: Desk) -> None:
    heal(desk, Given(outcomes=(3,)), budget=1)
    day.promote(desk, RIDGE, 4, actor="user:ada", reason="another one")
    day.watch_models(desk, desk.next_session_due())
    (row,) = api.experiments(desk)
    assert row["decision"] == "rejected" and "version 4 trades now" in row["reason"]


def test_a_champion_that_was_moved_meanwhile_is_not_replaced(desk: Desk) -> None:
    class Moving(Given):
        def run(self, specs: Any) -> Any:
            yield from super().run(specs)
            day.promote(desk, RIDGE, 4, actor="user:ada", reason="meanwhile")

    done = heal(desk, Moving(outcomes=(2,)), budget=1, autonomy="auto")
    assert aliases(desk)["champion"] == 4 and journal(desk) == {"recent_window": "rejected"}
    assert "the champion is version 4 now" in done.outcome


def test_a_paused_agent_does_nothing_and_goes_on_later(desk: Desk) -> None:
    desk.control.set_agent_paused(True, "holiday", "user:ada")
    runner = Given(outcomes=(2,))
    done = heal(desk, runner, budget=1, autonomy="auto")
    assert done.cycle_id is None and "paused" in done.outcome and not runner.ran
    assert api.agent(desk)["by"] == "user:ada" and api.agent(desk)["cycles"] == []
    desk.control.set_agent_paused(False, "back", "user:ada")

    class Pausing(Given):
        def run(self, specs: Any) -> Any:
            yield from super().run(specs)
            desk.control.set_agent_paused(True, "wait", "user:ada")

    half = heal(desk, Pausing(outcomes=(2,)), budget=1, autonomy="auto")
    assert not half.done and moves(desk) == [], "no promotion while paused"
    assert day.watch_models(desk, half.session) == ()
    desk.control.set_agent_paused(False, "go on", "user:ada")
    again = Given()
    done = heal(desk, again)
    assert done.resumed and done.done and not again.ran and aliases(desk)["champion"] == 2


def test_another_rule_of_signals_is_kept_with_the_version(desk: Desk) -> None:
    due = desk.next_session_due()
    assert day.make_predictions(desk, due, "test").status == "success"
    held = {v: 0 for v in (1, 2)}
    held[1] = sum(r["signal"] for r in day.make_session_signals(desk, due).rows[RIDGE])
    runner = Given(outcomes=[2 if i == 5 else 0 for i in range(7)])
    done = heal(desk, runner, budget=7, autonomy="auto")
    (row,) = (r for r in done.experiments if r["decision"] == "promoted")
    assert row["mutation_type"] == "other_threshold"
    assert row["difference"] == {"signal.top_fraction": [0.25, 0.5]}
    held[2] = sum(r["signal"] for r in day.make_session_signals(desk, due).rows[RIDGE])
    assert held[2] == 2 * held[1] > 0
    with desk.ledger.transaction() as tx:
        settings = vars(desk.strategies[0].signal)
        assert experiments.signal_rule(tx, RIDGE, 2, settings)["top_fraction"] == 0.5
        changed = {**settings, "top_fraction": 0.1}
        assert experiments.signal_rule(tx, RIDGE, 2, changed) is None, "a person has the last word"


# trouble


def test_a_registry_that_fails_stops_the_cycle_and_the_next_one_goes_on(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RegistryUnavailable("the disk is full")

    runner = Given(outcomes=(2,))
    with monkeypatch.context() as patch:
        patch.setattr(desk.registry, "set_alias", broken)
        with pytest.raises(RegistryUnavailable):
            heal(desk, runner, budget=1, autonomy="auto")
    assert aliases(desk)["champion"] == 1
    done = heal(desk, Given())
    assert done.resumed and aliases(desk)["champion"] == 2 and len(runner.ran) == 1
    assert moves(desk) == [("promoted", 2, "agent")]


def test_experiments_without_a_registry_fail_and_are_made_again(desk: Desk) -> None:
    class Unreadable(Given):
        """The real experiment, with MLflow's store in the way of being read."""

        def run(self, specs: Any) -> Any:
            store = Path(desk.registry.uri.removeprefix("sqlite:///"))
            aside = store.rename(store.with_name("aside"))
            store.write_text("this is no database")
            try:
                yield from [run_experiment(desk, spec) for spec in specs]
            finally:
                aside.rename(store)

    done = heal(desk, Unreadable(), budget=2)
    assert done.done and {r["decision"] for r in done.experiments} == {"failed"}
    assert "not a database" in done.experiments[0]["reason"] and "2 failed" in done.outcome
    assert desk.registry.versions(RIDGE) == (1, 2, 3, 4), "nothing half-made is left"
    again = Given(outcomes=(2,))
    heal(desk, again, budget=2)
    assert [s.mutation_type for s in again.ran] == [r["mutation_type"] for r in done.experiments]
    assert aliases(desk)["challenger"] == 2


def test_an_experiment_that_died_after_registering_takes_its_version_up(desk: Desk) -> None:
    spec = ExperimentSpec(
        "x-01", "x", RIDGE, desk.next_session_due(), "other_window", "why",
        desk.strategies[0].configuration, 1, (0.5, 0.6),
    )  # fmt: skip
    desk.registry.set_tags(RIDGE, 3, spec.tags)
    done = run_experiment(desk, spec)
    assert (done.error, done.candidate_version, done.passed) == (None, 3, False)
    assert done.figures["trials"] == 3 and "not_better" in done.reasons
    assert desk.registry.versions(RIDGE) == (1, 2, 3, 4), "nothing was trained again"
    assert desk.registry._client().get_run(done.mlflow_run_id).data.tags["verdict"] == "not passed"
    late = run_experiment(desk, replace(spec, champion_version=2))
    assert late.error is not None and "the champion is version 1 now" in late.error
    gone = run_experiment(desk, replace(spec, strategy_id="HYP-2026-009"))
    assert gone.error is not None and "no strategy 'HYP-2026-009'" in gone.error


def test_one_that_never_ends_is_given_up(desk: Desk) -> None:
    class Dying(Given):
        def run(self, specs: Any) -> Any:
            raise KeyboardInterrupt

    for _ in range(MAX_ATTEMPTS):
        with pytest.raises(KeyboardInterrupt):
            heal(desk, Dying(), budget=1)
    last = Given()
    done = heal(desk, last, budget=1)
    assert not last.ran and done.experiments[0]["decision"] == "failed"
    assert f"begun {MAX_ATTEMPTS} times" in done.experiments[0]["reason"]


def test_one_that_nobody_hears_of_again_has_failed(desk: Desk) -> None:
    class Silent(Given):
        def run(self, specs: Any) -> Any:
            yield from super().run(specs[:1])

    done = heal(desk, Silent(outcomes=(2,)), budget=2)
    assert [r["decision"] for r in done.experiments] == ["pending", "failed"]
    assert "no result" in done.experiments[1]["reason"] and aliases(desk)["challenger"] == 2


def test_one_cycle_at_a_time(desk: Desk) -> None:
    lock = desk.settings.data_path / "agent.lock"
    held = pytest.raises(LedgerBusy, match="healing cycle is held by process")
    with exclusive(lock, 1, "a test"), held:
        heal(desk)


def test_a_desk_without_a_champion_has_nothing_to_compare_with(desk: Desk) -> None:
    desk.registry.drop_alias(RIDGE, "champion")
    runner = Given()
    assert "nothing left to try" in heal(desk, runner).outcome and not runner.ran


def test_every_version_that_is_tried_counts_for_the_next(desk: Desk) -> None:
    runner = Given()
    heal(desk, runner, budget=1)
    with desk.ledger.transaction() as tx:
        known = decisions.trial_sharpes(tx, RIDGE)
    assert sorted(runner.ran[0].earlier_trials) == sorted(known.values())
