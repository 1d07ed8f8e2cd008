"""What one client keeps being told: positions, account values, portfolio rows, price ticks.

Each is sent whole when asked for and afterwards only where it changed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from hydra_pipelines.paper_gateway import replies
from hydra_pipelines.paper_gateway.book import Position
from hydra_pipelines.paper_gateway.contracts import Contract
from hydra_pipelines.paper_gateway.money import dollars
from hydra_pipelines.paper_gateway.profit import Profit
from hydra_pipelines.paper_gateway.replies import Message
from hydra_pipelines.paper_gateway.venue import Venue
from hydra_pipelines.paper_gateway.view import DELAY_MINUTES

AccountValue = tuple[str, str, str]

_LIVE_KINDS = (1, 2, 4, 9)
_DELAYED_KINDS = (66, 67, 68, 75)
"""Tick types of bid, ask, last and close; clients derive those of the sizes."""
_DELAYED_TRADE_TIME = 88


@dataclass
class _TickStream:
    """A price subscription, and the latest message of each kind."""

    contract: Contract
    delayed: bool
    known: dict[object, Message] = field(default_factory=dict)


class ValueStream:
    """Account values in the message that one request wants them in; None leaves a value out."""

    def __init__(self, message: Callable[[str, str, str], Message | None]) -> None:
        self._message = message
        self._known: dict[tuple[str, str], str] = {}

    def changes(self, values: list[AccountValue]) -> list[Message]:
        changed = []
        for tag, value, currency in values:
            message = self._message(tag, value, currency)
            if message is not None and self._known.get((tag, currency)) != value:
                self._known[tag, currency] = value
                changed.append(message)
        return changed


@dataclass
class _ProfitStream:
    """A profit subscription, and its latest message."""

    symbol: str | None
    known: Message | None = None


class Subscriptions:
    """The subscriptions of one client."""

    def __init__(self, venue: Venue, send: Callable[[Message], None]) -> None:
        self._venue = venue
        self._account = venue.terms.account
        self._send = send
        self._positions: dict[str, Position] | None = None
        self._portfolio: dict[str, Message] | None = None
        self._values: dict[object, ValueStream] = {}
        self._ticks: dict[int, _TickStream] = {}
        self._profits: dict[int, _ProfitStream] = {}

    def refresh(self) -> None:
        """Sends what changed in everything subscribed to."""
        if self._positions is not None:
            self._send_positions()
        if self._values:
            values = self._venue.account_values()
            for stream in self._values.values():
                self._send_all(stream.changes(values))
        if self._portfolio is not None:
            self._send_portfolio()
            self._send(replies.account_time(self._venue.now))
        for request_id in self._ticks:
            self._send_ticks(request_id)
        if self._profits:
            self._send_profits()

    def watch_values(self, key: object, stream: ValueStream) -> None:
        self._values[key] = stream
        self._send_all(stream.changes(self._venue.account_values()))

    def forget_values(self, key: object) -> None:
        self._values.pop(key, None)

    def watch_positions(self) -> None:
        self._positions = {}
        self._send_positions()

    def forget_positions(self) -> None:
        self._positions = None

    def watch_portfolio(self) -> None:
        self._portfolio = {}
        self._send_portfolio()
        self._send(replies.account_time(self._venue.now))

    def forget_portfolio(self) -> None:
        self._portfolio = None

    def watch_profit(self, request_id: int, symbol: str | None) -> None:
        """Of one position, or with None of the account."""
        self._profits[request_id] = _ProfitStream(symbol)
        self._send_profits()

    def forget_profit(self, request_id: int) -> None:
        self._profits.pop(request_id, None)

    def watch_ticks(self, request_id: int, contract: Contract, *, delayed: bool = False) -> None:
        self._ticks[request_id] = _TickStream(contract, delayed)
        self._send_ticks(request_id)

    def lose_ticks(self) -> None:
        """All price streams end, untold."""
        self._ticks = {}

    def forget_ticks(self, request_id: int) -> bool:
        """Whether there were any."""
        return self._ticks.pop(request_id, None) is not None

    def _send_all(self, messages: list[Message]) -> None:
        for message in messages:
            self._send(message)

    def _send_positions(self) -> None:
        """Closed positions are sent once more, with 0 shares."""
        known = self._positions or {}
        held = {item.symbol: item.position for item in self._venue.holdings()}
        for symbol in sorted(known.keys() | held.keys()):
            contract = self._venue.listing.named(symbol)
            position = held.get(symbol, Position(contract.con_id))
            if known.get(symbol) != position:
                self._send(replies.position(self._account, contract, position))
        self._positions = held

    def _send_portfolio(self) -> None:
        known = self._portfolio or {}
        held = {item.symbol: item for item in self._venue.holdings()}
        rows: dict[str, Message] = {}
        for symbol in sorted(known.keys() | held.keys()):
            contract = self._venue.listing.named(symbol)
            holding = held.get(symbol) or self._venue.closed_holding(contract)
            row = replies.portfolio_value(self._account, contract, holding)
            if known.get(symbol) != row:
                self._send(row)
            if symbol in held:
                rows[symbol] = row
        self._portfolio = rows

    def _send_profits(self) -> None:
        profits = self._venue.profits()
        for request_id, stream in self._profits.items():
            if stream.symbol is None:
                message = replies.pnl(request_id, sum(profits.values(), Profit()))
            else:
                message = replies.pnl_single(request_id, profits.get(stream.symbol, Profit()))
            if stream.known != message:
                stream.known = message
                self._send(message)

    def _send_ticks(self, request_id: int) -> None:
        stream = self._ticks[request_id]
        for message in price_ticks(self._venue, stream.contract, request_id, stream.delayed):
            kind = (message[0], message[3])
            if stream.known.get(kind) != message:
                stream.known[kind] = message
                self._send(message)


def price_ticks(venue: Venue, contract: Contract, request_id: int, delayed: bool) -> list[Message]:
    """What is shown of a contract now; nothing before it had a price.

    A closed market has a last price and a close, and -1 for bid and ask. Delayed data have tick
    types of their own, and say when the last price was made.
    """
    market = venue.view.market(contract, delayed=delayed)
    if market is None:
        return []
    quote = market.quote
    bid, ask, last, close = _DELAYED_KINDS if delayed else _LIVE_KINDS
    ticks = {
        bid: (dollars(quote.bid), quote.bid_depth) if quote else ("-1", 0),
        ask: (dollars(quote.ask), quote.ask_depth) if quote else ("-1", 0),
        last: (dollars(market.last), 100 if quote else 0),
        close: (dollars(market.close), 0),
    }
    messages = [
        replies.tick_price(request_id, kind, price, size) for kind, (price, size) in ticks.items()
    ]
    if delayed:
        made = venue.view.last_trade(minutes_ago=DELAY_MINUTES)
        messages.append(replies.tick_string(request_id, _DELAYED_TRADE_TIME, made.timestamp()))
    return messages
