"""The venue's own books as plain records, for tests and tools that reconcile against them.

Money is exact decimal text. Nothing here goes over the TWS wire.
"""

from __future__ import annotations

from typing import Any

from hydra_pipelines.paper_gateway.book import Execution, Order
from hydra_pipelines.paper_gateway.money import UNITS_PER_CENT, exact
from hydra_pipelines.paper_gateway.statement import Holding


def position_record(holding: Holding) -> dict[str, Any]:
    return {
        "symbol": holding.symbol,
        "con_id": holding.position.con_id,
        "quantity": holding.position.quantity,
        "cost": exact(holding.position.cost),
        "mark": exact(holding.mark),
    }


def execution_record(item: Execution) -> dict[str, Any]:
    return {
        "exec_id": item.exec_id,
        "perm_id": item.perm_id,
        "client_id": item.client_id,
        "order_id": item.order_id,
        "order_ref": item.order_ref,
        "time": item.time.isoformat(),
        "symbol": item.symbol,
        "action": item.action,
        "shares": item.shares,
        "price": exact(item.price),
        "commission": exact(item.commission * UNITS_PER_CENT),
        "realized": None if item.realized is None else exact(item.realized),
        "maker": item.maker,
    }


def order_record(order: Order) -> dict[str, Any]:
    return {
        "perm_id": order.perm_id,
        "client_id": order.client_id,
        "order_id": order.order_id,
        "order_ref": order.order_ref,
        "symbol": order.symbol,
        "action": order.action,
        "quantity": order.quantity,
        "limit": exact(order.limit),
        "tif": order.tif,
        "status": order.status,
        "filled": order.filled,
        "placed_at": order.placed_at.isoformat(),
        "done_at": order.done_at.isoformat() if order.done_at else None,
        "reason": order.reason,
    }
