"""Daily bars as a client asks for them: durations, end times, and never a bar after the clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from hydra_pipelines.paper_gateway.contracts import Contract
from hydra_pipelines.paper_gateway.prices import Bar
from hydra_pipelines.paper_gateway.requests import HistoryRequest
from hydra_pipelines.paper_gateway.venue import Venue
from hydra_pipelines.paper_gateway.wire import ProtocolError, parse_integer, parse_time
from hydra_pipelines.sessions import NotASession

_DAYS = {"W": 7, "M": 30.4375, "Y": 365.25}
_NO_DATA = "Historical Market Data Service error message:"


class HistoryError(ValueError):
    """A request for bars that can't be answered; `code` is the TWS error code."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True)
class History:
    start: datetime
    end: datetime
    bars: list[Bar]


def daily_bars(venue: Venue, contract: Contract, request: HistoryRequest) -> History:
    """Bars of complete sessions up to the asked end or the venue's clock, whichever is earlier."""
    if request.bar_size != "1 day":
        raise HistoryError(321, f"bar size {request.bar_size!r} is not supported; use '1 day'")
    if request.what not in ("TRADES", "ADJUSTED_LAST"):
        raise HistoryError(
            321, f"{request.what!r} bars are not supported; use TRADES or ADJUSTED_LAST"
        )
    if request.keep_up_to_date:
        raise HistoryError(321, "bars that are kept up to date are not supported")
    try:
        end = min(parse_time(request.end), venue.now) if request.end else venue.now
    except ProtocolError as error:
        raise HistoryError(321, str(error)) from error
    count, start = _extent(request.duration, end)
    try:
        last = venue.clock.calendar.latest_complete(end)
    except NotASession as error:
        raise HistoryError(162, f"{_NO_DATA}{error}") from error
    adjusted = request.what == "ADJUSTED_LAST"
    bars = venue.prices.bars(contract.symbol, last, count, adjusted=adjusted)
    bars = [bar for bar in bars if bar.session > start.date()]
    if not bars:
        raise HistoryError(*no_data(contract))
    return History(start, end, bars)


def no_data(contract: Contract) -> tuple[int, str]:
    """Code and text of a request that finds nothing."""
    return 162, f"{_NO_DATA}HMDS query returned no data: {contract.symbol}"


def _extent(duration: str, end: datetime) -> tuple[int, datetime]:
    """The most bars a duration allows, and the instant it begins at."""
    amount, _, unit = duration.partition(" ")
    n = parse_integer(amount) or 0
    if not 0 < n <= 10_000 or unit not in ("D", *_DAYS):
        raise HistoryError(321, f"duration {duration!r} is not supported; use n D, W, M or Y")
    if unit == "D":
        return n, end - timedelta(days=2 * n + 14)
    days = n * _DAYS[unit]
    if days >= end.toordinal():
        raise HistoryError(321, f"duration {duration!r} is longer than the calendar")
    return n * 366, end - timedelta(days=days)
