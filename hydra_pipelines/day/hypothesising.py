"""From diagnoses to experiments: what the playbook has for them, as rows of the journal.

Here belongs what a plan depends on beside the playbook: budget, cool-down, champions, trials.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from hydra_pipelines.agent.diagnosis import Diagnosis
from hydra_pipelines.agent.experiment import ExperimentSpec
from hydra_pipelines.day.champions import ModelState, look_at_registry
from hydra_pipelines.day.gating import configured
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger import decisions, experiments

if TYPE_CHECKING:
    from hydra_pipelines.agent.playbook import Proposal
    from hydra_pipelines.models.strategies import StrategySpec

Row = Mapping[str, Any]


def plan(desk: Desk, session: date, diagnoses: Sequence[Diagnosis]) -> tuple[Proposal, ...]:
    """What is worth trying, within the budget and without what was rejected lately.

    Raises RegistryError where a champion can't be looked at.
    """
    from hydra_pipelines.agent.playbook import key_of, proposals, shared
    from hydra_pipelines.models.registry import RegistryUnavailable

    s = desk.settings.agent
    since = desk.calendar.next(session, -s.cool_down_sessions)
    with desk.ledger.transaction() as tx:
        before = experiments.rejected_since(tx, since) + experiments.waiting(tx)
    tried = {key_of(r["strategy_id"], r["mutation_type"], r["difference"]) for r in before}
    champions = {}
    for model in look_at_registry(desk, verify=False):
        if model.state is ModelState.REGISTRY_DOWN:
            raise RegistryUnavailable(f"{model.strategy_id}: {model.why}")
        if model.ready:
            champions[model.strategy_id] = model.ref
    wishes = []
    for diagnosis in diagnoses:
        if not diagnosis.cause.has_cure:
            continue
        name, champion = diagnosis.strategy_id, None
        if name is not None:
            ref = champions.get(name)
            if ref is None:
                # Without a champion there is nothing to be better than.
                continue
            champion = configured(declared(desk, name), ref)
        wishes.append(proposals(diagnosis, champion, tried))
    return shared(wishes, s.budget)


def declared(desk: Desk, strategy_id: str) -> StrategySpec:
    """The strategy as the settings have it."""
    return next(spec for spec in desk.candidates if spec.id == strategy_id)


def rows_of(
    desk: Desk, cycle_id: str, session: date, planned: Sequence[Proposal]
) -> list[dict[str, Any]]:
    """The experiments as rows of the journal, with all that their results will depend on."""
    champion: dict[str, int | None] = {}
    trials: dict[str, list[float]] = {}
    for name in {p.strategy_id for p in planned if p.strategy_id is not None}:
        champion[name] = desk.registry.aliases(name).get("champion")
        with desk.ledger.transaction() as tx:
            known = list(decisions.trial_sharpes(tx, name).values())
        # Those of this cycle are trials too: how well they do is not known yet, that they are made
        # is. So the verdict on one does not depend on which was faster.
        siblings = sum(p.strategy_id == name for p in planned) - 1
        trials[name] = known + [sum(known) / len(known)] * siblings if known else []
    return [
        {
            "experiment_id": f"{cycle_id}-{number:02d}",
            "cycle_id": cycle_id,
            "session": session,
            "strategy_id": p.strategy_id,
            "cause": p.cause.value,
            "hypothesis": p.hypothesis,
            "mutation_type": p.mutation_type,
            "difference": p.difference,
            "configuration": p.configuration,
            "champion_version": champion.get(p.strategy_id) if p.strategy_id else None,
            "earlier_trials": trials.get(p.strategy_id, []) if p.strategy_id else [],
        }
        for number, p in enumerate(planned, 1)
    ]


def spec_of(row: Row) -> ExperimentSpec:
    """The specification of an experiment of the journal."""
    return ExperimentSpec(
        experiment_id=row["experiment_id"],
        cycle_id=row["cycle_id"],
        strategy_id=row["strategy_id"],
        session=row["session"],
        mutation_type=row["mutation_type"],
        hypothesis=row["hypothesis"],
        configuration=json.dumps(row["configuration"], sort_keys=True),
        champion_version=row["champion_version"],
        earlier_trials=tuple(row["earlier_trials"]),
    )
