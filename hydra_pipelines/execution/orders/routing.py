"""Which algorithm works an order, and why. Pure; the algorithms are in `patience` and `twap`."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class Algo(StrEnum):
    """How an order is worked. Every one of them sends limit orders only."""

    MARKETABLE_LIMIT = "marketable_limit"
    """The far touch plus a collar at once; what a market order would be for."""
    LIMIT_PATIENCE = "limit_patience"
    """Rests inside the spread, then steps toward the far touch."""
    TWAP = "twap"
    """Slices over time, each worked with patience."""


Intent = Literal["auto", "market"]


@dataclass(frozen=True)
class Route:
    algo: Algo
    reason: str


@dataclass(frozen=True)
class RoutingRule:
    """intent: `market` takes the marketable limit for everything. twap_adv_fraction: orders above
    this share of the average daily volume are sliced. thin: symbols that always are."""

    intent: Intent = "auto"
    twap_adv_fraction: float = 0.01
    thin: AbstractSet[str] = frozenset()


def choose_route(symbol: str, quantity: int, adv: float | None, rule: RoutingRule) -> Route:
    """The route of an order over `quantity` shares. adv: shares a day, None where not known."""
    if rule.intent == "market":
        return Route(Algo.MARKETABLE_LIMIT, "execution.routing is market")
    if symbol in rule.thin:
        return Route(Algo.TWAP, "named in execution.thin")
    if adv is None or not adv > 0:
        return Route(Algo.LIMIT_PATIENCE, "the average daily volume is not known")
    share = quantity / adv
    text = f"{share:.2%} of the average daily volume"
    if share > rule.twap_adv_fraction:
        return Route(Algo.TWAP, f"{text}, above {rule.twap_adv_fraction:.2%}")
    return Route(Algo.LIMIT_PATIENCE, text)
