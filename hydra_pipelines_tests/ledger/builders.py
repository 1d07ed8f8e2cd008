"""Rows as the day writes them, with only what a test is about said."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

SESSION = date(2019, 1, 2)
NOW = datetime(2019, 1, 3, 15, 0, tzinfo=UTC)
ACCOUNT = "DU0000001"


def execution(exec_id: str = "0001.01", **change: Any) -> dict[str, Any]:
    """A row of the journal; the key is the id without its last part."""
    row = {
        "exec_key": exec_id.rpartition(".")[0] or exec_id,
        "exec_id": exec_id,
        "order_ref": "20190102.DU0000001.AAPL.BUY.0.1",
        "perm_id": 7,
        "account": ACCOUNT,
        "session": date(2019, 1, 3),
        "executed_at": NOW,
        "symbol": "AAPL",
        "side": "BUY",
        "quantity": 100,
        "price": Decimal("39.4800"),
        "commission": Decimal("1.0000"),
        "order_price": Decimal("39.5000"),
        "arrival_price": Decimal("39.470000"),
        "predicted_slippage_bps": 2.5,
        "actual_slippage": None,
        "actual_slippage_bps": None,
        "shortfall_bps": 2.5,
        "latency_ms": None,
        "strategies": "HYP-2026-001",
        "recorded_at": NOW,
    }
    return {**row, **change}


def position(symbol: str = "AAPL", **change: Any) -> dict[str, Any]:
    row = {
        "symbol": symbol,
        "quantity": 100,
        "entry_price": Decimal("39.4800"),
        "current_price": Decimal("40.0000"),
        "market_value": Decimal("4000.00"),
        "cost_basis": Decimal("3949.00"),
        "unrealized_pnl": Decimal("51.00"),
        "unrealized_pnl_share": 0.0129,
        "strategies": "HYP-2026-001",
    }
    return {**row, **change}


def plan_header(plan_id: str = "20190103-a", **change: Any) -> dict[str, Any]:
    row = {
        "plan_id": plan_id,
        "session": SESSION,
        "execution_session": date(2019, 1, 3),
        "account": ACCOUNT,
        "equity": Decimal("1000000.00"),
        "cash": Decimal("1000000.00"),
        "dry_run": False,
    }
    return {**row, **change}


def plan_row(sequence: int = 1, symbol: str = "AAPL", **change: Any) -> dict[str, Any]:
    row = {
        "sequence": sequence,
        "symbol": symbol,
        "side": "BUY",
        "quantity": 100,
        "reason": "enter",
        "current_quantity": 0,
        "target_quantity": 100,
        "current_weight": 0.0,
        "target_weight": 0.004,
        "reference_price": Decimal("39.4800"),
        "notional": Decimal("3948.00"),
        "predicted_slippage_bps": 2.5,
        "routing": "marketable limit",
        "strategies": "HYP-2026-001",
        "strategy_shares": '{"HYP-2026-001": 1.0}',
    }
    return {**row, **change}


def intent(order_ref: str, order_id: int = 1, **change: Any) -> dict[str, Any]:
    row = {
        "order_ref": order_ref,
        "plan_id": "20190103-a",
        "session": SESSION,
        "execution_session": date(2019, 1, 3),
        "account": ACCOUNT,
        "symbol": "AAPL",
        "side": "BUY",
        "quantity": 100,
        "limit_price": Decimal("39.5000"),
        "tif": "DAY",
        "arrival_price": Decimal("39.470000"),
        "arrival_at": NOW,
        "predicted_slippage_bps": 2.5,
        "routing": "marketable limit",
        "strategies": "HYP-2026-001",
        "slice": 0,
        "attempt": 1,
        "order_id": order_id,
        "run_id": "a run",
        "recorded_at": NOW,
    }
    return {**row, **change}


def risk_decision(order_ref: str, plan_row: str | None, approved: bool) -> dict[str, Any]:
    return {
        "order_ref": order_ref,
        "approved": approved,
        "reasons": "" if approved else "kill_switch",
        "inputs": {"order": {"order_ref": order_ref, "plan_row": plan_row}},
        "occurred_at": NOW,
    }


def signal(symbol: str = "AAPL", value: int = 1) -> dict[str, Any]:
    return {"symbol": symbol, "signal": value, "prediction": 0.01}


def prediction(symbol: str = "AAPL", value: float = 0.01, version: int = 1) -> dict[str, Any]:
    return {
        "symbol": symbol,
        "prediction": value,
        "probability_up": 0.6,
        "model_version": version,
        "data_snapshot_id": "d1",
    }


def model_version(version: int = 1, sha256: str = "aa") -> dict[str, Any]:
    return {
        "strategy_id": "HYP-2026-001",
        "version": version,
        "mlflow_run_id": f"run{version}",
        "artifact_sha256": sha256,
        "trained_through": SESSION,
        "data_snapshot_id": "d1",
        "code_version": "0.1.0",
        "metrics": {"rank_ic": 0.02},
    }
