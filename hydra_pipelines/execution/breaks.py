"""Differences between our books and the broker's: what each is, and what explains it.

Pure. An explanation needs evidence (a split in the market data, the contract's id, a dividend on
the shares held) and is then a row of its own beside the journal, which is never rewritten. What
nothing explains stays a difference: it fails the check, and its symbol is not traded.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Any

from hydra_pipelines.execution.broker.messages import Position
from hydra_pipelines.execution.positions import Lot, to_cents

CENT = Decimal("0.01")
LIEU_TOLERANCE = Decimal("0.1")
"""How far the price of a fraction of a share may be from the close before the split."""
MOST_CANDIDATES = 12
"""Dividends and fractions that are tried in all combinations; the latest where there are more."""


class BreakKind(StrEnum):
    """Why the books differ."""

    SPLIT = "split"
    SYMBOL_CHANGE = "symbol_change"
    MANUAL_TRADE = "manual_trade"
    UNKNOWN_ORDER = "unknown_order"
    MISSING_FILL = "missing_fill"
    DIVIDEND = "dividend"
    CASH_IN_LIEU = "cash_in_lieu"
    MISSING_COMMISSION = "missing_commission"
    CORRECTED = "corrected"
    UNEXPLAINED = "unexplained"


@dataclass(frozen=True)
class Break:
    """A difference between our books and the broker's. symbol: None for cash (USD).

    An explained one is over: what explains it has been booked.
    """

    symbol: str | None
    ours: Decimal
    brokers: Decimal
    kind: BreakKind = BreakKind.UNEXPLAINED
    explained: bool = False
    why: str = ""
    exec_key: str | None = None
    """The execution that it is about, where the desk did not order it."""

    def __str__(self) -> str:
        what = "cash" if self.symbol is None else f"shares of {self.symbol}"
        text = f"{what}: {self.ours} in the journal, {self.brokers} at the broker"
        return f"{text} ({self.kind.value.replace('_', ' ')}: {self.why})" if self.why else text

    def record(self) -> dict[str, Any]:
        """Columns of `position_breaks`."""
        return {**vars(self), "kind": self.kind.value}


@dataclass(frozen=True)
class CorporateAction:
    """What happened to a share at the open of a session: new shares for one old, and USD for each
    old share. close_before: the last price before, where it is known."""

    symbol: str
    session: date
    effective_at: datetime
    ratio: Fraction = Fraction(1)
    dividend: Decimal = Decimal(0)
    close_before: Decimal | None = None


@dataclass(frozen=True)
class Movement:
    """Cash that a corporate action brought: a row of `cash_movements` to be."""

    kind: BreakKind
    symbol: str
    action_session: date
    amount: Decimal
    reason: str


def find_breaks(
    positions: Iterable[Position],
    lots: Mapping[str, Lot],
    broker_cash: Decimal,
    our_cash: Decimal | None,
) -> list[Break]:
    """Where the journal and the broker differ: shares by symbol, and cash to the cent."""
    held = {p.symbol: p.quantity for p in positions}
    ours = {symbol: lot.quantity for symbol, lot in lots.items()}
    breaks = [
        Break(symbol, Decimal(ours.get(symbol, 0)), Decimal(held.get(symbol, 0)))
        for symbol in sorted(held.keys() | ours.keys())
        if held.get(symbol, 0) != ours.get(symbol, 0)
    ]
    if our_cash is not None and to_cents(our_cash) != to_cents(broker_cash):
        breaks.append(Break(None, to_cents(our_cash), to_cents(broker_cash)))
    return breaks


def frozen_by_breaks(rows: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """Symbols that are not traded (rows of `accounts.open_breaks`)."""
    return frozenset(row["symbol"] for row in rows if row["symbol"] and not row["explained"])


def shares_before(fills: Iterable[Mapping[str, Any]], symbol: str, instant: datetime) -> int:
    """Signed shares of a symbol just before an instant, by rows of `trades.fills`."""
    return sum(
        row["quantity"] if row["side"] == "BUY" else -row["quantity"]
        for row in fills
        if row["symbol"] == symbol and row["executed_at"] < instant
    )


def after_split(held: int, ratio: Fraction) -> int:
    """Whole shares after a split; the fraction is paid out."""
    return int(held * ratio)


def explain_splits(
    breaks: Sequence[Break],
    fills: Sequence[Mapping[str, Any]],
    actions: Sequence[CorporateAction],
) -> list[tuple[Break, CorporateAction, int]]:
    """Share differences that one split of the market data makes up for, exactly.

    actions: not booked yet. Returns (the difference explained, the split, the change of shares).
    """
    out = []
    for found in breaks:
        for action in actions:
            if found.symbol != action.symbol or action.ratio == 1:
                continue
            held = shares_before(fills, action.symbol, action.effective_at)
            change = after_split(held, action.ratio) - held
            if change and found.ours + change == found.brokers:
                why = f"{held} shares became {held + change} on {action.session} ({action.ratio}:1)"
                out.append((_explained(found, BreakKind.SPLIT, why), action, change))
                break
    return out


def explain_symbol_changes(
    breaks: Sequence[Break], positions: Iterable[Position], con_ids: Mapping[str, int]
) -> list[tuple[Break, Break]]:
    """Pairs (old name, new name) whose contract id at the broker is the same, and whose shares are.

    con_ids: what the desk knows of its symbols' contracts.
    """
    now = {p.symbol: p.con_id for p in positions}
    gone = [b for b in breaks if b.symbol in con_ids and not b.brokers]
    come = [b for b in breaks if b.symbol in now and not b.ours]
    pairs = []
    for old, new in itertools.product(gone, come):
        if con_ids[str(old.symbol)] == now[str(new.symbol)] and old.ours == new.brokers:
            why = f"contract {now[str(new.symbol)]} was {old.symbol} and is now {new.symbol}"
            pairs.append(
                (
                    _explained(old, BreakKind.SYMBOL_CHANGE, why),
                    _explained(new, BreakKind.SYMBOL_CHANGE, why),
                )
            )
    return pairs


def due_cash(
    fills: Sequence[Mapping[str, Any]],
    actions: Sequence[CorporateAction],
    booked: Iterable[Mapping[str, Any]],
) -> list[Movement]:
    """Cash that corporate actions owe on the shares held just before them and that isn't booked.

    booked: rows of `cash_movements`.
    """
    have = {(row["kind"], row["symbol"], row["action_session"]) for row in booked}
    out = []
    for action in actions:
        held = shares_before(fills, action.symbol, action.effective_at)
        if held and action.dividend:
            out.append(
                Movement(
                    BreakKind.DIVIDEND,
                    action.symbol,
                    action.session,
                    held * action.dividend,
                    f"dividend of {action.symbol}, ex {action.session}: {held} shares at "
                    f"{action.dividend}",
                )
            )
        fraction = held * action.ratio - after_split(held, action.ratio)
        if fraction and action.close_before is not None:
            old_shares = fraction / action.ratio
            value = action.close_before * old_shares.numerator / old_shares.denominator
            out.append(
                Movement(
                    BreakKind.CASH_IN_LIEU,
                    action.symbol,
                    action.session,
                    value,
                    f"cash for {fraction} of a share of {action.symbol}, split on {action.session}",
                )
            )
    return [m for m in out if (m.kind.value, m.symbol, m.action_session) not in have]


def explain_cash(found: Break, due: Sequence[Movement]) -> list[Movement]:
    """The movements that make up the difference, with the amounts that the broker paid; or none.

    They must add up to it to a cent each, and to a tenth of its value for a fraction of a share,
    whose price is the broker's. All of the latest session are tried first, then the fewest.
    """
    missing = found.brokers - found.ours
    candidates = sorted(due, key=lambda m: m.action_session)[-MOST_CANDIDATES:]
    latest = [m for m in candidates if m.action_session == candidates[-1].action_session]
    tried = itertools.chain(
        [tuple(latest)],
        *(itertools.combinations(candidates, size) for size in range(1, len(candidates) + 1)),
    )
    for some in tried:
        amounts = [to_cents(m.amount) for m in some]
        allowed = sum(
            (
                CENT + (abs(m.amount) * LIEU_TOLERANCE if m.kind is BreakKind.CASH_IN_LIEU else 0)
                for m in some
            ),
            Decimal(0),
        )
        if some and abs(missing - sum(amounts)) <= allowed:
            # The fraction's price is the least certain: it takes what is left, else the last one.
            free = next(
                (i for i, m in enumerate(some) if m.kind is BreakKind.CASH_IN_LIEU), len(some) - 1
            )
            amounts[free] += missing - sum(amounts)
            return [replace(m, amount=a) for m, a in zip(some, amounts, strict=True)]
    return []


def describe(
    found: Break,
    doubtful: Mapping[str, str],
    unfilled: Mapping[tuple[str, str], tuple[str, int]],
    missing_commissions: int,
) -> Break:
    """The likely reason of a difference that nothing explains; it stays unexplained.

    doubtful: symbol -> our order whose state is unknown. unfilled: (symbol, side) -> our order that
    ended with shares unfilled, and how many.
    """
    if found.symbol is None:
        if missing_commissions and found.brokers < found.ours:
            why = f"{missing_commissions} fills have no commission yet"
            return replace(found, kind=BreakKind.MISSING_COMMISSION, why=why)
        return replace(
            found,
            why="no trade, dividend or recorded movement explains it; record what it is with "
            "`hydra sync-positions --cash AMOUNT --reason TEXT`",
        )
    change = found.brokers - found.ours
    if found.symbol in doubtful:
        why = f"order {doubtful[found.symbol]} is in doubt; see `hydra resolve`"
        return replace(found, kind=BreakKind.MISSING_FILL, why=why)
    order, shares = unfilled.get((found.symbol, "BUY" if change > 0 else "SELL"), ("", 0))
    if order and abs(change) <= shares:
        why = f"order {order} ended with {shares} shares unfilled by the journal"
        return replace(found, kind=BreakKind.MISSING_FILL, why=why)
    return replace(
        found,
        why="no order, execution, split or change of name explains it; look at the broker's "
        f"statement, then `hydra sync-positions --accept {found.symbol} --reason TEXT`",
    )


def foreign(row: Mapping[str, Any], order_ref: str, before: int) -> Break:
    """An execution at the broker that the desk has no intent of: journalled, and not ours.

    row: of the journal. order_ref: what the broker's record carries; empty for a trade by hand.
    before: shares before it.
    """
    signed = row["quantity"] if row["side"] == "BUY" else -row["quantity"]
    if order_ref:
        kind, why = BreakKind.UNKNOWN_ORDER, f"order {order_ref} is not in the ledger"
    else:
        kind, why = BreakKind.MANUAL_TRADE, "traded by hand"
    return Break(
        row["symbol"],
        Decimal(before),
        Decimal(before + signed),
        kind,
        True,
        f"{row['side']} {row['quantity']} at {row['price']}, {why}, execution {row['exec_id']}",
        row["exec_key"],
    )


def _explained(found: Break, kind: BreakKind, why: str) -> Break:
    return replace(found, kind=kind, explained=True, why=why)
