"""What is asked and what is made of the answer: complete and known, or unknown with a reason."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from hydra_pipelines.execution.broker.gateway import BrokerGateway
from hydra_pipelines.execution.broker.messages import BrokerError, Known, Unknown
from hydra_pipelines_tests.execution.broker.scripted import (
    AAPL,
    ACCOUNT,
    ACCOUNT_UPDATES,
    ALL_OPEN,
    COMPLETED,
    CONTRACT,
    EXECUTIONS,
    MARKET_DATA,
    POSITIONS,
    TIME,
    Server,
    commission,
    error,
    execution,
    gateway,
    position,
    tick,
)

ASK: dict[int, Callable[[BrokerGateway], Any]] = {
    POSITIONS: lambda b: b.positions(),
    ALL_OPEN: lambda b: b.open_orders(),
    COMPLETED: lambda b: b.completed_orders(),
    EXECUTIONS: lambda b: b.executions(),
    ACCOUNT_UPDATES: lambda b: b.account(),
    CONTRACT: lambda b: b.contract("AAPL"),
    MARKET_DATA: lambda b: b.quotes([AAPL])["AAPL"],
}
PARTS = {
    POSITIONS: lambda f: [position(5)],
    EXECUTIONS: lambda f: [execution("a.1.01", request_id=f[2])],
    ACCOUNT_UPDATES: lambda f: [(6, 2, "NetLiquidation", "1", "USD", ACCOUNT)],
    MARKET_DATA: lambda f: [tick(f[2], 1, 10)],
}


@pytest.mark.parametrize("request_kind", ASK)
def test_a_reply_without_its_end_is_unknown_and_never_empty(request_kind: int):
    with Server() as server, gateway(server, request_timeout_s=0.15) as broker:
        server.answers[request_kind] = PARTS.get(request_kind, lambda f: [])
        reply = ASK[request_kind](broker)
        assert isinstance(reply, Unknown)
        assert "0.15 s" in reply.reason or "no quote" in reply.reason
        if request_kind in (POSITIONS, ALL_OPEN, COMPLETED, EXECUTIONS):
            assert isinstance(broker.state(), Unknown)
            assert broker.doubt


@pytest.mark.parametrize("request_kind", ASK)
def test_a_connection_that_ends_in_the_middle_is_unknown_at_once(request_kind: int):
    with Server() as server, gateway(server, request_timeout_s=60) as broker:

        def hang_up(_: list[str]) -> list[Any]:
            server.drop()
            return []

        server.answers[request_kind] = hang_up
        reply = ASK[request_kind](broker)
        assert isinstance(reply, Unknown)
        assert "clos" in reply.reason or "lost" in reply.reason
        assert isinstance(ASK[POSITIONS](broker), Unknown)


def test_nothing_held_is_known_where_the_reply_is_complete():
    with Server() as server, gateway(server) as broker:
        assert broker.positions() == Known(())
        assert broker.open_orders() == Known(())
        assert broker.executions() == Known(())
        state = broker.state()
        assert isinstance(state, Known)
        assert state.value.held == {}


@pytest.mark.parametrize(
    "bad",
    [
        (61, 3, ACCOUNT, "not a number"),
        position("many"),
        position("1.5"),
        (61, 3, ACCOUNT),
        ("what", "is", "this"),
        (9999, 1),
    ],
)
def test_a_message_that_cannot_be_read_is_a_failure_at_once_and_from_then_on(bad: Any):
    with Server() as server, gateway(server, request_timeout_s=60) as broker:
        server.answers[POSITIONS] = lambda f: [bad]
        reply = broker.positions()
        assert isinstance(reply, Unknown)
        assert "could not read a message" in reply.reason
        with pytest.raises(BrokerError, match="could not read"):
            broker.broker_time()


def test_a_position_that_changes_while_it_is_listed_counts_once():
    with Server() as server, gateway(server) as broker:
        server.answers[POSITIONS] = lambda f: [
            position(5), position(3, con_id=2, symbol="MSFT"), position(7),
            position(0, con_id=2, symbol="MSFT"), (62, 1),
        ]  # fmt: skip
        reply = broker.positions()
        assert isinstance(reply, Known)
        assert [(p.symbol, p.quantity) for p in reply.value] == [("AAPL", 7)]
        server.answers[POSITIONS] = lambda f: [(62, 1)]
        assert broker.positions() == Known(())


def test_positions_and_executions_of_other_accounts_are_not_ours():
    with Server() as server, gateway(server) as broker:
        server.answers[POSITIONS] = lambda f: [
            (61, 3, "DU8", *position(9)[3:]), position(5), (62, 1),
        ]  # fmt: skip
        reply = broker.positions()
        assert isinstance(reply, Known)
        assert [p.quantity for p in reply.value] == [5]
        server.answers[EXECUTIONS] = lambda f: [
            execution("a.1.01", request_id=f[2], account="DU8"), (55, 1, f[2]),
        ]  # fmt: skip
        assert broker.executions() == Known(())


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([], "no NetLiquidation"),
        ([("NetLiquidation", "1", "EUR"), ("TotalCashValue", "1", "EUR")], "no NetLiquidation"),
        ([("NetLiquidation", "1", "USD")], "no TotalCashValue"),
        (
            [("AccountReady", "false", ""), ("NetLiquidation", "1", "USD"),
             ("TotalCashValue", "1", "USD")],
            "not ready",
        ),
    ],
)  # fmt: skip
def test_an_account_that_is_not_complete_is_unknown(values: Any, says: str):
    with Server() as server, gateway(server) as broker:
        server.answers[ACCOUNT_UPDATES] = lambda f: [
            *((6, 2, *value, ACCOUNT) for value in values), (54, 1, ACCOUNT),
        ]  # fmt: skip
        reply = broker.account()
        assert isinstance(reply, Unknown)
        assert says in reply.reason


# executions and commissions


@pytest.mark.parametrize(
    ("written", "zone"),
    [
        ("20190103  10:00:00", "America/New_York"),
        ("20190103 10:00:00 America/New_York", "Europe/Zurich"),
        ("20190103 15:00:00 UTC", "America/New_York"),
        ("20190103-15:00:00", "UTC"),
        ("20190103  16:00:00", "Europe/Zurich"),
    ],
)
def test_times_of_executions_with_and_without_a_zone(written: str, zone: str):
    with Server() as server, gateway(server, zone=zone) as broker:
        server.answers[EXECUTIONS] = lambda f: [
            execution("a.1.01", request_id=f[2], when=written), (55, 1, f[2]),
        ]  # fmt: skip
        reply = broker.executions()
        assert isinstance(reply, Known)
        assert reply.value[0].executed_at == datetime(2019, 1, 3, 15, tzinfo=UTC)


def test_commissions_come_with_the_reply_after_it_or_never():
    with Server() as server, gateway(server) as broker:
        server.answers[EXECUTIONS] = lambda f: [
            execution("a.1.01", request_id=f[2]), commission("a.1.01", "1.00"),
            execution("a.2.01", request_id=f[2]),
            execution("a.3.01", request_id=f[2]), (55, 1, f[2]),
            commission("a.2.01", "1.25"), commission("a.3.01", "1.7976931348623157E308"),
        ]  # fmt: skip
        reply = broker.executions()
        assert isinstance(reply, Known)
        assert [e.commission for e in reply.value] == [Decimal("1.0"), Decimal("1.25"), None]


def test_a_correction_has_the_key_of_what_it_corrects():
    with Server() as server, gateway(server) as broker:
        server.say(execution("00a1.0001.01.01", 100), execution("00a1.0001.01.02", 90))
        broker.broker_time()
        first, second = broker.happenings(datetime.now(UTC)).executions
        assert (first.key, first.correction, first.quantity) == ("00a1.0001.01", 1, 100)
        assert (second.key, second.correction, second.quantity) == ("00a1.0001.01", 2, 90)


# quotes


def quote_of(server: Server, *ticks: Callable[[str], Any], **changes: Any) -> Any:
    server.answers[MARKET_DATA] = lambda f: [t(f[2]) for t in ticks]
    with gateway(server, **changes) as broker:
        return broker.quotes([AAPL])["AAPL"]


def end(request_id: str) -> Any:
    return (57, 1, request_id)


@pytest.mark.parametrize("nothing", ["-1", "0", "nan", "-1.0", "Infinity"])
def test_what_is_not_a_price_is_no_price(nothing: str):
    with Server() as server:
        reply = quote_of(server, *[lambda r, k=k: tick(r, k, nothing) for k in (1, 2, 4, 9)], end)
    assert isinstance(reply, Known)
    quote = reply.value
    assert (quote.bid, quote.ask, quote.last, quote.close, quote.mid) == (None,) * 5


def test_live_quotes_are_of_now():
    with Server() as server:
        before = datetime.now(UTC)
        reply = quote_of(server, lambda r: tick(r, 1, 10), lambda r: tick(r, 2, "10.02"), end)
    assert isinstance(reply, Known)
    assert (reply.value.bid, reply.value.ask, reply.value.mid) == (
        Decimal("10.0"), Decimal("10.02"), Decimal("10.01"),
    )  # fmt: skip
    assert reply.value.kind == "live"
    assert before <= reply.value.at <= datetime.now(UTC)


def test_delayed_quotes_say_so_and_are_fifteen_minutes_old():
    with Server() as server:
        reply = quote_of(
            server,
            lambda r: error(int(r), 10167, "Displaying delayed market data."),
            lambda r: (58, 1, r, 3),
            lambda r: tick(r, 66, 10), lambda r: tick(r, 67, "10.02"),
            lambda r: tick(r, 68, "10.01"), lambda r: tick(r, 75, "9.9"),
            end,
        )  # fmt: skip
    assert isinstance(reply, Known)
    quote = reply.value
    assert (quote.kind, quote.bid, quote.ask) == ("delayed", Decimal("10.0"), Decimal("10.02"))
    assert (quote.last, quote.close) == (Decimal("10.01"), Decimal("9.9"))
    assert quote.at is not None
    assert timedelta(minutes=14) < datetime.now(UTC) - quote.at < timedelta(minutes=16)


@pytest.mark.parametrize(("number", "kind"), [(2, "frozen"), (4, "delayed_frozen")])
def test_frozen_quotes_are_as_old_as_their_last_trade(number: int, kind: str):
    traded = datetime(2019, 1, 2, 21, tzinfo=UTC)
    stamp = {2: 45, 4: 88}[number]
    with Server() as server:
        market = lambda r: (58, 1, r, number)  # noqa: E731
        trade = lambda r: (46, 6, r, stamp, int(traded.timestamp()))  # noqa: E731
        timed = quote_of(server, market, lambda r: tick(r, 1, 10), trade, end)
        untimed = quote_of(server, market, lambda r: tick(r, 1, 10), end)
    assert isinstance(timed, Known) and isinstance(untimed, Known)
    assert (timed.value.kind, timed.value.at) == (kind, traded)
    assert untimed.value.at is None


@pytest.mark.parametrize("code", [200, 354, 10168, 10197, 321])
def test_a_refused_quote_is_unknown_at_once_with_the_reason(code: int):
    with Server() as server:
        reply = quote_of(server, lambda r: error(int(r), code, "not for you"), request_timeout_s=60)
    assert isinstance(reply, Unknown)
    assert reply.reason == f"{code}: not for you"


def test_one_refused_quote_does_not_take_the_others_with_it():
    with Server() as server:
        server.answers[MARKET_DATA] = lambda f: (
            [error(int(f[1 + 1]), 354)] if f[4] == "MSFT" else [tick(f[2], 1, 10), (57, 1, f[2])]
        )
        with gateway(server) as broker:
            msft = type(AAPL)(**{**vars(AAPL), "symbol": "MSFT", "con_id": 2})
            replies = broker.quotes([AAPL, msft])
    assert isinstance(replies["AAPL"], Known)
    assert isinstance(replies["MSFT"], Unknown)


def test_more_quotes_than_the_pace_allows_are_waited_for():
    """The library holds messages back beyond 45 a second; the time-out counts from the last."""
    with Server() as server, gateway(server, request_timeout_s=0.5) as broker:
        many = [type(AAPL)(**{**vars(AAPL), "symbol": f"S{i}", "con_id": i}) for i in range(60)]
        replies = broker.quotes(many)
        assert len(replies) == 60
        assert all(isinstance(reply, Known) for reply in replies.values())


@pytest.mark.parametrize(("found", "says"), [(0, "knows 0"), (2, "knows 2")])
def test_a_contract_has_to_be_the_only_one(found: int, says: str):
    def details(f: list[str]) -> list[Any]:
        row = (
            10, f[2], "AAPL", "STK", "", 0, "", "SMART", "USD", "AAPL", "NMS", "NMS", 265598,
            "0.01", "", "LMT", "SMART", 1, 0, "APPLE", "NASDAQ", "", "", "", "", "", "", "", "",
            "", 0, 1, "", "", "26", "", "COMMON", 1, 1, 100,
        )  # fmt: skip
        return [*[row] * found, (52, 1, f[2])]

    with Server() as server, gateway(server) as broker:
        server.answers[CONTRACT] = details
        reply = broker.contract("AAPL")
        assert isinstance(reply, Unknown)
        assert says in reply.reason


def test_time_is_asked_over_the_wire():
    with Server() as server, gateway(server) as broker:
        broker.broker_time()
        assert len(server.of(TIME)) == 1
