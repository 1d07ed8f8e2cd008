"""What the account's owner does past the API: seen by clients as any change of the account is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal

import pytest
from ib_insync import IB, ExecutionFilter

from hydra_pipelines.paper_gateway.control import GatewayControl, GatewayControlError
from hydra_pipelines.sessions import Calendar
from hydra_pipelines_tests.paper_gateway.served import Served


@pytest.fixture
def owner(served: Served, calendar: Calendar) -> GatewayControl:
    served.advance(calendar.close(date(2019, 1, 3)))
    return GatewayControl(served.endpoint)


def test_a_trade_by_hand_is_an_execution_of_client_0_without_a_reference(
    owner: GatewayControl, client: Callable[[int], IB]
) -> None:
    ib = client(5)
    before = Decimal(owner.balance()["cash"])
    after = owner.trade("BUY", "ALFA", 100)
    (position,) = after["positions"]
    assert (position["symbol"], position["quantity"]) == ("ALFA", 100)
    assert before - Decimal(after["cash"]) == 100 * Decimal(position["mark"]) + 1
    (fill,) = ib.reqExecutions(ExecutionFilter())
    assert (fill.execution.clientId, fill.execution.orderRef) == (0, "")
    assert (fill.execution.shares, fill.commissionReport.commission) == (100, 1.0)
    assert owner.truth()["executions"][0]["order_ref"] == ""


def test_money_and_shares_move_without_a_trade(
    owner: GatewayControl, client: Callable[[int], IB]
) -> None:
    ib = client(5)
    cash = Decimal(owner.balance()["cash"])
    assert Decimal(owner.pay("1234.56")["cash"]) == cash + Decimal("1234.56")
    assert Decimal(owner.pay("-1234.56")["cash"]) == cash
    moved = owner.move_shares("BETA", -7)
    assert [(p["symbol"], p["quantity"]) for p in moved["positions"]] == [("BETA", -7)]
    assert Decimal(moved["cash"]) == cash
    ib.reqPositions()
    assert [(p.contract.symbol, p.position) for p in ib.positions()] == [("BETA", -7.0)]
    assert ib.reqExecutions(ExecutionFilter()) == []


@pytest.mark.parametrize(
    ("do", "says"),
    [
        (lambda o: o.pay("-1000000000"), "no amount|less than"),
        (lambda o: o.pay("-2000000"), "less than is taken out"),
        (lambda o: o.pay("0"), "no amount"),
        (lambda o: o.pay("some"), "no amount"),
        (lambda o: o.trade("BUY", "NONE", 1), "does not trade NONE"),
        (lambda o: o.trade("HOLD", "ALFA", 1), "buys or sells"),
        (lambda o: o.trade("BUY", "ALFA", 0), "buys or sells"),
        (lambda o: o.move_shares("ALFA", "many"), "whole number"),
    ],
)
def test_what_can_not_be_is_refused_and_changes_nothing(
    owner: GatewayControl, do: Callable[[GatewayControl], object], says: str
) -> None:
    before = owner.truth()
    with pytest.raises(GatewayControlError, match=says):
        do(owner)
    assert owner.truth() == before
