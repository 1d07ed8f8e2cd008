"""A day run by its steps, and what the venue itself says of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from hydra_pipelines import day
from hydra_pipelines.day.books import AccountResult, PositionsResult
from hydra_pipelines.day.planning import PlanResult
from hydra_pipelines.desk import Desk
from hydra_pipelines.execution.orders.manager import ExecutionReport
from hydra_pipelines.paper_gateway.control import GatewayControl


@dataclass(frozen=True)
class Day:
    session: date
    plan: PlanResult
    executed: ExecutionReport | None
    positions: PositionsResult
    account: AccountResult


def decide(desk: Desk, session: date) -> PlanResult:
    """Everything up to the plan."""
    day.check_session(desk, session)
    assert not day.ingest_bars(desk, session).errors
    day.make_features(desk, session)
    assert all(c.error is None for c in day.ensure_champions(desk, session))
    assert day.make_predictions(desk, session, "test").status == "success"
    assert not day.make_session_signals(desk, session).failures
    plan = day.make_order_plan(desk, session, "test")
    assert not plan.violations
    return plan


def run_day(desk: Desk, session: date) -> Day:
    plan = decide(desk, session)
    executed = day.execute_plan(desk, session, "test")
    positions = day.sync_positions(desk, session, "test")
    return Day(session, plan, executed, positions, day.sync_account(desk))


def truth(desk: Desk) -> dict[str, Any]:
    """The venue's own books."""
    return GatewayControl(desk.venue).truth()


def venue_positions(books: dict[str, Any]) -> dict[str, int]:
    return {p["symbol"]: p["quantity"] for p in books["positions"] if p["quantity"]}


def venue_cash(books: dict[str, Any]) -> Decimal:
    return Decimal(books["cash"])
