"""What explains a difference between the books, found and booked: in one transaction of a sync.

The reasoning is in `execution/breaks`; here it is fed with market data, contracts and the order
book, and its results become rows. A person's corrections are here too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from hydra_pipelines.desk import Desk
from hydra_pipelines.execution.breaks import (
    Break,
    BreakKind,
    CorporateAction,
    Movement,
    describe,
    due_cash,
    explain_cash,
    explain_splits,
    explain_symbol_changes,
    find_breaks,
    foreign,
    shares_before,
)
from hydra_pipelines.execution.broker.messages import Account, Execution, Position
from hydra_pipelines.execution.broker.order_state import State
from hydra_pipelines.execution.positions import Lot, fold_fills
from hydra_pipelines.ledger import accounts, audit, orders, trades
from hydra_pipelines.ledger.audit import AuditEvent
from hydra_pipelines.ledger.store import Transaction

if TYPE_CHECKING:
    from hydra_pipelines.execution.orders.book import OrderBook

LOOK_BACK = 60
"""Sessions back that corporate actions are looked for: dividends are paid weeks after ex-date."""


class CorrectionRefused(ValueError):
    """What the person said does not make the difference smaller; nothing was changed."""


@dataclass(frozen=True)
class CashCorrection:
    """Money that came (above 0) or went: `kind` one of accounts.PAID_IN_AND_OUT or INCOME."""

    amount: Decimal
    kind: str
    reason: str
    actor: str


@dataclass(frozen=True)
class ShareCorrection:
    """The broker's number of shares is right. price: what they are booked at; None: its mark."""

    symbol: str
    price: Decimal | None
    reason: str
    actor: str


Correction = CashCorrection | ShareCorrection


@dataclass(frozen=True)
class Reply:
    """What the broker said, complete."""

    account: Account
    positions: tuple[Position, ...]
    executions: tuple[Execution, ...]
    as_of: date


def explain(
    desk: Desk,
    tx: Transaction,
    reply: Reply,
    book: OrderBook,
    correction: Correction | None,
    run_id: str,
    lots: Mapping[str, Lot] | None = None,
) -> list[Break]:
    """Every difference and finding, those explained booked; kept as rows of `position_breaks`.

    lots: what the journal holds, read here where it isn't given. book: the orders whose fills may
    be missing. Raises CorrectionRefused.
    """
    account = reply.account.account
    found = _foreign(tx, reply)
    breaks = _differences(tx, reply, lots)
    if breaks:
        actions = corporate_actions(desk, {b.symbol for b in breaks} | _traded(tx, account), reply)
        found += _book_splits(tx, reply, breaks, actions)
        found += _book_symbol_changes(tx, desk, reply, _differences(tx, reply))
        found += _book_cash(tx, reply, actions)
    if correction is not None:
        found.append(_correct(tx, desk, reply, correction, run_id))
    left = _differences(tx, reply) if breaks else []
    if left:
        reasons = (_doubtful(book), _unfilled(book), trades.missing_commissions(tx, account))
        found += [describe(one, *reasons) for one in left]
    accounts.record_breaks(tx, account, reply.as_of, [b.record() for b in found])
    return found


def corporate_actions(
    desk: Desk, symbols: Iterable[str | None], reply: Reply
) -> list[CorporateAction]:
    """Splits and dividends of the last sessions up to the reply's, the latest first.

    Read from the source and not from the lake: that one ends with the session decided on, and
    these have happened by now. None where the source has no such fields or can't be read.
    """
    from hydra_pipelines.market.bars import MarketDataError

    if desk.source.adjusted_only:
        return []
    start = desk.calendar.next(reply.as_of, -LOOK_BACK)
    try:
        panel = desk.source.read(start, reply.as_of)
    except MarketDataError:
        return []
    splits, dividends = panel.field("split_ratio"), panel.field("cash_dividend")
    closes = panel.field("close")
    out = []
    for column, symbol in enumerate(panel.symbols):
        if symbol not in symbols:
            continue
        before: Decimal | None = None
        for row, day in enumerate(panel.sessions):
            session = day.item()
            split = float(splits[row, column]) if splits is not None else 1.0
            dividend = float(dividends[row, column]) if dividends is not None else 0.0
            ratio = Fraction(repr(split)).limit_denominator(10_000) if split > 0 else Fraction(1)
            paid = Decimal(repr(dividend)) if dividend > 0 else Decimal(0)
            if (ratio != 1 or paid) and desk.calendar.is_session(session):
                # Before the first trade of the session, which is in the new shares already.
                at = desk.calendar.open(session) - timedelta(seconds=1)
                out.append(CorporateAction(symbol, session, at, ratio, paid, before))
            if closes is not None and closes[row, column] > 0:
                before = Decimal(repr(float(closes[row, column])))
    return sorted(out, key=lambda action: action.session, reverse=True)


def _traded(tx: Transaction, account: str) -> set[str]:
    return {row["symbol"] for row in trades.fills(tx, account)}


def _differences(
    tx: Transaction, reply: Reply, lots: Mapping[str, Lot] | None = None
) -> list[Break]:
    account = reply.account.account
    if lots is None:
        lots = fold_fills(trades.open_fills(tx, account))
    return find_breaks(reply.positions, lots, reply.account.cash, accounts.cash(tx, account))


def _foreign(tx: Transaction, reply: Reply) -> list[Break]:
    """Executions that nobody here ordered, each told once."""
    account = reply.account.account
    rows = trades.foreign_fills(tx, account)
    if not rows:
        return []
    refs = {e.key: e.order_ref for e in reply.executions}
    fills = trades.fills(tx, account)
    return [
        foreign(
            row,
            refs.get(row["exec_key"], ""),
            shares_before(fills, row["symbol"], row["executed_at"]),
        )
        for row in rows
    ]


def _book_splits(
    tx: Transaction, reply: Reply, breaks: Sequence[Break], actions: Sequence[CorporateAction]
) -> list[Break]:
    account = reply.account.account
    booked = {
        (row["symbol"], row["session"])
        for row in accounts.adjustments(tx, account)
        if row["kind"] == "split"
    }
    open_ones = [a for a in actions if (a.symbol, a.session) not in booked]
    done = explain_splits(breaks, trades.fills(tx, account), open_ones)
    accounts.record_adjustments(
        tx,
        [
            _adjustment(account, action, "split", change, found.why)
            for found, action, change in done
        ],
    )
    return [found for found, _, _ in done]


def _book_symbol_changes(
    tx: Transaction, desk: Desk, reply: Reply, breaks: Sequence[Break]
) -> list[Break]:
    gone = [str(b.symbol) for b in breaks if b.symbol and not b.brokers]
    known = orders.contracts(tx, gone)
    pairs = explain_symbol_changes(
        breaks, reply.positions, {symbol: row["con_id"] for symbol, row in known.items()}
    )
    account = reply.account.account
    fills = trades.fills(tx, account)
    for old, new in pairs:
        was, name = str(old.symbol), str(new.symbol)
        # With the open, but after the last trade under the old name.
        last = max(row["executed_at"] for row in fills if row["symbol"] == was)
        at = max(desk.calendar.open(reply.as_of) - timedelta(seconds=1), last)
        at += timedelta(microseconds=1)
        accounts.record_adjustments(
            tx,
            [
                {
                    "account": account,
                    "session": reply.as_of,
                    "effective_at": at,
                    "symbol": symbol,
                    "kind": "symbol_change",
                    "from_symbol": before,
                    "quantity": change,
                    "price": None,
                    "reason": old.why,
                    "actor": "system",
                }
                for symbol, before, change in (
                    (was, None, -int(old.ours)),
                    (name, was, int(new.brokers)),
                )
            ],
        )
        orders.forget_contract(tx, was)
    return [found for pair in pairs for found in pair]


def _book_cash(tx: Transaction, reply: Reply, actions: Sequence[CorporateAction]) -> list[Break]:
    cash = next((b for b in _differences(tx, reply) if b.symbol is None), None)
    if cash is None:
        return []
    account = reply.account.account
    due = due_cash(trades.fills(tx, account), actions, accounts.cash_movements(tx, account))
    movements = explain_cash(cash, due) if due else []
    for movement in movements:
        accounts.record_cash(
            tx,
            account,
            reply.as_of,
            movement.amount,
            movement.kind.value,
            movement.reason,
            symbol=movement.symbol,
            action_session=movement.action_session,
        )
    return _steps(cash, movements)


def _steps(cash: Break, movements: Sequence[Movement]) -> list[Break]:
    """One finding a movement; together they lead from our cash to the broker's."""
    out, ours = [], cash.ours
    for movement in movements:
        out.append(Break(None, ours, ours + movement.amount, movement.kind, True, movement.reason))
        ours += movement.amount
    return out


def _correct(
    tx: Transaction, desk: Desk, reply: Reply, correction: Correction, run_id: str
) -> Break:
    account = reply.account.account
    symbol = correction.symbol if isinstance(correction, ShareCorrection) else None
    found = next((b for b in _differences(tx, reply) if b.symbol == symbol), None)
    if found is None:
        what = f"shares of {symbol} are" if symbol else "cash is"
        raise CorrectionRefused(f"{what} the same in both books: there is nothing to correct")
    why = f"{correction.reason} ({correction.actor})"
    # In the session that first showed it, so that no session's profit has it.
    session = next(
        (row["session"] for row in accounts.open_breaks(tx, account) if row["symbol"] == symbol),
        reply.as_of,
    )
    if isinstance(correction, CashCorrection):
        missing = found.brokers - found.ours
        if abs(missing - correction.amount) >= abs(missing):
            raise CorrectionRefused(
                f"the broker has {missing:+} against the journal, and {correction.amount:+} "
                "would not make the difference smaller"
            )
        accounts.record_cash(
            tx,
            account,
            session,
            correction.amount,
            correction.kind,
            correction.reason,
            actor=correction.actor,
        )
        brokers = found.ours + correction.amount
    else:
        change, brokers = int(found.brokers - found.ours), found.brokers
        accounts.record_adjustments(
            tx,
            [
                {
                    "account": account,
                    "session": session,
                    "effective_at": min(desk.calendar.close(session), desk.clock.now()),
                    "symbol": symbol,
                    "kind": "accepted",
                    "from_symbol": None,
                    "quantity": change,
                    "price": _price(reply, correction),
                    "reason": correction.reason,
                    "actor": correction.actor,
                }
            ],
        )
    accounts.redraw_curve(tx, account, session)
    audit.log(
        tx,
        AuditEvent.MANUAL_ACTION,
        {"action": "books_corrected", "as_of": reply.as_of, **vars(correction)},
        actor=correction.actor,
        run_id=run_id,
    )
    return Break(symbol, found.ours, brokers, BreakKind.CORRECTED, True, why)


def _price(reply: Reply, correction: ShareCorrection) -> Decimal:
    if correction.price is not None:
        return correction.price
    for holding in reply.account.holdings:
        if holding.symbol == correction.symbol:
            return holding.market_price
    raise CorrectionRefused(
        f"the broker holds no {correction.symbol} and gives no price for it: say with --price what "
        "the shares were worth"
    )


def _adjustment(
    account: str, action: CorporateAction, kind: str, change: int, reason: str
) -> dict[str, Any]:
    return {
        "account": account,
        "session": action.session,
        "effective_at": action.effective_at,
        "symbol": action.symbol,
        "kind": kind,
        "from_symbol": None,
        "quantity": change,
        "price": None,
        "reason": reason,
        "actor": "system",
    }


def _doubtful(book: OrderBook) -> dict[str, str]:
    return {
        order.intent["symbol"]: order.ref
        for order in book.orders.values()
        if order.view.state is State.UNKNOWN
    }


def _unfilled(book: OrderBook) -> dict[tuple[str, str], tuple[str, int]]:
    return {
        (order.intent["symbol"], order.intent["side"]): (order.ref, missing)
        for order in book.orders.values()
        if (missing := order.intent["quantity"] - order.view.filled) > 0
    }
