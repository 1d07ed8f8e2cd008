"""Every fault of the stand-in's menu, and days drawn from it: in the end our books are its books.

While a fault strikes, a run may fail with a BrokerError that says why; the next run goes on from
there. Whatever happens, no order is at the venue twice.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from hydra_pipelines.execution.broker.messages import BrokerError
from hydra_pipelines.paper_gateway.faults import MENU
from hydra_pipelines_tests.execution.orders.workshop import SESSION, Shop

PLAN = (("ALFA", "BUY", 300, 300), ("THIN", "BUY", 2_000, 2_000))
"""One that fills at once, and one that fills in parts and is cancelled in the end."""


def work(shop: Shop) -> Any:
    with shop.broker(request_timeout_s=0.5, connect_timeout_s=0.5, connect_attempts=2) as broker:
        return shop.manager(broker, work_minutes=4).execute(SESSION, shop.market())


def work_under(shop: Shop, script: Any, tries: int) -> tuple[list[str], dict[str, int]]:
    """Run under faults, again after each failure: what each run came to, and what struck."""
    shop.gateway.set_faults(script)
    said = []
    for _ in range(tries):
        try:
            work(shop)
        except BrokerError as error:
            said.append(str(error))
        else:
            said.append("done")
            break
    struck = shop.gateway.faults()["struck"]
    shop.gateway.set_faults([])
    return said, struck


def assert_in_order(shop: Shop, struck: dict[str, int]) -> None:
    report = work(shop)
    truth = shop.truth()
    forgotten = bool(struck.get("forgotten_executions"))
    placed = Counter(o["symbol"] for o in truth["orders"])
    assert set(placed.values()) <= {1}, placed
    assert {o["status"] for o in truth["orders"]} <= {"Filled", "Cancelled", "Inactive"}
    if report.unknown:
        # Fills that the gateway keeps to itself: in doubt, said, and for a person to see to.
        assert forgotten
        frozen = {o.symbol for o in report.unknown}
        assert all(any(s in n and "frozen" in n for n in report.notes) for s in frozen)
        return
    shop.assert_books_agree(every_commission=not forgotten)
    ours = {o.order_ref: o.filled for o in report.orders}
    assert {o["order_ref"]: o["filled"] for o in truth["orders"]}.items() <= ours.items()


@pytest.mark.parametrize("fault", sorted(MENU))
def test_each_fault(shop: Shop, fault: str):
    shop.plan(*PLAN)
    said, struck = work_under(shop, [{"fault": fault, "times": 2}], tries=2)
    assert_in_order(shop, struck)
    assert all(text == "done" or len(text) > 20 for text in said)


@pytest.mark.parametrize("seed", range(2))
def test_a_day_with_faults_at_random(shop: Shop, seed: int):
    shop.plan(*PLAN)
    _, struck = work_under(shop, {"random": {"seed": seed, "faults": 8}}, tries=5)
    assert_in_order(shop, struck)
