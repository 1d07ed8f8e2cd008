"""Submitting: only what the gate approved, only when nothing is in doubt, and whose order it is."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from hydra_pipelines.execution.broker.active import MOST_PER_SIDE
from hydra_pipelines.execution.broker.gateway import BrokerGateway, GuardRefused
from hydra_pipelines.execution.broker.messages import BrokerError, Known, NotSubmitted, Unknown
from hydra_pipelines.execution.broker.order_state import Kind
from hydra_pipelines.execution.broker.windows import QuietHours, Window
from hydra_pipelines.execution.risk.gate import ApprovalError, RiskGate
from hydra_pipelines.execution.risk.limits import RiskLimits
from hydra_pipelines_tests.execution.broker.scripted import (
    AAPL,
    ACCOUNT,
    CANCEL,
    PLACE,
    POSITIONS,
    Server,
    approve,
    error,
    execution,
    gateway,
    order,
    status,
    wait_for,
)

AT = datetime(2019, 1, 3, 15, tzinfo=UTC)


def submit(broker: BrokerGateway, order_id: int = 5, **changes: Any) -> None:
    wanted = order(**changes)
    broker.submit(wanted, approve(broker, wanted), order_id, AAPL)


def test_an_order_as_it_is_written():
    with Server() as server, gateway(server) as broker:
        broker.state()
        submit(broker, order_id=41, quantity=30, limit_price=Decimal("10.05"))
        broker.broker_time()
        (written,) = server.of(PLACE)
    assert written[1:4] == ["41", "265598", "AAPL"]
    assert written[written.index("LMT") - 2 : written.index("LMT") + 2] == [
        "BUY", "30", "LMT", "10.05",
    ]  # fmt: skip
    at = written.index("ours")
    assert "DAY" in written[:at]
    assert written[written.index("DAY") : written.index("DAY") + 3] == ["DAY", "", ACCOUNT]
    assert "MKT" not in written


@pytest.mark.parametrize("trick", ["none", "reused", "altered", "another gate", "made up"])
def test_nothing_gets_past_the_gate(trick: str):
    with Server() as server, gateway(server) as broker:
        broker.state()
        wanted = order()
        approval: Any = approve(broker, wanted)
        if trick == "none":
            approval = None
        elif trick == "reused":
            broker.submit(wanted, approval, 5, AAPL)
        elif trick == "altered":
            wanted = dataclasses.replace(wanted, quantity=2)
        elif trick == "another gate":
            broker.gate = RiskGate(RiskLimits())
        elif trick == "made up":
            approval = object.__new__(type(approval))
        with pytest.raises(ApprovalError):
            broker.submit(wanted, approval, 6, AAPL)
        broker.broker_time()
        assert len(server.of(PLACE)) == (1 if trick == "reused" else 0)


def test_nothing_is_submitted_before_the_state_was_asked_for():
    with Server() as server, gateway(server) as broker:
        with pytest.raises(NotSubmitted, match="not been asked for"):
            submit(broker)
        server.answers[POSITIONS] = lambda f: [error(-1, 2104)]
        broker._client._timeout_s = 0.1
        assert isinstance(broker.state(), Unknown)
        with pytest.raises(NotSubmitted, match="not been asked for"):
            submit(broker, order_ref="second")
        assert server.of(PLACE) == []


def test_nothing_is_submitted_or_changed_while_ib_is_lost():
    with Server() as server, gateway(server) as broker:
        assert isinstance(broker.state(), Known)
        server.say(error(-1, 1100, "Connectivity between IB and TWS has been lost."))
        broker.broker_time()
        assert broker.outage == "1100: Connectivity between IB and TWS has been lost."
        with pytest.raises(NotSubmitted, match="has lost IB's servers"):
            submit(broker)
        with pytest.raises(NotSubmitted, match="1100"):
            broker.cancel(5)
        assert isinstance(broker.state(), Unknown)
        assert (server.of(PLACE), server.of(CANCEL)) == ([], [])


@pytest.mark.parametrize("code", [1101, 1102])
def test_after_an_outage_everything_is_asked_again_first(code: int):
    with Server() as server, gateway(server) as broker:
        broker.state()
        server.say(error(-1, 1100), error(-1, code))
        broker.broker_time()
        assert broker.outage is None
        with pytest.raises(NotSubmitted, match="not been asked for since"):
            submit(broker)
        assert isinstance(broker.state(), Known)
        submit(broker, order_ref="second")
        broker.broker_time()
        assert len(server.of(PLACE)) == 1


def test_a_state_that_spans_an_outage_is_unknown():
    with Server() as server, gateway(server) as broker:
        server.answers[POSITIONS] = lambda f: [error(-1, 1100), error(-1, 1102), (62, 1)]
        reply = broker.state()
        assert isinstance(reply, Unknown)
        assert "went and came back" in reply.reason
        assert broker.doubt


def test_nothing_is_submitted_in_a_restart_window():
    night = datetime(2019, 1, 4, 4, 50, tzinfo=UTC)  # 23:50 in New York
    now = night
    quiet = QuietHours((Window.parse("23:40-00:15"),), Window.parse("23:00-03:00"))
    with Server() as server, gateway(server, now=lambda: now, quiet=quiet) as broker:
        broker.state()
        with pytest.raises(NotSubmitted, match="restarts between 23:40-00:15 New York"):
            submit(broker)
        now = AT
        submit(broker, order_ref="second")
        broker.broker_time()
        assert len(server.of(PLACE)) == 1


def test_a_closed_connection_submits_nothing_and_says_so():
    with Server() as server, gateway(server) as broker:
        broker.state()
        server.drop()
        wait_for(lambda: not broker.connected)
        with pytest.raises(NotSubmitted, match="closed"):
            submit(broker)
        assert broker.happenings(AT).closed
        with pytest.raises(BrokerError):
            broker.broker_time()


def test_the_wrong_account_or_contract_is_refused():
    with Server() as server, gateway(server) as broker:
        broker.state()
        with pytest.raises(GuardRefused, match="the order is for DU8"):
            submit(broker, account="DU8")
        msft = order("second", symbol="AAPL")
        other = dataclasses.replace(AAPL, symbol="MSFT")
        with pytest.raises(NotSubmitted, match="MSFT does not belong"):
            broker.submit(msft, approve(broker, msft, ["ours"]), 6, other)
        assert server.of(PLACE) == []


def test_so_many_orders_a_side_and_no_more():
    with Server() as server, gateway(server) as broker:
        broker.state()
        refs: list[str] = []
        for i in range(MOST_PER_SIDE):
            wanted = order(f"r{i}")
            broker.submit(wanted, approve(broker, wanted, refs), 5 + i, AAPL)
            refs.append(wanted.order_ref)
        extra = order("extra")
        with pytest.raises(NotSubmitted, match="20 BUY orders in AAPL work already"):
            broker.submit(extra, approve(broker, extra, refs), 90, AAPL)
        refs.append("extra")
        # One that fills, and one that is cancelled, make room for two.
        server.say(execution("x.1.01", 1, ref="r0"), status(6, "Cancelled", perm_id=78))
        broker.broker_time()
        broker.happenings(AT)
        for i in (1, 2):
            wanted = order(f"more {i}")
            broker.submit(wanted, approve(broker, wanted, refs), 90 + i, AAPL)
            refs.append(wanted.order_ref)
        broker.broker_time()
        assert len(server.of(PLACE)) == MOST_PER_SIDE + 2


def test_what_the_pace_holds_back_is_written_when_submit_returns():
    with Server() as server, gateway(server) as broker:
        broker.state()
        refs: list[str] = []
        for i in range(55):
            wanted = order(f"r{i}")
            broker.submit(wanted, approve(broker, wanted, refs), 5 + i, AAPL)
            server.say(status(5 + i, "Cancelled", perm_id=0))
            wait_for(lambda: bool(broker._client._events))
            broker.happenings(AT)
            refs.append(wanted.order_ref)
        assert not broker._client._client._msgQ
        wait_for(lambda: len(server.of(PLACE)) == 55)
        assert [f[1] for f in server.of(PLACE)] == [str(5 + i) for i in range(55)]


# ids and identity


@pytest.mark.parametrize(
    ("offered", "used", "ids"),
    [(1, 0, [1, 2]), (1, 50, [51, 52]), (100, 50, [100, 101]), (51, 50, [51, 52])],
)
def test_an_id_is_never_issued_twice(offered: int, used: int, ids: list[int]):
    with Server(next_id=offered) as server, gateway(server) as broker:
        assert [broker.next_order_id(used), broker.next_order_id(used)] == ids


def test_ids_that_roll_back_while_connected_do_not_come_again():
    with Server(next_id=100) as server, gateway(server) as broker:
        assert broker.next_order_id(0) == 100
        server.say((9, 1, 7))
        broker.broker_time()
        assert broker.next_order_id(0) == 101


def test_an_order_of_another_client_at_our_address_is_not_ours():
    with Server() as server, gateway(server) as broker:
        broker.state()
        submit(broker, order_id=5)
        server.say(
            status(5, "Cancelled", perm_id=88, client_id=99),
            execution("x.1.01", ref="theirs", perm_id=88, client_id=99),
            status(5, "Submitted", perm_id=77),
        )
        broker.broker_time()
        happened = broker.happenings(AT)
    assert [(e.order_ref, e.kind) for e in happened.events] == [
        ("theirs", Kind.FILL),
        ("ours", Kind.SUBMITTED),
    ]


def test_the_permanent_id_names_an_order_that_lost_its_ref():
    with Server() as server, gateway(server) as broker:
        server.say(execution("x.1.01", ref="ours"), execution("x.2.01", ref="", order_id=0))
        broker.broker_time()
        assert [e.order_ref for e in broker.happenings(AT).events] == ["ours", "ours"]


def test_errors_of_an_order_are_events_of_it_and_notices_are_not_ends():
    with Server() as server, gateway(server) as broker:
        broker.state()
        submit(broker, order_id=5)
        server.say(
            error(5, 10349, "Order TIF was set to DAY based on order preset."),
            error(5, 399, "Order Message: will be held until 09:30"),
            execution("x.1.01", 1),
            error(6, 201, "not ours"),
        )
        broker.broker_time()
        kinds = [e.kind for e in broker.happenings(AT).events]
    assert kinds == [Kind.NOTICE, Kind.NOTICE, Kind.FILL]
