"""What was decided, and by which models: predictions, plans, versions."""

from __future__ import annotations

from datetime import date

from hydra_pipelines.api.rows import Row
from hydra_pipelines.desk import Desk


def order_plan(desk: Desk, session: date) -> Row | None:
    """The plan of a session with its rows and notes, or None."""
    from hydra_pipelines.ledger import decisions

    with desk.ledger.snapshot() as rows:
        return decisions.plan(rows, session)


def predictions(desk: Desk, session: date | None) -> list[Row]:
    """Predictions of a session by strategy and symbol, with the version that made each.

    session: None takes the last that has any.
    """
    from hydra_pipelines.ledger import decisions, drift

    with desk.ledger.snapshot() as rows:
        chosen = session or drift.last_predicted(rows)
        return decisions.predictions(rows, chosen) if chosen else []


def models(desk: Desk, history: int = 10) -> Row:
    """Strategies with their champions, challengers and previous versions, and the last moves.

    The columns are those of `day.showing.list_models`.
    """
    from hydra_pipelines.day.showing import list_models

    return list_models(desk, history)


def model_version(desk: Desk, strategy_id: str, version: int) -> Row:
    """One version: training, figures, the gate's verdict. Raises NoSuchVersion."""
    from hydra_pipelines.day.showing import describe_version

    return describe_version(desk, strategy_id, version)
