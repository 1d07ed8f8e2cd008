"""Predictions to an order plan for 3,000 names, against the same plan by Decimal arithmetic.

Run from the repository: python -m benchmarks.plan

Two books: one of 20 positions (the default limits) and one in which all 3,000 names are held or
wanted. Both sides go from predictions through signals and targets to the plan, with every limit;
their weights and their plans must be equal before anything is timed.
"""

from __future__ import annotations

import statistics
from datetime import date
from decimal import Decimal

import numpy as np

from benchmarks.results import Result, Wrong, interleaved, run_alone, spread
from hydra_pipelines.decision.plan import OrderPlan, PlanInputs, make_plan
from hydra_pipelines.decision.plan_check import plan_violations
from hydra_pipelines.decision.signals import SignalRule, make_signals
from hydra_pipelines.decision.targets import PlanLimits, StrategyView, make_targets
from hydra_pipelines.execution.slippage import SlippageModel
from hydra_pipelines_tests.decision.reference import (
    Reference,
    reference_plan,
    reference_rank,
    reference_weights,
    summary,
)

NAMES = 3_000
SLIPPAGE = SlippageModel()


class Book:
    """A day's decision: predictions of two strategies and the account they meet."""

    def __init__(self, limits: PlanLimits, top_fraction: float, held: int, equity: int) -> None:
        rng = np.random.default_rng(7)
        self.limits = limits
        self.rule = SignalRule(top_fraction=top_fraction)
        self.predictions = [rng.normal(size=NAMES) for _ in range(2)]
        self.everything = np.ones(NAMES, dtype=bool)
        prices = np.round(np.exp(rng.normal(4.0, 0.7, NAMES)), 2)
        positions = np.zeros(NAMES, dtype=np.int64)
        owned = rng.choice(NAMES, held, replace=False)
        positions[owned] = np.rint(
            equity * 0.8 / held * rng.uniform(0.5, 1.5, held) / prices[owned]
        )
        self.facts = {
            "signal_session": date(2022, 12, 27),
            "execution_session": date(2022, 12, 28),
            "account_id": "DU1",
            "equity": Decimal(equity),
            "cash": Decimal(equity) / 5,
            "symbols": tuple(f"N{i:04d}" for i in range(NAMES)),
            "prices": prices,
            "positions": positions,
            "working": np.zeros(NAMES, dtype=np.int64),
            "adv": np.where(rng.random(NAMES) < 0.9, rng.lognormal(13, 1.5, NAMES), np.nan),
            "sigma_daily": rng.uniform(0.01, 0.04, NAMES),
            "restricted": frozenset({"N0007", "N0042"}),
        }

    def inputs(self) -> PlanInputs:
        views = [
            StrategyView(f"S{i}", 0.5, self.everything, make_signals(predictions, self.rule))
            for i, predictions in enumerate(self.predictions)
        ]
        return PlanInputs(targets=make_targets(views, self.limits), **self.facts)

    def plan(self) -> OrderPlan:
        return make_plan(self.inputs(), self.limits, SLIPPAGE)

    def loop_weights(self) -> list[float | None]:
        signals = [reference_rank(column.tolist(), self.rule) for column in self.predictions]
        return reference_weights(signals, [0.5, 0.5], self.limits)

    def loop(self, inputs: PlanInputs) -> Reference:
        self.loop_weights()
        return reference_plan(inputs, self.limits, SLIPPAGE)


def measure(quick: bool = False) -> list[Result]:
    broad = PlanLimits(
        max_positions=NAMES, turnover_band=0.0, min_order_usd=Decimal(10), gross_cap=1.0
    )
    books = {
        "20 positions": Book(PlanLimits(), 0.01, held=20, equity=1_000_000),
        "3,000 names held or wanted": Book(broad, 0.6, held=1_500, equity=100_000_000),
    }
    results = []
    for name, book in books.items():
        plan, inputs = book.plan(), book.inputs()
        if not np.allclose(inputs.targets.weights, book.loop_weights(), rtol=1e-12, atol=0):
            raise Wrong(f"{name}: the weights differ from the loop's")
        if summary(plan) != reference_plan(inputs, book.limits, SLIPPAGE):
            raise Wrong(f"{name}: the plan differs from the Decimal loop's")
        if broken := plan_violations(plan, inputs, book.limits):
            raise Wrong(f"{name}: {broken[0]}")
        order = np.concatenate(book.predictions)
        seconds = interleaved(
            {
                "ours": book.plan,
                "loop": lambda book=book, inputs=inputs: book.loop(inputs),  # type: ignore[misc]
                "sort": lambda order=order: np.argsort(order, kind="stable"),  # type: ignore[misc]
            },
            3 if quick else 15,
        )
        ours, loop, sort = (statistics.median(seconds[key]) for key in ("ours", "loop", "sort"))
        floor = f"sorting both predictions: {sort * 1000:.2f} ms"
        work = f"signals to plan, 3,000 names, {name}"
        orders = f"{len(plan.rows):,} orders; {spread(seconds['ours'], 1000, 'ms')}"
        results += [
            Result("P4", work, ours * 1000, "ms", 5, floor=floor, notes=orders),
            Result(
                "P4", f"{work}, against a Decimal loop", loop / ours, "×", 15, higher=True,
                notes=f"equal to it; loop {spread(seconds['loop'], 1000, 'ms')}",
            ),
        ]  # fmt: skip
    return results


if __name__ == "__main__":
    run_alone(__doc__, measure)
