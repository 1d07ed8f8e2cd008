"""Everything an order plan is made from, and whether it can be right.

Here belong the facts of account, prices and targets side by side; what is made of them belongs to
`plan`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

import numpy as np

from hydra_pipelines.decision.targets import Targets

_LARGEST_WEIGHT = 10.0


@dataclass(frozen=True, eq=False)
class PlanInputs:
    """Everything a plan is made from; arrays have shape (N,), one entry a symbol.

    signal_session, execution_session: the session whose close decides, and the one that trades.
    equity, cash: the broker's, in USD; counted in whole cents, rounded down.
    symbols: unique names; every name with a position, a working order or a target is among them.
    prices: float64, raw, USD; NaN or not above 0 means no price. Rounded to 0.0001 USD.
    positions: int64, the broker's, signed. working: int64, signed net of open orders.
    adv: float64, average daily volume in shares; NaN where not known.
    sigma_daily: float64, daily volatility; NaN where not known.
    restricted: names for which no order is planned in either direction.
    unpriced_exposure: absolute value in USD, by the broker, of the positions that have no price
        here; None where not known: then nothing is planned that adds exposure while there are any.
    """

    signal_session: date
    execution_session: date
    account_id: str
    equity: Decimal
    cash: Decimal
    symbols: tuple[str, ...]
    prices: np.ndarray
    positions: np.ndarray
    working: np.ndarray
    targets: Targets
    adv: np.ndarray
    sigma_daily: np.ndarray
    restricted: frozenset[str] = frozenset()
    unpriced_exposure: Decimal | None = None

    def __post_init__(self) -> None:
        n = len(self.symbols)
        if len(set(self.symbols)) != n:
            repeated = sorted({s for s in self.symbols if self.symbols.count(s) > 1})
            raise ValueError(f"symbols of a plan must be unique; repeated: {', '.join(repeated)}")
        if not self.execution_session > self.signal_session:
            raise ValueError(
                f"the execution session {self.execution_session} must come after the signal "
                f"session {self.signal_session}"
            )
        arrays = {
            "prices": self.prices,
            "positions": self.positions,
            "working": self.working,
            "target weights": self.targets.weights,
            "adv": self.adv,
            "sigma_daily": self.sigma_daily,
        }
        for name, values in arrays.items():
            if values.shape != (n,):
                raise ValueError(f"{name} of the plan have shape {values.shape}, expected ({n},)")
        for name in ("positions", "working"):
            if not np.issubdtype(arrays[name].dtype, np.integer):
                raise ValueError(f"{name} of the plan must be whole shares (an integer array)")
        for name, bad in (
            ("adv", (self.adv < 0) | np.isinf(self.adv)),
            ("target weights", np.abs(self.targets.weights) > _LARGEST_WEIGHT),
        ):
            if bad.any():
                i = int(bad.argmax())
                raise ValueError(f"{name} of {self.symbols[i]} can't be {arrays[name][i]}")
        for name in ("equity", "cash"):
            if not getattr(self, name).is_finite():
                raise ValueError(f"{name} of the account is {getattr(self, name)}; it is not known")

    def take(self, names: np.ndarray) -> PlanInputs:
        """The inputs of some of the names, given by their indices."""
        return replace(
            self,
            symbols=tuple(self.symbols[i] for i in names.tolist()),
            prices=self.prices[names],
            positions=self.positions[names],
            working=self.working[names],
            targets=self.targets.take(names),
            adv=self.adv[names],
            sigma_daily=self.sigma_daily[names],
        )
