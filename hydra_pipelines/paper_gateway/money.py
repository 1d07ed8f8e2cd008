"""Exact money and price ticks: integers of 1/10,000 US dollar, called units here.

Cash, notionals and prices are whole units everywhere inside the venue; they become text only on
the wire and floats never. Commissions are whole cents, as a broker charges them.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

UNITS = 10_000
"""Units per dollar."""

UNITS_PER_CENT = UNITS // 100

_TOO_MUCH = 10**9 * UNITS
_CENT = Decimal("0.01")


def to_units(text: str) -> int | None:
    """Dollars in text to units.

    None where the text is no number, finer than one unit, or a billion dollars and more.
    """
    try:
        scaled = Decimal(text) * UNITS
    except ArithmeticError:
        return None
    if not scaled.is_finite() or abs(scaled) >= _TOO_MUCH or scaled != scaled.to_integral_value():
        return None
    return int(scaled)


def dollars(units: int) -> str:
    """Units as an exact decimal without trailing zeros: 1012500 -> `101.25`."""
    sign = "-" if units < 0 else ""
    whole, rest = divmod(abs(units), UNITS)
    return f"{sign}{whole}.{rest:04d}".rstrip("0").rstrip(".")


def exact(units: int) -> str:
    """Units as a decimal with all four places, for books that are compared to the unit."""
    return f"{Decimal(units) / UNITS:.4f}"


def cents(units: int) -> str:
    """Units as dollars and cents, half to even: 1012550 -> `101.26`."""
    return str((Decimal(units) / UNITS).quantize(_CENT, ROUND_HALF_EVEN))


def tick_size(price: int) -> int:
    """The price variation in units at a price: a cent from one dollar, else 1/100 cent.

    US equities, Regulation NMS rule 612.
    """
    return UNITS_PER_CENT if price >= UNITS else 1


def commission_cents(shares: int, notional: int) -> int:
    """Commission in cents on an order's shares and notional (units) so far.

    IBKR's fixed schedule for US stocks: 0.005 USD a share, at least 1.00, at most 1 % of the
    trade value; where the maximum is below the minimum, the maximum holds. To the cent, half up.
    """
    millionths = min(max(1_000_000, 5_000 * shares), notional)
    return (millionths + 5_000) // 10_000
