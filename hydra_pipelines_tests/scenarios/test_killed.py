"""A run that is killed where it hurts, and the next one: every order once, and the books agree."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from datetime import date

import pytest

from hydra_pipelines import api
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger import accounts
from hydra_pipelines_tests.scenarios.conftest import MakeDesk
from hydra_pipelines_tests.scenarios.days import run_day, truth, venue_cash, venue_positions

# What the killed process runs: a day, with a trap at one place of the real code.
KILLED_DAY = """
import os, signal, sys
from datetime import date
from hydra_pipelines.desk import Desk
from hydra_pipelines.settings import load_settings
from hydra_pipelines_tests.scenarios.days import run_day

desk = Desk(load_settings(data_dir=sys.argv[1]))

def trap(owner, name, calls):
    real, seen = getattr(owner, name), []
    def trapped(*args, **kwargs):
        seen.append(1)
        if len(seen) == calls:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)
    setattr(owner, name, trapped)

from hydra_pipelines.execution.broker.gateway import BrokerGateway
from hydra_pipelines.execution.orders.book import OrderBook
from hydra_pipelines.ledger import accounts
from hydra_pipelines.ledger.store import Ledger
where = {
    "before the second order": lambda: trap(BrokerGateway, "submit", 2),
    "between fills": lambda: trap(BrokerGateway, "happenings", 2),
    "before the done plan is published": lambda: trap(Ledger, "publish", 2),
    "before the positions are stored": lambda: trap(accounts, "replace_positions", 1),
    "before the account is stored": lambda: trap(accounts, "record_snapshot", int(sys.argv[4])),
}
where[sys.argv[3]]()
run_day(desk, date.fromisoformat(sys.argv[2]))
"""

PLACES = (
    "before the second order",
    "between fills",
    "before the done plan is published",
    "before the positions are stored",
    "before the account is stored",
)


@pytest.fixture(scope="module")
def desk(make_desk: MakeDesk) -> Desk:
    """One day is traded undisturbed, so that models and positions are there."""
    desk = make_desk()
    run_day(desk, desk.next_session_due())
    desk.close()
    return desk


@pytest.mark.parametrize("place", PLACES)
def test_the_next_run_goes_on_where_the_killed_one_was(desk: Desk, place: str) -> None:
    session: date = desk.next_session_due()
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_DAY, desk.settings.data_path, str(session), place, "1"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert killed.returncode == -9, killed.stderr[-2000:]

    assert desk.next_session_due() == session, "a day that was cut short is due again"
    today = run_day(desk, session)
    desk.close()

    books = truth(desk)
    assert not today.positions.breaks and not today.executed.unknown
    refs = Counter(o["order_ref"] for o in books["orders"])
    assert set(refs.values()) == {1}
    per_row = Counter((ref.split(".")[0], ref.split(".")[2], ref.split(".")[3]) for ref in refs)
    assert set(per_row.values()) == {1}, "one order per row of a plan reached the venue"
    assert {p["symbol"]: p["quantity"] for p in api.positions(desk)} == venue_positions(books)
    with desk.ledger.snapshot() as rows:
        assert accounts.cash(rows, "DU0000001") == venue_cash(books)
    assert today.account.row["session"] == desk.calendar.next(session)
    assert desk.next_session_due() == desk.calendar.next(session)
