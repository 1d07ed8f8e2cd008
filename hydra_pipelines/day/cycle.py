"""The steps of a day in their order: one function for whoever runs whole days.

A daily run of Dagster has the same steps as assets, each of which calls the same function of this
package. What stops a day is said in one place too: by the assets' checks, which whoever runs the
steps brings along as the judge. That both stay the same is tested: the names here against the
assets of the job `daily_cycle`, and a history made by each against the other, row for row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from hydra_pipelines.day import books, models, planning, research, trading
from hydra_pipelines.day.session import check_session
from hydra_pipelines.desk import Desk

Say = Callable[[str], None]


@dataclass(frozen=True)
class Finding:
    """What a person has to look into. blocking: before the day goes on, else before the next."""

    text: str
    blocking: bool


Judge = Callable[[str, Any], Sequence[Finding]]
"""Name and result of a step -> what is wrong with it."""


@dataclass(frozen=True)
class Step:
    """A step that is done. name: of its asset. result: what its function returned."""

    name: str
    result: Any
    findings: tuple[Finding, ...] = ()


def no_judge(name: str, result: Any) -> Sequence[Finding]:
    """For whoever looks at the results himself."""
    return ()


def run_steps(
    desk: Desk,
    session: date,
    run_id: str,
    *,
    judge: Judge = no_judge,
    say: Say = lambda _: None,
) -> Iterator[Step]:
    """Run a session's steps one by one, and hand each on when it is done.

    Ends early after a step with a finding that blocks. What a step raises goes through. The reports
    on the whole journal (performance, slippage) are not among the steps: they read the published
    ledger, and change nothing.
    """
    check_session(desk, session)
    for name, run in (
        ("bars", lambda: research.ingest_bars(desk, session)),
        ("features", lambda: research.make_features(desk, session)),
        ("universe", lambda: research.session_members(desk, session)),
        ("champion_models", lambda: models.ensure_champions(desk, session, say)),
        ("predictions", lambda: research.make_predictions(desk, session, run_id)),
        ("signals", lambda: research.make_session_signals(desk, session)),
        ("order_plan", lambda: planning.make_order_plan(desk, session, run_id)),
        ("executions", lambda: trading.execute_plan(desk, session, run_id, say=say)),
        ("positions", lambda: books.sync_positions(desk, session, run_id)),
        ("account", lambda: books.sync_account(desk)),
    ):
        result = run()
        step = Step(name, result, tuple(judge(name, result)))
        yield step
        if any(finding.blocking for finding in step.findings):
            return
