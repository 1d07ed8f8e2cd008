"""Fixtures: the calendar, a served venue, connected clients, and the client's error log."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ib_insync import IB

from hydra_pipelines.sessions import Calendar
from hydra_pipelines_tests.paper_gateway.served import (
    ErrorLog,
    Served,
    connect,
    make_venue,
)


@pytest.fixture(scope="session")
def calendar(tmp_path_factory: pytest.TempPathFactory) -> Calendar:
    return Calendar.load("XNYS", tmp_path_factory.mktemp("calendar"))


@pytest.fixture
def errors() -> Iterator[ErrorLog]:
    """Fails the test for any error the client library logs that the test did not expect."""
    handler = ErrorLog()
    logger = logging.getLogger("ib_insync")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)
    assert handler.lines == []


@pytest.fixture
def served(calendar: Calendar, tmp_path: Path, errors: ErrorLog) -> Iterator[Served]:
    server = Served(lambda: make_venue(calendar, tmp_path / "venue.sqlite"))
    yield server
    server.stop()


@pytest.fixture
def client(served: Served) -> Iterator[Callable[[int], IB]]:
    """Connects a client by its id; all are disconnected at the end."""
    connected: list[IB] = []

    def make(client_id: int = 5) -> IB:
        connected.append(connect(served.endpoint, client_id))
        return connected[-1]

    yield make
    for ib in connected:
        ib.disconnect()
