"""Limit-patience: rest inside the spread, then step toward the far touch, never beyond a bound.

Pure: the limit price is a function of the time since the order was decided, so a run that takes
over from a dead one goes on where that one was.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Literal

from hydra_pipelines.execution.broker.messages import Quote
from hydra_pipelines.execution.orders.intents import NoPrice, on_grid


@dataclass(frozen=True)
class Patience:
    """patience_s: seconds at the first price. steps: how many toward the far touch after that, each
    standing for step_s seconds, the last one for as long as the order is worked. max_slippage_bps:
    of the arrival price, which no limit goes beyond. rest_at: where it starts, between the touches
    or at the near one. cross: how far the last step reaches beyond the far touch, as a share of it,
    for more shares than are shown there."""

    patience_s: float = 300.0
    steps: int = 4
    step_s: float = 60.0
    max_slippage_bps: float = 100.0
    rest_at: Literal["mid", "near_touch"] = "mid"
    cross: float = 0.0

    def __post_init__(self) -> None:
        if self.patience_s < 0 or self.steps < 1 or self.step_s <= 0 or self.max_slippage_bps <= 0:
            raise ValueError(
                "patience: patience_s is 0 or more, steps 1 or more, step_s and max_slippage_bps "
                f"above 0, got {self}"
            )

    @property
    def length(self) -> timedelta:
        """How long the whole course takes."""
        return timedelta(seconds=self.patience_s + self.steps * self.step_s)

    def within(self, available: timedelta) -> Patience:
        """The same course in no more time than there is."""
        share = min(1.0, available / self.length)
        return replace(self, patience_s=self.patience_s * share, step_s=self.step_s * share)

    def step_at(self, elapsed: timedelta) -> int:
        """How many steps have been taken after so long, 0 to `steps`."""
        beyond = elapsed.total_seconds() - self.patience_s
        # A clock that is set to the very instant of a step must not fall short of it.
        return 0 if beyond < -1e-6 else min(self.steps, 1 + int((beyond + 1e-6) / self.step_s))

    def next_step(self, elapsed: timedelta) -> timedelta | None:
        """Time since the decision at which the next step is due; None after the last."""
        done = self.step_at(elapsed)
        if done == self.steps:
            return None
        return timedelta(seconds=self.patience_s + done * self.step_s)


def worst_price(side: str, arrival: Decimal, max_slippage_bps: float, tick: Decimal) -> Decimal:
    """The last price on the tick grid that is within the bound of the arrival price.

    Raises NoPrice where the bound leaves no price above zero.
    """
    reach = arrival * Decimal(str(max_slippage_bps)) / 10_000
    if side == "BUY":
        price = on_grid(arrival + reach, tick, ROUND_FLOOR)
    else:
        price = on_grid(arrival - reach, tick, ROUND_CEILING)
    if price <= 0:
        raise NoPrice(f"within {max_slippage_bps:g} bps of {arrival} there is no price")
    return price


def patient_limit(
    side: str,
    quote: Quote,
    arrival: Decimal,
    step: int,
    tick: Decimal,
    patience: Patience,
) -> Decimal:
    """The limit price after `step` steps, on the tick grid, rounded to the passive side.

    Raises NoPrice where a touch is missing or the quote is crossed.
    """
    bid, ask = quote.bid, quote.ask
    if bid is None or ask is None or bid <= 0 or ask <= 0 or bid > ask:
        raise NoPrice(f"{quote.symbol}: bid {bid} and ask {ask} are no market to rest in")
    near, far = (bid, ask) if side == "BUY" else (ask, bid)
    start = (bid + ask) / 2 if patience.rest_at == "mid" else near
    wanted = start + (far - start) * step / patience.steps
    if step == patience.steps:
        reach = far * Decimal(str(patience.cross))
        wanted += reach if side == "BUY" else -reach
    bound = worst_price(side, arrival, patience.max_slippage_bps, tick)
    if side == "BUY":
        return max(tick, min(on_grid(wanted, tick, ROUND_FLOOR), bound))
    return max(on_grid(wanted, tick, ROUND_CEILING), bound)
