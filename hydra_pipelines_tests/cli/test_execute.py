"""`hydra execute` and `hydra orders`: a stored plan worked once, whoever works it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from hydra_pipelines.control import Control
from hydra_pipelines.desk import Desk
from hydra_pipelines.settings import load_settings
from hydra_pipelines_tests.conftest import TradedDesk
from hydra_pipelines_tests.desks import HYDRA, OK, REFUSED, USAGE, CommandLine
from hydra_pipelines_tests.scenarios.days import decide

# The same commands, by a clock that stands still from the first order on for as long as a file is
# there, so that something may happen while orders work.
HELD = """
import os, time
from hydra_pipelines.execution.broker.gateway import BrokerGateway
from hydra_pipelines.paper_gateway.control import VenueClock
wait_until, submit, sent = VenueClock.wait_until, BrokerGateway.submit, []
def held(self, instant):
    while sent and os.path.exists(os.environ["HELD_BY"]):
        time.sleep(0.02)
    wait_until(self, instant)
def noted(self, *arguments):
    sent.append(1)
    submit(self, *arguments)
VenueClock.wait_until, BrokerGateway.submit = held, noted
"""
EXECUTE = f"{HELD}\nfrom hydra_pipelines.cli import main\nmain()"
DAGSTER = f"{HELD}\nfrom dagster._cli import main\nmain()"

Planned = tuple[CommandLine, date]
Start = Callable[..., subprocess.Popen[str]]


def plan(hydra: CommandLine, **settings: Any) -> Planned:
    """The desk with a plan of the session due, and that session."""
    desk = Desk(load_settings(data_dir=hydra.folder, **settings))
    session = desk.next_session_due()
    try:
        decide(desk, session)
    finally:
        desk.close()
    return hydra, session


@pytest.fixture
def planned(traded_desk: TradedDesk) -> Planned:
    return plan(traded_desk.hydra)


@pytest.fixture
def much_planned(traded_desk: TradedDesk) -> Planned:
    """With orders that are too large to fill at once: half of all holdings is to be sold."""
    return plan(traded_desk.hydra, plan={"gross_cap": 0.5})


@pytest.fixture
def hold(tmp_path: Path) -> Path:
    """While it is there, time stands still at the first step of a started run."""
    file = tmp_path / "hold"
    file.touch()
    return file


@pytest.fixture
def start(hold: Path) -> Iterator[Start]:
    """Starts commands on a desk; what still runs at the end of the test is ended."""
    runs: list[subprocess.Popen[str]] = []

    def run(hydra: CommandLine, *command: str) -> subprocess.Popen[str]:
        home = str(hydra.folder / "dagster")
        process = subprocess.Popen(
            command,
            env={**hydra.environment, "DAGSTER_HOME": home, "HELD_BY": str(hold)},
            cwd=hydra.folder.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        runs.append(process)
        return process

    yield run
    for process in runs:
        process.kill()
        process.communicate()


def job(session: date, name: str = "execute") -> list[str]:
    """Arguments of `dagster` that run a job for a session."""
    tags = json.dumps({"dagster/partition": session.isoformat()})
    return ["job", "execute", "-m", "hydra_pipelines", "-j", name, "--tags", tags]


def wait_for(what: Callable[[], object], *runs: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not what():
        ended = [run for run in runs if run.poll() is not None]
        assert not ended, ended[0].communicate()[1][-2000:]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def refs_at_the_venue(hydra: CommandLine, session: date) -> Counter[str]:
    prefix = f"{session:%Y%m%d}."
    orders = hydra.venue.truth()["orders"]
    return Counter(o["order_ref"] for o in orders if o["order_ref"].startswith(prefix))


def assert_one_set_of_orders(hydra: CommandLine, session: date) -> None:
    refs = refs_at_the_venue(hydra, session)
    assert refs and set(refs.values()) == {1}
    listed = hydra.json("orders", "--session", str(session))
    # What was proven not to have got there may have been tried again.
    orders = [o for o in listed if o["state"] not in ("never_sent", "never_arrived")]
    assert set(refs) == {o["order_ref"] for o in orders if o["order_ref"]}
    rows = Counter((o["symbol"], o["side"], o["slice"]) for o in orders)
    assert set(rows.values()) == {1}, "each row of the plan, and each slice of it, once"
    assert not {o["state"] for o in orders} & {"unknown", "pending", "sending", "submitted"}
    held = {p["symbol"]: p["quantity"] for p in hydra.venue.truth()["positions"] if p["quantity"]}
    assert {p["symbol"]: p["quantity"] for p in hydra.json("positions")} == held
    with Desk(load_settings(data_dir=hydra.folder)).ledger.snapshot() as rows_:
        journal = rows_.query(
            "SELECT symbol, sum(CASE side WHEN 'BUY' THEN quantity ELSE -quantity END)::BIGINT "
            "AS quantity FROM executed_trades GROUP BY symbol"
        )
    assert {r["symbol"]: r["quantity"] for r in journal if r["quantity"]} == held


def test_a_dry_run_shows_the_stored_plan_and_the_run_works_it_as_it_is(
    planned: Planned,
) -> None:
    hydra, session = planned
    before = hydra.venue.messages(), hydra.venue.truth(), hydra.venue.status()["now"]
    shown = hydra.run("execute", "--dry-run", "--json")
    assert shown.returncode == OK, shown.stderr
    assert "A dry run: nothing was sent." in shown.stderr
    plan = json.loads(shown.stdout)
    assert {o["state"] for o in plan} == {"planned"} and plan
    assert (hydra.venue.messages(), hydra.venue.truth(), hydra.venue.status()["now"]) == before

    done = hydra.run("execute", "--json")
    assert done.returncode == OK, done.stderr
    told = " ".join(done.stderr.split())
    assert "executions ok" in told and "account ok" in told
    assert "order_plan" not in done.stderr, "the plan is not made anew"
    orders = json.loads(done.stdout)
    assert {(o["symbol"], o["side"]) for o in orders} == {(o["symbol"], o["side"]) for o in plan}
    last = hydra.json("status")["last_cycle"]
    assert (last["session"], last["status"], last["dry_run"]) == (str(session), "done", False)
    assert_one_set_of_orders(hydra, session)

    # Once more, as a retry would: everything is found done.
    received = hydra.orders_received()
    again = hydra.run("execute", "--session", str(session))
    assert again.returncode == OK, again.stderr
    assert hydra.orders_received() == received
    assert f"Plan of {session}" in again.stdout
    # One that was traded before can't be any more, although its plan is there.
    past = hydra.run("execute", "--session", "2019-01-02")
    assert past.returncode == REFUSED and "2019-01-02 can't be traded any more" in past.stderr
    assert hydra.orders_received() == received


def test_processes_at_once_send_one_set_of_orders(
    planned: Planned, hold: Path, start: Start
) -> None:
    """The command line twice, and Dagster's: a schedule that ticks double is no other case."""
    hydra, session = planned
    sent = hydra.orders_received()
    name = ["--session", str(session)]
    runs = [
        start(hydra, sys.executable, "-c", EXECUTE, "execute", *name),
        start(hydra, sys.executable, "-c", DAGSTER, *job(session)),
        start(hydra, *HYDRA, "execute", *name),
    ]
    wait_for(lambda: hydra.orders_received() > sent, *runs)
    hold.unlink()
    ended = [run.communicate(timeout=120) for run in runs]
    assert [run.returncode for run in runs] == [OK] * 3, [text[-1500:] for _, text in ended]
    assert_one_set_of_orders(hydra, session)


def test_a_dagster_run_that_is_killed_is_picked_up_by_the_next(
    much_planned: Planned, start: Start
) -> None:
    hydra, session = much_planned
    received = hydra.orders_received()
    killed = start(hydra, sys.executable, "-c", DAGSTER, *job(session))
    wait_for(lambda: hydra.orders_received() > received, killed)
    killed.kill()
    killed.communicate(timeout=30)
    assert killed.returncode == -signal.SIGKILL
    assert hydra.venue.status()["working_orders"] > 0, "it died in the middle"
    assert hydra.json("status")["next_session_due"] == str(session), "it is due still"

    done = hydra.run("execute")
    assert done.returncode == OK, done.stderr
    assert_one_set_of_orders(hydra, session)
    assert hydra.json("status")["next_session_due"] > str(session)


# halt, in the middle


def test_a_halt_in_the_middle_stops_everything(
    much_planned: Planned, hold: Path, start: Start
) -> None:
    hydra, session = much_planned
    received = hydra.orders_received()
    control = Control(hydra.folder / "control.sqlite")
    working = start(hydra, sys.executable, "-c", EXECUTE, "execute")
    try:
        wait_for(lambda: hydra.orders_received() > received, working)
        done = hydra.run("halt", "--why", "in the middle", "--json")
        assert done.returncode == OK, done.stderr
        said = json.loads(done.stdout)
        assert said["certain"] and said["open_before"] > 0
        assert said["in_audit_trail"] is False, "the run has the ledger"
        assert hydra.venue.status()["working_orders"] == 0
        hold.unlink()
        _, errors = working.communicate(timeout=60)
        assert working.returncode == OK, errors[-3000:]

        kinds = [m["kind"] for m in hydra.venue.messages(received)["messages"]]
        after = kinds[kinds.index("reqGlobalCancel") :]
        assert "placeOrder" not in after, "nothing was sent or changed afterwards"
        orders = hydra.json("orders", "--session", str(session))
        states = Counter(o["state"] for o in orders)
        assert states["cancelled"] >= 1
        assert not states.keys() & {"unknown", "pending", "sending", "submitted"}
        assert_one_set_of_orders(hydra, session)
        with Desk(load_settings(data_dir=hydra.folder)).ledger.snapshot() as rows:
            audited = rows.query(
                "SELECT details FROM audit_events WHERE event = 'manual_action' ORDER BY seq"
            )
        whys = [json.loads(row["details"]).get("why") for row in audited]
        assert "in the middle" in whys, "the run itself has carried it over"
        status = hydra.json("status")
        assert status["kill_switch"] is True and status["agent"] == "paused"
    finally:
        resumed = hydra.run("resume-trading", "--yes", "--agent")
    assert resumed.returncode == OK, resumed.stderr
    assert not control.kill_switch and not control.agent_paused


def test_orders_that_were_denied_are_listed_with_their_reasons(
    planned: Planned,
) -> None:
    hydra, session = planned
    control = Control(hydra.folder / "control.sqlite")
    received = hydra.orders_received()
    control.set_kill_switch(True, "a test")
    try:
        done = hydra.run("execute")
    finally:
        control.set_kill_switch(False, "the test is over")
    assert done.returncode == OK, done.stderr
    assert hydra.orders_received() == received
    denied = hydra.json("orders", "--state", "denied", "--session", str(session))
    assert denied == hydra.json("orders") != []
    assert {tuple(o["reasons"]) for o in denied} == {("kill_switch",)}
    assert all("kill switch" in o["reason"] and o["order_ref"] is None for o in denied)
    words = hydra.run("orders").stdout
    assert words.count("kill_switch") == len(denied)


# the list


def test_the_list_is_of_one_session_or_of_one_state(traded_desk: TradedDesk) -> None:
    hydra = traded_desk.hydra
    first = hydra.json("orders", "--session", "2019-01-02")
    assert len(first) == traded_desk.status["last_cycle"]["orders"]
    assert {o["session"] for o in first} == {"2019-01-02"}
    filled = {}
    for trade in traded_desk.trades:
        filled[trade["order_ref"]] = filled.get(trade["order_ref"], 0) + trade["quantity"]
    for order in first:
        assert order["state"] in ("filled", "cancelled")
        assert order["filled"] == filled[order["order_ref"]] <= order["quantity"]
    everywhere = hydra.json("orders", "--state", "filled", "--limit", "1000")
    assert [o for o in everywhere if o["session"] == "2019-01-02"] == [
        o for o in first if o["state"] == "filled"
    ]
    sessions = [o["session"] for o in everywhere]
    assert sessions == sorted(sessions, reverse=True), "the latest first"
    assert len(hydra.json("orders", "--state", "filled", "--limit", "3")) == 3
    assert hydra.json("orders", "--state", "unknown") == []
    nothing = hydra.run("orders", "--state", "working")
    assert (nothing.returncode, nothing.stdout) == (OK, "") and "No orders." in nothing.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["orders", "--state", "lost"], USAGE, "there is no state 'lost'; there are pending,"),
        (["orders", "--session", "2019-01-05"], USAGE, "is not a XNYS session"),
        (["orders", "--limit", "0"], USAGE, "--limit"),
        (["execute", "--session", "2019-01-05"], USAGE, "is not a XNYS session"),
        (["execute", "--session", "2022-12-27"], REFUSED, "there is no plan of session 2022-12-27"),
    ],
)
def test_refusals_have_their_code_and_say_why(
    traded_desk: TradedDesk, arguments: list[str], code: int, message: str
) -> None:
    before = traded_desk.hydra.orders_received()
    done = traded_desk.hydra.run(*arguments)
    assert done.returncode == code and message in " ".join(done.stderr.split())
    assert done.stdout == "" and "Traceback" not in done.stderr
    assert traded_desk.hydra.orders_received() == before


def test_a_desk_without_a_ledger_has_nothing_to_execute_and_gets_none(empty: Any) -> None:
    done = empty.run("execute")
    assert done.returncode == REFUSED and "hydra cycle" in done.stderr
    assert not (empty.folder / "hydra.duckdb").exists()
    assert empty.run("orders").returncode == REFUSED
