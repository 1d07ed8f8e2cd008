"""The control port: the venue's clock and books, for tests and for whoever keeps the time.

JSON lines over TCP, one object a request with its `token` and `op`, one object an answer; an
answer with `error` says what was wrong. Nothing of the TWS wire.

    status {brief}        clock, session, account, versions, process; brief: the clock alone
    advance {to}          moves the clock to an ISO instant with a zone
    reach {to}            the same, and nothing where the clock is there or later already
    truth                 cash, positions, executions, orders, exact
    balance               cash and marked positions alone, exact
    pay {usd}             money in or out of the account, by its owner
    move {symbol, shares} shares in or out, without a trade
    trade {action, symbol, shares}   a trade by hand at the last price
    faults {script}       from now on these faults (see `faults`); without a script, what struck
    messages {since}      count and log of order requests received, after a serial number
    shutdown              ends the process
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import os
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from hydra_pipelines.paper_gateway import hand
from hydra_pipelines.paper_gateway.account import VenueError
from hydra_pipelines.paper_gateway.faults import FaultError, parse
from hydra_pipelines.paper_gateway.prices import NoPricesError
from hydra_pipelines.paper_gateway.server import Gateway
from hydra_pipelines.paper_gateway.wire import MAX_VERSION, MIN_VERSION

log = logging.getLogger(__name__)


class ControlError(ValueError):
    """A control request that can't be answered; the text goes back to the caller."""


class ControlServer:
    """Answers control requests about one gateway."""

    def __init__(self, gateway: Gateway, token: str, on_shutdown: Callable[[], None]) -> None:
        self._gateway = gateway
        self.token = token
        self._on_shutdown = on_shutdown
        self.last_call = time.monotonic()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One control connection, until the other end closes it."""
        try:
            while line := await reader.readline():
                self.last_call = time.monotonic()
                writer.write((json.dumps(await self._answer(line)) + "\n").encode())
                await writer.drain()
                self.last_call = time.monotonic()
        except (ConnectionError, ValueError) as error:
            log.warning("control connection dropped: %s", error)
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            return await self._do(_request(line, self.token))
        except (ControlError, FaultError, NoPricesError, VenueError) as error:
            return {"error": str(error)}
        except Exception as error:
            self._gateway.fail()
            return {"error": f"the venue failed and stops: {error}"}

    async def _do(self, request: dict[str, Any]) -> dict[str, Any]:
        venue = self._gateway.venue
        match request.get("op"):
            case "status":
                return {"now": venue.now.isoformat()} if request.get("brief") else self._status()
            case "advance":
                await self._gateway.advance(_instant(request.get("to")))
                return self._status()
            case "reach":
                await self._gateway.reach(_instant(request.get("to")))
                return {"now": venue.now.isoformat()}
            case "truth":
                return venue.truth()
            case "balance":
                return venue.balance()
            case "pay" | "move" | "trade":
                self._by_hand(request)
                return venue.balance()
            case "messages":
                since = request.get("since", 0)
                if not isinstance(since, int):
                    raise ControlError(f"'since' is {since!r}, expected a serial number")
                log_rows = venue.store.requests(since)
                return {"count": venue.store.request_count(), "messages": log_rows}
            case "faults":
                if "script" in request:
                    self._gateway.set_faults(parse(request["script"]))
                return {
                    "rules": [rule.written() for rule in venue.faults.rules],
                    "struck": venue.faults.struck(),
                }
            case "shutdown":
                asyncio.get_running_loop().call_soon(self._on_shutdown)
                return {"stopping": True}
            case other:
                raise ControlError(
                    f"unknown op {other!r}; use status, advance, reach, truth, messages, faults "
                    "or shutdown"
                )

    def _by_hand(self, request: dict[str, Any]) -> None:
        venue = self._gateway.venue
        symbol, shares = str(request.get("symbol")), request.get("shares", 0)
        if not isinstance(shares, int):
            raise ControlError(f"'shares' is {shares!r}, expected a whole number")
        match request["op"]:
            case "pay":
                hand.pay(venue, str(request.get("usd")))
            case "move":
                hand.move_shares(venue, symbol, shares)
            case _:
                action = str(request.get("action"))
                self._gateway.publish(hand.trade(venue, action, symbol, shares))
        self._gateway.refresh()
        self._gateway.flush()

    def _status(self) -> dict[str, Any]:
        venue = self._gateway.venue
        return {
            "now": venue.now.isoformat(),
            "session": venue.session.isoformat(),
            "open": venue.clock.moment is not None,
            "last_session": venue.prices.last.isoformat(),
            "working_orders": len(venue.open_orders()),
            "clients": sorted(self._gateway.clients),
            "versions": [MIN_VERSION, MAX_VERSION],
            "terms": venue.terms.written(),
            "account": venue.terms.account,
            "pid": os.getpid(),
        }


def _request(line: bytes, token: str) -> dict[str, Any]:
    try:
        request = json.loads(line)
    except ValueError as error:
        raise ControlError(f"a control request is one JSON object a line: {error}") from error
    if not isinstance(request, dict):
        raise ControlError("a control request is one JSON object a line")
    given = request.get("token")
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(), token.encode()):
        raise ControlError("the control token is missing or wrong; it is in gateway.json")
    return request


def _instant(text: Any) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except (TypeError, ValueError) as error:
        raise ControlError(f"'to' is {text!r}, expected an ISO instant") from error
    if instant.tzinfo is None:
        raise ControlError(f"'to' is {text!r}, without a zone; write 2019-01-03T15:00:00+00:00")
    return instant
