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

from hydra_pipelines.day import replaying
from hydra_pipelines.day.replaying import Replayed
from hydra_pipelines.desk import Desk
from hydra_pipelines.paper_gateway.control import GatewayControl
from hydra_pipelines.paper_gateway.launch import find_running
from hydra_pipelines.settings import load_settings
from hydra_pipelines_tests.scenarios.days import Day

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

    It is a replay, which makes the history that daily runs make (`test_replay`).
    """
    desk = Desk(load_settings(data_dir=folder, **settings))
    try:
        days, books = _trade(desk, sessions or SESSIONS)
        yield Year(desk, days, books, GatewayControl(desk.venue).truth())
    finally:
        desk.close()
        running = find_running(desk.settings.venue_path)
        if running:
            GatewayControl(running).shutdown()


def _trade(desk: Desk, sessions: int) -> tuple[list[Day], list[VenueBooks]]:
    days, books = [], []
    way = replaying.plan_replay(desk, sessions=sessions)
    for one in replaying.replay(desk, way, "test", publish_every=sessions):
        if isinstance(one, Replayed):
            days.append(_day(one))
            books.append(venue_books(desk, desk.calendar.next(one.session)))
    return days, books


def _day(one: Replayed) -> Day:
    """Its results, in which nothing is wrong that a daily run would stop at."""
    assert not one.result("bars").errors
    assert all(c.error is None for c in one.result("champion_models"))
    assert one.result("predictions").status == "success"
    assert not one.result("signals").failures
    plan = one.result("order_plan")
    assert not plan.violations
    return Day(
        one.session,
        plan,
        one.result("executions"),
        one.result("positions"),
        one.result("account"),
    )


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
