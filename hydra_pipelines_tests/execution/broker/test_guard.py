"""The live guard: every combination, against rules written anew here; and what reaches a socket."""

from __future__ import annotations

import itertools
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import pytest

from hydra_pipelines.control import Control
from hydra_pipelines.desk import Desk
from hydra_pipelines.execution.broker.gateway import BrokerGateway, Endpoint
from hydra_pipelines.execution.broker.guard import Clearance, GuardRefused, PaperGateVerdict
from hydra_pipelines.execution.broker.messages import BrokerError
from hydra_pipelines.execution.risk.gate import RiskGate
from hydra_pipelines.execution.risk.limits import RiskLimits
from hydra_pipelines.settings import Settings
from hydra_pipelines_tests.execution.broker.scripted import START, Server

HOST = f"127.77.{os.getpid() % 250}.1"
"""A loopback address of this run's own, so that IB's usual ports are free on it."""
TUNNEL = 14002
PORTS = (4001, 7496, 4003, 4002, 7497, 4004, TUNNEL)
ACCOUNTS = ("", "DU7", "du7", "DF7", "U7")
LISTS = ((), ("U7",), ("U8",))
GATES = ((False, ""), (False, "  \n"), (False, "the desk ran for a year elsewhere"), (True, ""))
REPORTED = ((), ("DU7",), ("DU8",), ("U7",), ("U8",), ("DU7", "DU8"), ("DU7", "U7"), ("U7", "U8"))


class Case(NamedTuple):
    mode: str
    embedded: bool
    port: int
    account: str
    confirmed: bool
    listed: tuple[str, ...]
    gate: tuple[bool, str]

    @property
    def clearance(self) -> Clearance:
        return Clearance(
            mode=self.mode,
            embedded=self.embedded,
            live_confirmed=self.confirmed,
            live_accounts=frozenset(self.listed),
            paper_gate=PaperGateVerdict(self.gate[0], "as the test has it"),
            override_reason=self.gate[1],
        )

    def endpoint(self) -> Endpoint:
        return Endpoint(
            HOST, self.port, 17, self.account, connect_attempts=1, clearance=self.clearance
        )


CASES = [
    Case(*case)
    for case in itertools.product(
        ("paper", "live"), (False, True), PORTS, ACCOUNTS, (False, True), LISTS, GATES
    )
]


def may_open(case: Case) -> bool:
    """The rules, said again: what may open a socket at all."""
    if case.mode == "paper":
        live_port = case.port in {4001, 4003, 7496}
        return not live_port and (case.account == "" or case.account[:2] == "DU")
    confirmations = [
        case.confirmed,
        case.port in {4001, 4003, 7496},
        case.account != "" and case.account[0] not in "dD" and case.account in case.listed,
        case.gate[0] or case.gate[1].strip() != "",
    ]
    return all(confirmations) and not case.embedded


def chosen(case: Case, reported: tuple[str, ...]) -> str | None:
    """The account that may be traded once the gateway has reported its own; None for none."""
    wanted = case.account
    if wanted == "" and len(reported) == 1:
        wanted = reported[0]
    others = {"paper": "U", "live": "D"}[case.mode]
    if wanted not in reported or any(name.startswith(others) for name in reported):
        return None
    return wanted


def outcome(case: Case, reported: tuple[str, ...]) -> str | None:
    try:
        case.clearance.check(HOST, case.port, case.account)
        return case.clearance.pick(case.account, reported)
    except GuardRefused:
        return None


def test_every_combination_agrees_with_the_rules():
    wrong = [
        (case, reported)
        for case, reported in itertools.product(CASES, REPORTED)
        if outcome(case, reported) != (chosen(case, reported) if may_open(case) else None)
    ]
    assert len(CASES) * len(REPORTED) == 26_880
    assert wrong == []


def test_of_the_confirmations_of_live_trading_none_may_be_missing():
    full = Case("live", False, 4001, "U7", True, ("U7",), (True, ""))
    assert outcome(full, ("U7",)) == "U7"
    for change in (
        {"confirmed": False}, {"port": 4002}, {"port": TUNNEL}, {"account": "DU7"}, {"account": ""},
        {"listed": ()}, {"listed": ("U8",)}, {"gate": (False, "")}, {"gate": (False, " ")},
        {"embedded": True}, {"mode": "paper"},
    ):  # fmt: skip
        assert outcome(full._replace(**change), ("U7",)) is None, change


@dataclass
class Counter:
    """Listens on all ports of the tests' address and counts who comes."""

    connections: int = 0

    def __enter__(self) -> Counter:
        self._listeners = [socket.create_server((HOST, port)) for port in PORTS]
        for listener in self._listeners:
            threading.Thread(target=self._count, args=(listener,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for listener in self._listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def _count(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            connection.close()


def test_what_is_refused_beforehand_opens_no_socket():
    refused = [case for case in CASES if not may_open(case)]
    assert len(refused) > 2_500
    with Counter() as counter:
        for case in refused:
            with pytest.raises(GuardRefused):
                BrokerGateway(case.endpoint(), RiskGate(RiskLimits())).connect()
        assert counter.connections == 0
        # The count counts: a connection that is allowed does arrive.
        allowed = Case("paper", False, 4002, "DU7", False, (), GATES[0])
        with pytest.raises(BrokerError):
            BrokerGateway(allowed.endpoint(), RiskGate(RiskLimits())).connect()
        assert counter.connections == 1


class At(Server):
    """A gateway at a port of the tests' address."""

    def listen(self, port: int) -> At:
        self.at = port
        return self

    def __enter__(self) -> At:
        original = socket.create_server
        socket.create_server = lambda address: original((HOST, self.at))  # type: ignore[assignment]
        try:
            super().__enter__()
        finally:
            socket.create_server = original
        return self


def allowed_cases() -> Iterator[Case]:
    """Those that may open a socket; what paper does not look at is all there or all missing."""
    for case in CASES:
        extremes = ((False, (), GATES[0]), (True, ("U7",), GATES[3]))
        looked_at = case.mode == "live" or (case.confirmed, case.listed, case.gate) in extremes
        if looked_at and may_open(case) and not case.embedded:
            yield case


def test_an_account_that_is_not_reported_gets_nothing_sent():
    by_port: dict[int, list[Case]] = {}
    for case in allowed_cases():
        by_port.setdefault(case.port, []).append(case)
    assert len(by_port) == len(PORTS)
    traded = 0
    for port, cases in by_port.items():
        with At().listen(port) as server:
            for case, reported in itertools.product(cases, REPORTED):
                if not reported:
                    continue  # Who reports no account never gets to the end of the log-in.
                server.heard.clear()
                server.accounts = ",".join(reported)
                broker = BrokerGateway(case.endpoint(), RiskGate(RiskLimits()))
                account = chosen(case, reported)
                if account is None:
                    with pytest.raises(GuardRefused):
                        broker.connect()
                    assert not broker.connected
                    assert {fields[0] for fields in server.heard} <= {str(START)}
                else:
                    broker.connect()
                    assert broker.account_id == account
                    broker.close()
                    traded += 1
    assert traded == 44


# what is said, and what the desk makes of its settings


LIVE = {
    "mode": "live",
    "live_confirmed": True,
    "broker": {"venue": "ibkr", "host": HOST, "port": 4001, "account": "U7"},
    "live": {"accounts": ["U7"], "override_reason": "four weeks on paper with the old desk"},
}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"live_confirmed": False}, "set HYDRA_LIVE_CONFIRMED=true"),
        ({"broker": {**LIVE["broker"], "port": 4002}}, "4002 is not a live port; these are 4001"),
        ({"broker": {**LIVE["broker"], "account": ""}}, "set IBKR_ACCOUNT"),
        ({"broker": {**LIVE["broker"], "account": "DU7"}}, "DU7 is a paper account"),
        ({"live": {**LIVE["live"], "accounts": []}}, "U7 is not in live.accounts"),
        ({"live": {"accounts": ["U7"]}}, "the paper gate is not passed .*live.override_reason"),
        ({"broker": {"venue": "embedded"}}, "the embedded venue is paper"),
        ({"mode": "paper"}, "4001 is a live port; paper trading uses 4002"),
        ({"mode": "dry_run"}, "4001 is a live port; .*account U7 is not a paper account"),
    ],
)
def test_the_desk_refuses_and_says_what_to_change(tmp_path, change, says):
    desk = Desk(Settings(root=tmp_path, **{**LIVE, **change}))
    with Counter() as counter, pytest.raises(GuardRefused, match=says), desk.broker():
        pass
    assert counter.connections == 0
    assert not (tmp_path / "data" / "paper").exists(), "no venue was started"
    assert not desk.settings.control_path.exists(), "nothing was overridden"


def test_all_that_is_missing_is_said_at_once():
    with pytest.raises(GuardRefused) as caught:
        Clearance(mode="live", embedded=True).check(HOST, 4002, "")
    for part in ("broker.venue", "HYDRA_LIVE_CONFIRMED", "4002", "IBKR_ACCOUNT", "paper gate"):
        assert part in str(caught.value)


def test_trading_live_on_a_written_reason_is_written_down_at_every_connect(tmp_path):
    desk = Desk(Settings(root=tmp_path, **LIVE))
    for _ in range(2):
        with At(accounts="U7").listen(4001) as server:
            with desk.broker() as broker:
                assert broker.account_id == "U7"
            desk.close()
            assert server.connections == 1
    entries = Control(desk.settings.control_path).journal()
    assert [entry.event for entry in entries] == ["paper_gate_overridden"] * 2
    assert "no session was traded at IBKR paper yet" in entries[0].details.pop("paper_gate")
    assert entries[0].details == {
        "why": "four weeks on paper with the old desk",
        "account": "U7",
        "port": 4001,
    }


def test_an_override_that_can_not_be_written_down_connects_to_nothing(tmp_path):
    desk = Desk(Settings(root=tmp_path, **LIVE))
    desk.settings.control_path.mkdir(parents=True)
    with Counter() as counter:
        with pytest.raises(Exception, match="nothing is traded without it"), desk.broker():
            pass
        assert counter.connections == 0


def test_an_embedded_venue_elsewhere_is_refused():
    for host, good in ((HOST, True), ("::1", True), ("localhost", True), ("10.0.0.7", False)):
        clearance = Clearance(embedded=True)
        if good:
            clearance.check(host, 50123, "DU0000001")
        else:
            with pytest.raises(GuardRefused, match=r"10\.0\.0\.7 is not"):
                clearance.check(host, 50123, "DU0000001")
