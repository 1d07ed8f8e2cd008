"""Strategies, their versions and the promotion history as plain rows, for people to read.

Read-only: from the published snapshot and the registry, and nothing is mended on the way.
"""

from __future__ import annotations

from typing import Any

from hydra_pipelines.day.champions import StrategyModel, model_states
from hydra_pipelines.day.promotion import figures_of
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger import promotions

Row = dict[str, Any]


def list_models(desk: Desk, history: int = 10) -> Row:
    """How every strategy's model stands.

    strategies: a row each, with `champion`, `challenger` and `previous` as rows of their own or
    None. history: the last moves, the latest first. other_models: registered models that are no
    strategy's; they never trade. Raises LedgerMissing before the first cycle.
    """
    from hydra_pipelines.models.registry import RegistryError

    declared = {s.id: s for s in desk.settings.strategies}
    states = model_states(desk)
    with desk.ledger.snapshot() as rows:
        moves = promotions.history(rows, limit=history)
    try:
        others = set(desk.registry.models()) - declared.keys() if desk.registry.exists() else set()
    except RegistryError:
        others = set()
    return {
        "strategies": [
            {
                "strategy_id": model.strategy_id,
                "title": declared[model.strategy_id].title,
                "status": declared[model.strategy_id].status,
                "family": declared[model.strategy_id].family,
                "capital_weight": declared[model.strategy_id].capital_weight,
                "state": model.state.value,
                "why": model.why,
                "champion": _version(desk, model, model.champion),
                "challenger": _version(desk, model, model.challenger),
                "previous": _version(desk, model, model.previous),
                "versions": list(model.versions),
                "mlflow": desk.registry.link(model.strategy_id),
            }
            for model in states
        ],
        "history": moves,
        "other_models": sorted(others),
    }


def describe_version(desk: Desk, strategy_id: str, version: int) -> Row:
    """A version for people: when it was trained, its figures, the gate's verdict, and where it is.

    Raises NoSuchVersion or RegistryUnavailable.
    """
    from hydra_pipelines.models.verdicts import verdict_of

    ref = desk.registry.version(strategy_id, version)
    verdict = verdict_of(ref.tags)
    return {
        "version": version,
        "trained_through": ref.as_of or None,
        "figures": figures_of(ref),
        "gate": vars(verdict) | {"sentence": verdict.sentence} if verdict else None,
        "mlflow": desk.registry.link(strategy_id, version),
    }


def _version(desk: Desk, model: StrategyModel, version: int | None) -> Row | None:
    from hydra_pipelines.models.registry import RegistryError

    if version is None:
        return None
    try:
        return describe_version(desk, model.strategy_id, version)
    except RegistryError:
        return {"version": version}
