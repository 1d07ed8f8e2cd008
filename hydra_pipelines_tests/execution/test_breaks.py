"""Reasons for a difference between the books: what is taken for one, and what not."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_pipelines.execution.breaks import (
    Break,
    BreakKind,
    CorporateAction,
    Movement,
    describe,
    due_cash,
    explain_cash,
    explain_splits,
    explain_symbol_changes,
    find_breaks,
    foreign,
    frozen_by_breaks,
)
from hydra_pipelines.execution.broker.messages import Position
from hydra_pipelines.execution.positions import Lot
from hydra_pipelines.sessions import at_new_york

EX = date(2019, 2, 8)
AT = at_new_york(EX, 9, 30) - timedelta(seconds=1)


def bought(quantity: int, at: datetime = AT - timedelta(days=3), symbol: str = "AAPL") -> dict:
    return {"symbol": symbol, "side": "BUY", "quantity": quantity, "executed_at": at}


def action(ratio: Any = 1, dividend: str = "0", symbol: str = "AAPL", **more: Any) -> Any:
    return CorporateAction(symbol, EX, AT, Fraction(ratio), Decimal(dividend), **more)


@given(
    st.dictionaries(st.sampled_from("ABCD"), st.integers(-5, 5)),
    st.dictionaries(st.sampled_from("ABCD"), st.integers(-5, 5)),
)
def test_breaks_are_all_differences_and_nothing_else(
    ours: dict[str, int], theirs: dict[str, int]
) -> None:
    positions = [Position(s, 1, q, Decimal(1)) for s, q in theirs.items()]
    lots = {s: Lot(q) for s, q in ours.items() if q}
    found = find_breaks(positions, lots, Decimal("5"), Decimal("5"))
    assert {b.symbol for b in found} == {s for s in "ABCD" if ours.get(s, 0) != theirs.get(s, 0)}
    for b in found:
        assert (b.ours, b.brokers) == (ours.get(b.symbol or "", 0), theirs.get(b.symbol or "", 0))
        assert not b.explained


def test_cash_to_the_cent() -> None:
    assert find_breaks([], {}, Decimal("5.004"), Decimal("5.001")) == []
    assert find_breaks([], {}, Decimal("5.00"), None) == []
    (found,) = find_breaks([], {}, Decimal("5.01"), Decimal("5.00"))
    assert str(found) == "cash: 5.00 in the journal, 5.01 at the broker"


@pytest.mark.parametrize(
    ("ratio", "held", "later", "brokers"),
    [(4, 10, 0, 40), (4, 10, -5, 35), (Fraction(1, 10), 25, 3, 5), (Fraction(3, 2), 5, 0, 7)],
)
def test_a_split_explains_the_shares_that_it_makes(
    ratio: Any, held: int, later: int, brokers: int
) -> None:
    fills = [bought(held)]
    if later:
        fills.append({**bought(abs(later), AT + timedelta(hours=1)),
                      "side": "BUY" if later > 0 else "SELL"})  # fmt: skip
    difference = Break("AAPL", Decimal(held + later), Decimal(brokers))
    ((explained, _, change),) = explain_splits([difference], fills, [action(ratio)])
    assert held + later + change == brokers
    assert (explained.kind, explained.explained) == (BreakKind.SPLIT, True)
    assert not frozen_by_breaks([explained.record()])


@pytest.mark.parametrize(
    "split",
    [action(3), action(4, symbol="MSFT"), action(1), action(4, close_before=Decimal(1))],
    ids=["another ratio", "another symbol", "no split", "bought after it"],
)
def test_a_split_that_does_not_fit_explains_nothing(split: CorporateAction) -> None:
    after = AT + timedelta(hours=1) if split.close_before else AT - timedelta(days=3)
    difference = Break("AAPL", Decimal(10), Decimal(40))
    assert explain_splits([difference], [bought(10, after)], [split]) == []


def test_a_change_of_name_needs_the_same_contract_and_the_same_shares() -> None:
    breaks = [Break("FB", Decimal(7), Decimal(0)), Break("META", Decimal(0), Decimal(7))]
    held = [Position("META", 107, 7, Decimal(1))]
    ((old, new),) = explain_symbol_changes(breaks, held, {"FB": 107})
    assert (old.symbol, new.symbol, old.kind) == ("FB", "META", BreakKind.SYMBOL_CHANGE)
    assert explain_symbol_changes(breaks, held, {"FB": 108}) == []
    assert explain_symbol_changes(breaks, held, {}) == []
    fewer = [breaks[0], Break("META", Decimal(0), Decimal(6))]
    assert explain_symbol_changes(fewer, held, {"FB": 107}) == []


def cash(missing: str) -> Break:
    return Break(None, Decimal(100), Decimal(100) + Decimal(missing))


def test_a_dividend_is_due_on_the_shares_before_it_once() -> None:
    fills = [bought(13), bought(5, AT + timedelta(minutes=5))]
    (due,) = due_cash(fills, [action(dividend="0.73")], [])
    assert (due.kind, due.amount) == (BreakKind.DIVIDEND, Decimal("9.49"))
    (paid,) = explain_cash(cash("9.49"), [due])
    assert paid.amount == Decimal("9.49")
    assert explain_cash(cash("9.55"), [due]) == []
    booked = [{"kind": "dividend", "symbol": "AAPL", "action_session": EX}]
    assert due_cash(fills, [action(dividend="0.73")], booked) == []
    assert due_cash([], [action(dividend="0.73")], []) == []


def test_a_fraction_of_a_share_is_paid_at_about_the_last_price() -> None:
    (due,) = due_cash([bought(5)], [action(Fraction(3, 2), close_before=Decimal(30))], [])
    assert (due.kind, due.amount) == (BreakKind.CASH_IN_LIEU, Decimal(10))
    (paid,) = explain_cash(cash("10.40"), [due])
    assert paid.amount == Decimal("10.40"), "the price is the broker's"
    assert explain_cash(cash("12.00"), [due]) == []
    assert explain_cash(cash("-10.00"), [due]) == []


def movement(amount: str, symbol: str = "A", session: date = EX) -> Movement:
    return Movement(BreakKind.DIVIDEND, symbol, session, Decimal(amount), "")


@given(st.lists(st.decimals("0.10", "500", places=2), min_size=1, max_size=6), st.data())
def test_what_explains_a_difference_adds_up_to_it(amounts: list[Decimal], data: Any) -> None:
    due = [movement(str(a), str(i)) for i, a in enumerate(amounts)]
    some = data.draw(st.lists(st.sampled_from(due), min_size=1, unique=True))
    missing = sum(m.amount for m in some)
    found = explain_cash(cash(str(missing)), due)
    assert found, "there is a way, so one is found"
    assert sum(m.amount for m in found) == missing
    for m in found:
        (owed,) = [d for d in due if d.symbol == m.symbol]
        assert abs(m.amount - owed.amount) <= Decimal("0.01") * len(found)


def test_all_of_one_day_come_before_another_that_fits_too() -> None:
    due = [movement("3", "A"), movement("4", "B"), movement("7", "C", date(2019, 1, 8))]
    assert {m.symbol for m in explain_cash(cash("7"), due)} == {"A", "B"}


def test_what_nothing_explains_is_described_and_freezes_its_symbol() -> None:
    shares = Break("AAPL", Decimal(10), Decimal(15))
    plain = describe(shares, {}, {}, 0)
    assert (plain.kind, plain.explained) == (BreakKind.UNEXPLAINED, False)
    assert "--accept AAPL" in str(plain)
    doubt = describe(shares, {"AAPL": "ref-1"}, {}, 0)
    assert (doubt.kind, doubt.explained) == (BreakKind.MISSING_FILL, False)
    assert "ref-1 is in doubt" in str(doubt)
    unfilled = describe(shares, {}, {("AAPL", "BUY"): ("ref-2", 5)}, 0)
    assert unfilled.kind is BreakKind.MISSING_FILL and "ref-2" in str(unfilled)
    for other in ({("AAPL", "BUY"): ("ref-2", 4)}, {("AAPL", "SELL"): ("ref-2", 5)}):
        assert describe(shares, {}, other, 0).kind is BreakKind.UNEXPLAINED
    rows = [b.record() for b in (plain, doubt, describe(cash("5"), {}, {}, 0))]
    assert frozen_by_breaks(rows) == {"AAPL"}, "cash freezes nothing"


def test_missing_commissions_take_cash_and_bring_none() -> None:
    assert describe(cash("-1.00"), {}, {}, 2).kind is BreakKind.MISSING_COMMISSION
    assert describe(cash("1.00"), {}, {}, 2).kind is BreakKind.UNEXPLAINED
    assert describe(cash("-1.00"), {}, {}, 0).kind is BreakKind.UNEXPLAINED


def test_an_execution_that_is_not_ours_says_whose_it_may_be() -> None:
    row = {"symbol": "AAPL", "side": "SELL", "quantity": 3, "price": Decimal("9.5"),
           "exec_id": "0001.01", "exec_key": "0001"}  # fmt: skip
    by_hand, unknown = foreign(row, "", 10), foreign(row, "20190102.X", 10)
    assert (by_hand.kind, by_hand.ours, by_hand.brokers) == (BreakKind.MANUAL_TRADE, 10, 7)
    assert unknown.kind is BreakKind.UNKNOWN_ORDER and "20190102.X" in unknown.why
    assert by_hand.explained and by_hand.exec_key == "0001"
