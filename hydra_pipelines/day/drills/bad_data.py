"""The drill `bad-data`: one price of the day is a hundred times too high.

The session must not be traded on it, the agent must not learn from it, a person is told, and with
the price put right all goes on.
"""

from __future__ import annotations

from datetime import date
from typing import Any

from hydra_pipelines.agent.diagnosis import Cause
from hydra_pipelines.day.cycle import Finding, run_steps
from hydra_pipelines.day.drills.markets import Damage, Damaged
from hydra_pipelines.day.drills.report import Log, Phase
from hydra_pipelines.day.drills.rig import RUN_ID, first_session
from hydra_pipelines.day.healing import heal
from hydra_pipelines.day.research import BarsResult, ingest_bars, make_features
from hydra_pipelines.desk import Desk

HISTORY, AFTER = 252, 4
"""Sessions that the drill needs before and after the damage."""
FACTOR = 100.0


def hold(desk: Desk, log: Log) -> None:
    """Damage a price, run the day and the agent on it, mend it, run both again.

    desk: a scratch desk on which nothing was run yet.
    """
    before = first_session(desk, before=HISTORY, after=AFTER)
    session = desk.calendar.next(before)
    symbol = _a_symbol(desk, before)
    source = Damaged(desk.source, Damage(symbol, session, FACTOR))
    desk.__dict__["source"] = source
    ingest_bars(desk, before)
    make_features(desk, before)
    log.note(Phase.PREPARED, f"bars and features up to {before}")
    log.note(Phase.INJECTED, f"the close of {symbol} on {session} is {FACTOR:g} times too high")

    steps = list(run_steps(desk, session, RUN_ID, judge=_errors_of_bars))
    stopped = len(steps) == 1 and bool(steps[0].findings)
    why = "; ".join(finding.text for finding in steps[0].findings[:2])
    log.expect(Phase.DETECTED, stopped, f"the day stops at its bars: {why}",
               f"the day went on to {steps[-1].name}")  # fmt: skip
    with desk.ledger.transaction() as tx:
        plans = tx.value("SELECT count(*) FROM plans")
    log.expect(Phase.REACTED, plans == 0, "no plan was made, so no order was sent",
               f"{plans} plans were made on it")  # fmt: skip
    make_features(desk, session)
    refused = heal(desk, session, RUN_ID)
    log.expect(Phase.REACTED, refused.refused and not refused.experiments,
               f"the agent tries nothing: {refused.outcome}",
               f"the agent did not refuse: {refused.outcome}")  # fmt: skip
    with desk.ledger.transaction() as tx:
        trained = tx.value("SELECT count(*) FROM model_versions")
    log.expect(Phase.REACTED, trained == 0, "no model was trained on it",
               f"{trained} versions were trained on it")  # fmt: skip
    told = [alert.title for alert in desk.alerts.recent() if alert.kind == "drift"]
    log.expect(Phase.REACTED, bool(told), f"an alert was raised: {''.join(told[:1])}",
               "no alert was raised")  # fmt: skip

    source.mend()
    log.note(Phase.RECOVERED, "the price is put right at its source")
    bars = ingest_bars(desk, session)
    log.expect(Phase.RECOVERED, not bars.errors, "the correction is taken over, the bars are clean",
               "; ".join(finding.detail for finding in bars.errors))  # fmt: skip
    make_features(desk, session)
    again = heal(desk, session, RUN_ID)
    causes = {d["cause"] for d in again.diagnoses}
    log.expect(Phase.RECOVERED, not again.refused and Cause.DATA_QUALITY not in causes,
               f"the agent looks at the models again: {again.outcome}",
               f"the agent still refuses: {again.outcome}")  # fmt: skip


def _errors_of_bars(name: str, result: Any) -> list[Finding]:
    """What the blocking check of the asset `bars` stops a day for."""
    if not isinstance(result, BarsResult):
        return []
    return [Finding(f"{f.symbol or f.session}: {f.detail}", True) for f in result.errors]


def _a_symbol(desk: Desk, session: date) -> str:
    """One that has a price in the session."""
    panel = desk.source.read(first=session, last=session)
    close = panel.fields["close"][-1]
    return next(symbol for symbol, price in zip(panel.symbols, close, strict=True) if price > 0)
