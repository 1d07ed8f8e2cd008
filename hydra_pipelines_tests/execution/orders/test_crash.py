"""A run that is killed, or not alone: one set of orders at the venue, and books that agree."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from hydra_pipelines_tests.execution.orders.workshop import KILL_POINTS, Shop

PLAN = (("ALFA", "BUY", 300, 300), ("THIN", "BUY", 30, 30))


def start(home: Path, *kill_point: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "hydra_pipelines_tests.execution.orders.workshop", str(home)]
    return subprocess.Popen(
        [*command, *kill_point], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def assert_one_set_of_orders(shop: Shop) -> None:
    truth = shop.truth()
    assert Counter(o["symbol"] for o in truth["orders"]) == {"ALFA": 1, "THIN": 1}
    assert {o["status"] for o in truth["orders"]} == {"Filled"}
    assert {p["symbol"]: p["quantity"] for p in truth["positions"]} == {"ALFA": 300, "THIN": 30}
    shop.assert_books_agree()


@pytest.mark.parametrize("kill_point", KILL_POINTS)
def test_a_killed_run_is_picked_up_by_the_next(shop: Shop, kill_point: str):
    shop.plan(*PLAN)
    child = start(shop.home, kill_point)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == -signal.SIGKILL, errors
    report = shop.run()
    assert not report.unknown
    assert_one_set_of_orders(shop)
    assert {o.symbol for o in report.orders if o.state == "filled"} == {"ALFA", "THIN"}
    assert shop.run().sent == 0


def test_two_processes_at_once_send_one_set(shop: Shop):
    shop.plan(*PLAN)
    children = [start(shop.home), start(shop.home)]
    results = [child.communicate(timeout=60) for child in children]
    assert [child.returncode for child in children] == [0, 0], results
    assert sorted(int(out) for out, _ in results) == [0, 2]
    assert_one_set_of_orders(shop)
