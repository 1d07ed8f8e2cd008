"""The ledger's file: one writer, all or nothing, and a schema that only moves forward."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import patch

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hydra_pipelines.ledger import engines, store
from hydra_pipelines.ledger.store import Ledger, LedgerBusy, LedgerError, exclusive
from hydra_pipelines.sessions import NEW_YORK
from hydra_pipelines_tests.ledger.conftest import StartProcess, kill

NOW = datetime(2019, 1, 2, 21, 0, 0, 123456, tzinfo=UTC)
COLUMNS = "account, session, amount, reason, recorded_at"
"""Of `cash_movements`, those that `movement` gives."""


def movement(amount: str = "1.00", account: str = "DU1") -> dict[str, Any]:
    return {
        "account": account,
        "session": date(2019, 1, 2),
        "amount": Decimal(amount),
        "reason": "a test",
        "recorded_at": NOW,
    }


def movements(ledger: Ledger) -> list[Decimal]:
    with ledger.transaction() as tx:
        return [row["amount"] for row in tx.query("SELECT amount FROM cash_movements ORDER BY ALL")]


# all or nothing


def test_a_transaction_is_kept_whole(ledger: Ledger) -> None:
    with ledger.transaction() as tx:
        tx.insert("cash_movements", [movement("1")])
        tx.insert("cash_movements", [movement("2"), movement("3")])
    assert movements(ledger) == [1, 2, 3]
    assert movements(Ledger(ledger.path)) == [1, 2, 3]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_transaction_that_raises_leaves_nothing(
    ledger: Ledger, error: type[BaseException]
) -> None:
    with ledger.transaction() as tx:
        tx.insert("cash_movements", [movement("1")])
    with pytest.raises(error), ledger.transaction() as tx:
        tx.insert("cash_movements", [movement("2")])
        tx.execute("DELETE FROM cash_movements WHERE amount = 1")
        raise error
    assert movements(ledger) == [1]


def test_a_statement_that_fails_takes_the_transaction_with_it(ledger: Ledger) -> None:
    with pytest.raises(duckdb.Error, match="NOT NULL"), ledger.transaction() as tx:
        tx.insert("cash_movements", [movement("1")])
        tx.insert("cash_movements", [{**movement("2"), "reason": None}])
    with pytest.raises(duckdb.Error, match="duplicate key"), ledger.transaction() as tx:
        tx.insert("cash_movements", [movement("3")])
        for _ in range(2):
            tx.insert("schema_versions", [{"number": 99, "name": "x", "applied_at": NOW}])
    assert movements(ledger) == []


def test_killed_in_a_transaction_nothing_of_it_is_left(ledger: Ledger, start: StartProcess) -> None:
    with ledger.transaction() as tx:
        tx.insert("cash_movements", [movement("1")])
    process = start(
        "with ledger.transaction() as tx:\n"
        '    tx.execute("INSERT INTO cash_movements '
        "(account, session, amount, reason, recorded_at) "
        "SELECT 'DU2', DATE '2019-01-02', i, 'x', now() FROM range(50000) r(i)\")\n"
        "    tx.execute('DELETE FROM cash_movements WHERE amount = 1')\n"
        "    here()"
    )
    kill(process)
    assert movements(ledger) == [1]


def test_killed_after_the_commit_it_is_there(ledger: Ledger, start: StartProcess) -> None:
    """The connection is still open then, and its log not yet in the file."""
    process = start(
        "with ledger.session():\n"
        "    with ledger.transaction() as tx:\n"
        '        tx.execute("INSERT INTO cash_movements '
        "(account, session, amount, reason, recorded_at) "
        "SELECT 'DU2', DATE '2019-01-02', 7, 'x', now()\")\n"
        "    here()"
    )
    kill(process)
    assert movements(ledger) == [7]


# nesting and forgetting


def test_a_nested_transaction_is_refused_and_the_outer_one_goes_on(ledger: Ledger) -> None:
    with ledger.transaction() as tx:
        tx.insert("cash_movements", [movement("1")])
        with pytest.raises(LedgerError, match="don't nest"), ledger.transaction():
            pass
        tx.insert("cash_movements", [movement("2")])
    assert movements(ledger) == [1, 2]


def test_a_second_object_in_the_process_waits_like_any_other(ledger: Ledger) -> None:
    other = Ledger(ledger.path, lock_timeout_s=0.05)
    with ledger.transaction() as tx:
        tx.insert("cash_movements", [movement("1")])
        with pytest.raises(LedgerBusy), other.transaction():
            pass
    assert movements(other) == [1]


def test_sessions_nest_and_the_lock_is_held_until_the_outermost_ends(ledger: Ledger) -> None:
    other = Ledger(ledger.path, lock_timeout_s=0.05)
    with ledger.session():
        with ledger.session(), ledger.transaction() as tx:
            tx.insert("cash_movements", [movement("1")])
        with pytest.raises(LedgerBusy), other.transaction():
            pass
        with ledger.transaction() as tx:
            assert tx.value("SELECT count(*) FROM cash_movements") == 1
    assert movements(other) == [1]


def test_a_transaction_kept_beyond_its_end_does_nothing(ledger: Ledger) -> None:
    with ledger.session():
        with ledger.transaction() as kept:
            kept.insert("cash_movements", [movement("1")])
        for use in (
            lambda: kept.execute("DELETE FROM cash_movements"),
            lambda: kept.insert("cash_movements", [movement("2")]),
            lambda: kept.query("SELECT 1"),
            lambda: kept.value("SELECT 1"),
        ):
            with pytest.raises(LedgerError, match="is over"):
                use()
        with ledger.transaction() as tx:
            assert tx.value("SELECT sum(amount) FROM cash_movements") == 1


def test_a_forgotten_transaction_is_undone_and_blocks_nobody(ledger: Ledger) -> None:
    def forget() -> None:
        block = ledger.transaction()
        block.__enter__().insert("cash_movements", [movement("1")])

    forget()
    assert movements(ledger) == []
    assert movements(Ledger(ledger.path, lock_timeout_s=0.05)) == []


# one writer


def test_a_second_writer_is_told_who_holds_the_lock(ledger: Ledger, start: StartProcess) -> None:
    process = start("with ledger.transaction(): here()")
    with pytest.raises(LedgerBusy) as caught, ledger.transaction():
        pass
    message = str(caught.value)
    assert f"the ledger is held by process {process.pid} for more than 0.3 s" in message
    assert str(ledger.path.with_suffix(".lock")) in message
    kill(process)
    assert movements(ledger) == [], "the lock dies with its holder"


def test_a_writer_waits_for_the_one_before_it(ledger: Ledger) -> None:
    patient = Ledger(ledger.path, lock_timeout_s=20)
    entered, seen = threading.Event(), []

    def second() -> None:
        entered.set()
        seen.extend(movements(patient))

    with ledger.transaction() as tx:
        thread = threading.Thread(target=second)
        thread.start()
        entered.wait()
        tx.insert("cash_movements", [movement("1")])
    thread.join()
    assert seen == [1]


def test_many_processes_write_one_after_the_other(ledger: Ledger) -> None:
    code = (
        "import sys; from pathlib import Path; from hydra_pipelines.ledger.store import Ledger\n"
        "ledger = Ledger(Path(sys.argv[1]))\n"
        "for _ in range(5):\n"
        "    with ledger.transaction() as tx:\n"
        "        n = tx.value('SELECT count(*) FROM cash_movements')\n"
        '        tx.execute("INSERT INTO cash_movements '
        "(account, session, amount, reason, recorded_at) "
        "SELECT 'DU1', DATE '2019-01-02', ?, 'x', now()\", [n])"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, str(ledger.path)]) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert movements(ledger) == list(range(15)), "each saw what all before it wrote"


def test_a_program_that_opened_the_live_file_is_waited_for(
    ledger: Ledger, start: StartProcess
) -> None:
    movements(ledger)
    process = start("import duckdb; con = duckdb.connect(sys.argv[1]); here()")
    with pytest.raises(LedgerBusy, match="held open by another program; close it"):
        movements(ledger)
    kill(process)
    assert movements(ledger) == []


def test_an_exclusive_block_names_its_purpose(tmp_path: Path) -> None:
    lock = tmp_path / "new" / "execution.lock"
    with (
        exclusive(lock, 1, "execution"),
        pytest.raises(LedgerBusy, match="execution is held by process"),
        exclusive(lock, 0.05, "execution"),
    ):
        pass
    with exclusive(lock, 0.05, "execution"):
        pass


@pytest.mark.parametrize("content", [b"", b"not a database at all\n" * 1000])
def test_a_file_that_is_no_ledger_is_told_apart_from_a_busy_one(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(LedgerError, match=r"can't be opened.*move it aside") as caught:
        movements(Ledger(path, lock_timeout_s=60))
    assert not isinstance(caught.value, LedgerBusy) and str(path) in str(caught.value)


# rows


def test_columns_are_checked(ledger: Ledger) -> None:
    with ledger.transaction() as tx:
        with pytest.raises(LedgerError, match=r"no column cash_movements\.colour"):
            tx.insert("cash_movements", [{**movement(), "colour": "red"}])
        with pytest.raises(LedgerError, match="cash_movements differ in their columns: colour"):
            tx.insert("cash_movements", [movement(), {**movement(), "colour": "red"}])
        with pytest.raises(LedgerError, match="differ in their columns: reason"):
            short = movement()
            del short["reason"]
            tx.insert("cash_movements", [movement(), short])
        tx.insert("cash_movements", [])
        assert tx.query("SELECT * FROM cash_movements") == []


def test_columns_may_come_in_any_order(ledger: Ledger) -> None:
    backwards = dict(reversed(movement("2").items()))
    with ledger.transaction() as tx:
        tx.insert("cash_movements", [movement("1"), backwards])
        assert tx.query(f"SELECT {COLUMNS} FROM cash_movements ORDER BY amount") == [
            movement("1"),
            movement("2"),
        ]


def test_one_row_is_one_row(ledger: Ledger) -> None:
    with ledger.transaction() as tx:
        assert tx.one("SELECT * FROM cash_movements") is None
        assert tx.value("SELECT amount FROM cash_movements") is None
        tx.insert("cash_movements", [movement("1")])
        assert tx.one(f"SELECT {COLUMNS} FROM cash_movements") == movement("1")
        tx.insert("cash_movements", [movement("2")])
        with pytest.raises(LedgerError, match="at most one row, got 2"):
            tx.one("SELECT * FROM cash_movements")


def decimals(whole: int, places: int) -> st.SearchStrategy[Decimal]:
    """Amounts with up to so many digits, written with or without the zeros at their end."""
    amounts = st.decimals(-(10**whole) + 1, 10**whole - 1, places=places)
    return amounts | amounts.map(Decimal.normalize)


CELLS: dict[str, st.SearchStrategy[Any]] = {
    "text VARCHAR": st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    "price DECIMAL(18, 4)": decimals(14, 4),
    "money DECIMAL(18, 2)": decimals(16, 2),
    "fine DECIMAL(18, 6)": decimals(12, 6),
    "shares BIGINT": st.integers(-(2**63), 2**63 - 1),
    "count INTEGER": st.integers(-(2**31), 2**31 - 1),
    "signal TINYINT": st.integers(-1, 1),
    "yes BOOLEAN": st.booleans(),
    "value DOUBLE": st.floats(allow_nan=False),
    "session DATE": st.dates(),
    "moment TIMESTAMPTZ": st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)).map(
        lambda at: at.replace(tzinfo=UTC)
    ),
}
ROW = st.fixed_dictionaries({name.split()[0]: st.none() | cell for name, cell in CELLS.items()})


@pytest.fixture(scope="module")
def types(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    ledger = Ledger(tmp_path_factory.mktemp("types") / "hydra.duckdb")
    with ledger.transaction() as tx:
        tx.execute(f"CREATE TABLE types (n INTEGER, {', '.join(CELLS)})")
    return ledger


@settings(max_examples=25)  # each is a transaction on the disk
@given(rows=st.lists(ROW, min_size=1, max_size=6))
def test_rows_come_back_as_they_went_in(types: Ledger, rows: list[dict[str, Any]]) -> None:
    rows = [{"n": n, **row} for n, row in enumerate(rows)]
    with types.transaction() as tx:
        tx.execute("DELETE FROM types")
        tx.insert("types", rows)
        back = tx.query("SELECT * FROM types ORDER BY n")
    assert back == rows
    for row in back:
        assert row["moment"] is None or row["moment"].utcoffset() == timedelta(0)
        for name, places in (("price", 4), ("money", 2), ("fine", 6)):
            assert row[name] is None or row[name].as_tuple().exponent == -places


def test_instants_of_other_zones_are_kept_as_the_same_instant(types: Ledger) -> None:
    at = datetime(2019, 7, 1, 9, 30, tzinfo=NEW_YORK)
    with types.transaction() as tx:
        tx.execute("DELETE FROM types")
        tx.insert("types", [{"moment": at}])
        assert tx.value("SELECT moment FROM types") == at
        assert tx.value("SELECT moment FROM types").utcoffset() == timedelta(0)


# schema


def test_a_new_ledger_has_every_table(ledger: Ledger) -> None:
    with ledger.transaction() as tx:
        tables = {row["table_name"] for row in tx.query("SELECT table_name FROM duckdb_tables()")}
        applied = tx.query("SELECT number, name FROM schema_versions ORDER BY number")
    assert tables >= {"order_intents", "order_events", "executed_trades", "plans", "audit_events"}
    files = sorted(file.stem for file in store.SCHEMA_DIR.glob("*.sql"))
    assert [row["name"] for row in applied] == files
    assert [row["number"] for row in applied] == list(range(1, len(files) + 1))


@pytest.fixture
def schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The schema folder of a later version of the program."""
    folder = tmp_path / "schema"
    shutil.copytree(store.SCHEMA_DIR, folder)
    monkeypatch.setattr(store, "SCHEMA_DIR", folder)
    return folder


def test_later_files_are_applied_once_and_in_the_order_of_their_numbers(
    ledger: Ledger, schema: Path
) -> None:
    with ledger.transaction() as tx:
        tx.insert("cash_movements", [movement("1")])
    (schema / "0010_tenth.sql").write_text("ALTER TABLE steps ADD COLUMN tenth INTEGER;")
    (schema / "0009_ninth.sql").write_text(
        "CREATE TABLE steps (ninth INTEGER); INSERT INTO steps VALUES (9);"
    )
    for _ in range(2):
        with ledger.transaction() as tx:
            assert tx.query("SELECT * FROM steps") == [{"ninth": 9, "tenth": None}]
            numbers = tx.query("SELECT number FROM schema_versions ORDER BY applied_at, number")
            assert [row["number"] for row in numbers][-2:] == [9, 10]
    assert movements(ledger) == [1], "what was there stays"


def test_a_file_that_fails_leaves_the_version_before_it(ledger: Ledger, schema: Path) -> None:
    (schema / "0009_ninth.sql").write_text("CREATE TABLE ninth (i INTEGER);")
    (schema / "0010_tenth.sql").write_text("CREATE TABLE tenth (i INTEGER); SELECT nonsense;")
    with pytest.raises(duckdb.Error, match="nonsense"), ledger.transaction():
        pass
    (schema / "0010_tenth.sql").unlink()
    with ledger.transaction() as tx:
        assert tx.value("SELECT max(number) FROM schema_versions") == 9
        names = [row["table_name"] for row in tx.query("SELECT table_name FROM duckdb_tables()")]
    assert "ninth" in names and "tenth" not in names


def test_a_ledger_of_a_newer_program_is_left_alone(ledger: Ledger, schema: Path) -> None:
    newer = schema / "0099_later.sql"
    newer.write_text("CREATE TABLE later (i INTEGER);")
    with ledger.transaction() as tx:
        tx.insert("cash_movements", [movement("1")])
    ledger.publish()
    newer.unlink()
    with pytest.raises(LedgerError, match=r"has schema version 99, .*update the program"):
        movements(ledger)
    with pytest.raises(LedgerError, match="schema version 99"), ledger.snapshot():
        pass
    newer.touch()
    assert movements(ledger) == [1], "and was not harmed by the older one"


def test_engines_are_used_again_and_files_closed_each_time(tmp_path: Path) -> None:
    """Two ledgers by turns and one within the other: as many engines as there are files at once."""
    one, other = Ledger(tmp_path / "one.duckdb"), Ledger(tmp_path / "other.duckdb")
    with (
        patch.object(engines, "_idle", {}),
        patch.object(duckdb, "connect", wraps=duckdb.connect) as started,
    ):
        for ledger in (one, other, one):
            with ledger.transaction() as tx:
                tx.execute("CREATE TABLE IF NOT EXISTS mine (name VARCHAR)")
                tx.execute("INSERT INTO mine VALUES (?)", [ledger.path.stem])
        assert started.call_count == 1
        with one.session(), other.session():
            held = one.held
        assert started.call_count == 2 and one.held is None
        with one.session():
            assert one.held is not held
        with pytest.raises(ZeroDivisionError), one.transaction():
            _ = 1 / 0
    for ledger, rows in ((one, 2), (other, 1)):
        assert not ledger.path.with_name(ledger.path.name + ".wal").exists()
        # Another process may have it, so nothing of this one holds it.
        done = subprocess.run(
            [sys.executable, "-c", "import duckdb, sys; duckdb.connect(sys.argv[1])", ledger.path],
            capture_output=True,
            text=True,
        )
        assert not done.returncode, done.stderr
        with ledger.transaction() as tx:
            names = [row["name"] for row in tx.query("SELECT name FROM mine")]
        assert names == [ledger.path.stem] * rows


def test_a_checkpoint_that_fails_takes_no_commit_back(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.duckdb")
    with patch.object(engines, "_NAME", "elsewhere"), ledger.transaction() as tx:
        tx.execute("CREATE TABLE mine (name VARCHAR)")
        engines._NAME = "nowhere"
    with ledger.transaction() as tx:
        assert tx.query("SELECT * FROM mine") == []
