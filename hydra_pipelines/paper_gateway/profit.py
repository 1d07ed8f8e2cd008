"""Profit of the venue's date, by position: daily, unrealised, realised. Pure.

Daily is what the position is worth now and what trading it brought today, commissions included,
less what was held at the close before was worth then; dividends of today count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from hydra_pipelines.paper_gateway.book import Execution
from hydra_pipelines.paper_gateway.money import UNITS_PER_CENT
from hydra_pipelines.paper_gateway.prices import NO_ACTION, Action, VenuePrices
from hydra_pipelines.paper_gateway.statement import Holding


@dataclass(frozen=True)
class Profit:
    """Money in units."""

    quantity: int = 0
    daily: int = 0
    unrealized: int = 0
    realized: int = 0
    value: int = 0

    def __add__(self, other: Profit) -> Profit:
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Profit(*(mine + theirs for mine, theirs in pairs))


def profits(
    holdings: Mapping[str, Holding],
    executions: Sequence[Execution],
    prices: VenuePrices,
    day: date,
    session: date,
) -> dict[str, Profit]:
    """By symbol of `holdings`, which has all that was traded on `day`.

    executions: of that day, corrected ones once. session: the one that is open or was last.
    """
    out = {}
    for symbol, holding in sorted(holdings.items()):
        action = prices.action(symbol, day) if session == day else NO_ACTION
        mine = [execution for execution in executions if execution.symbol == symbol]
        out[symbol] = _profit(holding, mine, prices.close_before(symbol, day) or 0, action)
    return out


def _profit(
    holding: Holding, executions: Iterable[Execution], previous_close: int, action: Action
) -> Profit:
    """previous_close: as it was traded, before the action."""
    today = list(executions)
    traded = sum(e.shares if e.action == "BUY" else -e.shares for e in today)
    flow = sum(e.notional_flow - e.commission * UNITS_PER_CENT for e in today)
    old_shares = (holding.position.quantity - traded) / action.ratio
    started = round(old_shares * (previous_close - action.dividend))
    return Profit(
        quantity=holding.position.quantity,
        daily=holding.value + flow - started,
        unrealized=holding.unrealized,
        realized=holding.realized,
        value=holding.value,
    )
