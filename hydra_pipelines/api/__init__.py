"""The read side, for people and for the faces: what the desk did and what it holds.

Everything comes from the published snapshot and the control store, never from the live ledger, so
reading never stands in the way of trading. Rows are dicts with the columns of the ledger's tables:
money and prices are Decimal in USD, sessions are dates, instants are UTC.
"""

from hydra_pipelines.api.books import (
    equity_curve,
    fills,
    orders,
    position_breaks,
    positions,
    profits,
    reconciliation,
    slippage_calibrations,
    trades,
)
from hydra_pipelines.api.decisions import model_version, models, order_plan, predictions
from hydra_pipelines.api.desk import risk, status
from hydra_pipelines.api.rows import Row, frame
from hydra_pipelines.api.tracing import trace_fill

__all__ = [
    "Row",
    "equity_curve",
    "fills",
    "frame",
    "model_version",
    "models",
    "order_plan",
    "orders",
    "position_breaks",
    "positions",
    "predictions",
    "profits",
    "reconciliation",
    "risk",
    "slippage_calibrations",
    "status",
    "trace_fill",
    "trades",
]
