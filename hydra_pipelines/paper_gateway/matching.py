"""The venue's fill model: what price and how many shares an order gets against one quote.

Pure functions of their arguments. The parameters are the venue's own and are not those of
anybody's slippage prediction: a prediction has to be found wrong or right against them.

An order that the market reaches while it rests fills at its limit (a maker). One that arrives
through the market takes (a taker): it pays the far touch plus square-root impact
`Y * sigma * sqrt(q / ADV)` (Almgren, Thum, Hauptmann and Li 2005; Bouchaud's square-root law),
with q the order's shares so far, plus noise of a fraction of the half spread. Neither ever fills
beyond its limit, nor more than what is visible in that minute.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

from hydra_pipelines.paper_gateway.money import tick_size


@dataclass(frozen=True)
class FillModel:
    """Y of the impact law, and the standard deviation of noise in half spreads."""

    impact: float = 0.8
    noise: float = 0.35


@dataclass(frozen=True)
class Quote:
    """One minute of one symbol. Prices in units; depths in shares; sigma daily; ADV in shares."""

    bid: int
    ask: int
    last: int
    bid_depth: int
    ask_depth: int
    sigma: float
    adv: float


def reaches(action: str, limit: int, quote: Quote) -> bool:
    """Whether the far touch is within the limit."""
    return quote.ask <= limit if action == "BUY" else quote.bid >= limit


def visible(action: str, quote: Quote) -> int:
    """Shares shown on the side an order takes from."""
    return quote.ask_depth if action == "BUY" else quote.bid_depth


def fill_price(
    model: FillModel,
    *,
    action: str,
    limit: int,
    resting: bool,
    shares_so_far: int,
    quote: Quote,
    draw: float,
) -> int:
    """The price in units, on the tick grid, of an order the quote reaches.

    shares_so_far: of this order, this fill included. draw: a standard normal value.
    """
    if resting:
        return limit
    mid = (quote.bid + quote.ask) / 2
    half = (quote.ask - quote.bid) / 2
    impact = model.impact * quote.sigma * sqrt(shares_so_far / quote.adv)
    if action == "BUY":
        price = max(quote.ask * (1 + impact) + model.noise * draw * half, mid)
        return min(limit, on_grid(price, up=True))
    price = min(quote.bid * (1 - impact) - model.noise * draw * half, mid)
    return max(limit, on_grid(price, up=False))


def on_grid(price: float, *, up: bool) -> int:
    """A price in units moved to the tick grid, away from the trader; never below one tick."""
    tick = tick_size(int(price))
    steps = -(-price // tick) if up else price // tick
    return max(int(steps) * tick, tick)
