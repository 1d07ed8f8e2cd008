"""A backup that is taken while a run trades, restored elsewhere: the desk goes on, reconciles, and
sends nothing twice. And what a restore refuses, keeps aside, and leaves stopped."""

from __future__ import annotations

import io
import json
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import pytest

from hydra_pipelines.control import Control
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger.store import LedgerBusy, exclusive
from hydra_pipelines.operations.backup import VENUE, BackupError, back_up, copy_sqlite
from hydra_pipelines.operations.integrity import require_sound_stores
from hydra_pipelines.operations.restore import read_manifest, restore
from hydra_pipelines.operations.stack import UpRefused, only_one
from hydra_pipelines.settings import load_settings
from hydra_pipelines_tests.desks import OK, REFUSED, CommandLine, shut_down
from hydra_pipelines_tests.operations.upped import QUICK_TO_TRAIN
from hydra_pipelines_tests.scenarios.days import decide, run_day, truth, venue_positions

# A process that works the plan of a session, and waits before it sends its third order. As with a
# broker of flesh and blood, the ledger is open for a transaction at a time.
TRADES = """
import os, sys, time
from contextlib import nullcontext
from datetime import date
from hydra_pipelines import day
from hydra_pipelines.desk import Desk
from hydra_pipelines.execution.broker.gateway import BrokerGateway
from hydra_pipelines.settings import load_settings

Desk.ledger_for_step = lambda self: nullcontext()
desk, session = Desk(load_settings(data_dir=sys.argv[1])), date.fromisoformat(sys.argv[2])
real, sent = BrokerGateway.submit, []

def submit(*args, **kwargs):
    sent.append(1)
    if len(sent) == 3:
        print("here", flush=True)
        sys.stdin.readline()
    return real(*args, **kwargs)

BrokerGateway.submit = submit
day.execute_plan(desk, session, "interrupted")
print("traded", flush=True)
sys.stdin.readline()
day.sync_positions(desk, session, "interrupted")
desk.close()
"""


@dataclass(frozen=True)
class Interrupted:
    """A desk, and a backup from the middle of its first day's trading.

    went_on: the venue's account when the day's orders were worked. positions: there at its end.
    """

    desk: Desk
    session: date
    archive: Path
    went_on: Path
    positions: dict[str, int]


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Interrupted]:
    folder = tmp_path_factory.mktemp("backups")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYDRA_STRATEGIES", QUICK_TO_TRAIN)
        yield from interrupt(folder)


def interrupt(folder: Path) -> Iterator[Interrupted]:
    desk = Desk(load_settings(data_dir=folder / "my desk"))
    try:
        session = desk.next_session_due()
        decide(desk, session)
        desk.close()
        trading = subprocess.Popen(
            [sys.executable, "-c", TRADES, str(desk.settings.data_path), str(session)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert trading.stdout is not None and trading.stderr is not None
            assert trading.stdout.readline() == "here\n", trading.stderr.read()[-2000:]
            archive = back_up(desk, folder / "elsewhere")
            assert trading.stdin is not None
            trading.stdin.write("go on\n")
            trading.stdin.flush()
            assert trading.stdout.readline() == "traded\n", trading.stderr.read()[-2000:]
            went_on = folder / "venue.sqlite"
            copy_sqlite(desk.settings.data_path / VENUE, went_on)
            _, said = trading.communicate("go on\n", timeout=120)
            assert trading.returncode == 0, said[-2000:]
        finally:
            trading.kill()
        yield Interrupted(desk, session, archive, went_on, venue_positions(truth(desk)))
    finally:
        desk.close()
        shut_down(desk.settings.data_path)


@pytest.fixture
def elsewhere(interrupted: Interrupted, tmp_path: Path) -> Iterator[Desk]:
    """An empty desk in another folder, as on another machine."""
    folder = tmp_path / "another desk"
    folder.mkdir()
    (folder / "cache").symlink_to(interrupted.desk.settings.cache_path)
    desk = Desk(load_settings(data_dir=folder))
    yield desk
    desk.close()
    shut_down(folder)


def nothing_was_sent_twice(desk: Desk) -> dict[str, int]:
    """By the venue's own books: each order once, one a row of a plan, attempt and slice."""
    books = truth(desk)
    refs = Counter(order["order_ref"] for order in books["orders"])
    assert set(refs.values()) == {1}
    return venue_positions(books)


def test_the_desk_goes_on_elsewhere_and_sends_nothing_twice(
    interrupted: Interrupted, elsewhere: Desk
) -> None:
    done = restore(elsewhere, interrupted.archive, "user:ann")
    assert done.aside is None and done.notes == ()
    assert done.manifest.last_session == str(interrupted.session)
    entry = Control(elsewhere.settings.control_path).journal()[-1]
    assert (entry.event, entry.actor) == ("backup_restored", "user:ann")
    assert elsewhere.next_session_due() == interrupted.session
    before = {order["order_ref"] for order in truth(elsewhere)["orders"]}
    assert len(before) == 2, "the account is the one of the backup, too"

    today = run_day(elsewhere, interrupted.session)
    elsewhere.close()
    assert not today.positions.breaks
    assert today.executed is not None and not today.executed.unknown
    assert before <= {order["order_ref"] for order in truth(elsewhere)["orders"]}
    assert nothing_was_sent_twice(elsewhere) == interrupted.positions

    tomorrow = run_day(elsewhere, elsewhere.next_session_due())
    assert not tomorrow.positions.breaks and tomorrow.executed is not None
    nothing_was_sent_twice(elsewhere)
    require_sound_stores(elsewhere)


def test_a_venue_that_went_on_since_the_backup_is_sent_nothing_twice(
    interrupted: Interrupted, elsewhere: Desk
) -> None:
    """As a broker does: it knows of orders that the restored ledger doesn't."""
    restore(elsewhere, interrupted.archive, "user:ann")
    shutil.copyfile(interrupted.went_on, elsewhere.settings.data_path / VENUE)
    known = {order["order_ref"] for order in truth(elsewhere)["orders"]}
    today = run_day(elsewhere, interrupted.session)
    elsewhere.close()
    assert today.executed is not None and not today.executed.unknown
    assert {order["order_ref"] for order in truth(elsewhere)["orders"]} == known
    assert nothing_was_sent_twice(elsewhere) == interrupted.positions


def test_models_are_found_where_they_are_now(interrupted: Interrupted, elsewhere: Desk) -> None:
    restore(elsewhere, interrupted.archive, "user:ann")
    (strategy,) = elsewhere.strategies
    champion = elsewhere.registry.require_champion(strategy.id)
    assert champion.location.startswith(elsewhere.settings.mlruns_path.as_uri())
    elsewhere.registry.load_inference(champion)
    old = interrupted.desk.settings.mlruns_path.as_uri()
    with closing(sqlite3.connect(elsewhere.settings.mlruns_path / "mlflow.db")) as connection:
        assert not [line for line in connection.iterdump() if old in line]


def test_what_was_there_is_kept_and_what_was_stopped_stays_so(
    interrupted: Interrupted, elsewhere: Desk
) -> None:
    hydra = CommandLine(elsewhere.settings.data_path)
    first = hydra.json("restore", str(interrupted.archive))
    assert (first["aside"], first["halted"]) == (None, False)
    elsewhere.control.set_kill_switch(True, "a look first")
    elsewhere.control.trip("drawdown", "down 11 %", "2019-01-04")
    unasked = hydra.run("restore", str(interrupted.archive))
    assert unasked.returncode == REFUSED and "--yes" in unasked.stderr
    done = hydra.run("restore", str(interrupted.archive), "--yes")
    assert done.returncode == OK and "Trading is halted" in done.stderr, done.stderr
    assert elsewhere.control.kill_switch
    assert [breaker.name for breaker in elsewhere.control.tripped()] == ["drawdown"]
    (aside,) = elsewhere.settings.data_path.glob("before-restore-*")
    kept = {path.relative_to(aside).as_posix() for path in aside.rglob("*") if path.is_file()}
    assert {"hydra.duckdb", "control.sqlite", "paper/venue.sqlite", "mlruns/mlflow.db"} <= kept


def test_nothing_is_restored_under_a_run_or_beside_hydra_up(
    interrupted: Interrupted, elsewhere: Desk
) -> None:
    data = elsewhere.settings.data_path
    with exclusive(data / "broker.lock", 1, "it"), pytest.raises(LedgerBusy, match="broker"):
        restore(elsewhere, interrupted.archive, "user:ann")
    with only_one(elsewhere, "process 7"), pytest.raises(UpRefused, match="process 7"):
        restore(elsewhere, interrupted.archive, "user:ann")
    assert not elsewhere.settings.ledger_path.exists()


def rewritten(archive: Path, target: Path, change: Callable[[str, bytes], bytes | None]) -> Path:
    """The archive with its files changed; None leaves one out."""
    with tarfile.open(archive) as old, tarfile.open(target, "w:gz") as new:
        for member in old:
            file = old.extractfile(member)
            assert file is not None
            content = change(member.name, file.read())
            if content is not None:
                member.size = len(content)
                new.addfile(member, io.BytesIO(content))
    return target


def of_later(name: str, content: bytes) -> bytes:
    return content.replace(b'"schema": ', b'"schema": 9') if name == "manifest.json" else content


DAMAGED: dict[str, Callable[[Path, Path], object]] = {
    r"not what was backed up": lambda archive, target: rewritten(
        archive, target, lambda name, c: c[:-1] + b"?" if name == "hydra.duckdb" else c
    ),
    r"damaged: control\.sqlite": lambda archive, target: rewritten(
        archive, target, lambda name, c: None if name == "control.sqlite" else c
    ),
    r"no backup": lambda archive, target: rewritten(
        archive, target, lambda name, c: None if name == "manifest.json" else c
    ),
    r"Compressed file ended before": lambda archive, target: target.write_bytes(
        archive.read_bytes()[:-2000]
    ),
    r"no backup that can be read": lambda archive, target: target.write_text("something else"),
    r"update the program": lambda archive, target: rewritten(archive, target, of_later),
}


@pytest.mark.parametrize("said", DAMAGED)
def test_what_is_not_whole_is_refused_and_changes_nothing(
    interrupted: Interrupted, elsewhere: Desk, tmp_path: Path, said: str
) -> None:
    damaged = tmp_path / "damaged.tar.gz"
    DAMAGED[said](interrupted.archive, damaged)
    elsewhere.control.set_kill_switch(True, "a look first")
    with pytest.raises(BackupError, match=said):
        restore(elsewhere, damaged, "user:ann")
    assert elsewhere.control.kill_switch and not elsewhere.settings.ledger_path.exists()
    left = {path.name for path in elsewhere.settings.data_path.iterdir()}
    assert not [name for name in left if name.startswith((".restore", "before-restore"))]


def test_files_outside_of_the_desk_are_never_written(
    interrupted: Interrupted, elsewhere: Desk, tmp_path: Path
) -> None:
    evil = tmp_path / "evil.tar.gz"
    rewritten(interrupted.archive, evil, lambda name, content: content)
    text = json.dumps({**_manifest(evil), "files": {"../../outside": "0" * 64}})
    with tarfile.open(evil, "w:gz") as tar:
        for name, content in (("manifest.json", text.encode()), ("../../outside", b"x")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    with pytest.raises(BackupError, match="outside is not what was backed up"):
        restore(elsewhere, evil, "user:ann")
    assert not list(tmp_path.parent.rglob("outside"))


def _manifest(archive: Path) -> dict[str, object]:
    return asdict(read_manifest(archive))


def test_an_archive_is_for_its_owner_and_holds_no_secrets(interrupted: Interrupted) -> None:
    assert interrupted.archive.stat().st_mode & 0o077 == 0
    files = _manifest(interrupted.archive)["files"]
    assert isinstance(files, dict) and ".env" not in files and "hydra.yaml" in files


def test_there_is_nothing_to_back_up_on_a_new_desk(elsewhere: Desk) -> None:
    with pytest.raises(BackupError, match="no ledger"):
        back_up(elsewhere)
