"""The agent's cure for orders that cost other than predicted: the slippage model re-estimated.

It changes what is predicted of orders, never what is sent; it is logged, and reversible.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydra_pipelines.agent.experiment import ExperimentResult
from hydra_pipelines.alerts import AlertKind
from hydra_pipelines.day.slippage import calibrate_slippage
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger import calibrations, experiments
from hydra_pipelines.ledger.store import LedgerError

COMMAND = "hydra calibrate-slippage"


def try_calibration(desk: Desk, experiment_id: str) -> ExperimentResult:
    """Estimate without putting it in force. Passed is one that is less biased than before."""
    from hydra_pipelines.monitoring.calibration import NotEnoughFills

    try:
        proposal = calibrate_slippage(
            desk, actor="agent", reason=experiment_id, dry_run=True
        ).proposal
    except (NotEnoughFills, LedgerError) as error:
        return ExperimentResult(experiment_id, error=str(error))
    before, after = proposal.was.relative_bias, proposal.is_now.relative_bias
    figures = {
        name: float(value)
        for name, value in (("relative_bias_before", before), ("relative_bias_after", after))
        if value is not None
    }
    better = before is not None and after is not None and abs(after) < abs(before)
    shown = ", ".join(f"{name.replace('_', ' ')} {value:+.2f}" for name, value in figures.items())
    message = f"passed: {shown}" if better else f"not less biased than the one in force: {shown}"
    return ExperimentResult(experiment_id, passed=better, message=message, figures=figures)


def put_calibration_in_force(desk: Desk, row: Mapping[str, Any], autonomy: str) -> str:
    """Do what the level of autonomy allows; a calibration of this experiment is made once."""
    name, decision, reason = row["experiment_id"], experiments.PENDING, ""
    if autonomy == "auto":
        with desk.ledger.transaction() as tx:
            made = [c for c in calibrations.history(tx) if name in (c["reason"] or "")]
        if not made:
            calibrate_slippage(
                desk, actor="agent", reason=f"experiment {name}: {row['hypothesis']}"
            )
        decision = experiments.PROMOTED
        reason = f"in force; to undo it: {COMMAND} --revert"
    else:
        reason = f"it would predict better: {COMMAND}"
        if autonomy == "propose":
            desk.alerts.send(
                AlertKind.PROMOTION,
                f"proposal {name}",
                "hydra: the slippage model should be calibrated anew",
                f"{row['results']['message']}. {COMMAND}",
            )
    with desk.ledger.transaction() as tx:
        experiments.decide(tx, row, decision, reason)
    return f"slippage model: {reason}"
