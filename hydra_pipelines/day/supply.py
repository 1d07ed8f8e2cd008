"""Is there enough data, and is it fresh enough, to decide on? The least that trading needs. Pure.

A day of the requirements is a session: what was there before a long weekend is not old.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from hydra_pipelines.sessions import Calendar


@dataclass(frozen=True)
class Requirement:
    """rows: at least so many; sessions_old: the latest of them at most so many sessions ago."""

    what: str
    rows: int
    sessions_old: int


PRICES = Requirement("prices", 1000, 3)
FEATURES = Requirement("feature rows", 100, 3)
PREDICTIONS = Requirement("predictions", 1, 1)


@dataclass(frozen=True)
class Supply:
    """What there is of something. sessions_old: age of the latest of it; None where there is none,
    or where it was not seen within the sessions looked at."""

    requirement: Requirement
    rows: int
    sessions_old: int | None

    @property
    def shortfall(self) -> str | None:
        """What is lacking, in a sentence; None where there is enough."""
        need = self.requirement
        if self.rows == 0 or self.sessions_old is None:
            return f"there are no {need.what}"
        if self.rows < need.rows:
            return f"{self.rows} {need.what}, trading needs {need.rows}"
        if self.sessions_old > need.sessions_old:
            return (
                f"the latest {need.what} are {self.sessions_old} sessions old, trading needs them "
                f"from {need.sessions_old} at most"
            )
        return None

    def __str__(self) -> str:
        old = "" if self.sessions_old is None else f", the latest {self.sessions_old} sessions old"
        return f"{self.rows} {self.requirement.what}{old}"


def age(calendar: Calendar, last: date | None, session: date) -> int | None:
    """Sessions from `last` to `session`; None where there is no last one."""
    return None if last is None else max(0, len(calendar.between(last, session)) - 1)
