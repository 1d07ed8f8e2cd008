"""A replay makes the history that daily runs make, whatever happens to it on the way.

`make replay-check` compares twenty sessions, the suite fewer.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from hydra_pipelines.day import replaying
from hydra_pipelines.day.cycle import Finding
from hydra_pipelines.day.replaying import ReplayRefused, ReplayStopped
from hydra_pipelines.day.trading import execute_plan
from hydra_pipelines.desk import Desk
from hydra_pipelines.execution.orders.resting import rested
from hydra_pipelines.ledger import orders, trades
from hydra_pipelines.ledger.store import Ledger
from hydra_pipelines.paper_gateway.control import GatewayControl
from hydra_pipelines.settings import load_settings
from hydra_pipelines_tests.desks import HYDRA, REFUSED, CommandLine, shut_down
from hydra_pipelines_tests.scenarios.replays import (
    CopyDesk,
    begin,
    copy_of,
    differences,
    history,
    materialised,
    replay,
    run_daily,
)

SESSIONS = 20 if os.environ.get("FULL_REPLAY") else 4
"""Beside the first, which trains the models and is the same for all."""
ASSETS = (
    "bars", "universe", "features", "champion_models", "predictions", "signals", "order_plan",
    "executions", "positions", "account", "performance", "slippage_reconciliation",
)  # fmt: skip


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return begin(tmp_path_factory.mktemp("begun") / "desk")


@pytest.fixture(scope="module")
def copy(begun: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CopyDesk]:
    made: list[Desk] = []

    def make(name: str, **settings: Any) -> Desk:
        desk = copy_of(begun, tmp_path_factory.mktemp(name) / "desk", **settings)
        made.append(desk)
        return desk

    yield make
    for desk in made:
        desk.close()
        shut_down(desk.settings.data_path)


@pytest.fixture(scope="module")
def replayed(copy: CopyDesk) -> Desk:
    """A desk that went on by replay, with a snapshot in the middle."""
    desk = copy("replayed")
    done = replay(desk, SESSIONS, publish_every=SESSIONS - 1)
    assert len(done) == SESSIONS
    desk.close()
    return desk


@pytest.fixture(scope="module")
def replayed_history(replayed: Desk) -> dict[str, list[str]]:
    return history(replayed)


def test_a_replayed_history_is_that_of_daily_runs(
    copy: CopyDesk, replayed: Desk, replayed_history: dict[str, list[str]]
) -> None:
    daily = copy("daily")
    sessions = run_daily(daily, SESSIONS)
    assert sessions[-1] == replayed.calendar.next(replayed.next_session_due(), -1)
    assert len(replayed_history["executed_trades"]) > SESSIONS
    assert differences(replayed_history, history(daily)) == []


def test_orders_of_the_evening_make_one_history_too(copy: CopyDesk) -> None:
    evening = {"execution": {"send": "evening"}}
    replayed, daily = copy("evening replayed", **evening), copy("evening daily", **evening)
    replay(replayed, 2)
    sessions = run_daily(daily, 2)
    assert differences(history(replayed), history(daily)) == []
    with daily.ledger.transaction() as tx:
        made = [order for s in sessions for order in orders.orders(tx, session=s)]
        held = trades.held(tx, made[0]["account"])
    assert {order["session"] for order in made} == set(sessions)
    assert all(rested(order) for order in made)
    # Nothing of it is sent again, and the books are the venue's.
    again = execute_plan(daily, sessions[-1], "again")
    assert again is not None and again.sent == 0
    truth = GatewayControl(daily.venue).truth()
    refs = [
        o["order_ref"] for o in truth["orders"] if o["order_ref"][:8] >= f"{sessions[0]:%Y%m%d}"
    ]
    assert sorted(refs) == sorted(order["order_ref"] for order in made)
    theirs = {p["symbol"]: p["quantity"] for p in truth["positions"]}
    assert {s: q for s, q in held.items() if q} == {s: q for s, q in theirs.items() if q}


def test_a_difference_is_found(replayed_history: dict[str, list[str]]) -> None:
    other = {**replayed_history, "executed_trades": replayed_history["executed_trades"][1:]}
    assert differences(replayed_history, other)


def test_readers_see_all_of_it_at_the_end(replayed: Desk) -> None:
    first = replayed.settings.embedded.first_session
    assert replayed.next_session_due() == replayed.calendar.next(first, SESSIONS + 1)
    with replayed.ledger.snapshot() as rows:
        assert rows.value("SELECT count(*) FROM plans WHERE status = 'done'") == SESSIONS + 1


def test_dagster_shows_every_partition_as_materialised(replayed: Desk) -> None:
    first = replayed.settings.embedded.first_session
    sessions = {str(replayed.calendar.next(first, n)) for n in range(SESSIONS + 1)}
    assert {asset: materialised(replayed, asset) for asset in ASSETS} == dict.fromkeys(
        ASSETS, sessions
    )


def test_dagster_shows_the_plan_and_the_checks(replayed: Desk) -> None:
    import dagster as dg

    from hydra_pipelines.defs.instance import desk_instance

    session = replayed.calendar.next(replayed.next_session_due(), -1)
    with desk_instance(replayed) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey("order_plan"))
        assert event and event.asset_materialization
        shown = event.asset_materialization
        checks = instance.event_log_storage.get_latest_asset_check_execution_by_key(
            [dg.AssetCheckKey(dg.AssetKey("executions"), "no_unknown_orders")]
        )
    assert shown.partition == session.isoformat()
    assert isinstance(shown.metadata["plan"], dg.TableMetadataValue)
    with replayed.ledger.snapshot() as rows:
        planned = rows.value(
            "SELECT count(*) FROM plan_rows JOIN plans USING (plan_id) WHERE session = ?", [session]
        )
    assert shown.metadata["orders"].value == planned
    (check,) = checks.values()
    assert check.status.value == "SUCCEEDED"


def test_a_session_that_a_killed_replay_could_not_tell_of_is_shown_by_the_next(
    copy: CopyDesk,
) -> None:
    from hydra_pipelines.defs.instance import desk_instance
    from hydra_pipelines.defs.replayed import Reporter

    desk = copy("untold")
    (session,) = (way := replaying.plan_replay(desk, sessions=1)).sessions
    for _ in replaying.replay(desk, way, "test"):
        pass
    assert str(session) not in materialised(desk, "account")
    with desk_instance(desk) as instance:
        Reporter(instance, desk).catch_up()
    assert all(str(session) in materialised(desk, asset) for asset in ASSETS)


def test_killed_anywhere_the_same_command_goes_on(
    copy: CopyDesk, replayed_history: dict[str, list[str]]
) -> None:
    desk = copy("killed")
    folder, venue = desk.settings.data_path, desk.venue
    hydra = CommandLine(folder)
    command = ("replay", "--sessions", str(SESSIONS))
    process = subprocess.Popen(
        [*HYDRA, *command], env=hydra.environment, cwd=folder.parent, stderr=subprocess.DEVNULL
    )
    try:
        # In the middle of the execution of its second session.
        second = desk.calendar.open(desk.calendar.next(desk.next_session_due(), 2))
        deadline = time.monotonic() + 60
        while desk.clock.now() < second and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert venue.port
    assert desk.next_session_due() == desk.calendar.next(desk.settings.embedded.first_session, 2)
    done = hydra.run(*command)
    assert done.returncode == 0, done.stderr
    assert f"Replay of {SESSIONS - 1} sessions" in done.stderr
    ours = history(desk)
    for table in ("plans", "plan_rows", "live_positions", "account_snapshots", "executed_trades"):
        assert differences({table: ours[table]}, {table: replayed_history[table]}) == []


def test_halted_between_two_sessions_it_stops_at_once(copy: CopyDesk) -> None:
    desk = copy("halted")
    done = []
    way = replaying.plan_replay(desk, sessions=3)
    with pytest.raises(ReplayStopped, match="halted"):
        for one in replaying.replay(desk, way, "test"):
            done.append(one)
            desk.control.halt("test", "user:test")
    assert [one.session for one in done] == [way.sessions[0]] * 2  # and its publication
    assert desk.next_session_due() == way.sessions[1]
    sent = CommandLine(desk.settings.data_path).orders_received()
    with pytest.raises(ReplayStopped, match="halted"):
        list(replaying.replay(desk, replaying.plan_replay(desk, sessions=3), "test"))
    assert CommandLine(desk.settings.data_path).orders_received() == sent


def test_halted_within_a_session_nothing_more_is_sent(copy: CopyDesk) -> None:
    desk = copy("halted within")

    def halt(name: str, _: object) -> tuple[Finding, ...]:
        if name == "order_plan":
            desk.control.halt("test", "user:test")
        return ()

    way = replaying.plan_replay(desk, sessions=3)
    done = []
    with pytest.raises(ReplayStopped, match="halted"):
        for one in replaying.replay(desk, way, "test", judge=halt):
            done.append(one)
    assert done[0].result("executions").sent == 0
    assert {one.session for one in done} == {way.sessions[0]}


def test_what_needs_a_person_ends_it_and_what_blocks_ends_the_session(copy: CopyDesk) -> None:
    desk = copy("judged")
    way = replaying.plan_replay(desk, sessions=2)

    def judge(name: str, _: object) -> tuple[Finding, ...]:
        return (Finding("it looks wrong", blocking=True),) if name == "features" else ()

    done = []
    with pytest.raises(ReplayStopped, match=f"{way.sessions[0]}: features: it looks wrong"):
        for one in replaying.replay(desk, way, "test", judge=judge):
            done.append(one)
    assert [step.name for step in done[0].steps] == ["bars", "features"]


def test_whoever_waits_gets_the_ledger_between_two_sessions(copy: CopyDesk) -> None:
    desk = copy("waited for")
    waiting = None
    code = (
        "import sys; from pathlib import Path; from hydra_pipelines.ledger.store import Ledger\n"
        "with Ledger(Path(sys.argv[1]), 20).transaction() as tx:\n"
        "    print(tx.value('SELECT max(session) FROM plans'))"
    )
    seen = []
    for one in replaying.replay(desk, replaying.plan_replay(desk, sessions=4), "test"):
        seen.append(one.session)
        if len(seen) == 2:
            waiting = subprocess.Popen(
                [HYDRA[0], "-c", code, str(desk.settings.ledger_path)],
                stdout=subprocess.PIPE,
                text=True,
            )
            while not desk.ledger.waited_for and waiting.poll() is None:
                time.sleep(0.01)
    assert waiting is not None
    said, _ = waiting.communicate(timeout=30)
    assert date.fromisoformat(said.strip()) == seen[1]


def test_a_separate_desk_leaves_the_present_one_as_it_is(copy: CopyDesk, begun: Path) -> None:
    present = copy("present")
    before = _files(present.settings.data_path)
    folder = copy("separate").settings.data_path
    first = present.settings.embedded.first_session
    separate = replaying.separate_desk(present, folder, first)
    try:
        (done,) = replay(separate, 1)
        assert done.session == separate.calendar.next(first)
    finally:
        separate.close()
    assert _files(present.settings.data_path) == before
    assert separate.settings.registry_uri.endswith(str(folder / "mlruns" / "mlflow.db"))


def _files(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and "cache" not in path.parts
    }


def test_folders_that_are_no_separate_desk_are_refused(begun: Path, tmp_path: Path) -> None:
    present = Desk(load_settings(data_dir=begun))
    first = date(2019, 1, 2)
    (tmp_path / "notes.txt").write_text("not a desk")
    for folder, why in (
        (begun, "belongs to the present desk"),
        (begun / "inside", "belongs to the present desk"),
        (tmp_path, "holds no desk"),
        (tmp_path / "notes.txt", "no folder"),
    ):
        with pytest.raises(ReplayRefused, match=why):
            replaying.separate_desk(present, folder, first)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"broker": {"venue": "ibkr"}}, "broker.venue is ibkr"),
        ({"mode": "dry_run"}, "mode is dry_run"),
        ({"mode": "live"}, "mode is live"),
    ],
)
def test_where_a_replay_is_refused(tmp_path: Path, settings: dict[str, Any], why: str) -> None:
    desk = Desk(load_settings(data_dir=tmp_path, **settings))
    with pytest.raises(ReplayRefused, match=why):
        replaying.plan_replay(desk, sessions=1)


def test_beyond_the_prices_it_is_refused_with_what_is_possible(copy: CopyDesk) -> None:
    desk = copy("to the end")
    with pytest.raises(ReplayRefused, match=r"the last session that can be executed is 2022-12-27"):
        replaying.plan_replay(desk, to=date(2022, 12, 28))
    assert replaying.plan_replay(desk, to=date(2019, 1, 2)).sessions == ()


def test_the_command_says_how_to_go_on(copy: CopyDesk) -> None:
    desk = copy("told")
    desk.control.halt("test", "user:test")
    done = CommandLine(desk.settings.data_path).run("replay", "--sessions", "2")
    assert done.returncode == REFUSED
    assert "trading is halted" in done.stderr
    assert "hydra replay --sessions 2" in done.stderr


def test_a_snapshot_that_a_killed_process_left_behind_is_published_by_the_next_reader(
    tmp_path: Path,
) -> None:
    path = tmp_path / "hydra.duckdb"
    ledger = Ledger(path)
    with ledger.transaction() as tx:
        tx.execute("CREATE TABLE t AS SELECT 1 AS n")
    ledger.publish()
    code = (
        "import os, sys; from pathlib import Path\n"
        "from hydra_pipelines.ledger.store import Ledger\n"
        "ledger = Ledger(Path(sys.argv[1]))\n"
        "with ledger.publishing_later():\n"
        "    with ledger.transaction() as tx: tx.execute('INSERT INTO t VALUES (2)')\n"
        "    ledger.publish()\n"
        "    with ledger.snapshot() as rows:\n"
        "        print(rows.value('SELECT count(*) FROM t'), flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    killed = subprocess.run([HYDRA[0], "-c", code, str(path)], capture_output=True, text=True)
    assert killed.stdout.strip() == "1", killed.stderr
    with Ledger(path).snapshot() as rows:
        assert rows.value("SELECT count(*) FROM t") == 2
    with suppress(FileNotFoundError):
        assert path.with_suffix(".behind").read_text() == ""


def test_the_clock_of_a_copy_is_where_the_first_session_left_it(copy: CopyDesk) -> None:
    desk = copy("clock")
    assert desk.clock.now() == desk.calendar.close(date(2019, 1, 3))
    assert isinstance(desk.clock.now(), datetime)
