"""Fills that go wrong: sizes and corrections of executions when a fault strikes. Pure.

The venue decides when, and books the outcome as it books any fill.
"""

from __future__ import annotations

from dataclasses import replace

from hydra_pipelines.paper_gateway.book import Execution, Order
from hydra_pipelines.paper_gateway.faults import Faults
from hydra_pipelines.paper_gateway.money import tick_size

BROKEN_OFF = "the exchange ended it after a part"


def size(faults: Faults, order: Order, shares: int) -> tuple[int, bool]:
    """How many shares of a fill there are, and whether the order ends with them."""
    if shares > 1 and faults.strike("partial_then_reject", order.symbol) is not None:
        return shares // 2, True
    if shares == order.remaining and (over := faults.strike("overfill", order.symbol)):
        return shares + over["shares"], False
    return shares, False


def corrected(wrong: Execution, serial: int, ticks: int) -> Execution:
    """The same execution at a price some ticks better for us, under the next correction number."""
    better = tick_size(wrong.price) * ticks
    price = max(wrong.price - better, 1) if wrong.action == "BUY" else wrong.price + better
    gained = abs(price - wrong.price) * wrong.shares
    stem, _, number = wrong.exec_id.rpartition(".")
    return replace(
        wrong,
        serial=serial,
        exec_id=f"{stem}.{int(number) + 1:02d}",
        price=price,
        cum_notional=wrong.cum_notional + (price - wrong.price) * wrong.shares,
        realized=None if wrong.realized is None else wrong.realized + gained,
    )
