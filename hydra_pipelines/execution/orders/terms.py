"""The terms on which plans are worked, and what the pure parts take of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import time
from typing import Literal

from hydra_pipelines.execution.orders.patience import Patience
from hydra_pipelines.execution.orders.routing import Intent, RoutingRule
from hydra_pipelines.execution.orders.twap import Twap


@dataclass(frozen=True)
class WorkSettings:
    """How a plan is worked; see the settings of the same names."""

    start: time
    work_minutes: int
    collar: float
    send: Literal["open", "evening"] = "open"
    evening: time = time(18, 35)
    routing: Intent = "auto"
    patience_s: float = 300.0
    steps: int = 4
    step_s: float = 60.0
    max_slippage_bps: float = 100.0
    rest_at: Literal["mid", "near_touch"] = "mid"
    twap_adv_fraction: float = 0.01
    twap_minutes: float = 60.0
    twap_slices: int = 12
    max_participation: float = 0.10
    thin: tuple[str, ...] = ()
    grace_s: float = 1.0
    """Real seconds before the broker is asked a second time for an order in doubt."""

    @property
    def rule(self) -> RoutingRule:
        return RoutingRule(self.routing, self.twap_adv_fraction, frozenset(self.thin))

    @property
    def patience(self) -> Patience:
        return Patience(
            self.patience_s,
            self.steps,
            self.step_s,
            self.max_slippage_bps,
            self.rest_at,
            cross=self.collar,
        )

    @property
    def twap(self) -> Twap:
        return Twap(self.twap_minutes, self.twap_slices, self.max_participation)
