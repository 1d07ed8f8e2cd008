"""The books after trading: positions, cash and the equity curve, by the broker's word."""

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
from hydra_pipelines.ledger import accounts, audit, trades
from hydra_pipelines.ledger.audit import AuditEvent

if TYPE_CHECKING:
    from hydra_pipelines.execution.positions import Break


@dataclass(frozen=True)
class PositionsResult:
    as_of: date
    positions: tuple[Mapping[str, Any], ...]
    breaks: tuple[Break, ...]


def sync_positions(
    desk: Desk, session: date, run_id: str, *, dry_run: bool = False
) -> PositionsResult:
    """Replace the live positions by the broker's, and compare them with the journal.

    Embedded, the execution session is first brought to its close. An incomplete reply of the
    broker changes nothing and raises BrokerStateUnknown.
    """
    from hydra_pipelines.execution.orders.book import OrderBook
    from hydra_pipelines.execution.positions import find_breaks, fold_fills, live_positions

    if desk.clock.moves_by_waiting and not desk.sends_nothing(dry_run):
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
            lots = fold_fills(trades.fills(tx, account.account))
            rows = live_positions(account, positions, lots)
            accounts.replace_positions(tx, account.account, as_of, rows)
            breaks = find_breaks(positions, lots, account.cash, accounts.cash(tx, account.account))
            audit.log(
                tx,
                AuditEvent.POSITION_SYNCED,
                {"as_of": as_of, "positions": len(rows), "breaks": [str(b) for b in breaks]},
                run_id=run_id,
            )
        desk.ledger.publish()
    return PositionsResult(as_of, tuple(rows), tuple(breaks))


@dataclass(frozen=True)
class AccountResult:
    """row: of the equity curve. curve: the whole of it, oldest first."""

    row: Mapping[str, Any]
    curve: tuple[Mapping[str, Any], ...]


def sync_account(desk: Desk) -> AccountResult:
    """Write the session's row of the equity curve from the broker's account."""
    with desk.broker() as broker:
        account = known(broker.account(), "account")
    as_of = session_of(desk)
    with desk.ledger.session():
        with desk.ledger.transaction() as tx:
            row = _record_account(tx, account, as_of)
            curve = tuple(accounts.snapshots(tx, account.account))
        desk.ledger.publish()
    return AccountResult(row, curve)


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
