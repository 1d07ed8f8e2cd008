"""The order manager against a gateway process: what it sends, records, refuses and says."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from typing import Any

import pytest

from hydra_pipelines.execution.broker.client import TwsClient
from hydra_pipelines.execution.broker.messages import BrokerError
from hydra_pipelines.execution.orders.manager import StateUnknown, WindowPassed
from hydra_pipelines.execution.risk.limits import RiskLimits
from hydra_pipelines.ledger import decisions
from hydra_pipelines.ledger.store import LedgerBusy, exclusive
from hydra_pipelines_tests.execution.orders.workshop import (
    ACCOUNT,
    AFTER,
    NEXT,
    SESSION,
    Shop,
)


def test_sells_first_then_buys_and_the_books_agree(process_shop: Shop):
    shop = process_shop
    shop.plan(("ALFA", "BUY", 300, 300), ("BETA", "BUY", 100, 100))
    first = shop.run()
    assert [(o.symbol, o.state, o.filled) for o in first.orders] == [
        ("ALFA", "filled", 300),
        ("BETA", "filled", 100),
    ]
    assert (first.sent, first.notes, first.execution_session) == (2, (), NEXT)
    shop.assert_books_agree()

    shop.clock.wait_until(shop.calendar.close(NEXT))
    shop.plan(
        ("BETA", "BUY", 50, 150), ("DEEP", "BUY", 100, 100), ("ALFA", "SELL", 200, 100),
        session=NEXT,
    )  # fmt: skip
    second = shop.run(NEXT)
    assert {(o.symbol, o.side, o.state) for o in second.orders} == {
        ("ALFA", "SELL", "filled"),
        ("BETA", "BUY", "filled"),
        ("DEEP", "BUY", "filled"),
    }
    orders = {o["symbol"]: o for o in shop.truth()["orders"][2:]}
    assert orders["ALFA"]["perm_id"] < min(orders[s]["perm_id"] for s in ("BETA", "DEEP"))
    held = {p["symbol"]: p["quantity"] for p in shop.truth()["positions"]}
    assert held == {"ALFA": 100, "BETA": 150, "DEEP": 100}
    shop.assert_books_agree()


def test_an_order_fills_in_parts_and_what_is_left_is_cancelled_and_said(shop: Shop):
    shop.plan(("THIN", "BUY", 2_000, 2_000))
    report = shop.run(work_minutes=5)
    (outcome,) = report.orders
    assert outcome.state == "cancelled"
    assert 0 < outcome.filled < 2_000
    assert report.notes == (
        f"THIN: {outcome.filled} of 2000 shares filled in time, rest cancelled",
    )
    (theirs,) = shop.truth()["orders"]
    assert (theirs["status"], theirs["filled"]) == ("Cancelled", outcome.filled)
    assert len(shop.fills()) > 1
    shop.assert_books_agree()
    (order,) = shop.orders()
    kinds = [e["event"] for e in order["events"]]
    assert kinds[:3] == ["pending", "sending", "submitted"]
    assert kinds[-3:] == ["cancel_requested", "cancelled", "finished"]


def test_what_is_sent_is_in_the_ledger_before_a_byte_is_written(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
):
    shop.plan(("ALFA", "BUY", 300, 300), ("BETA", "BUY", 100, 100))
    seen: list[str] = []
    place = TwsClient.place_limit
    # Another process has to find it: committed, on the disk, and not locked.
    program = (
        "import duckdb, sys\n"
        'rows = duckdb.connect(sys.argv[1]).execute("SELECT i.order_ref, i.limit_price, '
        "string_agg(e.event, ',' ORDER BY e.seq) FROM order_intents i JOIN order_events e "
        'USING (order_ref) GROUP BY ALL ORDER BY 1").fetchall()\n'
        "print(*rows, sep='\\n')"
    )

    def look_first(client: TwsClient, order_id: int, *args: Any, **order: Any) -> None:
        if not seen:
            assert shop.gateway.messages()["count"] == 0
            found = subprocess.run(
                [sys.executable, "-c", program, str(shop.ledger.path)],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            seen.extend(found.stdout.splitlines())
        place(client, order_id, *args, **order)

    monkeypatch.setattr(TwsClient, "place_limit", look_first)
    shop.run()
    assert len(seen) == 2
    assert all("'pending,sending'" in line for line in seen)
    assert "20190102.DU0000001.ALFA.BUY.0.1" in seen[0]


def test_the_same_session_again_sends_nothing(shop: Shop):
    shop.plan(("ALFA", "BUY", 300, 300))
    shop.run()
    before, count = shop.orders(), shop.gateway.messages()["count"]
    again = shop.run()
    assert again.sent == 0
    assert [o.state for o in again.orders] == ["filled"]
    assert shop.orders() == before
    assert shop.gateway.messages()["count"] == count == 1


def test_a_denied_order_is_recorded_with_its_reason_and_not_sent(shop: Shop):
    shop.plan(("ALFA", "BUY", 300, 300))
    shop.control.set_kill_switch(True, "drill")
    report = shop.run()
    assert (report.sent, report.orders) == (0, ())
    assert report.notes == ("ALFA: denied, kill_switch (live quote)",)
    assert shop.gateway.messages()["count"] == 0
    with shop.ledger.transaction() as tx:
        (decision,) = tx.query("SELECT * FROM risk_decisions")
    assert (decision["approved"], decision["reasons"]) == (False, "kill_switch")
    assert shop.orders() == []


def test_limit_prices_stay_within_the_collar_of_the_quote(shop: Shop):
    shop.plan(("ALFA", "BUY", 300, 300))
    shop.run()
    (order,) = shop.orders()
    assert Decimal("1.004") < order["limit_price"] / order["arrival_price"] < Decimal("1.0075")
    (fill,) = shop.fills()
    assert fill["price"] <= order["limit_price"]


def test_a_connection_lost_while_orders_work_is_an_error_and_the_next_run_goes_on(
    home, monkeypatch: pytest.MonkeyPatch
):
    shop = Shop(home)
    shop.plan(("THIN", "BUY", 60, 60), ("ALFA", "BUY", 300, 300))
    with shop.broker() as broker:
        manager = shop.manager(broker)
        collect, calls = manager.follower.collect, 0

        def collect_and_lose(session: Any) -> None:
            nonlocal calls
            calls += 1
            if calls == 3:
                shop.close()
            collect(session)

        monkeypatch.setattr(manager.follower, "collect", collect_and_lose)
        with pytest.raises((BrokerError, OSError, RuntimeError)):
            manager.execute(SESSION, shop.market())
    assert any(o["events"][-1]["event"] != "finished" for o in shop.orders())
    shop = Shop(home)
    report = shop.run()
    assert report.sent == 0
    assert {(o.symbol, o.filled) for o in report.orders} == {("THIN", 60), ("ALFA", 300)}
    assert len(shop.placed()) == 2
    shop.assert_books_agree()
    shop.close()


def test_a_session_that_is_over_is_not_traded_late(shop: Shop):
    shop.plan(("ALFA", "BUY", 300, 300))
    shop.clock.wait_until(shop.calendar.open(AFTER))
    with pytest.raises(WindowPassed, match="2019-01-03, which is over"):
        shop.run()
    assert shop.gateway.messages()["count"] == 0
    with shop.ledger.transaction() as tx:
        plan = decisions.plan(tx, SESSION)
    assert plan is not None and plan["status"] == "expired"
    report = shop.run()
    assert (report.sent, report.orders) == (0, ())


@pytest.mark.parametrize("asked", ["open_orders", "completed_orders", "executions", "positions"])
def test_nothing_is_sent_while_a_reply_is_missing(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, asked: str
):
    def silent(_: TwsClient) -> Any:
        raise BrokerError("no complete reply within 5 s")

    shop.plan(("ALFA", "BUY", 300, 300))
    with monkeypatch.context() as broken:
        broken.setattr(TwsClient, asked, silent)
        with pytest.raises(StateUnknown, match="no complete reply"):
            shop.run()
    assert shop.gateway.messages()["count"] == 0
    assert shop.orders() == []
    if asked == "positions":
        assert shop.run().sent == 1


def test_an_order_in_doubt_freezes_its_symbol_and_nothing_else(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
):
    """The write failed, and the position moved without an execution that would explain it."""

    def fail(*_: Any, **__: Any) -> None:
        raise BrokerError("the connection to the broker was lost")

    shop.plan(("ALFA", "BUY", 300, 300), ("BETA", "BUY", 100, 100))
    with monkeypatch.context() as broken:
        broken.setattr(TwsClient, "place_limit", fail)
        with pytest.raises(BrokerError, match="was lost"):
            shop.run()
    states = {o["symbol"]: o["events"][-1]["event"] for o in shop.orders()}
    assert states["ALFA"] == "unknown", "it was the first: its bytes may have left"
    assert {e["event"] for o in shop.orders() if o["symbol"] == "BETA" for e in o["events"]} == {
        "pending", "sending", "never_sent", "finished",
    }  # fmt: skip
    _trade_by_hand(shop, "ALFA", 7)
    with monkeypatch.context() as forgetful:
        # As a gateway does after midnight.
        forgetful.setattr(TwsClient, "executions", lambda _: [])
        report = shop.run()
        assert shop.run().sent == 0
    assert [o.symbol for o in report.unknown] == ["ALFA"]
    assert any("ALFA" in note and "frozen" in note for note in report.notes)
    assert not [ref for ref in shop.placed() if ".ALFA." in ref]


def test_an_order_that_provably_never_arrived_is_sent_once_more(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: Any, **__: Any) -> None:
        raise BrokerError("the connection to the broker was lost")

    shop.plan(("ALFA", "BUY", 300, 300))
    with monkeypatch.context() as broken:
        broken.setattr(TwsClient, "place_limit", fail)
        with pytest.raises(BrokerError, match="was lost"):
            shop.run()
    report = shop.run()
    assert report.sent == 1
    assert [(o.order_ref.rpartition(".")[2], o.state) for o in report.orders] == [
        ("1", "never_arrived"),
        ("2", "filled"),
    ]
    ids = [o["order_id"] for o in shop.orders()]
    assert len(set(ids)) == 2, "an id is never used twice, not even for an order that got nowhere"
    shop.assert_books_agree()


def test_a_second_writer_is_refused_while_the_first_works(shop: Shop):
    lock = shop.home / "execution.lock"
    with (
        exclusive(lock, 1, "execution"),
        pytest.raises(LedgerBusy, match="execution is held"),
        exclusive(lock, 0.1, "execution"),
    ):
        pass


def test_a_limit_of_the_gate_holds_in_the_whole_wave(shop: Shop):
    shop.plan(("ALFA", "BUY", 300, 300), ("BETA", "BUY", 100, 100), ("DEEP", "BUY", 100, 100))
    with shop.broker(RiskLimits(max_positions=2)) as broker:
        report = shop.manager(broker).execute(SESSION, shop.market())
    assert [o.symbol for o in report.orders] == ["ALFA", "BETA"]
    assert report.notes == ("DEEP: denied, max_positions (live quote)",)
    assert len(shop.placed()) == 2


def _trade_by_hand(shop: Shop, symbol: str, shares: int) -> None:
    """Another client of the account trades, as a person at the broker's own screen would."""
    client = TwsClient(5)
    client.connect(shop.venue.host, shop.venue.port, 99, 4)
    shop.clock.wait_until(shop.calendar.open(NEXT))
    (contract,) = client.contract(symbol)
    client.place_limit(
        client.next_valid_id, contract, side="BUY", quantity=shares, limit_price=Decimal("60.00"),
        tif="DAY", account=ACCOUNT, order_ref="by hand",
    )  # fmt: skip
    client.current_time()
    client.close()
