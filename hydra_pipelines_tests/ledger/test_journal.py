"""The fill journal and the books kept from it: one row an execution, money to the last digit."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hydra_pipelines.ledger import accounts, trades
from hydra_pipelines.ledger.store import Ledger, Transaction
from hydra_pipelines_tests.ledger.builders import ACCOUNT, NOW, SESSION, execution, position
from hydra_pipelines_tests.ledger.conftest import Undo


def journal(tx: Transaction) -> dict[str, dict[str, Any]]:
    rows = tx.query("SELECT * FROM executed_trades")
    assert len({row["exec_key"] for row in rows}) == len(rows)
    return {row["exec_key"]: row for row in rows}


# executions


def test_an_execution_is_kept_with_all_its_columns(tx: Transaction) -> None:
    assert trades.record(tx, [execution()]) == ["0001"]
    assert journal(tx) == {"0001": execution()}
    assert trades.record(tx, []) == []


def test_an_execution_told_again_changes_nothing(tx: Transaction) -> None:
    trades.record(tx, [execution()])
    assert trades.record(tx, [execution(price=Decimal(1))]) == []
    assert journal(tx) == {"0001": execution()}


def test_a_correction_takes_the_place_of_what_it_corrects(tx: Transaction) -> None:
    trades.record(tx, [execution("0001.01"), execution("0002.01", symbol="KO")])
    assert trades.record(tx, [execution("0001.02", quantity=90)]) == ["0001"]
    assert trades.record(tx, [execution("0001.01")]) == [], "the corrected one comes late"
    assert {key: row["quantity"] for key, row in journal(tx).items()} == {"0001": 90, "0002": 100}
    assert trades.record(tx, [execution("0001.10", quantity=80)]) == ["0001"]
    assert trades.record(tx, [execution("0001.9", quantity=70)]) == [], "a number, not a text"
    assert journal(tx)["0001"]["quantity"] == 80


batches = st.lists(
    st.lists(st.tuples(st.sampled_from("ABC"), st.integers(1, 12)), max_size=6), max_size=5
)


@settings(max_examples=25)  # each is a transaction on the disk
@given(batches=batches)
def test_whatever_the_order_the_highest_correction_stands(
    module_ledger: Ledger, batches: list[list[tuple[str, int]]]
) -> None:
    """Any order, any repeats, any split into batches: one row a key."""
    highest: dict[str, int] = {}
    with pytest.raises(Undo), module_ledger.transaction() as tx:
        for batch in batches:
            rows = [
                execution(f"{key}.{number:02d}", quantity=number, price=Decimal(number))
                for key, number in batch
            ]
            best = {key: max(n for k, n in batch if k == key) for key, _ in batch}
            news = {key for key, number in best.items() if number > highest.get(key, 0)}
            assert set(trades.record(tx, rows)) == news
            highest |= {key: best[key] for key in news}
            assert {k: row["quantity"] for k, row in journal(tx).items()} == highest
            assert {k: int(row["exec_id"][-2:]) for k, row in journal(tx).items()} == highest
        raise Undo


@pytest.mark.parametrize("exec_id", ["plain", "0000e1a7.65", "x.²"])
def test_ids_of_any_form_are_keys(tx: Transaction, exec_id: str) -> None:
    assert len(trades.record(tx, [execution(exec_id)])) == 1
    assert trades.record(tx, [execution(exec_id)]) == []


def test_commissions_that_come_late_find_their_fill(tx: Transaction) -> None:
    late = [execution(f"000{i}.01", commission=None) for i in range(3)]
    trades.record(tx, [*late, execution("0009.01", account="DU2", commission=None)])
    assert trades.missing_commissions(tx, ACCOUNT) == 3
    trades.set_commissions(tx, {"0001.01": Decimal("1.2345"), "unheard of": Decimal(9)})
    trades.set_commissions(tx, {})
    assert trades.missing_commissions(tx, ACCOUNT) == 2
    assert {key: row["commission"] for key, row in journal(tx).items()} == {
        "0000": None,
        "0001": Decimal("1.2345"),
        "0002": None,
        "0009": None,
    }


def test_fills_are_told_in_the_order_they_happened(tx: Transaction) -> None:
    at = [NOW + timedelta(seconds=s) for s in (2, 0, 1, 1)]
    trades.record(tx, [execution(f"{i}.01", executed_at=t) for i, t in enumerate(at)])
    trades.record(tx, [execution("x.01", account="DU2")])
    assert [row["exec_key"] for row in trades.fills(tx, ACCOUNT)] == ["1", "2", "3", "0"]


# cash

fills = st.lists(
    st.fixed_dictionaries(
        {
            "side": st.sampled_from(["BUY", "SELL"]),
            "quantity": st.integers(1, 10**7),
            "price": st.decimals(Decimal("0.0001"), 10**6, places=4),
            "commission": st.none() | st.decimals(0, 1000, places=4),
        }
    ),
    max_size=8,
)
movements = st.lists(st.decimals(-(10**9), 10**9, places=2), min_size=1, max_size=3)


@settings(max_examples=25)  # each is a transaction on the disk
@given(fills=fills, movements=movements)
def test_cash_is_what_came_less_what_went(
    module_ledger: Ledger, fills: list[dict[str, Any]], movements: list[Decimal]
) -> None:
    expected = sum(movements, Decimal(0))
    for fill in fills:
        value = fill["price"] * fill["quantity"]
        expected += value if fill["side"] == "SELL" else -value
        expected -= fill["commission"] or 0
    with pytest.raises(Undo), module_ledger.transaction() as tx:
        trades.record(tx, [execution(f"{i}.01", **fill) for i, fill in enumerate(fills)])
        trades.record(tx, [execution("other.01", account="DU2")])
        tx.insert(
            "cash_movements",
            [
                {
                    "account": ACCOUNT,
                    "session": SESSION,
                    "amount": amount,
                    "reason": "deposit",
                    "recorded_at": NOW,
                }
                for amount in movements
            ],
        )
        found = accounts.cash(tx, ACCOUNT)
        assert isinstance(found, Decimal) and found == expected
        raise Undo


def test_before_the_opening_balance_cash_is_unknown(tx: Transaction) -> None:
    assert accounts.cash(tx, ACCOUNT) is None
    trades.record(tx, [execution()])
    assert accounts.cash(tx, ACCOUNT) is None, "trades alone do not say what it began with"
    accounts.record_opening_balance(tx, ACCOUNT, SESSION, Decimal("1000000.00"))
    accounts.record_opening_balance(tx, ACCOUNT, SESSION, Decimal("5.00"))
    assert accounts.cash(tx, ACCOUNT) == Decimal("1000000.00") - Decimal("3948") - 1
    assert accounts.cash(tx, "DU2") is None


# positions and the equity curve


def test_live_positions_are_the_brokers_and_history_keeps_each_session(tx: Transaction) -> None:
    first, second = date(2019, 1, 3), date(2019, 1, 4)
    accounts.replace_positions(tx, ACCOUNT, first, [position("AAPL"), position("KO")])
    accounts.replace_positions(tx, "DU2", first, [position("IBM")])
    accounts.replace_positions(tx, ACCOUNT, second, [position("KO", quantity=50)])
    accounts.replace_positions(tx, ACCOUNT, second, [position("KO", quantity=60)])
    live = tx.query("SELECT account, symbol, quantity, as_of FROM live_positions ORDER BY symbol")
    assert [tuple(row.values()) for row in live] == [
        ("DU2", "IBM", 100, first),
        (ACCOUNT, "KO", 60, second),
    ]
    history = tx.query("SELECT as_of, symbol, quantity FROM position_history ORDER BY 1, 2")
    assert [tuple(row.values()) for row in history] == [
        (first, "AAPL", 100),
        (first, "IBM", 100),
        (first, "KO", 100),
        (second, "KO", 60),
    ]
    accounts.replace_positions(tx, ACCOUNT, second, [])
    assert tx.value("SELECT count(*) FROM live_positions WHERE account = ?", [ACCOUNT]) == 0


def snapshot(tx: Transaction, day: int, equity: str, account: str = ACCOUNT) -> dict[str, Any]:
    return accounts.record_snapshot(
        tx,
        account,
        date(2019, 1, day),
        equity=Decimal(equity),
        cash=Decimal("10.00"),
        gross=Decimal("90.00"),
        net=Decimal("90.00"),
        positions=3,
    )


def test_the_equity_curve_tells_profit_peak_and_drawdown(tx: Transaction) -> None:
    snapshot(tx, 2, "5.00", account="DU2")
    rows = [snapshot(tx, 2 + i, e) for i, e in enumerate(["100.00", "110.00", "99.00", "121.00"])]
    assert [row["daily_pnl"] for row in rows] == [0, 10, -11, 22]
    assert [row["peak"] for row in rows] == [100, 110, 110, 121]
    assert [row["drawdown"] for row in rows] == pytest.approx([0, 0, 0.1, 0])
    assert accounts.snapshots(tx, ACCOUNT) == rows
    assert accounts.snapshot_before(tx, ACCOUNT, date(2019, 1, 4)) == rows[1]
    assert accounts.snapshot_before(tx, ACCOUNT, date(2019, 1, 2)) is None


def test_a_session_recorded_again_has_one_row_and_the_same(tx: Transaction) -> None:
    snapshot(tx, 2, "100.00")
    first, again = snapshot(tx, 3, "90.00"), snapshot(tx, 3, "90.00")
    assert {**first, "recorded_at": None} == {**again, "recorded_at": None}
    assert again["daily_pnl"] == -10, "against the session before, not against itself"
    assert snapshot(tx, 3, "95.00")["daily_pnl"] == -5
    assert [row["equity"] for row in accounts.snapshots(tx, ACCOUNT)] == [100, 95]


@settings(max_examples=25)  # each is a transaction on the disk
@given(equities=st.lists(st.decimals(1, 10**9, places=2), min_size=1, max_size=6))
def test_the_curve_adds_up(module_ledger: Ledger, equities: list[Decimal]) -> None:
    with pytest.raises(Undo), module_ledger.transaction() as tx:
        rows = [snapshot(tx, 2 + i, str(equity)) for i, equity in enumerate(equities)]
        assert equities[0] + sum(row["daily_pnl"] for row in rows) == equities[-1]
        for i, row in enumerate(rows):
            assert row["peak"] == max(equities[: i + 1])
            assert 0 <= row["drawdown"] < 1
            assert row["drawdown"] == pytest.approx(float(1 - equities[i] / row["peak"]))
        raise Undo


def test_fills_of_what_was_traded_in_a_session_and_what_is_held(tx: Transaction) -> None:
    later = date(2019, 1, 4)
    trades.record(
        tx,
        [
            execution("1.01", quantity=100),
            execution("2.01", quantity=30, symbol="KO"),
            execution("3.01", quantity=100, side="SELL", session=later,
                      executed_at=NOW + timedelta(days=1)),
        ],
    )  # fmt: skip
    assert [row["exec_key"] for row in trades.fills(tx, ACCOUNT, traded_in=later)] == ["1", "3"]
    assert trades.fills(tx, ACCOUNT, traded_in=date(2019, 1, 7)) == []
    with_ko = trades.fills(tx, ACCOUNT, traded_in=later, of=["KO", "NONE"])
    assert [row["exec_key"] for row in with_ko] == ["1", "2", "3"]
    assert trades.held(tx, ACCOUNT) == {"KO": 30}
    split = {
        "account": ACCOUNT, "session": later, "effective_at": NOW + timedelta(days=1),
        "symbol": "KO", "kind": "split", "from_symbol": None, "quantity": -20, "price": None,
        "reason": "1:3", "actor": "system",
    }  # fmt: skip
    accounts.record_adjustments(tx, [split])
    assert trades.held(tx, ACCOUNT) == {"KO": 10}
    assert [row["kind"] for row in trades.fills(tx, ACCOUNT)] == [None, None, None, "split"]
