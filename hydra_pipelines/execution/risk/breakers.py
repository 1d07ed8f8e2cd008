"""Circuit breakers: what each of them watches, and which of them the state of the desk trips.

Here belongs the evaluation alone, pure functions. Keeping a breaker tripped until it is reset is
`latch`'s part, refusing orders because of it the gate's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from hydra_pipelines.execution.risk.limits import RiskLimits
from hydra_pipelines.execution.risk.state import BreakerKind, RiskState

FRACTIONS = (BreakerKind.DAILY_LOSS, BreakerKind.DRAWDOWN, BreakerKind.TRADE_LOSS)
"""Breakers whose values are shares of equity; the others count."""


@dataclass(frozen=True)
class Breaker:
    """A breaker that trips now: the value that did it, its limit, and both in a sentence."""

    kind: BreakerKind
    value: float
    limit: float
    message: str


@dataclass(frozen=True)
class Reading:
    """What a breaker watches, now. value: a share of equity or a count, None where not known."""

    kind: BreakerKind
    value: float | None
    limit: float
    trips: bool
    message: str


def evaluate_breakers(state: RiskState, limits: RiskLimits) -> tuple[Breaker, ...]:
    """The breakers that the values of `state` trip; latched ones (`state.tripped`) are not asked.

    A loss that reaches its limit trips. One that a person reset at a value beyond its limit
    (`state.acknowledged`) trips again once it is worse than that by `limits.reset_margin` of its
    limit. A value that is not known trips nothing here: the gate denies what adds risk for as long
    as it stays unknown, without a latch to be reset.
    """
    return tuple(
        Breaker(r.kind, r.value, r.limit, r.message)
        for r in read_breakers(state, limits)
        if r.trips and r.value is not None
    )


def read_breakers(state: RiskState, limits: RiskLimits) -> tuple[Reading, ...]:
    """Every breaker with its value, in the order of `BreakerKind`."""
    return (*_losses(state, limits), *_counts(state, limits), *_switches(state))


def _losses(state: RiskState, limits: RiskLimits) -> Iterator[Reading]:
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
        if loss is None or base is None:
            yield Reading(kind, None, most, False, f"the {what} is not known")
            continue
        if loss <= 0:
            yield Reading(kind, 0.0, most, False, f"no {what}")
            continue
        value = float(loss / base) if base > 0 else 1.0
        level, words = _level(kind, most, state, limits)
        text = f"the {what} is {value:.2%}, the limit {most:.2%}{words}"
        yield Reading(kind, value, most, loss >= base * level, text)


def _counts(state: RiskState, limits: RiskLimits) -> Iterator[Reading]:
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
        if count is None:
            yield Reading(kind, None, most, False, f"{what}: not known")
            continue
        level, words = _level(kind, most, state, limits)
        yield Reading(kind, count, most, count >= level, f"{what}: {count}, trips at {most}{words}")


def _switches(state: RiskState) -> Iterator[Reading]:
    for kind, on, what in (
        (BreakerKind.AGENT_PAUSED, state.agent_paused, ("the agent is paused", "the agent runs")),
        (BreakerKind.KILL_SWITCH, state.kill_switch, ("the kill switch is on", "it is off")),
    ):
        if on is None:
            yield Reading(kind, None, 1, False, "not known")
        else:
            yield Reading(kind, int(on), 1, on, what[0] if on else what[1])


def _level(
    kind: BreakerKind, limit: float, state: RiskState, limits: RiskLimits
) -> tuple[Decimal, str]:
    """From which value on the breaker trips, and words for it where that is not its limit."""
    seen = state.acknowledged.get(kind)
    if seen is None or seen < limit:
        return Decimal(str(limit)), ""
    level = _worse(seen, limit, limits)
    if kind in FRACTIONS:
        return level, f", reset by hand at {seen:.2%}, trips again at {level:.2%}"
    return level, f", reset by hand at {seen:g}, trips again at {-(-level // 1)}"


def _worse(seen: float, limit: float, limits: RiskLimits) -> Decimal:
    return Decimal(str(seen)) + Decimal(str(limit)) * Decimal(str(limits.reset_margin))


def trips_again_at(kind: BreakerKind, seen: float, limits: RiskLimits) -> float | None:
    """Where a latched breaker trips again if it is reset at a value; None within its limit."""
    limit = {
        BreakerKind.DAILY_LOSS: limits.daily_loss,
        BreakerKind.DRAWDOWN: limits.drawdown,
        BreakerKind.TRADE_LOSS: limits.single_trade_loss,
        BreakerKind.ORDER_REJECTS: limits.rejects_in_a_row,
    }[kind]
    if seen < limit:
        return None
    level = _worse(seen, limit, limits)
    return float(level if kind in FRACTIONS else -(-level // 1))


def _difference(before: Decimal | None, now: Decimal | None) -> Decimal | None:
    return None if before is None or now is None else before - now
