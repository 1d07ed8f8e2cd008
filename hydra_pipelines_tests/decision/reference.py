"""From predictions to an order plan by plain arithmetic, one name after the other.

Money and shares are counted in Decimals, weights in floats: what `signals`, `targets` and `plan`
must equal. Written from the description of the rules, without the code that it checks; slow and
plain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from hydra_pipelines.decision.plan import OrderPlan, PlanInputs
from hydra_pipelines.decision.signals import SignalRule
from hydra_pipelines.decision.targets import PlanLimits
from hydra_pipelines.execution.slippage import SlippageModel

CENT = Decimal("0.01")
STEP = Decimal("0.0001")
MILLIONTH = Decimal("0.000001")
UNBOUNDED = 10**30


@dataclass
class Order:
    sequence: int
    symbol: str
    side: str
    quantity: int
    reason: str
    target_weight: float | None
    current_weight: float
    target_quantity: int
    reference_price: Decimal
    notional: Decimal
    predicted_slippage_bps: float
    strategies: tuple[tuple[str, float], ...]


@dataclass
class Name:
    index: int
    symbol: str
    price: Decimal | None
    position: int
    working: int
    weight: Decimal
    hold: bool
    low: int
    high: int
    change: int = 0
    increase: bool = False
    reason: str = ""

    @property
    def held(self) -> bool:
        return bool(self.position or self.working)


@dataclass
class Reference:
    rows: list[Order]
    notes: dict[str, str]
    confirmed_funds: Decimal
    expected_proceeds: Decimal


def floor(value: Decimal, step: Decimal) -> Decimal:
    return value.quantize(step, rounding=ROUND_FLOOR)


def ceiling(value: Decimal, step: Decimal) -> Decimal:
    return value.quantize(step, rounding=ROUND_CEILING)


def fraction(value: float) -> Decimal:
    return floor(Decimal(repr(value)), MILLIONTH)


def sign(value: Decimal | int) -> int:
    return (value > 0) - (value < 0)


def reference_plan(inputs: PlanInputs, limits: PlanLimits, slippage: SlippageModel) -> Reference:
    equity, cash = floor(inputs.equity, CENT), floor(inputs.cash, CENT)
    notes: dict[str, str] = {}
    names = [read(inputs, i) for i in range(len(inputs.symbols))]
    names.sort(key=lambda name: name.symbol)
    for name in names:
        i = name.index
        asked = inputs.targets.asked[i]
        if asked != 0 and inputs.targets.weights[i] == 0 and not name.held:
            short = asked < 0 and not limits.allow_short
            notes[name.symbol] = "short_not_allowed" if short else "max_positions"
        restricted = name.symbol in inputs.restricted
        note = size(name, float(inputs.adv[i]), restricted, equity, limits)
        if note:
            notes[name.symbol] = note

    reductions = [n for n in names if n.change and not n.increase]
    increases = [n for n in names if n.change and n.increase]
    funds = cash - ceiling(fraction(limits.cash_buffer) * equity, STEP)
    expected = Decimal(0)
    for name in names:
        if name.working > 0 and name.price is not None:
            funds -= buy_cost(name.working, name.price, limits)
    for name in reductions:
        if name.change > 0:
            funds -= buy_cost(name.change, name.price, limits)
        elif limits.buy_funding == "sells_first":
            expected += sell_proceeds(-name.change, name.price, limits)
    increases.sort(key=lambda n: (-abs(n.weight), n.symbol))
    fund(names, increases, funds + expected, equity, inputs, limits, notes)

    order = {"exit": 0, "trim over limit": 1, "reduce": 2}
    reductions.sort(
        key=lambda n: (n.change > 0, order[n.reason], -abs(n.change) * n.price, n.symbol)
    )
    filled = [name for name in [*reductions, *increases] if name.change]
    rows = [row(i, name, equity, inputs, slippage) for i, name in enumerate(filled, 1)]
    return Reference(rows, notes, funds, expected)


def row(
    sequence: int, name: Name, equity: Decimal, inputs: PlanInputs, slippage: SlippageModel
) -> Order:
    i, quantity = name.index, abs(name.change)
    price, adv, sigma = float(name.price), float(inputs.adv[i]), float(inputs.sigma_daily[i])
    if not adv >= 1:
        adv = slippage.assumed_adv_usd / price
    if not sigma >= 0:
        sigma = slippage.assumed_sigma_daily
    impact = slippage.y * (10_000.0 * sigma * math.sqrt(quantity / adv))
    current = (name.position + name.working) * name.price
    shares = [float(values[i]) for values in inputs.targets.shares]
    return Order(
        sequence=sequence,
        symbol=name.symbol,
        side="BUY" if name.change > 0 else "SELL",
        quantity=quantity,
        reason=name.reason,
        target_weight=None if name.hold else float(inputs.targets.weights[i]),
        current_weight=int(current / STEP) / int(equity / STEP),
        target_quantity=(name.high if name.change > 0 else name.low) + name.change,
        reference_price=name.price,
        notional=quantity * name.price,
        predicted_slippage_bps=slippage.half_spread_bps + slippage.beyond_spread_bps + impact,
        strategies=tuple(
            (strategy, share)
            for strategy, share in zip(inputs.targets.strategy_ids, shares, strict=True)
            if share == share
        ),
    )


def read(inputs: PlanInputs, i: int) -> Name:
    raw = float(inputs.prices[i])
    price = Decimal(round(raw * 10_000)) / 10_000 if 0 < raw < float("inf") else Decimal(0)
    weight = float(inputs.targets.weights[i])
    position, working = int(inputs.positions[i]), int(inputs.working[i])
    return Name(
        index=i,
        symbol=inputs.symbols[i],
        price=price if price > 0 else None,
        position=position,
        working=working,
        weight=Decimal(0) if weight != weight else Decimal(round(weight * 1_000_000)) / 1_000_000,
        hold=weight != weight,
        low=position + min(working, 0),
        high=position + max(working, 0),
    )


def size(
    name: Name, adv: float, restricted: bool, equity: Decimal, limits: PlanLimits
) -> str | None:
    """Set the change of one name by its own limits; returns the note, if there is one."""
    if name.price is None:
        return "no_price" if name.held or name.weight != 0 else None
    price, lot, low, high = name.price, limits.lot, name.low, name.high
    cap = fraction(limits.target_cap)
    weight = max(min(name.weight, cap), -cap if limits.allow_short else Decimal(0))
    budget = floor(abs(weight) * equity, STEP)
    target = sign(weight) * int(budget // (price * lot)) * lot
    hard = floor(fraction(limits.max_position_weight) * equity, STEP)
    over = low * price > hard or -high * price > hard
    if name.hold:
        if not over:
            return "hold" if name.held else None
        target = sign(name.position) * int(floor(cap * equity, STEP) // (price * lot)) * lot
    crossing = (low > 0 and target < 0) or (high < 0 and target > 0)
    if crossing:
        target = 0
    side = 1 if target > high else -1 if target < low else 0
    wanted = target - high if side > 0 else target - low if side < 0 else 0
    if restricted and wanted:
        return "restricted"
    note = "short_not_allowed" if name.weight < 0 and not limits.allow_short else None
    if not wanted:
        if note is None and target != name.position + name.working:
            return "working_order"
        if note is None and weight != 0 and target == 0:
            return "below_one_lot"
        return note
    increase = (side > 0 and low >= 0) or (side < 0 and high <= 0)
    reduce = (side > 0 and high < 0) or (side < 0 and low > 0)
    if not increase and not reduce:
        return note or "working_order"
    if crossing:
        note = note or "crosses_zero"
    leaves = reduce and not name.hold and (crossing or weight == 0)
    quantity = abs(wanted) if leaves else abs(wanted) // lot * lot
    if quantity == 0 or (weight != 0 and target == 0):
        note = note or "below_one_lot"
    if quantity == 0:
        return note
    if not leaves and not over:
        here = (high if side > 0 else low) * price
        gap = abs(sign(weight) * budget - here)
        if min(gap, quantity * price) < ceiling(fraction(limits.turnover_band) * equity, STEP):
            return note or "inside_band"
    if increase:
        by_volume = UNBOUNDED if adv != adv else int(int(adv) * fraction(limits.max_adv_share))
        by_value = UNBOUNDED
        if limits.max_order_notional is not None:
            by_value = int(limits.max_order_notional // price)
        bound = min(by_volume, by_value)
        if bound < quantity:
            quantity = bound // lot * lot
            note = note or ("adv_share" if by_volume <= by_value else "max_order_notional")
    if quantity * price < limits.min_order_usd:
        return note or "below_minimum"
    name.change, name.increase = side * quantity, increase
    if increase:
        name.reason = "increase" if name.held else "enter"
    else:
        name.reason = "exit" if leaves else "trim over limit" if over else "reduce"
    return note


def fund(
    names: list[Name],
    increases: list[Name],
    cash: Decimal,
    equity: Decimal,
    inputs: PlanInputs,
    limits: PlanLimits,
    notes: dict[str, str],
) -> None:
    """Give out positions, cash and exposure to the increases, in their order."""
    added = {name.symbol for name in increases}
    reached = {
        n.symbol: (n.low, n.high) if n.symbol in added else (n.low + n.change, n.high + n.change)
        for n in names
    }
    occupied = {symbol for symbol, reach in reached.items() if reach != (0, 0)}
    unpriced = [n for n in names if n.symbol in occupied and n.price is None]
    extra = Decimal(0)
    if unpriced:
        if inputs.unpriced_exposure is None or any(n.working > 0 for n in unpriced):
            for name in increases:
                name.change = 0
                notes[name.symbol] = "exposure_unknown"
            return
        extra = abs(inputs.unpriced_exposure)
    price = {n.symbol: n.price or Decimal(0) for n in names}
    gross = extra + sum(max(abs(lo), abs(hi)) * price[s] for s, (lo, hi) in reached.items())
    long = extra + sum(hi * price[s] for s, (_, hi) in reached.items())
    short = extra - sum(lo * price[s] for s, (lo, _) in reached.items())
    net_cap = floor(fraction(limits.net_cap) * equity, STEP)
    gross_room = floor(fraction(limits.gross_cap) * equity, STEP) - gross
    room = {1: net_cap - long, -1: net_cap - short}
    positions = limits.max_positions - len(occupied)
    worthwhile = max(
        limits.min_order_usd, ceiling(fraction(limits.turnover_band) * equity, STEP), STEP
    )
    for name in increases:
        side, wanted = sign(name.change), abs(name.change)
        entry = name.symbol not in occupied
        if entry and positions <= 0:
            name.change = 0
            notes[name.symbol] = "max_positions"
            continue
        bounds = []
        if side > 0:
            bounds.append((affordable(cash, wanted, name.price, limits), "cash"))
        bounds.append((int(floor(gross_room / name.price, Decimal(1))), "gross_cap"))
        bounds.append((int(floor(room[side] / name.price, Decimal(1))), "net_cap"))
        most, reason = min(bounds, key=lambda bound: max(bound[0], 0))
        quantity = wanted
        if most < wanted:
            quantity = max(most, 0) // limits.lot * limits.lot
            notes[name.symbol] = reason
            if quantity * name.price < worthwhile:
                quantity = 0
        name.change = side * quantity
        if quantity:
            positions -= entry
            gross_room -= quantity * name.price
            room[side] -= quantity * name.price
            if side > 0:
                cash -= buy_cost(quantity, name.price, limits)


def commission(quantity: int, price: Decimal, limits: PlanLimits) -> Decimal:
    charged = max(quantity * limits.commission_per_share, limits.commission_minimum)
    most = fraction(limits.commission_max_fraction) * quantity * price
    return ceiling(min(charged, most), CENT)


def buy_cost(quantity: int, price: Decimal, limits: PlanLimits) -> Decimal:
    above = ceiling(price * (1 + fraction(limits.price_collar)), STEP)
    return quantity * above + commission(quantity, above, limits)


def sell_proceeds(quantity: int, price: Decimal, limits: PlanLimits) -> Decimal:
    below = floor(price * (1 - fraction(limits.price_collar)), STEP)
    return max(quantity * below - commission(quantity, below, limits), Decimal(0))


def affordable(cash: Decimal, wanted: int, price: Decimal, limits: PlanLimits) -> int:
    quantity = min(wanted, int(floor(cash / price, Decimal(1))))
    while quantity > 0 and buy_cost(quantity, price, limits) > cash:
        quantity -= 1
    return quantity


def reference_rank(predictions: Sequence[float], rule: SignalRule) -> list[int | None]:
    """Signals by rank, None where there is no prediction."""
    known = [(p, i) for i, p in enumerate(predictions) if p == p]
    known.sort(key=lambda pair: (-pair[0], pair[1]))
    n = len(known)
    long, short = (
        max(1, math.floor(share * n + 1e-9)) if share > 0 and n else 0
        for share in (rule.top_fraction, rule.bottom_fraction)
    )
    signals: list[int | None] = [None] * len(predictions)
    for place, (_, i) in enumerate(known):
        signals[i] = 0
        if place < long:
            signals[i] = 1
        elif place >= n - short and rule.allow_short:
            signals[i] = -1
    return signals


def reference_weights(
    signals: Sequence[Sequence[int | None]], capital: Sequence[float], limits: PlanLimits
) -> list[float | None]:
    """Equally weighted, netted and capped targets of strategies that share one universe.

    None where a strategy is silent and the name is held.
    """
    n = len(signals[0])
    weights: list[float | None] = [0.0] * n
    for mine, share in zip(signals, capital, strict=True):
        chosen = sum(abs(signal) for signal in mine if signal)
        for i, signal in enumerate(mine):
            if signal is None or weights[i] is None:
                weights[i] = None
            elif signal:
                weights[i] += share * signal / chosen
    cap = limits.max_position_weight * (1 - limits.position_headroom)
    for i, weight in enumerate(weights):
        if weight is not None:
            weights[i] = max(min(weight, cap), -cap if limits.allow_short else 0.0)
    largest_first = sorted((i for i in range(n) if weights[i]), key=lambda i: (-abs(weights[i]), i))
    for i in largest_first[limits.max_positions :]:
        weights[i] = 0.0
    scale(weights, limits.gross_cap, sum(abs(w) for w in weights if w), lambda w: True)
    long = sum(w for w in weights if w and w > 0)
    short = -sum(w for w in weights if w and w < 0)
    if long - short > 0:
        most = min(limits.net_cap, 1 - limits.cash_buffer)
        scale(weights, most + short, long, lambda w: w > 0)
    else:
        scale(weights, limits.net_cap + long, short, lambda w: w < 0)
    return weights


def scale(weights: list[float | None], most: float, total: float, side) -> None:
    if total > most:
        for i, weight in enumerate(weights):
            if weight and side(weight):
                weights[i] = weight * (most / total)


def summary(plan: OrderPlan) -> Reference:
    """A plan in the reference's own terms."""
    return Reference(
        rows=[
            Order(**{name: getattr(row, name) for name in Order.__dataclass_fields__})
            for row in plan.rows
        ],
        notes={note.symbol: note.reason.value for note in plan.notes},
        confirmed_funds=plan.confirmed_funds,
        expected_proceeds=plan.expected_proceeds,
    )
