"""Latched breakers: once tripped they stay so, over restarts, until they are reset.

A new session resets those that the settings name; all others wait for a person. A person who
resets a breaker whose value still stands acknowledges that value: it trips again once it is worse
by a margin (`breakers`), and the acknowledgement ends when the value is within its limit again. For
the losses of a session it ends with the session.

Here belongs what connects breakers and control store. When a value trips is `breakers`' part.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date

from hydra_pipelines.alerts import AlertKind, Tell, silent
from hydra_pipelines.control import Control, ControlError, Level
from hydra_pipelines.execution.risk.breakers import read_breakers
from hydra_pipelines.execution.risk.limits import RiskLimits
from hydra_pipelines.execution.risk.state import BreakerKind, RiskState

LATCHED = (
    BreakerKind.DAILY_LOSS,
    BreakerKind.DRAWDOWN,
    BreakerKind.TRADE_LOSS,
    BreakerKind.ORDER_REJECTS,
)
"""Breakers that stay tripped until they are reset; the others follow a state of their own."""
OF_A_SESSION = (BreakerKind.DAILY_LOSS, BreakerKind.TRADE_LOSS)
"""Breakers whose value begins anew with each session."""


@dataclass(frozen=True)
class Held:
    """What the control store holds of the breakers; see `RiskState`."""

    tripped: AbstractSet[BreakerKind]
    acknowledged: Mapping[BreakerKind, float]


class Latch:
    """Keeps breakers tripped beyond a run, and tells a person of each change."""

    def __init__(self, control: Control, limits: RiskLimits, tell: Tell = silent):
        self._control = control
        self._limits = limits
        self._tell = tell

    def open(self, session: date) -> Held:
        """What is held in an execution session; resets what the session resets by itself.

        Raises ControlError where the store can't be read, or holds what nobody here can judge.
        """
        tripped = set()
        for breaker in self._control.tripped():
            kind = kind_of(breaker.name)
            if kind in self._limits.auto_reset and breaker.session < session.isoformat():
                if self._control.reset(breaker.name, "a new session has begun"):
                    self._tell(
                        AlertKind.BREAKER,
                        f"{kind} reset {session}",
                        f"hydra: breaker {kind} is reset",
                        f"Session {session} has begun, and the settings reset it then. It had "
                        f"tripped in session {breaker.session}: {breaker.reason}.",
                    )
            else:
                tripped.add(kind)
        return Held(frozenset(tripped), acknowledged(self._control.levels(), session))

    def hold(self, state: RiskState, session: date) -> RiskState:
        """Trip what the state trips and note the values of what is tripped.

        Returns the state with what is held now.
        """
        tripped, noted = set(state.tripped or ()), dict(state.acknowledged)
        for reading in read_breakers(state, self._limits):
            kind, value = reading.kind, reading.value
            if kind not in LATCHED or value is None:
                continue
            if reading.trips and kind not in tripped:
                self._trip(kind, reading.message, session)
                tripped.add(kind)
            if kind in tripped:
                self._control.set_level(kind.value, value, session.isoformat())
                noted.pop(kind, None)
            elif kind in noted and value < reading.limit:
                self._control.forget_level(kind.value)
                del noted[kind]
        return dataclasses.replace(state, tripped=frozenset(tripped), acknowledged=noted)

    def _trip(self, kind: BreakerKind, why: str, session: date) -> None:
        if self._control.trip(kind.value, why, session.isoformat()):
            self._tell(
                AlertKind.BREAKER,
                f"{kind} tripped {session}",
                f"hydra: breaker {kind} has tripped",
                f"In session {session} {why}. Nothing that adds risk is sent until it is reset "
                f"(`hydra reset-breaker {kind}`); positions can still be reduced.",
            )


def release(control: Control, name: str, why: str, actor: str, tell: Tell = silent) -> bool:
    """Reset a breaker for a person, who knows the value it was last seen at.

    False where it is not tripped. Raises ControlError.
    """
    before = next((breaker for breaker in control.tripped() if breaker.name == name), None)
    if before is None or not control.reset(name, why, actor, acknowledge=True):
        return False
    tell(
        AlertKind.BREAKER,
        f"{name} reset by hand {before.tripped_at}",
        f"hydra: breaker {name} is reset by {actor.removeprefix('user:')}",
        f"{why or 'No reason given'}. It had tripped in session {before.session}: {before.reason}.",
    )
    return True


def acknowledged(levels: Mapping[str, Level], session: date) -> dict[BreakerKind, float]:
    """The values that were acknowledged and count in an execution session."""
    return {
        kind: levels[kind].value
        for kind in LATCHED
        if kind in levels
        and levels[kind].acknowledged_at is not None
        and (kind not in OF_A_SESSION or levels[kind].session == session.isoformat())
    }


def kind_of(name: str) -> BreakerKind:
    """The breaker of a name in the control store. Raises ControlError for one not known here."""
    try:
        return BreakerKind(name)
    except ValueError as error:
        raise ControlError(
            f"breaker {name} is tripped, which this version doesn't know: reset it with "
            f"`hydra reset-breaker {name}` once it is clear what it was for"
        ) from error
