"""The books after trading: positions, cash and the equity curve, by the broker's word.

One reply of the broker makes them all, in one transaction. What explains a difference is in
`explaining`; what a person corrects comes in here as a `Correction`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from hydra_pipelines.day.asking import known, session_of
from hydra_pipelines.desk import Desk
from hydra_pipelines.execution.broker.messages import Account
from hydra_pipelines.execution.positions import to_cents
from hydra_pipelines.ledger import accounts, audit, decisions, trades
from hydra_pipelines.ledger.audit import AuditEvent

if TYPE_CHECKING:
    from hydra_pipelines.day.explaining import Correction
    from hydra_pipelines.execution.breaks import Break


@dataclass(frozen=True)
class PositionsResult:
    """breaks: differences that nothing explains. explained: those that are booked now. account:
    the session's row of the equity curve."""

    as_of: date
    positions: tuple[Mapping[str, Any], ...]
    breaks: tuple[Break, ...]
    explained: tuple[Break, ...]
    account: Mapping[str, Any]


def sync_positions(
    desk: Desk,
    session: date,
    run_id: str,
    *,
    dry_run: bool = False,
    correction: Correction | None = None,
) -> PositionsResult:
    """Replace the live positions by the broker's, compare them with the journal, write the curve.

    session: whose orders are looked at for what is missing. Embedded, its execution session is
    first brought to its close, once the plan has been worked. An incomplete reply of the broker
    changes nothing and raises BrokerStateUnknown. correction: what a person says of a difference;
    raises CorrectionRefused, and changes nothing, where it does not make it smaller.
    """
    from hydra_pipelines.day.explaining import Reply, explain
    from hydra_pipelines.execution.orders.book import OrderBook
    from hydra_pipelines.execution.positions import fold_fills, live_positions

    if desk.clock.moves_by_waiting and not desk.sends_nothing(dry_run) and _worked(desk, session):
        desk.clock.wait_until(desk.calendar.close(desk.calendar.next(session)))
    with desk.broker() as broker:
        broker.broker_time()
        account = known(broker.account(), "account")
        positions = known(broker.positions(), "positions")
        executions = known(broker.executions(), "executions")
    as_of = session_of(desk)
    with desk.ledger.session():
        book = OrderBook(desk.ledger, run_id)
        book.load(session)
        book.note_executions(executions, {})
        book.note_commissions(
            {e.exec_id: e.commission for e in executions if e.commission is not None}
        )
        book.commit(as_of)
        with desk.ledger.transaction() as tx:
            reply = Reply(account, positions, executions, as_of)
            lots = fold_fills(trades.open_fills(tx, account.account))
            found = explain(desk, tx, reply, book, correction, run_id, lots)
            if found:
                # What explains a difference is booked now.
                lots = fold_fills(trades.open_fills(tx, account.account))
            rows = live_positions(account, positions, lots)
            accounts.replace_positions(tx, account.account, as_of, rows)
            curve_row = _record_account(tx, account, as_of)
            open_ones = [b for b in found if not b.explained]
            audit.log(
                tx,
                AuditEvent.POSITION_SYNCED,
                {"as_of": as_of, "positions": len(rows), "breaks": [str(b) for b in open_ones]},
                run_id=run_id,
            )
        desk.ledger.publish()
    explained = tuple(b for b in found if b.explained)
    return PositionsResult(as_of, tuple(rows), tuple(open_ones), explained, curve_row)


def _worked(desk: Desk, session: date) -> bool:
    """Whether the session's plan needs no more of its execution session."""
    if not desk.ledger.path.exists():
        return False
    with desk.ledger.transaction() as tx:
        return decisions.plan_status(tx, session) in ("done", "expired")


@dataclass(frozen=True)
class AccountResult:
    """row: of the equity curve. curve: the whole of it, oldest first. tripped: breakers that are,
    each with its reason."""

    row: Mapping[str, Any]
    curve: tuple[Mapping[str, Any], ...]
    tripped: Mapping[str, str]


def sync_account(desk: Desk) -> AccountResult:
    """The session's row of the equity curve, as it was written with the positions.

    Read from the broker where there is none of this session yet.
    """
    as_of = session_of(desk)
    with desk.broker() as broker, desk.ledger.session():
        with desk.ledger.transaction() as tx:
            curve = accounts.snapshots(tx, broker.account_id)
        if not curve or curve[-1]["session"] != as_of:
            account = known(broker.account(), "account")
            with desk.ledger.transaction() as tx:
                _record_account(tx, account, as_of)
                curve = accounts.snapshots(tx, broker.account_id)
            desk.ledger.publish()
    tripped = {breaker.name: breaker.reason for breaker in desk.control.tripped()}
    return AccountResult(curve[-1], tuple(curve), tripped)


def open_books(desk: Desk, tx: Any, account: Account, session: date) -> None:
    """Before the first trade: what the account began with, and the first row of the curve."""
    if accounts.cash(tx, account.account) is None:
        accounts.record_opening_balance(tx, account.account, session, account.cash)
        if accounts.snapshot_before(tx, account.account, desk.calendar.next(session)) is None:
            _record_account(tx, account, session)


def _record_account(tx: Any, account: Account, as_of: date) -> dict[str, Any]:
    # Net from equity and cash, so that the three add up although each holding is rounded.
    net = account.equity - account.cash
    short = sum((-h.market_value for h in account.holdings if h.quantity < 0), Decimal(0))
    return accounts.record_snapshot(
        tx,
        account.account,
        as_of,
        equity=account.equity,
        cash=account.cash,
        gross=net + 2 * to_cents(short),
        net=net,
        positions=len(account.holdings),
    )
