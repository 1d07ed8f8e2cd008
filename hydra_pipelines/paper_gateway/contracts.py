"""The contracts the venue lists: one US stock a symbol, with an id that depends on the name only.

Names and ids belong here; prices and trading rules do not.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from hydra_pipelines.paper_gateway.requests import ContractQuery

ROUTING = "SMART"
LISTING = "NYSE"
CURRENCY = "USD"


@dataclass(frozen=True)
class Contract:
    con_id: int
    symbol: str


class Listing:
    """Lookup of contracts as clients name them."""

    def __init__(self, symbols: Iterable[str]) -> None:
        self._by_id: dict[int, Contract] = {}
        self._by_symbol: dict[str, Contract] = {}
        for symbol in sorted(symbols):
            con_id = (zlib.crc32(symbol.encode()) & 0x3FFFFFFF) + 1_000
            while con_id in self._by_id:
                con_id += 1
            contract = Contract(con_id, symbol)
            self._by_id[con_id] = self._by_symbol[symbol] = contract

    def named(self, symbol: str) -> Contract:
        return self._by_symbol[symbol]

    def numbered(self, con_id: int) -> Contract | None:
        return self._by_id.get(con_id)

    def find(self, query: ContractQuery) -> Contract | None:
        """The one contract meant, by id or else by symbol; None where there is none such."""
        if query.sec_type not in ("", "STK") or query.currency not in ("", CURRENCY):
            return None
        if query.exchange not in ("", ROUTING, LISTING):
            return None
        if query.con_id:
            found = self._by_id.get(query.con_id)
            return found if found and query.symbol in ("", found.symbol) else None
        return self._by_symbol.get(query.symbol or query.local_symbol)
