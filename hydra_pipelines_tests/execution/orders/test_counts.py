"""What working a plan costs, in counts that no machine changes: commits, statements, requests.

The bounds are what it takes now, with little to spare: who needs more has to raise them here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import pytest

from hydra_pipelines.execution.broker.loop import LoopThread
from hydra_pipelines.ledger.store import Rows, Transaction
from hydra_pipelines.paper_gateway.control import GatewayControl, _OpenControl
from hydra_pipelines_tests.execution.orders.workshop import Shop

COUNTED = {
    "statements": ((Rows, "query"), (Rows, "value"), (Transaction, "execute")),
    "handovers to the client's thread": ((LoopThread, "run"),),
    "questions to the venue's clock": ((GatewayControl, "_call"), (_OpenControl, "_call")),
}
ROWS = (
    ("ALFA", "BUY", 300, 300),
    ("BETA", "BUY", 100, 100),
    ("DEEP", "BUY", 100, 100),
    ("THIN", "BUY", 20, 20),
)


@pytest.fixture
def counts() -> Iterator[Counter[str]]:
    counted: Counter[str] = Counter()

    def count(name: str, real: Any) -> Any:
        def counting(*args: Any, **kwargs: Any) -> Any:
            counted[name] += 1
            return real(*args, **kwargs)

        return counting

    with ExitStack() as stack:
        for name, methods in COUNTED.items():
            for owner, method in methods:
                # A method that is inherited is counted once, where it is defined.
                if method in vars(owner):
                    real = getattr(owner, method)
                    stack.enter_context(patch.object(owner, method, count(name, real)))
        yield counted


def of_a_run(shop: Shop, counts: Counter[str], **how: Any) -> Counter[str]:
    shop.plan(*ROWS)
    counts.clear()
    before = shop.ledger.transactions
    with shop.ledger.session():
        report = shop.run(**how)
    assert report.sent == len(ROWS)
    return Counter(counts, commits=shop.ledger.transactions - before)


BOUNDS = {
    "market": {
        "commits": 16,
        "statements": 30,
        "handovers to the client's thread": 38,
        "questions to the venue's clock": 10,
    },
    "auto": {
        "commits": 27,
        "statements": 62,
        "handovers to the client's thread": 86,
        "questions to the venue's clock": 23,
    },
}


@pytest.mark.parametrize("routing", BOUNDS)
def test_four_orders_side_by_side(shop: Shop, counts: Counter[str], routing: str) -> None:
    counted = of_a_run(shop, counts, routing=routing)
    assert counted.keys() == BOUNDS[routing].keys()
    for name, bound in BOUNDS[routing].items():
        assert bound / 2 < counted[name] <= bound, (name, counted)
