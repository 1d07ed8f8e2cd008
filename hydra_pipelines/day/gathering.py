"""What the agent looks at before it says what is wrong: data, drift checks, the market.

Here belongs gathering. The diagnosis itself is a pure function of what is gathered.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from hydra_pipelines.agent.diagnosis import Check, Diagnosis, Flaw, Market, diagnose, market_of
from hydra_pipelines.day.research import CHECKED_SESSIONS
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger import drift


@dataclass(frozen=True)
class Observed:
    """What is wrong as of a session, and the drift run that says so; None without one."""

    diagnoses: tuple[Diagnosis, ...]
    drift_run_no: int | None

    @property
    def data_is_bad(self) -> bool:
        return any(d.cause == "data_quality" for d in self.diagnoses)


def observe(desk: Desk, session: date, run_id: str) -> Observed:
    """Gather and diagnose. Where the session's drift was not checked yet, it is now.

    On damaged data nothing is checked: every detector would look through it. Raises LedgerError,
    and whatever the drift check raises.
    """
    names = [spec.id for spec in desk.strategies]
    flaws = flaws_of(desk, session)
    if any(flaw.spoils for flaw in flaws):
        return Observed(diagnose((), flaws, Market(), names), None)
    run_no, checks = _checks(desk, session, run_id)
    return Observed(diagnose(checks, flaws, market_until(desk, session), names), run_no)


def flaws_of(desk: Desk, session: date) -> tuple[Flaw, ...]:
    """What is wrong with the bars of the last weeks, and with what the features were made of.

    Their universe is what was traded the session before.
    """
    import numpy as np

    from hydra_pipelines.market.ingest import bar_panel
    from hydra_pipelines.market.lake import LakeMissing
    from hydra_pipelines.market.quality import check_bars
    from hydra_pipelines.market.universe import members

    try:
        view = desk.bars.view()
        built = desk.features.view()
    except LakeMissing as error:
        return (Flaw("stale", "error", None, session, str(error)),)
    start = desk.calendar.next(session, -CHECKED_SESSIONS)
    recent = bar_panel(view, first=start, last=session)
    before = [day.item() for day in recent.sessions if day.item() < session]
    expected = members(recent, before[-1]) if before else recent.symbols
    accepted = {(move.symbol, move.session) for move in desk.settings.market.accepted_moves}
    found = [
        Flaw(f.check, f.severity, f.symbol, f.session, f.detail)
        for f in check_bars(recent, session, desk.calendar, expected, accepted)
    ]
    there = view.count_through(session)
    if there and (
        built.count_through(session) != there
        or not np.array_equal(built.snapshots[there - 1], view.snapshots[there - 1])
    ):
        why = "the features are not of these bars: hydra predict"
        found.append(Flaw("stale", "error", None, session, why))
    return tuple(found)


def market_until(desk: Desk, session: date) -> Market:
    """How volatile the universe is as of a session."""
    from hydra_pipelines.market.ingest import bar_panel

    prices = bar_panel(desk.bars.view(), last=session).field("adj_close")
    return Market() if prices is None else market_of(prices)


def _checks(desk: Desk, session: date, run_id: str) -> tuple[int | None, tuple[Check, ...]]:
    """The checks of the session's standing drift run."""
    from hydra_pipelines import day

    with desk.ledger.transaction() as tx:
        run = drift.run_of(tx, session)
    if run is None:
        day.check_drift(desk, session, run_id)
        with desk.ledger.transaction() as tx:
            run = drift.run_of(tx, session)
    if run is None:
        return None, ()
    with desk.ledger.transaction() as tx:
        rows = drift.checks(tx, run["run_no"])
    return run["run_no"], tuple(
        Check(
            strategy_id=row["strategy_id"],
            model_version=row["model_version"],
            family=row["family"],
            detector=row["detector"],
            subject=row["subject"],
            state=row["state"],
            decisive=row["decisive"],
            value=row["value"],
            alarm_at=row["alarm_at"],
        )
        for row in rows
    )
