"""The paper gate of a desk: its verdict, and a person's word on it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from hydra_pipelines.day import halting
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger.audit import AuditEvent
from hydra_pipelines.ledger.store import LedgerBusy

if TYPE_CHECKING:
    from hydra_pipelines.monitoring.paper_facts import Venue
    from hydra_pipelines.monitoring.paper_gate import PaperGate


class NothingToSign(ValueError):
    """The sign-off can't be taken; the message says why."""


def venue_in_question(desk: Desk) -> Venue:
    """The venue that the desk trades at on paper; IBKR where it trades live."""
    return "embedded" if desk.embedded and desk.settings.mode != "live" else "ibkr"


def paper_gate(desk: Desk, venue: Venue | None = None) -> PaperGate:
    """Every condition, by the last published state; venue: None for the one in question.

    Raises LedgerError and ControlError.
    """
    return desk.evaluate_paper_gate(venue or venue_in_question(desk))


def sign_off(desk: Desk, actor: str, reason: str, venue: Venue | None = None) -> PaperGate:
    """Record that a person has reviewed the evidence as it stands; returns the gate after it.

    The word is valid for that evidence only, see `paper_facts.Basis`. Raises NothingToSign without
    a reason, and while another condition does not hold; LedgerBusy where the word is noted and
    counts only later.
    """
    if not reason.strip():
        raise NothingToSign("a reason is needed: what was looked at, and what was found?")
    gate = paper_gate(desk, venue)
    if not gate.ready_for_review:
        open_ones = [c.title for c in gate.conditions if not c.holds and c.name != "review"]
        raise NothingToSign(
            f"there is nothing to sign off yet: {', '.join(open_ones)} "
            f"{'does' if len(open_ones) == 1 else 'do'} not hold"
        )
    desk.control.note(
        AuditEvent.PAPER_GATE_SIGNED_OFF,
        actor,
        {
            "reason": reason.strip(),
            "basis": asdict(gate.basis),
            "sessions": len(gate.count.sessions),
            "conditions": {c.name.value: f"{c.value}: {c.why}" for c in gate.conditions},
        },
    )
    if not halting.record(desk.settings, desk.control):
        raise LedgerBusy(
            "the sign-off is noted, but another process holds the ledger: it counts once the next "
            "run has taken it over"
        )
    return paper_gate(desk, venue)
