"""`hydra check-broker`: is there a broker to trade with, and if not, what has to be changed?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from hydra_pipelines.cli.output import REFUSED, Json, fail, print_json, readable_errors

if TYPE_CHECKING:
    from hydra_pipelines.desk import Desk
    from hydra_pipelines.execution.broker.diagnose import Finding, OrderTrial


def check_broker(
    test_order: Annotated[
        bool,
        typer.Option("--test-order", help="Place one share far from the market, and cancel it."),
    ] = False,
    symbol: Annotated[str, typer.Option(help="What to ask a price of.")] = "AAPL",
    as_json: Json = False,
) -> None:
    """Check connection, account, market data and, if asked, an order; exit code 3 for trouble."""
    from hydra_pipelines.desk import Desk

    findings = []
    with readable_errors():
        desk = Desk.open()
        for finding in _findings(desk, symbol, test_order):
            findings.append(finding)
            if not as_json:
                mark = "ok   " if finding.ok else "WRONG"
                typer.echo(f"{mark}  {finding.check:<14} {finding.detail}")
    healthy = all(finding.ok for finding in findings)
    if as_json:
        print_json({"healthy": healthy, "findings": [vars(finding) for finding in findings]})
    if not healthy:
        fail("the broker can't be traded with, see the line marked WRONG", REFUSED)


def _findings(desk: Desk, symbol: str, test_order: bool) -> Iterator[Finding]:
    from hydra_pipelines.execution.broker.diagnose import Finding, diagnose
    from hydra_pipelines.execution.broker.guard import GuardRefused

    try:
        endpoint = desk.broker_endpoint
    except GuardRefused as error:
        yield Finding("connection", False, str(error))
        return
    yield from diagnose(endpoint, symbol=symbol, trial=_trial(desk) if test_order else None)


def _trial(desk: Desk) -> OrderTrial:
    from hydra_pipelines.execution.broker.diagnose import OrderTrial
    from hydra_pipelines.execution.risk.latch import kind_of
    from hydra_pipelines.ledger import orders

    with desk.ledger.transaction() as tx:
        highest = orders.highest_order_id(tx)
    return OrderTrial(
        desk.risk_limits,
        desk.control.kill_switch,
        highest,
        desk.control.agent_paused,
        frozenset(kind_of(breaker.name) for breaker in desk.control.tripped()),
        halted=lambda: desk.control.kill_switch,
    )
