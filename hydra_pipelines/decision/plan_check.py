"""An order plan against the limits it was made under, checked by other means than it was made.

Here belongs the last look at a plan before it may be worked: plain decimal arithmetic, row by row,
with nothing of the code that makes plans but its types, so that a mistake there is not repeated
here. Everything is a pure function.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal

from hydra_pipelines.decision.plan import OrderPlan, PlanReason, PlanRow
from hydra_pipelines.decision.plan_inputs import PlanInputs
from hydra_pipelines.decision.sizing import NoteReason
from hydra_pipelines.decision.targets import PlanLimits

_MILLIONTH = Decimal("0.000001")
_PRICE_STEP = Decimal("0.0001")


def plan_violations(plan: OrderPlan, inputs: PlanInputs, limits: PlanLimits) -> list[str]:
    """Every rule that the plan breaks, each as a sentence that names the symbol; empty if none.

    A plan that is not free of violations must not be worked.
    """
    return [
        *_of_identity(plan, inputs, limits),
        *_of_rows(plan, inputs, limits),
        *_of_sequence(plan),
        *_of_silence(plan, inputs),
        *_of_portfolio(plan, inputs, limits),
    ]


@dataclass(frozen=True)
class _Name:
    """One name before and after the plan; quantities signed, price None where there is none."""

    symbol: str
    price: Decimal | None
    position: int
    working: int
    weight: float
    adv: float
    row: PlanRow | None

    @property
    def change(self) -> int:
        if self.row is None:
            return 0
        return self.row.quantity if self.row.side == "BUY" else -self.row.quantity

    @property
    def before(self) -> tuple[int, int]:
        """The position, and the position once all that works has filled."""
        return self.position, self.position + self.working

    @property
    def after(self) -> tuple[int, int]:
        return self.position + self.change, self.position + self.working + self.change

    @property
    def adds_risk(self) -> bool:
        return any(abs(b) > abs(a) for a, b in zip(self.before, self.after, strict=True))


def _names(plan: OrderPlan, inputs: PlanInputs) -> Iterator[_Name]:
    rows = {row.symbol: row for row in plan.rows}
    for i, symbol in enumerate(inputs.symbols):
        price = float(inputs.prices[i])
        exact = Decimal(round(price * 10_000)) * _PRICE_STEP if 0 < price < float("inf") else None
        yield _Name(
            symbol=symbol,
            price=exact or None,
            position=int(inputs.positions[i]),
            working=int(inputs.working[i]),
            weight=float(inputs.targets.weights[i]),
            adv=float(inputs.adv[i]),
            row=rows.get(symbol),
        )


def _fraction(value: float) -> Decimal:
    return Decimal(str(value)).quantize(_MILLIONTH, rounding=ROUND_FLOOR)


def _of_identity(plan: OrderPlan, inputs: PlanInputs, limits: PlanLimits) -> Iterator[str]:
    for name in ("signal_session", "execution_session", "account_id", "equity", "cash"):
        if getattr(plan, name) != getattr(inputs, name):
            yield f"the plan's {name} is {getattr(plan, name)}, not {getattr(inputs, name)}"
    if plan.buy_funding != limits.buy_funding:
        yield f"the plan funds buys by {plan.buy_funding}, the limits say {limits.buy_funding}"
    for symbol, count in Counter(row.symbol for row in plan.rows).items():
        if count > 1:
            yield f"{symbol} has {count} orders"
        if symbol not in inputs.symbols:
            yield f"{symbol} is not among the names of the plan"
    if len({row.row_id for row in plan.rows}) != len(plan.rows):
        yield "row ids are not unique"


def _of_sequence(plan: OrderPlan) -> Iterator[str]:
    if [row.sequence for row in plan.rows] != list(range(1, len(plan.rows) + 1)):
        yield "the rows are not numbered 1, 2, 3, ..."
    adding = False
    for row in plan.rows:
        if row.reduces and adding:
            yield f"{row.symbol} reduces, but comes after an order that adds risk"
        adding = adding or not row.reduces


def _of_silence(plan: OrderPlan, inputs: PlanInputs) -> Iterator[str]:
    noted = {note.symbol for note in plan.notes}
    for name in _names(plan, inputs):
        left = name.position + name.working
        if name.weight == 0 and left and not name.row and name.symbol not in noted:
            yield f"{name.symbol} should be exited, has no order, and no note says why"


def _of_rows(plan: OrderPlan, inputs: PlanInputs, limits: PlanLimits) -> Iterator[str]:
    by_volume_or_value = (NoteReason.ADV_SHARE, NoteReason.MAX_ORDER_NOTIONAL)
    cut = {note.symbol for note in plan.notes if note.reason in by_volume_or_value}
    equity = inputs.equity
    position_limit = _fraction(limits.max_position_weight) * equity
    for name in _names(plan, inputs):
        row, symbol, price = name.row, name.symbol, name.price
        if row is None:
            continue
        if row.quantity < 1 or row.side not in ("BUY", "SELL"):
            yield f"{symbol}: {row.side} {row.quantity} is no order"
            continue
        if price is None or row.reference_price != price:
            yield f"{symbol}: the reference price {row.reference_price} is not the price {price}"
            continue
        if row.notional != row.quantity * price:
            yield f"{symbol}: {row.notional} is not {row.quantity} x {price}"
        if symbol in inputs.restricted:
            yield f"{symbol} is restricted"
        crosses = any(b * a < 0 for b, a in zip(name.before, name.after, strict=True))
        if crosses or (row.reduces and 0 in name.before):
            yield f"{symbol}: one order crosses zero ({name.before} to {name.after})"
        if row.reduces == name.adds_risk:
            yield f"{symbol}: {row.reason} does not fit {name.before} to {name.after}"
        if row.notional < limits.min_order_usd:
            yield f"{symbol}: {row.notional} USD is below the minimum of {limits.min_order_usd}"
        if row.quantity % limits.lot and row.reason is not PlanReason.EXIT:
            yield f"{symbol}: {row.quantity} shares are not whole lots of {limits.lot}"
        over = all(abs(held) * price > position_limit for held in name.before)
        if name.weight != name.weight and not (row.reason is PlanReason.TRIM and over):
            yield f"{symbol} is on hold and within its limit, but has an order"
        band = _fraction(limits.turnover_band) * equity
        if (
            row.notional < band
            and row.reason not in (PlanReason.EXIT, PlanReason.TRIM)
            and symbol not in cut
        ):
            yield f"{symbol}: {row.notional} USD is inside the turnover band of {band}"
        if name.adds_risk:
            yield from _of_increase(name, row, price, equity, limits)


def _of_increase(
    name: _Name, row: PlanRow, price: Decimal, equity: Decimal, limits: PlanLimits
) -> Iterator[str]:
    symbol, reached = name.symbol, max(abs(held) for held in name.after)
    if name.weight == 0:
        yield f"{symbol} has a target of zero, but is increased"
    elif name.change * name.weight < 0:
        yield f"{symbol}: {row.side} leads away from the target weight {name.weight}"
    wanted = (Decimal(str(abs(name.weight))) + _MILLIONTH) * equity
    if name.weight == name.weight and reached * price > wanted:
        yield f"{symbol}: {reached} shares are beyond the target weight {name.weight}"
    if reached * price > _fraction(limits.max_position_weight) * equity:
        yield f"{symbol}: {reached} shares are beyond the position limit"
    if row.side == "SELL" and not limits.allow_short:
        yield f"{symbol}: short positions are not enabled"
    if name.adv == name.adv:
        bound = Decimal(str(name.adv)) * _fraction(limits.max_adv_share)
        if row.quantity > bound:
            yield f"{symbol}: {row.quantity} shares are beyond the share of volume ({bound})"
    if limits.max_order_notional is not None and row.notional > limits.max_order_notional:
        yield f"{symbol}: {row.notional} USD is beyond the largest order"


def _of_portfolio(plan: OrderPlan, inputs: PlanInputs, limits: PlanLimits) -> Iterator[str]:
    """Limits that the orders share; they bind only where something adds risk."""
    names = list(_names(plan, inputs))
    added = [name for name in names if name.adds_risk]
    yield from _of_cash(names, inputs, limits)
    if not added:
        return
    held = [name for name in names if any(name.after)]
    entered = [name.symbol for name in added if not any(name.before)]
    if entered and len(held) > limits.max_positions:
        yield f"{len(held)} positions are more than {limits.max_positions}"
    unknown = [name for name in held if name.price is None]
    if unknown and inputs.unpriced_exposure is None:
        yield f"{unknown[0].symbol} has no price, so nothing may add exposure"
        return
    extra = abs(inputs.unpriced_exposure or Decimal(0)) if unknown else Decimal(0)
    gross = long = short = extra
    for name in held:
        price = name.price or Decimal(0)
        gross += max(abs(held) for held in name.after) * price
        long += max(name.after) * price
        short -= min(name.after) * price
    if gross > _fraction(limits.gross_cap) * inputs.equity:
        yield f"gross exposure of {gross} USD is beyond {limits.gross_cap} of equity"
    net_cap = _fraction(limits.net_cap) * inputs.equity
    if any(name.change > 0 for name in added) and long > net_cap:
        yield f"net exposure of {long} USD is beyond {limits.net_cap} of equity"
    if any(name.change < 0 for name in added) and short > net_cap:
        yield f"net short exposure of {short} USD is beyond {limits.net_cap} of equity"


def _of_cash(names: list[_Name], inputs: PlanInputs, limits: PlanLimits) -> Iterator[str]:
    collar = _fraction(limits.price_collar)
    funds = inputs.cash - _fraction(limits.cash_buffer) * inputs.equity
    spent = Decimal(0)
    for name in names:
        price = name.price
        if price is None:
            if name.working > 0 and any(other.adds_risk for other in names):
                yield f"{name.symbol} has a working buy and no price, so cash is not known"
            continue
        if name.working > 0:
            funds -= _with_commission(name.working, price * (1 + collar), limits)
        if name.change > 0 and name.adds_risk:
            spent += _with_commission(name.change, price * (1 + collar), limits)
        elif name.change > 0:
            funds -= _with_commission(name.change, price * (1 + collar), limits)
        elif name.change < 0 and not name.adds_risk and limits.buy_funding == "sells_first":
            funds -= _with_commission(name.change, price * (1 - collar), limits)
    if spent > max(funds, Decimal(0)):
        yield f"buys cost {spent} USD with commission, but only {funds} may be spent"


def _with_commission(change: int, price: Decimal, limits: PlanLimits) -> Decimal:
    """Cash that leaves (positive) or comes in (negative) for a signed number of shares."""
    value = abs(change) * price
    commission = min(
        max(abs(change) * limits.commission_per_share, limits.commission_minimum),
        _fraction(limits.commission_max_fraction) * value,
    )
    return commission + (value if change > 0 else -value)
