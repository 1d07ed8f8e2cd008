"""Signals of all strategies to one netted target portfolio, in weights of equity.

Here belong capital weights, netting and the caps on weights, and `PlanLimits`, which the plan
shares. Shares, cash and current positions belong to `plan`. Everything is a pure function.

Three states of a name, never confused: a weight other than 0 is wanted; a weight of 0 means exit;
NaN means hold: a strategy that could hold the name (it is in its universe, and the strategy has
capital) has no prediction for it (it failed, or the prediction is missing). What part of the
position it would want is then not known, and the whole position stays as it is. A strategy that
has never been able to predict a name (too short a history) should leave it out of its universe;
otherwise the name is held for as long as that lasts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

import numpy as np

from hydra_pipelines.decision.signals import Signals

BuyFunding = Literal["sells_first", "confirmed_cash"]


@dataclass(frozen=True)
class PlanLimits:
    """What a plan may do. Fractions are of equity unless another base is named, and are read to a
    millionth; amounts in USD to 0.0001.

    max_positions: names held at most.
    max_position_weight: hard limit of one position; beyond it a position is trimmed.
    position_headroom: targets stay at `max_position_weight * (1 - position_headroom)`, so that a
        small rise in price doesn't make a trade.
    gross_cap, net_cap: sum of absolute weights; absolute sum of signed weights.
    min_order_usd: no order below this value, exits included.
    turnover_band: a difference between target and position below it isn't traded, neither as
        money nor as whole lots, except to exit and to trim.
    cash_buffer: cash that no buy may touch.
    max_adv_share: largest order that adds risk, as a share of average daily volume. Where the
        volume is not known, `max_order_notional` (if any) and the position limit alone bound it.
    max_order_notional: largest value of an order that adds risk, in USD; None for no such limit.
    allow_short: negative targets; without it they count as 0.
    lot: shares of one lot; orders are whole lots, but for exits of odd remainders.
    buy_funding: `sells_first` sizes buys as if the plan's sells fill at the reference price less
        `price_collar` (the order manager sends a buy only once the cash is there);
        `confirmed_cash` uses the cash of today alone.
    price_collar: buys are costed this much above the reference price, sells below it.
    commission_per_share, commission_minimum (USD an order), commission_max_fraction (of the order's
        value; it wins over the minimum): the estimate of commissions that buys must leave room for.
    """

    max_positions: int = 20
    max_position_weight: float = 0.10
    position_headroom: float = 0.05
    gross_cap: float = 1.0
    net_cap: float = 1.0
    min_order_usd: Decimal = Decimal(100)
    turnover_band: float = 0.005
    cash_buffer: float = 0.0025
    max_adv_share: float = 0.01
    max_order_notional: Decimal | None = None
    allow_short: bool = False
    lot: int = 1
    buy_funding: BuyFunding = "sells_first"
    price_collar: float = 0.005
    commission_per_share: Decimal = Decimal("0.005")
    commission_minimum: Decimal = Decimal("1.00")
    commission_max_fraction: float = 0.01

    def __post_init__(self) -> None:
        for name, low, high in (
            ("max_position_weight", 0.0, 1.0),
            ("position_headroom", 0.0, 1.0),
            ("gross_cap", 0.0, 10.0),
            ("net_cap", 0.0, 10.0),
            ("turnover_band", 0.0, 1.0),
            ("cash_buffer", 0.0, 1.0),
            ("max_adv_share", 0.0, 1.0),
            ("price_collar", 0.0, 0.5),
            ("commission_max_fraction", 0.0, 1.0),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"plan limit {name} is {value}; it must lie in [{low}, {high}]")
        for name in ("min_order_usd", "commission_per_share", "commission_minimum"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"plan limit {name} is {getattr(self, name)}; it can't be below 0")
        if self.max_order_notional is not None and not self.max_order_notional > 0:
            raise ValueError(
                f"plan limit max_order_notional is {self.max_order_notional}; "
                "it must be above 0, or absent for no limit"
            )
        if self.max_positions < 0 or self.lot < 1:
            raise ValueError(
                f"plan limits max_positions = {self.max_positions}, lot = {self.lot}; "
                "they must be at least 0 and 1"
            )
        if self.buy_funding not in ("sells_first", "confirmed_cash"):
            raise ValueError(
                f"plan limit buy_funding is {self.buy_funding!r}; use sells_first or confirmed_cash"
            )

    @property
    def target_cap(self) -> float:
        """Largest absolute target weight of one name."""
        return self.max_position_weight * (1.0 - self.position_headroom)


@dataclass(frozen=True, eq=False)
class StrategyView:
    """What one deployed strategy says about the N names of the session.

    capital_weight: its share of equity, 0 or more.
    universe: bool of shape (N,), the names it could hold.
    signals: None where the strategy failed: it then says nothing about its whole universe.
    predictions: float64 of shape (N,); needed for `weighting='prediction'` only.
    weighting: `equal`, or `prediction`: in proportion to signal * prediction, negative values as
        0, equal where none is positive.
    """

    strategy_id: str
    capital_weight: float
    universe: np.ndarray
    signals: Signals | None
    predictions: np.ndarray | None = None
    weighting: Literal["equal", "prediction"] = "equal"


@dataclass(frozen=True, eq=False)
class Targets:
    """The target portfolio.

    weights: float64 of shape (N,), fractions of equity; 0 means exit, NaN means hold.
    asked: float64 of shape (N,), the netted wishes of the strategies that spoke, before any limit.
    strategy_ids: the S strategies, ascending.
    shares: float64 of shape (S, N), the part of each weight that each strategy stands for; the
        column sums to the weight. NaN where a strategy says nothing, and where the name is held.
    """

    weights: np.ndarray
    asked: np.ndarray
    strategy_ids: tuple[str, ...]
    shares: np.ndarray

    @property
    def hold(self) -> np.ndarray:
        """bool of shape (N,): names whose position stays as it is."""
        return np.isnan(self.weights)

    def take(self, names: np.ndarray) -> Targets:
        """The targets of some of the names, given by their indices."""
        return Targets(
            self.weights[names], self.asked[names], self.strategy_ids, self.shares[:, names]
        )


def make_targets(views: Sequence[StrategyView], limits: PlanLimits) -> Targets:
    """Net the strategies' wishes and cut them to the limits.

    A strategy spreads its capital weight over its long and short names (gross, so that its own
    shorts don't enlarge it). The weights of all are summed per name; then, each step only making
    weights smaller: no negative weight without `allow_short`; each name cut to `target_cap`
    (what is cut off stays in cash, it is not spread over the others); the `max_positions` largest
    absolute weights kept (equal ones: the earlier name); all scaled to `gross_cap`; the larger
    side scaled until the net weight is within `net_cap` and, when long, leaves `cash_buffer`.
    Names that no strategy has in its universe get 0.

    Raises ValueError where there is no strategy at all (that is no reason to sell everything),
    and for shapes, ids or capital weights that can't be right.
    """
    if not views:
        raise ValueError("no deployed strategy: there is nothing to make targets from")
    n = len(views[0].universe)
    _check(views, n)
    # In the order of ids, so that sums of floats don't depend on the order of the settings.
    views = sorted(views, key=lambda view: view.strategy_id)
    wishes = np.stack([_wishes(view) for view in views])
    could_hold = np.stack([view.universe & (view.capital_weight > 0.0) for view in views])
    hold = (np.isnan(wishes) & could_hold).any(axis=0)
    asked = np.nansum(wishes, axis=0)
    weights = _within_limits(np.where(hold, 0.0, asked), limits)
    scale = np.divide(weights, asked, out=np.zeros(n), where=asked != 0.0)
    return Targets(
        weights=np.where(hold, np.nan, weights),
        asked=asked,
        strategy_ids=tuple(view.strategy_id for view in views),
        shares=np.where(hold, np.nan, wishes * scale + 0.0),  # + 0.0 turns -0.0 into 0.0
    )


def _check(views: Sequence[StrategyView], n: int) -> None:
    ids = [view.strategy_id for view in views]
    if len(set(ids)) != len(ids):
        raise ValueError(f"strategy ids are not unique: {', '.join(sorted(ids))}")
    for view in views:
        name = view.strategy_id
        if not (math.isfinite(view.capital_weight) and view.capital_weight >= 0.0):
            raise ValueError(
                f"capital weight of {name} is {view.capital_weight}; it must be 0 or more"
            )
        arrays = {"universe": view.universe, "predictions": view.predictions}
        if view.signals is not None:
            arrays |= {"signals": view.signals.values, "known signals": view.signals.known}
        for what, values in arrays.items():
            if values is not None and values.shape != (n,):
                raise ValueError(f"{what} of {name} have shape {values.shape}, expected ({n},)")
        if view.weighting not in ("equal", "prediction"):
            raise ValueError(f"weighting of {name} is {view.weighting!r}; use equal or prediction")
        if view.weighting == "prediction" and view.signals is not None and view.predictions is None:
            raise ValueError(f"{name} is weighted by prediction, but comes without predictions")


def _wishes(view: StrategyView) -> np.ndarray:
    """Weights (N,) of one strategy before netting; NaN where it says nothing."""
    n = len(view.universe)
    if view.signals is None:
        return np.full(n, np.nan)
    said = view.universe & view.signals.known
    signals = np.where(said, view.signals.values, 0).astype(np.float64)
    strength = np.abs(signals)
    if view.weighting == "prediction" and view.predictions is not None:
        by_prediction = np.maximum(np.where(said, signals * view.predictions, 0.0), 0.0)
        if by_prediction.any():
            strength = by_prediction / by_prediction.max()
    total = strength.sum()
    wishes = view.capital_weight * signals * strength / total if total > 0.0 else signals
    return np.where(said, wishes, np.nan)


def _within_limits(weights: np.ndarray, limits: PlanLimits) -> np.ndarray:
    """Weights (N,) cut to the limits; no absolute weight grows and no sign changes."""
    floor = -limits.target_cap if limits.allow_short else 0.0
    weights = np.clip(weights, floor, limits.target_cap)
    wanted = np.flatnonzero(weights)
    largest_first = wanted[np.argsort(-np.abs(weights[wanted]), kind="stable")]
    weights[largest_first[limits.max_positions :]] = 0.0
    gross = np.abs(weights).sum()
    if gross > limits.gross_cap:
        weights *= limits.gross_cap / gross
    long, short = weights[weights > 0.0].sum(), -weights[weights < 0.0].sum()
    most_long = min(limits.net_cap, 1.0 - limits.cash_buffer)
    if long - short > most_long:
        weights[weights > 0.0] *= (most_long + short) / long
    elif short - long > limits.net_cap:
        weights[weights < 0.0] *= (limits.net_cap + long) / short
    return weights
