"""Latched breakers: tripped until reset, by whom and when, and what a reset by hand is worth."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_pipelines.control import Control, ControlError
from hydra_pipelines.execution.risk.breakers import evaluate_breakers, trips_again_at
from hydra_pipelines.execution.risk.checks import DenialReason, find_denials
from hydra_pipelines.execution.risk.latch import LATCHED, Latch, acknowledged, release
from hydra_pipelines.execution.risk.limits import RiskLimits
from hydra_pipelines.execution.risk.state import BreakerKind, RiskState
from hydra_pipelines_tests.execution.risk_cases import LIMITS, order, state

K = BreakerKind
DAY, NEXT = date(2019, 1, 3), date(2019, 1, 4)


class Desk:
    """A latch over a control store, and what it told people."""

    def __init__(self, folder: Path, limits: RiskLimits = LIMITS):
        self.control = Control(folder / "control.sqlite")
        self.limits = limits
        self.told: list[str] = []

    def look(self, session: date = DAY, **facts: Any) -> RiskState:
        """What a wave does: open the session, take the state, hold what trips."""
        latch = Latch(self.control, self.limits, lambda kind, key, title, text: self.note(title))
        held = latch.open(session)
        facts |= {"tripped": held.tripped, "acknowledged": held.acknowledged}
        return latch.hold(state(**facts), session)

    def note(self, title: str) -> None:
        self.told.append(title.removeprefix("hydra: breaker "))

    def reset(self, name: str) -> bool:
        return release(
            self.control,
            name,
            "I looked",
            "user:ann",
            lambda kind, key, title, text: self.note(title),
        )

    def tripped(self) -> list[str]:
        return [breaker.name for breaker in self.control.tripped()]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def equity(amount: int) -> dict[str, Decimal]:
    """Of 100,000 at the peak and at the session's start."""
    return {"equity": Decimal(amount)}


def denied(facts: RiskState, limits: RiskLimits = LIMITS) -> set[DenialReason]:
    return set(find_denials(order(), facts, limits))


BAD: dict[BreakerKind, dict[str, Any]] = {
    K.DAILY_LOSS: {"equity": Decimal(97_900)},
    K.DRAWDOWN: {"equity": Decimal(100_000), "peak_equity": Decimal(112_000)},
    K.TRADE_LOSS: {"worst_trade_loss": Decimal(1_000)},
    K.ORDER_REJECTS: {"rejects_in_a_row": 5},
}


@pytest.mark.parametrize("kind", LATCHED)
def test_a_breaker_stays_tripped_when_its_value_is_fine_again(desk: Desk, kind: BreakerKind):
    assert not desk.look().tripped
    facts = desk.look(**BAD[kind])
    assert facts.tripped == {kind}
    assert DenialReason(f"breaker_{kind}") in denied(facts)
    fine = Desk(desk.control.path.parent).look()
    assert fine.tripped == {kind}, "another process sees it"
    assert denied(fine) == {DenialReason(f"breaker_{kind}")}
    assert desk.told == [f"{kind} has tripped"], "told once"
    sell = order(side="SELL", limit_price=Decimal("99.98"))
    assert not find_denials(sell, replace(fine, positions={"A": 50}, plan_target=0), LIMITS)


@pytest.mark.parametrize("kind", LATCHED)
@pytest.mark.parametrize("configured", [True, False])
def test_a_new_session_resets_what_the_settings_name(
    tmp_path: Path, kind: BreakerKind, configured: bool
):
    auto = (kind.value,) if configured else tuple(k.value for k in LATCHED if k is not kind)
    desk = Desk(tmp_path, replace(LIMITS, auto_reset=auto))
    desk.look(**BAD[kind])
    assert desk.look().tripped == {kind}, "the same session resets nothing"
    assert desk.look(NEXT).tripped == (frozenset() if configured else {kind})
    if configured:
        entry = desk.control.journal()[-1]
        assert (entry.event, entry.actor) == ("breaker_reset", "system")
        assert entry.details["why"] == "a new session has begun"
        assert desk.told == [f"{kind} has tripped", f"{kind} is reset"]
        assert desk.control.levels() == {}
        assert desk.look(NEXT, **BAD[kind]).tripped == {kind}, "and it trips again"


def test_by_default_only_the_daily_loss_is_reset_by_the_next_session(desk: Desk):
    for facts in BAD.values():
        desk.look(**facts)
    assert set(desk.tripped()) == set(LATCHED)
    assert desk.look(NEXT).tripped == set(LATCHED) - {K.DAILY_LOSS}


# reset by hand


def test_a_reset_by_hand_is_kept_with_who_and_why(desk: Desk):
    desk.look(**equity(85_000))
    assert desk.reset("drawdown")
    entry = desk.control.journal()[-1]
    assert (entry.event, entry.actor) == ("breaker_reset", "user:ann")
    assert entry.details["why"] == "I looked"
    assert "15.00%" in entry.details["tripped_by"]
    assert desk.told[-1] == "drawdown is reset by ann"
    assert not desk.reset("drawdown"), "once"
    assert not desk.reset("trade_loss")


def drawdown(amount: int) -> dict[str, Decimal]:
    """Equity that fell from a peak of 100,000 long ago, and not today."""
    return {"equity": Decimal(amount), "equity_at_start": Decimal(amount)}


def test_after_a_reset_it_trips_again_only_when_it_gets_worse(desk: Desk):
    """Peak 100,000, limit 10 %, reset at 12 %: again at 14.5 %, which is 2.5 % (a quarter) more."""
    desk.look(**drawdown(88_000))
    desk.reset("drawdown")
    for amount in (88_000, 87_000, 85_501, 89_000):
        facts = desk.look(NEXT, **drawdown(amount))
        assert not facts.tripped and denied(facts) == set(), amount
    facts = desk.look(NEXT, **drawdown(85_500))
    assert facts.tripped == {K.DRAWDOWN}
    assert DenialReason.BREAKER_DRAWDOWN in denied(facts)
    assert "reset by hand at 12.00%, trips again at 14.50%" in desk.control.tripped()[0].reason


def test_what_is_acknowledged_is_the_value_last_seen(desk: Desk):
    desk.look(**drawdown(88_000))
    desk.look(**drawdown(85_000))
    desk.reset("drawdown")
    assert not desk.look(**drawdown(83_000)).tripped
    assert desk.look(**drawdown(82_500)).tripped == {K.DRAWDOWN}


def test_once_within_the_limit_again_the_limit_counts_again(desk: Desk):
    desk.look(**drawdown(88_000))
    desk.reset("drawdown")
    assert not desk.look(**drawdown(90_001)).tripped
    assert desk.control.levels() == {}
    assert desk.look(**drawdown(90_000)).tripped == {K.DRAWDOWN}


def test_a_value_that_is_not_known_ends_no_acknowledgement_and_trips_nothing(desk: Desk):
    desk.look(**drawdown(88_000))
    desk.reset("drawdown")
    assert not desk.look(equity=None).tripped
    assert acknowledged(desk.control.levels(), DAY) == {K.DRAWDOWN: 0.12}


@pytest.mark.parametrize(("rejects", "again"), [(6, False), (7, True)])
def test_rejects_in_a_row_count_on_from_where_they_were(desk: Desk, rejects: int, again: bool):
    desk.look(rejects_in_a_row=5)
    desk.reset("order_rejects")
    assert not desk.look(rejects_in_a_row=5).tripped
    assert desk.look(rejects_in_a_row=rejects).tripped == ({K.ORDER_REJECTS} if again else set())


@pytest.mark.parametrize("kind", [K.DAILY_LOSS, K.TRADE_LOSS])
def test_the_loss_of_a_session_is_acknowledged_for_that_session(tmp_path: Path, kind: BreakerKind):
    desk = Desk(tmp_path, replace(LIMITS, auto_reset=()))
    desk.look(**BAD[kind])
    desk.reset(kind)
    assert not desk.look(**BAD[kind]).tripped
    assert desk.look(NEXT, **BAD[kind]).tripped == {kind}


def test_a_reset_without_a_look_since_acknowledges_nothing(desk: Desk):
    desk.control.trip("drawdown", "by an older version", "2019-01-03")
    assert desk.reset("drawdown")
    assert desk.look(**drawdown(88_000)).tripped == {K.DRAWDOWN}


def test_with_no_margin_a_reset_lasts_until_the_next_look(tmp_path: Path):
    desk = Desk(tmp_path, replace(LIMITS, reset_margin=0.0))
    desk.look(**drawdown(88_000))
    desk.reset("drawdown")
    assert desk.look(**drawdown(88_000)).tripped == {K.DRAWDOWN}


@given(
    kind=st.sampled_from([K.DAILY_LOSS, K.DRAWDOWN, K.TRADE_LOSS]),
    seen=st.integers(0, 60_000),
    now=st.integers(0, 99_000),
    margin=st.sampled_from([0.0, 0.1, 0.25, 1.0]),
)
def test_the_level_after_a_reset_is_worse_by_the_margin_of_the_limit(
    kind: BreakerKind, seen: int, now: int, margin: float
):
    """Against arithmetic of its own, in units of a hundred-thousandth of equity."""
    limits = replace(LIMITS, reset_margin=margin)
    limit = {K.DAILY_LOSS: 2_000, K.DRAWDOWN: 10_000, K.TRADE_LOSS: 1_000}[kind]
    facts = {
        K.DAILY_LOSS: {"equity": Decimal(100_000 - now)},
        K.DRAWDOWN: drawdown(100_000 - now),
        K.TRADE_LOSS: {"worst_trade_loss": Decimal(now)},
    }[kind]
    found = {
        b.kind
        for b in evaluate_breakers(state(**facts, acknowledged={kind: seen / 100_000}), limits)
    }
    needed = limit if seen < limit else seen + round(limit * margin)
    assert (kind in found) == (now >= needed)
    again = trips_again_at(kind, seen / 100_000, limits)
    assert again == (None if seen < limit else pytest.approx(needed / 100_000))


# when things go wrong


def test_a_breaker_that_nobody_here_knows_stops_trading(desk: Desk):
    desk.control.trip("sunspots", "too many", "2019-01-03")
    with pytest.raises(ControlError, match="breaker sunspots is tripped"):
        desk.look()
    assert desk.reset("sunspots")
    desk.look()


def test_a_level_is_kept_for_tripped_breakers_only(desk: Desk):
    desk.control.set_level("drawdown", 0.12, "2019-01-03")
    assert desk.control.levels() == {}
    desk.look(**drawdown(88_000))
    level = desk.control.levels()["drawdown"]
    assert (level.value, level.session, level.acknowledged_at) == (0.12, "2019-01-03", None)


def test_a_store_of_an_older_version_gets_the_levels(tmp_path: Path):
    path = tmp_path / "control.sqlite"
    with sqlite3.connect(path) as old:
        old.executescript(
            "CREATE TABLE breakers (name TEXT PRIMARY KEY, reason TEXT NOT NULL, session TEXT "
            "NOT NULL, tripped_at TEXT NOT NULL);"
            "INSERT INTO breakers VALUES ('drawdown', 'down', '2019-01-02', '2019-01-02T15:00');"
            "CREATE TABLE identity (store TEXT NOT NULL); INSERT INTO identity VALUES ('me');"
            "PRAGMA user_version = 2;"
        )
    desk = Desk(tmp_path)
    assert desk.look(**drawdown(88_000)).tripped == {K.DRAWDOWN}
    assert desk.control.store_id == "me"
    assert desk.control.levels()["drawdown"].value == 0.12
