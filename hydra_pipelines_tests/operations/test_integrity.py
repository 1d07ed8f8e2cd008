"""Stores that are damaged or don't fit together are named, with what to do; sound ones pass."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger import accounts, trades
from hydra_pipelines.ledger.store import Ledger, LedgerBusy, Transaction, exclusive
from hydra_pipelines.operations.integrity import (
    StoreDamaged,
    broken_rules,
    look_at_ledger,
    look_at_sqlite,
    require_sound_stores,
)
from hydra_pipelines.settings import load_settings
from hydra_pipelines_tests.desks import REFUSED, CommandLine
from hydra_pipelines_tests.ledger.builders import ACCOUNT, NOW, execution, position

REF = execution()["order_ref"]


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    return Ledger(tmp_path_factory.mktemp("integrity") / "hydra.duckdb")


class Undo(Exception):
    """Raised at the end of an example, so that its transaction leaves nothing."""


def intend(tx: Transaction, ref: str = REF, symbol: str = "AAPL", side: str = "BUY") -> None:
    tx.execute(
        "INSERT INTO order_intents BY NAME SELECT $1 AS order_ref, 'p' AS plan_id, "
        "DATE '2019-01-02' AS session, DATE '2019-01-03' AS execution_session, $2 AS account, "
        "$3 AS symbol, $4 AS side, 100 AS quantity, 40 AS limit_price, 'DAY' AS tif, "
        "40 AS arrival_price, $5 AS arrival_at, 1 AS predicted_slippage_bps, 'x' AS routing, "
        "'x' AS strategies, 0 AS slice, 1 AS attempt, 1 AS order_id, 'r' AS run_id, "
        "$5 AS recorded_at",
        [ref, ACCOUNT, symbol, side, NOW],
    )


def plan(tx: Transaction) -> None:
    tx.execute(
        "INSERT INTO plans VALUES ('p', DATE '2019-01-02', DATE '2019-01-03', $1, 1, 1, 'done', "
        "false, '[]', $2)",
        [ACCOUNT, NOW],
    )


def event(tx: Transaction, ref: str, seq: int) -> None:
    tx.execute("INSERT INTO order_events VALUES (?, ?, 'sent', '{}', ?)", [seq, ref, NOW])


def sound(tx: Transaction) -> None:
    """An order, sent, filled, and the position that it made."""
    plan(tx)
    intend(tx)
    event(tx, REF, 1)
    trades.record(tx, [execution()])
    accounts.replace_positions(tx, ACCOUNT, date(2019, 1, 3), [position()])


BROKEN: list[tuple[str, Callable[[Transaction], object]]] = [
    ("orders without their plan: " + REF, lambda tx: tx.execute("DELETE FROM plans")),
    (
        "rows of a plan that isn't there: q-7",
        lambda tx: tx.execute(
            "INSERT INTO plan_rows VALUES ('q', 7, 'KO', 'BUY', 1, '', 0, 1, 0, 0, 1, 1, 1, '', "
            "'', NULL)"
        ),
    ),
    ("events of an order that was never intended: other", lambda tx: event(tx, "other", 2)),
    ("events with the number of another: 1", lambda tx: event(tx, REF, 1)),
    (
        "executions that are no trade: 0002",
        lambda tx: trades.record(tx, [execution("0002.01", quantity=-5, order_ref=None)]),
    ),
    (
        "executions that are no trade: 0002",
        lambda tx: trades.record(tx, [execution("0002.01", price=Decimal(0), order_ref=None)]),
    ),
    (
        "another name or direction: 0002",
        lambda tx: trades.record(tx, [execution("0002.01", side="SELL")]),
    ),
    (
        f"positions of {ACCOUNT} that its trades don't add up to: AAPL (100, traded 200)",
        lambda tx: trades.record(tx, [execution("0002.01")]),
    ),
    (
        "its trades don't add up to: KO (5, traded 0)",
        lambda tx: accounts.replace_positions(
            tx, ACCOUNT, date(2019, 1, 3), [position(), position("KO", quantity=5)]
        ),
    ),
    (
        "steps of its schema are missing",
        lambda tx: tx.execute("DELETE FROM schema_versions WHERE number = 1"),
    ),
]


@pytest.mark.parametrize(("said", "damage"), BROKEN, ids=[said[:30] for said, _ in BROKEN])
def test_what_does_not_fit_together_is_said(
    ledger: Ledger, said: str, damage: Callable[[Transaction], object]
) -> None:
    with pytest.raises(Undo), ledger.transaction() as tx:
        sound(tx)
        assert list(broken_rules(tx)) == []
        damage(tx)
        assert any(said in text for text in broken_rules(tx)), list(broken_rules(tx))
        raise Undo


def test_what_is_on_its_way_is_no_damage(ledger: Ledger) -> None:
    with pytest.raises(Undo), ledger.transaction() as tx:
        sound(tx)
        # A fill that positions were not read after yet.
        later = tx.value("SELECT max(updated_at) + INTERVAL 1 SECOND FROM live_positions")
        trades.record(tx, [execution("0003.01", recorded_at=later)])
        assert list(broken_rules(tx)) == []
        raise Undo
    with pytest.raises(Undo), ledger.transaction() as tx:
        sound(tx)
        # A difference that reconciliation knows of.
        accounts.replace_positions(
            tx, ACCOUNT, date(2019, 1, 3), [position(), position("KO", quantity=5)]
        )
        tx.execute(
            "INSERT INTO position_breaks VALUES (?, DATE '2019-01-03', 'KO', 'quantity', 0, 5, "
            "false, '', NULL, ?, NULL)",
            [ACCOUNT, NOW],
        )
        assert list(broken_rules(tx)) == []
        raise Undo


def test_a_damaged_ledger_is_named_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "my desk" / "hydra.duckdb"
    assert look_at_ledger(path, 1) == "none yet, made by the first cycle"
    Ledger(path).publish()
    assert look_at_ledger(path, 1).startswith("schema ")
    with exclusive(path.with_suffix(".lock"), 1, "it"), pytest.raises(LedgerBusy):
        look_at_ledger(path, 0.1)
    whole = path.read_bytes()
    for damaged in (b"no database", whole[: len(whole) // 2], whole[:4096] + b"\0" * 300_000):
        path.write_bytes(damaged)
        with pytest.raises(StoreDamaged) as error:
            look_at_ledger(path, 1)
        assert str(path) in str(error.value) and "hydra restore" in str(error.value)


def test_damaged_files_of_sqlite_are_named(tmp_path: Path) -> None:
    path = tmp_path / "my desk" / "control.sqlite"
    assert look_at_sqlite(path, "the control store") == "none yet"
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE notes (text TEXT)")
        connection.executemany("INSERT INTO notes VALUES (?)", [("x" * 100,)] * 500)
    assert look_at_sqlite(path, "the control store").endswith(" MB")
    whole = path.read_bytes()
    for damaged in (b"no database at all" * 10, whole[:8192] + b"\xff" * 8192 + whole[16384:]):
        path.write_bytes(damaged)
        with pytest.raises(StoreDamaged, match=r"control store .*control\.sqlite is damaged"):
            look_at_sqlite(path, "the control store")
    desk = Desk(load_settings(data_dir=tmp_path / "my desk"))
    with pytest.raises(StoreDamaged, match=r"control\.sqlite is damaged"):
        require_sound_stores(desk)


def test_a_desk_with_a_damaged_store_is_not_started(tmp_path: Path) -> None:
    hydra = CommandLine(tmp_path / "my desk")
    hydra.folder.mkdir()
    (hydra.folder / "hydra.duckdb").write_bytes(b"no database")
    done = hydra.run("up", "--port", "0", "--no-dashboard")
    assert done.returncode == REFUSED
    assert "hydra.duckdb is damaged" in done.stderr and "hydra restore" in done.stderr
    assert "Traceback" not in done.stderr and not (hydra.folder / "logs").exists()
