"""TWAP: an order in equal slices over time, each no larger than its share of the volume.

Pure. Slices never overlap: one is sent when the one before is at its end, and what that left is
part of what those after it divide among themselves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

SESSION_MINUTES = 390.0


@dataclass(frozen=True)
class Twap:
    """minutes: over which the slices are spread. max_participation: of the volume expected while a
    slice works. assumed_adv: shares a day where the volume is not known."""

    minutes: float = 60.0
    slices: int = 12
    max_participation: float = 0.10
    assumed_adv: float = 100_000.0

    def __post_init__(self) -> None:
        if self.minutes <= 0 or self.slices < 1 or not 0 < self.max_participation <= 1:
            raise ValueError(
                "twap: minutes is above 0, slices 1 or more and max_participation above 0 and at "
                f"most 1, got {self}"
            )

    def interval(self, start: datetime, deadline: datetime) -> timedelta:
        """Length of a slice; shorter where the time ends before all of them had theirs."""
        return min(timedelta(minutes=self.minutes), deadline - start) / self.slices

    def slice_at(self, start: datetime, deadline: datetime, now: datetime) -> int | None:
        """Number of the slice that it is time for, 1 to `slices`; None after the last."""
        interval = self.interval(start, deadline)
        if interval <= timedelta(0) or now >= start + self.slices * interval:
            return None
        # A clock that is set to the very instant of a slice must not fall short of it.
        return min(self.slices, 1 + int((now - start + timedelta(microseconds=1)) / interval))

    def ends(self, number: int, start: datetime, deadline: datetime) -> datetime:
        """When a slice is at its end."""
        return start + number * self.interval(start, deadline)

    def most(self, adv: float | None, interval: timedelta) -> int:
        """The largest slice, in shares: its share of the volume that is expected meanwhile.

        adv: shares a day, spread evenly over the session; `assumed_adv` where it is not known.
        """
        volume = adv if adv is not None and adv > 0 else self.assumed_adv
        expected = volume * interval.total_seconds() / 60.0 / SESSION_MINUTES
        return int(expected * self.max_participation)

    def quantity(self, number: int, left: int, adv: float | None, interval: timedelta) -> int:
        """Shares of slice `number` when `left` are not filled yet; 0 where none may be sent."""
        slices_left = self.slices - number + 1
        return max(0, min(math.ceil(left / slices_left), left, self.most(adv, interval)))
