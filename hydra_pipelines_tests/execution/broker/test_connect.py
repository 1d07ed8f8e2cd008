"""Connecting: every way it can go wrong names its cause, and the guards come before the socket."""

from __future__ import annotations

import socket
from datetime import UTC, datetime

import pytest

from hydra_pipelines.execution.broker.client import TwsClient
from hydra_pipelines.execution.broker.gateway import BrokerGateway, Endpoint
from hydra_pipelines.execution.broker.guard import LIVE_PORTS, GuardRefused
from hydra_pipelines.execution.broker.messages import BrokerError
from hydra_pipelines.execution.broker.windows import QuietHours, Window
from hydra_pipelines.execution.risk.gate import RiskGate
from hydra_pipelines.execution.risk.limits import RiskLimits
from hydra_pipelines_tests.execution.broker.scripted import (
    ACCOUNT,
    POSITIONS,
    Server,
    error,
    gateway,
    wait_for,
)


def test_a_good_connection_tells_account_version_and_time():
    with Server(accounts=f"DU1,{ACCOUNT}", next_id=41) as server, gateway(server) as broker:
        assert broker.connected
        assert (broker.account_id, broker.server_version) == (ACCOUNT, 176)
        assert broker.broker_time() == datetime(2019, 1, 3, 15, tzinfo=UTC)


def test_wrong_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    broker = BrokerGateway(
        Endpoint("127.0.0.1", port, 17, ACCOUNT, connect_attempts=2), RiskGate(RiskLimits())
    )
    with pytest.raises(BrokerError, match=rf"nothing listens at .*{port}.*4002.*tried 2 times"):
        broker.connect()


def test_a_server_that_stays_silent():
    with (
        Server(mute=True) as server,
        pytest.raises(BrokerError, match=r"did not speak the TWS API within 0\.2 s.*API enabled"),
    ):
        gateway(server, connect_timeout_s=0.2).connect()


def test_a_server_that_greets_and_then_says_no_more():
    with Server(greeting=()) as server, pytest.raises(BrokerError, match="did not speak the TWS"):
        gateway(server, connect_timeout_s=0.2).connect()


def test_a_server_that_closes_at_once_does_not_trust_us():
    with Server(hang_up="at once") as server, pytest.raises(BrokerError, match="trusted IPs"):
        gateway(server, connect_timeout_s=30).connect()


def test_a_client_id_in_use():
    with (
        Server(greeting=[error(-1, 326, "client id in use")], hang_up="after the greeting") as s,
        pytest.raises(BrokerError, match=r"client id 17 is in use.*IBKR_CLIENT_ID"),
    ):
        gateway(s, connect_timeout_s=30).connect()


def test_a_server_that_is_too_old():
    with Server(version=100) as server, pytest.raises(BrokerError):
        gateway(server, connect_timeout_s=0.2).connect()


def test_a_first_failure_is_tried_again(monkeypatch: pytest.MonkeyPatch):
    with Server(hang_up="at once") as server:
        broker = gateway(server, connect_attempts=3)
        connect = TwsClient.connect

        def second_time_lucky(client: TwsClient, *args: object) -> None:
            if server.connections == 1:
                server.hang_up = ""
            connect(client, *args)

        monkeypatch.setattr(TwsClient, "connect", second_time_lucky)
        with broker:
            assert broker.connected
        assert server.connections == 2


def test_ibkr_gets_the_weekly_login_as_a_hint():
    quiet = QuietHours((), Window.parse("23:00-03:00"))
    now = lambda: datetime(2019, 1, 8, 15, tzinfo=UTC)  # noqa: E731
    with (
        Server(hang_up="at once") as server,
        pytest.raises(BrokerError, match=r"2019-01-06 01:00 New York.*second factor"),
    ):
        gateway(server, now=now, quiet=quiet).connect()


@pytest.mark.parametrize("port", LIVE_PORTS)
def test_a_live_port_is_refused_before_a_socket_is_opened(
    port: int, monkeypatch: pytest.MonkeyPatch
):
    def opened(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", opened)
    monkeypatch.setattr(TwsClient, "connect", opened)
    broker = BrokerGateway(Endpoint("127.0.0.1", port, 17, ACCOUNT), RiskGate(RiskLimits()))
    with pytest.raises(GuardRefused, match=f"port {port} is a live port"):
        broker.connect()


def test_a_live_account_in_the_settings_is_refused_before_a_socket_is_opened():
    with Server() as server:
        with pytest.raises(GuardRefused, match="U123 is not a paper account"):
            gateway(server, account="U123").connect()
        assert server.connections == 0


@pytest.mark.parametrize(
    ("accounts", "wanted", "says"),
    [
        ("DU1", ACCOUNT, "does not report account DU7"),
        ("DU1,DU2", "", "manages DU1, DU2: say which"),
        ("U123", "", "live account U123"),
        (f"U123,{ACCOUNT}", ACCOUNT, "live account U123"),
    ],
)
def test_an_account_that_does_not_fit(accounts: str, wanted: str, says: str):
    with Server(accounts=accounts) as server:
        broker = gateway(server, account=wanted, connect_attempts=3)
        with pytest.raises(GuardRefused, match=says):
            broker.connect()
        assert not broker.connected
        assert server.connections == 1, "a guard is not a fault that a second try would mend"


def test_the_only_account_is_taken():
    with Server(accounts="DU1") as server, gateway(server, account="") as broker:
        assert broker.account_id == "DU1"


def test_every_connection_starts_afresh():
    with Server() as server, gateway(server) as broker:
        assert broker.state()
        assert broker.doubt is None
        server.drop()
        wait_for(lambda: not broker.connected)
        broker.connect()
        assert broker.connected
        assert broker.doubt, "orders and positions have to be asked for again"
        assert len(server.of(POSITIONS)) == 1
