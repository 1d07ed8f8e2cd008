"""The risk gate: no way round it, no approved order beyond a limit, and always a way out."""

from __future__ import annotations

import copy
import json
import multiprocessing
import pickle
import random
import threading
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hydra_pipelines.execution.risk.breakers import evaluate_breakers
from hydra_pipelines.execution.risk.checks import DenialReason, find_denials
from hydra_pipelines.execution.risk.gate import Approval, ApprovalError, RiskGate
from hydra_pipelines.execution.risk.limits import RiskLimits
from hydra_pipelines.execution.risk.state import (
    BreakerKind,
    OrderRequest,
    Quote,
    RiskState,
    WorkingOrder,
)

LIMITS = RiskLimits()
SYMBOLS = ("A", "B", "C", "D")


def order(**changes: object) -> OrderRequest:
    """A buy of 50 shares of A at 100 USD."""
    made = OrderRequest(
        order_ref="ref-1",
        account="DU1",
        symbol="A",
        side="BUY",
        quantity=50,
        limit_price=Decimal("100.00"),
        arrival_price=Decimal("99.99"),
    )
    return replace(made, **changes)


def state(**changes: object) -> RiskState:
    """A flat account of 100,000 USD in which everything is known and well."""
    facts = {
        "account": "DU1",
        "equity": Decimal("100000"),
        "equity_at_start": Decimal("100000"),
        "peak_equity": Decimal("100000"),
        "cash": Decimal("100000"),
        "positions": {},
        "working": (),
        "marks": {symbol: Decimal(100) for symbol in SYMBOLS},
        "quote": Quote(Decimal("99.98"), Decimal("100.00"), Decimal("99.99"), 1.0),
        "last_close": Decimal("99.50"),
        "tick_size": Decimal("0.01"),
        "adv": 1e6,
        "plan_target": 90,
        "tripped": frozenset(),
        "worst_trade_loss": Decimal(0),
        "rejects_in_a_row": 0,
        "unknown_orders": 0,
        "data_age_sessions": 1,
        "orders_last_minute": 0,
        "agent_paused": False,
        "kill_switch": False,
        "known_refs": frozenset(),
    }
    return RiskState(**(facts | changes))


def working(side: str, remaining: int, symbol: str = "A", ref: str = "w-1") -> WorkingOrder:
    return WorkingOrder(ref, symbol, side, remaining, Decimal(100))


def denials(
    asked: OrderRequest | None = None, limits: RiskLimits = LIMITS, **changes: object
) -> set[DenialReason]:
    return set(find_denials(asked or order(), state(**changes), limits))


# --- each limit by itself -----------------------------------------------------------------------


def test_an_order_within_all_limits_is_approved():
    decision = RiskGate(LIMITS).review(order(), state())
    assert decision.approved
    assert decision.reasons == ()
    assert decision.message == "approved"


R = DenialReason


@pytest.mark.parametrize(
    ("asked", "facts", "limits", "reason"),
    [
        ({}, {"kill_switch": True}, {}, R.KILL_SWITCH),
        ({}, {"tripped": {BreakerKind.KILL_SWITCH}}, {}, R.KILL_SWITCH),
        ({}, {"kill_switch": None}, {}, R.KILL_SWITCH_UNKNOWN),
        ({"account": "DU2"}, {}, {}, R.WRONG_ACCOUNT),
        ({"quantity": 0}, {}, {}, R.INVALID_ORDER),
        ({"quantity": -5}, {}, {}, R.INVALID_ORDER),
        ({"quantity": 5.0}, {}, {}, R.INVALID_ORDER),
        ({"quantity": True}, {}, {}, R.INVALID_ORDER),
        ({"side": "SSHORT"}, {}, {}, R.INVALID_ORDER),
        ({"tif": "GTC"}, {}, {}, R.INVALID_ORDER),
        ({"limit_price": Decimal("NaN")}, {}, {}, R.INVALID_ORDER),
        ({"limit_price": Decimal(0)}, {}, {}, R.INVALID_ORDER),
        ({"limit_price": 100.0}, {}, {}, R.INVALID_ORDER),
        ({"arrival_price": Decimal(-1)}, {}, {}, R.INVALID_ORDER),
        ({"order_ref": ""}, {}, {}, R.INVALID_ORDER),
        ({}, {"known_refs": {"ref-1"}}, {}, R.DUPLICATE_ORDER),
        ({}, {"working": (working("BUY", 1, "B", "ref-1"),)}, {}, R.DUPLICATE_ORDER),
        ({}, {"tick_size": None}, {}, R.TICK_SIZE_UNKNOWN),
        ({"limit_price": Decimal("100.005")}, {}, {}, R.TICK_SIZE),
        ({}, {"quote": None}, {}, R.NO_QUOTE),
        ({}, {"quote": Quote(Decimal(-1), Decimal(0), Decimal("NaN"), 1.0)}, {}, R.NO_QUOTE),
        ({}, {"quote": Quote(Decimal(101), Decimal(100), Decimal(100), 1.0)}, {}, R.NO_QUOTE),
        ({}, {"quote": Quote(None, Decimal(100), None, 61.0)}, {}, R.STALE_QUOTE),
        ({}, {"quote": Quote(None, Decimal(100), None, None)}, {}, R.STALE_QUOTE),
        ({"limit_price": Decimal("101.01")}, {}, {}, R.QUOTE_COLLAR),
        ({}, {"positions": None}, {}, R.POSITION_UNKNOWN),
        ({}, {"working": None}, {}, R.POSITION_UNKNOWN),
        ({}, {"frozen": {"A"}}, {}, R.SYMBOL_FROZEN),
        ({"side": "SELL"}, {"positions": {"A": 49}, "plan_target": -9}, {}, R.CROSSES_ZERO),
        ({"side": "SELL"}, {"working": (working("BUY", 60),)}, {}, R.CROSSES_ZERO),
        ({}, {"positions": {"A": -49}}, {}, R.CROSSES_ZERO),
        ({}, {"positions": {"A": 41}}, {}, R.BEYOND_TARGET),
        ({}, {"working": (working("BUY", 41),)}, {}, R.BEYOND_TARGET),
        ({}, {"plan_target": -50}, {}, R.BEYOND_TARGET),
        ({"side": "SELL"}, {"positions": {"A": 100}}, {}, R.BEYOND_TARGET),
        ({}, {"tripped": {BreakerKind.DAILY_LOSS}}, {}, R.BREAKER_DAILY_LOSS),
        ({}, {"equity": Decimal(98000)}, {}, R.BREAKER_DAILY_LOSS),
        ({}, {"peak_equity": Decimal(112000)}, {}, R.BREAKER_DRAWDOWN),
        ({}, {"worst_trade_loss": Decimal(1000)}, {}, R.BREAKER_TRADE_LOSS),
        ({}, {"rejects_in_a_row": 5}, {}, R.BREAKER_ORDER_REJECTS),
        ({}, {"data_age_sessions": 4}, {}, R.BREAKER_DATA_AGE),
        ({}, {"unknown_orders": 1}, {}, R.BREAKER_UNKNOWN_ORDERS),
        ({}, {"agent_paused": True}, {}, R.BREAKER_AGENT_PAUSED),
        ({}, {"tripped": None}, {}, R.BREAKERS_UNKNOWN),
        ({}, {"equity_at_start": None}, {}, R.BREAKERS_UNKNOWN),
        ({}, {"peak_equity": None}, {}, R.BREAKERS_UNKNOWN),
        ({}, {"worst_trade_loss": None}, {}, R.BREAKERS_UNKNOWN),
        ({}, {"rejects_in_a_row": None}, {}, R.BREAKERS_UNKNOWN),
        ({}, {"data_age_sessions": None}, {}, R.BREAKERS_UNKNOWN),
        ({}, {"unknown_orders": None}, {}, R.BREAKERS_UNKNOWN),
        ({}, {"agent_paused": None}, {}, R.BREAKERS_UNKNOWN),
        ({}, {"equity": None}, {}, R.EQUITY_UNKNOWN),
        ({}, {"equity": Decimal(0)}, {}, R.EQUITY_UNKNOWN),
        ({}, {"cash": None}, {}, R.CASH_UNKNOWN),
        (
            {},
            {"working": (WorkingOrder("w", "B", "BUY", 1, None),)},
            {},
            R.CASH_UNKNOWN,
        ),
        ({}, {"plan_target": None}, {}, R.TARGET_UNKNOWN),
        ({}, {"last_close": None}, {}, R.LAST_CLOSE_UNKNOWN),
        ({}, {"positions": {"Z": 1}}, {}, R.EXPOSURE_UNKNOWN),
        ({}, {"positions": {"B": 1}, "marks": {"B": Decimal(0)}}, {}, R.EXPOSURE_UNKNOWN),
        ({}, {"orders_last_minute": None}, {}, R.ORDER_RATE_UNKNOWN),
        ({}, {}, {"restricted": ("A",)}, R.RESTRICTED),
        ({"side": "SELL"}, {"plan_target": -90}, {}, R.SHORT_SALE),
        ({"side": "SELL"}, {"plan_target": -90}, {"allow_short": True}, R.NOT_SHORTABLE),
        ({}, {"last_close": Decimal("90.90")}, {}, R.CLOSE_COLLAR),
        ({}, {"last_close": Decimal("111.12")}, {}, R.CLOSE_COLLAR),
        ({}, {}, {"max_order_notional": Decimal("4999.99")}, R.MAX_ORDER_NOTIONAL),
        ({}, {"adv": 4999.0}, {}, R.ADV_SHARE),
        ({}, {"adv": 9000.0, "working": (working("BUY", 41),)}, {}, R.ADV_SHARE),
        ({}, {}, {"max_position_weight": 0.0499}, R.MAX_POSITION),
        # A buy that rests below the market is worth the market's price.
        ({"limit_price": Decimal("99.50")}, {}, {"max_position_weight": 0.0499}, R.MAX_POSITION),
        ({}, {"positions": {"A": 51}}, {}, R.MAX_POSITION),
        ({}, {"positions": {"B": 1}}, {"max_positions": 1}, R.MAX_POSITIONS),
        ({}, {"working": (working("BUY", 1, "B"),)}, {"max_positions": 1}, R.MAX_POSITIONS),
        ({}, {"positions": {"B": 951}}, {}, R.GROSS_EXPOSURE),
        ({}, {"positions": {"B": -951}}, {}, R.GROSS_EXPOSURE),
        ({}, {"positions": {"B": 251}}, {"net_cap": 0.3}, R.NET_EXPOSURE),
        ({}, {"cash": Decimal("5250.99")}, {}, R.CASH),
        ({}, {"cash": Decimal(8000), "working": (working("BUY", 30, "B"),)}, {}, R.CASH),
        ({}, {"orders_last_minute": 120}, {}, R.ORDER_RATE),
    ],
)
def test_each_reason_denies_and_is_named(asked, facts, limits, reason):
    assert reason in denials(order(**asked), replace(LIMITS, **limits), **facts)
    assert reason.explanation


@pytest.mark.parametrize(
    ("asked", "facts", "limits"),
    [
        ({}, {"positions": {"A": 40}}, {}),
        ({}, {"cash": Decimal("5251.00")}, {}),
        ({}, {"adv": 5000.0}, {}),
        ({}, {"adv": None}, {}),
        ({}, {"adv": float("nan")}, {}),
        ({}, {"equity": Decimal("98000.01")}, {}),
        ({}, {"peak_equity": Decimal("111111.11")}, {}),
        ({}, {"worst_trade_loss": Decimal("999.99")}, {}),
        ({}, {"data_age_sessions": 3}, {}),
        ({}, {"rejects_in_a_row": 4}, {}),
        ({}, {"orders_last_minute": 119}, {}),
        ({"limit_price": Decimal("101.00")}, {}, {}),
        ({}, {"quote": Quote(None, None, Decimal(100), 60.0)}, {}),
        ({}, {}, {"max_order_notional": Decimal(5000)}),
        ({}, {}, {"max_position_weight": 0.05}),
        ({}, {"positions": {"B": 1}}, {"max_positions": 2}),
        ({}, {"positions": {"B": 950}}, {}),
        (
            {"side": "SELL", "limit_price": Decimal("99.98")},
            {"plan_target": -50, "shortable": True},
            {"allow_short": True},
        ),
        ({}, {"frozen": {"B"}, "positions": {"B": 1}}, {}),
    ],
)
def test_up_to_its_limit_an_order_passes(asked, facts, limits):
    assert denials(order(**asked), replace(LIMITS, **limits), **facts) == set()


def test_every_reason_is_reached_by_a_test_and_explained():
    listed = test_each_reason_denies_and_is_named.pytestmark[0].args[1]
    assert {case[3] for case in listed} | {R.STATE_OUT_OF_DATE} == set(DenialReason)


def test_a_loss_of_five_percent_with_a_limit_of_two_is_denied_and_says_why():
    bad_day = state(equity=Decimal(95000))
    decision = RiskGate(LIMITS).review(order(), bad_day)
    assert decision.approval is None
    assert decision.reasons == (DenialReason.BREAKER_DAILY_LOSS,)
    assert "the loss of the session has reached its limit" in decision.message
    (breaker,) = evaluate_breakers(bad_day, LIMITS)
    assert breaker.kind is BreakerKind.DAILY_LOSS
    assert (breaker.value, breaker.limit) == (0.05, 0.02)
    assert breaker.message == "the loss of the session is 5.00%, the limit 2.00%"


def test_what_is_not_known_trips_no_breaker():
    unknown = dict.fromkeys(
        (
            "equity",
            "equity_at_start",
            "peak_equity",
            "worst_trade_loss",
            "rejects_in_a_row",
            "data_age_sessions",
            "unknown_orders",
            "agent_paused",
            "kill_switch",
        )
    )
    assert evaluate_breakers(state(**unknown), LIMITS) == ()


def test_no_loss_trips_nothing_and_a_loss_from_nothing_does():
    strict = replace(LIMITS, daily_loss=0.0, drawdown=0.0, single_trade_loss=0.0)
    assert evaluate_breakers(state(), strict) == ()
    (breaker,) = evaluate_breakers(
        state(equity_at_start=Decimal(0), peak_equity=None, equity=Decimal(-1)), LIMITS
    )
    assert breaker.kind is BreakerKind.DAILY_LOSS


def test_how_far_a_position_could_go():
    facts = state(
        positions={"A": 10},
        working=(working("BUY", 5), working("SELL", 3), working("SELL", 1, "B")),
    )
    assert facts.reaches() == {"A": (7, 15), "B": (-1, 0)}
    assert (facts.reach("A"), facts.reach("C")) == ((7, 15), (0, 0))
    assert replace(facts, frozen={"A"}).reach("A") is None
    assert replace(facts, working=None).reach("A") is None
    assert replace(facts, positions=None).reaches() is None


def test_an_amount_that_is_no_number_is_refused_instead_of_compared():
    with pytest.raises(ValueError, match="cash is NaN"):
        state(cash=Decimal("NaN"))
    with pytest.raises(ValueError, match="w-1: BUY -1 A"):
        working("BUY", -1)


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ({"daily_loss": 1.5}, "daily_loss is 1.5"),
        ({"gross_cap": float("nan")}, "gross_cap is nan"),
        ({"max_positions": -1}, "max_positions is -1"),
        ({"rejects_in_a_row": 0}, "rejects_in_a_row"),
        ({"restricted": "AAPL"}, "give a list of symbols"),
    ],
)
def test_limits_that_make_no_sense_are_refused(limit, message):
    with pytest.raises(ValueError, match=message):
        RiskLimits(**limit)


# --- the whole picture, at random ---------------------------------------------------------------

MANY = settings(max_examples=12 * settings.default.max_examples)


def random_review(seed: int) -> tuple[OrderRequest, RiskState, RiskLimits]:
    """An order, a state and limits. Drawn from a seed: what matters is the mix of states."""
    rng = random.Random(seed)
    limits = RiskLimits(
        max_order_notional=rng.choice([Decimal(2000), Decimal(250_000), Decimal(250_000)]),
        max_position_weight=rng.choice([0.05, 0.1, 0.5]),
        max_positions=rng.choice([0, 2, 4, 4, 4]),
        gross_cap=rng.choice([0.2, 1.0, 1.0]),
        net_cap=rng.choice([0.1, 1.0, 1.0]),
        allow_short=rng.random() < 0.5,
        restricted=rng.choice([(), (), (), (), ("A",), ("B",)]),
    )
    side = rng.choice(["BUY", "BUY", "SELL"])
    held = {s: rng.choice([0, 20, 50, 80, 120, -40]) for s in SYMBOLS if rng.random() < 0.4}
    live = tuple(
        WorkingOrder(
            f"w{i}",
            rng.choice(SYMBOLS),
            rng.choice(["BUY", "SELL"]),
            rng.randint(0, 60),
            Decimal(100),
        )
        for i in range(rng.choice([0, 0, 1, 3]))
    )
    facts = {
        "positions": held,
        "working": live,
        "plan_target": rng.choice([None, rng.randint(-150, 150)])
        if rng.random() < 0.3
        else (150 if side == "BUY" else -150),
        "cash": Decimal(rng.choice([100_000, 20_000, 4_000])),
        "adv": rng.choice([None, 3000.0, 1e6]),
        "shortable": rng.choice([True, False, None]),
    }
    if rng.random() < 0.3:
        facts |= {
            "equity": rng.choice([None, Decimal(97_000), Decimal(100_000)]),
            "equity_at_start": rng.choice([None, Decimal(100_000)]),
            "peak_equity": rng.choice([None, Decimal(120_000), Decimal(100_000)]),
            "cash": rng.choice([None, Decimal(100_000)]),
            "worst_trade_loss": rng.choice([None, Decimal(0), Decimal(5000)]),
            "last_close": rng.choice([None, Decimal(80), Decimal(100)]),
            "tripped": rng.choice([None, frozenset(), frozenset({rng.choice(list(BreakerKind))})]),
            "rejects_in_a_row": rng.choice([None, 0, 5]),
            "unknown_orders": rng.choice([None, 0, 1]),
            "data_age_sessions": rng.choice([None, 1, 4]),
            "orders_last_minute": rng.choice([None, 0, 200]),
            "agent_paused": rng.choice([None, False, True]),
            "kill_switch": rng.choice([None, False, False, True]),
            "marks": rng.choice([{}, {symbol: Decimal(100) for symbol in SYMBOLS}]),
        }
    asked = order(
        side=side,
        quantity=rng.choice([1, 10, 20, 45, 120]),
        limit_price=Decimal(rng.randint(9900, 10100)) / 100,
    )
    return asked, state(**facts), limits


def reviews() -> st.SearchStrategy[tuple[OrderRequest, RiskState, RiskLimits]]:
    return st.integers(0, 2**32 - 1).map(random_review)


def test_the_random_reviews_are_a_fair_mix():
    cases = [random_review(seed) for seed in range(400)]
    approved = [case for case in cases if not find_denials(*case)]
    adding = [case for case in approved if adds_risk(case[0], case[1])]
    assert len(adding) > 35
    assert len(approved) - len(adding) > 25


def adds_risk(asked: OrderRequest, facts: RiskState) -> bool:
    after = outcomes(replace(facts, working=(*facts.working, as_working(asked))), asked.symbol)
    return max(map(abs, after)) > max(map(abs, outcomes(facts, asked.symbol)))


def outcomes(facts: RiskState, symbol: str) -> tuple[int, int]:
    """The lowest and highest position that any fills of the working orders can lead to."""
    low = high = facts.positions.get(symbol, 0)
    for other in facts.working:
        if other.symbol == symbol:
            low -= other.remaining if other.side == "SELL" else 0
            high += other.remaining if other.side == "BUY" else 0
    return low, high


@MANY
@given(reviews())
def test_no_approved_order_breaks_a_limit(case):
    asked, facts, limits = case
    if find_denials(asked, facts, limits):
        return
    before = outcomes(facts, "A")
    after = outcomes(replace(facts, working=(*facts.working, as_working(asked))), "A")
    assert facts.kill_switch is False
    if facts.plan_target is not None:
        bought = asked.side == "BUY"
        assert after[1] <= facts.plan_target if bought else after[0] >= facts.plan_target
    if not adds_risk(asked, facts):
        return
    # It adds risk: every limit holds whatever fills.
    assert not evaluate_breakers(facts, limits)
    assert not facts.tripped
    assert asked.symbol not in limits.restricted
    assert limits.allow_short or after[0] >= 0
    equity = float(facts.equity)
    assert max(map(abs, after)) * float(asked.limit_price) <= equity * limits.max_position_weight
    reached = {s: outcomes(facts, s) for s in SYMBOLS} | {"A": after}
    held = [s for s, reach in reached.items() if any(reach)]
    if before == (0, 0):
        assert len(held) <= limits.max_positions
    gross = sum(max(map(abs, reach)) * 98 for reach in reached.values())
    assert gross <= equity * limits.gross_cap
    if asked.side == "BUY":
        assert sum(reach[1] for reach in reached.values()) * 98 <= equity * limits.net_cap
        spent = asked.quantity * asked.limit_price
        spent += sum(o.remaining * o.limit_price for o in facts.working if o.side == "BUY")
        assert float(spent) <= float(facts.cash) - equity * limits.cash_buffer
    assert asked.quantity * asked.limit_price <= limits.max_order_notional
    assert facts.adv is None or asked.quantity <= facts.adv * limits.max_adv_share


def as_working(asked: OrderRequest) -> WorkingOrder:
    return WorkingOrder(
        asked.order_ref, asked.symbol, asked.side, asked.quantity, asked.limit_price
    )


@MANY
@given(reviews(), st.integers(0, 100), st.booleans())
def test_a_reduction_always_passes_unless_the_kill_switch_is_on(case, share, outside_a_plan):
    asked, facts, limits = case
    held = facts.positions.get("A", 0)
    selling = sum(o.remaining for o in facts.working if (o.symbol, o.side) == ("A", "SELL"))
    buying = sum(o.remaining for o in facts.working if (o.symbol, o.side) == ("A", "BUY"))
    sellable, coverable = held - selling, -held - buying
    most = max(sellable, coverable)
    if most <= 0:
        return
    asked = replace(
        asked,
        side="SELL" if sellable > 0 else "BUY",
        quantity=max(1, most * share // 100),
        limit_price=Decimal("99.98") if sellable > 0 else Decimal("100.00"),
    )
    target = sellable - asked.quantity if sellable > 0 else asked.quantity - coverable
    facts = replace(facts, plan_target=None if outside_a_plan else target)
    killed = facts.kill_switch is not False or BreakerKind.KILL_SWITCH in (facts.tripped or ())
    found = find_denials(asked, facts, limits)
    if killed:
        assert len(found) == 1
        assert found[0] in (DenialReason.KILL_SWITCH, DenialReason.KILL_SWITCH_UNKNOWN)
    else:
        assert found == ()


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


# --- no way round -------------------------------------------------------------------------------


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
        try:
            sent.append(gate.redeem(approval, order()))
        except ApprovalError:
            pass

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
