"""Connections lost and found: noted once, by whoever was there, and nothing else is called one."""

from __future__ import annotations

import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from hydra_pipelines.control import Control
from hydra_pipelines.desk import Desk
from hydra_pipelines.execution.broker.guard import GuardRefused
from hydra_pipelines.execution.broker.messages import BrokerError, NotSubmitted
from hydra_pipelines.monitoring.connections import (
    LOST,
    RESTORED,
    lost_since,
    note_loss,
    note_recovery,
)
from hydra_pipelines.settings import load_settings

UP = SimpleNamespace(connected=True, outage=None)
CLOSED = SimpleNamespace(connected=False, outage=None)
AWAY = SimpleNamespace(connected=True, outage="1100: connectivity has been lost")


@pytest.fixture
def control(tmp_path: Path) -> Control:
    return Control(tmp_path / "control.sqlite")


def noted(control: Control) -> list[str]:
    return [entry.event for entry in control.journal()]


@pytest.mark.parametrize("gateway", [None, CLOSED, AWAY])
def test_a_loss_is_noted_once_until_the_connection_is_back(control: Control, gateway) -> None:
    for _ in range(3):
        note_loss(control, "ibkr", BrokerError("gone"), gateway)
    assert noted(control) == [LOST] and lost_since(control) is not None
    note_recovery(control, "ibkr", 0)
    note_recovery(control, "ibkr", 0)
    assert noted(control) == [LOST, RESTORED] and lost_since(control) is None
    first, back = control.journal()
    assert first.details == {"venue": "ibkr", "why": "gone"}
    assert back.details["lost_at"] == first.occurred_at.isoformat(timespec="seconds")
    note_loss(control, "ibkr", BrokerError("again"), gateway)
    assert noted(control) == [LOST, RESTORED, LOST]


def test_what_is_no_lost_connection(control: Control) -> None:
    for error, gateway in (
        (BrokerError("an incomplete reply"), UP),
        (NotSubmitted("IB's restart window"), UP),
        (GuardRefused("a live port"), None),
        (ValueError("a bug"), None),
        (KeyboardInterrupt(), CLOSED),
    ):
        note_loss(control, "ibkr", error, gateway)
    assert noted(control) == []
    note_recovery(control, "ibkr", 0)
    assert noted(control) == []


def test_an_outage_within_a_run_is_survived_too(control: Control) -> None:
    note_recovery(control, "ibkr", 1)
    assert noted(control) == [RESTORED]


def test_a_journal_that_can_not_be_written_stops_nothing_here(tmp_path: Path) -> None:
    (tmp_path / "control.sqlite").mkdir()
    broken = Control(tmp_path / "control.sqlite")
    note_loss(broken, "ibkr", BrokerError("gone"), None)
    note_recovery(broken, "ibkr", 1)
    assert lost_since(broken) is None


def test_a_desk_whose_gateway_is_not_there_notes_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    broker = {"venue": "ibkr", "port": port, "account": "DU7", "connect_attempts": 1}
    desk = Desk(load_settings(data_dir=tmp_path, broker=broker))
    for _ in range(2):
        with pytest.raises(BrokerError), desk.broker():
            pass
    assert noted(desk.control) == [LOST]
    refused = Desk(load_settings(data_dir=tmp_path / "b", broker={**broker, "port": 4001}))
    with pytest.raises(GuardRefused), refused.broker():
        pass
    assert not refused.settings.control_path.exists()
