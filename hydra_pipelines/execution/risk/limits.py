"""The limits of the risk gate: what each one is, its default, and which values make sense.

Here belong the numbers alone. Judging an order by them is the part of `checks`, tripping on them
the part of `breakers`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True)
class RiskLimits:
    """Limits of the gate. Fractions are of equity unless another base is named.

    max_order_notional: value of one order at its limit price, USD.
    max_position_weight, max_positions, gross_cap, net_cap: of the portfolio with the order filled.
    cash_buffer: cash that no buy may touch.
    max_adv_share: shares of one order (and what works on the same side) over average daily volume.
    collar_last_close: distance of the limit price from the last close, either way (fraction of it).
    collar_quote: how far a limit price may go beyond the touch, on the costly side.
    max_quote_age_s, max_orders_per_minute, max_data_age_sessions: as named.
    restricted: symbols in which nothing may add risk.
    daily_loss (of the equity at the session's start), drawdown (of the peak),
    single_trade_loss (of the equity at the session's start), rejects_in_a_row: breakers.
    auto_reset: breakers that the next session resets. reset_margin: a breaker that a person reset
    trips again once its value is worse than it was then by this share of its limit.
    commission_per_share, commission_minimum (USD), commission_max_fraction (of the value, wins
    over the minimum): the commission that a buy must leave room for.
    """

    max_order_notional: Decimal = Decimal(250_000)
    max_position_weight: float = 0.10
    max_positions: int = 20
    gross_cap: float = 1.0
    net_cap: float = 1.0
    cash_buffer: float = 0.0025
    max_adv_share: float = 0.01
    collar_last_close: float = 0.10
    collar_quote: float = 0.01
    max_quote_age_s: float = 60.0
    max_orders_per_minute: int = 120
    max_data_age_sessions: int = 3
    restricted: Collection[str] = ()
    allow_short: bool = False
    daily_loss: float = 0.02
    drawdown: float = 0.10
    single_trade_loss: float = 0.01
    rejects_in_a_row: int = 5
    auto_reset: Collection[str] = ("daily_loss",)
    reset_margin: float = 0.25
    commission_per_share: Decimal = Decimal("0.005")
    commission_minimum: Decimal = Decimal("1.00")
    commission_max_fraction: float = 0.01

    def __post_init__(self) -> None:
        if isinstance(self.restricted, str):
            raise ValueError(
                f"risk limit restricted is {self.restricted!r}; give a list of symbols"
            )
        for name in ("gross_cap", "net_cap", "max_quote_age_s"):
            if not 0.0 <= getattr(self, name) < float("inf"):
                raise ValueError(
                    f"risk limit {name} is {getattr(self, name)}; it must be 0 or more"
                )
        for name in (
            "max_position_weight",
            "cash_buffer",
            "max_adv_share",
            "collar_last_close",
            "collar_quote",
            "daily_loss",
            "drawdown",
            "single_trade_loss",
            "reset_margin",
            "commission_max_fraction",
        ):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(
                    f"risk limit {name} is {getattr(self, name)}; it must lie between 0 and 1"
                )
        for name in (
            "max_order_notional",
            "max_positions",
            "max_orders_per_minute",
            "max_data_age_sessions",
            "commission_per_share",
            "commission_minimum",
        ):
            if not getattr(self, name) >= 0:
                raise ValueError(f"risk limit {name} is {getattr(self, name)}; it can't be below 0")
        if self.rejects_in_a_row < 1:
            raise ValueError("risk limit rejects_in_a_row must be at least 1")
