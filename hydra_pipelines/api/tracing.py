"""From a fill back to all that led to it."""

from __future__ import annotations

from hydra_pipelines.api.rows import Row
from hydra_pipelines.desk import Desk


def trace_fill(desk: Desk, exec_id: str) -> Row | None:
    """From a fill back to its data; None where there is no such fill.

    Returns the fill, its order intent with events, the plan and its row, the predictions behind it
    with their model versions, and the data snapshot. Each prediction names the `features` that its
    model read, None where the registry can't tell, and `mlflow`, where the MLflow UI shows the
    version. Parts are None for a fill that the desk did not order.
    """
    found = _rows(desk, exec_id)
    for prediction in (found or {}).get("predictions", ()):
        _add_model(desk, prediction)
    return found


def _add_model(desk: Desk, prediction: Row) -> None:
    from hydra_pipelines.models.registry import RegistryError

    strategy, version = prediction["strategy_id"], prediction["model_version"]
    prediction["mlflow"] = desk.registry.link(strategy, version)
    try:
        prediction["features"] = list(desk.registry.version(strategy, version).features)
    except RegistryError:
        prediction["features"] = None


def _rows(desk: Desk, exec_id: str) -> Row | None:
    with desk.ledger.snapshot() as rows:
        fill = rows.one(
            "SELECT * FROM executed_trades WHERE exec_id = $1 OR exec_key = $1", [exec_id]
        )
        if fill is None:
            return None
        intent = rows.one("SELECT * FROM order_intents WHERE order_ref = ?", [fill["order_ref"]])
        if intent is None:
            return {"fill": fill, "intent": None}
        at = [intent["session"], intent["symbol"]]
        return {
            "fill": fill,
            "intent": intent,
            "events": rows.query(
                "SELECT event, details, occurred_at FROM order_events WHERE order_ref = ? "
                "ORDER BY seq",
                [fill["order_ref"]],
            ),
            "risk": rows.query(
                "SELECT approved, reasons, inputs FROM risk_decisions WHERE order_ref = ?",
                [fill["order_ref"]],
            ),
            "plan": rows.one("SELECT * FROM plans WHERE plan_id = ?", [intent["plan_id"]]),
            "plan_row": rows.one(
                "SELECT * FROM plan_rows WHERE plan_id = ? AND symbol = ?",
                [intent["plan_id"], intent["symbol"]],
            ),
            "predictions": rows.query(
                "SELECT p.*, m.mlflow_run_id, m.artifact_sha256, m.trained_through "
                "FROM predictions p LEFT JOIN model_versions m "
                "ON m.strategy_id = p.strategy_id AND m.version = p.model_version "
                "WHERE p.session = ? AND p.symbol = ? "
                "AND list_contains(string_split(?, ','), p.strategy_id) ORDER BY p.strategy_id",
                [*at, intent["strategies"]],
            ),
            "data": rows.one(
                "SELECT * FROM data_snapshots WHERE session = ? ORDER BY recorded_at DESC LIMIT 1",
                [intent["session"]],
            ),
        }
