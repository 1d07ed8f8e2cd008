"""Lots, first in first out: what each share sold had cost, and what the open ones cost.

Pure. Commissions are kept apart from prices: the profit of a lot is before them, and each is a row
of its own. Lots belong to the strategies that opened them, in the shares of the plan's row behind
the opening fill; what is realised belongs to them in the same shares, whoever decided to sell.
Average cost, as the broker counts it, is in `positions`.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

UNIT = Decimal("0.0001")
"""To what a part of a lot's cost is rounded; the rest of the lot keeps the difference."""

UNATTRIBUTED = ""
"""The strategy of what no strategy ordered: trades by hand, shares accepted from the broker."""

Shares = tuple[tuple[str, Decimal], ...]
"""(strategy, its part), the parts adding up to 1."""

NOBODY: Shares = ((UNATTRIBUTED, Decimal(1)),)


@dataclass(frozen=True)
class OpenLot:
    """Shares (below 0: sold short) that one fill opened, and what they cost (the same sign)."""

    symbol: str
    key: str
    opened: date
    quantity: int
    cost: Decimal
    shares: Shares


@dataclass(frozen=True)
class Realised:
    """Shares of one lot closed by one fill. gain: USD, before commissions.

    quantity: shares closed, below 0 where a short position was bought back. cost, proceeds: their
    opening and closing value, of the same sign. keys: of the two fills in the journal.
    """

    symbol: str
    session: date
    opened: date
    open_key: str
    close_key: str
    quantity: int
    cost: Decimal
    proceeds: Decimal
    shares: Shares

    @property
    def gain(self) -> Decimal:
        return self.proceeds - self.cost


@dataclass(frozen=True)
class Commission:
    """The commission of one fill, to whom the shares it traded belonged."""

    symbol: str
    session: date
    amount: Decimal
    shares: Shares


@dataclass
class LotBook:
    """Open lots by symbol, oldest first, and what has been realised so far."""

    open: dict[str, deque[OpenLot]] = field(default_factory=dict)
    realised: list[Realised] = field(default_factory=list)
    commissions: list[Commission] = field(default_factory=list)

    def apply(self, row: Mapping[str, Any]) -> None:
        """Take in one row of `trades.attributed_fills`; rows come in the order they happened.

        Raises ValueError for a split of shares that are not there.
        """
        if row.get("kind") == "split":
            self._split(row)
        elif row.get("kind") == "symbol_change":
            self._rename(row)
        else:
            self._trade(row)

    def held(self, symbol: str) -> int:
        return sum(lot.quantity for lot in self.open.get(symbol, ()))

    def cost(self, symbol: str) -> Decimal:
        """What the open shares cost, without commissions; below 0 for a short position."""
        return sum((lot.cost for lot in self.open.get(symbol, ())), Decimal(0))

    def lots(self) -> list[OpenLot]:
        return [lot for symbol in sorted(self.open) for lot in self.open[symbol]]

    def _trade(self, row: Mapping[str, Any]) -> None:
        symbol, price = row["symbol"], row["price"]
        left = row["quantity"] if row["side"] == "BUY" else -row["quantity"]
        lots = self.open.setdefault(symbol, deque())
        parts: list[tuple[int, Shares]] = []
        while left and lots and lots[0].quantity * left < 0:
            lot = lots.popleft()
            closed = min(abs(left), abs(lot.quantity)) * (1 if lot.quantity > 0 else -1)
            cost = _part(lot.cost, closed, lot.quantity)
            self.realised.append(
                Realised(
                    symbol=symbol,
                    session=row["session"],
                    opened=lot.opened,
                    open_key=lot.key,
                    close_key=row["exec_key"],
                    quantity=closed,
                    cost=cost,
                    proceeds=closed * price,
                    shares=lot.shares,
                )
            )
            parts.append((abs(closed), lot.shares))
            left += closed
            if closed != lot.quantity:
                lots.appendleft(replace(lot, quantity=lot.quantity - closed, cost=lot.cost - cost))
        if left:
            shares = shares_of(row)
            lots.append(
                OpenLot(symbol, row["exec_key"], row["session"], left, left * price, shares)
            )
            parts.append((abs(left), shares))
        if not lots:
            del self.open[symbol]
        if row["commission"]:
            self.commissions.append(
                Commission(symbol, row["session"], row["commission"], mixed(parts))
            )

    def _split(self, row: Mapping[str, Any]) -> None:
        """New shares for old, lot by lot; the cost stays. A lot that is left without a share gives
        its cost to the next, and where none is left it is realised as lost."""
        symbol = row["symbol"]
        change = row["quantity"] if row["side"] == "BUY" else -row["quantity"]
        before = self.held(symbol)
        if not before or (before + change) * before < 0:
            raise ValueError(f"{row['exec_key']}: {change} shares for {before} held is no split")
        after = before + change
        scaled: deque[OpenLot] = deque()
        reached, given, carried = 0, 0, Decimal(0)
        for lot in self.open.pop(symbol):
            reached += lot.quantity
            # Cut the whole, not each lot: so no share is lost between them.
            upto = reached * after // before
            quantity, given = upto - given, upto
            if quantity:
                scaled.append(replace(lot, quantity=quantity, cost=lot.cost + carried))
                carried = Decimal(0)
            else:
                carried += lot.cost
            last = lot
        if scaled and carried:
            scaled[-1] = replace(scaled[-1], cost=scaled[-1].cost + carried)
        elif carried:
            self.realised.append(
                Realised(
                    symbol=symbol,
                    session=row["session"],
                    opened=last.opened,
                    open_key=last.key,
                    close_key=row["exec_key"],
                    quantity=before,
                    cost=carried,
                    proceeds=Decimal(0),
                    shares=last.shares,
                )
            )
        if scaled:
            self.open[symbol] = scaled

    def _rename(self, row: Mapping[str, Any]) -> None:
        """The row of the new name moves the lots; that of the old one has nothing left to say."""
        if row["from_symbol"] is None:
            return
        moved = self.open.pop(row["from_symbol"], deque())
        lots = self.open.setdefault(row["symbol"], deque())
        lots.extend(replace(lot, symbol=row["symbol"]) for lot in moved)
        if not lots:
            del self.open[row["symbol"]]


def fold_lots(rows: Iterable[Mapping[str, Any]]) -> LotBook:
    """The lots after `rows` (of `trades.attributed_fills`, oldest first)."""
    book = LotBook()
    for row in rows:
        book.apply(row)
    return book


def shares_of(row: Mapping[str, Any]) -> Shares:
    """To whom a fill belongs: by the plan's row behind it, or equally where that isn't known.

    A plan of an early version names its strategies without their shares.
    """
    known = row.get("strategy_shares")
    if known:
        weights = {name: Decimal(repr(abs(share))) for name, share in json.loads(known).items()}
        total = sum(weights.values())
        if total:
            return tuple((name, weight / total) for name, weight in weights.items() if weight)
    names = [name for name in (row["strategies"] or "").split(",") if name]
    return tuple((name, Decimal(1) / len(names)) for name in names) or NOBODY


def divide(amount: Decimal, shares: Shares) -> dict[str, Decimal]:
    """An amount by strategy; the last one takes what rounding to a unit leaves."""
    out: dict[str, Decimal] = {}
    left = amount
    for name, share in shares[:-1]:
        out[name] = (amount * share).quantize(UNIT, ROUND_HALF_EVEN)
        left -= out[name]
    out[shares[-1][0]] = out.get(shares[-1][0], Decimal(0)) + left
    return out


def _part(cost: Decimal, quantity: int, of: int) -> Decimal:
    return cost if quantity == of else (cost * quantity / of).quantize(UNIT, ROUND_HALF_EVEN)


def mixed(parts: list[tuple[int, Shares]]) -> Shares:
    """Shares of several lots in one, by their quantities; nobody's where there are none."""
    if not parts:
        return NOBODY
    if len({shares for _, shares in parts}) == 1:
        return parts[0][1]
    total = sum(quantity for quantity, _ in parts)
    out: dict[str, Decimal] = {}
    for quantity, shares in parts:
        for name, share in shares:
            out[name] = out.get(name, Decimal(0)) + share * quantity / total
    return tuple(out.items())
