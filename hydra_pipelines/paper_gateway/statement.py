"""The account as the broker reports it: values by tag, and one row a position.

Pure: what is held, what it is marked at, and the words for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hydra_pipelines.paper_gateway.book import Position
from hydra_pipelines.paper_gateway.money import cents

LEDGER_TAGS = (
    "CashBalance", "TotalCashBalance", "NetLiquidationByCurrency", "StockMarketValue",
    "RealizedPnL", "UnrealizedPnL", "ExchangeRate", "Currency",
)  # fmt: skip


@dataclass(frozen=True)
class Holding:
    """A position and its mark; money in units."""

    symbol: str
    position: Position
    mark: int
    realized: int

    @property
    def value(self) -> int:
        return self.position.quantity * self.mark

    @property
    def unrealized(self) -> int:
        return self.value - self.position.cost


def account_values(
    cash: int, reserved: int, realized: int, holdings: Iterable[Holding]
) -> list[tuple[str, str, str]]:
    """(tag, value, currency) of a cash account; all money given in units.

    AvailableFunds and BuyingPower are the cash that working buy orders do not reserve.
    """
    held = list(holdings)
    stock = sum(holding.value for holding in held)
    gross = sum(abs(holding.value) for holding in held)
    unrealized = sum(holding.unrealized for holding in held)
    free = cash - reserved
    values = [
        ("AccountReady", "true", ""),
        ("AccountType", "INDIVIDUAL", ""),
        ("NetLiquidation", cents(cash + stock), "USD"),
        ("EquityWithLoanValue", cents(cash + stock), "USD"),
        ("TotalCashValue", cents(cash), "USD"),
        ("SettledCash", cents(cash), "USD"),
        ("GrossPositionValue", cents(gross), "USD"),
        ("AvailableFunds", cents(free), "USD"),
        ("ExcessLiquidity", cents(free), "USD"),
        ("BuyingPower", cents(free), "USD"),
        ("InitMarginReq", "0.00", "USD"),
        ("MaintMarginReq", "0.00", "USD"),
    ]
    for currency in ("BASE", "USD"):
        amounts = {
            "CashBalance": cents(cash),
            "TotalCashBalance": cents(cash),
            "NetLiquidationByCurrency": cents(cash + stock),
            "StockMarketValue": cents(stock),
            "RealizedPnL": cents(realized),
            "UnrealizedPnL": cents(unrealized),
            "ExchangeRate": "1.00",
            "Currency": currency,
        }
        values += [(tag, amounts[tag], currency) for tag in LEDGER_TAGS]
    return values
