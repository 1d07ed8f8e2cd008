"""The wire against an unmodified client's own encoder and decoder, for each server version."""

from __future__ import annotations

import logging
import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ib_insync import (
    IB,
    ComboLeg,
    Contract,
    ExecutionCondition,
    MarginCondition,
    Order,
    OrderComboLeg,
    PercentChangeCondition,
    PriceCondition,
    TagValue,
    TimeCondition,
    VolumeCondition,
)
from ib_insync.client import Client
from ib_insync.decoder import Decoder

from hydra_pipelines.paper_gateway import book, order_replies, requests
from hydra_pipelines.paper_gateway.book import Execution
from hydra_pipelines.paper_gateway.wire import (
    Fields,
    FrameReader,
    ProtocolError,
    decode,
    execution_time,
    frame,
    parse_time,
)

VERSIONS = (157, 158, 160, 162, 166, 169, 170, 176)
NOW = datetime(2019, 1, 3, 15, 0, tzinfo=UTC)


def sent(version: int, contract: Contract, order: Order) -> list[str]:
    """The fields of a placeOrder message as the client encodes it."""
    client = Client(IB().wrapper)
    client.connState = Client.CONNECTED
    client._serverVersion = version
    captured: list[str] = []
    client.sendMsg = captured.append  # type: ignore[method-assign]
    client.placeOrder(11, contract, order)
    return captured[0].split("\0")[:-1]


words = st.text(alphabet="abcXYZ019./-_ ", max_size=12)
prices = st.sampled_from([0.0, 0.0001, 1.5, 101.25, 1.7976931348623157e308])
conditions = st.lists(
    st.sampled_from(
        [
            PriceCondition(price=10.5, conId=7, exch="SMART"),
            TimeCondition(time="20190103 10:00:00"),
            MarginCondition(percent=30),
            ExecutionCondition(secType="STK", exch="SMART", symbol="ALFA"),
            VolumeCondition(volume=100, conId=7, exch="SMART"),
            PercentChangeCondition(changePercent=1.5, conId=7, exch="SMART"),
        ]
    ),
    max_size=4,
)
tags = st.lists(st.builds(TagValue, words, words), max_size=3)
orders = st.builds(
    Order,
    action=st.sampled_from(["BUY", "SELL"]),
    totalQuantity=st.sampled_from([1.0, 100.0, 2.5]),
    orderType=st.sampled_from(["LMT", "MKT", "PEG BENCH", "PEG BEST", "PEG MID"]),
    lmtPrice=prices,
    tif=st.sampled_from(["", "DAY", "GTC"]),
    orderRef=words,
    account=words,
    minQty=st.sampled_from([5, 2147483647]),
    deltaNeutralOrderType=st.sampled_from(["", "LMT"]),
    scalePriceIncrement=prices,
    hedgeType=st.sampled_from(["", "D"]),
    algoStrategy=st.sampled_from(["", "Twap"]),
    algoParams=tags,
    conditions=conditions,
    smartComboRoutingParams=tags,
    orderComboLegs=st.lists(st.builds(OrderComboLeg, prices), max_size=2),
    competeAgainstBestOffset=st.sampled_from([0.1, math.inf]),
    duration=st.sampled_from([10, 2147483647]),
)
contracts = st.builds(
    Contract,
    secType=st.sampled_from(["STK", "BAG"]),
    conId=st.integers(0, 2**31 - 1),
    symbol=words,
    exchange=st.sampled_from(["SMART", "IBKRATS"]),
    currency=st.just("USD"),
    comboLegs=st.lists(st.builds(ComboLeg, conId=st.just(3)), max_size=3),
)


@settings(max_examples=200, deadline=None)
@given(contracts, orders, st.sampled_from(VERSIONS))
def test_place_order_is_walked_whole(contract: Contract, order: Order, version: int) -> None:
    fields = sent(version, contract, order)
    assert fields[0] == "3"
    read = requests.place_order(Fields(fields[1:]), version)
    assert read.order_id == 11
    assert (read.contract.con_id, read.contract.symbol) == (contract.conId, contract.symbol)
    walked = read.order
    assert walked["action"] == order.action and walked["orderType"] == order.orderType
    assert walked["tif"] == order.tif and walked["orderRef"] == order.orderRef
    assert len(walked["conditions"]) == len(order.conditions)
    assert walked["algoStrategy"] == order.algoStrategy
    if order.algoStrategy:
        assert walked["algoParams"] == [[p.tag, p.value] for p in order.algoParams]
    assert walked["usePriceMgmtAlgo"] == "0"
    if version >= 162:
        assert walked["autoCancelParent"] == "0"
    with pytest.raises(ProtocolError):
        requests.place_order(Fields([*fields[1:], "1"]), version)
    with pytest.raises(ProtocolError):
        requests.place_order(Fields(fields[1:-1]), version)


def an_order(**more: Any) -> book.Order:
    values: dict[str, Any] = dict(
        perm_id=1_100_000_001, client_id=5, order_id=11, con_id=7, symbol="ALFA", action="BUY",
        quantity=100, limit=101_2500, tif="DAY", order_ref="2019/ALFA/1", placed_at=NOW,
        expires=None,
    )  # fmt: skip
    return book.Order(**(values | more))


class Heard:
    """Stands where the client's wrapper is and keeps what the decoder makes of a message."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.ib = IB()

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self.calls.append((name, arguments))


def heard(version: int, message: Any, caplog: pytest.LogCaptureFixture) -> tuple[Any, ...]:
    """What the client's decoder passes on; fails the test for anything it can't decode."""
    (payload,) = FrameReader().feed(frame(message))
    wrapper = Heard()
    with caplog.at_level(logging.WARNING):
        Decoder(wrapper, version).interpret(decode(payload))  # type: ignore[arg-type]
    assert caplog.records == []
    ((_, arguments),) = wrapper.calls
    return arguments


@pytest.mark.parametrize("version", VERSIONS)
def test_orders_come_back_as_sent(version: int, caplog: pytest.LogCaptureFixture) -> None:
    order = an_order(status="Submitted", filled=40, notional=40 * 101_2500)
    message = order_replies.open_order(order, "DU1", 105, version)
    order_id, contract, back, state = heard(version, message, caplog)
    assert (order_id, contract.conId, contract.symbol) == (11, 7, "ALFA")
    assert back.orderRef == "2019/ALFA/1" and back.account == "DU1" and back.clientId == 5
    assert (back.totalQuantity, back.lmtPrice, back.tif) == (100, 101.25, "DAY")
    assert back.permId == 1_100_000_001 and back.deltaNeutralOrderType == "None"
    assert (state.status, state.commission, state.commissionCurrency) == ("Submitted", 1.05, "USD")
    assert back.whatIf is False and back.conditions == [] and back.algoStrategy == ""

    done = an_order(status="Filled", filled=100, notional=100 * 101_2500, done_at=NOW)
    message = order_replies.completed_order(done, "DU1", version)
    contract, back, state = heard(version, message, caplog)
    assert (back.totalQuantity, back.filledQuantity) == (0, 100)
    assert back.orderRef == "2019/ALFA/1" and back.permId == 1_100_000_001
    assert (state.status, state.completedStatus) == ("Filled", "Filled Size: 100")
    assert state.completedTime == "20190103 10:00:00 America/New_York"


@pytest.mark.parametrize(("version", "open_order", "completed"), [(157, 128, 96), (176, 136, 101)])
def test_field_counts(version: int, open_order: int, completed: int) -> None:
    order = an_order(done_at=NOW)
    execution = order.execution(1, "0.1.01.01", NOW, 10, 101_0000, 100, None)
    assert len(order_replies.open_order(order, "DU1", None, version)) == open_order
    assert len(order_replies.completed_order(order, "DU1", version)) == completed
    assert len(order_replies.order_status(order)) == 12
    filled = an_order(filled=10, notional=10 * 101_0000)
    execution = filled.execution(1, "0.1.01.01", NOW, 10, 101_0000, 100, None)
    assert len(order_replies.execution_details(execution, "DU1", version)) == 31
    assert len(order_replies.commission_report(execution)) == 8


@pytest.mark.parametrize("version", [157, 176])
def test_a_fill_is_told_exactly(version: int, caplog: pytest.LogCaptureFixture) -> None:
    order = an_order(filled=10, notional=10 * 101_0000, action="SELL")
    execution: Execution = order.execution(1, "0.1.01.01", NOW, 10, 101_0000, 100, -2500)
    message = order_replies.execution_details(execution, "DU1", version)
    request_id, contract, back = heard(version, message, caplog)
    assert (request_id, contract.symbol, back.side) == (-1, "ALFA", "SLD")
    assert (back.shares, back.price, back.cumQty, back.avgPrice) == (10, 101.0, 10, 101.0)
    assert (back.orderRef, back.execId, back.lastLiquidity) == ("2019/ALFA/1", "0.1.01.01", 2)
    if version == 176:
        assert back.time == NOW
    (report,) = heard(version, order_replies.commission_report(execution), caplog)
    assert (report.commission, report.realizedPNL, report.currency) == (1.0, -0.25, "USD")


@given(st.lists(st.lists(words, min_size=1, max_size=5), max_size=5), st.data())
def test_frames_survive_any_cutting(messages: list[list[str]], data: st.DataObject) -> None:
    stream = b"".join(frame(message) for message in messages)
    reader = FrameReader()
    got = []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        got += [decode(payload) for payload in reader.feed(stream[:cut])]
        stream = stream[cut:]
    assert got == messages


@pytest.mark.parametrize("value", ["1_0", "٣", "1e3", " 1", "99999999999", "--1", "1.5"])
def test_integers_are_read_strictly(value: str) -> None:
    with pytest.raises(ProtocolError, match="expected an integer"):
        Fields([value]).integer()


def test_times_are_read_as_gateways_read_them() -> None:
    assert parse_time(execution_time(NOW, 176)) == NOW
    assert parse_time(execution_time(NOW, 157)) == NOW
    assert execution_time(NOW, 157) == "20190103  10:00:00"
    assert parse_time("20190103-15:00:00") == NOW
    assert parse_time("20190103 16:00:00 Europe/Amsterdam") == NOW
    for bad in ("", "yesterday", "20190103 10:00:00 Nowhere/City", "20191303 10:00:00"):
        with pytest.raises(ProtocolError):
            parse_time(bad)
