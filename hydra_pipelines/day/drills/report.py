"""What a drill shows, step by step, and what is left of it: an event of the audit trail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from importlib.metadata import version

from hydra_pipelines.day import halting
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger.audit import AuditEvent


class Fault(StrEnum):
    """What is injected."""

    DISCONNECT = "disconnect"
    BREAKER = "breaker"
    DRIFT = "drift"
    BAD_DATA = "bad-data"


class Phase(StrEnum):
    PREPARED = "prepared"
    INJECTED = "injected"
    DETECTED = "detected"
    REACTED = "reacted"
    RECOVERED = "recovered"
    CHECKED = "checked"


@dataclass(frozen=True)
class Step:
    """text: what happened. ok: whether it is as it should be."""

    phase: Phase
    text: str
    ok: bool = True


Say = Callable[[Step], None]


class DrillRefused(ValueError):
    """The drill can't be held here; the message says why. Nothing was done."""


@dataclass
class Log:
    """The steps of a drill as they happen."""

    say: Say = lambda _: None
    steps: list[Step] = field(default_factory=list)

    def note(self, phase: Phase, text: str) -> None:
        """Something that was done or seen."""
        self._add(Step(phase, text))

    def expect(self, phase: Phase, ok: bool, text: str, otherwise: str = "") -> bool:
        """Something that has to be so; otherwise: what to say where it is not. Returns ok."""
        self._add(Step(phase, text if ok or not otherwise else otherwise, ok))
        return ok

    def _add(self, step: Step) -> None:
        self.steps.append(step)
        self.say(step)


@dataclass(frozen=True)
class DrillReport:
    """where: what it was held on, in words. seconds: of real time."""

    fault: Fault
    where: str
    steps: tuple[Step, ...]
    seconds: float

    @property
    def passed(self) -> bool:
        return bool(self.steps) and all(step.ok for step in self.steps)

    @property
    def why(self) -> str:
        """What was not as it should be, or what the drill ended with."""
        wrong = [step.text for step in self.steps if not step.ok]
        return "; ".join(wrong) or self.steps[-1].text


def keep(desk: Desk, report: DrillReport, actor: str) -> bool:
    """Write the drill into the desk's own audit trail; False where the next run has to do it.

    Raises ControlError.
    """
    desk.control.note(
        AuditEvent.DRILL,
        actor,
        {
            "fault": report.fault.value,
            "passed": report.passed,
            "why": report.why,
            "where": report.where,
            "seconds": round(report.seconds, 1),
            "version": version("hydra-pipelines"),
            "steps": [asdict(step) for step in report.steps],
        },
    )
    return halting.record(desk.settings, desk.control)
