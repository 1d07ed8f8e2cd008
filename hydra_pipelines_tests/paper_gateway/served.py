"""A small market, and a gateway served from a thread of the test for an unmodified client."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path

import numpy as np
from ib_insync import IB

from hydra_pipelines.market.bars import BarPanel
from hydra_pipelines.paper_gateway.account import Terms
from hydra_pipelines.paper_gateway.control import GatewayControl
from hydra_pipelines.paper_gateway.matching import FillModel
from hydra_pipelines.paper_gateway.prices import VenuePrices
from hydra_pipelines.paper_gateway.process import Endpoint, Running, start
from hydra_pipelines.paper_gateway.store import AccountStore
from hydra_pipelines.paper_gateway.venue import Venue
from hydra_pipelines.sessions import Calendar

ACCOUNT = "DU0000001"
FIRST = date(2019, 1, 2)
SYMBOLS = ("ALFA", "BETA", "CENT", "DEEP", "THIN")
DAYS = 60
TERMS = Terms(account=ACCOUNT, cash=1_000_000_0000, seed=7, first_session=FIRST)


def make_panel(calendar: Calendar, *, only_closes: bool = False, days: int = DAYS) -> BarPanel:
    """Five symbols from 2018-11-20 on: DEEP trades in size, THIN hardly, CENT below a dollar."""
    rng = np.random.default_rng(3)
    first = calendar.index(date(2018, 11, 20))
    sessions = np.array(calendar.sessions[first : first + days], dtype="datetime64[D]")
    start = np.array([50.0, 120.0, 0.40, 200.0, 30.0])
    moves = rng.normal(0.0, 0.015, (days, len(SYMBOLS)))
    close = np.round(start * np.exp(np.cumsum(moves, axis=0)), 4)
    if only_closes:
        return BarPanel(sessions, SYMBOLS, {"close": close})
    open_ = np.round(close * np.exp(rng.normal(0.0, 0.006, close.shape)), 4)
    high = np.round(np.maximum(open_, close) * (1 + rng.uniform(0.001, 0.01, close.shape)), 4)
    low = np.round(np.minimum(open_, close) * (1 - rng.uniform(0.001, 0.01, close.shape)), 4)
    volume = np.tile([2e6, 1e6, 5e7, 5e8, 3e4], (days, 1))
    fields = {"open": open_, "high": high, "low": low, "close": close, "volume": volume}
    return BarPanel(sessions, SYMBOLS, fields)


def make_venue(
    calendar: Calendar,
    path: Path,
    *,
    panel: BarPanel | None = None,
    terms: Terms = TERMS,
    model: FillModel | None = None,
) -> Venue:
    return Venue(
        prices=VenuePrices(panel or make_panel(calendar), calendar, terms.seed),
        calendar=calendar,
        store=AccountStore(path),
        terms=terms,
        model=model,
    )


class Served:
    """A venue behind real sockets, its event loop in a thread, until `stop`."""

    def __init__(self, make: Callable[[], Venue]) -> None:
        self._make = make
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self.venue: Venue
        self._running: Running
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10), "the gateway did not start"
        if self._failure:
            raise self._failure
        self.endpoint: Endpoint = self._running.endpoint
        self.control = GatewayControl(self.endpoint)

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(10)
        assert not self._thread.is_alive(), "the gateway did not stop"

    def advance(self, to: datetime) -> None:
        self.control.advance(to)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        try:
            self.venue = self._make()
            self._running = await start(self.venue, self._stopping)
        except BaseException as error:
            self._failure = error
            self._ready.set()
            return
        self._ready.set()
        await self._stopping.wait()
        await self._running.stop()


class ErrorLog(logging.Handler):
    """What the client library logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.name}: {record.getMessage()}")

    def expect(self, *starts: str) -> None:
        """Exactly these errors were logged, told by what they contain; forgets them."""
        assert len(self.lines) == len(starts), self.lines
        for line, start_ in zip(self.lines, starts, strict=True):
            assert start_ in line, self.lines
        self.lines.clear()


def connect(endpoint: Endpoint, client_id: int = 5) -> IB:
    try:
        asyncio.get_event_loop()
    except RuntimeError:
        # The library takes the thread's loop, which an `asyncio.run` before has taken away.
        asyncio.set_event_loop(asyncio.new_event_loop())
    ib = IB()
    ib.RaiseRequestErrors = True
    ib.TimezoneTWS = "America/New_York"
    ib.connect(endpoint.host, endpoint.port, clientId=client_id, timeout=5)
    return ib
