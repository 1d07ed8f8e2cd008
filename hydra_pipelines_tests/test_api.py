"""The read side: every figure from the published snapshot, every fill traced to its data."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from hydra_pipelines import api
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger import accounts, decisions, orders, trades
from hydra_pipelines.ledger.store import LedgerMissing, Transaction
from hydra_pipelines.settings import load_settings
from hydra_pipelines_tests.conftest import TradedDesk
from hydra_pipelines_tests.ledger.builders import (
    ACCOUNT,
    NOW,
    SESSION,
    execution,
    intent,
    plan_header,
    plan_row,
    position,
    prediction,
    risk_decision,
)

LATER = date(2019, 1, 3)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(load_settings(data_dir=tmp_path / "my desk"))


class Writing:
    """A transaction on the desk's ledger that is published at its end."""

    def __init__(self, desk: Desk):
        self._ledger = desk.ledger

    def __enter__(self) -> Transaction:
        self._block = self._ledger.transaction()
        return self._block.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._block.__exit__(*error)
        if error[0] is None:
            self._ledger.publish()


# a desk of hand-made rows


def test_before_the_first_cycle_there_is_a_status_and_nothing_else(desk: Desk) -> None:
    status = api.status(desk)
    assert status["last_cycle"] is None and status["account"] is None
    assert status["next_session_due"] == SESSION
    for read in (api.positions, api.trades, api.equity_curve):
        with pytest.raises(LedgerMissing):
            read(desk)


def test_the_status_counts_what_belongs_to_the_last_planned_session(desk: Desk) -> None:
    with Writing(desk) as tx:
        for session, plan_id, symbols in ((SESSION, "p1", "AB"), (LATER, "p2", "ABCD")):
            decisions.save_plan(
                tx,
                plan_header(plan_id, session=session),
                [plan_row(i, symbol) for i, symbol in enumerate(symbols, start=1)],
                [],
            )
            decisions.replace_predictions(
                tx, session, {"S1": [prediction(s) for s in symbols], "S2": [prediction("A")]}
            )
        orders.insert_intents(
            tx,
            [
                intent("old", 1),
                intent("a", 2, session=LATER, plan_id="p2"),
                intent("b", 3, session=LATER, plan_id="p2"),
                intent("c", 4, session=LATER, plan_id="p2"),
                intent("d", 5, session=LATER, plan_id="p2"),
            ],
        )
        # What never came to the broker is no order; its place was taken by another attempt.
        orders.append_events(tx, [("c", "never_sent", {}, NOW), ("d", "never_arrived", {}, NOW)])
        trades.record(
            tx,
            [
                execution("1.01", order_ref="old"),
                execution("2.01", order_ref="a"),
                execution("3.01", order_ref="a"),
                execution("4.01", order_ref=None),
            ],
        )
    cycle = api.status(desk)["last_cycle"]
    assert cycle == {
        "plan_id": "p2",
        "session": LATER,
        "execution_session": date(2019, 1, 3),
        "status": "draft",
        "dry_run": False,
        "predictions": 5,
        "strategies": 2,
        "planned_orders": 4,
        "orders": 2,
        "denied": 0,
        "unknown_orders": 0,
        "fills": 2,
    }


def test_denied_are_the_rows_of_the_plan_that_the_gate_let_through_never(desk: Desk) -> None:
    with Writing(desk) as tx:
        rows = [plan_row(i, f"S{i}") for i in range(1, 6)]
        decisions.save_plan(tx, plan_header("p2", session=LATER), rows, [])
        orders.insert_risk_decisions(
            tx,
            [
                risk_decision("r1", "p2-0001", False),
                risk_decision("r1", "p2-0001", False),  # by a second run: the same row of the plan
                risk_decision("r2", "p2-0002", False),
                risk_decision("r2", "p2-0002", True),  # let through once the reason was gone
                risk_decision("r3", "p2-0003", True),
                risk_decision("20190103.x", "p1-0004", False),  # of another plan
                risk_decision("20190103.y", None, False),  # of none
                risk_decision("r5", "p2-0005", False),
            ],
        )
    assert api.status(desk)["last_cycle"]["denied"] == 2


@pytest.mark.parametrize(
    ("events", "unknown"),
    [
        (["pending", "sending", "unknown"], 1),
        (["sending", "unknown", "notice", "cancel_requested"], 1),
        (["unknown", "submitted"], 0),
        (["unknown", "submitted", "unknown"], 1),
        (["sending", "finished"], 0),
        ([], 0),
    ],
)
def test_unknown_orders_are_those_whose_last_word_is_that(
    desk: Desk, events: list[str], unknown: int
) -> None:
    with Writing(desk) as tx:
        decisions.save_plan(tx, plan_header(), [plan_row()], [])
        orders.insert_intents(tx, [intent("a"), intent("b", 2)])
        orders.append_events(tx, [("a", event, {}, NOW) for event in events])
        orders.append_events(tx, [("b", "submitted", {}, NOW)])
    assert api.status(desk)["last_cycle"]["unknown_orders"] == unknown


def test_the_account_is_the_last_row_of_the_curve(desk: Desk) -> None:
    with Writing(desk) as tx:
        for day, equity in ((2, "100.00"), (4, "90.00"), (3, "120.00")):
            accounts.record_snapshot(
                tx,
                ACCOUNT,
                date(2019, 1, day),
                equity=Decimal(equity),
                cash=Decimal(1),
                gross=Decimal(2),
                net=Decimal(3),
                positions=4,
            )
    account = api.status(desk)["account"]
    assert (account["session"], account["equity"]) == (date(2019, 1, 4), Decimal("90.00"))
    assert "recorded_at" not in account
    assert [row["session"].day for row in api.equity_curve(desk)] == [2, 3, 4]


def test_the_status_tells_the_switches_as_they_are_now(desk: Desk) -> None:
    desk.control.set_agent_paused(True, "a look first")
    desk.control.set_kill_switch(True, "stop")
    desk.control.trip("drawdown", "down 11 %", "2019-01-03")
    status = api.status(desk)
    assert (status["agent"], status["kill_switch"]) == ("paused", True)
    assert [(b["name"], b["reason"], b["session"]) for b in status["breakers"]] == [
        ("drawdown", "down 11 %", "2019-01-03")
    ]


def test_reading_does_not_wait_for_a_writer(desk: Desk) -> None:
    with Writing(desk) as tx:
        accounts.replace_positions(tx, ACCOUNT, SESSION, [position("KO"), position("AAPL")])
    with desk.ledger.transaction() as tx:
        accounts.replace_positions(tx, ACCOUNT, SESSION, [])
        assert [row["symbol"] for row in api.positions(desk)] == ["AAPL", "KO"]


@pytest.fixture
def traded_by_hand(desk: Desk) -> Iterator[Desk]:
    with Writing(desk) as tx:
        trades.record(
            tx,
            [
                execution(f"{i}.01", symbol=symbol, session=date(2019, 1, i))
                for i, symbol in enumerate(["AAPL", "KO", "AAPL", "IBM"], start=3)
            ],
        )
    yield desk


@pytest.mark.parametrize(
    ("which", "keys"),
    [
        ({}, "6543"),
        ({"symbol": "AAPL"}, "53"),
        ({"start": date(2019, 1, 4)}, "654"),
        ({"end": date(2019, 1, 4)}, "43"),
        ({"start": date(2019, 1, 4), "end": date(2019, 1, 4)}, "4"),
        ({"symbol": "AAPL", "start": date(2019, 1, 4), "limit": 1}, "5"),
        ({"limit": 2}, "65"),
        ({"symbol": "NONE"}, ""),
    ],
)
def test_trades_are_picked_by_symbol_and_session(
    traded_by_hand: Desk, which: dict[str, Any], keys: str
) -> None:
    assert "".join(row["exec_key"] for row in api.trades(traded_by_hand, **which)) == keys


def test_a_fill_that_the_desk_did_not_order_has_no_intent(traded_by_hand: Desk) -> None:
    traced = api.trace_fill(traded_by_hand, "3.01")
    assert traced is not None
    assert traced["fill"]["exec_key"] == "3" and traced["intent"] is None
    assert api.trace_fill(traded_by_hand, "no such fill") is None


def test_a_frame_has_numbers_and_the_same_rows(traded_by_hand: Desk) -> None:
    rows = api.trades(traded_by_hand)
    frame = api.frame(rows)
    assert list(frame["exec_key"]) == [row["exec_key"] for row in rows]
    assert frame["price"].dtype == float and frame["price"].iloc[0] == 39.48
    assert frame["session"].iloc[0] == rows[0]["session"]
    assert len(api.frame([])) == 0


# a desk that has traded


@pytest.fixture(scope="module")
def traded(traded_desk: TradedDesk) -> Desk:
    return Desk(load_settings(data_dir=traded_desk.hydra.folder))


def test_every_fill_leads_back_to_its_data(traded: Desk, traded_desk: TradedDesk) -> None:
    told = {e["exec_id"]: e for e in traded_desk.hydra.venue.truth()["executions"]}
    fills = api.trades(traded, limit=100_000)
    assert {fill["exec_id"] for fill in fills} == set(told) and len(fills) >= 10
    for fill in fills:
        traced = api.trace_fill(traded, fill["exec_id"])
        assert traced is not None and traced["fill"] == fill
        order, plan, row = traced["intent"], traced["plan"], traced["plan_row"]
        assert order["order_ref"] == fill["order_ref"] and order["symbol"] == fill["symbol"]
        assert plan["plan_id"] == order["plan_id"] == row["plan_id"]
        assert plan["session"] < plan["execution_session"] == fill["session"]
        assert (row["symbol"], row["side"]) == (fill["symbol"], fill["side"])
        events = [event["event"] for event in traced["events"]]
        assert events[:2] == ["pending", "sending"] and events[-1] == "finished"
        # The order itself, and every new price that it was given later.
        assert len(traced["risk"]) == 1 + events.count("repricing")
        assert all(decision["approved"] for decision in traced["risk"])
        predictions = traced["predictions"]
        assert {p["strategy_id"] for p in predictions} == set(fill["strategies"].split(","))
        for p in predictions:
            assert (p["session"], p["symbol"]) == (plan["session"], fill["symbol"])
            assert len(p["artifact_sha256"]) == 64 and p["mlflow_run_id"]
            assert p["trained_through"] <= plan["session"]
            assert p["data_snapshot_id"] == traced["data"]["snapshot_id"]
        assert traced["data"]["session"] == plan["session"]
    by_key = api.trace_fill(traded, fills[0]["exec_key"])
    assert by_key is not None and by_key["fill"] == fills[0]


def test_the_plan_of_a_session_is_what_was_worked(traded: Desk) -> None:
    plan = api.order_plan(traded, SESSION)
    assert plan is not None and plan["status"] == "done" and not plan["dry_run"]
    wanted = {row["symbol"]: row["quantity"] for row in plan["rows"]}
    first = [t for t in api.trades(traded, limit=100_000) if t["session"] == date(2019, 1, 3)]
    filled: dict[str, int] = {}
    for trade in first:
        filled[trade["symbol"]] = filled.get(trade["symbol"], 0) + trade["quantity"]
    assert all(filled[symbol] <= wanted[symbol] for symbol in filled)
    assert api.order_plan(traded, date(2018, 12, 31)) is None


def test_the_curve_begins_with_the_opening_balance(traded: Desk) -> None:
    curve = api.equity_curve(traded)
    assert (curve[0]["session"], curve[0]["equity"]) == (SESSION, Decimal("1000000.00"))
    assert curve[0]["positions"] == 0 and curve[0]["daily_pnl"] == 0
    for before, after in itertools.pairwise(curve):
        assert after["session"] == traded.calendar.next(before["session"])
        assert after["daily_pnl"] == after["equity"] - before["equity"]
    assert api.status(traded)["account"]["equity"] == curve[-1]["equity"]
