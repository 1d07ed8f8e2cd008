"""Fixtures: a workshop, with its gateway in a thread, or in a process of its own."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from hydra_pipelines.paper_gateway.__main__ import read_npz
from hydra_pipelines.paper_gateway.account import Terms
from hydra_pipelines.paper_gateway.prices import VenuePrices
from hydra_pipelines.paper_gateway.process import PORT_FILE, STORE_FILE, start
from hydra_pipelines.paper_gateway.store import AccountStore
from hydra_pipelines.paper_gateway.venue import Venue
from hydra_pipelines.sessions import Calendar
from hydra_pipelines_tests.execution.orders.workshop import ACCOUNT, CASH, SESSION, Shop, prepare


@pytest.fixture(scope="session")
def shops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all workshops, with the calendar they share."""
    folder = tmp_path_factory.mktemp("shops")
    Calendar.load("XNYS", folder / "calendar")
    return folder


@pytest.fixture
def home(shops: Path, request: pytest.FixtureRequest) -> Path:
    return shops / f"shop-{abs(hash(request.node.nodeid)):x}"


@pytest.fixture
def shop(home: Path, request: pytest.FixtureRequest) -> Iterator[Shop]:
    """With a gateway in a thread of the test: real sockets, and no process to start.

    An indirect parameter is the venue's first session.
    """
    calendar = Calendar.load("XNYS", home.parent / "calendar")
    prepare(home, calendar)
    folder = home / "venue"
    folder.mkdir()
    first = getattr(request, "param", SESSION)

    def make() -> Venue:
        return Venue(
            prices=VenuePrices(read_npz(home / "prices.npz"), calendar, 7),
            calendar=calendar,
            store=AccountStore(folder / STORE_FILE),
            terms=Terms(account=ACCOUNT, cash=int(CASH * 10_000), seed=7, first_session=first),
        )

    async def serve() -> None:
        stopping = asyncio.Event()
        running = await start(make(), stopping)
        (folder / PORT_FILE).write_text(json.dumps(asdict(running.endpoint)))
        listening.set()
        await stopping.wait()
        await running.stop()

    listening = threading.Event()
    gateway = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    gateway.start()
    assert listening.wait(10), "the gateway did not start"
    made = Shop(home, first)
    yield made
    made.close()
    gateway.join(10)


@pytest.fixture
def process_shop(home: Path) -> Iterator[Shop]:
    """With a gateway that is a process, started on demand as the desk does."""
    made = Shop(home)
    yield made
    made.close()
