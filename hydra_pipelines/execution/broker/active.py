"""How many orders work at the broker for each contract and side: IB takes only so many.

Counts what is told here; which messages say that an order ended is order_state's business.
"""

from __future__ import annotations

from collections.abc import Iterable

from hydra_pipelines.execution.broker.messages import WorkingOrder
from hydra_pipelines.execution.broker.order_state import Kind, OrderEvent

MOST_PER_SIDE = 20
"""IB's limit for one contract, side and account. It answers more with error 201."""


class ActiveOrders:
    """The active orders of one account, by what names them best."""

    def __init__(self) -> None:
        self._orders: dict[str, tuple[str, str, int]] = {}
        self._filled: dict[str, dict[str, int]] = {}

    def replace(self, working: Iterable[WorkingOrder]) -> None:
        """Start again from the broker's list of open orders."""
        self._orders = {
            row.order_ref or f"perm {row.perm_id}": (row.symbol, row.side, row.quantity)
            for row in working
        }
        self._filled = {
            row.order_ref: {"before": row.filled} for row in working if row.order_ref and row.filled
        }

    def add(self, order_ref: str, symbol: str, side: str, quantity: int) -> None:
        self._orders[order_ref] = (symbol, side, quantity)

    def take(self, event: OrderEvent) -> None:
        """Forget an order that an event ends."""
        order = self._orders.get(event.order_ref)
        if order is None:
            return
        if event.kind is Kind.FILL:
            fills = self._filled.setdefault(event.order_ref, {})
            fills[event.details["exec_key"]] = event.details["quantity"]
            if sum(fills.values()) < order[2]:
                return
        elif event.kind not in (Kind.CANCELLED, Kind.REJECTED):
            return
        del self._orders[event.order_ref]
        self._filled.pop(event.order_ref, None)

    def count(self, symbol: str, side: str) -> int:
        return sum(order[:2] == (symbol, side) for order in self._orders.values())
