"""The desk's predictor: by the settings, as calibrated, as set anew, and as it was before."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from hydra_pipelines import day
from hydra_pipelines.day.trading import at_work
from hydra_pipelines.desk import Desk
from hydra_pipelines.execution.slippage import SlippageModel
from hydra_pipelines.ledger import calibrations
from hydra_pipelines.ledger.store import LedgerMissing
from hydra_pipelines.monitoring.calibration import NotEnoughFills
from hydra_pipelines.settings import SlippageSettings, load_settings
from hydra_pipelines_tests.day.shop_desk import ShopDesk
from hydra_pipelines_tests.execution.orders.workshop import SESSION, Shop
from hydra_pipelines_tests.monitoring.journal import FIRST, predicted_terms, write_fills

WHO = {"actor": "user:x", "reason": "a test"}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(load_settings(data_dir=tmp_path / "my desk"))


def trade(desk: Desk, n: int = 30, cost: float = 1.5, y: float = 1.2) -> None:
    """Orders as the desk in force predicts them, which cost by a law of their own."""
    model = desk.slippage
    with desk.ledger.transaction() as tx:
        for i in range(n):
            half = 2.0 + i % 3
            terms = predicted_terms(model, 400 * (1 + i % 10), half, "patience")
            actual = half + cost + y * terms["unit_impact_bps"]
            write_fills(
                tx, [(terms.pop("predicted_slippage_bps"), actual)], routing="patience", **terms
            )
    desk.ledger.publish()


def same_settings(desk: Desk, **slippage: float) -> Desk:
    """The same desk with other settings of the predictor."""
    changed = SlippageSettings(**{**desk.settings.slippage.model_dump(), **slippage})
    return Desk(desk.settings.model_copy(update={"slippage": changed}))


def test_a_desk_without_a_ledger_predicts_by_its_settings(desk: Desk) -> None:
    assert desk.slippage == SlippageModel()
    assert not desk.ledger.path.exists(), "looking makes none"
    assert day.reconcile_slippage(desk) is None
    with pytest.raises(LedgerMissing, match="run a first cycle"):
        day.calibrate_slippage(desk, **WHO)
    with pytest.raises(LedgerMissing, match="run a first cycle"):
        day.revert_calibration(desk, **WHO)
    assert not desk.ledger.path.exists()


def test_a_calibration_learns_nothing_from_orders_that_rested_over_a_night(desk: Desk) -> None:
    trade(desk)
    terms = predicted_terms(desk.slippage, 400, 2.0, "patience")
    gap = [(terms.pop("predicted_slippage_bps"), 120.0)]
    terms |= {"routing": "patience", "routing_reason": "small; rests for the open"}
    with desk.ledger.transaction() as tx:
        write_fills(tx, gap * 40, **terms)
    done = day.calibrate_slippage(desk, **WHO)
    assert (done.proposal.fills, done.proposal.orders) == (30, 30)
    assert dict(desk.slippage.by_algo) == {"patience": pytest.approx(1.5)}


def test_a_calibration_brings_the_bias_down_for_the_orders_after_it(desk: Desk) -> None:
    trade(desk)
    before = day.reconcile_slippage(desk)
    assert before is not None and before.in_force.n == 30
    assert before.overall.reconciliation.relative_bias > 0.4
    done = day.calibrate_slippage(desk, run_id="a run", **WHO)
    assert done.number == 1
    assert done.proposal.was == before.overall.reconciliation
    assert desk.slippage == done.proposal.after
    assert desk.slippage.y == pytest.approx(1.2)
    assert dict(desk.slippage.by_algo) == {"patience": pytest.approx(1.5)}

    after = day.reconcile_slippage(desk)
    assert (
        after is not None and after.in_force.reconciliation.message == "not enough fills: 0 of 20"
    )
    assert after.as_now.reconciliation.relative_bias == pytest.approx(0.0, abs=1e-9)
    assert after.overall.reconciliation == before.overall.reconciliation, "then is not rewritten"
    trade(desk, 25)
    later = day.reconcile_slippage(desk)
    assert later is not None and later.in_force.n == 25
    assert later.in_force.reconciliation.relative_bias == pytest.approx(0.0, abs=1e-9)
    assert later.in_force.reconciliation.is_model_calibrated


def test_it_is_logged_with_both_models_and_can_be_undone(desk: Desk) -> None:
    trade(desk)
    done = day.calibrate_slippage(desk, run_id="a run", **WHO)
    again = day.calibrate_slippage(desk, **WHO)
    assert again.number == 2 and again.proposal.before == done.proposal.after
    undone = day.revert_calibration(desk, actor="user:y", reason="worse")
    assert undone is not None and undone["id"] == 2
    assert desk.slippage == done.proposal.after
    assert day.revert_calibration(desk, actor="user:y", reason="worse")["id"] == 1
    assert desk.slippage == SlippageModel()
    assert day.revert_calibration(desk, **WHO) is None
    with desk.ledger.snapshot() as rows:  # published, so that readers see it
        events = rows.query(
            "SELECT actor, run_id, details FROM audit_events WHERE event = 'setting_changed' "
            "ORDER BY seq"
        )
    details = [json.loads(event["details"]) for event in events]
    assert [event["actor"] for event in events] == ["user:x", "user:x", "user:y", "user:y"]
    assert events[0]["run_id"] == "a run"
    assert [d.get("calibration") or -d["calibration_undone"] for d in details] == [1, 2, -2, -1]
    assert SlippageModel.of(details[0]["before"]) == SlippageModel()
    assert SlippageModel.of(details[0]["after"]) == done.proposal.after
    assert SlippageModel.of(details[3]["after"]) == SlippageModel()
    assert details[2]["reason"] == "worse"


def test_only_trying_changes_nothing(desk: Desk) -> None:
    trade(desk)
    tried = day.calibrate_slippage(desk, dry_run=True, **WHO)
    assert tried.number is None and tried.proposal.after != SlippageModel()
    assert desk.slippage == SlippageModel()
    with desk.ledger.transaction() as tx:
        assert tx.value("SELECT count(*) FROM audit_events") == 0


def test_the_fills_can_be_picked_and_are_the_windows_otherwise(desk: Desk) -> None:
    trade(desk, 30)
    early = {"until": FIRST + timedelta(days=24)}
    assert day.calibrate_slippage(desk, dry_run=True, **early, **WHO).proposal.orders == 25
    with pytest.raises(NotEnoughFills, match="19 of 19 orders"):
        day.calibrate_slippage(desk, since=FIRST + timedelta(days=11), **WHO)
    assert desk.slippage == SlippageModel()
    short = same_settings(desk, window_sessions=22)
    assert day.calibrate_slippage(short, dry_run=True, **WHO).proposal.orders == 22
    assert day.reconcile_slippage(short).journalled == 22


def test_settings_changed_later_win_until_they_are_put_back(desk: Desk) -> None:
    trade(desk)
    calibrated = day.calibrate_slippage(desk, **WHO).proposal.after
    for name, value in (("y", 0.9), ("half_spread_bps", 1.0), ("assumed_adv_usd", 1e8)):
        assert same_settings(desk, **{name: value}).slippage == SlippageModel(**{name: value})
    assert same_settings(desk, window_sessions=10).slippage == calibrated, "no part of the law"
    assert same_settings(desk).slippage == calibrated


def test_asking_for_it_takes_one_transaction_of_a_ledger_that_is_open(desk: Desk) -> None:
    trade(desk)
    model = day.calibrate_slippage(desk, **WHO).proposal.after
    with desk.ledger.session():
        before = desk.ledger.transactions
        assert desk.slippage == model
        assert desk.ledger.transactions == before + 1


def test_what_is_sent_is_predicted_by_the_calibration_in_force(shop: Shop) -> None:
    """By the order's own quote and quantity, not by the plan's."""
    desk = ShopDesk(shop)
    shop.plan(("ALFA", "BUY", 300, 300), ("BETA", "BUY", 40, 40))
    base = SlippageModel()
    known = {"by_algo": (("limit_patience", 7.0), ("marketable_limit", 9.0))}
    model = replace(base, half_spread_bps=50.0, y=1.3, **known)
    with desk.ledger.transaction() as tx:
        numbers = {"settings": base.parameters(), "after": model.parameters()}
        calibrations.record(tx, {**WHO, **numbers})
    market = {symbol: replace(facts, sigma_daily=0.03) for symbol, facts in shop.market().items()}
    with at_work(desk, "run") as manager:
        manager.execute(SESSION, market)
    sent = {order["symbol"]: order for order in shop.orders()}
    assert set(sent) == {"ALFA", "BETA"}
    for symbol, order in sent.items():
        expected = 1e4 * 0.03 * math.sqrt(order["quantity"] / market[symbol].adv)
        assert order["unit_impact_bps"] == pytest.approx(expected)
        half = order["quoted_half_spread_bps"]
        assert 0 < half < 20, "the venue's, and not the 50 assumed without a quote"
        beyond = dict(known["by_algo"])[order["routing"]]
        assert order["predicted_slippage_bps"] == pytest.approx(half + beyond + 1.3 * expected)
    report = day.reconcile_slippage(desk)
    assert report is not None and report.journalled >= 2
    assert report.in_force.n == report.overall.n == 2 and report.left_out == {}
