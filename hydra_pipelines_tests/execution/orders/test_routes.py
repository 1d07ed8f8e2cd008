"""Patience and TWAP through the stand-in: prices, slices, restarts, denials and the kill switch."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from hydra_pipelines.execution.broker.client import TwsClient
from hydra_pipelines.execution.broker.gateway import BrokerGateway
from hydra_pipelines.execution.orders.follow import Follower
from hydra_pipelines.execution.risk.limits import RiskLimits
from hydra_pipelines_tests.execution.orders.workshop import NEXT, Shop

PATIENT = {"routing": "auto", "patience_s": 120.0, "steps": 3, "step_s": 60.0}
"""Five minutes in all. THIN's orders are too large to fill in them."""
SLICED = {"routing": "auto", "thin": ("ALFA", "THIN"), "twap_minutes": 12.0, "twap_slices": 4}


class Interrupted(Exception):
    """The run ends here, as if it had been killed: nothing of it goes on."""


def places(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Every order and new price that is written to the socket from here on."""
    written: list[dict[str, Any]] = []
    place = TwsClient.place_limit

    def noted(self: TwsClient, order_id: int, contract: Any, **order: Any) -> None:
        written.append({"order_id": order_id, **order})
        place(self, order_id, contract, **order)

    monkeypatch.setattr(TwsClient, "place_limit", noted)
    return written


def interrupt(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, nth: int) -> None:
    real: Callable[..., Any] = getattr(owner, name)
    calls = 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == nth:
            raise Interrupted
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, wrapped)


def events(shop: Shop, kind: str) -> list[dict[str, Any]]:
    return [e for order in shop.orders() for e in order["events"] if e["event"] == kind]


def test_patience_steps_toward_the_far_touch_as_one_order(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = places(monkeypatch)
    shop.plan(("DEEP", "BUY", 300, 300))
    report = shop.run(**PATIENT, rest_at="near_touch")
    (outcome,) = report.orders
    assert (outcome.state, outcome.filled) == ("filled", 300), report.notes
    assert len({w["order_id"] for w in written}) == len({w["order_ref"] for w in written}) == 1
    prices = [w["limit_price"] for w in written]
    assert len(prices) > 1 and prices == sorted(prices), "toward the ask, step by step"
    assert [Decimal(e["details"]["limit_price"]) for e in events(shop, "repricing")] == prices[1:]
    (order,) = shop.orders()
    assert order["routing"] == "limit_patience" and "daily volume" in order["routing_reason"]
    with shop.ledger.transaction() as tx:
        fills = tx.query("SELECT order_price, price FROM executed_trades")
        reviews = tx.query("SELECT approved FROM risk_decisions")
    assert {f["order_price"] for f in fills} <= set(prices)
    assert all(f["price"] <= f["order_price"] for f in fills), "against the limit in force"
    assert len(reviews) == len(prices), "the gate has judged every price"
    shop.assert_books_agree()


def test_what_is_left_of_a_patient_order_is_cancelled_and_said(shop: Shop) -> None:
    shop.plan(("THIN", "BUY", 3_000, 3_000))
    report = shop.run(**PATIENT)
    (outcome,) = report.orders
    assert outcome.state == "cancelled" and 0 <= outcome.filled < 3_000
    assert f"THIN: {outcome.filled} of 3000 shares filled in time, rest cancelled" in report.notes
    (theirs,) = shop.truth()["orders"]
    assert (theirs["status"], theirs["filled"]) == ("Cancelled", outcome.filled)
    shop.assert_books_agree()


def test_twap_slices_one_after_another_and_the_sum_is_the_intention(shop: Shop) -> None:
    shop.plan(("ALFA", "BUY", 301, 301))
    report = shop.run(**SLICED, **{k: v for k, v in PATIENT.items() if k != "routing"})
    orders = shop.orders()
    assert [o["slice"] for o in orders] == sorted({o["slice"] for o in orders})
    assert len(orders) > 1 and {o["routing"] for o in orders} == {"twap"}
    filled = sum(o.filled for o in report.orders)
    assert filled == 301 or f"{filled} of 301 shares" in " ".join(report.notes)
    assert len({o["arrival_price"] for o in orders}) == 1, "slippage is against the row's arrival"
    ends = []
    for order in orders:
        assert all(order["arrival_at"] >= end for end in ends), "slices never overlap"
        ends.append(order["events"][-1]["occurred_at"])
    shop.assert_books_agree()


def test_no_slice_takes_more_than_its_share_of_the_volume(shop: Shop) -> None:
    """THIN trades 30,000 shares a minute's data of the workshop says so; the facts say less."""
    shop.plan(("THIN", "BUY", 400, 400))
    market = shop.market()
    facts = market["THIN"]
    adv = 39_000.0
    with shop.broker() as broker:
        manager = shop.manager(broker, **SLICED, max_participation=0.1)
        manager.execute(shop_session(shop), {**market, "THIN": replace_adv(facts, adv)})
    most = int(adv * 3 / 390 * 0.1)
    quantities = [o["quantity"] for o in shop.orders()]
    assert quantities and max(quantities) <= most


def shop_session(shop: Shop) -> Any:
    return shop.calendar.next(NEXT, -1)


def replace_adv(facts: Any, adv: float) -> Any:
    import dataclasses

    return dataclasses.replace(facts, adv=adv)


@pytest.mark.parametrize("settings", [PATIENT, {**PATIENT, **SLICED}], ids=["patience", "twap"])
@pytest.mark.parametrize("nth", [3, 5, 8])
def test_a_run_that_dies_is_gone_on_with(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], nth: int
) -> None:
    shop.plan(("ALFA", "BUY", 301, 301), ("THIN", "BUY", 500, 500))
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        interrupt(patch, Follower, "collect", nth)
        shop.run(run_id="dies", **settings)
    before = shop.placed()
    report = shop.run(run_id="goes on", **settings)
    assert shop.placed()[: len(before)] == before
    assert len(set(shop.placed())) == len(shop.placed()), "no order twice"
    per_row: dict[str, int] = {}
    for order in report.orders:
        assert order.state in ("filled", "cancelled")
        per_row[order.symbol] = per_row.get(order.symbol, 0) + order.filled
    assert per_row["ALFA"] <= 301 and per_row["THIN"] <= 500
    if settings is PATIENT:
        assert len(shop.placed()) == 2, "one order for each row"
    shop.assert_books_agree()


def test_a_price_that_was_announced_but_never_written_is_written_by_the_next_run(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.plan(("DEEP", "BUY", 300, 300))
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        interrupt(patch, BrokerGateway, "modify", 1)
        shop.run(run_id="dies", **PATIENT, rest_at="near_touch")
    announced = Decimal(events(shop, "repricing")[0]["details"]["limit_price"])
    (resting,) = shop.truth()["orders"]
    assert Decimal(str(resting["limit"])) < announced
    written = places(monkeypatch)
    report = shop.run(run_id="goes on", **PATIENT, rest_at="near_touch")
    assert written and written[0]["order_ref"] == resting["order_ref"]
    assert report.orders[0].state == "filled"
    shop.assert_books_agree()


def test_a_price_that_the_gate_denies_leaves_the_order_where_it_is(shop: Shop) -> None:
    shop.plan(("DEEP", "BUY", 300, 300))
    limits = RiskLimits(max_quote_age_s=60)
    with shop.broker(limits) as broker:
        manager = shop.manager(broker, **PATIENT, rest_at="near_touch")
        review = manager.reviewer.review_change

        def stale(order: Any, quote: Any, *rest: Any) -> Any:
            return review(order, quote.__class__(**{**vars(quote), "at": None}), *rest)

        manager.reviewer.review_change = stale  # type: ignore[method-assign]
        report = manager.execute(shop_session(shop), shop.market())
    assert any("stale_quote" in note and "stays at" in note for note in report.notes)
    assert not events(shop, "repricing")
    (theirs,) = shop.truth()["orders"]
    assert theirs["status"] in ("Cancelled", "Filled")
    shop.assert_books_agree()


@pytest.mark.parametrize("settings", [PATIENT, {**PATIENT, **SLICED}], ids=["patience", "twap"])
def test_the_kill_switch_in_the_middle_cancels_and_nothing_is_sent_after_it(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    shop.plan(("THIN", "BUY", 3_000, 3_000), ("ALFA", "BUY", 301, 301))
    written = places(monkeypatch)
    wait, after = shop.clock.wait_until, []

    def wait_then_halt(instant: Any) -> None:
        wait(instant)
        if written and not shop.control.kill_switch:
            shop.control.set_kill_switch(True, "a test")
            after.append(len(written))

    shop.clock.wait_until = wait_then_halt  # type: ignore[method-assign]
    report = shop.run(**settings)
    assert after and len(written) == after[0], "nothing is written once it is on"
    assert any("kill switch" in note for note in report.notes)
    assert all(o["status"] in ("Cancelled", "Filled") for o in shop.truth()["orders"])
    shop.assert_books_agree()


def test_the_kill_switch_between_review_and_send(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gate asks once more when the approval is used: not even the first byte goes out."""
    shop.plan(("ALFA", "BUY", 300, 300), ("BETA", "BUY", 100, 100))
    submit, written = BrokerGateway.submit, places(monkeypatch)

    def halt_first(self: BrokerGateway, *args: Any) -> None:
        shop.control.set_kill_switch(True, "a test")
        submit(self, *args)

    monkeypatch.setattr(BrokerGateway, "submit", halt_first)
    report = shop.run()
    assert not written and not shop.placed() and not report.sent
    assert {o.state for o in report.orders} == {"never_sent"}


def test_an_order_is_worked_no_longer_than_it_says(shop: Shop) -> None:
    shop.plan(("THIN", "BUY", 3_000, 3_000))
    shop.run(**PATIENT, work_minutes=6)
    (order,) = shop.orders()
    cancelled = next(e for e in order["events"] if e["event"] == "cancel_requested")
    worked = cancelled["occurred_at"] - order["arrival_at"]
    assert worked == timedelta(minutes=6)
