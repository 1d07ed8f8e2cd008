"""The paper gate, condition by condition."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from hydra_pipelines.api.rows import Row
from hydra_pipelines.desk import Desk

if TYPE_CHECKING:
    from hydra_pipelines.monitoring.paper_facts import Venue
    from hydra_pipelines.monitoring.paper_gate import PaperGate
    from hydra_pipelines.monitoring.slippage_evidence import Interval


def paper_gate(desk: Desk, venue: str | None = None) -> Row:
    """Whether the weeks of paper trading that live needs are passed, by the published state.

    venue: `embedded` or `ibkr`; None takes the one that the desk trades at. `conditions` have name,
    title, holds, value, threshold, why and next_step (empty where it holds). `opens_live` is true
    for evidence of IBKR paper only. `slippage` has the figures behind that condition, None without
    enough orders. `escalations` are what a person should look at now.
    """
    from hydra_pipelines.day.paper_gating import venue_in_question

    gate = desk.evaluate_paper_gate(cast("Venue | None", venue) or venue_in_question(desk))
    return {
        "venue": gate.venue,
        "account": gate.account,
        "passed": gate.passed,
        "opens_live": gate.opens_live,
        "sessions": len(gate.count.sessions),
        "first_session": gate.count.sessions[0].execution_session if gate.count.sessions else None,
        "last_session": gate.count.sessions[-1].execution_session if gate.count.sessions else None,
        "broken_by": gate.count.broken_by,
        "conditions": [{**vars(c), "name": c.name.value} for c in gate.conditions],
        "slippage": _figures(gate),
        "escalations": list(gate.escalations),
    }


def _figures(gate: PaperGate) -> Row | None:
    """The journal's own figure and the gate's, of the same orders."""
    found = gate.slippage
    if found is None or found.level is None:
        return None
    figure = found.figure
    return {
        "orders": found.n,
        "sessions": found.sessions,
        "is_model_calibrated": figure.is_model_calibrated,
        "relative_bias": figure.relative_bias,
        "correlation": figure.correlation,
        "attainable_correlation": found.attainable,
        "level": _interval(found.level),
        "level_holds": found.level_holds,
        "differences": _interval(found.differences),
        "claimed_bps": found.claimed_bps,
        "contradicted": found.contradicted,
        "correlation_fails": found.correlation_fails,
        "orders_needed": found.orders_needed,
    }


def _interval(found: Interval | None) -> Row | None:
    return None if found is None else vars(found)
