"""What the gate is shown of our own books, folded over a run, is what the ledger says each time."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from hydra_pipelines.execution.orders import book
from hydra_pipelines.execution.orders.book import OrderBook
from hydra_pipelines.execution.orders.review import Reviewer
from hydra_pipelines.execution.positions import worst_realised_loss
from hydra_pipelines.ledger import orders, trades
from hydra_pipelines_tests.execution.orders.workshop import ACCOUNT, NEXT, Shop


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Decimal, int]]:
    """(worst loss, rejects) of each look, each compared with the ledger's."""
    seen: list[tuple[Decimal, int]] = []
    look = Reviewer.look

    def compared(
        self: Reviewer, session: date, data_age: int, orders_of: OrderBook, symbols: Any
    ) -> None:
        look(self, session, data_age, orders_of, symbols)
        state = self._known()
        with self._ledger.transaction() as tx:
            fills = trades.fills(tx, ACCOUNT, traded_in=session)
            rejects = orders.rejects_in_a_row(tx)
        assert state.worst_trade_loss == worst_realised_loss(fills, session)
        assert state.rejects_in_a_row == rejects
        seen.append((state.worst_trade_loss, state.rejects_in_a_row))

    monkeypatch.setattr(Reviewer, "look", compared)
    return seen


def test_losses_of_the_run_itself_are_seen(shop: Shop, looks: list[tuple[Decimal, int]]) -> None:
    shop.plan(("ALFA", "BUY", 300, 300), ("BETA", "BUY", 100, 100))
    with shop.ledger.session():
        shop.run()
    assert looks and looks[-1][0] == 0
    shop.clock.wait_until(shop.calendar.close(NEXT))
    # Sales first, then a purchase, which is looked at with what they realised.
    shop.plan(
        ("ALFA", "SELL", 300, 0), ("BETA", "SELL", 50, 50), ("DEEP", "BUY", 100, 100),
        session=NEXT,
    )  # fmt: skip
    looks.clear()
    with shop.ledger.session():
        shop.run(NEXT)
    assert looks[0][0] == 0 and looks[-1][0] > 0


@pytest.mark.parametrize("fault", ["partial_then_reject", "correction", "late_commission"])
def test_whatever_the_broker_tells_late_or_takes_back(
    shop: Shop, looks: list[tuple[Decimal, int]], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As where time passes: what comes is written before what comes later.
    monkeypatch.setattr(book, "WITHIN_S", 0)
    shop.plan(("ALFA", "BUY", 300, 300))
    with shop.ledger.session():
        shop.run()
    shop.clock.wait_until(shop.calendar.close(NEXT))
    shop.gateway.set_faults([{"fault": fault, "symbol": "ALFA"}])
    # Patient orders are looked at again and again while the first ones fill.
    shop.plan(
        ("ALFA", "SELL", 200, 100), ("DEEP", "BUY", 100, 100), ("THIN", "BUY", 20, 20),
        session=NEXT,
    )  # fmt: skip
    looks.clear()
    with shop.ledger.session():
        shop.run(NEXT, routing="auto")
    assert len(looks) > 2 and looks[-1][0] > 0
    assert (max(rejects for _, rejects in looks) > 0) is (fault == "partial_then_reject"), looks
