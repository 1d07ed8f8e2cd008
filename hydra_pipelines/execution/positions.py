"""Positions: folded from the fill journal at average cost, and read from the broker.

Pure. The broker's reply decides what is held; the journal explains it. Where the two differ is the
business of `breaks`, profit by lots that of `lots`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from hydra_pipelines.execution.broker.messages import Account, Position

CENT = Decimal("0.01")


def to_cents(amount: Decimal) -> Decimal:
    """An amount in USD to the cent, half a cent away from zero."""
    return amount.quantize(CENT, ROUND_HALF_UP)


@dataclass
class Lot:
    """One symbol according to the journal, at average cost."""

    quantity: int = 0
    cost: Decimal = Decimal(0)
    """What the shares cost, commissions included; negative for a short position."""
    paid: Decimal = Decimal(0)
    """The same without commissions."""
    strategies: str = ""


def fold_fills(fills: Iterable[Mapping[str, Any]]) -> dict[str, Lot]:
    """Open positions by symbol after `fills` (rows of `trades.fills`, oldest first)."""
    lots: dict[str, Lot] = {}
    for fill in fills:
        kind = fill.get("kind")
        if kind == "symbol_change":
            if fill["from_symbol"] is not None and fill["from_symbol"] in lots:
                lots[fill["symbol"]] = lots.pop(fill["from_symbol"])
            continue
        lot = lots.setdefault(fill["symbol"], Lot())
        signed = fill["quantity"] if fill["side"] == "BUY" else -fill["quantity"]
        if kind == "split":
            lot.quantity += signed
            continue
        fee = fill["commission"] or Decimal(0)
        if lot.quantity * signed >= 0:
            lot.quantity += signed
            lot.cost += signed * fill["price"] + fee
            lot.paid += signed * fill["price"]
            lot.strategies = fill["strategies"] or lot.strategies
            continue
        closed = min(abs(signed), abs(lot.quantity))
        kept = 1 - Decimal(closed) / abs(lot.quantity)
        lot.cost, lot.paid = lot.cost * kept, lot.paid * kept
        beyond = abs(signed) - closed
        direction = 1 if signed > 0 else -1
        lot.quantity += direction * closed
        if beyond:
            lot.quantity = direction * beyond
            lot.paid = lot.quantity * fill["price"]
            lot.cost = lot.paid + fee * beyond / abs(signed)
            lot.strategies = fill["strategies"] or ""
    return {symbol: lot for symbol, lot in lots.items() if lot.quantity}


def live_positions(
    account: Account, positions: Iterable[Position], lots: Mapping[str, Lot]
) -> list[dict[str, Any]]:
    """Rows of `live_positions` (without account and dates), by symbol.

    Quantities and prices are the broker's; entry price and cost basis are the journal's where it
    explains the whole position, else the broker's average cost.
    """
    marks = {holding.symbol: holding for holding in account.holdings}
    rows = []
    for position in sorted(positions, key=lambda p: p.symbol):
        if not position.quantity:
            continue
        lot = lots.get(position.symbol)
        if lot is not None and lot.quantity == position.quantity:
            entry, cost, strategies = lot.paid / lot.quantity, lot.cost, lot.strategies
        else:
            entry = position.average_cost
            cost, strategies = position.average_cost * position.quantity, ""
        if position.symbol not in marks:
            raise ValueError(
                f"{position.symbol}: the broker reports the position but no mark for it; "
                "synchronise again"
            )
        value = marks[position.symbol].market_value
        gain = value - cost
        rows.append(
            {
                "symbol": position.symbol,
                "quantity": position.quantity,
                "entry_price": entry.quantize(Decimal("0.0001"), ROUND_HALF_UP),
                "current_price": marks[position.symbol].market_price,
                "market_value": to_cents(value),
                "cost_basis": to_cents(cost),
                "unrealized_pnl": to_cents(gain),
                "unrealized_pnl_share": float(gain / abs(cost)) if cost else 0.0,
                "strategies": strategies,
            }
        )
    return rows


def worst_realised_loss(fills: Iterable[Mapping[str, Any]], session: date) -> Decimal:
    """The largest loss (USD, positive) that one fill of a session realised; 0 where none did.

    fills: rows of `trades.fills`, oldest first; measured against average cost, commissions
    included. A split realises nothing.
    """
    lots: dict[str, tuple[int, Decimal]] = {}
    worst = Decimal(0)
    for fill in fills:
        kind = fill.get("kind")
        if kind == "symbol_change":
            if fill["from_symbol"] is not None and fill["from_symbol"] in lots:
                lots[fill["symbol"]] = lots.pop(fill["from_symbol"])
            continue
        held, cost = lots.get(fill["symbol"], (0, Decimal(0)))
        signed = fill["quantity"] if fill["side"] == "BUY" else -fill["quantity"]
        if kind == "split":
            lots[fill["symbol"]] = (held + signed, cost if held + signed else Decimal(0))
            continue
        fee = fill["commission"] or Decimal(0)
        if held * signed < 0:
            closed = min(abs(signed), abs(held))
            direction = 1 if held > 0 else -1
            average, closing_fee = cost / held, fee * closed / abs(signed)
            gain = (fill["price"] - average) * closed * direction - closing_fee
            if fill["session"] == session:
                worst = max(worst, -gain)
            cost -= average * closed * direction
            held -= closed * direction
            signed += closed * direction
            fee -= closing_fee
        lots[fill["symbol"]] = (held + signed, cost + signed * fill["price"] + fee)
    return worst
