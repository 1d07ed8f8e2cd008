"""A journal written by hand: fills of which predicted and actual slippage are known exactly."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from hydra_pipelines.execution.slippage import SlippageModel, predicted_cost
from hydra_pipelines.ledger import orders, trades
from hydra_pipelines.ledger.store import Transaction
from hydra_pipelines.sessions import at_new_york
from hydra_pipelines_tests.ledger.builders import execution, intent

ARRIVAL = Decimal("100")
FIRST = datetime(2019, 1, 3, tzinfo=UTC).date()


def write_fills(tx: Transaction, fills: Sequence[tuple[float, float]], **change: Any) -> None:
    """One order and one fill of it for each (predicted, actual) in basis points, a day each.

    change: of every order and fill (`symbol`, `side`), or of the order alone (`routing`, …).
    """
    shared = {name: change.pop(name) for name in ("symbol", "side") if name in change}
    start = tx.value("SELECT count(*) FROM order_intents")
    refs = [f"order {start + i}" for i in range(len(fills))]
    days = [FIRST + timedelta(days=start + i) for i in range(len(fills))]
    orders.insert_intents(
        tx,
        [
            intent(
                ref,
                start + i + 1,
                **{
                    "plan_id": f"plan {day}",
                    "quoted_half_spread_bps": None,
                    "unit_impact_bps": None,
                    "predicted_slippage_bps": predicted,
                    "arrival_price": ARRIVAL,
                    **shared,
                    **change,
                },
            )
            for i, (ref, day, (predicted, _)) in enumerate(zip(refs, days, fills, strict=True))
        ],
    )
    trades.record(
        tx,
        [
            fill(ref, day, actual, predicted_slippage_bps=predicted, **shared)
            for ref, day, (predicted, actual) in zip(refs, days, fills, strict=True)
        ],
    )


def fill(ref: str | None, day: Any, actual: float, part: int = 1, **change: Any) -> dict[str, Any]:
    """A fill at 10:05 in New York that cost `actual` basis points of an arrival at 100 USD."""
    row = execution(
        f"{ref}.{part}.01",
        order_ref=ref,
        session=day,
        executed_at=at_new_york(day, 10, 5),
        arrival_price=ARRIVAL,
        shortfall_bps=actual,
        actual_slippage_bps=actual - 50.0,
    )
    return {**row, **change}


def predicted_terms(model: SlippageModel, shares: int, half: float, algo: str) -> dict[str, Any]:
    """What the order manager writes of an order at 100 USD with a half spread in basis points."""
    wide = Decimal(str(half)) / 100
    return predicted_cost(
        model, shares, ARRIVAL, ARRIVAL - wide, ARRIVAL + wide, 0.02, 1_000_000.0, algo
    )
