"""Strategies as declared: what each trades on, and whether that is coherent.

Here belong the declaration, its checks and the strategies a fresh desk starts with. How a family
is fitted and how signals become orders does not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from hydra_pipelines.features.catalogue import CATALOGUE, names_of

STATUSES = ("research", "deployed", "retired")

PARAMETERS: Mapping[str, Mapping[str, float]] = {
    "ridge": {"alpha": 1000.0},
    "momentum": {"ic": 0.03},
}
"""Parameters of each model family, with the value taken where a strategy does not say."""

SIGNAL_RULES: Mapping[str, Mapping[str, float]] = {
    "rank": {"long_fraction": 0.10, "short_fraction": 0.0},
    "threshold": {"long_above": 0.0, "short_below": -math.inf},
    "zscore": {"long_above": 1.0, "short_below": -math.inf},
}
"""Parameters of each signal method, with the value taken where a strategy does not say."""

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
    signal: `method` and its parameters, see `SIGNAL_RULES`.
    capital_weight: share of the desk's capital, 0 to 1.
    """

    id: str
    title: str
    features: tuple[str, ...]
    label_horizon: int
    family: str
    parameters: Mapping[str, float] = field(default_factory=dict)
    signal: Mapping[str, str | float] = field(default_factory=lambda: {"method": "rank"})
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
        self._check_signal()
        if not 0.0 <= self.capital_weight <= 1.0:
            self._refuse("capital_weight", f"is {self.capital_weight}; give a share from 0 to 1")
        if self.status not in STATUSES:
            self._refuse("status", f"is {self.status!r}; choose one of {', '.join(STATUSES)}")

    @property
    def model_parameters(self) -> dict[str, float]:
        """The family's parameters, with defaults filled in."""
        return {**PARAMETERS[self.family], **self.parameters}

    @property
    def signal_parameters(self) -> dict[str, float]:
        """The signal method's parameters, with defaults filled in."""
        given = {k: float(v) for k, v in self.signal.items() if k != "method"}
        return {**SIGNAL_RULES[str(self.signal["method"])], **given}

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

    def _check_signal(self) -> None:
        method = self.signal.get("method")
        if method not in SIGNAL_RULES:
            self._refuse("signal.method", f"is {method!r}; choose one of {', '.join(SIGNAL_RULES)}")
        known = SIGNAL_RULES[str(method)]
        for name, value in self.signal.items():
            if name == "method":
                continue
            if name not in known:
                self._refuse("signal", f"has {name!r}; {method} takes {', '.join(known)}")
            if not isinstance(value, int | float) or math.isnan(value):
                self._refuse(f"signal.{name}", f"is {value!r}; give a number")
        values = self.signal_parameters
        if method == "rank":
            long, short = values["long_fraction"], values["short_fraction"]
            if not (0.0 <= long <= 1.0 and 0.0 <= short <= 1.0 and 0.0 < long + short <= 1.0):
                self._refuse("signal", "needs fractions from 0 to 1 that add up to at most 1")
        elif values["long_above"] < values["short_below"]:
            self._refuse("signal", "has long_above below short_below")

    def _refuse(self, name: str, why: str) -> None:
        raise StrategyError(f"strategy {self.id}: {name} {why}")


DEFAULT_STRATEGIES: tuple[StrategySpec, ...] = (
    StrategySpec(
        id="HYP-2026-001",
        title="Ridge on cross-sectional ranks of price features",
        features=(
            "return_1d_rank",
            "return_5d_rank",
            "return_21d_rank",
            "return_63d_rank",
            "return_126d_rank",
            "return_252d_rank",
            "momentum_12_1_rank",
            "volatility_21d_rank",
            "volatility_63d_rank",
            "rsi_14_rank",
            "bollinger_z_20_rank",
            "macd_rank",
            "high_52w_distance_rank",
            "beta_63d_rank",
            "beta_252d_rank",
        ),
        label_horizon=5,
        family="ridge",
        signal={"method": "rank", "long_fraction": 0.20},
        capital_weight=0.5,
        status="deployed",
    ),
    StrategySpec(
        id="HYP-2026-002",
        title="12-1 momentum",
        features=("momentum_12_1_z",),
        label_horizon=5,
        family="momentum",
        signal={"method": "rank", "long_fraction": 0.20},
        capital_weight=0.5,
        status="deployed",
    ),
)
