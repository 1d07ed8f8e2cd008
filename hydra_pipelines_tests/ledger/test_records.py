"""Decisions, orders and the audit trail: what may be made anew, and what never is."""

from __future__ import annotations

import json
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hydra_pipelines.ledger import accounts, audit, decisions, orders, promotions
from hydra_pipelines.ledger.audit import AuditEvent
from hydra_pipelines.ledger.store import Ledger, LedgerError, Transaction
from hydra_pipelines_tests.ledger.builders import (
    NOW,
    SESSION,
    intent,
    model_version,
    plan_header,
    plan_row,
    prediction,
    risk_decision,
    signal,
)
from hydra_pipelines_tests.ledger.conftest import Undo

# plans


def save(tx: Transaction, plan_id: str = "20190103-a", *symbols: str, **header: object) -> None:
    rows = [plan_row(i, symbol) for i, symbol in enumerate(symbols or ("AAPL",), start=1)]
    decisions.save_plan(tx, plan_header(plan_id, **header), rows, [{"symbol": "KO", "wanted": 5}])


def test_a_plan_comes_back_whole(tx: Transaction) -> None:
    held = plan_row(2, "KO", target_weight=None)
    decisions.save_plan(
        tx, plan_header(), [plan_row(1), held], [{"symbol": "KO", "wanted": Decimal("1.5")}]
    )
    plan = decisions.plan(tx, SESSION)
    assert plan is not None
    assert plan["status"] == "draft" and plan["notes"] == [{"symbol": "KO", "wanted": "1.5"}]
    assert plan["rows"] == [{"plan_id": "20190103-a", **row} for row in (plan_row(1), held)]
    assert {name: plan[name] for name in plan_header()} == plan_header()
    assert decisions.plan(tx, date(2019, 1, 3)) is None


def test_a_draft_is_made_anew_also_under_its_own_id(tx: Transaction) -> None:
    save(tx, "20190103-a", "AAPL", "KO")
    save(tx, "20190103-b", "IBM", dry_run=True)
    save(tx, "20190103-b", "IBM", "KO")
    plan = decisions.plan(tx, SESSION)
    assert plan is not None and not plan["dry_run"]
    assert [row["symbol"] for row in plan["rows"]] == ["IBM", "KO"]
    assert tx.value("SELECT count(*) FROM plan_rows") == 2, "no row of an earlier draft is left"


@pytest.mark.parametrize("status", ["executing", "done", "expired"])
def test_a_plan_that_may_have_been_sent_is_never_made_anew(tx: Transaction, status: str) -> None:
    save(tx)
    before = decisions.plan(tx, SESSION)
    decisions.set_plan_status(tx, "20190103-a", status)
    for plan_id in ("20190103-a", "20190103-b"):
        with pytest.raises(LedgerError, match=f"the plan of 2019-01-02 is {status}"):
            save(tx, plan_id, "IBM")
    assert before is not None
    assert decisions.plan(tx, SESSION) == {**before, "status": status}


def test_a_session_is_finished_once_its_account_was_read(tx: Transaction) -> None:
    assert decisions.last_finished_session(tx) is None
    assert decisions.latest_worked_session(tx) is None
    for day, status in ((2, "done"), (3, "expired"), (4, "executing"), (7, "draft")):
        save(tx, f"plan-{day}", session=date(2019, 1, day))
        decisions.set_plan_status(tx, f"plan-{day}", status)
    assert decisions.latest_worked_session(tx) == date(2019, 1, 4)
    assert decisions.last_finished_session(tx) is None, "no account was read after any of them"
    account, executed = tx.query(
        "SELECT account, execution_session FROM plans WHERE plan_id = 'plan-3'"
    )[0].values()
    amounts = dict.fromkeys(("equity", "cash", "gross", "net"), Decimal("1.00"))
    accounts.record_snapshot(tx, account, executed, **amounts, positions=0)
    assert decisions.last_finished_session(tx) == date(2019, 1, 3)


# predictions, signals, data, models


def test_predictions_and_signals_of_a_session_are_replaced_together(tx: Transaction) -> None:
    other = date(2019, 1, 3)
    decisions.replace_predictions(tx, other, {"HYP-2026-001": [prediction("IBM")]})
    decisions.replace_predictions(
        tx, SESSION, {"HYP-2026-001": [prediction("KO")], "HYP-2026-002": [prediction("KO")]}
    )
    decisions.replace_predictions(
        tx, SESSION, {"HYP-2026-001": [prediction("KO", 0.5, 2), prediction("AAPL")]}
    )
    found = decisions.predictions(tx, SESSION)
    assert [(row["strategy_id"], row["symbol"], row["prediction"]) for row in found] == [
        ("HYP-2026-001", "AAPL", 0.01),
        ("HYP-2026-001", "KO", 0.5),
    ], "a strategy that predicts no more has no predictions"
    assert [row["symbol"] for row in decisions.predictions(tx, other)] == ["IBM"]
    decisions.replace_signals(tx, SESSION, {"B": [signal("KO", -1)], "A": [signal("KO")]})
    decisions.replace_signals(tx, SESSION, {"B": [signal("KO", 0)], "A": [signal("KO")]})
    assert [(r["strategy_id"], r["signal"]) for r in decisions.signals(tx, SESSION)] == [
        ("A", 1),
        ("B", 0),
    ]
    decisions.replace_signals(tx, SESSION, {})
    assert decisions.signals(tx, SESSION) == []


def test_a_data_snapshot_is_recorded_when_it_changes(tx: Transaction) -> None:
    for snapshot in ("a", "a", "b", "b", "a"):
        decisions.record_data_snapshot(tx, SESSION, snapshot, "sample", 20)
    decisions.record_data_snapshot(tx, date(2019, 1, 3), "a", "sample", 20)
    found = tx.query(
        "SELECT snapshot_id FROM data_snapshots WHERE session = ? ORDER BY rowid", [SESSION]
    )
    assert [row["snapshot_id"] for row in found] == ["a", "b", "a"]


def test_a_model_version_cant_be_changed_under_the_desk(tx: Transaction) -> None:
    decisions.record_model_version(tx, model_version(1))
    decisions.record_model_version(tx, model_version(1))
    decisions.record_model_version(tx, model_version(2, "bb"))
    with pytest.raises(LedgerError, match=r"HYP-2026-001 version 1 .* another artifact hash"):
        decisions.record_model_version(tx, model_version(1, "ff"))
    known = decisions.model_version(tx, "HYP-2026-001", 1)
    assert known is not None and known["artifact_sha256"] == "aa"
    assert json.loads(known["metrics"]) == {"rank_ic": 0.02}
    assert decisions.model_version(tx, "HYP-2026-001", 3) is None
    assert tx.value("SELECT count(*) FROM model_versions") == 2


def move(stage: str, to: int | None, before: int | None = None, **change: Any) -> dict[str, Any]:
    row = {
        "move_id": f"to {to}",
        "strategy_id": "HYP-2026-001",
        "kind": "promoted",
        "stage": stage,
        "from_version": before,
        "to_version": to,
        "previous_version": None,
        "actor": "user:ada",
        "reason": "better",
        "evidence": {"sharpe": 0.8},
    }
    return {**row, **change}


def test_promotions_are_appended_and_the_last_that_is_done_counts(tx: Transaction) -> None:
    assert promotions.latest(tx) == {}
    promotions.append(tx, [move("intended", 1), move("done", 1), move("intended", 2, 1)])
    promotions.append(tx, [move("done", 7, strategy_id="HYP-2026-002")])
    last = promotions.latest(tx)["HYP-2026-001"]
    assert last.done is not None and last.done["to_version"] == 1
    assert last.unfinished is not None and last.unfinished["to_version"] == 2
    assert last.done["evidence"] == {"sharpe": 0.8}
    promotions.append(tx, [move("abandoned", 2, 1)])
    assert promotions.latest(tx)["HYP-2026-001"].unfinished is None
    promotions.append(tx, [move("intended", 3, 1), move("done", 3, 1)])
    last = promotions.latest(tx)["HYP-2026-001"]
    assert last.done is not None and (last.done["to_version"], last.unfinished) == (3, None)
    told = [(row["strategy_id"][-1], row["to_version"]) for row in promotions.history(tx)]
    assert told == [("1", 3), ("2", 7), ("1", 1)], "the latest first, what was done alone"
    assert len(promotions.history(tx, "HYP-2026-001", limit=1)) == 1


def test_what_was_made_of_predictions_goes_and_what_was_worked_stays(tx: Transaction) -> None:
    for session, status in ((SESSION, "draft"), (SESSION + timedelta(1), "working")):
        decisions.replace_signals(tx, session, {"HYP-2026-001": [signal()]})
        name = f"{session}-{status}"
        decisions.save_plan(
            tx,
            plan_header(name, session=session),
            [plan_row()],
            [],
        )
        decisions.set_plan_status(tx, name, status)
        decisions.drop_derived(tx, session)
        assert decisions.signals(tx, session) == []
    assert decisions.plan(tx, SESSION) is None
    worked = decisions.plan(tx, SESSION + timedelta(1))
    assert worked is not None and len(worked["rows"]) == 1
    assert tx.value("SELECT count(*) FROM plan_rows") == 1


# orders


def test_an_order_comes_back_with_its_events_in_their_order(tx: Transaction) -> None:
    orders.insert_intents(tx, [intent("b", 2), intent("a", 1)])
    # The time of an event is told by others and may step back; the order of writing does not.
    orders.append_events(
        tx,
        [
            ("a", "pending", {}, NOW),
            ("b", "pending", {"why": "naïve"}, NOW),
            ("a", "sending", {"at": NOW, "price": Decimal("1.5")}, NOW - timedelta(hours=1)),
        ],
    )
    orders.append_events(tx, [("a", "submitted", {"n": [1, None]}, NOW - timedelta(days=1))])
    first, second = orders.orders(tx, session=SESSION)
    assert first["order_ref"] == "a" and second["order_ref"] == "b"
    assert [event["event"] for event in first["events"]] == ["pending", "sending", "submitted"]
    assert first["events"][1]["details"] == {"at": str(NOW), "price": "1.5"}
    assert first["events"][2]["details"] == {"n": [1, None]}
    assert second["events"] == [
        {"event": "pending", "details": {"why": "naïve"}, "occurred_at": NOW}
    ]
    assert {name: first[name] for name in intent("a")} == intent("a")


def test_orders_are_those_of_a_session_or_the_unfinished(tx: Transaction) -> None:
    later = date(2019, 1, 3)
    orders.insert_intents(
        tx, [intent("a", 1), intent("b", 2), intent("c", 3, session=later), intent("d", 4)]
    )
    finished = {"state": "filled"}
    orders.append_events(
        tx,
        [
            ("a", "finished", finished, NOW),
            ("d", "finished", finished, NOW),
            ("d", "reopened", {}, NOW),
        ],
    )

    def refs(**which: object) -> list[str]:
        return [order["order_ref"] for order in orders.orders(tx, **which)]

    assert refs() == ["a", "b", "c", "d"]
    assert refs(session=SESSION) == ["a", "b", "d"]
    assert refs(unfinished=True) == ["b", "c", "d"]
    assert refs(session=SESSION, unfinished=True) == ["b", "d"]
    assert refs(session=date(2019, 1, 4)) == []


def test_an_intent_is_written_once(ledger: Ledger) -> None:
    with ledger.transaction() as tx:
        orders.insert_intents(tx, [intent("a")])
    with pytest.raises(Exception, match=r"(?i)duplicate key"), ledger.transaction() as tx:
        orders.append_events(tx, [("a", "pending", {}, NOW)])
        orders.insert_intents(tx, [intent("b"), intent("a", quantity=1)])
    with ledger.transaction() as tx:
        (order,) = orders.orders(tx)
        assert order["quantity"] == 100 and order["events"] == []


def test_order_ids_and_refs_are_remembered(tx: Transaction) -> None:
    assert orders.highest_order_id(tx) == 0 and orders.refs_since(tx, NOW) == frozenset()
    orders.insert_intents(
        tx, [intent("a", 41, recorded_at=NOW - timedelta(seconds=1)), intent("b", 7)]
    )
    assert orders.highest_order_id(tx) == 41
    assert orders.refs_since(tx, NOW) == {"b"}


@settings(max_examples=25)  # each is a transaction on the disk
@given(states=st.lists(st.sampled_from(["rejected", "filled", "cancelled"]), max_size=8))
def test_rejects_in_a_row_end_at_the_last_order_that_was_not(
    module_ledger: Ledger, states: list[str]
) -> None:
    expected = next((n for n, state in enumerate(reversed(states)) if state != "rejected"), None)
    with pytest.raises(Undo), module_ledger.transaction() as tx:
        for i, state in enumerate(states):
            events = [("submitted", {}), ("finished", {"state": state})]
            orders.append_events(tx, [(str(i), event, details, NOW) for event, details in events])
        found = orders.rejects_in_a_row(tx)
        assert found == (len(states) if expected is None else expected)
        raise Undo


def test_risk_decisions_keep_their_inputs_and_their_row_of_the_plan(tx: Transaction) -> None:
    orders.insert_risk_decisions(
        tx, [risk_decision("a", "20190103-a-0001", True), risk_decision("b", None, False)]
    )
    first, second = tx.query("SELECT * FROM risk_decisions ORDER BY order_ref")
    assert (first["plan_row"], first["approved"], first["reasons"]) == ("20190103-a-0001", True, "")
    assert (second["plan_row"], second["approved"]) == (None, False)
    assert json.loads(first["inputs"])["order"]["order_ref"] == "a"


def test_contracts_are_found_by_symbol(tx: Transaction) -> None:
    contract = {
        "symbol": "BRK B",
        "con_id": 1,
        "exchange": "SMART",
        "primary_exchange": "NYSE",
        "currency": "USD",
        "min_tick": Decimal("0.010000"),
        "recorded_at": NOW,
    }
    orders.insert_contracts(tx, [contract, {**contract, "symbol": "KO", "con_id": 2}])
    assert orders.contracts(tx, ["BRK B", "IBM"]) == {"BRK B": contract}
    assert orders.contracts(tx, []) == {}


# audit


def test_the_audit_trail_tells_who_what_and_when(tx: Transaction) -> None:
    audit.log(tx, AuditEvent.MODEL_PROMOTED, {"to": 2, "why": "„besser“"}, actor="user:ada")
    audit.log_many(
        tx,
        AuditEvent.FILL_RECORDED,
        [{"price": Decimal("1.50")}, {"session": SESSION}],
        strategy_id="HYP-2026-001",
        run_id="r1",
    )
    audit.log_many(tx, AuditEvent.FILL_RECORDED, [])
    rows = tx.query("SELECT * FROM audit_events ORDER BY seq")
    assert [row["event"] for row in rows] == ["model_promoted", "fill_recorded", "fill_recorded"]
    assert [json.loads(row["details"]) for row in rows] == [
        {"to": 2, "why": "„besser“"},
        {"price": "1.50"},
        {"session": "2019-01-02"},
    ]
    assert [row["actor"] for row in rows] == ["user:ada", "system", "system"]
    assert [row["run_id"] for row in rows] == [None, "r1", "r1"]
    assert rows[0]["seq"] < rows[1]["seq"] < rows[2]["seq"]
    assert rows[0]["occurred_at"].utcoffset() == timedelta(0)
