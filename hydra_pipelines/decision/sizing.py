"""Whole shares and exact money: what the order of each name would be by itself.

Here belongs the integer arithmetic of one name, from its target weight to a bounded order. Which
of the orders can be paid is decided in `funding`; what they are called, and why, in `plan`.
Everything is a pure function.

Money is counted in int64 units of 0.0001 USD and weights in millionths, so that sums and
comparisons are exact and a whole universe is sized at once. Prices are rounded to a unit, targets
down to whole lots, costs up, proceeds down.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from enum import StrEnum
from typing import TypeVar

import numpy as np

from hydra_pipelines.decision.targets import PlanLimits

UNITS_PER_USD = 10_000
MILLION = 1_000_000
# A weight in millionths times equity in cents, divided by this, is money in units.
WEIGHTED_CENTS_PER_UNIT = 10_000
_NO_BOUND = np.iinfo(np.int64).max
_MAX_EQUITY_CENTS = 10**12
_MAX_BOOK_UNITS = 10**15


class NoteReason(StrEnum):
    """Why what was wanted is not ordered, or only in part."""

    NO_PRICE = "no_price"
    RESTRICTED = "restricted"
    HOLD = "hold"
    SHORT_NOT_ALLOWED = "short_not_allowed"
    WORKING_ORDER = "working_order"
    CROSSES_ZERO = "crosses_zero"
    INSIDE_BAND = "inside_band"
    BELOW_ONE_LOT = "below_one_lot"
    BELOW_MINIMUM = "below_minimum"
    ADV_SHARE = "adv_share"
    MAX_ORDER_NOTIONAL = "max_order_notional"
    MAX_POSITIONS = "max_positions"
    CASH = "cash"
    GROSS_CAP = "gross_cap"
    NET_CAP = "net_cap"
    EXPOSURE_UNKNOWN = "exposure_unknown"

    @property
    def explanation(self) -> str:
        return _EXPLANATIONS[self]


_EXPLANATIONS = {
    NoteReason.NO_PRICE: "there is no price for the session",
    NoteReason.RESTRICTED: "the name is on the restricted list",
    NoteReason.HOLD: "a strategy that could hold it has no prediction: the position is kept",
    NoteReason.SHORT_NOT_ALLOWED: "short positions are not enabled",
    NoteReason.WORKING_ORDER: "an order that is already working stands in the way",
    NoteReason.CROSSES_ZERO: "no order crosses zero: the position is closed first",
    NoteReason.INSIDE_BAND: "the difference to the target is inside the turnover band",
    NoteReason.BELOW_ONE_LOT: "the target, or the difference to it, is less than one lot",
    NoteReason.BELOW_MINIMUM: "the order would be below the minimum order value",
    NoteReason.ADV_SHARE: "bounded by the share of average daily volume",
    NoteReason.MAX_ORDER_NOTIONAL: "bounded by the largest order value",
    NoteReason.MAX_POSITIONS: "the portfolio has no free position for it",
    NoteReason.CASH: "not enough cash",
    NoteReason.GROSS_CAP: "the gross exposure limit is reached",
    NoteReason.NET_CAP: "the net exposure limit is reached",
    NoteReason.EXPOSURE_UNKNOWN: "a position or working order has no price, so the exposure "
    "(or the cash it needs) is not known and nothing may add to it",
}


@dataclass(frozen=True, eq=False)
class Book:
    """Account and names in integers; every array has shape (N,).

    equity_cents, cash_cents: whole cents. prices: units of 0.0001 USD, 0 where there is none.
    low, high: the position if all working sells, or all working buys, fill.
    weights: target in millionths of equity (0 where held); hold, restricted: bool.
    adv: whole shares a day, -1 where not known.
    unpriced_units: value of positions without a price; None where not known.
    """

    equity_cents: int
    cash_cents: int
    prices: np.ndarray
    positions: np.ndarray
    working: np.ndarray
    weights: np.ndarray
    hold: np.ndarray
    restricted: np.ndarray
    adv: np.ndarray
    unpriced_units: int | None

    @property
    def low(self) -> np.ndarray:
        return self.positions + np.minimum(self.working, 0)

    @property
    def high(self) -> np.ndarray:
        return self.positions + np.maximum(self.working, 0)

    def check_range(self, symbols: tuple[str, ...]) -> None:
        """Raise ValueError for amounts beyond what int64 arithmetic is sure to hold."""
        if not 0 < self.equity_cents <= _MAX_EQUITY_CENTS:
            raise ValueError(
                f"equity is {Decimal(self.equity_cents) / 100} USD; a plan needs an equity above 0 "
                f"and up to {_MAX_EQUITY_CENTS // 100:,} USD"
            )
        held = np.abs(self.positions.astype(np.float64)) + np.abs(self.working.astype(np.float64))
        values = held * np.maximum(self.prices, 1)
        if values.sum() > _MAX_BOOK_UNITS:
            raise ValueError(
                f"positions and working orders are worth more than "
                f"{_MAX_BOOK_UNITS // UNITS_PER_USD:,} USD, {symbols[int(values.argmax())]} most "
                "of all; check its quantity and price"
            )


@dataclass(frozen=True, eq=False)
class Sized:
    """Orders name by name, increases not yet funded; every array has shape (N,).

    wanted: signed shares wanted. ordered: signed shares within the limits of the name.
    increase: the order adds risk. exits: it closes the position because nothing of it is wanted.
    over: the position is beyond the hard limit. notes: name index -> reason.
    """

    wanted: np.ndarray
    ordered: np.ndarray
    increase: np.ndarray
    exits: np.ndarray
    over: np.ndarray
    notes: dict[int, NoteReason]


Whole = TypeVar("Whole", int, np.ndarray)
"""Whole numbers: one, or an array of int64."""


def millionths(fraction: float) -> int:
    """A fraction of the settings as a whole number of millionths, rounded down."""
    return int((Decimal(repr(float(fraction))) * MILLION).to_integral_value(ROUND_FLOOR))


def units(amount: Decimal) -> int:
    """An amount in USD as a whole number of units, rounded down."""
    return int((Decimal(str(amount)) * UNITS_PER_USD).to_integral_value(ROUND_FLOOR))


def share_of_equity(equity_cents: int, fraction: float) -> int:
    """`fraction` of equity, in units, rounded down."""
    return millionths(fraction) * equity_cents // WEIGHTED_CENTS_PER_UNIT


def band_units(equity_cents: int, limits: PlanLimits) -> int:
    """The turnover band, in units, rounded up."""
    return round_up(millionths(limits.turnover_band) * equity_cents, WEIGHTED_CENTS_PER_UNIT)


def round_up(values: Whole, divisor: int) -> Whole:
    """Integer division, rounded up."""
    return -(-values // divisor)


def size_orders(book: Book, limits: PlanLimits) -> Sized:
    """The order of each name by itself: target, band, lots, volume, minimum.

    An order is sized from the worst case of what is already working: a buy as if all working buys
    fill and no sell does, a sell the other way round, so that no fill can carry the position
    beyond the target. An order that reduces stops at zero, whatever the target.
    """
    low, high, expected = book.low, book.high, book.positions + book.working
    priced = book.prices > 0
    prices = np.where(priced, book.prices, 1)
    lot = limits.lot

    cap = millionths(limits.target_cap)
    weights = np.clip(book.weights, -cap if limits.allow_short else 0, cap)
    budgets = np.abs(weights) * book.equity_cents // WEIGHTED_CENTS_PER_UNIT
    targets = np.sign(weights) * (budgets // (prices * lot) * lot)
    hard = share_of_equity(book.equity_cents, limits.max_position_weight) // prices
    over = priced & ((low > hard) | (high < -hard))
    largest = share_of_equity(book.equity_cents, limits.target_cap) // (prices * lot) * lot
    trimmed = np.sign(book.positions) * largest
    targets = np.where(book.hold, np.where(over, trimmed, expected), targets)
    crossing = ((low > 0) & (targets < 0)) | ((high < 0) & (targets > 0))
    targets[crossing] = 0

    up, down = targets > high, targets < low
    wanted = np.where(up, targets - high, np.where(down, targets - low, 0))
    increase = (up & (low >= 0)) | (down & (high <= 0))
    reduce = (up & (high < 0)) | (down & (low > 0))
    exits = reduce & ~book.hold & (crossing | (weights == 0))
    orders = np.where(increase | reduce, np.abs(wanted), 0)
    orders = np.where(exits, orders, orders // lot * lot)

    band = band_units(book.equity_cents, limits)
    gap = np.abs(np.sign(weights) * budgets - np.where(up, high, low) * prices)
    inside = (np.minimum(gap, orders * prices) < band) & ~exits & ~over
    by_volume, by_value = _increase_bounds(book.adv, prices, limits)
    bounded = np.where(increase, np.minimum(orders, np.minimum(by_volume, by_value)), orders)
    bounded = np.where(bounded < orders, bounded // lot * lot, bounded)
    small = bounded * prices < units(limits.min_order_usd)
    blocked = ~priced | book.restricted | inside | small
    ordered = np.sign(wanted) * np.where(blocked, 0, bounded)

    held = (book.positions != 0) | (book.working != 0)
    differs = wanted != 0
    cut = bounded < orders
    notes: dict[int, NoteReason] = {}
    for mask, reason in (
        (~priced & (held | (book.weights != 0)), NoteReason.NO_PRICE),
        (book.restricted & differs, NoteReason.RESTRICTED),
        (book.hold & held & ~over, NoteReason.HOLD),
        ((book.weights < 0) & (weights == 0), NoteReason.SHORT_NOT_ALLOWED),
        (differs & ~increase & ~reduce, NoteReason.WORKING_ORDER),
        (~differs & (targets != expected), NoteReason.WORKING_ORDER),
        (crossing, NoteReason.CROSSES_ZERO),
        ((differs & (orders == 0)) | ((weights != 0) & (targets == 0)), NoteReason.BELOW_ONE_LOT),
        (differs & inside, NoteReason.INSIDE_BAND),
        (cut & (by_volume <= by_value), NoteReason.ADV_SHARE),
        (cut, NoteReason.MAX_ORDER_NOTIONAL),
        (differs & small, NoteReason.BELOW_MINIMUM),
    ):
        for i in np.flatnonzero(mask).tolist():
            notes.setdefault(i, reason)
    return Sized(wanted, ordered, increase & (ordered != 0), exits, over, notes)


def _increase_bounds(
    adv: np.ndarray, prices: np.ndarray, limits: PlanLimits
) -> tuple[np.ndarray, np.ndarray]:
    """Most shares of an order that adds risk: by volume and by value."""
    by_volume = np.where(adv < 0, _NO_BOUND, adv * millionths(limits.max_adv_share) // MILLION)
    if limits.max_order_notional is None:
        return by_volume, np.full(len(prices), _NO_BOUND)
    return by_volume, units(limits.max_order_notional) // prices
