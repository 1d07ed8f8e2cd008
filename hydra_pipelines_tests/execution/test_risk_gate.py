"""The risk gate: no way round it, and no two orders judged as if the other didn't exist."""

from __future__ import annotations

import contextlib
import copy
import json
import multiprocessing
import pickle
import threading
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_pipelines.execution.risk.checks import DenialReason
from hydra_pipelines.execution.risk.gate import Approval, ApprovalError, RiskGate
from hydra_pipelines.execution.risk.state import BreakerKind, OrderRequest
from hydra_pipelines_tests.execution.risk_cases import (
    LIMITS,
    MANY,
    SYMBOLS,
    as_working,
    order,
    outcomes,
    reviews,
    state,
    working,
)


@pytest.fixture
def gate() -> RiskGate:
    return RiskGate(LIMITS)


def approval_of(gate: RiskGate, asked: OrderRequest, **facts: object) -> Approval:
    decision = gate.review(asked, state(**facts))
    assert decision.approval is not None, decision.message
    return decision.approval


def test_an_approval_lets_its_order_through_once(gate):
    approval = approval_of(gate, order())
    assert gate.redeem(approval, order()) == order()
    with pytest.raises(ApprovalError, match="was used"):
        gate.redeem(approval, order())
    again = approval_of(gate, order(order_ref="ref-2"), known_refs={"ref-1"})
    assert again.redeem(order(order_ref="ref-2")).order_ref == "ref-2"
    with pytest.raises(ApprovalError, match="was used"):
        again.redeem(order(order_ref="ref-2"))


@pytest.mark.parametrize(
    "change",
    [
        {"quantity": 51},
        {"limit_price": Decimal("100.01")},
        {"side": "SELL"},
        {"symbol": "B"},
        {"account": "U1"},
        {"order_ref": "ref-2"},
        {"tif": "GTC"},
        {"plan_row": "x"},
        {"strategies": ("S1",)},
    ],
)
def test_an_approval_is_for_exactly_one_order_and_void_after_an_attempt(gate, change):
    approval = approval_of(gate, order())
    with pytest.raises(ApprovalError, match="not the one that was approved"):
        gate.redeem(approval, order(**change))
    with pytest.raises(ApprovalError, match="not valid here"):
        gate.redeem(approval, order())


def test_altering_the_reviewed_order_itself_is_noticed(gate):
    asked = order()
    decision = gate.review(asked, state())
    object.__setattr__(asked, "quantity", 5000)
    object.__setattr__(decision.order, "quantity", 5000)
    with pytest.raises(ApprovalError, match="not the one that was approved"):
        gate.redeem(decision.approval, asked)


def test_an_order_that_claims_to_equal_everything_is_refused(gate):
    class Chameleon(OrderRequest):
        def __eq__(self, other: object) -> bool:
            return True

    chameleon = Chameleon("ref-1", "DU1", "A", "BUY", 9, Decimal(100), Decimal(100))
    with pytest.raises(ApprovalError, match="only an OrderRequest"):
        gate.review(chameleon, state())
    with pytest.raises(ApprovalError, match="not the one that was approved"):
        gate.redeem(approval_of(gate, order()), chameleon)


def test_an_approval_can_not_be_made_copied_pickled_changed_or_subclassed(gate):
    approval = approval_of(gate, order())
    for attempt in (
        lambda: Approval(),
        lambda: Approval(gate),
        lambda: copy.copy(approval),
        lambda: copy.deepcopy(approval),
        lambda: pickle.dumps(approval),
        lambda: setattr(approval, "_gate", None),
        lambda: delattr(approval, "_gate"),
        lambda: type("Mine", (Approval,), {}),
    ):
        with pytest.raises(ApprovalError):
            attempt()


def test_a_forged_approval_is_worth_nothing(gate):
    approval_of(gate, order())
    forged = object.__new__(Approval)
    object.__setattr__(forged, "_gate", gate)

    class Lookalike:
        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 1

        def redeem(self, asked: OrderRequest) -> OrderRequest:
            return asked

    for attempt in (forged, Lookalike(), None, "approved", gate.review(order(), state())):
        with pytest.raises(ApprovalError, match="not valid here"):
            gate.redeem(attempt, order())
    with pytest.raises(ApprovalError, match="not valid here"):
        forged.redeem(order())


def test_the_approval_of_another_gate_is_worth_nothing(gate):
    lax = RiskGate(replace(LIMITS, max_order_notional=Decimal(10**9)))
    with pytest.raises(ApprovalError, match="not given by this gate"):
        gate.redeem(approval_of(lax, order()), order())


def test_a_denial_carries_no_approval(gate):
    decision = gate.review(order(), state(kill_switch=True))
    assert (decision.approved, decision.approval) == (False, None)
    with pytest.raises(ApprovalError):
        gate.redeem(decision.approval, order())


def test_approvals_do_not_cross_a_fork(gate):
    approval = approval_of(gate, order())
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()

    def child() -> None:
        try:
            gate.redeem(approval, order())
            answers.put("sent")
        except ApprovalError:
            answers.put("refused")

    process = context.Process(target=child)
    process.start()
    assert answers.get() == "refused"
    process.join()
    assert gate.redeem(approval, order()) == order()


def test_of_many_threads_one_gets_through(gate):
    approval = approval_of(gate, order())
    barrier, sent = threading.Barrier(8), []

    def submit() -> None:
        barrier.wait()
        with contextlib.suppress(ApprovalError):
            sent.append(gate.redeem(approval, order()))

    threads = [threading.Thread(target=submit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sent) == 1


def test_two_orders_are_not_judged_as_if_the_other_did_not_exist(gate):
    first, second = order(), order(order_ref="ref-2", symbol="B")
    gate.redeem(approval_of(gate, first), first)
    # The state doesn't know yet of what was sent.
    assert gate.review(second, state()).reasons == (DenialReason.STATE_OUT_OF_DATE,)
    assert gate.review(second, state(known_refs={"ref-1"})).approved


def test_orders_of_one_wave_count_for_those_after_them(gate):
    first, second = order(), order(order_ref="ref-2", symbol="B")
    approved = gate.review(first, state()).approval
    wave = state(working=(as_working(first),), known_refs={"ref-1"})
    also = gate.review(second, wave).approval
    assert gate.redeem(approved, first)
    assert gate.redeem(also, second)


@pytest.mark.parametrize("left", [(), (working("BUY", 49, ref="ref-1"),)])
def test_an_approval_that_a_later_state_leaves_out_is_void(gate, left):
    first, second = order(), order(order_ref="ref-2", symbol="B")
    approved = gate.review(first, state()).approval
    assert gate.review(second, state(working=left)).approved
    with pytest.raises(ApprovalError, match="left out of a later state"):
        gate.redeem(approved, first)


def test_a_ref_is_never_approved_twice_even_if_the_state_forgot_it(gate):
    approved = gate.review(order(), state()).approval
    gate.redeem(approved, order())
    gate.review(order(order_ref="ref-2"), state(known_refs={"ref-1"}))
    assert DenialReason.DUPLICATE_ORDER in gate.review(order(), state()).reasons


def test_the_inputs_of_a_decision_are_ready_for_the_ledger(gate):
    facts = state(
        positions={"B": 3},
        working=(working("BUY", 10, "C"),),
        adv=float("nan"),
        tripped={BreakerKind.DRAWDOWN},
        known_refs={"x", "y"},
    )
    inputs = gate.review(order(strategies=("S1",)), facts).inputs
    assert json.loads(json.dumps(inputs, allow_nan=False)) == inputs
    assert inputs["order"]["limit_price"] == "100.00"
    assert inputs["order"]["strategies"] == ["S1"]
    assert inputs["state"]["positions"] == {"B": 3}
    assert inputs["state"]["working"][0]["remaining"] == 10
    assert inputs["state"]["tripped"] == ["drawdown"]
    assert (inputs["state"]["adv"], inputs["state"]["known_refs"]) == (None, 2)
    assert inputs["limits"]["max_order_notional"] == "250000"


@MANY
@given(st.lists(reviews(), min_size=3, max_size=12))
def test_no_sequence_of_approvals_adds_up_to_more_than_the_limits(cases):
    """Orders one after the other, each judged with those before it as working orders."""
    limits = LIMITS
    gate = RiskGate(limits)
    facts = state(plan_target=None)
    for i, (asked, _, _) in enumerate(cases):
        asked = replace(asked, order_ref=f"r{i}", symbol=SYMBOLS[i % 2])
        low, high = outcomes(facts, asked.symbol)
        facts = replace(facts, plan_target=high + 100 if asked.side == "BUY" else low - 100)
        decision = gate.review(asked, facts)
        if decision.approval is None:
            continue
        gate.redeem(decision.approval, asked)
        facts = replace(
            facts,
            working=(*facts.working, as_working(asked)),
            known_refs=facts.known_refs | {asked.order_ref},
        )
    cost = sum(o.remaining * o.limit_price for o in facts.working if o.side == "BUY")
    assert cost <= facts.cash - Decimal(250)
    for symbol in SYMBOLS:
        assert max(map(abs, outcomes(facts, symbol))) * 98 <= 10_000
