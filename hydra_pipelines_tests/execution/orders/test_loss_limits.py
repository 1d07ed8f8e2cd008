"""Breakers on the way of real orders: over the socket, over restarts and over sessions."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

from hydra_pipelines.execution.orders.outcome import ExecutionReport
from hydra_pipelines.execution.risk.latch import release
from hydra_pipelines.execution.risk.limits import RiskLimits
from hydra_pipelines.ledger import accounts
from hydra_pipelines.ledger.store import exclusive
from hydra_pipelines_tests.execution.orders.workshop import (
    ACCOUNT,
    AFTER,
    CASH,
    NEXT,
    SESSION,
    Shop,
)

LOST = (CASH / Decimal("0.95")).quantize(Decimal("0.01"))
"""Equity at the start of the session of which the venue's cash is 5 % less."""


def begin_with(shop: Shop, equity: Decimal, session: date = SESSION) -> None:
    """The equity curve says that the account had so much at the end of a session."""
    with shop.ledger.transaction() as tx:
        accounts.record_opening_balance(tx, ACCOUNT, SESSION, CASH)
        accounts.record_snapshot(
            tx, ACCOUNT, session,
            equity=equity, cash=CASH, gross=Decimal(0), net=Decimal(0), positions=0,
        )  # fmt: skip


def run(shop: Shop, session: date = SESSION, **limits: object) -> ExecutionReport:
    with (
        exclusive(shop.home / "execution.lock", 10, "execution"),
        shop.broker(replace(RiskLimits(), **limits)) as broker,
    ):
        return shop.manager(broker, "run").execute(session, shop.market())


def denials(shop: Shop) -> list[tuple[bool, str]]:
    with shop.ledger.transaction() as tx:
        rows = tx.query("SELECT approved, reasons FROM risk_decisions ORDER BY occurred_at")
    return [(row["approved"], row["reasons"]) for row in rows]


def assert_nothing_happened(shop: Shop) -> None:
    assert shop.gateway.messages()["count"] == 0, "no order request reached the venue"
    assert (shop.placed(), shop.fills(), shop.orders()) == ([], [], [])


def test_a_loss_of_five_percent_stops_buying_until_the_next_session(shop: Shop):
    begin_with(shop, LOST)
    shop.plan(("ALFA", "BUY", 100, 100))
    report = run(shop)
    assert denials(shop) == [(False, "breaker_daily_loss")]
    assert report.sent == 0 and "ALFA: denied, breaker_daily_loss" in " ".join(report.notes)
    assert_nothing_happened(shop)
    (breaker,) = shop.control.tripped()
    assert (breaker.name, breaker.session) == ("daily_loss", NEXT.isoformat())
    assert breaker.reason == "the loss of the session is 5.00%, the limit 2.00%"

    # A restart, and the loss has gone: it is tripped all the same.
    begin_with(shop, CASH)
    again = Shop(shop.home)
    with again.ledger.transaction() as tx:
        tx.execute("UPDATE plans SET status = 'draft'")
    run(again)
    assert denials(again)[-1] == (False, "breaker_daily_loss")
    assert_nothing_happened(again)

    # The next session resets it by itself.
    again.plan(("ALFA", "BUY", 100, 100), session=NEXT)
    assert run(again, NEXT).sent == 1
    assert sum(fill["quantity"] for fill in again.fills()) == 100
    assert again.control.tripped() == ()
    assert [entry.event for entry in again.control.journal()] == [
        "breaker_tripped", "breaker_reset",
    ]  # fmt: skip


def test_where_the_settings_say_so_a_person_has_to_reset_it(shop: Shop):
    begin_with(shop, LOST)
    shop.plan(("ALFA", "BUY", 100, 100))
    run(shop, auto_reset=())
    begin_with(shop, CASH, NEXT)
    shop.plan(("ALFA", "BUY", 100, 100), session=NEXT)
    assert run(shop, NEXT, auto_reset=()).sent == 0
    assert_nothing_happened(shop)
    release(shop.control, "daily_loss", "seen", "user:ann")
    with shop.ledger.transaction() as tx:
        tx.execute("UPDATE plans SET status = 'draft' WHERE session = ?", [NEXT])
    assert run(shop, NEXT, auto_reset=()).sent == 1


def test_what_is_held_can_be_sold_with_a_breaker_tripped(shop: Shop):
    shop.plan(("ALFA", "BUY", 200, 200))
    run(shop)
    begin_with(shop, LOST, NEXT)
    shop.plan(("ALFA", "SELL", 200, 0), ("BETA", "BUY", 10, 10), session=NEXT)
    report = run(shop, NEXT)
    assert [(o.symbol, o.filled) for o in report.orders] == [("ALFA", 200)]
    assert denials(shop)[1:] == [(True, ""), (False, "breaker_daily_loss")]
    assert shop.truth()["positions"] == []


def test_a_drawdown_that_a_person_has_seen_lets_orders_through_until_it_is_worse(shop: Shop):
    """Peak 12 % above the venue's cash; reset, it trips again at 14.5 %."""
    begin_with(shop, (CASH / Decimal("0.88")).quantize(Decimal("0.01")), date(2018, 12, 31))
    begin_with(shop, CASH)
    shop.plan(("ALFA", "BUY", 100, 100))
    assert run(shop).sent == 0
    assert denials(shop) == [(False, "breaker_drawdown")]
    release(shop.control, "drawdown", "seen", "user:ann")
    shop.plan(("ALFA", "BUY", 100, 100), session=NEXT)
    assert run(shop, NEXT).sent == 1
    assert shop.control.tripped() == ()


def test_money_taken_out_is_no_loss_and_money_paid_in_hides_none(shop: Shop):
    begin_with(shop, LOST)
    with shop.ledger.transaction() as tx:
        accounts.record_cash(tx, ACCOUNT, NEXT, CASH - LOST, "withdrawal", "taken out")
    shop.plan(("ALFA", "BUY", 100, 100))
    assert run(shop).sent == 1, "5 % less, all of it taken out"
    assert shop.control.tripped() == ()
    # The same money comes back and is lost: the equity is what it was, and that is a loss.
    begin_with(shop, CASH, NEXT)
    with shop.ledger.transaction() as tx:
        accounts.record_cash(tx, ACCOUNT, AFTER, LOST - CASH, "deposit", "back again")
    shop.plan(("ALFA", "BUY", 100, 200), session=NEXT)
    assert run(shop, NEXT).sent == 0
    (breaker,) = shop.control.tripped()
    assert breaker.name == "daily_loss" and "5.0" in breaker.reason
