"""Orders, states and limits for the tests of the risk gate: by hand, and at random."""

from __future__ import annotations

import random
from dataclasses import replace
from decimal import Decimal

from hypothesis import settings
from hypothesis import strategies as st

from hydra_pipelines.execution.risk.checks import DenialReason, find_denials
from hydra_pipelines.execution.risk.limits import RiskLimits
from hydra_pipelines.execution.risk.state import (
    BreakerKind,
    OrderRequest,
    Quote,
    RiskState,
    WorkingOrder,
)

MANY = settings(max_examples=12 * settings.default.max_examples)
LIMITS = RiskLimits()
SYMBOLS = ("A", "B", "C", "D")


def order(**changes: object) -> OrderRequest:
    """A buy of 50 shares of A at 100 USD."""
    made = OrderRequest(
        order_ref="ref-1",
        account="DU1",
        symbol="A",
        side="BUY",
        quantity=50,
        limit_price=Decimal("100.00"),
        arrival_price=Decimal("99.99"),
    )
    return replace(made, **changes)


def state(**changes: object) -> RiskState:
    """A flat account of 100,000 USD in which everything is known and well."""
    facts = {
        "account": "DU1",
        "equity": Decimal("100000"),
        "equity_at_start": Decimal("100000"),
        "peak_equity": Decimal("100000"),
        "cash": Decimal("100000"),
        "positions": {},
        "working": (),
        "marks": {symbol: Decimal(100) for symbol in SYMBOLS},
        "quote": Quote(Decimal("99.98"), Decimal("100.00"), Decimal("99.99"), 1.0),
        "last_close": Decimal("99.50"),
        "tick_size": Decimal("0.01"),
        "adv": 1e6,
        "plan_target": 90,
        "tripped": frozenset(),
        "worst_trade_loss": Decimal(0),
        "rejects_in_a_row": 0,
        "unknown_orders": 0,
        "data_age_sessions": 1,
        "orders_last_minute": 0,
        "agent_paused": False,
        "kill_switch": False,
        "known_refs": frozenset(),
    }
    return RiskState(**(facts | changes))


def working(side: str, remaining: int, symbol: str = "A", ref: str = "w-1") -> WorkingOrder:
    return WorkingOrder(ref, symbol, side, remaining, Decimal(100))


def denials(
    asked: OrderRequest | None = None, limits: RiskLimits = LIMITS, **changes: object
) -> set[DenialReason]:
    return set(find_denials(asked or order(), state(**changes), limits))


def as_working(asked: OrderRequest) -> WorkingOrder:
    return WorkingOrder(
        asked.order_ref, asked.symbol, asked.side, asked.quantity, asked.limit_price
    )


def outcomes(facts: RiskState, symbol: str) -> tuple[int, int]:
    """The lowest and highest position that any fills of the working orders can lead to."""
    low = high = facts.positions.get(symbol, 0)
    for other in facts.working:
        if other.symbol == symbol:
            low -= other.remaining if other.side == "SELL" else 0
            high += other.remaining if other.side == "BUY" else 0
    return low, high


def adds_risk(asked: OrderRequest, facts: RiskState) -> bool:
    after = outcomes(replace(facts, working=(*facts.working, as_working(asked))), asked.symbol)
    return max(map(abs, after)) > max(map(abs, outcomes(facts, asked.symbol)))


def random_review(seed: int) -> tuple[OrderRequest, RiskState, RiskLimits]:
    """An order, a state and limits. Drawn from a seed: what matters is the mix of states."""
    rng = random.Random(seed)
    limits = RiskLimits(
        max_order_notional=rng.choice([Decimal(2000), Decimal(250_000), Decimal(250_000)]),
        max_position_weight=rng.choice([0.05, 0.1, 0.5]),
        max_positions=rng.choice([0, 2, 4, 4, 4]),
        gross_cap=rng.choice([0.2, 1.0, 1.0]),
        net_cap=rng.choice([0.1, 1.0, 1.0]),
        allow_short=rng.random() < 0.5,
        restricted=rng.choice([(), (), (), (), ("A",), ("B",)]),
    )
    side = rng.choice(["BUY", "BUY", "SELL"])
    held = {s: rng.choice([0, 20, 50, 80, 120, -40]) for s in SYMBOLS if rng.random() < 0.4}
    live = tuple(
        WorkingOrder(
            f"w{i}",
            rng.choice(SYMBOLS),
            rng.choice(["BUY", "SELL"]),
            rng.randint(0, 60),
            Decimal(100),
        )
        for i in range(rng.choice([0, 0, 1, 3]))
    )
    facts = {
        "positions": held,
        "working": live,
        "plan_target": rng.choice([None, rng.randint(-150, 150)])
        if rng.random() < 0.3
        else (150 if side == "BUY" else -150),
        "cash": Decimal(rng.choice([100_000, 20_000, 4_000])),
        "adv": rng.choice([None, 3000.0, 1e6]),
        "shortable": rng.choice([True, False, None]),
    }
    if rng.random() < 0.3:
        facts |= {
            "equity": rng.choice([None, Decimal(97_000), Decimal(100_000)]),
            "equity_at_start": rng.choice([None, Decimal(100_000)]),
            "peak_equity": rng.choice([None, Decimal(120_000), Decimal(100_000)]),
            "cash": rng.choice([None, Decimal(100_000)]),
            "worst_trade_loss": rng.choice([None, Decimal(0), Decimal(5000)]),
            "last_close": rng.choice([None, Decimal(80), Decimal(100)]),
            "tripped": rng.choice([None, frozenset(), frozenset({rng.choice(list(BreakerKind))})]),
            "rejects_in_a_row": rng.choice([None, 0, 5]),
            "unknown_orders": rng.choice([None, 0, 1]),
            "data_age_sessions": rng.choice([None, 1, 4]),
            "orders_last_minute": rng.choice([None, 0, 200]),
            "agent_paused": rng.choice([None, False, True]),
            "kill_switch": rng.choice([None, False, False, True]),
            "marks": rng.choice([{}, {symbol: Decimal(100) for symbol in SYMBOLS}]),
        }
    asked = order(
        side=side,
        quantity=rng.choice([1, 10, 20, 45, 120]),
        limit_price=Decimal(rng.randint(9900, 10100)) / 100,
    )
    return asked, state(**facts), limits


def reviews() -> st.SearchStrategy[tuple[OrderRequest, RiskState, RiskLimits]]:
    return st.integers(0, 2**32 - 1).map(random_review)
