"""The control store's journal taken over into the ledger's audit trail.

The control store can be written when the ledger can't, so that is where a halt is noted first.
What it noted is carried over by the next stage that writes to the ledger, each entry once.
"""

from __future__ import annotations

import json

from hydra_pipelines.control import Control, ControlEvent
from hydra_pipelines.ledger.audit import AuditEvent
from hydra_pipelines.ledger.store import Transaction

_AUDITED_AS: dict[str, AuditEvent] = {
    ControlEvent.AGENT_PAUSED: AuditEvent.AGENT_PAUSED,
    ControlEvent.BREAKER_TRIPPED: AuditEvent.BREAKER_TRIPPED,
    ControlEvent.BREAKER_RESET: AuditEvent.BREAKER_RESET,
    **{
        event.value: event
        for event in (
            AuditEvent.CONNECTION_LOST,
            AuditEvent.CONNECTION_RESTORED,
            AuditEvent.DRILL,
            AuditEvent.PAPER_GATE_SIGNED_OFF,
            AuditEvent.SETTING_CHANGED,
        )
    },
}
"""All else is a manual action, named by its `action`."""


def carry_over(control: Control, tx: Transaction) -> int:
    """Append what the audit trail doesn't have yet, with the time at which it happened.

    Returns how many entries that were. Raises ControlError.
    """
    store = control.store_id
    last = tx.value(
        "SELECT coalesce(max(control_seq), 0) FROM audit_events WHERE control_store = ?", [store]
    )
    rows = []
    for entry in control.journal(since=last):
        audited_as = _AUDITED_AS.get(entry.event, AuditEvent.MANUAL_ACTION)
        details = dict(entry.details)
        if audited_as is AuditEvent.MANUAL_ACTION:
            details = {"action": entry.event, **details}
        rows.append(
            {
                "occurred_at": entry.occurred_at,
                "event": audited_as.value,
                "actor": entry.actor,
                "strategy_id": None,
                "run_id": None,
                "details": json.dumps(details, default=str),
                "control_store": store,
                "control_seq": entry.seq,
            }
        )
    tx.insert("audit_events", rows)
    return len(rows)
