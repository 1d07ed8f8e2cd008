"""`hydra drill`: a fault injected on purpose, and the whole reaction shown."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from hydra_pipelines.cli.output import (
    FAILURE,
    REFUSED,
    Json,
    fail,
    person,
    print_json,
    readable_errors,
    say,
)

if TYPE_CHECKING:
    from hydra_pipelines.day.drills import Step


class Scenario(StrEnum):
    DISCONNECT = "disconnect"
    BREAKER = "breaker"
    DRIFT = "drift"
    BAD_DATA = "bad-data"


def drill(
    fault: Annotated[Scenario, typer.Argument(help="What is to go wrong.")],
    as_json: Json = False,
) -> None:
    """Inject a fault and show what the desk makes of it: detected, reacted, recovered.

    It is held on a desk of its own that is gone afterwards. This desk's positions, breakers and
    clock stay as they are; what came of it goes into its audit trail, where the paper gate finds
    it. Exit code 1: the reaction was not as it should be.
    """
    from hydra_pipelines.day import drills
    from hydra_pipelines.desk import Desk
    from hydra_pipelines.execution.broker.messages import BrokerError

    with readable_errors():
        desk = Desk.open()
        try:
            report = drills.drill(desk, drills.Fault(fault.value), person(), say=_show)
        except drills.DrillRefused as error:
            fail(str(error), REFUSED)
        except BrokerError as error:
            fail(f"the drill could not be held to its end: {error}", FAILURE)
    if as_json:
        print_json(
            {
                "fault": report.fault,
                "passed": report.passed,
                "where": report.where,
                "seconds": round(report.seconds, 1),
                "steps": [vars(step) for step in report.steps],
            }
        )
    if not report.passed:
        fail(f"drill {fault.value} failed: {report.why}", FAILURE)
    say(f"Drill {fault.value} passed in {report.seconds:.0f} s; `hydra paper-gate` counts it.")


def _show(step: Step) -> None:
    say(f"{'ok   ' if step.ok else 'WRONG'}  {step.phase:<10} {step.text}")
