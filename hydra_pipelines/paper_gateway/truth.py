"""The venue's own books as plain records, for tests and tools that reconcile against them.

Money is exact decimal text. Nothing here goes over the TWS wire.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hydra_pipelines.paper_gateway.book import ActionBooked, Execution, Order, effective
from hydra_pipelines.paper_gateway.money import UNITS_PER_CENT, exact
from hydra_pipelines.paper_gateway.statement import Holding
from hydra_pipelines.paper_gateway.store import AccountStore


def books(store: AccountStore, cash: int, holdings: Iterable[Holding]) -> dict[str, Any]:
    return {
        **balance(cash, holdings),
        "executions": [execution_record(e) for e in effective(store.all_executions())],
        "orders": [order_record(order) for order in store.orders()],
        "actions": [action_record(action) for action in store.actions()],
    }


def balance(cash: int, holdings: Iterable[Holding]) -> dict[str, Any]:
    return {
        "cash": exact(cash),
        "positions": [position_record(holding) for holding in holdings],
    }


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


def action_record(action: ActionBooked) -> dict[str, Any]:
    return {
        "session": action.session.isoformat(),
        "symbol": action.symbol,
        "ratio": action.ratio,
        "quantity_before": action.quantity_before,
        "quantity_after": action.quantity_after,
        "cash": exact(action.cash),
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
