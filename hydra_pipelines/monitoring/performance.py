"""Profit and loss told apart, session by session, and what the equity curve amounts to.

Pure: rows of the ledger in, rows and numbers out. Every session must add up to the cent:

    change of equity = realised + change of unrealised - commissions + income + paid in and out

realised: FIFO, before commissions (see `execution/lots`). unrealised: market value less what the
open lots cost, before commissions. income: dividends, fractions of shares, interest, fees. paid in
and out: deposits and withdrawals, and shares accepted from the broker; neither profit nor loss.
Equity is the broker's; cash and shares are the journal's. So the equation is no definition: what
is missing from it is `unexplained`, and has to be zero.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from hydra_pipelines.execution.lots import NOBODY, UNIT, LotBook, Shares, divide, mixed
from hydra_pipelines.ledger.accounts import PAID_IN_AND_OUT

CENT = Decimal("0.01")
HALF_CENT = Decimal("0.005")
ZERO = Decimal(0)

ROLLING_SESSIONS = 63
"""The window of the rolling figures: a quarter of a year."""
SESSIONS_A_YEAR = 252

COMPONENTS = ("realised", "unrealised", "commissions", "income")
"""What a profit is made of; commissions are what was paid, so they count against it."""


class BooksIncomplete(ValueError):
    """There is no profit to tell: the desk has not traded yet, or its opening is not known."""


@dataclass(frozen=True)
class SessionProfit:
    """One session of the curve, USD. unrealised: its change. Levels at the end: equity, peak,
    drawdown (share of the peak), gross (value of all positions, long and short)."""

    session: date
    equity: Decimal
    change: Decimal
    realised: Decimal
    unrealised: Decimal
    commissions: Decimal
    income: Decimal
    paid_in_and_out: Decimal
    unexplained: Decimal
    profit: Decimal
    """What the desk made: change less what was paid in and out."""
    peak: Decimal
    drawdown: float
    gross: Decimal


@dataclass
class Parts:
    """A profit by its components, USD, exact; unrealised is the level now."""

    realised: Decimal = ZERO
    unrealised: Decimal = ZERO
    commissions: Decimal = ZERO
    income: Decimal = ZERO

    @property
    def total(self) -> Decimal:
        return self.realised + self.unrealised - self.commissions + self.income

    def add(self, component: str, amount: Decimal) -> None:
        setattr(self, component, getattr(self, component) + amount)


@dataclass(frozen=True)
class Profits:
    """sessions: oldest first, without the opening. by_symbol, by_strategy: since the beginning of
    what was asked for; what belongs to no symbol or strategy is under the empty name."""

    sessions: tuple[SessionProfit, ...]
    by_symbol: Mapping[str, Parts]
    by_strategy: Mapping[str, Parts]
    total: Parts

    @property
    def unexplained(self) -> tuple[SessionProfit, ...]:
        """Sessions that do not add up."""
        return tuple(s for s in self.sessions if s.unexplained)


def profits(
    curve: Sequence[Mapping[str, Any]],
    fills: Sequence[Mapping[str, Any]],
    movements: Sequence[Mapping[str, Any]],
    history: Sequence[Mapping[str, Any]],
    since: date | None = None,
) -> Profits:
    """Every session of the curve, and the parts of the whole, from `since` on.

    curve: rows of account_snapshots; fills: of `trades.attributed_fills`; movements: of
    `accounts.cash_movements`; history: of `accounts.position_history`; each oldest first.
    since: the first session that counts; its unrealised parts are the change from before it.
    Raises BooksIncomplete.
    """
    if not curve:
        raise BooksIncomplete("there is no equity curve yet: run `hydra cycle` first")
    if not any(m["kind"] in PAID_IN_AND_OUT for m in movements):
        raise BooksIncomplete("what the account began with is not known: no plan was made yet")
    held: dict[date, dict[str, Mapping[str, Any]]] = defaultdict(dict)
    for position in history:
        held[position["session"]][position["symbol"]] = position
    walk = _Walk(
        deque(sorted(fills, key=lambda row: row["session"])),
        deque(sorted(movements, key=lambda row: row["session"])),
    )
    out: list[SessionProfit] = []
    start = _Tally()
    last: _Level | None = None
    for row in curve:
        session = row["session"]
        if since is not None and last is not None and last.row["session"] < since <= session:
            start = walk.marked(held[last.row["session"]], last.row)
        walk.to(session)
        level = _Level(row, walk.total(), walk.unrealised(held[session], row), walk.paid)
        if last is not None and (since is None or session >= since):
            out.append(_session(last, level))
        last = level
    assert last is not None
    end = walk.marked(held[last.row["session"]], last.row)
    return Profits(
        tuple(out),
        _less(end.by_symbol, start.by_symbol),
        _less(end.by_strategy, start.by_strategy),
        _less({"": end.total}, {"": start.total}).get("", Parts()),
    )


@dataclass
class _Tally:
    by_symbol: dict[str, Parts] = field(default_factory=dict)
    by_strategy: dict[str, Parts] = field(default_factory=dict)
    total: Parts = field(default_factory=Parts)

    def add(self, component: str, symbol: str, amount: Decimal, shares: Shares) -> None:
        self.total.add(component, amount)
        self.by_symbol.setdefault(symbol, Parts()).add(component, amount)
        for name, part in divide(amount, shares).items():
            self.by_strategy.setdefault(name, Parts()).add(component, part)


@dataclass
class _Walk:
    """The books as they were, session after session. paid: in less out, USD, since the opening."""

    fills: deque[Mapping[str, Any]]
    movements: deque[Mapping[str, Any]]
    book: LotBook = field(default_factory=LotBook)
    tally: _Tally = field(default_factory=_Tally)
    paid: Decimal = ZERO

    def to(self, session: date) -> None:
        """Take in everything up to the end of a session."""
        while self.fills and self.fills[0]["session"] <= session:
            fill = self.fills.popleft()
            if fill["kind"] == "accepted":
                value = fill["quantity"] * fill["price"]
                self.paid += value if fill["side"] == "BUY" else -value
            self.book.apply(fill)
        for one in self.book.realised:
            self.tally.add("realised", one.symbol, one.gain, one.shares)
        for fee in self.book.commissions:
            self.tally.add("commissions", fee.symbol, fee.amount, fee.shares)
        self.book.realised.clear()
        self.book.commissions.clear()
        while self.movements and self.movements[0]["session"] <= session:
            movement = self.movements.popleft()
            if movement["kind"] in PAID_IN_AND_OUT:
                self.paid += movement["amount"]
            else:
                symbol = movement["symbol"] or ""
                owners = mixed(
                    [(abs(x.quantity), x.shares) for x in self.book.open.get(symbol, ())]
                )
                self.tally.add("income", symbol, movement["amount"], owners)

    def total(self) -> Parts:
        """A copy, without what is unrealised."""
        return replace(self.tally.total)

    def value(self, symbol: str, position: Mapping[str, Any] | None) -> Decimal:
        """What the journal's shares are worth by the broker's mark; what they cost without one."""
        shares = self.book.held(symbol)
        if position is None or not position["quantity"]:
            return self.book.cost(symbol)
        return position["market_value"] * shares / position["quantity"]

    def unrealised(self, held: Mapping[str, Mapping[str, Any]], row: Mapping[str, Any]) -> Decimal:
        """Market value of the journal's shares less cost, exact where the books agree.

        Values of single positions are rounded to the cent by the broker; their sum is then better
        told by equity less cash, as long as the two agree but for rounding.
        """
        cost = sum((self.book.cost(symbol) for symbol in self.book.open), ZERO)
        value = sum((self.value(symbol, held.get(symbol)) for symbol in self.book.open), ZERO)
        net = row["equity"] - row["cash"]
        if abs(net - value) <= HALF_CENT * (len(held) + 2):
            value = net
        return value - cost

    def marked(self, held: Mapping[str, Mapping[str, Any]], row: Mapping[str, Any]) -> _Tally:
        """A copy with what is unrealised at the end of a session; what rounding leaves of it
        belongs to no symbol."""
        out = _Tally(
            {name: replace(parts) for name, parts in self.tally.by_symbol.items()},
            {name: replace(parts) for name, parts in self.tally.by_strategy.items()},
            self.total(),
        )
        left = self.unrealised(held, row)
        for symbol, lots in self.book.open.items():
            value, shares = self.value(symbol, held.get(symbol)), self.book.held(symbol)
            for lot in lots:
                gain = (value * lot.quantity / shares - lot.cost).quantize(UNIT)
                out.add("unrealised", symbol, gain, lot.shares)
                left -= gain
        if left:
            out.add("unrealised", "", left, NOBODY)
        return out


@dataclass(frozen=True)
class _Level:
    """Where everything stands at the end of a session. unrealised, paid: USD since the opening."""

    row: Mapping[str, Any]
    parts: Parts
    unrealised: Decimal
    paid: Decimal

    @property
    def missing(self) -> Decimal:
        """Of the broker's equity, what the books do not know."""
        parts = self.parts
        books = self.paid + parts.realised + self.unrealised - parts.commissions + parts.income
        return _cents(self.row["equity"] - books)


def _session(last: _Level, now: _Level) -> SessionProfit:
    """Rounded so that the line adds up: components are differences of rounded levels, and what
    rounding leaves (under three cents) goes to the unrealised part, which is an estimate."""

    def moved(name: str) -> Decimal:
        return _cents(getattr(now.parts, name)) - _cents(getattr(last.parts, name))

    row = now.row
    change = row["equity"] - last.row["equity"]
    unexplained = now.missing - last.missing
    realised, commissions, income = moved("realised"), moved("commissions"), moved("income")
    paid = _cents(now.paid) - _cents(last.paid)
    return SessionProfit(
        session=row["session"],
        equity=row["equity"],
        change=change,
        realised=realised,
        unrealised=change - unexplained - realised + commissions - income - paid,
        commissions=commissions,
        income=income,
        paid_in_and_out=paid,
        unexplained=unexplained,
        profit=change - paid,
        peak=row["peak"],
        drawdown=row["drawdown"],
        gross=row["gross"],
    )


def _less(end: Mapping[str, Parts], start: Mapping[str, Parts]) -> dict[str, Parts]:
    out = {}
    for name in sorted(end):
        before = start.get(name, Parts())
        parts = Parts(*(getattr(end[name], c) - getattr(before, c) for c in COMPONENTS))
        if any(vars(parts).values()):
            out[name] = parts
    return out


@dataclass(frozen=True)
class Figures:
    """What a curve amounts to. None: not enough sessions to say.

    returns are those of the sessions on the equity before them, what was paid in or out taken out.
    sharpe: mean / standard deviation of the last ROLLING_SESSIONS returns, times sqrt(252), with
    no interest rate taken off. hit_rate: the share of them above 0.
    """

    sessions: int
    total_return: float | None
    worst_drawdown: float | None
    sharpe: float | None
    hit_rate: float | None


def session_returns(sessions: Sequence[SessionProfit]) -> list[float]:
    """Return of each session: profit on the equity before it and what was paid in."""
    out = []
    for one in sessions:
        base = one.equity - one.profit
        out.append(float(one.profit / base) if base > 0 else math.nan)
    return out


def figures(sessions: Sequence[SessionProfit]) -> Figures:
    returns = session_returns(sessions)
    known = [r for r in returns if math.isfinite(r)]
    recent = known[-ROLLING_SESSIONS:]
    enough = len(recent) == ROLLING_SESSIONS
    return Figures(
        sessions=len(sessions),
        total_return=math.prod(1 + r for r in known) - 1 if known else None,
        worst_drawdown=max((s.drawdown for s in sessions), default=None),
        sharpe=sharpe(recent) if enough else None,
        hit_rate=sum(r > 0 for r in recent) / len(recent) if enough else None,
    )


def sharpe(returns: Sequence[float]) -> float | None:
    """Annualised; None where the returns do not vary."""
    n = len(returns)
    if n < 2:
        return None
    mean = math.fsum(returns) / n
    variance = math.fsum((r - mean) ** 2 for r in returns) / (n - 1)
    return mean / math.sqrt(variance) * math.sqrt(SESSIONS_A_YEAR) if variance > 0 else None


def rolling(sessions: Sequence[SessionProfit]) -> list[tuple[date, float | None, float]]:
    """(session, Sharpe, hit rate) of the window that ends with it, where there are enough."""
    returns = session_returns(sessions)
    out = []
    for end in range(ROLLING_SESSIONS, len(returns) + 1):
        window = [r for r in returns[end - ROLLING_SESSIONS : end] if math.isfinite(r)]
        if len(window) == ROLLING_SESSIONS:
            hits = sum(r > 0 for r in window) / len(window)
            out.append((sessions[end - 1].session, sharpe(window), hits))
    return out


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(CENT, ROUND_HALF_UP)
