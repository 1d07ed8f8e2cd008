"""Twenty sessions on real prices, end to end: our books against the venue's after each of them."""

from __future__ import annotations

import json
from decimal import Decimal
from itertools import pairwise

import pytest

from hydra_pipelines import api, day
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger import accounts
from hydra_pipelines.paper_gateway.control import GatewayControl
from hydra_pipelines_tests.scenarios.conftest import MakeDesk
from hydra_pipelines_tests.scenarios.days import (
    Day,
    run_day,
    truth,
    venue_cash,
    venue_positions,
)

SESSIONS = 20


@pytest.fixture(scope="module")
def desk(make_desk: MakeDesk) -> Desk:
    return make_desk()


@pytest.fixture(scope="module")
def days(desk: Desk) -> list[Day]:
    """The replay, with the checks that hold after every single session."""
    done = []
    for _ in range(SESSIONS):
        session = desk.next_session_due()
        today = run_day(desk, session)
        books = truth(desk)

        assert not today.positions.breaks
        ours = {p["symbol"]: p["quantity"] for p in api.positions(desk)}
        assert ours == venue_positions(books)
        with desk.ledger.snapshot() as rows:
            assert accounts.cash(rows, "DU0000001") == venue_cash(books)
        assert today.account.row["cash"] == venue_cash(books)
        marked = sum(Decimal(p["mark"]) * p["quantity"] for p in books["positions"])
        assert abs(today.account.row["equity"] - venue_cash(books) - marked) <= Decimal("0.01")

        assert today.account.row["session"] == desk.calendar.next(session)
        assert today.executed is not None and not today.executed.unknown
        assert books["orders"] and not [o for o in books["orders"] if not o["done_at"]]
        done.append(today)
    return done


def test_sessions_follow_each_other_without_a_gap(desk: Desk, days: list[Day]) -> None:
    first = desk.settings.embedded.first_session
    assert [d.session for d in days] == [desk.calendar.next(first, n) for n in range(SESSIONS)]


def test_the_desk_sells_as_well_as_it_buys(days: list[Day]) -> None:
    sides = {row["side"] for d in days for row in d.plan.rows}
    assert sides == {"BUY", "SELL"}
    assert any(o.side == "SELL" and o.filled for d in days for o in d.executed.orders)


def test_every_fill_at_the_venue_is_in_the_journal_once(desk: Desk, days: list[Day]) -> None:
    venue = {
        e["exec_id"]: (e["symbol"], e["action"], e["shares"], Decimal(e["price"]))
        for e in truth(desk)["executions"]
    }
    ours = {
        t["exec_id"]: (t["symbol"], t["side"], t["quantity"], t["price"])
        for t in api.trades(desk, limit=100_000)
    }
    assert len(venue) > SESSIONS
    assert ours == venue


def test_every_fill_leads_back_to_its_data(desk: Desk, days: list[Day]) -> None:
    for fill in api.trades(desk, limit=100_000):
        trace = api.trace_fill(desk, fill["exec_id"])
        assert trace is not None
        row, intent = trace["plan_row"], trace["intent"]
        assert (row["symbol"], row["side"]) == (fill["symbol"], fill["side"])
        assert intent["quantity"] <= row["quantity"]
        assert trace["plan"]["session"] == intent["session"] < fill["session"]
        assert trace["risk"][0]["approved"]
        assert trace["predictions"], "no prediction behind the fill"
        for prediction in trace["predictions"]:
            assert prediction["mlflow_run_id"] and len(prediction["artifact_sha256"]) == 64
            assert prediction["data_snapshot_id"] == trace["data"]["snapshot_id"]
        kinds = [event["event"] for event in trace["events"]]
        assert kinds[:3] == ["pending", "sending", "submitted"]


def test_no_fill_is_worse_than_its_limit_and_all_are_of_the_next_session(
    desk: Desk, days: list[Day]
) -> None:
    for fill in api.trades(desk, limit=100_000):
        better = fill["order_price"] - fill["price"]
        assert better >= 0 if fill["side"] == "BUY" else better <= 0
        assert desk.calendar.open(fill["session"]) <= fill["executed_at"]
        assert fill["executed_at"] < desk.calendar.close(fill["session"])
        assert fill["predicted_slippage_bps"] > 0
        assert fill["shortfall_bps"] is not None and fill["commission"] is not None


def test_no_position_is_traded_beyond_its_limit(desk: Desk, days: list[Day]) -> None:
    """What a buy leads to is within a tenth of the equity that the gate saw, at every fill."""
    bought = [t for t in api.trades(desk, limit=100_000) if t["side"] == "BUY"]
    assert bought
    for fill in bought:
        trace = api.trace_fill(desk, fill["exec_id"])
        seen = json.loads(trace["risk"][0]["inputs"])["state"]
        held = seen["positions"].get(fill["symbol"], 0) + trace["intent"]["quantity"]
        assert held * fill["price"] <= Decimal("0.10") * Decimal(seen["equity"])


def test_what_drifts_beyond_the_limit_is_trimmed_next(desk: Desk, days: list[Day]) -> None:
    drifted = 0
    for today, following in pairwise(days):
        sold = {row["symbol"] for row in following.plan.rows if row["side"] == "SELL"}
        for position in today.positions.positions:
            if position["market_value"] > Decimal("0.10") * today.account.row["equity"]:
                drifted += 1
                assert position["symbol"] in sold
    assert drifted, "the sample has such a case in these sessions"


def test_the_last_session_again_sends_nothing_new(desk: Desk, days: list[Day]) -> None:
    venue = GatewayControl(desk.venue)
    before = (venue.messages()["count"], truth(desk), api.trades(desk, limit=100_000))
    again = run_day(desk, days[-1].session)
    assert again.plan.kept and again.executed is not None and again.executed.sent == 0
    assert [dict(r) for r in again.plan.rows] == [
        dict(r) for r in api.order_plan(desk, days[-1].session)["rows"]
    ]
    assert again.executed.orders == days[-1].executed.orders
    assert (venue.messages()["count"], truth(desk), api.trades(desk, limit=100_000)) == before
    assert again.account.row["equity"] == days[-1].account.row["equity"]


def test_a_session_before_the_venues_clock_is_refused(desk: Desk, days: list[Day]) -> None:
    venue = GatewayControl(desk.venue)
    before = venue.messages()["count"]
    with pytest.raises(day.SessionRefused, match=f"next session due is {desk.next_session_due()}"):
        day.check_session(desk, days[3].session)
    day.check_session(desk, days[3].session, dry_run=True)
    assert venue.messages()["count"] == before
