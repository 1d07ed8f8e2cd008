"""Facts of a desk that has done all that the paper gate asks, and ways to take one of it away."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np

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
)
from hydra_pipelines.monitoring.slippage_evidence import SlippageEvidence, judge

START = datetime(2026, 3, 2, 14, 0, tzinfo=UTC)
LIMITS = Limits()


def sessions(n: int, first: int = 100, **change: Any) -> list[PaperSession]:
    """Sessions in a row, a day apart; change: of the last."""
    made = [
        PaperSession(
            session=date(2026, 3, 1) + timedelta(days=i),
            execution_session=date(2026, 3, 2) + timedelta(days=i),
            position=first + i,
            began_at=START + timedelta(days=i),
            state="finished",
        )
        for i in range(n)
    ]
    return [*made[:-1], replace(made[-1], **change)] if change else made


def orders(
    n: int = 400,
    noise: float = 4.0,
    ratio: float = 1.0,
    slope: float = 1.0,
    seed: int = 3,
    days: int = 20,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predicted and actual cost of orders in bps, and their sessions.

    ratio: of the mean actual to the mean predicted. slope: how much of the claimed differences is
    true.
    """
    rng = np.random.default_rng(seed)
    predicted = rng.uniform(2, 10, n)
    mean = predicted.mean()
    actual = mean * ratio + slope * (predicted - mean) + rng.normal(0, noise, n)
    return predicted, actual, np.sort(rng.integers(0, days, n))


def evidence(**of: Any) -> SlippageEvidence:
    return judge(*orders(**of))


BASIS = Basis("embedded", "DU1", date(2026, 3, 2), 1, "abc", "0.1.0")
SEEN = Seen(START + timedelta(days=3), "seen")


def green(n: int = 20, **change: Any) -> Facts:
    """The facts of a desk whose gate is passed."""
    facts = Facts(
        venue="embedded",
        now=START + timedelta(days=n, hours=12),
        account="DU1",
        sessions=sessions(n),
        last_contact=START + timedelta(days=n - 1),
        slippage=evidence(),
        healing=[SEEN],
        trips=[SEEN],
        reconnects=[SEEN],
        calibration=1,
        settings="abc",
        version="0.1.0",
        sign_off=SignOff(START + timedelta(days=n), "user:ann", "looked at it all", BASIS),
    )
    return replace(facts, **change)


def failed(fault: str) -> Drill:
    return Drill(START + timedelta(days=5), fault, False, "it sent an order")


def at(day: float) -> datetime:
    return START + timedelta(days=day)


BREAKS: Mapping[str, tuple[Name, str, Callable[[Facts], Facts]]] = {
    "one session too few": (
        Name.SESSIONS, "19 of 20",
        lambda f: replace(f, sessions=f.sessions[1:], sign_off=_began(f, 1)),
    ),
    "a session was not traded": (
        Name.SESSIONS, "1 sessions were not traded after 2026-03-06",
        lambda f: replace(f, sessions=[*f.sessions[:5], *f.sessions[6:]], sign_off=_began(f, 6)),
    ),
    "a session was not worked in time": (
        Name.SESSIONS, "session 2026-03-07 was not worked in time",
        lambda f: replace(
            f,
            sessions=[
                *f.sessions[:5], replace(f.sessions[5], state="expired"), *f.sessions[6:]
            ],
            sign_off=_began(f, 6),
        ),
    ),
    "a person intervened": (
        Name.SESSIONS, "ann (kill_switch_on) in or after session 2026-03-04",
        lambda f: replace(
            f, deeds=[Deed("kill_switch_on", "ann", at=at(2.1))], sign_off=_began(f, 3)
        ),
    ),
    "an order was placed past the desk": (
        Name.SESSIONS, "1 fills not ordered here",
        lambda f: replace(
            f,
            deeds=[Deed("1 fills not ordered here", "x", execution_session=date(2026, 3, 4))],
            sign_off=_began(f, 3),
        ),
    ),
    "the desk stood still for months": (
        Name.SESSIONS, "the last session was worked 181 days ago",
        lambda f: replace(f, now=at(200)),
    ),
    "too few orders": (
        Name.SLIPPAGE, "not enough orders", lambda f: replace(f, slippage=evidence(n=19)),
    ),
    "orders cost twice what was predicted": (
        Name.SLIPPAGE, ", which is off", lambda f: replace(f, slippage=evidence(ratio=2)),
    ),
    "the level is uncertain": (
        Name.SLIPPAGE, "not certain to be within the bounds",
        lambda f: replace(f, slippage=evidence(n=90, noise=20)),
    ),
    "dear orders are cheap": (
        Name.SLIPPAGE, "contradicted", lambda f: replace(f, slippage=evidence(slope=-1)),
    ),
    "no healing cycle": (Name.HEALING, "none yet", lambda f: replace(f, healing=[])),
    "a healing cycle before the paper trading": (
        Name.HEALING, "none yet", lambda f: replace(f, healing=[Seen(at(-1), "promoted")]),
    ),
    "the agent failed its drill": (
        Name.HEALING, "it sent an order", lambda f: replace(f, drills=[failed("drift")]),
    ),
    "an order is unknown": (
        Name.ERRORS, "not known", lambda f: replace(f, troubles=["what became of X is not known"]),
    ),
    "the control store can't be read": (
        Name.ERRORS, "locked", lambda f: replace(f, unknown={Name.ERRORS: "locked"}),
    ),
    "no breaker was seen": (Name.BREAKERS, "none yet", lambda f: replace(f, trips=[])),
    "a breaker failed its drill": (
        Name.BREAKERS, "it sent an order", lambda f: replace(f, drills=[failed("breaker")]),
    ),
    "no reconnect": (Name.RECONNECT, "none yet", lambda f: replace(f, reconnects=[])),
    "a reconnect failed its drill": (
        Name.RECONNECT, "it sent an order", lambda f: replace(f, drills=[failed("disconnect")]),
    ),
    "nobody signed off": (
        Name.REVIEW, "nobody has signed off", lambda f: replace(f, sign_off=None),
    ),
    "calibrated since the sign-off": (
        Name.REVIEW, "calibrated anew", lambda f: replace(f, calibration=2),
    ),
    "settings changed since the sign-off": (
        Name.REVIEW, "settings of risk", lambda f: replace(f, settings="xyz"),
    ),
    "another version since the sign-off": (
        Name.REVIEW, "another version", lambda f: replace(f, version="0.2.0"),
    ),
    "signed off for another account": (
        Name.REVIEW, "another account", lambda f: replace(f, account="DU2"),
    ),
    "signed off before the count began anew": (
        Name.REVIEW, "began anew",
        lambda f: replace(f, sessions=sessions(25), deeds=[Deed("halt", "ann", at=at(2.5))]),
    ),
}  # fmt: skip
"""What is taken away -> the condition that fails for it, what it says, and how."""


def _began(facts: Facts, day: int) -> SignOff:
    """A sign-off on a count that began so many days later: only the count is in question."""
    assert facts.sign_off is not None
    basis = replace(BASIS, first_session=date(2026, 3, 2) + timedelta(days=day))
    return replace(facts.sign_off, basis=basis)
