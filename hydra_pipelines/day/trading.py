"""Working the plan of a session through the venue."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING

from hydra_pipelines.day.planning import market_facts
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger.store import exclusive

if TYPE_CHECKING:
    from hydra_pipelines.execution.orders.outcome import ExecutionReport


def execute_plan(
    desk: Desk,
    session: date,
    run_id: str,
    *,
    dry_run: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> ExecutionReport | None:
    """Work the plan in its execution session; None where nothing may be sent (dry run).

    Takes the desk's execution lock: two runs never work orders at the same time.
    """
    from hydra_pipelines.execution.orders.manager import OrderManager

    if desk.sends_nothing(dry_run):
        return None
    lock = desk.settings.data_path / "execution.lock"
    try:
        with (
            exclusive(lock, desk.settings.ledger.lock_timeout_s, "execution"),
            desk.ledger_for_step(),
            desk.broker() as broker,
        ):
            manager = OrderManager(
                broker=broker,
                ledger=desk.ledger,
                control=desk.control,
                clock=desk.clock,
                calendar=desk.calendar,
                work=desk.work,
                run_id=run_id,
                say=say,
            )
            return manager.execute(session, market_facts(desk, session))
    finally:
        desk.ledger.publish()
