"""Circuit breakers: which of them the state of the desk trips.

Here belongs the evaluation alone, a pure function. Keeping a breaker tripped until it is reset is
the control store's part, refusing orders because of it the gate's.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from hydra_pipelines.execution.risk.limits import RiskLimits
from hydra_pipelines.execution.risk.state import BreakerKind, RiskState


@dataclass(frozen=True)
class Breaker:
    """A breaker that trips now: the value that did it, its limit, and both in a sentence."""

    kind: BreakerKind
    value: float
    limit: float
    message: str


def evaluate_breakers(state: RiskState, limits: RiskLimits) -> tuple[Breaker, ...]:
    """The breakers that the values of `state` trip; latched ones (`state.tripped`) are not asked.

    A loss that reaches its limit trips. A value that is not known trips nothing here: the gate
    denies what adds risk for as long as it stays unknown, without a latch to be reset.
    """
    tripped = []
    for kind, loss, base, most, what in (
        (
            BreakerKind.DAILY_LOSS,
            _difference(state.equity_at_start, state.equity),
            state.equity_at_start,
            limits.daily_loss,
            "loss of the session",
        ),
        (
            BreakerKind.DRAWDOWN,
            _difference(state.peak_equity, state.equity),
            state.peak_equity,
            limits.drawdown,
            "drawdown from the peak",
        ),
        (
            BreakerKind.TRADE_LOSS,
            state.worst_trade_loss,
            state.equity_at_start,
            limits.single_trade_loss,
            "loss of one trade",
        ),
    ):
        if loss is None or base is None or loss <= 0:
            continue
        if loss >= base * Decimal(str(most)):
            value = float(loss / base) if base > 0 else 1.0
            tripped.append(
                Breaker(kind, value, most, f"the {what} is {value:.2%}, the limit {most:.2%}")
            )
    for kind, count, most, what in (
        (
            BreakerKind.ORDER_REJECTS,
            state.rejects_in_a_row,
            limits.rejects_in_a_row,
            "orders rejected in a row",
        ),
        (
            BreakerKind.DATA_AGE,
            state.data_age_sessions,
            limits.max_data_age_sessions + 1,
            "sessions since the newest bar",
        ),
        (BreakerKind.UNKNOWN_ORDERS, state.unknown_orders, 1, "orders in an unknown state"),
    ):
        if count is not None and count >= most:
            tripped.append(Breaker(kind, count, most, f"{what}: {count}, trips at {most}"))
    for kind, on, message in (
        (BreakerKind.AGENT_PAUSED, state.agent_paused, "the agent is paused"),
        (BreakerKind.KILL_SWITCH, state.kill_switch, "the kill switch is on"),
    ):
        if on:
            tripped.append(Breaker(kind, 1, 1, message))
    return tuple(tripped)


def _difference(before: Decimal | None, now: Decimal | None) -> Decimal | None:
    return None if before is None or now is None else before - now
