"""Strategies as declared: what each trades on, and whether that is coherent.

Here belong the declaration and its checks. How a family is fitted and how signals become orders
does not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from hydra_pipelines.decision.signals import SignalRule
from hydra_pipelines.features.catalogue import CATALOGUE, names_of
from hydra_pipelines.settings.families import FAMILIES

STATUSES = ("research", "deployed", "retired")
ONE_SCORE = ("momentum", "equal_weight")
"""Families that take a single feature."""

_ID = re.compile(r"[A-Z]{2,8}-\d{4}-\d{3}")


class StrategyError(ValueError):
    """A strategy whose declaration can't be right; names the strategy and, as `path`, the field."""

    def __init__(self, strategy_id: str, path: tuple[str | int, ...], why: str):
        self.strategy_id, self.path = strategy_id, path
        name = ".".join(str(part) for part in path if isinstance(part, str))
        super().__init__(f"strategy {strategy_id}: {name} {why}")


@dataclass(frozen=True)
class StrategySpec:
    """One strategy.

    id: of the hypothesis, such as `HYP-2026-001`; also the name of its registered model.
    features: names from the catalogue, with `_rank` or `_z` for their cross-sectional forms.
    label_horizon: sessions over which the forward return is predicted.
    family, parameters: the model, see `settings.families`.
    universe: symbols that it learns from and trades; empty for all members of a session.
    signal: how its predictions become long, flat or short.
    capital_weight: share of the desk's capital, 0 to 1.
    """

    id: str
    title: str
    features: tuple[str, ...]
    label_horizon: int
    family: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    signal: SignalRule = field(default_factory=SignalRule)
    capital_weight: float = 1.0
    status: str = "research"
    universe: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", tuple(self.features))
        object.__setattr__(self, "universe", tuple(self.universe))
        if not _ID.fullmatch(self.id):
            self._refuse("id", "is not written like HYP-2026-001")
        if not self.title.strip():
            self._refuse("title", "is empty")
        self._check_features()
        if self.label_horizon != int(self.label_horizon) or not 1 <= self.label_horizon <= 252:
            self._refuse("label_horizon", f"is {self.label_horizon}; give 1 to 252 sessions")
        if self.family not in FAMILIES:
            self._refuse("family", f"is {self.family!r}; choose {' or '.join(FAMILIES)}")
        self._check_parameters()
        for i, symbol in enumerate(self.universe):
            if symbol in self.universe[:i]:
                self._refuse("universe", f"has {symbol!r} twice", i)
        if not 0.0 <= self.capital_weight <= 1.0:
            self._refuse("capital_weight", f"is {self.capital_weight}; give a share from 0 to 1")
        if self.status not in STATUSES:
            self._refuse("status", f"is {self.status!r}; choose one of {', '.join(STATUSES)}")

    @property
    def model_parameters(self) -> dict[str, Any]:
        """The family's parameters with defaults filled in; what is switched off is left out."""
        return FAMILIES[self.family](**self.parameters).model_dump(exclude_none=True)

    @property
    def configuration(self) -> str:
        """All that decides what the model learns and how it is tested, as JSON; kept with it."""
        signal = {name: getattr(self.signal, name) for name in self.signal.__dataclass_fields__}
        return json.dumps(
            {
                "family": self.family,
                "parameters": self.model_parameters,
                "features": self.features,
                "label_horizon": self.label_horizon,
                "universe": self.universe,
                "signal": signal,
            },
            sort_keys=True,
        )

    def as_configured(self, configuration: str) -> StrategySpec:
        """This strategy with the configuration that an earlier version of its model was made by.

        Raises StrategyError where that is not possible any more.
        """
        try:
            values = json.loads(configuration)
            return replace(self, **{**values, "signal": SignalRule(**values["signal"])})
        except (ValueError, TypeError, KeyError) as error:
            if isinstance(error, StrategyError):
                raise
            raise StrategyError(
                self.id, ("configuration",), f"of a version can't be read ({error})"
            ) from error

    def trades(self, symbol: str) -> bool:
        """Whether the symbol is in the strategy's universe."""
        return not self.universe or symbol in self.universe

    def _check_features(self) -> None:
        if not self.features:
            self._refuse("features", "is empty")
        known = set(names_of(CATALOGUE))
        for i, name in enumerate(self.features):
            if name not in known:
                self._refuse("features", f"has {name!r}, which is not in the catalogue", i)
            if name in self.features[:i]:
                self._refuse("features", f"has {name!r} twice", i)

    def _check_parameters(self) -> None:
        try:
            FAMILIES[self.family](**self.parameters)
        except ValidationError as error:
            found = error.errors()[0]
            why = f"is {self.parameters[str(found['loc'][0])]!r}: {found['msg']}"
            self._refuse("parameters", why, *found["loc"])
        if self.family in ONE_SCORE and len(self.features) != 1:
            self._refuse(
                "features", f"has {len(self.features)} names; {self.family} takes one score"
            )
        # A model that puts names in order must trade by that order, and one that does not can't.
        if (self.family == "equal_weight") != (self.signal.method == "all"):
            self._refuse(
                "signal",
                f"is {self.signal.method!r}; family equal_weight takes all, and only it does",
                "method",
            )

    def _refuse(self, name: str, why: str, *within: str | int) -> None:
        raise StrategyError(self.id, (name, *within), why)
