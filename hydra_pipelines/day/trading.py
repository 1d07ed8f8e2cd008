"""Working the plan of a session through the venue, and bringing orders up to date with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import date
from typing import TYPE_CHECKING, Any

from hydra_pipelines.control import ControlError
from hydra_pipelines.day.alerting import tell_of_orders, telling_of_a_lost_broker
from hydra_pipelines.day.carrying import carry_over
from hydra_pipelines.day.planning import market_facts
from hydra_pipelines.day.settings_trail import note_settings
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger import decisions, orders, paper
from hydra_pipelines.ledger.store import LedgerError, Transaction, exclusive
from hydra_pipelines.monitoring.connections import note_recovery

if TYPE_CHECKING:
    from hydra_pipelines.execution.orders.manager import OrderManager
    from hydra_pipelines.execution.orders.outcome import ExecutionReport

Say = Callable[[str], None]
Checkpoint = Callable[[], None]


class NoPlan(ValueError):
    """There is no plan of the session to work."""


def execute_plan(
    desk: Desk,
    session: date,
    run_id: str,
    *,
    dry_run: bool = False,
    say: Say = lambda _: None,
    checkpoint: Checkpoint = lambda: None,
) -> ExecutionReport | None:
    """Work the plan in its execution session; None where nothing may be sent (dry run).

    checkpoint: called between two looks at the orders; what it raises ends the work there.

    Takes the desk's execution lock: two runs never work orders at the same time. Raises NoPlan
    where the session has none.
    """
    if desk.sends_nothing(dry_run):
        require_plan(desk, session)
        return None
    with at_work(desk, run_id, say, checkpoint) as manager:
        with desk.ledger.transaction() as tx:
            carry_over(desk.control, tx)
            note_settings(desk, tx, run_id)
            plan = _plan(tx, session)
            # What is worked is no dry run any more, however the plan was made.
            decisions.mark_worked(tx, session)
            paper.record_venue(
                tx,
                session,
                plan["execution_session"],
                account=manager.broker.account_id,
                mode=desk.settings.mode,
                venue=desk.settings.broker.venue,
                server_version=manager.broker.server_version,
                run_id=run_id,
            )
        report = manager.execute(session, market_facts(desk, session))
    tell_of_orders(report, desk.alerts.send)
    return report


def reconcile_orders(
    desk: Desk, session: date, run_id: str, *, say: Say = lambda _: None
) -> ExecutionReport:
    """Bring the session's orders, and all unfinished ones, up to date with the broker.

    Sends nothing and cancels nothing. Raises NoPlan where the session has none.
    """
    from hydra_pipelines.execution.orders.outcome import make_report

    plan = require_plan(desk, session)
    with at_work(desk, run_id, say) as manager:
        manager.book.load(session)
        manager.reconcile(plan["execution_session"])
        return make_report(plan, manager.book.orders.values(), manager.notes, 0)


def may_have_sent(desk: Desk, session: date) -> bool:
    """Whether any order of the session may have reached the broker; so where it can't be told."""
    try:
        with desk.ledger.transaction() as tx:
            return orders.announced(tx, session)
    except LedgerError:
        return True


def require_plan(desk: Desk, session: date) -> dict[str, Any]:
    """The stored plan of a session. Raises NoPlan, and makes no ledger to look into."""
    if not desk.ledger.path.exists():
        raise _no_plan(session)
    # The ledger itself: after a crash the snapshot may be older than the plan.
    with desk.ledger.transaction() as tx:
        return _plan(tx, session)


@contextmanager
def at_work(
    desk: Desk,
    run_id: str,
    say: Say = lambda _: None,
    checkpoint: Checkpoint = lambda: None,
) -> Iterator[OrderManager]:
    """The order manager, with the execution lock, the ledger and the broker; published after.

    Raises LedgerBusy where another run works orders, and BrokerError.
    """
    from hydra_pipelines.execution.orders.manager import OrderManager

    lock = desk.settings.data_path / "execution.lock"
    timeout_s = desk.settings.ledger.lock_timeout_s
    with (
        telling_of_a_lost_broker(desk.alerts.send),
        # Before the other locks, since a run keeps it from step to step.
        desk.broker() as broker,
        exclusive(lock, timeout_s, "the execution of orders"),
        desk.control.kept_open(),
    ):
        outages = broker.outages
        try:
            with desk.ledger_for_step():
                yield OrderManager(
                    broker=broker,
                    ledger=desk.ledger,
                    control=desk.control,
                    clock=desk.clock,
                    calendar=desk.calendar,
                    work=desk.work,
                    run_id=run_id,
                    say=say,
                    slippage=desk.slippage,
                    tell=desk.alerts.send,
                    checkpoint=checkpoint,
                )
            # Whoever gets here has reconciled, whatever was lost before or meanwhile.
            venue = desk.settings.broker.venue
            note_recovery(desk.control, venue, broker.outages - outages)
        finally:
            with desk.ledger.session():
                # What the control store noted meanwhile, a breaker that tripped for example.
                with suppress(ControlError), desk.ledger.transaction() as tx:
                    carry_over(desk.control, tx)
                desk.ledger.publish()


def _plan(tx: Transaction, session: date) -> dict[str, Any]:
    plan = decisions.plan(tx, session)
    if plan is None:
        raise _no_plan(session)
    return plan


def _no_plan(session: date) -> NoPlan:
    return NoPlan(
        f"there is no plan of session {session}: make it with `hydra cycle --dry-run` first, or "
        "let `hydra cycle` do everything"
    )
