"""Strategies as declared: what each trades on, and whether that is coherent.

Here belong the declaration and its checks. How a family is fitted and how signals become orders
does not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from hydra_pipelines.decision.signals import SignalRule
from hydra_pipelines.features.catalogue import CATALOGUE, names_of

STATUSES = ("research", "deployed", "retired")

PARAMETERS: Mapping[str, Mapping[str, float]] = {
    "ridge": {"alpha": 1000.0},
    "momentum": {"ic": 0.03},
}
"""Parameters of each model family, with the value taken where a strategy does not say."""

_ID = re.compile(r"[A-Z]{2,8}-\d{4}-\d{3}")


class StrategyError(ValueError):
    """A strategy whose declaration can't be right; names the strategy and the field."""


@dataclass(frozen=True)
class StrategySpec:
    """One strategy.

    id: of the hypothesis, such as `HYP-2026-001`; also the name of its registered model.
    features: names from the catalogue, with `_rank` or `_z` for their cross-sectional forms.
    label_horizon: sessions over which the forward return is predicted.
    family, parameters: the model, see `PARAMETERS`.
    signal: how its predictions become long, flat or short.
    capital_weight: share of the desk's capital, 0 to 1.
    """

    id: str
    title: str
    features: tuple[str, ...]
    label_horizon: int
    family: str
    parameters: Mapping[str, float] = field(default_factory=dict)
    signal: SignalRule = field(default_factory=SignalRule)
    capital_weight: float = 1.0
    status: str = "research"

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", tuple(self.features))
        if not _ID.fullmatch(self.id):
            raise StrategyError(f"strategy id {self.id!r}: write it like HYP-2026-001")
        if not self.title.strip():
            self._refuse("title", "is empty")
        self._check_features()
        if self.label_horizon != int(self.label_horizon) or not 1 <= self.label_horizon <= 252:
            self._refuse("label_horizon", f"is {self.label_horizon}; give 1 to 252 sessions")
        if self.family not in PARAMETERS:
            self._refuse("family", f"is {self.family!r}; choose {' or '.join(PARAMETERS)}")
        self._check_parameters()
        if not 0.0 <= self.capital_weight <= 1.0:
            self._refuse("capital_weight", f"is {self.capital_weight}; give a share from 0 to 1")
        if self.status not in STATUSES:
            self._refuse("status", f"is {self.status!r}; choose one of {', '.join(STATUSES)}")

    @property
    def model_parameters(self) -> dict[str, float]:
        """The family's parameters, with defaults filled in."""
        return {**PARAMETERS[self.family], **self.parameters}

    def _check_features(self) -> None:
        if not self.features:
            self._refuse("features", "is empty")
        known = set(names_of(CATALOGUE))
        for name in self.features:
            if name not in known:
                self._refuse("features", f"has {name!r}, which is not in the catalogue")
            if self.features.count(name) > 1:
                self._refuse("features", f"has {name!r} twice")

    def _check_parameters(self) -> None:
        known = PARAMETERS[self.family]
        for name, value in self.parameters.items():
            if name not in known:
                self._refuse("parameters", f"has {name!r}; {self.family} takes {', '.join(known)}")
            if not math.isfinite(value) or value <= 0:
                self._refuse(f"parameters.{name}", f"is {value}; give a positive number")
        if self.family == "momentum" and len(self.features) != 1:
            self._refuse("features", f"has {len(self.features)} names; momentum takes one score")

    def _refuse(self, name: str, why: str) -> None:
        raise StrategyError(f"strategy {self.id}: {name} {why}")
