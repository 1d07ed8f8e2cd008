"""The drill `drift`: the market turns into another one, with models that know the old one.

Champions are trained as of a session, then two months of bars follow in which all names fall and
winners lose. The drift check has to find it, the agent to diagnose it, to try its cures and to end
its cycle with a decision on each.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any

from hydra_pipelines.agent.diagnosis import Cause
from hydra_pipelines.day.drift import check_drift
from hydra_pipelines.day.drills.markets import Drifted
from hydra_pipelines.day.drills.report import DrillRefused, Log, Phase
from hydra_pipelines.day.drills.rig import RUN_ID, first_session
from hydra_pipelines.day.healing import heal
from hydra_pipelines.day.models import ensure_champions
from hydra_pipelines.day.research import ingest_bars, make_features, make_predictions
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger import audit, experiments

HISTORY, SESSIONS = 1260, 42
"""Sessions of history that training asks for at least, and of the drift."""
BUDGET = 2
"""Experiments of the drill's cycle: enough to see how one ends."""


def hold(desk: Desk, log: Log) -> None:
    """Train, change the market, check, heal. desk: a scratch desk on which nothing was run yet."""
    if not desk.strategies:
        raise DrillRefused("no strategy is deployed, so there is no model that could drift")
    before = first_session(desk, before=HISTORY, after=SESSIONS)
    desk.settings = desk.settings.model_copy(
        update={
            "agent": desk.settings.agent.model_copy(update={"budget": BUDGET}),
            "monitoring": desk.settings.monitoring.model_copy(update={"report": False}),
        }
    )
    desk.__dict__["source"] = Drifted(desk.source, before)
    with desk.ledger.session():
        _research(desk, [before])
        untrained = [c for c in ensure_champions(desk, before) if c.error]
        _research(desk, [before], predict=True)
    if untrained:
        raise DrillRefused("; ".join(f"{c.strategy_id}: {c.error}" for c in untrained))
    names = ", ".join(spec.id for spec in desk.strategies)
    log.note(Phase.PREPARED, f"champions of {names} trained as of {before}")
    undisturbed = check_drift(desk, before, RUN_ID)
    log.note(
        Phase.PREPARED, f"the drift check says {undisturbed.status} before anything is changed"
    )

    session = desk.calendar.next(before, SESSIONS)
    days = [desk.calendar.next(before, n) for n in range(1, SESSIONS + 1)]
    with desk.ledger.session():
        _research(desk, days, predict=True)
    log.note(Phase.INJECTED, f"from {days[0]} to {session} all names lose 1.5 % a session, and who "
             "did better than the mean does worse, three times as much")  # fmt: skip
    run = check_drift(desk, session, RUN_ID)
    found = run.status == "drift_detected"
    log.expect(Phase.DETECTED, found, f"drift_detected: {_why(run.drifted)}",
               f"the drift check says {run.status}")  # fmt: skip
    with desk.ledger.transaction() as tx:
        audited = tx.value(
            "SELECT count(*) FROM audit_events WHERE event = ?",
            [audit.AuditEvent.DRIFT_DETECTED.value],
        )
    told = [alert.title for alert in desk.alerts.recent() if alert.kind == "drift"]
    log.expect(Phase.DETECTED, audited > 0 and bool(told),
               f"it is in the audit trail, and an alert was raised: {''.join(told[:1])}",
               "it is not in the audit trail, or no alert was raised")  # fmt: skip
    _react(desk, session, log)


def _react(desk: Desk, session: date, log: Log) -> None:
    champions = {spec.id: desk.registry.aliases(spec.id)["champion"] for spec in desk.strategies}
    cycle = heal(desk, session, RUN_ID)
    causes = [f"{d['strategy_id'] or 'the desk'}: {d['cause']}" for d in cycle.diagnoses]
    cured = [d for d in cycle.diagnoses if Cause(d["cause"]).has_cure]
    log.expect(Phase.REACTED, bool(cured), f"diagnosed: {', '.join(causes)}",
               f"no cause with a cure was found: {', '.join(causes) or 'none at all'}")  # fmt: skip
    tried = cycle.experiments
    failed = [e for e in tried if e["decision"] == experiments.FAILED]
    for one in tried:
        log.note(Phase.REACTED, f"{one['mutation_type']} of {one['strategy_id'] or 'the desk'} was "
                 f"tried: {one['decision']}, {one['reason']}")  # fmt: skip
    log.expect(Phase.REACTED, bool(tried) and not failed,
               f"{len(tried)} experiments were measured and decided on",
               f"{len(failed)} of {len(tried)} experiments failed")  # fmt: skip
    with desk.ledger.transaction() as tx:
        left = experiments.unfinished_cycle(tx)
        promoted = {e["strategy_id"]: e["candidate_version"] for e in tried
                    if e["decision"] == experiments.PROMOTED}  # fmt: skip
    now = {name: desk.registry.aliases(name).get("champion") for name in champions}
    named = {**champions, **promoted}
    log.expect(Phase.CHECKED, now == named, "the champions are those that the journal names",
               f"the champions are {now}, by the journal {named}")  # fmt: skip
    log.expect(Phase.RECOVERED, cycle.done and left is None, f"the cycle ended: {cycle.outcome}",
               f"the cycle did not come to its end: {cycle.outcome}")  # fmt: skip


def _research(desk: Desk, sessions: Iterable[date], *, predict: bool = False) -> None:
    """Bars and features of sessions, predictions where they are asked for; nothing is traded."""
    for session in sessions:
        bars = ingest_bars(desk, session)
        if bars.errors:
            raise DrillRefused(
                f"the bars of {session} are not clean: "
                + "; ".join(finding.detail for finding in bars.errors[:3])
            )
        make_features(desk, session)
        if predict:
            make_predictions(desk, session, RUN_ID)


def _why(models: Iterable[Any]) -> str:
    return "; ".join(f"{row['strategy_id']}: {row['why']}" for row in models)
