"""The promotion gate asked for a registered version; its verdict goes where a person sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from typing import TYPE_CHECKING

from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger import accounts, decisions

if TYPE_CHECKING:
    from hydra_pipelines.models.gate import Verdict
    from hydra_pipelines.models.registry import ChampionRef
    from hydra_pipelines.models.strategies import StrategySpec

REPORT = "gate.md"


def judge_version(
    desk: Desk,
    strategy_id: str,
    number: int,
    say: Callable[[str], None] = lambda _: None,
    earlier_trials: Sequence[float] | None = None,
) -> Verdict | None:
    """Hold a version's configuration against the champion's; None where there is no champion.

    Both are walked forward over the sessions that the version was trained on. The verdict is
    written as tags on the version and as a report beside its run; no alias is moved.
    earlier_trials: Sharpe ratios to count instead of all other versions'. Raises RegistryError
    and TrainingError, and StrategyError where a configuration can't be had any more.
    """
    from hydra_pipelines.features.panel import read_features
    from hydra_pipelines.market.ingest import bar_panel
    from hydra_pipelines.models.contest import Capacity, contest
    from hydra_pipelines.models.gate import report

    champion = desk.registry.champion(strategy_id)
    if champion is None:
        return None
    candidate = desk.registry.version(strategy_id, number)
    as_of = date.fromisoformat(candidate.as_of)
    spec = next(s for s in desk.candidates if s.id == strategy_id)
    verdict = contest(
        configured(spec, candidate),
        configured(spec, champion),
        read_features(desk.features, last=as_of),
        bar_panel(desk.bars.view(), last=as_of),
        as_of,
        _earlier_trials(desk, strategy_id, number) if earlier_trials is None else earlier_trials,
        Capacity(_capital(desk) * spec.capital_weight, desk.settings.slippage.assumed_adv_usd),
        desk.gate_limits,
    )
    desk.registry.set_tags(strategy_id, number, tags_of(verdict, champion.version))
    title = f"{strategy_id}, version {number} against version {champion.version}"
    desk.registry.add_report(candidate.run_id, REPORT, report(title, verdict))
    say(f"{title}: {verdict.message}")
    return verdict


def tags_of(verdict: Verdict, champion: int) -> dict[str, str]:
    """The verdict as a person reads it in the MLflow UI before he moves the alias."""
    return {
        "gate": "passed" if verdict.passed else "not passed",
        "gate_against_version": str(champion),
        "gate_reasons": ", ".join(verdict.reasons) or "none",
        "gate_warnings": "; ".join(verdict.warnings) or "none",
        **{f"gate_{name}": f"{value:.6g}" for name, value in verdict.figures.items()},
    }


def configured(spec: StrategySpec, version: ChampionRef) -> StrategySpec:
    """The strategy as it was when the version was trained."""
    configuration = version.tags.get("configuration")
    return spec.as_configured(configuration) if configuration else spec


def _earlier_trials(desk: Desk, strategy_id: str, number: int) -> list[float]:
    """Sharpe ratios of every other version that was ever trained, deleted ones included."""
    with desk.ledger.transaction() as tx:
        sharpes = decisions.trial_sharpes(tx, strategy_id)
    return [sharpe for version, sharpe in sharpes.items() if version != number]


def _capital(desk: Desk) -> float:
    """Equity in USD as last synchronised; NaN where an account was never seen."""
    with desk.ledger.transaction() as tx:
        equity = accounts.latest_equity(tx)
    if equity is not None:
        return float(equity)
    return float(desk.settings.embedded.cash) if desk.embedded else float("nan")
