"""The pre-trade checks: each limit by itself, and all of them at random."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_pipelines.execution.risk.breakers import evaluate_breakers
from hydra_pipelines.execution.risk.checks import DenialReason, find_denials
from hydra_pipelines.execution.risk.gate import RiskGate
from hydra_pipelines.execution.risk.limits import RiskLimits
from hydra_pipelines.execution.risk.state import BreakerKind, Quote, WorkingOrder
from hydra_pipelines_tests.execution.risk_cases import (
    LIMITS,
    MANY,
    SYMBOLS,
    adds_risk,
    as_working,
    denials,
    order,
    outcomes,
    random_review,
    reviews,
    state,
    working,
)


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
    "shown",
    [
        None,
        Quote(Decimal(999), Decimal(1000), Decimal(1000), 1.0),
        Quote(Decimal(1), Decimal(2), Decimal(2), 1.0),
        Quote(Decimal(101), Decimal(100), None, None),
    ],
)
def test_an_order_for_the_open_is_held_against_the_last_close_whatever_quote_is_shown(
    shown: Quote | None,
):
    def denied(**changes: object) -> set[DenialReason]:
        return denials(order(at_open=True, **changes), quote=shown)

    assert denied(limit_price=Decimal("100.49")) == set()
    assert denied(limit_price=Decimal("100.50")) == {R.QUOTE_COLLAR}
    held = {"positions": {"A": 50}, "plan_target": 0, "quote": shown}
    for limit, reasons in ((Decimal("98.51"), set()), (Decimal("98.50"), {R.QUOTE_COLLAR})):
        assert denials(order(at_open=True, side="SELL", limit_price=limit), **held) == reasons
    assert R.NO_QUOTE in denials(order(at_open=True), quote=shown, last_close=None)


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
        ({"limit_price": Decimal("99.00")}, {"last_close": Decimal(110)}, {}),
        ({}, {"quote": Quote(Decimal(100), Decimal(100), None, 0.0)}, {}),
    ],
)
def test_up_to_its_limit_an_order_passes(asked, facts, limits):
    assert denials(order(**asked), replace(LIMITS, **limits), **facts) == set()


ALARM = {
    "equity": Decimal(50_000),
    "cash": None,
    "last_close": None,
    "adv": 1.0,
    "marks": {},
    "tripped": frozenset(BreakerKind) - {BreakerKind.KILL_SWITCH},
    "unknown_orders": 3,
    "agent_paused": True,
    "orders_last_minute": 10_000,
}


@pytest.mark.parametrize(("side", "held"), [("SELL", 50), ("BUY", -50)])
@pytest.mark.parametrize("target", [0, None])
def test_a_position_can_be_closed_whatever_is_tripped_or_unknown(side, held, target):
    facts = ALARM | {"positions": {"A": held, "B": 9}, "plan_target": target}
    strict = replace(LIMITS, restricted=("A",), max_positions=0, max_order_notional=Decimal(0))
    assert denials(order(side=side), strict, **facts) == set()
    one_too_many = denials(order(side=side, quantity=51), strict, **facts)
    assert DenialReason.CROSSES_ZERO in one_too_many
    assert DenialReason.BREAKERS_UNKNOWN not in one_too_many
    assert DenialReason.BREAKER_AGENT_PAUSED in one_too_many
    assert denials(order(side=side), strict, **facts, kill_switch=True) == {
        DenialReason.KILL_SWITCH
    }


def test_shorts_count_towards_the_net_exposure():
    shorts = replace(LIMITS, allow_short=True, net_cap=0.06)
    asked = order(side="SELL")
    facts = {"plan_target": -90, "shortable": True}
    assert denials(asked, shorts, **facts, positions={"B": -10}) == set()
    assert denials(asked, shorts, **facts, positions={"B": -11}) == {DenialReason.NET_EXPOSURE}
    assert denials(asked, replace(shorts, net_cap=0.0499), **facts) == {DenialReason.NET_EXPOSURE}


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


def test_the_random_reviews_are_a_fair_mix():
    cases = [random_review(seed) for seed in range(400)]
    approved = [case for case in cases if not find_denials(*case)]
    adding = [case for case in approved if adds_risk(case[0], case[1])]
    assert len(adding) > 35
    assert len(approved) - len(adding) > 25


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
