"""Which of the sized orders can be paid: free positions, cash, gross and net exposure.

Here belongs what the orders of a plan share. What one name's order would be by itself is decided
in `sizing`, with the same units (0.0001 USD, millionths). Everything is a pure function.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hydra_pipelines.decision.sizing import (
    MILLION,
    WEIGHTED_CENTS_PER_UNIT,
    Book,
    NoteReason,
    Sized,
    band_units,
    millionths,
    round_up,
    share_of_equity,
    units,
)
from hydra_pipelines.decision.targets import PlanLimits

_UNITS_PER_CENT = 100


@dataclass(frozen=True)
class Funds:
    """Cash for buys, in units: confirmed (less buffer, working buys and covers) and expected."""

    confirmed: int
    expected: int


def fund_increases(
    book: Book, sized: Sized, limits: PlanLimits
) -> tuple[np.ndarray, Funds, dict[int, NoteReason]]:
    """Cut the increases to free positions, cash and exposure.

    They are served one after the other, the largest absolute target weight first and ties in the
    order of the book. One that does not fit is cut to the whole lots that do, and left out where
    these are worth less than the minimum order or the turnover band.

    Returns the signed shares (N,) of all orders, the funds, and why which names were cut.
    """
    final = np.where(sized.increase, 0, sized.ordered)
    increases = np.flatnonzero(sized.increase)
    priority = increases[np.argsort(-np.abs(book.weights[increases]), kind="stable")]
    costs = _Costs.of(limits)
    funds = _funds(book, final, limits, costs)
    low, high = book.low + final, book.high + final
    occupied = (low != 0) | (high != 0)
    unpriced = occupied & (book.prices == 0)
    extra = 0
    if unpriced.any():
        if book.unpriced_units is None or (book.working[unpriced] > 0).any():
            return final, funds, dict.fromkeys(priority.tolist(), NoteReason.EXPOSURE_UNKNOWN)
        extra = book.unpriced_units
    net_cap = share_of_equity(book.equity_cents, limits.net_cap)
    exposed = int((np.maximum(np.abs(low), np.abs(high)) * book.prices).sum()) + extra
    room = _Room(
        worthwhile=max(units(limits.min_order_usd), band_units(book.equity_cents, limits), 1),
        positions=limits.max_positions - int(occupied.sum()),
        cash=funds.confirmed + funds.expected,
        gross=share_of_equity(book.equity_cents, limits.gross_cap) - exposed,
        long=net_cap - int((high * book.prices).sum()) - extra,
        short=net_cap + int((low * book.prices).sum()) - extra,
    )

    shares, prices = np.abs(sized.ordered[priority]), book.prices[priority]
    buys, entries = sized.ordered[priority] > 0, ~occupied[priority]
    values = shares * prices
    cash = np.where(buys, costs.of_buys(shares, prices), 0)
    long, short = np.where(buys, values, 0), np.where(buys, 0, values)
    # All that fit in full before the first that doesn't are taken at once, the rest one by one.
    fits = (
        (~entries | (entries.cumsum() <= room.positions))
        & (~buys | ((cash.cumsum() <= room.cash) & (long.cumsum() <= room.long)))
        & (buys | (short.cumsum() <= room.short))
        & (values.cumsum() <= room.gross)
    )
    whole = len(fits) if fits.all() else int(fits.argmin())
    first, rest = priority[:whole], priority[whole:]
    final[first] = sized.ordered[first]
    room.take(
        positions=int(entries[:whole].sum()),
        cash=int(cash[:whole].sum()),
        long=int(long[:whole].sum()),
        short=int(short[:whole].sum()),
    )
    notes: dict[int, NoteReason] = {}
    left = zip(
        rest.tolist(),
        shares[whole:].tolist(),
        prices[whole:].tolist(),
        buys[whole:].tolist(),
        entries[whole:].tolist(),
        strict=True,
    )
    for i, wanted, price, buy, entry in left:
        fitting, reason = room.fit(wanted, price, buy, entry, limits.lot, costs)
        if reason is not None:
            notes[i] = reason
        if fitting:
            final[i] = fitting if buy else -fitting
            room.take(
                positions=int(entry),
                cash=int(costs.of_buys(fitting, price)) if buy else 0,
                long=fitting * price if buy else 0,
                short=0 if buy else fitting * price,
            )
    return final, funds, notes


@dataclass
class _Room:
    """What is left for increases: positions, and money in units; and the least worth trading."""

    worthwhile: int
    positions: int
    cash: int
    gross: int
    long: int
    short: int

    def take(self, positions: int, cash: int, long: int, short: int) -> None:
        self.positions -= positions
        self.cash -= cash
        self.gross -= long + short
        self.long -= long
        self.short -= short

    def fit(
        self, wanted: int, price: int, buy: bool, entry: bool, lot: int, costs: _Costs
    ) -> tuple[int, NoteReason | None]:
        """The shares that fit, and what bounds them (None where nothing does)."""
        if entry and self.positions <= 0:
            return 0, NoteReason.MAX_POSITIONS
        net = self.long if buy else self.short
        bounds = [(self.gross // price, NoteReason.GROSS_CAP), (net // price, NoteReason.NET_CAP)]
        if buy:
            bounds.insert(0, (costs.affordable(self.cash, wanted, price), NoteReason.CASH))
        most, reason = min(bounds, key=lambda bound: max(bound[0], 0))
        if most >= wanted:
            return wanted, None
        fitting = max(most, 0) // lot * lot
        return (fitting if fitting * price >= self.worthwhile else 0), reason


_Some = int | np.ndarray


@dataclass(frozen=True)
class _Costs:
    """Price collar (millionths) and commission schedule (units; millionths of the value)."""

    collar: int
    per_share: int
    minimum: int
    max_fraction: int

    @classmethod
    def of(cls, limits: PlanLimits) -> _Costs:
        return cls(
            collar=millionths(limits.price_collar),
            per_share=units(limits.commission_per_share),
            minimum=units(limits.commission_minimum),
            max_fraction=millionths(limits.commission_max_fraction),
        )

    def commission(self, shares: _Some, prices: _Some) -> np.ndarray:
        """Commission in units, rounded up to the cent."""
        # Split, since the value times the fraction could leave int64.
        values = np.asarray(shares * prices)
        most = values // MILLION * self.max_fraction + round_up(
            values % MILLION * self.max_fraction, MILLION
        )
        charged = np.minimum(np.maximum(shares * self.per_share, self.minimum), most)
        return round_up(charged, _UNITS_PER_CENT) * _UNITS_PER_CENT

    def of_buys(self, shares: _Some, prices: _Some) -> np.ndarray:
        """What buys cost at the collar above the reference price, commission included."""
        above = round_up(np.asarray(prices) * (MILLION + self.collar), MILLION)
        return shares * above + self.commission(shares, above)

    def from_sells(self, shares: np.ndarray, prices: np.ndarray) -> np.ndarray:
        """What sells bring in at the collar below the reference price, less commission."""
        below = prices * (MILLION - self.collar) // MILLION
        return np.maximum(shares * below - self.commission(shares, below), 0)

    def affordable(self, cash: int, wanted: int, price: int) -> int:
        """The most shares, up to `wanted`, whose cost is within `cash`."""
        high = min(wanted, cash // price)
        low = 0
        while low < high:
            middle = (low + high + 1) // 2
            if self.of_buys(middle, price) <= cash:
                low = middle
            else:
                high = middle - 1
        return low


def _funds(book: Book, reductions: np.ndarray, limits: PlanLimits, costs: _Costs) -> Funds:
    buffer = round_up(millionths(limits.cash_buffer) * book.equity_cents, WEIGHTED_CENTS_PER_UNIT)
    working_buys = costs.of_buys(np.maximum(book.working, 0), book.prices)
    covers = costs.of_buys(np.maximum(reductions, 0), book.prices)
    spent = int(working_buys.sum() + covers.sum())
    expected = 0
    if limits.buy_funding == "sells_first":
        expected = int(costs.from_sells(np.maximum(-reductions, 0), book.prices).sum())
    return Funds(book.cash_cents * _UNITS_PER_CENT - buffer - spent, expected)
