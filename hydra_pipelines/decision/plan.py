"""Target portfolio and current positions to an order plan that a person can read and veto.

Here belong the plan's rows, notes and ids. What it is made from is in `plan_inputs`, sizes in whole
shares come from `sizing`, what can be paid from `funding`; working the orders belongs to execution.
Everything is a pure function: the same inputs give the same plan, ids included.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields
from datetime import date
from decimal import ROUND_FLOOR, Decimal
from enum import StrEnum
from itertools import repeat
from operator import mul
from typing import Literal, NamedTuple, Protocol

import numpy as np

from hydra_pipelines.decision.funding import fund_increases
from hydra_pipelines.decision.plan_inputs import PlanInputs
from hydra_pipelines.decision.sizing import (
    MILLION,
    UNITS_PER_USD,
    Book,
    NoteReason,
    Sized,
    size_orders,
    units,
)
from hydra_pipelines.decision.targets import BuyFunding, PlanLimits, Targets

Side = Literal["BUY", "SELL"]

_ID_VERSION = b"plan-1"
_UNIT = Decimal("0.0001")
_LARGEST_ADV = 9e12


class PlanReason(StrEnum):
    """Why an order is in the plan."""

    EXIT = "exit"
    TRIM = "trim over limit"
    REDUCE = "reduce"
    ENTER = "enter"
    INCREASE = "increase"


_REDUCTIONS = (PlanReason.EXIT, PlanReason.TRIM, PlanReason.REDUCE)


class SlippagePredictor(Protocol):
    """What a plan needs of a slippage model; its `repr` must name all its parameters."""

    def predict_bps(
        self, quantity: np.ndarray, price: np.ndarray, sigma_daily: np.ndarray, adv: np.ndarray
    ) -> np.ndarray:
        """Expected cost in basis points of orders of shape (N,)."""
        ...


class PlanRow(NamedTuple):
    """One order of the plan.

    row_id: unique and the same for the same inputs. sequence: the order of working, from 1.
    quantity: shares, above 0. target_quantity: signed shares held once it is filled; with working
        orders it is what the position may come to at most (buys) or at least (sells).
    target_weight: None where the name is held and only trimmed. current_weight: position and
        working orders at the reference price, as a fraction of equity.
    reference_price, notional: USD. predicted_slippage_bps: expected cost.
    strategies: (strategy id, its share of the target weight); a strategy with a share of 0 wants
        no position. Empty where the name is held.
    """

    row_id: str
    sequence: int
    symbol: str
    side: Side
    quantity: int
    reason: PlanReason
    target_weight: float | None
    current_weight: float
    target_quantity: int
    reference_price: Decimal
    notional: Decimal
    predicted_slippage_bps: float
    strategies: tuple[tuple[str, float], ...]

    @property
    def reduces(self) -> bool:
        return self.reason in _REDUCTIONS


class PlanNote(NamedTuple):
    """What was wanted and is not ordered, wholly or in part, and why.

    wanted: signed shares; None where there is no price, or no target was made for it.
    ordered: signed shares in the plan.
    """

    symbol: str
    reason: NoteReason
    wanted: int | None
    ordered: int


@dataclass(frozen=True)
class OrderPlan:
    """Orders for one execution session, reductions first, and what was left out.

    confirmed_funds: cash less the buffer, working buys and covering buys of the plan (USD; below 0
        where that is more than the cash). expected_proceeds: what the plan's sells bring in at
        the collar, 0 with `confirmed_cash`. Buys never cost more than the two together.
    """

    plan_id: str
    signal_session: date
    execution_session: date
    account_id: str
    equity: Decimal
    cash: Decimal
    buy_funding: BuyFunding
    confirmed_funds: Decimal
    expected_proceeds: Decimal
    rows: tuple[PlanRow, ...]
    notes: tuple[PlanNote, ...]


def make_plan(inputs: PlanInputs, limits: PlanLimits, slippage: SlippagePredictor) -> OrderPlan:
    """The orders that carry the account from where it is towards its targets.

    Sells that reduce come first, then buys that cover, each by reason (exit, trim, reduce) and
    size; then what adds risk, the largest absolute target weight first and ties by symbol, which
    is also the order in which free positions, cash and exposure are given out. Orders that reduce
    are not bounded by volume or value (they are worked in slices), nor by cash.

    Raises ValueError for an equity that is not above 0 and for amounts that can't be right.
    """
    by_symbol = _by_symbol(inputs.symbols)
    plan_id = _plan_id(inputs, limits, slippage, by_symbol)
    # Most names of a universe are neither held nor wanted; the rest of the work is without them,
    # and in the order of symbols, so that ties fall by symbol.
    inputs = inputs.take(by_symbol[_concerned(inputs)[by_symbol]])
    book = _book(inputs)
    book.check_range(inputs.symbols)
    sized = size_orders(book, limits)
    shares, funds, cuts = fund_increases(book, sized, limits)
    notes = {**_untargeted(inputs.targets, book, limits), **sized.notes, **cuts}
    return OrderPlan(
        plan_id=plan_id,
        signal_session=inputs.signal_session,
        execution_session=inputs.execution_session,
        account_id=inputs.account_id,
        equity=inputs.equity,
        cash=inputs.cash,
        buy_funding=limits.buy_funding,
        confirmed_funds=_usd(funds.confirmed),
        expected_proceeds=_usd(funds.expected),
        rows=_rows(inputs, book, sized, shares, slippage, plan_id),
        notes=_notes(inputs, book, sized, shares, notes),
    )


def _by_symbol(symbols: tuple[str, ...]) -> np.ndarray:
    """Indices (N,) of the names in ascending order; quick where they are in order already."""
    if tuple(sorted(symbols)) == symbols:
        return np.arange(len(symbols))
    return np.array(sorted(range(len(symbols)), key=symbols.__getitem__), dtype=np.int64)


def _concerned(inputs: PlanInputs) -> np.ndarray:
    """bool (N,): names that are held, worked or wanted."""
    wanted = (inputs.targets.asked != 0.0) | (
        ~inputs.targets.hold & (inputs.targets.weights != 0.0)
    )
    return wanted | (inputs.positions != 0) | (inputs.working != 0)


def _book(inputs: PlanInputs) -> Book:
    with np.errstate(invalid="ignore"):
        has_price = np.isfinite(inputs.prices) & (inputs.prices > 0)
    prices = np.rint(np.where(has_price, inputs.prices, 0.0) * UNITS_PER_USD)
    if (prices > float(10**14)).any():
        i = int(prices.argmax())
        raise ValueError(f"the price of {inputs.symbols[i]} can't be {inputs.prices[i]} USD")
    hold = inputs.targets.hold
    adv = np.where(np.isnan(inputs.adv), -1.0, np.minimum(inputs.adv, _LARGEST_ADV))
    unpriced = inputs.unpriced_exposure
    return Book(
        equity_cents=_cents(inputs.equity),
        cash_cents=_cents(inputs.cash),
        prices=prices.astype(np.int64),
        positions=inputs.positions.astype(np.int64),
        working=inputs.working.astype(np.int64),
        weights=np.rint(np.where(hold, 0.0, inputs.targets.weights) * MILLION).astype(np.int64),
        hold=hold,
        restricted=np.array(list(map(inputs.restricted.__contains__, inputs.symbols)), dtype=bool),
        adv=adv.astype(np.int64),
        unpriced_units=None if unpriced is None else units(abs(unpriced)),
    )


def _untargeted(targets: Targets, book: Book, limits: PlanLimits) -> dict[int, NoteReason]:
    """Names without a position that a strategy wanted and the targets left out."""
    flat = (book.positions == 0) & (book.working == 0)
    dropped = flat & (targets.asked != 0.0) & (targets.weights == 0.0)
    short = (targets.asked < 0.0) & (not limits.allow_short)
    return {
        i: NoteReason.SHORT_NOT_ALLOWED if short[i] else NoteReason.MAX_POSITIONS
        for i in np.flatnonzero(dropped).tolist()
    }


def _rows(
    inputs: PlanInputs,
    book: Book,
    sized: Sized,
    shares: np.ndarray,
    slippage: SlippagePredictor,
    plan_id: str,
) -> tuple[PlanRow, ...]:
    names = np.flatnonzero(shares)
    ordered, increase = shares[names], sized.increase[names]
    flat = (book.positions[names] == 0) & (book.working[names] == 0)
    codes = np.select(
        [sized.exits[names], ~increase & sized.over[names], ~increase, flat], [0, 1, 2, 3], 4
    )
    group = np.where(increase, 2, np.where(ordered < 0, 0, 1))
    values = np.abs(ordered) * book.prices[names]
    size = np.where(increase, np.abs(book.weights[names]), values)
    sort = np.lexsort((-size, np.where(increase, 0, codes), group))
    names, ordered, codes, values = names[sort], ordered[sort], codes[sort], values[sort]

    quantities = np.abs(ordered)
    prices = book.prices[names]
    reached = np.where(ordered > 0, book.high[names], book.low[names]) + ordered
    current = (book.positions[names] + book.working[names]) * prices
    reasons = tuple(PlanReason)
    weights = inputs.targets.weights[names]
    costs = slippage.predict_bps(
        quantities.astype(np.float64),
        prices / UNITS_PER_USD,
        inputs.sigma_daily[names],
        inputs.adv[names],
    )
    columns = zip(
        [f"{plan_id}-{i:04d}" for i in range(1, len(names) + 1)],
        range(1, len(names) + 1),
        [inputs.symbols[i] for i in names.tolist()],
        ["BUY" if buy else "SELL" for buy in (ordered > 0).tolist()],
        quantities.tolist(),
        [reasons[code] for code in codes.tolist()],
        [None if weight != weight else weight for weight in weights.tolist()],
        (current / (book.equity_cents * (UNITS_PER_USD // 100))).tolist(),
        reached.tolist(),
        map(mul, map(Decimal, prices.tolist()), repeat(_UNIT)),
        map(mul, map(Decimal, values.tolist()), repeat(_UNIT)),
        np.asarray(costs).tolist(),
        _attribution(inputs.targets, names),
        strict=True,
    )
    # What PlanRow._make does, without a call into Python for each of thousands of rows.
    return tuple(map(tuple.__new__, repeat(PlanRow), columns))


def _attribution(targets: Targets, names: np.ndarray) -> list[tuple[tuple[str, float], ...]]:
    ids = targets.strategy_ids
    shares = targets.shares[:, names]
    rows = list(zip(*map(zip, map(repeat, ids), shares.tolist()), strict=True))
    for i in np.flatnonzero(np.isnan(shares).any(axis=0)).tolist():
        rows[i] = tuple(pair for pair in rows[i] if pair[1] == pair[1])
    return rows


def _notes(
    inputs: PlanInputs,
    book: Book,
    sized: Sized,
    shares: np.ndarray,
    notes: dict[int, NoteReason],
) -> tuple[PlanNote, ...]:
    result = []
    for i in sorted(notes):
        wanted, ordered = int(sized.wanted[i]), int(shares[i])
        known = book.prices[i] > 0 and (wanted or ordered)
        result.append(PlanNote(inputs.symbols[i], notes[i], wanted if known else None, ordered))
    return tuple(result)


def _plan_id(
    inputs: PlanInputs, limits: PlanLimits, slippage: SlippagePredictor, by_symbol: np.ndarray
) -> str:
    """Execution session and a digest of the inputs, the same in whatever order the names come."""
    targets = inputs.targets
    texts = (
        inputs.signal_session.isoformat(),
        inputs.execution_session.isoformat(),
        inputs.account_id,
        _cents(inputs.equity),
        _cents(inputs.cash),
        None if inputs.unpriced_exposure is None else units(inputs.unpriced_exposure),
        sorted(inputs.restricted),
        [f"{field.name}={getattr(limits, field.name)!r}" for field in fields(limits)],
        repr(slippage),
        targets.strategy_ids,
        [inputs.symbols[i] for i in by_symbol.tolist()],
    )
    digest = hashlib.sha256(_ID_VERSION)
    digest.update(json.dumps(texts).encode())
    for shares in (inputs.positions, inputs.working):
        digest.update(shares[by_symbol].astype("<i8").tobytes())
    for numbers in (
        inputs.prices,
        inputs.adv,
        inputs.sigma_daily,
        targets.weights,
        targets.asked,
        targets.shares,
    ):
        plain = numbers[..., by_symbol].astype("<f8") + 0.0  # one zero
        plain[np.isnan(plain)] = np.nan  # and one bit pattern for NaN
        digest.update(plain.tobytes())
    return f"{inputs.execution_session:%Y%m%d}-{digest.hexdigest()[:16]}"


def _cents(amount: Decimal) -> int:
    return int((amount * 100).to_integral_value(ROUND_FLOOR))


def _usd(amount: int) -> Decimal:
    return Decimal(amount) * _UNIT
