"""The facts that the paper gate goes by, and the names of what it asks.

Plain values. Where they come from is `paper_evidence`, what they add up to `paper_gate`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Literal

from hydra_pipelines.monitoring.slippage_evidence import SlippageEvidence

Venue = Literal["embedded", "ibkr"]


class Name(StrEnum):
    SESSIONS = "sessions"
    SLIPPAGE = "slippage"
    HEALING = "healing"
    ERRORS = "errors"
    BREAKERS = "breakers"
    RECONNECT = "reconnect"
    REVIEW = "review"


TITLES: Mapping[Name, str] = {
    Name.SESSIONS: "sessions in a row without manual intervention",
    Name.SLIPPAGE: "slippage model calibrated",
    Name.HEALING: "a healing cycle completed",
    Name.ERRORS: "no unrecoverable error",
    Name.BREAKERS: "a breaker seen to trip and to block",
    Name.RECONNECT: "a reconnect survived",
    Name.REVIEW: "human review recorded",
}


@dataclass(frozen=True)
class Limits:
    """What is asked; see the settings of the same names."""

    min_sessions: int = 20
    evidence_days: int = 90
    lost_connection_hours: float = 24


@dataclass(frozen=True)
class PaperSession:
    """A session that was worked on paper.

    position: of its execution session in the exchange calendar. state: `finished`, `expired` (not
    worked in time) or `unfinished`. began_at: wall time of the first run that worked it.
    """

    session: date
    execution_session: date
    position: int
    began_at: datetime
    state: Literal["finished", "expired", "unfinished"]


@dataclass(frozen=True)
class Deed:
    """A manual intervention: at an instant, or in an execution session where only that is known."""

    what: str
    who: str
    at: datetime | None = None
    execution_session: date | None = None


@dataclass(frozen=True)
class Seen:
    """Something that was seen once. at: wall time. what: in a few words."""

    at: datetime
    what: str


@dataclass(frozen=True)
class Drill:
    """One run of `hydra drill`. fault: its name. passed: whether the desk reacted as it should."""

    at: datetime
    fault: str
    passed: bool
    why: str = ""


@dataclass(frozen=True)
class Basis:
    """What a sign-off is valid for; see `Basis.differences`.

    first_session: execution session that the count begins with. calibration: number of the one of
    the predictor in force, None for the settings' own. settings: a hash of what decides what is
    traded and how.
    """

    venue: str
    account: str | None
    first_session: date | None
    calibration: int | None
    settings: str
    version: str

    def differences(self, now: Basis) -> Iterator[str]:
        """Why a sign-off that saw this is stale now, in words."""
        for name, words in (
            ("venue", "it was given for another venue"),
            ("account", "it was given for another account"),
            ("first_session", "the count of sessions began anew since"),
            ("calibration", "the slippage predictor was calibrated anew since"),
            ("settings", "settings of risk, plan, execution, slippage or strategies changed since"),
            ("version", "the program is of another version since"),
        ):
            if getattr(self, name) != getattr(now, name):
                yield words


@dataclass(frozen=True)
class SignOff:
    at: datetime
    who: str
    reason: str
    basis: Basis


@dataclass(frozen=True)
class Facts:
    """All that the gate goes by. None where something is not known, with `unknown` saying why.

    now: wall time. sessions: oldest first. live_since: when live trading began after the last of
    them. last_contact: when a session was last worked at this venue, live or not. slippage: of the
    orders of these sessions, as the predictor in force predicts them. healing: cycles that ended in
    a decision. trips: breakers that tripped in these sessions and denied an order. reconnects:
    connections at this venue that were lost and found again with the books reconciled. troubles:
    what only a person can end now. lost_since: since when there is no connection, None while there
    is one. calibration, settings, version: see `Basis`.
    """

    venue: Venue
    now: datetime
    account: str | None = None
    sessions: Sequence[PaperSession] = ()
    deeds: Sequence[Deed] = ()
    live_since: datetime | None = None
    last_contact: datetime | None = None
    slippage: SlippageEvidence | None = None
    healing: Sequence[Seen] | None = ()
    trips: Sequence[Seen] = ()
    reconnects: Sequence[Seen] = ()
    drills: Sequence[Drill] = ()
    troubles: Sequence[str] = ()
    lost_since: datetime | None = None
    calibration: int | None = None
    settings: str = ""
    version: str = ""
    sign_off: SignOff | None = None
    unknown: Mapping[Name, str] = field(default_factory=dict)
