"""What the market shows of a symbol at the venue's instant, live or a quarter of an hour late.

Reads prices by the exchange's clock. Who is shown which, and in what message, is elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from hydra_pipelines.paper_gateway.clock import ExchangeClock
from hydra_pipelines.paper_gateway.contracts import Contract
from hydra_pipelines.paper_gateway.matching import Quote
from hydra_pipelines.paper_gateway.prices import VenuePrices, on_tick_grid

DELAY_MINUTES = 15


@dataclass(frozen=True)
class Market:
    """What is known of a symbol; `quote` is None while the market is closed. Prices in units."""

    quote: Quote | None
    last: int
    close: int
    """The close of the latest complete session."""


class MarketView:
    """Quotes, marks and markets of now."""

    def __init__(self, prices: VenuePrices, clock: ExchangeClock) -> None:
        self._prices = prices
        self._clock = clock

    def quote(self, symbol: str, minutes_ago: int = 0) -> Quote | None:
        """None while the market is closed, or was so many minutes ago."""
        moment = self._clock.moment
        if moment is None or moment[1] < minutes_ago:
            return None
        return self._prices.quote(symbol, moment[0], moment[1] - minutes_ago)

    def mark(self, symbol: str) -> int:
        """The last price, or the close while the market is closed; 0 before there was any."""
        quote = self.quote(symbol)
        if quote:
            return quote.last
        return self._prices.close(symbol, self._clock.latest_complete) or 0

    def market(self, contract: Contract, *, delayed: bool = False) -> Market | None:
        """None where the symbol had no price yet."""
        close = self._prices.close(contract.symbol, self._clock.latest_complete)
        quote = self.quote(contract.symbol, DELAY_MINUTES if delayed else 0)
        if close is None:
            return Market(quote, quote.last, quote.last) if quote else None
        return Market(quote, quote.last if quote else on_tick_grid(close), close)

    def last_trade(self, *, minutes_ago: int = 0) -> datetime:
        """When the last price was made, as of so many minutes ago."""
        seen = self._clock.now - timedelta(minutes=minutes_ago)
        calendar, moment = self._clock.calendar, self._clock.moment
        if moment and moment[1] >= minutes_ago:
            return seen
        return calendar.close(self._clock.latest_complete)
