"""Slippage: what an order should cost, what it did cost, and whether the first was right.

Here belong the predictor, the measures of a fill and their reconciliation; where fills are kept
does not. Everything is a pure function. Slippage is signed so that positive is a cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any, Literal, NamedTuple

import numpy as np

Side = Literal["BUY", "SELL"]
Colour = Literal["green", "yellow", "red"]

MIN_FILLS = 20
GREEN_BELOW = 0.1
YELLOW_BELOW = 0.5
MIN_CORRELATION = 0.3
WARN_ABOVE = 1.5
_BPS = 10_000.0


@dataclass(frozen=True)
class SlippageModel:
    """The square-root law of market impact.

        cost = half spread + beyond spread + y * sigma_daily * sqrt(quantity / ADV)

    Torre, "Barra Market Impact Model Handbook" (1997); Tóth et al., "Anomalous price impact and
    the critical nature of liquidity in financial markets", Physical Review X 1, 021006 (2011),
    who find y of order 1.

    half_spread_bps: half of the quoted spread, in basis points of the price, where no quote is
        known; an order that is about to be sent has one, and its own is taken.
    y: coefficient of the impact, without a unit.
    assumed_adv_usd: average daily value traded, in USD, where the volume is not known (NaN, or
        below one share); the share count is this divided by the price.
    assumed_sigma_daily: daily volatility (0.02 is 2 %) where it is not known (NaN).
    beyond_spread_bps: what orders cost beyond half spread and impact, by calibration; negative for
        a way of working that rests and so pays less than the half spread. 0 before any.
    by_algo: the same for single ways of working, as (name, basis points).

    No prediction is below 0: the desk doesn't count on being paid for trading.
    """

    half_spread_bps: float = 2.0
    y: float = 0.7
    assumed_adv_usd: float = 500_000_000.0
    assumed_sigma_daily: float = 0.02
    beyond_spread_bps: float = 0.0
    by_algo: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        for name, lowest_allowed in (
            ("half_spread_bps", True),
            ("y", True),
            ("assumed_adv_usd", False),
            ("assumed_sigma_daily", True),
        ):
            value = getattr(self, name)
            if not (np.isfinite(value) and (value > 0 or (value == 0 and lowest_allowed))):
                bound = "0 or more" if lowest_allowed else "above 0"
                raise ValueError(
                    f"slippage model: {name} is {value}; it must be finite and {bound}"
                )
        for name, value in (("beyond_spread_bps", self.beyond_spread_bps), *self.by_algo):
            if not np.isfinite(value):
                raise ValueError(f"slippage model: {name} is {value}; it must be finite")

    def predict_bps(
        self,
        quantity: np.ndarray | float,
        price: np.ndarray | float,
        sigma_daily: np.ndarray | float,
        adv: np.ndarray | float,
        *,
        algo: str | None = None,
        quoted_half_spread_bps: np.ndarray | float = np.nan,
    ) -> np.ndarray:
        """Expected cost in basis points of the price, float64 of the inputs' common shape.

        quantity: shares (its sign doesn't matter). price: USD. sigma_daily: 0.02 is 2 %.
        adv: shares a day. algo: how the orders will be worked, None where that is not decided yet.
        quoted_half_spread_bps: NaN where not known. `float(...)` of the result for a single order.
        Raises ValueError for a price that is not a finite number above 0.
        """
        impact = self.unit_impact_bps(quantity, price, sigma_daily, adv)
        return self.cost_bps(impact, quoted_half_spread_bps, self.beyond(algo))

    def unit_impact_bps(
        self,
        quantity: np.ndarray | float,
        price: np.ndarray | float,
        sigma_daily: np.ndarray | float,
        adv: np.ndarray | float,
    ) -> np.ndarray:
        """The impact for y = 1, in basis points; arguments and errors as of `predict_bps`."""
        price = np.asarray(price, dtype=np.float64)
        if not (np.isfinite(price) & (price > 0)).all():
            raise ValueError("slippage can't be predicted without a price above 0")
        sigma = np.asarray(sigma_daily, dtype=np.float64)
        adv = np.asarray(adv, dtype=np.float64)
        volume_known = np.isfinite(adv) & (adv >= 1)
        sigma = np.where(np.isfinite(sigma) & (sigma >= 0), sigma, self.assumed_sigma_daily)
        volume = np.where(volume_known, adv, self.assumed_adv_usd / price)
        return _BPS * sigma * np.sqrt(np.abs(quantity) / volume)

    def cost_bps(
        self,
        unit_impact_bps: np.ndarray | float,
        quoted_half_spread_bps: np.ndarray | float,
        beyond: np.ndarray | float,
    ) -> np.ndarray:
        """The law put together from its terms, all in basis points."""
        quoted = np.asarray(quoted_half_spread_bps, dtype=np.float64)
        half = np.where(np.isfinite(quoted) & (quoted >= 0), quoted, self.half_spread_bps)
        return np.maximum(half + beyond + self.y * np.asarray(unit_impact_bps), 0.0)

    def parameters(self) -> dict[str, Any]:
        """All parameters as plain values, to be stored as JSON; `of` reads them back."""
        return {**asdict(self), "by_algo": dict(self.by_algo)}

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> SlippageModel:
        """The model of stored parameters."""
        return cls(**{**parameters, "by_algo": tuple(sorted(parameters["by_algo"].items()))})

    def beyond(self, algo: str | None) -> float:
        """The constant term of a way of working; of all of them where it has none of its own."""
        return dict(self.by_algo).get(algo or "", self.beyond_spread_bps)


def predicted_cost(
    model: SlippageModel,
    quantity: int,
    arrival: Decimal,
    bid: Decimal | None,
    ask: Decimal | None,
    sigma_daily: float | None,
    adv: float | None,
    algo: str,
) -> dict[str, float | None]:
    """What an order about to be sent should cost, with the terms a later calibration needs.

    quantity: of the whole order, also where it is sent in slices. bid, ask, sigma_daily, adv: None
    where not known. Keys are the columns of `order_intents`.
    """
    half = None
    if bid is not None and ask is not None and 0 < bid <= ask:
        half = float((ask - bid) / (ask + bid)) * _BPS
    impact = float(
        model.unit_impact_bps(
            quantity,
            float(arrival),
            np.nan if sigma_daily is None else sigma_daily,
            np.nan if adv is None else adv,
        )
    )
    cost = model.cost_bps(impact, np.nan if half is None else half, model.beyond(algo))
    return {
        "predicted_slippage_bps": float(cost),
        "quoted_half_spread_bps": half,
        "unit_impact_bps": impact,
    }


class Slippage(NamedTuple):
    """The cost of a fill: USD a share, and basis points of the price it is measured against."""

    per_share: Decimal
    bps: float


def actual_slippage(side: Side, order_price: Decimal, fill_price: Decimal) -> Slippage:
    """The fill against the price of the order; positive is a cost.

    A limit order can't fill beyond its limit, so against a limit price this is never positive:
    it is the price improvement. Raises ValueError for a side or price that can't be.
    """
    per_share = _sign(side) * (_price(fill_price, "fill") - _price(order_price, "order"))
    return Slippage(per_share, float(per_share / order_price) * _BPS)


def implementation_shortfall_bps(side: Side, arrival: Decimal, fill: Decimal) -> float:
    """The fill against the price when the order was decided, in basis points; positive is a cost.

    The execution part of Perold, "The implementation shortfall: paper versus reality", Journal of
    Portfolio Management 14 (1988).
    """
    difference = _sign(side) * (_price(fill, "fill") - _price(arrival, "arrival"))
    return float(difference / arrival) * _BPS


@dataclass(frozen=True)
class Reconciliation:
    """Predicted against actual slippage over n fills.

    With fewer than `MIN_FILLS` fills nothing but `n` is stated. Means, bias and RMSE in basis
    points. relative_bias and pessimism_multiplier are None where the mean prediction is not above
    0, correlation where one of the two doesn't vary.

    bias: mean(actual - predicted). relative_bias: bias / mean predicted.
    pessimism_multiplier: mean actual / mean predicted, at least 1.
    colour: by |relative bias|, green below 0.1, yellow below 0.5, red from there.
    is_model_calibrated: |relative bias| < 0.5, correlation > 0.3 and enough fills.
    """

    n: int
    mean_predicted: float | None = None
    mean_actual: float | None = None
    bias: float | None = None
    rmse: float | None = None
    correlation: float | None = None
    relative_bias: float | None = None
    pessimism_multiplier: float | None = None
    colour: Colour | None = None
    is_model_calibrated: bool | None = None

    @property
    def enough_fills(self) -> bool:
        return self.n >= MIN_FILLS

    @property
    def message(self) -> str:
        """The state in a sentence for a person."""
        if not self.enough_fills:
            return f"not enough fills: {self.n} of {MIN_FILLS}"
        if self.pessimism_multiplier is None:
            return "the model predicts no cost, so there is nothing to compare with"
        if self.pessimism_multiplier > WARN_ABOVE:
            return "fills are significantly worse than the model says"
        if self.is_model_calibrated:
            return "the model is calibrated"
        if self.relative_bias is not None and abs(self.relative_bias) >= YELLOW_BELOW:
            return "the model is off: its bias is too large"
        return "the model is off: it does not tell dear orders from cheap ones"


def reconcile(predicted_bps: np.ndarray, actual_bps: np.ndarray) -> Reconciliation:
    """Compare predictions and outcomes of the same fills, both of shape (n,).

    Raises ValueError for different lengths and for a value that is not finite: a fill without
    prediction or outcome has to be left out by the caller, who knows why it is missing.
    """
    predicted = np.asarray(predicted_bps, dtype=np.float64)
    actual = np.asarray(actual_bps, dtype=np.float64)
    if predicted.ndim != 1 or predicted.shape != actual.shape:
        raise ValueError(
            f"predicted and actual slippage have shapes {predicted.shape} and {actual.shape}; "
            "they must be one-dimensional and equal"
        )
    for name, values in (("predicted", predicted), ("actual", actual)):
        if not np.isfinite(values).all():
            i = int(np.isfinite(values).argmin())
            raise ValueError(f"{name} slippage of fill {i} is {values[i]}; leave the fill out")
    n = len(predicted)
    if n < MIN_FILLS:
        return Reconciliation(n=n)
    mean_predicted, mean_actual = float(predicted.mean()), float(actual.mean())
    error = actual - predicted
    bias = float(error.mean())
    correlation = _correlation(predicted, actual)
    relative = bias / mean_predicted if mean_predicted > 0 else None
    return Reconciliation(
        n=n,
        mean_predicted=mean_predicted,
        mean_actual=mean_actual,
        bias=bias,
        rmse=float(np.sqrt(np.mean(error**2))),
        correlation=correlation,
        relative_bias=relative,
        pessimism_multiplier=None if relative is None else max(mean_actual / mean_predicted, 1.0),
        colour=None if relative is None else _colour(abs(relative)),
        is_model_calibrated=(
            relative is not None
            and abs(relative) < YELLOW_BELOW
            and correlation is not None
            and correlation > MIN_CORRELATION
        ),
    )


def _correlation(x: np.ndarray, y: np.ndarray) -> float | None:
    """Pearson's correlation; None where a side doesn't vary."""
    dx, dy = x - x.mean(), y - y.mean()
    spread = float(np.sqrt((dx**2).sum()) * np.sqrt((dy**2).sum()))
    if x.min() == x.max() or y.min() == y.max() or spread == 0.0:
        return None
    return float((dx * dy).sum()) / spread


def _colour(relative: float) -> Colour:
    if relative < GREEN_BELOW:
        return "green"
    return "yellow" if relative < YELLOW_BELOW else "red"


def _sign(side: str) -> int:
    if side not in ("BUY", "SELL"):
        raise ValueError(f"side {side!r} is not known; use BUY or SELL")
    return 1 if side == "BUY" else -1


def _price(price: Decimal, what: str) -> Decimal:
    if not (price.is_finite() and price > 0):
        raise ValueError(f"the {what} price is {price}; it must be above 0")
    return price
