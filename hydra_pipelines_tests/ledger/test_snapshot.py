"""The published snapshot: what readers see, while and after somebody writes."""

from __future__ import annotations

import os
import shutil
import time
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from hydra_pipelines.ledger import audit, store
from hydra_pipelines.ledger.audit import AuditEvent
from hydra_pipelines.ledger.store import Ledger, LedgerError, LedgerMissing, Rows
from hydra_pipelines_tests.ledger.conftest import StartProcess, kill
from hydra_pipelines_tests.ledger.test_store import movement


def write(ledger: Ledger, *amounts: str) -> None:
    with ledger.transaction() as tx:
        tx.insert("cash_movements", [movement(amount) for amount in amounts])


def published(ledger: Ledger) -> list[Decimal]:
    with ledger.snapshot() as rows:
        found = rows.query("SELECT amount FROM cash_movements ORDER BY amount")
    return [row["amount"] for row in found]


def content(rows: Rows) -> dict[str, list[str]]:
    """Everything that a ledger holds, and how its tables and counters are made."""
    here = "database_name = current_database()"
    tables = rows.query(f"SELECT table_name, sql FROM duckdb_tables() WHERE {here}")
    sequences = f"SELECT sequence_name, last_value FROM duckdb_sequences() WHERE {here}"
    out = {"sequences": sorted(map(repr, rows.query(sequences)))}
    for table in tables:
        name = table["table_name"]
        out[name] = [table["sql"], *sorted(map(repr, rows.query(f"SELECT * FROM {name}")))]
    return out


def test_readers_see_what_was_published(ledger: Ledger) -> None:
    write(ledger, "1")
    ledger.publish()
    write(ledger, "2")
    assert published(ledger) == [1]
    ledger.publish()
    assert published(ledger) == [1, 2]


def test_a_desk_that_never_wrote_has_no_ledger(ledger: Ledger) -> None:
    with pytest.raises(LedgerMissing, match=r"no ledger at .*hydra\.duckdb yet.*`hydra cycle`"):
        published(ledger)
    assert not ledger.path.exists(), "reading makes nothing"


def test_the_snapshot_is_the_ledger_to_the_last_row(ledger: Ledger) -> None:
    write(ledger, "1", "-2.50", "3")
    with ledger.transaction() as tx:
        audit.log(tx, AuditEvent.PLAN_MADE, {"who": "Zoë"}, strategy_id="HYP-2026-001")
        audit.log(tx, AuditEvent.PLAN_MADE, {})
    ledger.publish()
    with ledger.transaction() as tx, ledger.snapshot() as rows:
        live = content(tx)
        assert content(rows) == live
    assert len(live) > 15 and len(live["audit_events"]) == 3


def test_the_snapshot_can_take_the_ledgers_place(ledger: Ledger) -> None:
    """Keys, defaults and counters are those of the ledger: it is its backup."""
    with ledger.transaction() as tx:
        audit.log(tx, AuditEvent.PLAN_MADE, {"n": 1})
    ledger.publish()
    ledger.path.unlink()
    shutil.copyfile(ledger.snapshot_path, ledger.path)
    with ledger.transaction() as tx:
        audit.log(tx, AuditEvent.PLAN_MADE, {"n": 2})
        assert [row["seq"] for row in tx.query("SELECT seq FROM audit_events ORDER BY seq")] == [
            1,
            2,
        ]
    with pytest.raises(Exception, match=r"(?i)duplicate key"), ledger.transaction() as tx:
        tx.insert("schema_versions", [{"number": 1, "name": "x", "applied_at": None}])


def test_reading_goes_on_while_somebody_writes(ledger: Ledger, start: StartProcess) -> None:
    write(ledger, "1")
    ledger.publish()
    process = start(
        "with ledger.transaction() as tx:\n    tx.execute('DELETE FROM cash_movements')\n    here()"
    )
    assert published(ledger) == [1]
    kill(process)


def test_writing_goes_on_while_somebody_reads(ledger: Ledger, start: StartProcess) -> None:
    write(ledger, "1")
    ledger.publish()
    process = start("with ledger.snapshot() as rows:\n    rows.value('SELECT 1')\n    here()")
    write(ledger, "2")
    ledger.publish()
    assert published(ledger) == [1, 2]
    kill(process)


def test_each_reader_keeps_its_state_and_the_next_sees_the_new(ledger: Ledger) -> None:
    """Also within one process, where one of them never closes."""
    write(ledger, "1")
    ledger.publish()
    with ledger.snapshot() as earlier:
        write(ledger, "2")
        ledger.publish()
        assert published(ledger) == [1, 2]
        assert earlier.value("SELECT count(*) FROM cash_movements") == 1


def test_a_snapshot_is_read_only_and_over_when_it_is_over(ledger: Ledger) -> None:
    write(ledger, "1")
    ledger.publish()
    with ledger.snapshot() as rows:
        assert not hasattr(rows, "execute") and not hasattr(rows, "insert")
        with pytest.raises(Exception, match="read-only"):
            rows.query("DELETE FROM cash_movements")
    with pytest.raises(LedgerError, match="is over"):
        rows.query("SELECT 1")


def test_instants_are_utc_wherever_the_reader_is(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(ledger, "1")
    ledger.publish()
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        with ledger.snapshot() as rows:
            at = rows.value("SELECT recorded_at FROM cash_movements")
            day = rows.value("SELECT CAST(recorded_at AS DATE) FROM cash_movements")
    finally:
        monkeypatch.undo()
        time.tzset()
    assert at == datetime(2019, 1, 2, 21, 0, 0, 123456, tzinfo=UTC)
    assert at.utcoffset() == timedelta(0) and day == date(2019, 1, 2)


def test_publishing_within_a_transaction_is_refused(ledger: Ledger) -> None:
    write(ledger, "1")
    ledger.publish()
    with ledger.transaction() as tx:
        tx.insert("cash_movements", [movement("2")])
        with pytest.raises(LedgerError, match="after a transaction, not within one"):
            ledger.publish()
        assert published(ledger) == [1]
    ledger.publish()
    assert published(ledger) == [1, 2]


@pytest.mark.parametrize("moment", ["before", "while"])
def test_killed_while_publishing_readers_keep_the_state_before(
    ledger: Ledger, start: StartProcess, moment: str
) -> None:
    write(ledger, "1")
    ledger.publish()
    write(ledger, "2")
    stop = {
        "before": "store.os.replace = lambda *_: here()\n",
        "while": "store.quoted = lambda path: (path.write_bytes(b'half a'), here())\n",
    }
    kill(start(stop[moment] + "ledger.publish()"))
    assert published(ledger) == [1]
    assert len(list(ledger.path.parent.glob(".hydra.snapshot*"))) >= 1
    ledger.publish()
    assert published(ledger) == [1, 2]
    left = {file.name for file in ledger.path.parent.iterdir()}
    assert left == {"hydra.duckdb", "hydra.snapshot.duckdb", "hydra.lock"}


def test_what_the_dead_left_does_not_mislead_a_process_of_the_same_number(ledger: Ledger) -> None:
    write(ledger, "1")
    new = ledger.path.with_name(f".hydra.snapshot.duckdb.{os.getpid()}")
    new.write_bytes(b"half a snapshot")
    new.with_name(new.name + ".wal").write_bytes(b"half a log")
    ledger.publish()
    assert published(ledger) == [1]
    assert not list(ledger.path.parent.glob(".*"))


def test_a_snapshot_that_is_gone_or_unfit_is_published_anew(ledger: Ledger) -> None:
    write(ledger, "1")
    assert published(ledger) == [1], "never published before"
    ledger.snapshot_path.unlink()
    assert published(ledger) == [1]
    ledger.snapshot_path.write_bytes(b"damaged")
    assert published(ledger) == [1]


def test_a_damaged_snapshot_without_a_ledger_is_said(ledger: Ledger) -> None:
    write(ledger, "1")
    ledger.path.unlink()
    ledger.snapshot_path.write_bytes(b"damaged")
    with pytest.raises(LedgerError, match=r"hydra\.snapshot\.duckdb can't be read"):
        published(ledger)
    assert not ledger.path.exists()


def test_after_an_update_of_the_program_the_snapshot_is_of_the_new_schema(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(ledger, "1")
    ledger.publish()
    later = tmp_path / "schema"
    shutil.copytree(store.SCHEMA_DIR, later)
    (later / "0099_later.sql").write_text("ALTER TABLE cash_movements ADD COLUMN note VARCHAR;")
    monkeypatch.setattr(store, "SCHEMA_DIR", later)
    with ledger.snapshot() as rows:
        assert rows.query("SELECT amount, note FROM cash_movements") == [
            {"amount": 1, "note": None}
        ]
