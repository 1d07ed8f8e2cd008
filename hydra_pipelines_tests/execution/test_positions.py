"""Positions from fills, against a slow computation of another kind, and against the broker."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hydra_pipelines.execution.broker.messages import Account, Holding, Position
from hydra_pipelines.execution.positions import (
    Lot,
    fold_fills,
    live_positions,
    worst_realised_loss,
)

TODAY, BEFORE = date(2019, 1, 3), date(2019, 1, 2)

rows = st.fixed_dictionaries(
    {
        "symbol": st.sampled_from(["AAPL", "AAPL", "AAPL", "MSFT"]),
        "side": st.sampled_from(["BUY", "SELL"]),
        "quantity": st.integers(1, 12),
        "price": st.decimals("0.01", "900", places=2),
        "commission": st.one_of(st.none(), st.decimals("0", "5", places=2)),
        "strategies": st.sampled_from(["HYP-2026-001", "", None]),
        "session": st.sampled_from([BEFORE, TODAY]),
    }
)
histories = st.lists(rows, max_size=12)


def share_by_share(fills):
    """Exact average-cost books, kept one share at a time: (shares, paid, fees) and losses."""
    books: dict[str, list[Fraction]] = {}
    losses = [Fraction(0)]
    for f in fills:
        held, paid, cost = books.get(f["symbol"], [Fraction(0)] * 3)
        price, fee = Fraction(f["price"]), Fraction(f["commission"] or 0)
        step = 1 if f["side"] == "BUY" else -1
        each = fee / f["quantity"]
        gain, closing = Fraction(0), held * step < 0
        for _ in range(f["quantity"]):
            if held * step < 0:
                paid_each, cost_each = paid / held, cost / held
                gain += (price - cost_each) * (1 if held > 0 else -1) - each
                paid, cost, held = paid + step * paid_each, cost + step * cost_each, held + step
            else:
                held, paid, cost = held + step, paid + step * price, cost + step * price + each
        if closing and f["session"] == TODAY:
            losses.append(-gain)
        books[f["symbol"]] = [held, paid, cost]
    return {s: b for s, b in books.items() if b[0]}, max(losses)


@settings(max_examples=300)
@given(histories)
def test_lots_are_those_of_the_slow_books(fills):
    lots = fold_fills(fills)
    books, _ = share_by_share(fills)
    assert lots.keys() == books.keys()
    for symbol, (held, paid, cost) in books.items():
        assert lots[symbol].quantity == held
        assert float(lots[symbol].paid) == pytest.approx(float(paid), rel=1e-12, abs=1e-9)
        assert float(lots[symbol].cost) == pytest.approx(float(cost), rel=1e-12, abs=1e-9)


@settings(max_examples=300)
@given(histories)
def test_cash_is_what_was_paid_and_lots_say_what_is_left(fills):
    """Without a gain or a loss - all at one price - a position costs its shares and its fees."""
    flat = [{**f, "price": Decimal(10), "commission": Decimal(0)} for f in fills]
    for lot in fold_fills(flat).values():
        assert lot.paid == pytest.approx(10 * lot.quantity)
        assert lot.cost == pytest.approx(10 * lot.quantity)


@settings(max_examples=300)
@given(histories)
def test_the_worst_loss_is_that_of_the_slow_books(fills):
    _, worst = share_by_share(fills)
    assert float(worst_realised_loss(fills, TODAY)) == pytest.approx(
        float(max(worst, 0)), rel=1e-9, abs=1e-6
    )


def fill(side: str, quantity: int, price: str, fee: str = "0", strategies: str = "A") -> dict:
    return {
        "symbol": "AAPL",
        "side": side,
        "quantity": quantity,
        "price": Decimal(price),
        "commission": Decimal(fee),
        "strategies": strategies,
        "session": TODAY,
    }


@pytest.mark.parametrize(
    ("fills", "lot"),
    [
        ([fill("BUY", 100, "10", "1")], Lot(100, Decimal(1001), Decimal(1000), "A")),
        (
            [fill("BUY", 100, "10", "1"), fill("SELL", 50, "12", "1")],
            Lot(50, Decimal("500.5"), Decimal(500), "A"),
        ),
        ([fill("SELL", 100, "10", "1")], Lot(-100, Decimal(-999), Decimal(-1000), "A")),
        (
            [fill("BUY", 100, "10", "1"), fill("SELL", 150, "12", "3", "B")],
            Lot(-50, Decimal("-599"), Decimal(-600), "B"),
        ),
        ([fill("BUY", 100, "10"), fill("SELL", 100, "9")], None),
    ],
)
def test_lots_by_hand(fills, lot):
    assert fold_fills(fills).get("AAPL") == lot


def test_losses_by_hand():
    history = [fill("BUY", 100, "10", "1"), fill("SELL", 50, "9", "1")]
    assert worst_realised_loss(history, TODAY) == Decimal("51.5")
    assert worst_realised_loss(history, BEFORE) == 0
    assert worst_realised_loss([fill("SELL", 10, "10"), fill("BUY", 10, "12")], TODAY) == 20
    assert worst_realised_loss([fill("BUY", 10, "10"), fill("SELL", 10, "12")], TODAY) == 0


def account(*holdings: Holding) -> Account:
    return Account("DU1", Decimal("1000.00"), Decimal("100.00"), holdings)


def test_a_row_explained_by_the_journal():
    mark = Holding("AAPL", 3, Decimal("11.11"), Decimal("33.335"))
    lots = {"AAPL": Lot(3, Decimal("31"), Decimal("30"), "A,B")}
    (row,) = live_positions(account(mark), [Position("AAPL", 1, 3, Decimal("10.3333"))], lots)
    assert row == {
        "symbol": "AAPL",
        "quantity": 3,
        "entry_price": Decimal("10.0000"),
        "current_price": Decimal("11.11"),
        "market_value": Decimal("33.34"),
        "cost_basis": Decimal("31.00"),
        "unrealized_pnl": Decimal("2.34"),
        "unrealized_pnl_share": pytest.approx(2.335 / 31),
        "strategies": "A,B",
    }


def test_a_short_position_gains_when_the_price_falls():
    mark = Holding("AAPL", -10, Decimal("9"), Decimal("-90"))
    lots = {"AAPL": Lot(-10, Decimal("-99"), Decimal("-100"), "A")}
    (row,) = live_positions(account(mark), [Position("AAPL", 1, -10, Decimal("9.9"))], lots)
    assert row["entry_price"] == Decimal("10.0000")
    assert row["unrealized_pnl"] == Decimal("9.00")
    assert row["unrealized_pnl_share"] == pytest.approx(9 / 99)


def test_where_the_journal_does_not_explain_it_the_broker_does():
    mark = Holding("AAPL", 5, Decimal("11"), Decimal("55"))
    held = [Position("AAPL", 1, 5, Decimal("10.2"))]
    for lots in ({}, {"AAPL": Lot(4, Decimal(40), Decimal(40), "A")}):
        (row,) = live_positions(account(mark), held, lots)
        assert row["cost_basis"] == Decimal("51.00")
        assert (row["quantity"], row["strategies"]) == (5, "")


def test_a_position_without_a_mark_is_an_error_and_none_is_no_row():
    with pytest.raises(ValueError, match="AAPL"):
        live_positions(account(), [Position("AAPL", 1, 5, Decimal("10"))], {})
    assert live_positions(account(), [Position("AAPL", 1, 0, Decimal("10"))], {}) == []


def adjustment(kind: str, quantity: int, symbol: str = "AAPL", before: str | None = None) -> dict:
    return {
        **fill("BUY" if quantity > 0 else "SELL", abs(quantity), "0", strategies=""),
        "symbol": symbol,
        "kind": kind,
        "from_symbol": before,
    }


def test_a_split_changes_shares_and_not_what_they_cost():
    history = [fill("BUY", 10, "100", "1"), adjustment("split", 30)]
    assert fold_fills(history) == {"AAPL": Lot(40, Decimal(1001), Decimal(1000), "A")}
    history.append(fill("SELL", 40, "24"))
    assert fold_fills(history) == {}
    assert worst_realised_loss(history, TODAY) == Decimal(41)
    assert worst_realised_loss([fill("BUY", 10, "1"), adjustment("split", -9)], TODAY) == 0
    assert fold_fills([fill("BUY", 10, "1"), adjustment("split", -10)]) == {}


def test_a_change_of_name_takes_the_cost_along():
    history = [
        fill("BUY", 10, "100"),
        adjustment("symbol_change", -10),
        adjustment("symbol_change", 10, "APPL", "AAPL"),
    ]
    assert fold_fills(history) == {"APPL": Lot(10, Decimal(1000), Decimal(1000), "A")}
    sold = {**fill("SELL", 10, "90"), "symbol": "APPL"}
    assert worst_realised_loss([*history, sold], TODAY) == 100
