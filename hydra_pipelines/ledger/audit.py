"""The audit trail: append-only facts about who did what, when and why. Nothing is ever changed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from hydra_pipelines.ledger.store import Transaction


class AuditEvent(StrEnum):
    PREDICTION_GENERATED = "prediction_generated"
    PLAN_MADE = "plan_made"
    ORDER_SUBMITTED = "order_submitted"
    ORDER_STATE_CHANGED = "order_state_changed"
    FILL_RECORDED = "fill_recorded"
    POSITION_SYNCED = "position_synced"
    MODEL_PROMOTED = "model_promoted"
    MODEL_ROLLED_BACK = "model_rolled_back"
    MODEL_STOPPED = "model_stopped"
    DRIFT_DETECTED = "drift_detected"
    EXPERIMENT_FINISHED = "experiment_finished"
    BREAKER_TRIPPED = "breaker_tripped"
    BREAKER_RESET = "breaker_reset"
    AGENT_PAUSED = "agent_paused"
    CONNECTION_LOST = "connection_lost"
    CONNECTION_RESTORED = "connection_restored"
    DRILL = "drill"
    PAPER_GATE_SIGNED_OFF = "paper_gate_signed_off"
    SETTING_CHANGED = "setting_changed"
    MANUAL_ACTION = "manual_action"


def log(
    tx: Transaction,
    event: AuditEvent,
    details: Mapping[str, Any],
    *,
    actor: str = "system",
    strategy_id: str | None = None,
    run_id: str | None = None,
) -> None:
    """Append one event; actor is `system`, `agent` or `user:NAME`."""
    log_many(tx, event, [details], actor=actor, strategy_id=strategy_id, run_id=run_id)


def log_many(
    tx: Transaction,
    event: AuditEvent,
    details: Sequence[Mapping[str, Any]],
    *,
    actor: str = "system",
    strategy_id: str | None = None,
    run_id: str | None = None,
) -> None:
    """Append several events of one kind."""
    log_all(
        tx, [(event, one) for one in details], actor=actor, strategy_id=strategy_id, run_id=run_id
    )


def log_all(
    tx: Transaction,
    events: Sequence[tuple[AuditEvent, Mapping[str, Any]]],
    *,
    actor: str = "system",
    strategy_id: str | None = None,
    run_id: str | None = None,
) -> None:
    """Append events of several kinds, each with its details, in that order."""
    now = datetime.now(UTC)
    tx.insert(
        "audit_events",
        [
            {
                "occurred_at": now,
                "event": event.value,
                "actor": actor,
                "strategy_id": strategy_id,
                "run_id": run_id,
                "details": json.dumps(one, default=str),
            }
            for event, one in events
        ],
    )
