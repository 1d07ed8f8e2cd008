"""Slippage after trading: the reconciliation of the journal, and the predictor's calibration.

A calibration changes what is predicted of orders, never what is sent. It is logged, and undone by
a row of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger import audit, calibrations
from hydra_pipelines.ledger.audit import AuditEvent
from hydra_pipelines.ledger.store import Ledger, LedgerMissing, Rows

if TYPE_CHECKING:
    from hydra_pipelines.monitoring.calibration import Calibration
    from hydra_pipelines.monitoring.reconciliation import SlippageReport


def slippage_report(
    desk: Desk,
    rows: Rows,
    *,
    symbol: str | None = None,
    since: date | datetime | None = None,
) -> SlippageReport:
    """The fills of the window, or from `since` on, against what was predicted of them."""
    from hydra_pipelines.monitoring.reconciliation import reconcile_journal

    return reconcile_journal(
        calibrations.observations(
            rows,
            symbol=symbol,
            since=since,
            sessions=None if since else desk.settings.slippage.window_sessions,
        ),
        desk.slippage_by(rows),
    )


def reconcile_slippage(desk: Desk) -> SlippageReport | None:
    """The report on the window as last published; None before the first cycle."""
    try:
        with desk.ledger.snapshot() as rows:
            return slippage_report(desk, rows)
    except LedgerMissing:
        return None


@dataclass(frozen=True)
class Calibrated:
    """number: of the calibration in the ledger; None where it was only tried."""

    number: int | None
    proposal: Calibration


def calibrate_slippage(
    desk: Desk,
    *,
    actor: str,
    reason: str,
    run_id: str | None = None,
    since: date | None = None,
    until: date | None = None,
    dry_run: bool = False,
) -> Calibrated:
    """Re-estimate the predictor from the fills and put the result in force.

    since, until: execution sessions; without `since` the window of the settings. Raises
    NotEnoughFills, and LedgerMissing before the first cycle.
    """
    from hydra_pipelines.monitoring.calibration import propose
    from hydra_pipelines.monitoring.reconciliation import comparable

    with _existing(desk).session():
        with desk.ledger.transaction() as tx:
            found = calibrations.observations(
                tx,
                since=since,
                until=until,
                sessions=None if since else desk.settings.slippage.window_sessions,
            )
            proposal = propose(comparable(found)[0], desk.slippage_by(tx))
            if dry_run:
                return Calibrated(None, proposal)
            number = calibrations.record(
                tx,
                {
                    "settings": desk.slippage_by(None).parameters(),
                    "before": proposal.before.parameters(),
                    "after": proposal.after.parameters(),
                    "first_session": proposal.first,
                    "last_session": proposal.last,
                    "fills": proposal.fills,
                    "orders": proposal.orders,
                    "relative_bias_before": proposal.was.relative_bias,
                    "relative_bias_after": proposal.is_now.relative_bias,
                    "notes": list(proposal.notes),
                    "actor": actor,
                    "reason": reason,
                    "run_id": run_id,
                },
            )
            audit.log(
                tx,
                AuditEvent.SETTING_CHANGED,
                {
                    "setting": "slippage",
                    "calibration": number,
                    "before": proposal.before.parameters(),
                    "after": proposal.after.parameters(),
                    "reason": reason,
                },
                actor=actor,
                run_id=run_id,
            )
        desk.ledger.publish()
    return Calibrated(number, proposal)


def revert_calibration(
    desk: Desk, *, actor: str, reason: str, run_id: str | None = None
) -> dict[str, Any] | None:
    """Undo the calibration in force and return it; None where none is.

    What was in force before is again. Raises LedgerMissing before the first cycle.
    """
    with _existing(desk).session():
        with desk.ledger.transaction() as tx:
            base = desk.slippage_by(None).parameters()
            undone = calibrations.undo(tx, base, actor=actor, reason=reason)
            if undone is None:
                return None
            audit.log(
                tx,
                AuditEvent.SETTING_CHANGED,
                {
                    "setting": "slippage",
                    "calibration_undone": undone["id"],
                    "before": undone["after"],
                    "after": desk.slippage_by(tx).parameters(),
                    "reason": reason,
                },
                actor=actor,
                run_id=run_id,
            )
        desk.ledger.publish()
    return undone


def _existing(desk: Desk) -> Ledger:
    if not desk.ledger.path.exists():
        raise LedgerMissing(
            f"no ledger at {desk.ledger.path} yet: run a first cycle: `hydra cycle`"
        )
    return desk.ledger
