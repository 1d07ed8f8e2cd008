"""Lots first in first out, against books kept share by share, and what must never be lost."""

from __future__ import annotations

import json
from collections import defaultdict, deque
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hydra_pipelines.execution.lots import LotBook, divide, fold_lots, shares_of

FIRST = date(2019, 1, 2)
UNIT = Decimal("0.0001")


def row(
    side: str, quantity: int, price: str | Decimal, fee: str | None = None, n: int = 0, **more: Any
) -> dict[str, Any]:
    return {
        "exec_key": f"{n:04d}",
        "session": FIRST + timedelta(days=n),
        "symbol": "AAPL",
        "side": side,
        "quantity": quantity,
        "price": Decimal(price),
        "commission": None if fee is None else Decimal(fee),
        "strategies": "A",
        "kind": None,
        "from_symbol": None,
        **more,
    }


def split(change: int, n: int = 0, **more: Any) -> dict[str, Any]:
    side = "BUY" if change > 0 else "SELL"
    return row(side, abs(change), "0", n=n, kind="split", **more)


trades = st.fixed_dictionaries(
    {
        "symbol": st.sampled_from(["AAPL", "AAPL", "MSFT"]),
        "side": st.sampled_from(["BUY", "SELL"]),
        "quantity": st.integers(1, 30),
        "price": st.decimals("0.01", "900", places=2),
        "commission": st.one_of(st.none(), st.decimals("0", "5", places=2)),
        "strategy_shares": st.sampled_from(
            [None, json.dumps({"A": 1.0}), json.dumps({"A": 0.3, "B": 0.1}), json.dumps({"B": 0.0})]
        ),
        "ratio": st.sampled_from([None] * 6 + [2, 3, Fraction(3, 2), Fraction(1, 10)]),
    }
)


@st.composite
def histories(draw: st.DrawFn, *, splits: bool = True) -> list[dict[str, Any]]:
    """Trades of two symbols, some of the held ones split in between."""
    held: dict[str, int] = defaultdict(int)
    out = []
    for n, drawn in enumerate(draw(st.lists(trades, max_size=14))):
        ratio, symbol = drawn.pop("ratio"), drawn["symbol"]
        before = held[symbol]
        if splits and ratio is not None and before:
            change = int(before * ratio) - before
            if change:
                out.append(split(change, n, symbol=symbol))
                held[symbol] += change
            continue
        out.append(row(drawn["side"], drawn["quantity"], drawn["price"], n=n) | drawn)
        held[symbol] += drawn["quantity"] if drawn["side"] == "BUY" else -drawn["quantity"]
    return out


def cash_of(rows: list[dict[str, Any]]) -> Decimal:
    """What the trades brought or took, commissions included."""
    return sum(
        (
            r["quantity"] * r["price"] * (1 if r["side"] == "SELL" else -1) - (r["commission"] or 0)
            for r in rows
            if r["kind"] is None
        ),
        Decimal(0),
    )


@settings(max_examples=300)
@given(histories(), st.decimals("0.01", "900", places=2))
def test_realised_and_unrealised_less_commissions_is_cash_and_value(
    rows: list[dict[str, Any]], mark: Decimal
) -> None:
    """Whatever was traded and split, at whatever price it is marked: nothing appears or is lost."""
    book = fold_lots(rows)
    held = {s: book.held(s) for s in ("AAPL", "MSFT")}
    unrealised = sum(lot.quantity * mark - lot.cost for lot in book.lots())
    realised = sum(one.gain for one in book.realised)
    commissions = sum(fee.amount for fee in book.commissions)
    value = sum(shares * mark for shares in held.values())
    assert realised + unrealised - commissions == cash_of(rows) + value


@settings(max_examples=300)
@given(histories())
def test_shares_are_those_of_the_rows(rows: list[dict[str, Any]]) -> None:
    book = fold_lots(rows)
    for symbol in ("AAPL", "MSFT"):
        signed = (r["quantity"] if r["side"] == "BUY" else -r["quantity"] for r in rows
                  if r["symbol"] == symbol)  # fmt: skip
        assert book.held(symbol) == sum(signed)
        lots = [lot.quantity for lot in book.open.get(symbol, ())]
        assert all(q > 0 for q in lots) or all(q < 0 for q in lots), "never long and short at once"
        assert (symbol in book.open) == bool(lots)


@settings(max_examples=300)
@given(histories(splits=False))
def test_gains_are_those_of_one_share_after_another(rows: list[dict[str, Any]]) -> None:
    """Independent books: a queue of single shares, each with the price it came at."""
    queues: dict[str, deque[tuple[int, Decimal]]] = defaultdict(deque)
    gains: dict[tuple[str, date], Decimal] = defaultdict(Decimal)
    for r in rows:
        step, queue = (1 if r["side"] == "BUY" else -1), queues[r["symbol"]]
        for _ in range(r["quantity"]):
            if queue and queue[0][0] != step:
                direction, price = queue.popleft()
                gains[r["symbol"], r["session"]] += (r["price"] - price) * direction
            else:
                queue.append((step, r["price"]))
    found: dict[tuple[str, date], Decimal] = defaultdict(Decimal)
    for one in fold_lots(rows).realised:
        found[one.symbol, one.session] += one.gain
    assert {k: v for k, v in found.items() if v} == {k: v for k, v in gains.items() if v}


@settings(max_examples=200)
@given(histories())
def test_every_part_of_a_profit_belongs_to_somebody_once(rows: list[dict[str, Any]]) -> None:
    book = fold_lots(rows)
    for amount, shares in [
        *((one.gain, one.shares) for one in book.realised),
        *((fee.amount, fee.shares) for fee in book.commissions),
    ]:
        parts = divide(amount, shares)
        assert sum(parts.values()) == amount
        assert len(parts) == len(shares)
        for (name, share), part in zip(shares, parts.values(), strict=True):
            assert abs(part - amount * share) <= UNIT * len(shares), name


def test_first_in_first_out_by_hand() -> None:
    book = fold_lots(
        [
            row("BUY", 10, "100", "1", 1),
            row("BUY", 10, "110", "1", 2),
            row("SELL", 15, "120", "1.50", 3),
        ]
    )
    found = [(r.open_key, r.close_key, r.quantity, r.gain) for r in book.realised]
    assert found == [("0001", "0003", 10, 200), ("0002", "0003", 5, 50)]
    (left,) = book.lots()
    assert (left.quantity, left.cost, left.opened) == (5, 550, FIRST + timedelta(days=2))
    assert [fee.amount for fee in book.commissions] == [1, 1, Decimal("1.50")]


def test_a_short_sale_bought_back_by_hand() -> None:
    book = fold_lots([row("SELL", 10, "100", n=1), row("BUY", 25, "90", n=2)])
    (closed,) = book.realised
    assert (closed.quantity, closed.gain) == (-10, 100)
    assert (book.held("AAPL"), book.cost("AAPL")) == (15, 1350)


def test_a_split_by_hand() -> None:
    """Three lots of 3, 3 and 4 shares, split 1 for 2: five shares, and not a cent less cost."""
    book = fold_lots([row("BUY", 3, "10", n=1), row("BUY", 3, "20", n=2), row("BUY", 4, "30", n=3)])
    book.apply(split(-5, 4))
    assert [lot.quantity for lot in book.lots()] == [1, 2, 2]
    assert [lot.cost for lot in book.lots()] == [30, 60, 120]
    book.apply(split(-4, 5))
    assert [(lot.quantity, lot.cost) for lot in book.lots()] == [(1, 210)]
    assert book.realised == []
    book.apply(split(-1, 6))
    assert book.lots() == [] and [r.gain for r in book.realised] == [-210]


def test_a_split_of_nothing_is_an_error() -> None:
    for rows in ([split(5)], [row("BUY", 3, "10"), split(-4, 1)]):
        with pytest.raises(ValueError, match="is no split"):
            fold_lots(rows)


def test_a_change_of_name_takes_the_lots_along() -> None:
    book = LotBook()
    for one in (
        row("BUY", 10, "100", n=1),
        row("SELL", 10, "0", n=2, kind="symbol_change"),
        row("BUY", 10, "0", n=2, kind="symbol_change", symbol="APPL", from_symbol="AAPL"),
        row("SELL", 10, "105", n=3, symbol="APPL"),
    ):
        book.apply(one)
    (closed,) = book.realised
    assert (closed.symbol, closed.open_key, closed.gain) == ("APPL", "0001", 50)
    assert book.open == {}


def test_whose_a_fill_is() -> None:
    known = row("BUY", 1, "1", strategy_shares=json.dumps({"A": 0.06, "B": 0.02, "C": 0.0}))
    assert shares_of(known) == (("A", Decimal("0.75")), ("B", Decimal("0.25")))
    exit_row = row("SELL", 1, "1", strategy_shares=json.dumps({"A": 0.0}), strategies="A")
    assert shares_of(exit_row) == (("A", Decimal(1)),)
    old = row("BUY", 1, "1", strategies="A,B")
    assert shares_of(old) == (("A", Decimal("0.5")), ("B", Decimal("0.5")))
    assert shares_of(row("BUY", 1, "1", strategies=None)) == (("", Decimal(1)),)


def test_what_is_sold_belongs_to_those_who_bought() -> None:
    """A alone bought the first lot, both the second; B's exit sells A's lot first."""
    book = fold_lots(
        [
            row("BUY", 10, "100", n=1, strategy_shares=json.dumps({"A": 0.1})),
            row("BUY", 10, "100", n=2, strategy_shares=json.dumps({"A": 0.1, "B": 0.1})),
            row("SELL", 20, "110", "2", n=3, strategy_shares=json.dumps({"B": 0.0})),
        ]
    )
    by_strategy: dict[str, Decimal] = defaultdict(Decimal)
    for one in book.realised:
        for name, part in divide(one.gain, one.shares).items():
            by_strategy[name] += part
    assert by_strategy == {"A": 150, "B": 50}
    (fee,) = book.commissions
    assert divide(fee.amount, fee.shares) == {"A": Decimal("1.5"), "B": Decimal("0.5")}
