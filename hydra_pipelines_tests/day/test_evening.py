"""A desk whose orders rest for the open: its plan stays as it is, and a dry run sends none."""

from __future__ import annotations

from dataclasses import replace

from hydra_pipelines.day.planning import make_order_plan
from hydra_pipelines.day.trading import execute_plan
from hydra_pipelines_tests.day.shop_desk import ShopDesk
from hydra_pipelines_tests.desks import OK, CommandLine
from hydra_pipelines_tests.execution.orders.evenings import evening
from hydra_pipelines_tests.execution.orders.workshop import SESSION

ROWS = (("ALFA", "BUY", 300, 300), ("BETA", "BUY", 100, 100))


def test_while_orders_rest_the_plan_is_kept_and_shown_as_executing(desk: ShopDesk) -> None:
    desk.shop.plan(*ROWS)
    assert evening(desk.shop).sent == 2
    again = make_order_plan(desk, SESSION, "again")
    assert again.kept and again.header["status"] == "executing"
    assert [(row["symbol"], row["quantity"]) for row in again.rows] == [
        (symbol, quantity) for symbol, _, quantity, _ in ROWS
    ]
    desk.ledger.publish()
    shown = CommandLine(desk.shop.home).run("plan", "--session", str(SESSION))
    assert shown.returncode == OK, shown.stderr
    assert f"Plan of session {SESSION}" in shown.stdout and "executing" in shown.stdout
    assert "is not made anew: its orders may have been sent" in shown.stderr
    assert len(desk.shop.truth()["orders"]) == 2


def test_a_dry_run_sends_nothing_to_rest(desk: ShopDesk) -> None:
    desk.shop.plan(*ROWS)
    desk.__dict__["work"] = replace(desk.work, send="evening")
    assert execute_plan(desk, SESSION, "dry", dry_run=True) is None
    assert not desk.shop.truth()["orders"]
    with desk.ledger.transaction() as tx:
        assert tx.value("SELECT status FROM plans") == "draft"
