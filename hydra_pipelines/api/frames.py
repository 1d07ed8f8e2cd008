"""The read side as pandas frames, for notebooks: each column has a name, and a meaning or unit.

A thin face on the rows of this package. Every frame has the columns of `COLUMNS` in that order,
also where it has no rows. Money and prices are float64 in USD, bps are basis points (positive is a
cost), shares of something are fractions of 1, sessions are dates, instants are UTC.

Raises LedgerMissing before the first cycle: unknown is no empty frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

from hydra_pipelines.api import books, curve, decisions, healing, monitoring
from hydra_pipelines.api.rows import Row, frame
from hydra_pipelines.desk import Desk

if TYPE_CHECKING:
    import pandas as pd

COLUMNS: Mapping[str, Mapping[str, str]] = {
    "get_live_positions": {
        "symbol": "symbol",
        "quantity": "shares, below 0 is short",
        "entry_price": "average price paid, USD",
        "current_price": "the broker's mark, USD",
        "market_value": "USD",
        "cost_basis": "USD",
        "unrealized_pnl": "USD",
        "unrealized_pnl_share": "fraction of the cost basis",
        "strategies": "ids of the strategies that hold it, by comma",
        "account": "broker account",
        "as_of": "session of the last synchronisation",
        "updated_at": "instant of it",
    },
    "get_executed_trades": {
        "executed_at": "instant of the fill",
        "session": "execution session",
        "symbol": "symbol",
        "side": "BUY or SELL",
        "quantity": "shares",
        "price": "price of the fill, USD",
        "order_price": "limit of the order, USD",
        "arrival_price": "middle of the quotes when the order was decided on, USD",
        "predicted_slippage_bps": "bps against the arrival price",
        "actual_slippage_bps": "bps against the order price",
        "shortfall_bps": "bps against the arrival price",
        "latency_ms": "milliseconds from sending to the fill",
        "commission": "USD",
        "strategies": "ids of the strategies that wanted it, by comma",
        "exec_id": "the fill, as `trace_fill` takes it",
        "order_ref": "the order; missing for a fill that the desk did not order",
        "account": "broker account",
    },
    "get_portfolio_value": {
        "session": "session of the last synchronisation",
        "equity": "USD",
        "cash": "USD",
        "gross": "value of all positions, shorts counted as positive, USD",
        "net": "value of all positions, USD",
        "daily_pnl": "USD",
        "total_profit": "equity less all that was paid in, USD",
        "total_return": "fraction of what was paid in",
        "drawdown": "fraction below the peak",
        "peak": "highest equity so far, USD",
        "positions": "how many",
        "exposure": "gross over equity",
        "account": "broker account",
        "as_of": "instant it was recorded",
    },
    "get_equity_curve": {
        "session": "session",
        "equity": "USD",
        "cash": "USD",
        "gross": "value of all positions, shorts counted as positive, USD",
        "net": "value of all positions, USD",
        "daily_pnl": "USD",
        "peak": "highest equity so far, USD",
        "drawdown": "fraction below the peak",
        "positions": "how many",
        "account": "broker account",
    },
    "get_deployed_strategies": {
        "strategy_id": "id in the settings",
        "title": "what it is",
        "status": "of the settings",
        "family": "kind of model",
        "capital_weight": "fraction of the capital",
        "state": "of its model: see docs/models.md",
        "champion": "version that trades, missing without one",
        "challenger": "version that waits for promotion, missing without one",
        "previous": "version that traded before, missing without one",
        "mlflow": "where the MLflow UI shows the model",
    },
    "get_predictions": {
        "session": "session whose close it was made at",
        "strategy_id": "strategy",
        "symbol": "symbol",
        "prediction": "predicted return over the strategy's horizon, fraction",
        "probability_up": "probability of a rise, missing for models without one",
        "model_version": "version that made it",
        "data_snapshot_id": "data it was made from",
    },
    "get_drift": {
        "session": "session checked",
        "strategy_id": "strategy, missing for the desk as a whole",
        "model_version": "version checked",
        "family": "kind of check",
        "detector": "detector, see docs/monitoring.md",
        "subject": "feature or figure looked at",
        "state": "ok, warning, alarm or not_enough_data",
        "value": "the detector's metric, in its own unit",
        "warn_at": "level of a warning",
        "alarm_at": "level of an alarm",
        "decisive": "whether it decided the verdict",
        "n": "observations",
    },
    "get_experiments": {
        "experiment_id": "id",
        "created_at": "instant it was begun",
        "session": "as of the close of this session",
        "strategy_id": "strategy, missing for the desk as a whole",
        "cause": "diagnosis behind it",
        "hypothesis": "what was expected",
        "mutation_type": "what was changed",
        "champion_version": "version it was held against",
        "candidate_version": "version it made, missing without one",
        "passed": "whether the gate passed it, missing until it is measured",
        "decision": "what came of it",
        "reason": "why",
        "mlflow": "where the MLflow UI shows the candidate, missing without one",
    },
}  # fmt: skip
"""Function -> column -> meaning or unit."""


def get_live_positions(desk: Desk | None = None) -> pd.DataFrame:
    """Positions by symbol, as of the last synchronisation with the broker."""
    return _made("get_live_positions", books.positions(_desk(desk)))


def get_executed_trades(
    symbol: str | None = None,
    start: date | None = None,
    end: date | None = None,
    limit: int = 50,
    *,
    desk: Desk | None = None,
) -> pd.DataFrame:
    """Fills, the latest first; `start` and `end` are execution sessions, both included."""
    return _made("get_executed_trades", books.trades(_desk(desk), symbol, start, end, limit))


def get_portfolio_value(desk: Desk | None = None) -> pd.DataFrame:
    """The account at its last synchronisation: one row, or none before the first."""
    row = curve.money(_desk(desk))
    return _made("get_portfolio_value", [] if row is None else [row])


def get_equity_curve(desk: Desk | None = None) -> pd.DataFrame:
    """The account by session, oldest first."""
    return _made("get_equity_curve", books.equity_curve(_desk(desk)))


def get_deployed_strategies(desk: Desk | None = None) -> pd.DataFrame:
    """Strategies of the settings, with the versions that trade, wait, and traded before."""
    found = decisions.models(_desk(desk))["strategies"]
    roles = ("champion", "challenger", "previous")
    return _made(
        "get_deployed_strategies",
        [{**row, **{r: row[r] and row[r]["version"] for r in roles}} for row in found],
    )


def get_predictions(session: date | None = None, *, desk: Desk | None = None) -> pd.DataFrame:
    """Predictions of a session, by strategy and symbol; without one, of the last that has any."""
    return _made("get_predictions", decisions.predictions(_desk(desk), session))


def get_drift(sessions: int = 1, *, desk: Desk | None = None) -> pd.DataFrame:
    """Checks of the last sessions that were checked, oldest first."""
    return _made("get_drift", monitoring.drift_history(_desk(desk), sessions=sessions))


def get_experiments(limit: int = 20, *, desk: Desk | None = None) -> pd.DataFrame:
    """The journal of the agent's experiments, the latest first."""
    return _made("get_experiments", healing.experiments(_desk(desk), limit))


def _desk(desk: Desk | None) -> Desk:
    """The desk given, or that of the settings as they are where the program runs."""
    return desk or Desk.open()


def _made(name: str, rows: list[Row]) -> pd.DataFrame:
    columns: list[Any] = list(COLUMNS[name])
    return frame(rows).reindex(columns=columns)
