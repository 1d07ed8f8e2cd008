"""Profit streams: the account's and a position's, as an unmodified client hears them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal

import pytest
from ib_insync import IB

from hydra_pipelines.sessions import Calendar
from hydra_pipelines_tests.paper_gateway.served import ACCOUNT, ErrorLog, Served
from hydra_pipelines_tests.paper_gateway.test_client import MORNING, contract, place

Client = Callable[..., IB]


def equity(served: Served) -> float:
    truth = served.control.truth()
    marked = sum(p["quantity"] * Decimal(p["mark"]) for p in truth["positions"])
    return float(Decimal(truth["cash"]) + marked)


def test_daily_profit_is_what_equity_gained_since_the_close_before(
    served: Served, client: Client, calendar: Calendar
) -> None:
    ib = client()
    deep, alfa = contract(ib, "DEEP"), contract(ib, "ALFA")
    served.advance(MORNING)
    (quote,) = ib.reqTickers(deep)
    place(ib, deep, "BUY", 200, round(quote.ask * 1.01, 2))
    whole = ib.reqPnL(ACCOUNT)
    one, none = ib.reqPnLSingle(ACCOUNT, "", deep.conId), ib.reqPnLSingle(ACCOUNT, "", alfa.conId)
    served.advance(calendar.close(date(2019, 1, 3)))
    start = equity(served)
    ib.reqCurrentTime()
    assert whole.dailyPnL == pytest.approx(start - 1_000_000)
    assert (one.dailyPnL, one.position, none.position) == (whole.dailyPnL, 200, 0)
    assert one.value == pytest.approx(start - ib_cash(served))

    served.advance(calendar.open(date(2019, 1, 4)))
    ib.reqCurrentTime()
    (quote,) = ib.reqTickers(deep)
    place(ib, deep, "SELL", 200, round(quote.bid * 0.99, 2))
    served.advance(calendar.close(date(2019, 1, 4)))
    ib.reqCurrentTime()
    assert whole.dailyPnL == pytest.approx(equity(served) - start)
    assert (one.position, whole.unrealizedPnL) == (0, 0)
    assert whole.realizedPnL == pytest.approx(equity(served) - 1_000_000)
    ib.cancelPnL(ACCOUNT)


def ib_cash(served: Served) -> float:
    return float(served.control.truth()["cash"])


def test_profit_of_what_is_not_listed_is_refused(
    served: Served, client: Client, errors: ErrorLog
) -> None:
    ib = client()
    ib.reqPnLSingle(ACCOUNT, "", 12345)
    ib.reqCurrentTime()
    errors.expect("Error 200")
