"""Drills: a fault is injected on purpose, and the desk's whole reaction shown, step by step.

Every drill is held on a desk of its own, in a folder that is removed afterwards (`rig`): the desk
that it is for keeps its positions, breakers and clock, and one event in its audit trail, which the
paper gate counts. A drill is no manual intervention.

| drill | held on | injects |
| --- | --- | --- |
| `disconnect` | an empty desk with the same settings | a socket that drops; an outage of IB |
| `breaker` | an empty desk with the same settings | a loss beyond `risk.daily_loss` |
| `drift` | the same data, changed; models trained for it | a market in which winners lose |
| `bad-data` | the same data, changed | a price that is a hundred times too high |
"""

from __future__ import annotations

import time
from collections.abc import Callable

from hydra_pipelines.day.drills import bad_data, breaker, disconnect, drift
from hydra_pipelines.day.drills.report import (
    DrillRefused,
    DrillReport,
    Fault,
    Log,
    Phase,
    Say,
    Step,
    keep,
)
from hydra_pipelines.day.drills.rig import scratch_desk
from hydra_pipelines.desk import Desk

__all__ = ["DrillRefused", "DrillReport", "Fault", "Phase", "Step", "drill"]

_TRADING = "an empty desk of its own with these settings, at an embedded venue"
_RESEARCH = "an empty desk of its own with these settings, on changed bars"
_HELD: dict[Fault, tuple[str, Callable[[Desk, Log], None]]] = {
    Fault.DISCONNECT: (_TRADING, disconnect.hold),
    Fault.BREAKER: (_TRADING, breaker.hold),
    Fault.DRIFT: (_RESEARCH, drift.hold),
    Fault.BAD_DATA: (_RESEARCH, bad_data.hold),
}
"""Where each is held, in words, and how."""


def drill(desk: Desk, fault: Fault, actor: str, *, say: Say = lambda _: None) -> DrillReport:
    """Hold a drill and keep what came of it in the desk's audit trail.

    say: is told each step as it happens. A reaction that is not as it should be fails the report
    and raises nothing; what is not a reaction but an error of the drill is raised, and kept as a
    drill that failed. Raises DrillRefused in mode live, and where it can't be held.
    """
    if desk.settings.mode == "live":
        raise DrillRefused(
            "mode is live: drills are for paper trading, and this desk has nothing to do but trade"
        )
    began = time.monotonic()
    log, (where, hold) = Log(say), _HELD[fault]
    try:
        with scratch_desk(desk) as scratch:
            hold(scratch, log)
    except DrillRefused:
        raise
    except Exception as error:
        log.expect(Phase.CHECKED, False, f"the drill ended with {type(error).__name__}: {error}")
        keep(desk, DrillReport(fault, where, tuple(log.steps), time.monotonic() - began), actor)
        raise
    report = DrillReport(fault, where, tuple(log.steps), time.monotonic() - began)
    keep(desk, report, actor)
    return report
