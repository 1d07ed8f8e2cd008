"""Whole days that are killed, or worked by two at once: every order once, and the books agree.

Here with the whole desk around it; at every boundary of the order manager, see `crashes`.
"""

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
from hydra_pipelines_tests.scenarios.days import (
    decide,
    run_day,
    truth,
    venue_cash,
    venue_positions,
)

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

# A process that works the plan of a session, as a second tick of the schedule would.
EXECUTE = """
import sys
from datetime import date
from hydra_pipelines import day
from hydra_pipelines.desk import Desk
from hydra_pipelines.settings import load_settings

desk = Desk(load_settings(data_dir=sys.argv[1]))
print(day.execute_plan(desk, date.fromisoformat(sys.argv[2]), "tick").sent)
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


def test_two_processes_at_once_work_a_plan_once(desk: Desk) -> None:
    session = desk.next_session_due()
    plan = decide(desk, session)
    desk.close()
    before = len(truth(desk)["orders"])
    command = [sys.executable, "-c", EXECUTE, desk.settings.data_path, str(session)]
    ticks = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [tick.communicate(timeout=120) for tick in ticks]
    assert [tick.returncode for tick in ticks] == [0, 0], said
    orders = truth(desk)["orders"][before:]
    assert sorted(int(sent) for sent, _ in said) == [0, len(orders)]
    assert len(orders) > 0 and len({o["order_ref"] for o in orders}) == len(orders)
    rows = {(row["symbol"], row["side"]) for row in plan.rows}
    assert Counter((o["symbol"], o["action"]) for o in orders) <= Counter(rows)
    # Leave the session as the others expect it: worked to its end.
    run_day(desk, session)
    desk.close()
