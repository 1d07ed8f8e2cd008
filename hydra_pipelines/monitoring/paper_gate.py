"""The paper gate: whether the weeks of paper trading that live trading needs have been passed.

Pure: facts in, conditions with value, threshold and reason out. Where the facts come from is
`paper_evidence`. Whatever is not known does not hold.

What counts, and what does not:

- **A session** counts where its plan was worked to its end in its own window and the account was
  read afterwards. One that is still at work is not counted and breaks nothing.
- **The count** runs backwards from the last session, until something breaks it: a session of the
  exchange that the desk did not trade (a gap), one that was not worked in time or not to its end,
  or a manual intervention. Four weeks are four weeks in a row, and the last ones.
- **Manual intervention** is what a person did to make the desk stop or go on, or to change its
  orders or its books: halt and resume, pausing the agent and letting it go on, resetting a breaker,
  resolving an order, correcting the books, orders placed past the desk, and changing a setting of
  the sections `DECISIVE`. An act of a person that is not known here counts too. Not an intervention
  are the acts of `REGULAR`, promotions and rollbacks of models (a person decides on those by
  design), calibrating the predictor, starting a cycle, and drills. It belongs to the session begun
  last before it.
- **What is seen once** (a healing cycle, a breaker, a reconnect) counts since the desk's first
  session at the venue, at most `evidence_days` before its last one. A drill is looked at as its
  latest run: one that failed, whenever it did, speaks against the condition until it passes.
- **The venue.** Evidence is of one venue and one account. Only that of IBKR paper opens live. At
  the embedded venue the gate is a rehearsal: a session there takes a second, and its broker is the
  project's own idea of one.
- **The sign-off** is a person's word on the evidence that it saw. It is stale once the count began
  anew, the account or venue changed, the predictor was calibrated anew, or the settings that decide
  what is traded and how changed, or the program's version.
- **Live trading** ends the count: what happens there is no more about paper, and closes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from hydra_pipelines.monitoring.paper_facts import (
    TITLES,
    Basis,
    Deed,
    Drill,
    Facts,
    Limits,
    Name,
    PaperSession,
    Seen,
    Venue,
)
from hydra_pipelines.monitoring.slippage_evidence import (
    CONFIDENCE,
    TOLERANCE,
    Interval,
    SlippageEvidence,
)

REGULAR = frozenset({"component_deregistered", "registry_changed", "run_launched"})
"""Manual actions, by their names in the audit trail, that leave trading alone. Launched from a page
are only runs that look: the drift check, and the synchronisation of positions."""
DECISIVE = ("risk", "plan", "execution", "slippage", "strategies")
"""Sections of the settings that decide what is traded, how much of it, and how."""


@dataclass(frozen=True)
class Count:
    """The sessions that count, oldest first, and what the one before them was broken by."""

    sessions: tuple[PaperSession, ...]
    broken_by: str | None


@dataclass(frozen=True)
class Condition:
    """One condition. value, threshold: for people. next_step: what to do; empty where it holds."""

    name: Name
    title: str
    holds: bool
    value: str
    threshold: str
    why: str
    next_step: str = ""


@dataclass(frozen=True)
class PaperGate:
    """The verdict on one venue's evidence. escalations: what a person should look at now."""

    venue: Venue
    account: str | None
    count: Count
    conditions: tuple[Condition, ...]
    basis: Basis
    slippage: SlippageEvidence | None
    escalations: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return all(condition.holds for condition in self.conditions)

    @property
    def opens_live(self) -> bool:
        """Only what was seen at IBKR says anything about IBKR."""
        return self.passed and self.venue == "ibkr"

    @property
    def ready_for_review(self) -> bool:
        """Whether all but the review hold, so that there is something to sign."""
        return all(c.holds for c in self.conditions if c.name is not Name.REVIEW)

    @property
    def why(self) -> str:
        """In a sentence, for the live guard."""
        if self.passed:
            return f"passed on {len(self.count.sessions)} sessions of account {self.account}"
        return "; ".join(f"{c.title}: {c.why}" for c in self.conditions if not c.holds)


def evaluate(facts: Facts, limits: Limits) -> PaperGate:
    """Judge the facts. Every condition is there, in the order of `Name`."""
    counted = count(facts)
    seen_since = _seen_since(facts, limits)
    basis = Basis(
        venue=facts.venue,
        account=facts.account,
        first_session=counted.sessions[0].execution_session if counted.sessions else None,
        calibration=facts.calibration,
        settings=facts.settings,
        version=facts.version,
    )
    conditions = (
        _sessions(facts, limits, counted),
        _slippage(facts),
        _healing(facts, seen_since),
        _errors(facts),
        _breakers(facts, seen_since),
        _reconnect(facts, seen_since),
        _review(facts, basis),
    )
    known = tuple(
        _not_known(c, facts.unknown[c.name]) if c.name in facts.unknown else c for c in conditions
    )
    return PaperGate(
        venue=facts.venue,
        account=facts.account,
        count=counted,
        conditions=known,
        basis=basis,
        slippage=facts.slippage,
        escalations=tuple(_escalations(facts, limits, known)),
    )


def count(facts: Facts) -> Count:
    """The unbroken run of sessions that ends with the last one; see the module's first lines."""
    sessions = list(facts.sessions)
    if sessions and sessions[-1].state == "unfinished":
        sessions.pop()
    touched = _touched(facts)
    counted: list[PaperSession] = []
    broken_by = None
    for session in reversed(sessions):
        if counted and counted[-1].position != session.position + 1:
            missed = counted[-1].position - session.position - 1
            broken_by = f"{missed} sessions were not traded after {session.execution_session}"
            break
        if session.state != "finished":
            how = "not worked in time" if session.state == "expired" else "not worked to its end"
            broken_by = f"session {session.execution_session} was {how}"
            break
        if session.position in touched:
            deed = touched[session.position]
            broken_by = f"{deed.who} ({deed.what}) in or after session {session.execution_session}"
            break
        counted.append(session)
    return Count(tuple(reversed(counted)), broken_by)


def _touched(facts: Facts) -> dict[int, Deed]:
    """Position of a session -> an intervention that belongs to it."""
    found: dict[int, Deed] = {}
    for deed in facts.deeds:
        if deed.execution_session is not None:
            for session in facts.sessions:
                if session.execution_session == deed.execution_session:
                    found.setdefault(session.position, deed)
        elif deed.at is not None and not (facts.live_since and deed.at >= facts.live_since):
            before = [s for s in facts.sessions if s.began_at <= deed.at]
            if before:
                found.setdefault(before[-1].position, deed)
    return found


def _seen_since(facts: Facts, limits: Limits) -> datetime | None:
    """From when on something that was seen counts; None without a session."""
    if not facts.sessions:
        return None
    first, last = facts.sessions[0].began_at, facts.sessions[-1].began_at
    return max(first, last - timedelta(days=limits.evidence_days))


def _sessions(facts: Facts, limits: Limits, counted: Count) -> Condition:
    n, asked = len(counted.sessions), limits.min_sessions
    idle = None
    if facts.last_contact is not None:
        idle = (facts.now - facts.last_contact).days
    stale = idle is not None and idle > limits.evidence_days
    value = str(n)
    if n:
        first, last = counted.sessions[0], counted.sessions[-1]
        value += f" ({first.execution_session} to {last.execution_session})"
    if not facts.sessions:
        where = "at IBKR paper" if facts.venue == "ibkr" else "at the embedded venue"
        why = f"no session was traded {where} yet"
    elif stale:
        why = f"the last session was worked {idle} days ago"
    elif n < asked:
        why = f"{n} of {asked}" + (f", since {counted.broken_by}" if counted.broken_by else "")
    else:
        why = f"{n} in a row"
    return _condition(
        Name.SESSIONS, n >= asked and not stale, value, f"at least {asked}", why,
        "let the desk trade every session by itself; the count begins anew after a gap or an "
        "intervention",
    )  # fmt: skip


def _slippage(facts: Facts) -> Condition:
    found = facts.slippage
    asked = (
        f"cost over prediction within {1 - TOLERANCE:.0%} to {1 + TOLERANCE:.0%} with its "
        f"{CONFIDENCE:.0%} interval, differences not contradicted"
    )
    if found is None or found.level is None:
        n, sessions = (found.n, found.sessions) if found else (0, 0)
        return _condition(
            Name.SLIPPAGE, False, f"{n} orders in {sessions} sessions", asked,
            "not enough orders to say anything", "trade on",
        )  # fmt: skip
    level, more = found.level, ""
    why = f"orders cost {level.value:.0%} of what was predicted ({_interval(found.level)})"
    if not found.level_holds:
        off = abs(level.value - 1) >= TOLERANCE
        why += ", which is off" if off else ", which is not certain to be within the bounds"
        more = "hydra calibrate-slippage re-estimates the predictor"
        if found.orders_needed is not None and found.orders_needed > found.n:
            more += f"; and about {found.orders_needed - found.n} more orders are needed"
    if found.contradicted and found.differences is not None:
        why += (
            f"; between dear and cheap orders they differ by {found.differences.value:.0%} of what "
            f"is claimed ({_interval(found.differences)}): contradicted"
        )
        more = more or "hydra fill-report --reconcile shows which orders"
    if found.correlation_fails:
        why += f"; the correlation is {_figure(found.figure.correlation)} where more can be reached"
        more = more or "hydra fill-report --reconcile shows which orders"
    return _condition(
        Name.SLIPPAGE, found.holds, f"{level.value:.0%} over {found.n} orders", asked, why, more
    )


def _healing(facts: Facts, since: datetime | None) -> Condition:
    cycles = _within(facts.healing or (), since)
    drill, failed = _latest(facts.drills, "drift", since)
    if drill:
        cycles.append(Seen(drill.at, f"drill: {drill.why}" if drill.why else "drill"))
    return _seen(
        Name.HEALING, cycles, failed, "one that ended in a promotion, a rejection or a rollback",
        "hydra drill drift injects a drift and has the agent react",
    )  # fmt: skip


def _errors(facts: Facts) -> Condition:
    n = len(facts.troubles)
    return _condition(
        Name.ERRORS, not n, str(n), "none",
        "; ".join(facts.troubles) or "nothing waits for a person",
        "see hydra risk, hydra orders --state unknown and hydra sync-positions",
    )  # fmt: skip


def _breakers(facts: Facts, since: datetime | None) -> Condition:
    trips = _within(facts.trips, since)
    drill, failed = _latest(facts.drills, "breaker", since)
    if drill:
        trips.append(Seen(drill.at, "drill"))
    return _seen(
        Name.BREAKERS, trips, failed, "one, by a loss or by a drill", "hydra drill breaker"
    )


def _reconnect(facts: Facts, since: datetime | None) -> Condition:
    found = _within(facts.reconnects, since)
    embedded = facts.venue == "embedded"
    drill, failed = _latest(facts.drills, "disconnect", since)
    # The stand-in is no evidence of how IBKR's gateway comes back.
    if drill and embedded:
        found.append(Seen(drill.at, "drill"))
    return _seen(
        Name.RECONNECT, found, failed, "one, at this venue",
        "hydra drill disconnect"
        if embedded
        else "restart IB Gateway while orders work; the next run reconciles",
    )  # fmt: skip


def _review(facts: Facts, basis: Basis) -> Condition:
    found, asked = facts.sign_off, "a sign-off on this evidence"
    step = 'hydra paper-gate --sign-off --reason "..." once all else holds'
    if found is None:
        return _condition(Name.REVIEW, False, "none", asked, "nobody has signed off", step)
    value = f"{found.at:%Y-%m-%d} by {found.who.removeprefix('user:')}"
    stale = "; ".join(found.basis.differences(basis))
    if stale:
        return _condition(Name.REVIEW, False, value, asked, f"stale: {stale}", step)
    return _condition(Name.REVIEW, True, value, asked, found.reason, step)


def _escalations(facts: Facts, limits: Limits, conditions: Sequence[Condition]) -> Iterator[str]:
    if facts.lost_since is not None:
        hours = (facts.now - facts.lost_since) / timedelta(hours=1)
        if hours >= limits.lost_connection_hours:
            yield (
                f"no connection to the broker for {hours:.0f} hours: is the gateway running and "
                "logged in (hydra check-broker)?"
            )
    finished = sum(session.state == "finished" for session in facts.sessions)
    if finished < limits.min_sessions:
        return
    holds = {condition.name: condition.holds for condition in conditions}
    if not holds[Name.SLIPPAGE]:
        yield (
            f"after {finished} sessions slippage is not calibrated: look at it by symbol and way "
            "of working (hydra fill-report --reconcile), then hydra calibrate-slippage; where "
            "orders are few, go on longer"
        )
    if not holds[Name.HEALING]:
        yield (
            f"after {finished} sessions no healing cycle has fired: inject a drift scenario "
            "(hydra drill drift)"
        )


def _seen(
    name: Name, seen: Sequence[Seen], failed: Drill | None, asked: str, step: str
) -> Condition:
    value = str(len(seen))
    if failed is not None:
        why = f"the latest drill failed ({failed.at:%Y-%m-%d}: {failed.why})"
        return _condition(name, False, value, asked, why, step)
    if not seen:
        return _condition(name, False, value, asked, "none yet", step)
    last = max(seen, key=lambda one: one.at)
    return _condition(name, True, value, asked, f"last {last.at:%Y-%m-%d}: {last.what}", step)


def _within(seen: Iterable[Seen], since: datetime | None) -> list[Seen]:
    return [one for one in seen if since is not None and one.at >= since]


def _latest(
    drills: Iterable[Drill], fault: str, since: datetime | None
) -> tuple[Drill | None, Drill | None]:
    """The latest drill of a fault: where it passed and counts, and where it failed, whenever."""
    last = max((d for d in drills if d.fault == fault), key=lambda d: d.at, default=None)
    if last is None or not last.passed:
        return None, last
    return (last if since is not None and last.at >= since else None), None


def _condition(
    name: Name, holds: bool, value: str, threshold: str, why: str, next_step: str
) -> Condition:
    return Condition(name, TITLES[name], holds, value, threshold, why, "" if holds else next_step)


def _not_known(condition: Condition, why: str) -> Condition:
    return Condition(
        condition.name, condition.title, False, "not known", condition.threshold, why,
        condition.next_step or "find out first; what is not known does not hold",
    )  # fmt: skip


def _interval(found: Interval) -> str:
    if found.low is None or found.high is None:
        return "no interval"
    return f"{CONFIDENCE:.0%} interval {found.low:.0%} to {found.high:.0%}"


def _figure(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"
