"""Accounts, targets and limits for the tests of order plans: by hand, and at random."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

import numpy as np
from hypothesis import strategies as st

from hydra_pipelines.decision.plan import OrderPlan, make_plan
from hydra_pipelines.decision.plan_inputs import PlanInputs
from hydra_pipelines.decision.sizing import NoteReason
from hydra_pipelines.decision.targets import PlanLimits, Targets
from hydra_pipelines.execution.slippage import SlippageModel

SLIPPAGE = SlippageModel()
CALM = PlanLimits(min_order_usd=Decimal(0), turnover_band=0.0)


def targets(weights: list[float]) -> Targets:
    values = np.array(weights, dtype=np.float64)
    return Targets(values, np.nan_to_num(values), ("S1",), values[np.newaxis].copy())


def inputs(
    weights: list[float],
    positions: list[int],
    prices: list[float] | None = None,
    cash: str = "100000",
    **changes: object,
) -> PlanInputs:
    """Names A, B, C, ... at 100 USD in an account of 100,000 USD, unless told otherwise."""
    n = len(weights)
    made = PlanInputs(
        signal_session=date(2022, 12, 27),
        execution_session=date(2022, 12, 28),
        account_id="DU1",
        equity=Decimal("100000"),
        cash=Decimal(cash),
        symbols=tuple("ABCDEFGHIJ"[:n]),
        prices=np.array(prices or [100.0] * n),
        positions=np.array(positions),
        working=np.zeros(n, dtype=np.int64),
        targets=targets(weights),
        adv=np.full(n, np.nan),
        sigma_daily=np.full(n, 0.02),
    )
    return replace(made, **changes)


def plan(made: PlanInputs, limits: PlanLimits = CALM) -> OrderPlan:
    return make_plan(made, limits, SLIPPAGE)


def orders(made: PlanInputs, limits: PlanLimits = CALM) -> list[tuple[str, str, int, str]]:
    rows = plan(made, limits).rows
    return [(row.symbol, row.side, row.quantity, row.reason.value) for row in rows]


def notes(made: PlanInputs, limits: PlanLimits = CALM) -> dict[str, NoteReason]:
    return {note.symbol: note.reason for note in plan(made, limits).notes}


def random_case(seed: int) -> tuple[PlanInputs, PlanLimits]:
    """An account, its targets and limits. Drawn from a seed: what matters is the mix of states."""
    rng = np.random.default_rng(seed)

    def one(*choices: object) -> object:
        return choices[rng.integers(len(choices))]

    limits = PlanLimits(
        max_positions=one(0, 2, 3, 20, 20),
        max_position_weight=one(0.02, 0.1, 0.25, 1.0),
        position_headroom=one(0.0, 0.05, 0.5),
        gross_cap=one(0.3, 1.0, 2.0),
        net_cap=one(0.2, 1.0, 1.0),
        min_order_usd=one(Decimal(0), Decimal(100), Decimal(100), Decimal(5000)),
        turnover_band=one(0.0, 0.005, 0.05),
        cash_buffer=one(0.0, 0.0025, 0.2),
        max_adv_share=one(0.0, 0.01, 0.1),
        max_order_notional=one(None, Decimal(3000), Decimal("10000.5")),
        allow_short=one(True, False),
        lot=one(1, 1, 1, 10, 100),
        buy_funding=one("sells_first", "confirmed_cash"),
        price_collar=one(0.0, 0.005, 0.02),
    )
    n = int(rng.integers(1, 9))
    prices = np.round(np.exp(rng.uniform(-1, 6, n)), int(rng.integers(0, 7)))
    odd = rng.random(n) < 0.08
    prices[odd] = rng.choice([np.nan, 0.0, -1.0, 250_000.0], odd.sum())
    equity = float(rng.uniform(500, 200_000))
    # About what the largest position may be, in shares, so that some are below and some above.
    most = equity * limits.max_position_weight / np.where(prices > 0, prices, 100.0)
    positions = np.rint(rng.normal(0.4, 0.6, n) * most * (rng.random(n) < 0.5)).astype(np.int64)
    working = np.rint(rng.normal(0.0, 0.3, n) * most * (rng.random(n) < 0.2)).astype(np.int64)
    weights = rng.choice([0.0, 0.01, 0.03, 0.095, 1 / 3, -0.05], n) * rng.choice([1.0, 0.5], n)
    style = rng.random()
    if style < 0.6:
        positions, weights = np.abs(positions), np.abs(weights)
    elif style < 0.75:
        # A long/short book that is built up from nothing.
        limits = replace(limits, allow_short=True, max_adv_share=1.0, max_positions=20)
        positions, working = positions * 0, working * 0
        weights = np.round(rng.uniform(-0.1, 0.1, n), 3)
    weights[rng.random(n) < 0.1] = np.nan
    adv = np.where(rng.random(n) < 0.5, np.nan, np.exp(rng.uniform(3, 14, n)))
    made = inputs(
        weights.tolist(),
        positions.tolist(),
        prices=prices.tolist(),
        cash=f"{rng.uniform(-0.1, 0.9) * equity:.2f}",
        equity=Decimal(f"{equity:.3f}"),
        symbols=tuple(rng.permutation(list("ABCDEFGHIJ"[:n])).tolist()),
        working=working,
        adv=adv,
        restricted=frozenset(rng.choice(list("ABCDEFGHIJ"), 1 if rng.random() < 0.3 else 0)),
        unpriced_exposure=one(None, Decimal("1234.56")),
    )
    # Wishes that the targets cut off.
    asked = np.where((weights == 0.0) & (rng.random(n) < 0.2), rng.choice([0.02, -0.02]), weights)
    return replace(made, targets=replace(made.targets, asked=np.nan_to_num(asked))), limits


def cases() -> st.SearchStrategy[tuple[PlanInputs, PlanLimits]]:
    return st.integers(0, 2**32 - 1).map(random_case)
