"""The paper gate: every condition by itself, and that nothing unknown ever counts as seen."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_pipelines.monitoring.paper_facts import Deed, Drill, Facts, Limits, Name, Seen
from hydra_pipelines.monitoring.paper_gate import PaperGate, count, evaluate
from hydra_pipelines_tests.monitoring.paper_cases import (
    BREAKS,
    LIMITS,
    START,
    at,
    evidence,
    green,
    sessions,
)


def failing(gate: PaperGate) -> list[Name]:
    return [c.name for c in gate.conditions if not c.holds]


def test_a_desk_that_has_done_it_all_passes() -> None:
    gate = evaluate(green(), LIMITS)
    assert failing(gate) == [] and gate.passed and gate.ready_for_review
    assert [c.name for c in gate.conditions] == list(Name)
    assert all(not c.next_step for c in gate.conditions)
    assert gate.escalations == ()
    assert gate.why == "passed on 20 sessions of account DU1"


@pytest.mark.parametrize("case", BREAKS)
def test_any_one_condition_removed_turns_it_red_and_is_named(case: str) -> None:
    name, says, take_away = BREAKS[case]
    gate = evaluate(take_away(green()), LIMITS)
    assert failing(gate) == [name], gate.why
    condition = next(c for c in gate.conditions if c.name is name)
    assert says in condition.why
    assert condition.next_step and condition.value and condition.threshold
    assert condition.why in gate.why
    assert not gate.passed and not gate.opens_live
    assert gate.ready_for_review is (name is Name.REVIEW)


def test_every_condition_has_a_case_that_fails_it() -> None:
    assert {name for name, _, _ in BREAKS.values()} == set(Name)


def test_only_evidence_of_ibkr_opens_live() -> None:
    rehearsal = evaluate(green(), LIMITS)
    assert rehearsal.passed and not rehearsal.opens_live
    facts = green(venue="ibkr")
    assert facts.sign_off is not None
    basis = replace(facts.sign_off.basis, venue="ibkr")
    facts = replace(facts, sign_off=replace(facts.sign_off, basis=basis))
    assert evaluate(facts, LIMITS).opens_live


def test_a_drill_shows_a_reconnect_of_the_stand_in_and_not_of_ibkr() -> None:
    drill = [Drill(at(4), "disconnect", True)]
    assert evaluate(green(reconnects=[], drills=drill), LIMITS).passed
    facts = green(venue="ibkr", reconnects=[], drills=drill)
    assert Name.RECONNECT in failing(evaluate(facts, LIMITS))
    others = [Drill(at(4), "breaker", True), Drill(at(4), "drift", True)]
    facts = green(venue="ibkr", trips=[], healing=[], drills=others)
    assert failing(evaluate(facts, LIMITS)) == [Name.REVIEW], "the sign-off is of another venue"


def test_the_latest_drill_counts() -> None:
    bad, good = Drill(at(4), "breaker", False, "no"), Drill(at(5), "breaker", True)
    assert evaluate(green(trips=[], drills=[bad, good]), LIMITS).passed
    assert failing(evaluate(green(drills=[replace(bad, at=at(-9))]), LIMITS)) == [Name.BREAKERS]
    assert evaluate(green(drills=[replace(good, at=at(-9))]), LIMITS).passed
    early = green(trips=[], drills=[replace(good, at=at(-9))])
    assert failing(evaluate(early, LIMITS)) == [Name.BREAKERS], "before the first session"
    worse = replace(bad, at=at(6))
    assert failing(evaluate(green(drills=[good, worse]), LIMITS)) == [Name.BREAKERS]


def test_what_was_seen_long_ago_does_not_count() -> None:
    facts = green(200, slippage=evidence())
    assert set(failing(evaluate(facts, LIMITS))) == {
        Name.HEALING, Name.BREAKERS, Name.RECONNECT,
    }  # fmt: skip
    assert evaluate(facts, replace(LIMITS, evidence_days=365)).passed


def test_a_session_at_work_neither_counts_nor_breaks() -> None:
    at_work = count(green(sessions=sessions(21, state="unfinished")))
    assert len(at_work.sessions) == 20 and at_work.broken_by is None
    left = [replace(s, state="unfinished") if i == 10 else s for i, s in enumerate(sessions(21))]
    broken = count(green(sessions=left))
    assert len(broken.sessions) == 10
    assert broken.broken_by == "session 2026-03-12 was not worked to its end"


def test_an_intervention_belongs_to_the_session_begun_last_before_it() -> None:
    def left(day: float) -> int:
        return len(count(green(deeds=[Deed("kill_switch_on", "ann", at=at(day))])).sessions)

    assert left(-0.1) == 20, "before the first session it is setting up"
    assert left(0.0) == 19
    assert left(0.9) == 19, "in the evening after it"
    assert left(1.0) == 18
    assert left(19.5) == 0, "since the last session nothing has shown that it goes on by itself"


def test_what_happens_live_is_not_about_paper() -> None:
    deed = Deed("kill_switch_on", "ann", at=at(30))
    assert not evaluate(green(deeds=[deed]), LIMITS).passed
    live = green(deeds=[deed], live_since=at(25), now=at(400), last_contact=at(399))
    assert evaluate(live, LIMITS).passed, "however long live trading goes on"
    early = replace(live, deeds=[Deed("kill_switch_on", "ann", at=at(24))])
    assert not evaluate(early, LIMITS).passed


def test_escalations() -> None:
    def said(facts: Facts) -> str:
        return " | ".join(evaluate(facts, LIMITS).escalations)

    lost = green(lost_since=at(19.5), now=at(20.4))
    assert said(lost) == ""
    assert "no connection to the broker for 24 hours" in said(replace(lost, now=at(20.5)))
    assert "hydra drill drift" in said(green(healing=[]))
    assert "slippage is not calibrated" in said(green(slippage=evidence(ratio=3)))
    young = green(sessions=sessions(19), healing=[], slippage=None)
    assert said(young) == "", "it is early to say never"


def test_a_desk_that_never_traded() -> None:
    for venue in ("embedded", "ibkr"):
        gate = evaluate(Facts(venue, START), LIMITS)
        assert set(failing(gate)) == set(Name) - {Name.ERRORS}
        assert not gate.escalations
    assert "no session was traded at IBKR paper yet" in gate.why


DAYS = st.floats(-2, 24, allow_nan=False)
SEEN = st.lists(st.builds(lambda day: Seen(at(day), "x"), DAYS), max_size=2)
FACTS = st.builds(
    lambda n, deeds, healing, trips, reconnects, drills, troubles, signed: green(
        n,
        deeds=[Deed("kill_switch_on", "ann", at=at(day)) for day in deeds],
        healing=healing,
        trips=trips,
        reconnects=reconnects,
        drills=[Drill(at(day), fault, passed) for day, fault, passed in drills],
        troubles=troubles,
        slippage=EVIDENCE,
        **({} if signed else {"sign_off": None}),
    ),
    st.integers(1, 24),
    st.lists(DAYS, max_size=2),
    SEEN,
    SEEN,
    SEEN,
    st.lists(
        st.tuples(DAYS, st.sampled_from(["drift", "breaker", "disconnect"]), st.booleans()),
        max_size=3,
    ),
    st.lists(st.just("trouble"), max_size=1),
    st.booleans(),
)
EVIDENCE = evidence()


@given(FACTS)
def test_it_passes_exactly_where_every_condition_holds(facts: Facts) -> None:
    gate = evaluate(facts, LIMITS)
    assert gate.passed == (failing(gate) == [])
    assert [c.name for c in gate.conditions] == list(Name)
    assert all(bool(c.next_step) != c.holds for c in gate.conditions)
    counted = gate.count.sessions
    assert all(b.position == a.position + 1 for a, b in pairwise(counted))
    assert all(s.state == "finished" for s in counted)


@given(FACTS, st.sampled_from(list(Name)), DAYS)
def test_to_know_less_never_opens_it(facts: Facts, name: Name, day: float) -> None:
    """Whatever is unknown, done by hand or amiss on top of it: what failed goes on failing."""
    before = set(failing(evaluate(facts, LIMITS)))
    for worse in (
        replace(facts, unknown={name: "not readable"}),
        replace(facts, deeds=[*facts.deeds, Deed("halt", "ann", at=at(day))]),
        replace(facts, troubles=[*facts.troubles, "one more"]),
        replace(facts, sessions=facts.sessions[1:]),
        replace(facts, healing=None),
        replace(facts, drills=[*facts.drills, Drill(at(25), "breaker", False)]),
    ):
        assert set(failing(evaluate(worse, LIMITS))) >= before
    assert name in failing(evaluate(replace(facts, unknown={name: "?"}), LIMITS))


@given(FACTS, st.integers(20, 30), st.integers(28, 365))
def test_asking_for_more_never_opens_it(facts: Facts, more: int, days: int) -> None:
    before = set(failing(evaluate(facts, Limits(evidence_days=365))))
    assert set(failing(evaluate(facts, Limits(min_sessions=more, evidence_days=days)))) >= before


@given(FACTS, st.integers(1, 5))
def test_more_of_the_same_never_closes_it(facts: Facts, days: int) -> None:
    """Sessions after a passed gate, traded as those before, keep it passed."""
    gate = evaluate(facts, LIMITS)
    n = len(facts.sessions)
    longer = replace(
        facts,
        sessions=sessions(n + days),
        now=facts.now + timedelta(days=days),
        last_contact=at(n + days - 1),
    )
    if gate.passed:
        assert evaluate(longer, LIMITS).passed
