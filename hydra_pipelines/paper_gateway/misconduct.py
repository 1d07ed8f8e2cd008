"""What a faulty gateway does to what it tells: reports that are late, twice, in disorder or lost.

Between the venue and the connections, and only while there are faults. Trading goes on as it does;
what is told of it suffers. Sockets are dropped in `server`, fills go wrong in `venue`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from hydra_pipelines.paper_gateway import book
from hydra_pipelines.paper_gateway.book import Report
from hydra_pipelines.paper_gateway.faults import END_MARKER_IDS, Faults
from hydra_pipelines.paper_gateway.replies import Message

READ_ONLY = 321
READ_ONLY_TEXT = (
    "Error validating request.-'bW' : cause - The API interface is currently in Read-Only mode."
)
ORDER_REQUESTS = frozenset({"3", "4", "5", "15", "16", "58", "99"})
"""Requests that a read-only API refuses: all that places, cancels, binds or lists orders."""

OUTAGE = (1100, "Connectivity between IBKR and Trader Workstation has been lost.")
"""Told when an outage begins, and to who connects while it lasts."""
DATA_LOST = 1101
"""The connection is back, market data have to be subscribed to again."""
_RESTORED = {
    DATA_LOST: "Connectivity between IBKR and Trader Workstation has been restored - data lost.",
    1102: "Connectivity between IBKR and Trader Workstation has been restored - data maintained.",
}
_COMMISSION_REPORT = 59

Address = tuple[int, int]


@dataclass(frozen=True)
class Outage:
    """The gateway without IB's servers, until `over`; then it says `code`."""

    over: datetime
    code: int
    late: bool
    """Whether what happened meanwhile is told afterwards, or never."""


class Misconduct:
    """One gateway's faults at work, with what they hold back."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.outage: Outage | None = None
        self._silent: set[Address] = set()
        self._held: list[Report] = []
        self._unreported: set[str] = set()

    def silence(self, client_id: int, order_id: int) -> None:
        """Nothing is told of this order from now on, but where it is asked for."""
        self._silent.add((client_id, order_id))

    def begin_outage(self, now: datetime, minutes: int, code: int, told: str) -> None:
        self.outage = Outage(now + timedelta(minutes=minutes), code, told == "late")

    def end_outage(self, now: datetime, *, at_once: bool) -> tuple[int, str] | None:
        """Code and text to tell once it is over; None while it goes on, or where there is none."""
        if self.outage is None or (now < self.outage.over and not at_once):
            return None
        code, self.outage = self.outage.code, None
        return code, _RESTORED[code]

    def release(self) -> list[Report]:
        """What was held back until now."""
        held, self._held = self._held, []
        return held

    def told(self, reports: Iterable[Report]) -> list[Report]:
        """What is told now of what happened, in the order it is told in."""
        spoken = [report for report in reports if address_of(report) not in self._silent]
        if self.outage:
            self._held += spoken if self.outage.late else []
            return []
        for about in dict.fromkeys(map(address_of, spoken)):
            symbol = next((s for r in spoken if address_of(r) == about and (s := symbol_of(r))), "")
            if symbol:
                spoken = self._mistold(spoken, about, symbol)
        return [report for report in spoken if self._commission_is_told(report)]

    def lets_out(self, message: Message) -> bool:
        """Whether a message goes out at all: end markers and commission reports may be lost."""
        kind = message[0]
        if kind == _COMMISSION_REPORT:
            return message[2] not in self._unreported
        name = END_MARKER_IDS.get(kind)  # type: ignore[call-overload]
        return name is None or self.faults.strike("missing_end", of=name) is None

    def _mistold(self, reports: list[Report], about: Address, symbol: str) -> list[Report]:
        """The faults of status messages, for the order at an address."""
        strike = self.faults.strike
        mine = [report for report in reports if address_of(report) == about]
        states = [r for r in mine if isinstance(r, book.OpenOrder | book.StatusChange)]
        if not states:
            return reports
        others = [report for report in mine if report not in states]
        if strike("missing_status", symbol) is not None:
            mine = others
        if strike("late_status", symbol) is not None:
            self._held += [report for report in mine if report in states]
            mine = others
        if strike("duplicate_status", symbol) is not None:
            mine = [again for r in mine for again in ((r, r) if r in states else (r,))]
        if len(mine) > 1 and strike("reordered_status", symbol) is not None:
            mine = mine[::-1]
        fills = any(isinstance(report, book.Executed) for report in mine)
        if fills and strike("status_after_fill", symbol) is not None:
            mine.sort(key=lambda report: not isinstance(report, book.Executed))
        return [report for report in reports if address_of(report) != about] + mine

    def _commission_is_told(self, report: Report) -> bool:
        if not isinstance(report, book.CommissionCharged):
            return True
        if self.faults.strike("late_commission", report.execution.symbol) is not None:
            self._held.append(report)
            return False
        if self.faults.strike("missing_commission", report.execution.symbol) is not None:
            self._unreported.add(report.execution.exec_id)
            return False
        return True


def address_of(report: Report) -> Address:
    """Client and order id of the order that a report is about."""
    match report:
        case book.OpenOrder(order=about) | book.StatusChange(order=about):
            return about.client_id, about.order_id
        case book.Executed(execution=about) | book.CommissionCharged(execution=about):
            return about.client_id, about.order_id
        case book.Problem():
            return report.client_id, report.order_id


def symbol_of(report: Report) -> str:
    match report:
        case book.OpenOrder(order=about) | book.StatusChange(order=about):
            return about.symbol
        case book.Executed(execution=about) | book.CommissionCharged(execution=about):
            return about.symbol
        case book.Problem():
            return ""
