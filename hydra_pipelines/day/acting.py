"""What follows from an experiment that passed the gate: a report, a proposal or a promotion.

Each may be done again after a crash: what is done already is found in the promotion history and not
done twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hydra_pipelines.alerts import AlertKind
from hydra_pipelines.day.alerting import tell_of_moves
from hydra_pipelines.day.champions import look_at_registry, moving
from hydra_pipelines.day.model_watch import journal_promotion, move_to
from hydra_pipelines.day.promotion import PromotionError, promote
from hydra_pipelines.day.recalibrating import put_calibration_in_force
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger import experiments

Row = Mapping[str, Any]


def act(desk: Desk, row: Row, autonomy: str) -> str:
    """Do what the level of autonomy allows with an experiment that passed; what was done.

    Raises RegistryError, PromotionError and LedgerError; then nothing was decided on it.
    """
    from hydra_pipelines.models.history import Move

    if row["decision"] != experiments.PENDING:
        return f"{_what(row)} is {row['decision']} already"
    if row["configuration"] is None:
        return put_calibration_in_force(desk, row, autonomy)
    if autonomy == "observe":
        return _leave(desk, row, "it passed the gate; the agent only observes: " + _command(row))
    with moving(desk):
        # Whatever a process that is gone left half-done is finished or abandoned by this look.
        look_at_registry(desk, verify=False)
        with desk.ledger.transaction() as tx:
            move = move_to(tx, row)
            if move is not None:
                journal_promotion(tx, desk, row, move)
        if move is not None:
            # Whoever carried it out may have ended before anybody was told.
            tell_of_moves([Move.of(move)], desk.alerts.send)
            return f"{_what(row)} was promoted by {move['actor']}"
        now = desk.registry.aliases(row["strategy_id"]).get("champion")
        if now != row["champion_version"]:
            return _decide(
                desk,
                row,
                experiments.REJECTED,
                f"the champion is version {now} now, and it was measured against "
                f"{row['champion_version']}",
            )
        if autonomy == "propose":
            return _propose(desk, row)
        if desk.control.agent_paused:
            raise PromotionError(f"{_what(row)} is not promoted: the agent is paused")
        return _promote(desk, row)


def _promote(desk: Desk, row: Row) -> str:
    try:
        promote(
            desk,
            row["strategy_id"],
            row["candidate_version"],
            actor="agent",
            reason=row["hypothesis"],
            evidence={
                "experiment": row["experiment_id"],
                "cycle": row["cycle_id"],
                "gate_figures": row["results"]["figures"],
            },
        )
    except PromotionError:
        with desk.ledger.transaction() as tx:
            if move_to(tx, row) is None:
                raise
        # It is champion, and what did not happen is the new predictions, which a later look makes.
    with desk.ledger.transaction() as tx:
        move = move_to(tx, row)
        assert move is not None
        journal_promotion(tx, desk, row, move)
    return f"{_what(row)} was promoted, in the place of {row['champion_version']}"


def _propose(desk: Desk, row: Row) -> str:
    """Put the version where a person finds it, and tell him."""
    from hydra_pipelines.models.registry import CHALLENGER

    name, version = row["strategy_id"], row["candidate_version"]
    desk.registry.set_alias(name, CHALLENGER, version)
    with desk.ledger.transaction() as tx:
        for earlier in experiments.waiting(tx):
            if earlier["strategy_id"] == name:
                why = f"{row['experiment_id']} was proposed in its place"
                experiments.decide(tx, earlier, experiments.REJECTED, why)
    desk.alerts.send(
        AlertKind.PROMOTION,
        f"proposal {row['experiment_id']}",
        f"hydra: a better version of {name} waits for your word",
        f"{row['hypothesis']}. Version {version} passed the gate against "
        f"{row['champion_version']}: the net difference is at least "
        f"{row['results']['figures'].get('difference_lower', float('nan')):+.1%} a year. "
        f"{_command(row)}, or move the alias in MLflow: {desk.registry.link(name, version)}",
    )
    return _leave(desk, row, "it waits as challenger: " + _command(row))


def tag_decision(desk: Desk, row: Row, say: Callable[[str], None]) -> None:
    """Show the decision in MLflow too; the journal is what counts, so a failure is only said."""
    from hydra_pipelines.models.registry import RegistryError

    if row["mlflow_run_id"] is None:
        return
    try:
        desk.registry.tag_run(row["mlflow_run_id"], {"decision": row["decision"]})
    except RegistryError as error:
        say(f"the decision on {row['experiment_id']} is not shown in MLflow: {error}")


def _leave(desk: Desk, row: Row, reason: str) -> str:
    return _decide(desk, row, experiments.PENDING, reason)


def _decide(desk: Desk, row: Row, decision: str, reason: str) -> str:
    with desk.ledger.transaction() as tx:
        experiments.decide(tx, row, decision, reason)
    return f"{_what(row)}: {reason}"


def _command(row: Row) -> str:
    return f"hydra promote {row['strategy_id']} --to {row['candidate_version']}"


def _what(row: Row) -> str:
    return f"version {row['candidate_version']} of {row['strategy_id']} ({row['mutation_type']})"
