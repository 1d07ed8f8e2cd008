"""Messages lost and made up on the way from a gateway, beyond what its fault menu has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from hydra_pipelines.execution.broker.messages import BrokerError
from hydra_pipelines.execution.orders.manager import StateUnknown
from hydra_pipelines_tests.execution.orders.proxy import (
    COMMISSION,
    EXECUTION,
    OPEN_ORDER,
    STATUS,
    TIME,
    Meddle,
    Message,
    Proxy,
    error,
)
from hydra_pipelines_tests.execution.orders.workshop import SESSION, Shop

PLAN = (("ALFA", "BUY", 300, 300), ("THIN", "BUY", 30, 30))


def run_through(shop: Shop, proxy: Proxy):
    with shop.broker(port=proxy.port, request_timeout_s=1) as broker:
        return shop.manager(broker).execute(SESSION, shop.market())


def live(message: Message) -> bool:
    """An execution as it happens, not as part of a reply."""
    return message[0] == EXECUTION and message[1] == "-1"


def no_word_but_executions(_: Proxy, message: Message) -> Sequence[Message]:
    return [] if message[0] in (STATUS, OPEN_ORDER) else [message]


def no_live_executions(_: Proxy, message: Message) -> Sequence[Message]:
    return [] if live(message) else [message]


def false_cancellation(proxy: Proxy, message: Message) -> Sequence[Message]:
    """The first status of an order says Cancelled; the order works on."""
    if message[0] == STATUS and not proxy.state.get(message[1]):
        proxy.state[message[1]] = 1
        return [[*message[:2], "Cancelled", *message[3:]]]
    return [message]


def outage(code: int | None) -> Meddle:
    """After the first fill IB is lost; what happens meanwhile is never told; then it is back.

    code: 1101 or 1102, or None where it never comes back.
    """

    def meddle(proxy: Proxy, message: Message) -> Sequence[Message]:
        said = [message]
        if "lost" not in proxy.state:
            if live(message):
                proxy.state["lost"] = 0
                said.append(error(1100))
        elif "back" not in proxy.state:
            proxy.state["lost"] += message[0] == TIME
            if message[0] in (STATUS, OPEN_ORDER, EXECUTION, COMMISSION):
                return []
            if code and proxy.state["lost"] > 12:
                proxy.state["back"] = 1
                said.insert(0, error(code))
        return said

    return meddle


@pytest.mark.parametrize(
    "meddle",
    [no_word_but_executions, no_live_executions],
    ids=lambda m: m.__name__,
)
def test_the_books_agree_all_the_same(shop: Shop, meddle: Meddle):
    shop.plan(*PLAN)
    with Proxy(shop.venue.port, meddle) as proxy:
        report = run_through(shop, proxy)
        assert proxy.orders == 2
    assert {o.symbol: o.filled for o in report.orders} == {"ALFA": 300, "THIN": 30}
    assert {o.state for o in report.orders} == {"filled"}
    assert Counter(o["symbol"] for o in shop.truth()["orders"]) == {"ALFA": 1, "THIN": 1}
    shop.assert_books_agree()


@pytest.mark.parametrize("code", [1101, 1102])
def test_fills_during_an_outage_are_asked_for_after_it(shop: Shop, code: int):
    shop.plan(("THIN", "BUY", 60, 60))
    with Proxy(shop.venue.port, outage(code)) as proxy:
        report = run_through(shop, proxy)
        assert proxy.state["back"]
    assert [(o.state, o.filled) for o in report.orders] == [("filled", 60)]
    assert len(shop.fills()) > 2
    (order,) = shop.orders()
    assert "cancel_requested" not in {e["event"] for e in order["events"]}, "asked at once"
    shop.assert_books_agree()


def test_an_outage_that_does_not_end_leaves_the_order_in_doubt_for_the_next_run(shop: Shop):
    shop.plan(("THIN", "BUY", 60, 60))
    with Proxy(shop.venue.port, outage(None)) as proxy, pytest.raises(StateUnknown, match="1100"):
        run_through(shop, proxy)
    (order,) = shop.orders()
    kinds = [e["event"] for e in order["events"]]
    assert kinds[-1] == "unknown"
    report = shop.run()
    assert report.sent == 0
    assert [(o.state, o.filled) for o in report.orders] == [("filled", 60)]
    shop.assert_books_agree()


def test_more_shares_than_were_ordered_are_journalled_and_said(shop: Shop):
    shop.plan(("ALFA", "BUY", 300, 300))

    def one_too_many(_: Proxy, message: Message) -> Sequence[Message]:
        if live(message):
            more = list(message)
            more[14] = "00000007.0000ffff.01.01"
            return [message, more]
        return [message]

    with Proxy(shop.venue.port, one_too_many) as proxy:
        report = run_through(shop, proxy)
    assert [(o.state, o.filled) for o in report.orders] == [("filled", 600)]
    assert "ALFA: 600 shares filled of 300 ordered" in report.notes
    assert sum(f["quantity"] for f in shop.fills()) == 600


def test_commissions_that_never_come_are_said_and_come_later(shop: Shop):
    shop.plan(*PLAN)

    def lose(_: Proxy, message: Message) -> Sequence[Message]:
        return [] if message[0] == COMMISSION else [message]

    with Proxy(shop.venue.port, lose) as proxy:
        report = run_through(shop, proxy)
    assert report.notes == (f"{len(shop.fills())} fills have no commission yet",)
    assert {f["commission"] for f in shop.fills()} == {None}
    shop.run()
    shop.assert_books_agree()


def test_an_order_that_was_called_cancelled_is_not_left_working(shop: Shop):
    shop.plan(*PLAN)
    with Proxy(shop.venue.port, false_cancellation) as proxy:
        run_through(shop, proxy)
    truth = shop.truth()
    assert all(o["status"] in ("Filled", "Cancelled") for o in truth["orders"])
    assert len(truth["orders"]) == 2
    shop.assert_books_agree()


@pytest.mark.parametrize("nth", [1, 2])
def test_a_wire_cut_right_after_an_order_was_read(shop: Shop, nth: int):
    shop.plan(*PLAN)

    def cut(proxy: Proxy, orders: int) -> None:
        if orders == nth:
            proxy.cut()

    with Proxy(shop.venue.port, after_order=cut) as proxy, pytest.raises(BrokerError):
        run_through(shop, proxy)
    report = shop.run()
    assert not report.unknown
    assert Counter(o["symbol"] for o in shop.truth()["orders"]) == {"ALFA": 1, "THIN": 1}
    held = {p["symbol"]: p["quantity"] for p in shop.truth()["positions"]}
    assert held == {"ALFA": 300, "THIN": 30}
    shop.assert_books_agree()


@pytest.mark.parametrize("marker", ["53", "102", "55", "62"])
def test_a_lost_end_marker_stops_everything(shop: Shop, marker: str):
    shop.plan(*PLAN)

    def lose(_: Proxy, message: Message) -> Sequence[Message]:
        return [] if message[0] == marker else [message]

    with (
        Proxy(shop.venue.port, lose) as proxy,
        shop.broker(port=proxy.port, request_timeout_s=0.3) as broker,
        pytest.raises(StateUnknown, match="no complete reply"),
    ):
        shop.manager(broker).execute(SESSION, shop.market())
    assert shop.gateway.messages()["count"] == 0


def test_no_order_is_sent_while_ib_is_lost(shop: Shop):
    shop.plan(*PLAN)

    def lost(proxy: Proxy, message: Message) -> Sequence[Message]:
        # 57: a quote is complete. The state was known a moment ago.
        return [message, error(1100)] if message[0] == "57" else [message]

    with (
        Proxy(shop.venue.port, lost) as proxy,
        shop.broker(port=proxy.port, request_timeout_s=2) as broker,
        pytest.raises(BrokerError, match="1100"),
    ):
        shop.manager(broker).execute(SESSION, shop.market())
    assert shop.gateway.messages()["count"] == 0
    assert shop.run().sent == 2
    shop.assert_books_agree()
