"""Reading for many pages at once: once for a state of the stores, and never an error."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from hydra_pipelines import api
from hydra_pipelines.control import Control
from hydra_pipelines.dashboard import reading
from hydra_pipelines.dashboard.reading import Readings
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger.reading import OldSnapshot, SnapshotReader
from hydra_pipelines.ledger.store import Ledger, LedgerError, LedgerMissing
from hydra_pipelines.settings import load_settings
from hydra_pipelines_tests.dashboard import stores


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return stores.empty(tmp_path / "desk")


@pytest.fixture
def readings(folder: Path) -> Readings:
    return Readings(load_settings(data_dir=folder))


def trade(folder: Path, number: int) -> None:
    ledger = Ledger(folder / "hydra.duckdb")
    with ledger.transaction() as tx:
        tx.insert("executed_trades", [stores.fill(number)])
    ledger.publish()


calls: list[object] = []


def counted(desk: Desk, *arguments: object) -> int:
    calls.append(arguments)
    with desk.ledger.snapshot() as rows:
        return int(rows.value("SELECT count(*) FROM executed_trades"))


def slow(desk: Desk) -> int:
    time.sleep(0.15)
    return counted(desk)


@pytest.fixture(autouse=True)
def no_calls() -> None:
    calls.clear()


def test_a_value_is_made_once_for_a_state_however_many_ask(readings: Readings) -> None:
    seen: list[int | None] = []
    threads = [
        threading.Thread(target=lambda: seen.append(readings.read(slow).value)) for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [0] * 20 and len(calls) == 1
    readings.read(counted, 1)
    readings.read(counted, 2)
    readings.read(counted, 1)
    assert calls == [(), (1,), (2,)]


def test_what_is_published_is_read_at_once(readings: Readings, folder: Path) -> None:
    assert readings.read(slow).value == 0
    trade(folder, 1)
    assert readings.read(slow).value == 1


def test_a_figure_is_not_waited_for_and_says_of_when_it_is(
    readings: Readings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "REST", 2)
    first = readings.figure(slow)
    assert first.value == 0 and not first.stale
    trade(folder, 1)
    began = time.monotonic()
    second = readings.figure(slow)
    assert time.monotonic() - began < 0.14
    assert second.value == 0 and second.stale and second.as_of == first.as_of
    deadline = time.monotonic() + 20
    while readings.figure(slow).stale:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert readings.figure(slow).value == 1


def test_a_heartbeat_changes_nothing_and_a_switch_does(readings: Readings, folder: Path) -> None:
    from hydra_pipelines.components import Component

    before = readings.state()
    readings.desk.components.beat(Component(id="x", kind="worker", name="x"))
    assert readings.state() == before
    Control(folder / "control.sqlite").set_agent_paused(True, "test")
    assert readings.state() != before
    assert readings.read(api.pulse).value["agent"] == "paused"


def test_errors_are_sentences_and_the_next_state_is_read_anew(
    readings: Readings, folder: Path
) -> None:
    def broken(desk: Desk) -> int:
        raise KeyError("secret")

    found = readings.read(broken)
    assert not found.known and "KeyError" in found.why and "secret" not in found.why
    snapshot = folder / "hydra.snapshot.duckdb"
    kept = snapshot.rename(folder / "kept")
    gone = readings.read(counted)
    assert gone.missing and "never published" in gone.why
    kept.rename(snapshot)
    assert readings.read(counted).value == 0


def test_a_none_is_missing_and_not_an_error(readings: Readings) -> None:
    found = readings.read(api.money, none="no account yet")
    assert (found.value, found.why, found.missing) == (None, "no account yet", True)


def test_the_reader_writes_nothing(folder: Path, tmp_path: Path) -> None:
    reader = SnapshotReader(folder / "hydra.duckdb")
    for attempt in (reader.session, reader.transaction):
        with pytest.raises(LedgerError, match="only reads"), attempt():
            pass
    with pytest.raises(LedgerError, match="only reads"):
        reader.publish()
    with pytest.raises(LedgerMissing), SnapshotReader(tmp_path / "none.duckdb").snapshot():
        pass


def test_readers_of_several_threads_share_a_handle_and_see_the_new_file(folder: Path) -> None:
    reader = SnapshotReader(folder / "hydra.duckdb")
    query = "SELECT count(*) FROM executed_trades"
    with reader.snapshot() as old:
        trade(folder, 1)
        with reader.snapshot() as new:
            # Whoever reads goes on in the state that it began with.
            assert (old.value(query), new.value(query)) == (0, 1)
    wrong: list[object] = []

    def read() -> None:
        for _ in range(30):
            with reader.snapshot() as rows:
                if rows.value(query) < 1:
                    wrong.append("an older state")

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for number in range(2, 6):
        trade(folder, number)
    for thread in threads:
        thread.join()
    with reader.snapshot() as rows:
        assert rows.value(query) == 5 and wrong == []


def test_an_old_snapshot_is_left_as_it_is(folder: Path) -> None:
    stores.aged(folder)
    before = (folder / "hydra.snapshot.duckdb").read_bytes()
    reader = SnapshotReader(folder / "hydra.duckdb")
    with pytest.raises(OldSnapshot, match="schema version 1"), reader.snapshot():
        pass
    assert (folder / "hydra.snapshot.duckdb").read_bytes() == before
