"""Orders that are sent in the evening, rest for the open, and are worked on in the open market."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from hydra_pipelines.execution.broker.messages import BrokerError
from hydra_pipelines.execution.orders.manager import WindowPassed
from hydra_pipelines.sessions import at_new_york
from hydra_pipelines_tests.execution.orders.evenings import evening, real_time
from hydra_pipelines_tests.execution.orders.workshop import NEXT, SESSION, Shop

ROWS = (("ALFA", "BUY", 300, 300), ("BETA", "BUY", 100, 100), ("THIN", "BUY", 2_000, 2_000))


def misled(shop: Shop, **factors: str) -> None:
    """Last closes that the market is far from, so that what rests is not filled at the open."""
    shop.market = lambda: {  # type: ignore[method-assign]
        s: type(f)(f.last_close * Decimal(factors.get(s, "1")), f.adv)
        for s, f in Shop.market(shop).items()
    }


def placed(shop: Shop) -> dict[str, dict[str, Any]]:
    """The venue's orders by symbol, of which there is never more than one."""
    orders = shop.truth()["orders"]
    assert len({o["symbol"] for o in orders}) == len(orders)
    return {o["symbol"]: o for o in orders}


def test_a_run_in_the_venues_time_sends_in_the_evening_and_works_on_after_the_open(shop: Shop):
    shop.plan(*ROWS)
    report = shop.run(send="evening", work_minutes=5)
    assert "3 of 3 orders rest for the open" in report.notes
    assert {(o.symbol, o.state) for o in report.orders} == {
        ("ALFA", "filled"), ("BETA", "filled"), ("THIN", "cancelled"),
    }  # fmt: skip
    theirs = placed(shop)
    assert 0 < theirs["THIN"]["filled"] < 2_000
    with shop.ledger.transaction() as tx:
        first = tx.value("SELECT min(executed_at) FROM executed_trades")
    assert first == shop.calendar.open(NEXT)
    for order in shop.orders():
        assert order["arrival_at"] < shop.calendar.open(NEXT)
        close = shop.market()[order["symbol"]].last_close
        assert order["arrival_price"] == close
        assert close < order["limit_price"] <= close * Decimal("1.005")
        assert order["routing_reason"].endswith("; rests for the open")
    shop.assert_books_agree()
    assert shop.run(send="evening").sent == 0


def test_evening_and_morning_are_two_runs_and_the_evening_may_be_run_twice(shop: Shop):
    shop.plan(*ROWS)
    first = evening(shop)
    assert first.sent == 3
    assert {o.state for o in first.orders} == {"submitted"}
    assert {o["status"] for o in placed(shop).values()} == {"PreSubmitted"}
    assert evening(shop).sent == 0
    with real_time(shop) as manager:
        shop.clock.wait_until(shop.calendar.open(NEXT) - timedelta(minutes=2))
        with pytest.raises(WindowPassed):
            manager.execute(SESSION, shop.market())
    report = shop.run(send="evening", work_minutes=5)
    assert report.sent == 0
    assert {o.state for o in report.orders} == {"filled", "cancelled"}
    placed(shop)
    shop.assert_books_agree()


def test_the_halt_cancels_what_rests_and_nothing_of_it_is_sent_again(shop: Shop):
    shop.plan(*ROWS[:2])
    evening(shop)
    with shop.broker() as broker:
        broker.cancel_all()
    report = shop.run(send="evening")
    assert report.sent == 0
    assert {o.state for o in report.orders} == {"cancelled"}
    assert {o["status"] for o in placed(shop).values()} == {"Cancelled"}
    assert not shop.truth()["executions"]


def test_the_kill_switch_in_the_night_cancels_at_the_open(shop: Shop):
    # At a limit that is out of reach it rests on after the open.
    shop.plan(("ALFA", "BUY", 300, 300))
    misled(shop, ALFA="0.9")
    evening(shop)
    shop.control.set_kill_switch(True, "by a test")
    report = shop.run(send="evening")
    assert [(o.state, o.filled) for o in report.orders] == [("cancelled", 0)]
    assert placed(shop)["ALFA"]["status"] == "Cancelled"


def test_with_the_kill_switch_on_nothing_is_sent_to_rest_and_nothing_rests_on(shop: Shop):
    shop.plan(*ROWS)
    shop.control.set_kill_switch(True, "by a test")
    assert evening(shop).sent == 0
    assert not placed(shop)
    shop.control.set_kill_switch(False, "by a test")
    assert evening(shop).sent == 3
    shop.control.set_kill_switch(True, "by a test")
    assert evening(shop).sent == 0
    assert {o["status"] for o in placed(shop).values()} == {"Cancelled"}


@pytest.mark.parametrize("again_in_the_evening", [True, False])
def test_a_breaker_that_trips_in_the_night_takes_back_what_adds_risk(
    shop: Shop, again_in_the_evening: bool
):
    shop.plan(("BETA", "BUY", 100, 100))
    shop.run()
    shop.plan(("BETA", "SELL", 50, 50), ("ALFA", "BUY", 300, 300), session=NEXT)
    misled(shop, ALFA="0.994", BETA="1.006")
    assert evening(shop, NEXT).sent == 2
    shop.control.trip("drawdown", "by a test", str(NEXT))
    if again_in_the_evening:
        evening(shop, NEXT)
        assert [o["status"] for o in shop.truth()["orders"]] == [
            "Filled", "PreSubmitted", "Cancelled",
        ]  # fmt: skip
    report = shop.run(NEXT, send="evening", max_slippage_bps=300)
    assert report.sent == 0
    ended = {(o.symbol, o.side): (o.state, o.filled) for o in report.orders}
    assert ended["ALFA", "BUY"] == ("cancelled", 0)
    assert ended["BETA", "SELL"] == ("filled", 50), "positions may still be reduced"
    if not again_in_the_evening:
        assert any("breaker_drawdown: 1 resting orders" in note for note in report.notes)
    shop.assert_books_agree()
    # Once it is reset, what was taken back is not sent again.
    shop.control.reset("drawdown", "by a test")
    assert shop.run(NEXT, send="evening").sent == 0


BEFORE_THANKSGIVING, AFTER_THANKSGIVING = date(2018, 11, 21), date(2018, 11, 23)


@pytest.mark.parametrize("shop", [BEFORE_THANKSGIVING], indirect=True)
def test_orders_rest_over_a_holiday_for_a_session_that_closes_early(shop: Shop):
    assert shop.calendar.next(BEFORE_THANKSGIVING) == AFTER_THANKSGIVING
    shop.plan(("ALFA", "BUY", 300, 300), ("THIN", "BUY", 3_000, 3_000), session=BEFORE_THANKSGIVING)
    assert evening(shop, BEFORE_THANKSGIVING).sent == 2
    shop.clock.wait_until(at_new_york(date(2018, 11, 22), 12, 0))
    assert evening(shop, BEFORE_THANKSGIVING).sent == 0
    assert {o["status"] for o in placed(shop).values()} == {"PreSubmitted"}
    report = shop.run(BEFORE_THANKSGIVING, send="evening", work_minutes=390)
    assert {(o.symbol, o.state) for o in report.orders} == {
        ("ALFA", "filled"), ("THIN", "cancelled"),
    }  # fmt: skip
    assert datetime.fromisoformat(placed(shop)["ALFA"]["done_at"]) == shop.calendar.open(
        AFTER_THANKSGIVING
    )
    # In the last minute before 13:00 nothing works.
    assert datetime.fromisoformat(placed(shop)["THIN"]["done_at"]) == at_new_york(
        AFTER_THANKSGIVING, 12, 59
    )
    shop.assert_books_agree()


def test_what_the_open_did_not_reach_is_moved_to_the_far_touch_and_stays_one_order(shop: Shop):
    shop.plan(("ALFA", "BUY", 300, 300))
    misled(shop, ALFA="0.994")
    evening(shop, collar=0.001)
    report = shop.run(send="evening", max_slippage_bps=300)
    (order,) = shop.orders()
    assert "repricing" in [e["event"] for e in order["events"]]
    assert [(o.state, o.filled) for o in report.orders] == [("filled", 300)]
    placed(shop)
    shop.assert_books_agree()


def test_slices_and_buys_without_room_are_left_for_the_open_market(shop: Shop):
    shop.plan(("THIN", "BUY", 60, 60), ("ALFA", "BUY", 300, 300))
    report = evening(shop, routing="auto", thin=("THIN",))
    assert [o.symbol for o in report.orders] == ["ALFA"]
    # A tenth of equity is the most that one position may be.
    shop.plan(("BETA", "BUY", 900, 900), session=NEXT)
    shop.clock.wait_until(at_new_york(NEXT, 18, 35))
    with real_time(shop) as manager:
        report = manager.execute(NEXT, shop.market())
    assert report.sent == 0
    assert any("left for the open market" in note for note in report.notes)


def test_a_resting_order_is_held_against_the_last_close(shop: Shop):
    shop.plan(("ALFA", "BUY", 300, 300))
    report = evening(shop, collar=0.04)
    assert report.sent == 0
    assert any("quote_collar" in note for note in report.notes)


@pytest.mark.parametrize("fault", ["drop_before_place", "drop_after_place", "silent_order"])
def test_a_send_in_doubt_is_looked_for_and_never_sent_twice(shop: Shop, fault: str):
    shop.plan(*ROWS[:2])
    shop.gateway.set_faults([{"fault": fault, "symbol": "ALFA"}])
    try:
        evening(shop)
    except BrokerError:
        evening(shop)
    shop.gateway.set_faults([])
    report = shop.run(send="evening")
    assert not report.unknown
    assert {s: o["filled"] for s, o in placed(shop).items()} == {"ALFA": 300, "BETA": 100}
    shop.assert_books_agree()
