"""The paper gate's facts, gathered from the ledger and the control store. Reads only."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from importlib.metadata import version
from typing import Any, Literal

from hydra_pipelines.control import Control, ControlError
from hydra_pipelines.execution.slippage import SlippageModel
from hydra_pipelines.ledger import accounts, calibrations, paper
from hydra_pipelines.ledger.audit import AuditEvent
from hydra_pipelines.ledger.store import Ledger, LedgerMissing, Rows
from hydra_pipelines.monitoring.connections import lost_since
from hydra_pipelines.monitoring.paper_facts import (
    Basis,
    Deed,
    Drill,
    Facts,
    Limits,
    Name,
    PaperSession,
    Seen,
    SignOff,
    Venue,
)
from hydra_pipelines.monitoring.paper_gate import DECISIVE, REGULAR, PaperGate, evaluate
from hydra_pipelines.monitoring.reconciliation import comparable
from hydra_pipelines.monitoring.slippage_evidence import SlippageEvidence, judge
from hydra_pipelines.sessions import Calendar
from hydra_pipelines.settings import Settings


@dataclass(frozen=True)
class Asked:
    """What the facts are asked of. now: wall time. model, calibration: the slippage predictor in
    force and its number, None for the settings' own. window_sessions: so many sessions back orders
    are compared. auto_reset: breakers that end without a person. settings, version: see `Basis`.
    """

    venue: Venue
    now: datetime
    calendar: Calendar
    model: SlippageModel
    calibration: int | None
    window_sessions: int
    auto_reset: Collection[str]
    settings: str
    version: str


def gate_of(
    venue: Venue,
    settings: Settings,
    ledger: Ledger,
    control: Control,
    calendar: Calendar,
    slippage_by: Callable[[Rows | None], SlippageModel],
) -> PaperGate:
    """The gate on the evidence of a venue, by the published snapshot and the control store.

    slippage_by: the predictor in force by rows, None for the settings' own. Raises LedgerError.
    """

    def asked(rows: Rows | None) -> Asked:
        latest = calibrations.in_force(rows, slippage_by(None).parameters()) if rows else None
        return Asked(
            venue=venue,
            now=datetime.now(UTC),
            calendar=calendar,
            model=slippage_by(rows),
            calibration=latest["id"] if latest else None,
            window_sessions=settings.slippage.window_sessions,
            auto_reset=settings.risk.auto_reset,
            settings=settings.what_is_traded,
            version=version("hydra-pipelines"),
        )

    try:
        with ledger.snapshot() as rows:
            facts = gather(rows, control, asked(rows))
    except LedgerMissing:
        facts = nothing(asked(None))
    return evaluate(facts, Limits(**settings.paper_gate.model_dump()))


def nothing(asked: Asked) -> Facts:
    """The facts of a desk that never traded."""
    return Facts(asked.venue, asked.now, settings=asked.settings, version=asked.version)


def gather(rows: Rows, control: Control, asked: Asked) -> Facts:
    """The facts as of the rows and of the control store now."""
    account = paper.latest_account(rows, asked.venue)
    if account is None:
        return nothing(asked)
    sessions = _sessions(rows, asked, account)
    began = sessions[0].began_at
    unknown: dict[Name, str] = {}
    live_since = paper.first_live_after(rows, sessions[-1].began_at)
    troubles = [*_troubles(rows, account)]
    try:
        # Once live has begun these are live trading's own, and must not shut anybody out of it.
        if live_since is None:
            troubles += _controls(control, asked.auto_reset)
    except ControlError as error:
        unknown[Name.ERRORS] = str(error)
    return Facts(
        venue=asked.venue,
        now=asked.now,
        account=account,
        sessions=sessions,
        deeds=_deeds(rows, account, began),
        live_since=live_since,
        last_contact=paper.last_contact(rows, asked.venue),
        slippage=_slippage(rows, asked, sessions),
        healing=[
            Seen(row["decided_at"], f"{row['mutation_type']} {row['decision']}")
            for row in paper.decided_experiments(rows, began)
        ],
        trips=_trips(rows, sessions),
        reconnects=[
            Seen(row["occurred_at"], f"lost {row['details'].get('lost_at', 'before')}")
            for row in paper.events(rows, AuditEvent.CONNECTION_RESTORED, began)
            if row["details"].get("venue") == asked.venue
        ],
        drills=_drills(rows),
        troubles=troubles,
        lost_since=lost_since(control),
        calibration=asked.calibration,
        settings=asked.settings,
        version=asked.version,
        sign_off=_sign_off(rows, asked.venue),
        unknown=unknown,
    )


def _sessions(rows: Rows, asked: Asked, account: str) -> list[PaperSession]:
    return [
        PaperSession(
            session=row["session"],
            execution_session=row["execution_session"],
            position=asked.calendar.index(row["execution_session"]),
            began_at=row["began_at"],
            state=_state(row),
        )
        for row in paper.sessions(rows, asked.venue, account)
    ]


def _state(row: Mapping[str, Any]) -> Literal["finished", "expired", "unfinished"]:
    if row["status"] == "expired":
        return "expired"
    return "finished" if row["status"] == "done" and row["read"] else "unfinished"


def _deeds(rows: Rows, account: str, since: datetime) -> list[Deed]:
    found = []
    for row in paper.deeds_of_people(rows, since):
        what = row["event"]
        if what == AuditEvent.MANUAL_ACTION:
            what = str(row["details"].get("action", what))
            if what in REGULAR:
                continue
        elif what not in (AuditEvent.BREAKER_RESET, AuditEvent.AGENT_PAUSED):
            continue
        found.append(Deed(what, row["actor"].removeprefix("user:"), at=row["occurred_at"]))
    found += [
        Deed(f"{row['details']['setting']} changed", "settings", at=row["occurred_at"])
        for row in paper.events(rows, AuditEvent.SETTING_CHANGED, since)
        if row["details"].get("noticed")
        and str(row["details"].get("setting")).partition(".")[0] in DECISIVE
    ]
    found += [
        Deed(f"{row['fills']} fills not ordered here", "somebody", execution_session=row["session"])
        for row in paper.foreign_sessions(rows, account)
    ]
    return found


def _slippage(rows: Rows, asked: Asked, sessions: list[PaperSession]) -> SlippageEvidence:
    window = sessions[-asked.window_sessions :]
    fills, _ = comparable(
        calibrations.observations(
            rows, since=window[0].execution_session, until=window[-1].execution_session
        )
    )
    orders = fills.by_order()
    predicted = orders.repredicted(asked.model)
    known = predicted == predicted
    return judge(predicted[known], orders.shortfall[known], orders.session[known])


def _trips(rows: Rows, sessions: list[PaperSession]) -> list[Seen]:
    """Breakers that tripped in the sessions and denied an order in the same."""
    ours = {s.execution_session for s in sessions}
    found = []
    for row in paper.events(rows, AuditEvent.BREAKER_TRIPPED, sessions[0].began_at):
        name, session = row["details"].get("breaker"), row["details"].get("session")
        if not name or not session:
            continue
        day = date.fromisoformat(session)
        if day in ours and paper.denied_by(rows, f"breaker_{name}", day):
            found.append(Seen(row["occurred_at"], f"{name} in session {session}"))
    return found


def _drills(rows: Rows) -> list[Drill]:
    return [
        Drill(
            row["occurred_at"],
            str(row["details"].get("fault")),
            row["details"].get("passed") is True,
            str(row["details"].get("why", "")),
        )
        for row in paper.events(rows, AuditEvent.DRILL)
    ]


def _troubles(rows: Rows, account: str) -> list[str]:
    found = [
        f"what became of order {ref} is not known" for ref in paper.unknown_orders(rows, account)
    ]
    found += [
        f"{row['symbol'] or 'cash'}: the broker has {row['brokers']}, our books {row['ours']}"
        for row in accounts.open_breaks(rows, account)
    ]
    return found


def _controls(control: Control, auto_reset: Collection[str]) -> list[str]:
    found = ["the kill switch is on"] if control.kill_switch else []
    if control.agent_paused:
        found.append("the agent is paused")
    found += [
        f"breaker {breaker.name} waits for a person"
        for breaker in control.tripped()
        if breaker.name not in auto_reset
    ]
    return found


def _sign_off(rows: Rows, venue: str) -> SignOff | None:
    """The latest one for the venue."""
    found = [
        row
        for row in paper.events(rows, AuditEvent.PAPER_GATE_SIGNED_OFF)
        if row["details"].get("basis", {}).get("venue") == venue
    ]
    if not found:
        return None
    row = found[-1]
    return SignOff(
        row["occurred_at"], row["actor"], str(row["details"].get("reason", "")),
        basis_of(row["details"]["basis"]),
    )  # fmt: skip


def basis_of(stored: Mapping[str, Any]) -> Basis:
    """A basis as it was stored with a sign-off."""
    first = stored.get("first_session")
    return Basis(
        venue=str(stored.get("venue")),
        account=stored.get("account"),
        first_session=date.fromisoformat(first) if first else None,
        calibration=stored.get("calibration"),
        settings=str(stored.get("settings")),
        version=str(stored.get("version")),
    )
