"""What happens to an account past its API clients: money and shares that move, trades by hand.

For tests of whoever has to find out. The account's owner does these in the broker's own programs,
so nobody is told but by what is asked for afterwards; a trade is an execution like any other, of
client 0 and without an order reference.
"""

from __future__ import annotations

from hydra_pipelines.paper_gateway.account import VenueError
from hydra_pipelines.paper_gateway.book import SUBMITTED, Order, Report
from hydra_pipelines.paper_gateway.contracts import Contract
from hydra_pipelines.paper_gateway.money import to_units
from hydra_pipelines.paper_gateway.venue import Venue


def pay(venue: Venue, usd: str) -> None:
    """Money in (above 0) or out. Raises VenueError."""
    amount = to_units(usd)
    if not amount:
        raise VenueError(f"{usd!r} is no amount of money")
    with venue.store.transaction():
        venue.account.pay(amount)


def move_shares(venue: Venue, symbol: str, shares: int) -> None:
    """Shares in (above 0) or out, at the last price, and no money. Raises VenueError."""
    contract = _contract(venue, symbol)
    with venue.store.transaction():
        venue.account.move(symbol, contract.con_id, shares, venue.view.mark(symbol))


def trade(venue: Venue, action: str, symbol: str, shares: int) -> list[Report]:
    """Shares bought or sold at the last price. Raises VenueError."""
    contract = _contract(venue, symbol)
    if action not in ("BUY", "SELL") or shares <= 0:
        raise VenueError(f"{action!r} {shares}: a trade buys or sells one share or more")
    order = Order(
        perm_id=0,
        client_id=0,
        order_id=0,
        con_id=contract.con_id,
        symbol=symbol,
        action=action,
        quantity=shares,
        limit=venue.view.mark(symbol),
        tif="DAY",
        order_ref="",
        placed_at=venue.now,
        expires=None,
        status=SUBMITTED,
    )
    return venue.fill_at_limit(order)


def _contract(venue: Venue, symbol: str) -> Contract:
    if symbol not in venue.prices.symbols:
        raise VenueError(f"the venue does not trade {symbol}")
    return venue.listing.named(symbol)
