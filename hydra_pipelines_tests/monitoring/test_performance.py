"""Profit told apart, over a year of trading against the venue's own books, and by hand."""

from __future__ import annotations

import json
import math
from collections import defaultdict, deque
from datetime import date, datetime, timedelta
from decimal import Decimal
from statistics import mean, stdev
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_pipelines import api, day
from hydra_pipelines.ledger import accounts
from hydra_pipelines.ledger.store import Ledger
from hydra_pipelines.monitoring.performance import (
    ROLLING_SESSIONS,
    BooksIncomplete,
    Profits,
    SessionProfit,
    figures,
    profits,
    rolling,
)
from hydra_pipelines.sessions import NEW_YORK
from hydra_pipelines_tests.scenarios.year import Year

CENT = Decimal("0.01")
FIRST = date(2019, 1, 2)
ACCOUNT = "DU1"


# a year, against the venue


@pytest.fixture(scope="module")
def told(year: Year) -> dict[str, Any]:
    return api.profits(year.desk)


def test_every_session_adds_up_to_the_cent(year: Year, told: dict[str, Any]) -> None:
    assert len(told["sessions"]) == len(year.days) > ROLLING_SESSIONS
    for one in told["sessions"]:
        parts = one["realised"] + one["unrealised"] - one["commissions"] + one["income"]
        assert one["change"] == parts + one["paid_in_and_out"]
        assert one["unexplained"] == 0
    assert told["unexplained"] == []


def test_the_equity_is_the_venues_own_every_session(year: Year, told: dict[str, Any]) -> None:
    """By the venue's exact books, read past the wire: nothing here comes from our journal."""
    opening = Decimal(1_000_000)
    for one, books in zip(told["sessions"], year.books, strict=True):
        assert one["session"] == books.session
        assert abs(one["equity"] - books.equity) <= CENT / 2
        assert abs(one["change"] - (books.equity - opening)) <= CENT
        opening = books.equity


def test_the_parts_are_those_of_the_venues_executions(year: Year, told: dict[str, Any]) -> None:
    """Realised share by share in a queue, unrealised by the venue's marks, commissions summed."""
    by_session: dict[date, list[dict[str, Any]]] = defaultdict(list)
    for execution in year.truth["executions"]:
        at = datetime.fromisoformat(execution["time"]).astimezone(NEW_YORK)
        by_session[at.date()].append(execution)
    queues: dict[str, deque[Decimal]] = defaultdict(deque)
    unrealised_before = Decimal(0)
    for one, books in zip(told["sessions"], year.books, strict=True):
        realised = commissions = Decimal(0)
        for execution in by_session[one["session"]]:
            price, queue = Decimal(execution["price"]), queues[execution["symbol"]]
            commissions += Decimal(execution["commission"])
            for _ in range(execution["shares"]):
                if execution["action"] == "BUY":
                    queue.append(price)
                else:
                    realised += price - queue.popleft()
        unrealised = sum(
            (len(queue) * books.marks[symbol] - sum(queue) for symbol, queue in queues.items()
             if queue),
            Decimal(0),
        )  # fmt: skip
        assert one["commissions"] == commissions
        assert one["realised"] == realised
        assert abs(one["unrealised"] - (unrealised - unrealised_before)) <= 2 * CENT
        unrealised_before = unrealised
    assert any(one["realised"] < 0 for one in told["sessions"])
    assert any(one["realised"] > 0 for one in told["sessions"])


def test_whatever_it_is_told_by_it_is_the_same_profit(year: Year, told: dict[str, Any]) -> None:
    earned = sum(one["profit"] for one in told["sessions"])
    assert abs(told["total"]["total"] - earned) <= CENT
    for by in ("by_strategy", "by_symbol"):
        rows = told[by]
        assert len(rows) > 1
        for part in ("realised", "unrealised", "commissions", "income", "total"):
            summed = sum(row["parts"][part] for row in rows)
            assert abs(summed - told["total"][part]) <= CENT * (len(rows) + 1), (by, part)
    strategies = {s.id for s in year.desk.strategies}
    assert {row["name"] for row in told["by_strategy"]} - {""} == strategies
    # To nobody belongs what rounding each position's value leaves, and nothing else.
    for row in told["by_strategy"]:
        assert row["name"] or all(abs(part) <= 5 * CENT for part in row["parts"].values())


def test_shares_of_the_plan_are_what_a_fill_is_divided_by(year: Year) -> None:
    with year.desk.ledger.snapshot() as rows:
        stored = rows.query("SELECT strategies, strategy_shares FROM plan_rows")
    divided = [json.loads(row["strategy_shares"]) for row in stored]
    assert any(len([s for s in one.values() if s]) == 2 for one in divided), "some are shared"
    for row, one in zip(stored, divided, strict=True):
        assert set(row["strategies"].split(",")) - {""} <= set(one)


def test_a_part_of_the_year_and_what_was_before_are_the_whole(year: Year) -> None:
    whole = api.profits(year.desk)
    half = len(year.days) // 2
    middle = whole["sessions"][half]["session"]
    late = api.profits(year.desk, middle)
    assert [one["session"] for one in late["sessions"]] == [
        one["session"] for one in whole["sessions"][half:]
    ]
    early = sum(one["profit"] for one in whole["sessions"][:half])
    assert abs(early + late["total"]["total"] - whole["total"]["total"]) <= CENT


def test_the_curve_says_how_deep_it_was(year: Year, told: dict[str, Any]) -> None:
    peak, worst = Decimal(1_000_000), Decimal(0)
    for books in year.books:
        peak = max(peak, books.equity)
        worst = max(worst, 1 - books.equity / peak)
    assert told["figures"]["worst_drawdown"] == pytest.approx(float(worst), abs=1e-6)
    assert len(told["rolling"]) == len(year.days) - ROLLING_SESSIONS + 1


def test_the_asset_is_told_the_same(year: Year) -> None:
    assert day.tell_profits(year.desk) == api.profits(year.desk)


# by hand


def curve(*equities: str, cash: str = "1000") -> list[dict[str, Any]]:
    return [
        {
            "session": FIRST + timedelta(days=n),
            "equity": Decimal(equity),
            "cash": Decimal(cash),
            "peak": Decimal(equity),
            "drawdown": 0.0,
            "gross": Decimal(0),
        }
        for n, equity in enumerate(equities)
    ]


OPENING = {"session": FIRST, "kind": "opening", "amount": Decimal(1000), "symbol": None}


def test_nothing_is_told_of_nothing() -> None:
    with pytest.raises(BooksIncomplete, match="run `hydra cycle`"):
        profits([], [], [], [])
    with pytest.raises(BooksIncomplete, match="began with"):
        profits(curve("1000"), [], [], [])


def test_money_that_nobody_explains_shows_in_its_session() -> None:
    found = profits(curve("1000", "1000", "1007", "1007"), [], [OPENING], [])
    assert [one.unexplained for one in found.sessions] == [0, 7, 0]
    assert [one.session for one in found.unexplained] == [FIRST + timedelta(days=2)]


def test_a_dividend_is_profit_and_a_deposit_is_none() -> None:
    moves = [
        OPENING,
        {**OPENING, "session": FIRST + timedelta(days=1), "kind": "deposit", "amount": Decimal(50)},
        {**OPENING, "session": FIRST + timedelta(days=2), "kind": "fee", "amount": Decimal(-3)},
    ]
    found = profits(curve("1000", "1050", "1047"), [], moves, [])
    assert [one.profit for one in found.sessions] == [0, -3]
    assert [one.paid_in_and_out for one in found.sessions] == [50, 0]
    assert found.total.income == -3 and not found.unexplained


def test_shares_that_the_journal_does_not_know_are_no_profit() -> None:
    """A position appears at the broker without a trade: equity rises, and it is unexplained."""
    history = [
        {"session": FIRST + timedelta(days=1), "symbol": "X", "quantity": 5,
         "market_value": Decimal(200)}
    ]  # fmt: skip
    found: Profits = profits(curve("1000", "1200"), [], [OPENING], history)
    assert [one.unexplained for one in found.sessions] == [200]
    assert found.total.unrealised == 0


def session(n: int, profit: float, base: float = 1000.0) -> SessionProfit:
    made, zero = Decimal(str(profit)), Decimal(0)
    return SessionProfit(
        FIRST + timedelta(days=n), Decimal(str(base)) + made, made, zero, made, zero, zero, zero,
        zero, made, zero, 0.0, zero,
    )  # fmt: skip


@given(st.lists(st.integers(-90, 90), min_size=1, max_size=90))
def test_figures_are_those_of_the_last_quarter_or_none(made: list[int]) -> None:
    found = figures([session(n, profit) for n, profit in enumerate(made)])
    assert found.sessions == len(made)
    if len(made) < ROLLING_SESSIONS:
        assert (found.sharpe, found.hit_rate) == (None, None)
        assert rolling([session(n, p) for n, p in enumerate(made)]) == []
        return
    returns = [profit / 1000 for profit in made[-ROLLING_SESSIONS:]]
    assert found.hit_rate == sum(r > 0 for r in returns) / ROLLING_SESSIONS
    if len(set(returns)) > 1:
        assert found.sharpe == pytest.approx(mean(returns) / stdev(returns) * math.sqrt(252))
    else:
        assert found.sharpe is None


# the curve's flows


def test_a_unit_of_the_account_has_the_drawdown(tmp_path: Any) -> None:
    """Half is taken out at a tenth below the peak: it stays a tenth, and half of it is the peak."""
    ledger = Ledger(tmp_path / "l.duckdb")

    def snapshot(tx: Any, n: int, equity: str) -> dict[str, Any]:
        amount, nothing = Decimal(equity), Decimal(0)
        return accounts.record_snapshot(
            tx, ACCOUNT, FIRST + timedelta(days=n), equity=amount, cash=amount, gross=nothing,
            net=nothing, positions=0,
        )  # fmt: skip

    with ledger.transaction() as tx:
        accounts.record_opening_balance(tx, ACCOUNT, FIRST, Decimal(1000))
        snapshot(tx, 0, "1000")
        snapshot(tx, 1, "900")
        out = FIRST + timedelta(days=2)
        accounts.record_cash(tx, ACCOUNT, out, Decimal(-450), "withdrawal", "half")
        row = snapshot(tx, 2, "450")
        assert (row["daily_pnl"], row["peak"], row["drawdown"]) == (0, 500, pytest.approx(0.1))
        accounts.record_cash(tx, ACCOUNT, out, Decimal(9), "dividend", "is earned")
        row = snapshot(tx, 2, "459")
        assert (row["daily_pnl"], row["peak"]) == (9, 500)
        assert accounts.cash_flows(tx, ACCOUNT, FIRST) == -450
        assert accounts.cash_flows(tx, ACCOUNT, out) == 0
    assert accounts.after_flows({"equity": Decimal(900), "peak": Decimal(1000)}, Decimal(-450)) == (
        450, 500,
    )  # fmt: skip
