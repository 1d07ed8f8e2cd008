"""Desks on which something is wrong: drift runs as the check stores them, and stand-in experiments.

The experiments here give the versions that `versions` made as candidates, at once. What they are
otherwise is in the scenarios.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from hydra_pipelines.agent.experiment import ExperimentResult, ExperimentSpec
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger import drift
from hydra_pipelines_tests.day.versions import RIDGE


def alarm(strategy: str | None = RIDGE, family: str = "concept", **others: Any) -> dict[str, Any]:
    """A check that is why its model is said to have drifted."""
    return {
        "strategy_id": strategy,
        "model_version": 1 if strategy else None,
        "family": family,
        "detector": "cusum",
        "subject": "residual",
        "state": "alarm",
        "value": 7.0,
        "warn_at": 4.0,
        "alarm_at": 5.0,
        "breached": True,
        "decisive": True,
        "n": 60,
        "window_first": date(2018, 9, 28),
        "window_last": date(2018, 12, 28),
        "details": {},
        **others,
    }


def detect(desk: Desk, session: date, *checks: dict[str, Any]) -> int:
    """Store a drift run of the session that found these checks."""
    with desk.ledger.transaction() as tx:
        number, _ = drift.record_run(
            tx,
            {
                "session": session,
                "status": "drift_detected" if checks else "ok",
                "models_checked": 2,
                "models_drifted": len(checks),
                "failures": {},
                "run_id": "test",
            },
            [],
            checks,
        )
    return number


@dataclass
class Given:
    """A runner whose experiments end at once, in the order of `outcomes`.

    An outcome is the number of a version that passed, its negative for one that did not, or the
    text of an error; what is not given did not pass and made no version. `lower` is the lower bound
    of the difference, by version.
    """

    outcomes: Sequence[int | str] = ()
    lower: dict[int, float] = field(default_factory=dict)
    ran: list[ExperimentSpec] = field(default_factory=list)

    def run(self, specs: Sequence[ExperimentSpec]) -> Iterator[ExperimentResult]:
        for i, spec in enumerate(specs):
            self.ran.append(spec)
            outcome = self.outcomes[i] if i < len(self.outcomes) else 0
            if isinstance(outcome, str):
                yield ExperimentResult(spec.experiment_id, error=outcome)
                continue
            version = abs(outcome) or None
            passed = outcome > 0
            yield ExperimentResult(
                spec.experiment_id,
                candidate_version=version,
                mlflow_run_id=None,
                passed=passed,
                reasons=() if passed else ("not_better",),
                message="passed" if passed else "not_better: it is not",
                figures={"difference_lower": self.lower.get(version or 0, 0.01)},
            )
