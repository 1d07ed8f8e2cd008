"""The read side, for people and for the faces: what the desk did and what it holds.

Everything comes from the published snapshot and the control store, never from the live ledger, so
reading never stands in the way of trading. Rows are dicts with the columns of the ledger's tables:
money and prices are Decimal in USD, sessions are dates, instants are UTC. The functions that begin
with `get_` give pandas frames for notebooks, made of the same rows.

What writes is apart, and is what the assets call: `hydra_pipelines.day`.
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
from hydra_pipelines.api.curve import curve_markers, money, signal_curve
from hydra_pipelines.api.decisions import model_version, models, order_plan, predictions
from hydra_pipelines.api.desk import risk, status
from hydra_pipelines.api.frames import (
    get_deployed_strategies,
    get_drift,
    get_equity_curve,
    get_executed_trades,
    get_experiments,
    get_live_positions,
    get_portfolio_value,
    get_predictions,
)
from hydra_pipelines.api.healing import agent, experiments
from hydra_pipelines.api.journal import (
    FillFilter,
    fill_days,
    fill_page,
    run_costs,
    slippage_bias,
    slippage_points,
)
from hydra_pipelines.api.monitoring import drift, drift_history, session_scores
from hydra_pipelines.api.paper import paper_gate
from hydra_pipelines.api.pulse import controls, pulse
from hydra_pipelines.api.rows import Row, frame
from hydra_pipelines.api.stores import stores
from hydra_pipelines.api.tracing import trace_fill
from hydra_pipelines.api.trail import (
    AuditFilter,
    audit_events,
    carried_journal,
    order,
    recent_activity,
)

__all__ = [
    "AuditFilter",
    "FillFilter",
    "Row",
    "agent",
    "audit_events",
    "carried_journal",
    "controls",
    "curve_markers",
    "drift",
    "drift_history",
    "equity_curve",
    "experiments",
    "fill_days",
    "fill_page",
    "fills",
    "frame",
    "get_deployed_strategies",
    "get_drift",
    "get_equity_curve",
    "get_executed_trades",
    "get_experiments",
    "get_live_positions",
    "get_portfolio_value",
    "get_predictions",
    "model_version",
    "models",
    "money",
    "order",
    "order_plan",
    "orders",
    "paper_gate",
    "position_breaks",
    "positions",
    "predictions",
    "profits",
    "pulse",
    "recent_activity",
    "reconciliation",
    "risk",
    "run_costs",
    "session_scores",
    "signal_curve",
    "slippage_bias",
    "slippage_calibrations",
    "slippage_points",
    "status",
    "stores",
    "trace_fill",
    "trades",
]
