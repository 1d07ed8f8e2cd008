"""A day of trading with a gateway that does wrong, and the judgement of what the desk made of it.

The desk is the project's own: order manager, risk gate, broker gateway, client library, a real
socket. The venue is served from a thread, with a script of faults. Afterwards the desk's books are
held against the venue's: what the desk is certain of has to be so.

As a program it trades a day for each of many random schedules (those with odd seeds: a day that
begins with positions), and counts what came of them; one
that ends wrong is told by its seed, and replayed by it:

    python -m hydra_pipelines_tests.scenarios.faulty FIRST_SEED END_SEED
"""

from __future__ import annotations

import logging
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from hydra_pipelines.control import Control
from hydra_pipelines.execution.broker.gateway import Endpoint
from hydra_pipelines.execution.broker.messages import BrokerError, Known
from hydra_pipelines.execution.orders.book import BookedOrder, OrderBook
from hydra_pipelines.execution.orders.manager import WindowPassed
from hydra_pipelines.execution.orders.reconcile import positions_of
from hydra_pipelines.ledger import accounts
from hydra_pipelines.ledger import trades as trade_rows
from hydra_pipelines.ledger.store import Ledger
from hydra_pipelines.paper_gateway.__main__ import read_npz
from hydra_pipelines.paper_gateway.control import VenueClock
from hydra_pipelines.sessions import Calendar
from hydra_pipelines_tests.execution.orders.workshop import (
    ACCOUNT,
    NEXT,
    SESSION,
    Shop,
    prepare,
)
from hydra_pipelines_tests.paper_gateway.served import Served, make_venue

Plan = Sequence[tuple[str, str, int, int]]
"""Rows of (symbol, side, quantity, target)."""

PLAN: Plan = (("ALFA", "BUY", 300, 300), ("BETA", "BUY", 100, 100), ("THIN", "BUY", 60, 60))
"""THIN fills in parts, over minutes, and what is left of it in the end is cancelled."""
LIVE = ("PreSubmitted", "Submitted")
"""What the venue says of an order that works."""
TIMEOUT_S = 1.3
"""Longer than the second for which the client library holds requests back to keep its pace."""
RUNS = 4
"""How often a run that was stopped is started again, a few minutes later each time."""


class FaultyShop(Shop):
    """The workshop's desk, with the venue in a thread of the test."""

    def __init__(self, home: Path, calendar: Calendar):
        if not (home / "prices.npz").exists():
            prepare(home, calendar)
        panel = read_npz(home / "prices.npz")
        self.home = home
        self.calendar = calendar
        self.served = Served(lambda: make_venue(calendar, home / "venue.sqlite", panel=panel))
        self.venue = self.served.endpoint
        self.ledger = Ledger(home / "desk.duckdb", 10)
        self.control = Control(home / "control.sqlite")
        self.clock = VenueClock(self.venue)
        self.gateway = self.served.control

    def endpoint(self, **changes: Any) -> Endpoint:
        patience = {"request_timeout_s": TIMEOUT_S, "connect_timeout_s": TIMEOUT_S}
        return super().endpoint(**{**patience, **changes})

    def manager_book(self) -> dict[str, BookedOrder]:
        """The desk's orders of both sessions, as the ledger has them."""
        book = OrderBook(self.ledger, "judge")
        book.load(SESSION)
        book.load(NEXT)
        return book.orders

    def journal(self) -> list[dict[str, Any]]:
        with self.ledger.transaction() as tx:
            return tx.query("SELECT * FROM executed_trades")

    def journal_positions(self) -> dict[str, int]:
        return positions_of(self.fills())

    def close(self) -> None:
        self.served.stop()


@dataclass
class Outcome:
    """What came of a day.

    stops: why runs ended early, each a typed error. frozen: symbols that wait for a person.
    struck: the faults that did strike, and how often. states: of the desk's orders, in the end.
    """

    stops: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    frozen: list[str] = field(default_factory=list)
    struck: dict[str, int] = field(default_factory=dict)
    states: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """In a few words, the same for every run of the same script."""
        first = f"stopped ({self.stops[0]}) and run again: " if self.stops else ""
        counts = Counter(state.replace("_", " ") for state in sorted(self.states))
        orders = ", ".join(f"{count} {state}" for state, count in counts.items())
        end = f"{', '.join(self.frozen)} frozen for a person" if self.frozen else "books agree"
        return f"{first}{orders or 'nothing sent'}; {end}"


def trade(shop: FaultyShop, script: Any) -> Outcome:
    """Works PLAN while the script's faults strike, then once more without; judges the end."""
    with shop.ledger.session():
        return _trade(shop, script, PLAN, SESSION)


def trade_on(shop: FaultyShop, script: Any) -> Outcome:
    """A quiet day that works PLAN, and after it a faulty one that reduces, closes and opens."""
    with shop.ledger.session():
        assert not _trade(shop, [], PLAN, SESSION).stops
        shop.clock.wait_until(shop.calendar.close(NEXT))
        thin = shop.journal_positions()["THIN"]
        plan = (
            ("ALFA", "SELL", 200, 100), ("BETA", "SELL", 100, 0),
            ("THIN", "SELL", thin - 4, 4), ("DEEP", "BUY", 50, 50),
        )  # fmt: skip
        return _trade(shop, script, plan, NEXT)


def _trade(shop: FaultyShop, script: Any, plan: Plan, session: date) -> Outcome:
    outcome = Outcome()
    shop.plan(*plan, session=session)
    shop.gateway.set_faults(script)
    for run in range(RUNS):
        if run == RUNS - 1:
            outcome.struck = shop.gateway.faults()["struck"]
            shop.gateway.set_faults([])
        if _run(shop, run, session, outcome):
            break
        shop.clock.wait_until(shop.clock.now() + timedelta(minutes=5))
    outcome.struck = outcome.struck or shop.gateway.faults()["struck"]
    shop.gateway.set_faults([])
    # What is in doubt still is looked at once more by a gateway that behaves.
    _run(shop, RUNS, session, outcome)
    judge(shop, outcome, plan, session, overfills=outcome.struck.get("overfill", 0) > 0)
    return outcome


def _run(shop: FaultyShop, number: int, session: date, outcome: Outcome) -> bool:
    """Whether a run came to its end."""
    logging.getLogger("ib_insync").setLevel(logging.ERROR)
    try:
        report = shop.run(session, f"run-{number}", work_minutes=6, start=time(10))
    except (BrokerError, WindowPassed) as error:
        outcome.stops.append(in_short(error))
        return False
    outcome.notes += report.notes
    return True


def judge(
    shop: FaultyShop, outcome: Outcome, plan: Plan, session: date, *, overfills: bool
) -> None:
    """Holds the desk's books against the venue's; every certainty of the desk has to be true.

    plan: of `session`, the last that was worked.
    """
    truth = shop.truth()
    filled: dict[str, int] = {}
    for execution in truth["executions"]:
        ref = execution["order_ref"]
        filled[ref] = filled.get(ref, 0) + execution["shares"]
    theirs = {order["order_ref"]: order for order in truth["orders"]}
    book = shop.manager_book()
    assert set(theirs) <= set(book), f"the venue has orders that the desk never meant: {theirs}"
    for ref, order in book.items():
        view, what = order.view, theirs.get(ref)
        outcome.states.append(view.state.value)
        where = f"{ref} is {view} here, {what} there"
        match view.state.value:
            case "unknown":
                outcome.frozen.append(order.intent["symbol"])
            case "filled" | "cancelled" | "rejected":
                assert view.filled == filled.get(ref, 0), where
                assert what is None or what["status"] not in LIVE, where
            case "never_sent" | "never_arrived":
                assert what is None, where
            case _:
                raise AssertionError(f"neither an end nor a doubt: {where}")
    frozen = set(outcome.frozen)
    once_each(truth)
    for order in truth["orders"]:
        if order["symbol"] not in frozen:
            assert order["status"] not in LIVE, f"still works: {order}"
    held = {p["symbol"]: p["quantity"] for p in truth["positions"]}
    journal = shop.journal_positions()
    for symbol in (held.keys() | journal.keys()) - frozen:
        assert held.get(symbol, 0) == journal.get(symbol, 0), (symbol, held, journal)
    for symbol, side, quantity, _ in plan:
        bought = sum(
            e["shares"]
            for e in truth["executions"]
            if (e["symbol"], e["action"]) == (symbol, side)
            and e["order_ref"].startswith(f"{session:%Y%m%d}.")
        )
        assert overfills or bought <= quantity, f"{symbol}: {bought} of {quantity}"
    for symbol, side, _, target in plan:
        if held.get(symbol, 0) != target and symbol not in frozen and not outcome.stops:
            _said(shop, symbol, side, session, outcome, book)
    _same_executions(shop, truth, frozen)
    _same_account(shop, truth, held)
    if not frozen:
        _same_cash(shop, truth)


def once_each(truth: dict[str, Any]) -> None:
    """No order is at the venue twice, nor is another for the same slice of a plan's row."""
    refs = Counter(order["order_ref"] for order in truth["orders"])
    assert all(count == 1 for count in refs.values()), f"sent twice: {refs}"
    slices = Counter(ref.rpartition(".")[0] for ref in refs)
    twice = [name for name, count in slices.items() if count > 1]
    assert not twice, f"several attempts of one slice reached the venue: {twice}"


def _said(
    shop: FaultyShop,
    symbol: str,
    side: str,
    session: date,
    outcome: Outcome,
    book: dict[str, BookedOrder],
) -> None:
    """A row that did not come to its target was told of, denied with a reason, or ended."""
    ended = ("cancelled", "rejected", "never_sent", "never_arrived")
    with shop.ledger.transaction() as tx:
        denied = tx.value(
            "SELECT count(*) FROM risk_decisions WHERE NOT approved AND order_ref LIKE ?",
            [f"{session:%Y%m%d}.%.{symbol}.{side}.%"],
        )
    told = (
        denied
        or any(symbol in re.findall(r"\w+", note) for note in outcome.notes)
        or any(
            (o.intent["symbol"], o.intent["side"]) == (symbol, side) and o.view.state.value in ended
            for o in book.values()
        )
    )
    assert told, f"{symbol} is not at its target, and nothing is said of it"


def _same_cash(shop: FaultyShop, truth: dict[str, Any]) -> None:
    """Our own books come to the venue's cash, to the cent, once they have every commission."""
    with shop.ledger.transaction() as tx:
        if not trade_rows.missing_commissions(tx, ACCOUNT):
            ours = accounts.cash(tx, ACCOUNT)
            assert ours is not None and abs(ours - Decimal(truth["cash"])) < Decimal("0.005"), (
                f"cash is {ours} here, {truth['cash']} there"
            )


def _same_account(shop: FaultyShop, truth: dict[str, Any], held: dict[str, int]) -> None:
    """What the desk now reads through its own adapter is what the venue has."""
    with shop.broker() as broker:
        positions, account = broker.positions(), broker.account()
    assert isinstance(positions, Known) and isinstance(account, Known), (positions, account)
    assert {p.symbol: p.quantity for p in positions.value} == held
    assert abs(account.value.cash - Decimal(truth["cash"])) <= Decimal("0.005")


def _same_executions(shop: FaultyShop, truth: dict[str, Any], frozen: set[str]) -> None:
    """Each execution once, at its corrected price; a commission that is known is the venue's."""
    theirs = {e["exec_id"].rpartition(".")[0]: e for e in truth["executions"]}
    for row in shop.journal():
        execution = theirs.pop(row["exec_id"].rpartition(".")[0])
        assert row["exec_id"] == execution["exec_id"]
        assert (row["quantity"], row["price"]) == (execution["shares"], Decimal(execution["price"]))
        assert row["commission"] in (None, Decimal(execution["commission"]))
    assert {e["symbol"] for e in theirs.values()} <= frozen, theirs


def in_short(error: Exception) -> str:
    """The kind of an error, without the numbers that differ from run to run."""
    text = str(error)
    for sign, short in (
        ("client id", "client id in use"),
        ("did not speak", "silent gateway"),
        ("no complete reply", "no complete reply"),
        ("did not answer", "no reply"),
        ("closed the connection", "connection closed"),
        ("connection to the broker", "connection closed"),
        ("Read-Only", "read-only API"),
        ("lost IB", "IB's servers lost"),
        ("1100", "IB's servers lost"),
        ("too late", "window passed"),
        ("traded late", "window passed"),
    ):
        if sign in text:
            return short
    return f"{type(error).__name__}: {text}"


def main(first: int, end: int) -> int:
    """Trades a day for each seed in [first, end); the number of days that ended wrong."""
    logging.disable(logging.CRITICAL)
    ends: Counter[str] = Counter()
    struck: Counter[str] = Counter()
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        calendar = Calendar.load("XNYS", Path(folder))
        for seed in range(first, end):
            home = Path(folder) / str(seed)
            shop = FaultyShop(home, calendar)
            try:
                day = trade_on if seed % 2 else trade
                outcome = day(shop, {"random": {"seed": seed}})
            except AssertionError as error:
                wrong += 1
                print(f"seed {seed}: {error}", flush=True)
            else:
                ends["frozen" if outcome.frozen else "books agree"] += 1
                ends["stopped on the way"] += bool(outcome.stops)
                struck.update(outcome.struck)
            finally:
                shop.close()
                shutil.rmtree(home)
    print(f"{end - first} schedules: {dict(ends)}, {wrong} wrong; struck: {dict(struck)}")
    return wrong


if __name__ == "__main__":
    sys.exit(1 if main(int(sys.argv[1]), int(sys.argv[2])) else 0)
