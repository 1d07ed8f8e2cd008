"""The cash account: balance, positions, today's realised profit, and what it can afford.

All of it exact and written through to the store. When and at what price to trade is the venue's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime

from hydra_pipelines.paper_gateway import rules
from hydra_pipelines.paper_gateway.book import ActionBooked, Execution, Order, Position
from hydra_pipelines.paper_gateway.money import UNITS_PER_CENT, commission_cents, dollars
from hydra_pipelines.paper_gateway.prices import Action
from hydra_pipelines.paper_gateway.statement import Holding
from hydra_pipelines.paper_gateway.store import AccountStore


@dataclass(frozen=True)
class Terms:
    """What an account is opened with. It can't change while the account's file lives.

    cash: opening balance in units. max_active_a_side: active orders in one contract on one side.
    """

    account: str
    cash: int
    seed: int
    first_session: date
    allow_short: bool = False
    max_active_a_side: int = 20

    def written(self) -> dict[str, str]:
        return {
            "account": self.account,
            "opening_cash": str(self.cash),
            "seed": str(self.seed),
            "first_session": self.first_session.isoformat(),
            "allow_short": str(self.allow_short),
            "max_active_a_side": str(self.max_active_a_side),
        }


class VenueError(ValueError):
    """The venue can't do what it was told; the text says why and what would work."""


class Account:
    """The books of one account, as stored."""

    def __init__(self, store: AccountStore, terms: Terms) -> None:
        self.terms = terms
        self.cash = int(store.meta()["cash"])
        self.positions = store.positions()
        self.realized: dict[str, int] = {}
        """Profit realised on the venue's date, by symbol, in units."""
        self._store = store

    def symbols(self) -> set[str]:
        """What is held."""
        return {symbol for symbol, position in self.positions.items() if position.quantity}

    def position(self, symbol: str, con_id: int) -> Position:
        return self.positions.get(symbol) or Position(con_id)

    def trade(self, order: Order, shares: int, price: int) -> tuple[int, int | None]:
        """Books a fill of an order whose totals include it: (commission in cents, realised)."""
        notional = shares * price
        commission = commission_cents(order.filled, order.notional) - order.commission
        fee = commission * UNITS_PER_CENT
        signed = shares if order.action == "BUY" else -shares
        self.cash -= (notional if signed > 0 else -notional) + fee
        before = self.position(order.symbol, order.con_id)
        position, realized = before.after(signed, notional, fee)
        self.positions[order.symbol] = position
        self.realized[order.symbol] = self.realized.get(order.symbol, 0) + (realized or 0)
        self._store.save_position(order.symbol, position)
        self._store.set_meta(cash=str(self.cash))
        return commission, realized

    def correct(self, wrong: Execution, right: Execution) -> None:
        """Books the correction of the latest execution, of its price only."""
        gained = right.notional_flow - wrong.notional_flow
        self.cash += gained
        if right.realized is None:
            held = self.positions[right.symbol]
            self.positions[right.symbol] = replace(held, cost=held.cost - gained)
            self._store.save_position(right.symbol, self.positions[right.symbol])
        else:
            self.realized[right.symbol] += gained
        self._store.set_meta(cash=str(self.cash))

    def act(self, symbol: str, action: Action, close: int, session: date) -> None:
        """Books a corporate action: dividends on the old shares, then the new shares.

        A fraction of a share is paid out at the close before, and leaves the cost basis with it.
        """
        held = self.positions.get(symbol)
        if held is None or not held.quantity:
            return
        exact = held.quantity * action.ratio
        quantity = int(exact)
        instead = round((exact - quantity) * close / action.ratio)
        paid = held.quantity * action.dividend + instead
        self.cash += paid
        self.positions[symbol] = replace(held, quantity=quantity, cost=held.cost - instead)
        self._store.save_position(symbol, self.positions[symbol])
        self._store.set_meta(cash=str(self.cash))
        self._store.save_action(
            ActionBooked(session, symbol, str(action.ratio), held.quantity, quantity, paid)
        )

    def pay(self, amount: int) -> None:
        """Books money paid in (above 0) or taken out, in units; raises VenueError without it."""
        if self.cash + amount < 0:
            raise VenueError(f"the account has {dollars(self.cash)} USD, less than is taken out")
        self.cash += amount
        self._store.set_meta(cash=str(self.cash))

    def move(self, symbol: str, con_id: int, shares: int, price: int) -> None:
        """Books shares that came (above 0) or went without a trade, at a price in units."""
        held = self.position(symbol, con_id)
        after = replace(held, quantity=held.quantity + shares, cost=held.cost + shares * price)
        self.positions[symbol] = after
        self._store.save_position(symbol, after)

    def start_day(self, executions: Iterable[Execution]) -> None:
        """Realised profit starts anew, from the day's executions so far."""
        self.realized = {}
        for item in executions:
            self.realized[item.symbol] = self.realized.get(item.symbol, 0) + (item.realized or 0)

    def holdings(self, mark: Callable[[str], int]) -> list[Holding]:
        """Open positions by symbol, at the prices `mark` gives."""
        return [
            Holding(symbol, position, mark(symbol), self.realized.get(symbol, 0))
            for symbol, position in sorted(self.positions.items())
            if position.quantity
        ]

    def refusal(
        self, order: Order, quantity: int, limit: int, others: list[Order]
    ) -> rules.Refusal | None:
        """Why it can't carry an order at that size and price beside the other active ones."""
        beside = [o for o in others if (o.symbol, o.action) == (order.symbol, order.action)]
        if len(beside) >= self.terms.max_active_a_side:
            return rules.too_many(self.terms.max_active_a_side, order.symbol, order.action)
        remaining = quantity - order.filled
        if order.action == "BUY":
            available = self.cash - reserved(others)
            needed = _cost(order, remaining, limit)
            return rules.no_funds(needed, available) if needed > available else None
        held = self.position(order.symbol, order.con_id).quantity
        sellable = held - sum(o.remaining for o in beside)
        if remaining > sellable and not self.terms.allow_short:
            return rules.no_short(remaining, max(sellable, 0), order.symbol)
        return None


def open_account(store: AccountStore, terms: Terms, start: datetime) -> None:
    """Makes the account where the file has none, its clock at `start`.

    Raises VenueError where the file holds an account on other terms.
    """
    wanted = terms.written()
    with store.transaction():
        meta = store.meta()
        if "now" not in meta:
            store.set_meta(cash=wanted["opening_cash"], now=start.isoformat(), **wanted)
            return
    for name, value in wanted.items():
        if meta[name] != value:
            raise VenueError(
                f"{store.path} was opened with {name} {_shown(name, meta[name])}, "
                f"not {_shown(name, value)}; "
                "keep that, or start over with another home"
            )


def _shown(name: str, value: str) -> str:
    return f"{dollars(int(value))} USD" if name == "opening_cash" else value


def reserved(orders: Iterable[Order]) -> int:
    """The most that the working buy orders among them can cost, in units."""
    return sum(_cost(o, o.remaining, o.limit) for o in orders if o.action == "BUY")


def _cost(order: Order, remaining: int, limit: int) -> int:
    value = remaining * limit
    fee = commission_cents(order.filled + remaining, order.notional + value) - order.commission
    return value + fee * UNITS_PER_CENT
