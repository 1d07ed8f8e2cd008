"""The TWS socket server: connections, handshake, client ids, and who hears what.

All bytes of clients come in by `Connection.data_received`, all messages go out by
`Connection.send`. The meaning of requests is in `conversation`, that of orders in `venue`.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from hydra_pipelines.paper_gateway import replies
from hydra_pipelines.paper_gateway.book import Executed, Report
from hydra_pipelines.paper_gateway.conversation import Conversation
from hydra_pipelines.paper_gateway.faults import Faults
from hydra_pipelines.paper_gateway.misconduct import (
    DATA_LOST,
    ORDER_REQUESTS,
    OUTAGE,
    READ_ONLY,
    READ_ONLY_TEXT,
    Misconduct,
)
from hydra_pipelines.paper_gateway.venue import Venue
from hydra_pipelines.paper_gateway.wire import (
    MAX_VERSION,
    MIN_VERSION,
    FrameReader,
    ProtocolError,
    decode,
    execution_time,
    frame,
    parse_integer,
)

log = logging.getLogger(__name__)

_GREETING = b"API\0"
_START_API = "71"
_PLACE_ORDER = "3"
_MAX_UNREAD = 64 * 1024 * 1024
"""A client that leaves more than this unread is dropped, as a gateway drops slow readers."""


class Gateway:
    """One venue, and the clients connected to it."""

    def __init__(self, venue: Venue, on_failure: Callable[[], None]) -> None:
        """on_failure: called when the venue could not commit; nothing after that can be trusted,
        so the process should end and start again from its file."""
        self.venue = venue
        self.connections: set[Connection] = set()
        self.clients: dict[int, Connection] = {}
        self._on_failure = on_failure
        self._advancing = asyncio.Lock()
        self.misconduct = Misconduct(venue.faults) if venue.faults else None

    def set_faults(self, faults: Faults) -> None:
        """From now on these faults, or none; what the ones before held back is told."""
        before = self.misconduct
        self.venue.faults = faults
        self.misconduct = Misconduct(faults) if faults else None
        if before:
            self._tell_late(before, at_once=True)
        self.flush()

    async def advance(self, to: datetime) -> None:
        """Moves the venue's clock; returns when all that caused is written to the clients.

        Written means handed to each client's connection in order, so that the answer to whatever
        a client asks afterwards comes after it. For an instant it can't go to it moves nothing
        and raises VenueError or NoPricesError.
        """
        async with self._advancing:
            await self._advance(to)

    async def reach(self, instant: datetime) -> None:
        """The same for an instant that may be past: then nothing moves."""
        async with self._advancing:
            if instant > self.venue.now:
                await self._advance(instant)

    async def _advance(self, to: datetime) -> None:
        for milestone in self.venue.milestones(to):
            self.publish(self.venue.advance(milestone))
            if self.misconduct:
                self._tell_late(self.misconduct)
            self.flush()
            await asyncio.sleep(0)
        self.refresh()
        self.flush()

    def publish(self, reports: Iterable[Report]) -> bool:
        """Tells each client what is for it; whether there was a fill among it."""
        reports = list(reports)
        self._tell(self.misconduct.told(reports) if self.misconduct else reports)
        return any(isinstance(report, Executed) for report in reports)

    def begin_outage(self, options: dict[str, Any]) -> None:
        assert self.misconduct is not None
        self.misconduct.begin_outage(self.venue.now, **options)
        self._announce(*OUTAGE)

    def _tell_late(self, misconduct: Misconduct, *, at_once: bool = False) -> None:
        """What was held back, and that an outage is over, if it is or at once."""
        end = misconduct.end_outage(self.venue.now, at_once=at_once)
        if end:
            self._announce(*end)
        if not misconduct.outage:
            self._tell(misconduct.release())

    def _announce(self, code: int, text: str) -> None:
        for connection in list(self.clients.values()):
            connection.announce(code, text)

    def _tell(self, reports: list[Report]) -> None:
        for report in reports:
            for connection in list(self.clients.values()):
                connection.tell(report)

    def refresh(self) -> None:
        if self.misconduct and self.misconduct.outage:
            return
        for connection in list(self.clients.values()):
            connection.refresh()

    def flush(self) -> None:
        for connection in list(self.connections):
            connection.flush()

    def fail(self) -> None:
        """Ends everything at once: what was not committed must not be told or built upon."""
        log.exception("the venue failed; stopping")
        self.close()
        self._on_failure()

    def close(self) -> None:
        for connection in list(self.connections):
            connection.drop()


class Connection(asyncio.Protocol):
    """One socket: the handshake, then startApi, then a conversation."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._transport: asyncio.Transport | None = None
        self._frames = FrameReader()
        self._unsent: list[bytes] = []
        self._greeting = b""
        self._version = 0
        self._conversation: Conversation | None = None
        self._mute = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._gateway.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._gateway.connections.discard(self)
        if self._conversation:
            if self._gateway.clients.get(self._conversation.client_id) is self:
                del self._gateway.clients[self._conversation.client_id]
            log.info("client %d left", self._conversation.client_id)

    def data_received(self, data: bytes) -> None:
        if self._mute:
            return
        try:
            data = self._after_greeting(data)
            filled = False
            for payload in self._frames.feed(data):
                filled = self._receive(payload) or filled
                if self._transport is None or self._transport.is_closing():
                    return
        except ProtocolError as error:
            log.warning("connection dropped: %s", error)
            self.drop()
        except Exception:
            self._gateway.fail()
        else:
            if filled:
                self._gateway.refresh()
            self._gateway.flush()

    def send(self, message: replies.Message) -> None:
        """The one way out to this client; `flush` puts it on the socket."""
        misconduct = self._gateway.misconduct
        if self._mute or (misconduct and not misconduct.lets_out(message)):
            return
        self._unsent.append(frame(message))

    def flush(self) -> None:
        if not self._unsent:
            return
        data = b"".join(self._unsent)
        self._unsent.clear()
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(data)
        if self._transport.get_write_buffer_size() > _MAX_UNREAD:
            log.warning("client dropped: it does not read what it is sent")
            self._transport.abort()

    def tell(self, report: Report) -> None:
        if self._conversation:
            self._conversation.tell(report)

    def announce(self, code: int, text: str) -> None:
        """A message about the gateway itself."""
        self.send(replies.error(-1, code, text, self._version))
        if code == DATA_LOST and self._conversation:
            self._conversation.subscriptions.lose_ticks()

    def refresh(self) -> None:
        if self._conversation:
            self._conversation.subscriptions.refresh()

    def drop(self) -> None:
        """Ends the connection once what was said has been sent."""
        self.flush()
        if self._transport:
            self._transport.close()

    def _after_greeting(self, data: bytes) -> bytes:
        """What follows the four bytes every connection begins with."""
        missing = len(_GREETING) - len(self._greeting)
        if missing:
            self._greeting += data[:missing]
            data = data[missing:]
            if not _GREETING.startswith(self._greeting):
                raise ProtocolError(f"a connection that begins with {self._greeting!r}")
        return data

    def _receive(self, payload: bytes) -> bool:
        if not self._version:
            self._agree_on_version(payload)
            return False
        values = decode(payload)
        if self._conversation is None:
            self._start_api(values)
            return False
        if self._gateway.misconduct:
            return self._receive_badly(self._conversation, values, self._gateway.misconduct)
        return self._gateway.publish(self._conversation.receive(values))

    def _receive_badly(
        self, conversation: Conversation, values: list[str], misconduct: Misconduct
    ) -> bool:
        """A message while there are faults: those that strike at requests."""
        strike = misconduct.faults.strike
        if values[0] in ORDER_REQUESTS and strike("read_only") is not None:
            placing = values[0] == _PLACE_ORDER and len(values) > 1
            about = parse_integer(values[1]) if placing else None
            self.send(
                replies.error(
                    -1 if about is None else about, READ_ONLY, READ_ONLY_TEXT, self._version
                )
            )
            return False
        if values[0] != _PLACE_ORDER or len(values) < 4:
            return self._gateway.publish(conversation.receive(values))
        order_id, symbol = parse_integer(values[1]) or 0, values[3]
        if strike("drop_before_place", symbol) is not None:
            self._abort()
            return False
        if strike("silent_order", symbol) is not None:
            misconduct.silence(conversation.client_id, order_id)
        reports = conversation.receive(values)
        if strike("drop_after_place", symbol) is not None:
            self._abort()
        if strike("silent_connection", symbol) is not None:
            self.flush()
            self._mute = True
        outage = strike("outage", symbol)
        if outage is not None:
            self._gateway.begin_outage(outage)
        elif strike("notice_10349", symbol) is not None:
            text = "Order TIF was set to DAY based on order preset."
            self.send(replies.error(order_id, 10349, text, self._version))
        return self._gateway.publish(reports)

    def _abort(self) -> None:
        """Ends the connection at once; what was not sent yet never will be."""
        self._mute = True
        self._unsent.clear()
        if self._transport:
            self._transport.abort()

    def _agree_on_version(self, payload: bytes) -> None:
        """Answers `v157..176`, perhaps followed by options, with the version to speak."""
        asked = re.fullmatch(rb"v(\d{1,6})(?:\.\.(\d{1,6}))?(?: .*)?\0?", payload, re.DOTALL)
        if asked is None:
            raise ProtocolError(f"a handshake of {payload[:40]!r}")
        lowest = int(asked[1])
        highest = int(asked[2] or asked[1])
        if lowest > MAX_VERSION or highest < MIN_VERSION:
            raise ProtocolError(
                f"a client of versions {lowest} to {highest}; here {MIN_VERSION} to {MAX_VERSION}"
            )
        self._version = min(MAX_VERSION, highest)
        if self._strikes("silent_greeting"):
            self._mute = True
        self.send((self._version, execution_time(self._gateway.venue.now, MAX_VERSION)))

    def _start_api(self, values: list[str]) -> None:
        if len(values) < 3 or values[0] != _START_API or not values[2].isdecimal():
            raise ProtocolError(f"a first message of {values[:3]}, expected startApi")
        client_id = int(values[2])
        if client_id in self._gateway.clients or self._strikes("client_id_in_use"):
            text = "Unable to connect as the client id is already in use. Retry with a unique one."
            self.send(replies.error(-1, 326, text, self._version))
            log.warning("client id %d is in use", client_id)
            self.drop()
            return
        if self._strikes("id_rollback"):
            self._gateway.venue.roll_back_ids()
        self._conversation = Conversation(self._gateway.venue, client_id, self._version, self.send)
        self._gateway.clients[client_id] = self
        log.info("client %d connected at version %d", client_id, self._version)
        self._conversation.greet()
        if self._gateway.misconduct and self._gateway.misconduct.outage:
            self.announce(*OUTAGE)

    def _strikes(self, fault: str) -> bool:
        misconduct = self._gateway.misconduct
        return misconduct is not None and misconduct.faults.strike(fault) is not None
