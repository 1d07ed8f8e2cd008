"""A year of trading by the day's real steps, made once a test run, with the venue's own word.

Here belongs making it. The fixture `year` is in the root conftest, for every room's tests.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hydra_pipelines.desk import Desk
from hydra_pipelines.paper_gateway.control import GatewayControl
from hydra_pipelines.paper_gateway.launch import find_running
from hydra_pipelines.settings import load_settings
from hydra_pipelines_tests.scenarios.days import Day, run_day

FULL = bool(os.environ.get("FULL_YEAR"))
SESSIONS = 250 if FULL else 70
"""`make year` trades all of it, the suite its beginning: a little more than a rolling window."""


@dataclass(frozen=True)
class VenueBooks:
    """The venue's own books at the close of a session, exact: cash, shares, marks."""

    session: date
    cash: Decimal
    shares: dict[str, int]
    marks: dict[str, Decimal]

    @property
    def equity(self) -> Decimal:
        return self.cash + sum(
            (quantity * self.marks[symbol] for symbol, quantity in self.shares.items()), Decimal(0)
        )


@dataclass(frozen=True)
class Year:
    """days: one a signal session, in order. books: of their execution sessions, as the venue has
    them. truth: the venue's books whole, at the end."""

    desk: Desk
    days: list[Day]
    books: list[VenueBooks]
    truth: dict[str, Any]


@contextmanager
def trade_a_year(folder: Path, sessions: int | None = None, **settings: Any) -> Iterator[Year]:
    """Trades sessions of the sample through the stand-in, and ends the venue after.

    sessions: how many; None for a year of them. settings: other than the defaults.

    The steps are those of a daily cycle. Only opening the ledger for each of them, and publishing
    it for readers after each, is left out: that is done once, at the end.
    """
    desk = Desk(load_settings(data_dir=folder, **settings))
    try:
        with desk.ledger.session():
            with patch.object(desk.ledger, "publish"):
                days, books = _trade(desk, sessions or SESSIONS)
            desk.ledger.publish()
        yield Year(desk, days, books, GatewayControl(desk.venue).truth())
    finally:
        desk.close()
        running = find_running(desk.settings.venue_path)
        if running:
            GatewayControl(running).shutdown()


def _trade(desk: Desk, sessions: int) -> tuple[list[Day], list[VenueBooks]]:
    days, books = [], []
    session = desk.settings.embedded.first_session
    for _ in range(sessions):
        today = run_day(desk, session)
        days.append(today)
        books.append(venue_books(desk, desk.calendar.next(session)))
        session = desk.calendar.next(session)
    return days, books


def venue_books(desk: Desk, session: date) -> VenueBooks:
    """What the venue says that the account holds now."""
    balance = GatewayControl(desk.venue).balance()
    held = [p for p in balance["positions"] if p["quantity"]]
    return VenueBooks(
        session,
        Decimal(balance["cash"]),
        {p["symbol"]: p["quantity"] for p in held},
        {p["symbol"]: Decimal(p["mark"]) for p in held},
    )
