"""The gate's limits and breakers beside what is known of their use, for people. Pure.

It shows and decides nothing: the gate judges each order by the broker's own replies.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from hydra_pipelines.control import Level, TrippedBreaker
from hydra_pipelines.execution.risk.breakers import Reading, read_breakers
from hydra_pipelines.execution.risk.latch import LATCHED, acknowledged
from hydra_pipelines.execution.risk.limits import RiskLimits
from hydra_pipelines.execution.risk.state import BreakerKind, RiskState


@dataclass(frozen=True)
class Facts:
    """What the ledger's snapshot and the control store say; None where they say nothing.

    account: the last row of the equity curve. positions: rows of the live positions.
    data_age_sessions: of the last review.
    """

    account: Mapping[str, Any] | None
    positions: Collection[Mapping[str, Any]]
    worst_trade_loss: Decimal | None
    rejects_in_a_row: int | None
    unknown_orders: int | None
    data_age_sessions: int | None
    agent_paused: bool
    kill_switch: bool


@dataclass(frozen=True)
class LimitUse:
    """A limit, the value now, and how much of the limit that takes (1 is all of it)."""

    name: str
    limit: Any
    value: float | None
    use: float | None
    about: str


@dataclass(frozen=True)
class BreakerView:
    """A breaker: `ok`, `tripped`, `due` (trips at the next look), `reset` (by a person, at a value
    beyond the limit) or `unknown`. latched: whether it stays tripped until it is reset."""

    name: str
    state: str
    value: float | None
    limit: float
    why: str
    since: str | None
    session: str | None
    latched: bool
    auto_reset: bool


def limit_uses(limits: RiskLimits, facts: Facts) -> list[LimitUse]:
    """Every pre-trade limit; those that are about one order have no use."""
    account = facts.account
    equity = account["equity"] if account and account["equity"] > 0 else None

    def share(amount: Any) -> float | None:
        return None if equity is None or amount is None else float(Decimal(amount) / equity)

    largest = max(facts.positions, key=lambda row: abs(row["market_value"]), default=None)
    weight = share(abs(largest["market_value"]) if largest else 0 if account else None)
    cash = share(account["cash"]) if account else None
    return [
        _used("max_position_weight", limits.max_position_weight, weight,
              f"of equity, the largest: {largest['symbol']}" if largest else "of equity"),
        _used("max_positions", limits.max_positions, account and account["positions"], ""),
        _used("gross_cap", limits.gross_cap, share(account and account["gross"]), "of equity"),
        _used("net_cap", limits.net_cap, share(account and account["net"]), "of equity"),
        LimitUse(
            "cash_buffer",
            limits.cash_buffer,
            cash,
            # All of it is taken where there is no more cash than the buffer.
            None if cash is None else min(1.0, limits.cash_buffer / cash) if cash > 0 else 1.0,
            "of equity, kept back from buys",
        ),
        LimitUse("max_order_notional", limits.max_order_notional, None, None, "USD, one order"),
        LimitUse("max_adv_share", limits.max_adv_share, None, None, "of the daily volume"),
        LimitUse("collar_last_close", limits.collar_last_close, None, None, "of the last close"),
        LimitUse("collar_quote", limits.collar_quote, None, None, "beyond the quote"),
        LimitUse("max_quote_age_s", limits.max_quote_age_s, None, None, "seconds"),
        LimitUse("max_orders_per_minute", limits.max_orders_per_minute, None, None, ""),
        LimitUse("allow_short", limits.allow_short, None, None, ""),
        LimitUse("restricted", ", ".join(sorted(limits.restricted)), None, None, "symbols"),
    ]  # fmt: skip


def breaker_views(
    limits: RiskLimits,
    facts: Facts,
    tripped: Iterable[TrippedBreaker],
    levels: Mapping[str, Level],
) -> list[BreakerView]:
    """Every breaker, with its value as of the last look at the account."""
    session = facts.account["session"] if facts.account else date.min
    seen = acknowledged(levels, session)
    latched = {breaker.name: breaker for breaker in tripped}
    views = []
    for reading in read_breakers(_state(facts, seen), limits):
        held = latched.pop(reading.kind.value, None)
        level = levels.get(reading.kind.value)
        views.append(
            BreakerView(
                name=reading.kind.value,
                state=_state_of(reading, held, seen),
                value=level.value if held and level else reading.value,
                limit=reading.limit,
                why=held.reason if held else reading.message,
                since=held.tripped_at if held else None,
                session=held.session if held else None,
                latched=reading.kind in LATCHED,
                auto_reset=reading.kind in limits.auto_reset,
            )
        )
    # One that only another version knows stops trading here too.
    views += [
        BreakerView(b.name, "tripped", None, 0, b.reason, b.tripped_at, b.session, True, False)
        for b in latched.values()
    ]
    return views


def _state_of(
    reading: Reading, held: TrippedBreaker | None, seen: Mapping[BreakerKind, float]
) -> str:
    if held:
        return "tripped"
    if reading.trips:
        return "due" if reading.kind in LATCHED else "tripped"
    if reading.value is None:
        return "unknown"
    return "reset" if reading.value >= reading.limit and reading.kind in seen else "ok"


def _used(name: str, limit: float, value: Any, about: str) -> LimitUse:
    number = None if value is None else float(value)
    use = None if number is None else abs(number) / limit if limit else float(number != 0)
    return LimitUse(name, limit, number, use, about)


def _state(facts: Facts, seen: Mapping[BreakerKind, float]) -> RiskState:
    """As much of a state as breakers look at."""
    row = facts.account
    return RiskState(
        account=row["account"] if row else "",
        equity=row["equity"] if row else None,
        equity_at_start=row["equity"] - row["daily_pnl"] if row else None,
        peak_equity=row["peak"] if row else None,
        cash=None,
        positions=None,
        working=None,
        marks={},
        quote=None,
        last_close=None,
        tick_size=None,
        adv=None,
        plan_target=None,
        tripped=frozenset(),
        worst_trade_loss=facts.worst_trade_loss,
        rejects_in_a_row=facts.rejects_in_a_row,
        unknown_orders=facts.unknown_orders,
        data_age_sessions=facts.data_age_sessions,
        orders_last_minute=None,
        agent_paused=facts.agent_paused,
        kill_switch=facts.kill_switch,
        known_refs=frozenset(),
        acknowledged=seen,
    )
