"""Streams of server-sent events: what changed, told to every page that listens.

An event tells the state, not a step: whoever was away and names the last event it saw gets the
state as it is now, or nothing where that is the same. So a stream goes on over a restart of the
server. The stores are looked at only while somebody listens, once for all who do.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
from collections.abc import AsyncIterator, Callable, Hashable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

_log = logging.getLogger(__name__)
LISTENERS = 200
"""Streams of one channel at a time."""


@dataclass(frozen=True)
class Told:
    """The state of a channel as it was told. id: the same for the same state, on any server."""

    id: str
    data: str


class Channel:
    """One kind of event.

    state: changes when there may be news; cheap. payload: the news; may take its time, in a thread.
    """

    def __init__(
        self,
        event: str,
        state: Callable[[], Hashable],
        payload: Callable[[], dict[str, Any]],
        *,
        look_s: float,
        heartbeat_s: float,
    ):
        self._event = event
        self._state = state
        self._payload = payload
        self._look_s = look_s
        self._heartbeat_s = heartbeat_s
        self._listeners = 0
        self._told: Told | None = None
        self._news = asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None

    @property
    def full(self) -> bool:
        return self._listeners >= LISTENERS

    def present(self) -> str:
        """The id of the state as it is now, for who shows it already; takes its time."""
        return _told(self._payload()).id

    async def listen(self, last_id: str, stopping: asyncio.Event) -> AsyncIterator[bytes]:
        """Events as they go over the wire, until the server stops. last_id: "" for none."""
        self._listeners += 1
        if self._watcher is None or self._watcher.done():
            self._watcher = asyncio.create_task(self._watch(stopping))
        known = last_id
        try:
            yield b"retry: 2000\n\n"
            while not stopping.is_set():
                news = self._news
                if self._told is not None and self._told.id != known:
                    known = self._told.id
                    yield _wire(self._event, self._told.data, known)
                    continue
                if not await _first_of(news, stopping, within=self._heartbeat_s):
                    yield _wire("heartbeat", json.dumps({"time": _now()}))
        finally:
            self._listeners -= 1

    async def _watch(self, stopping: asyncio.Event) -> None:
        seen: Hashable = object()
        while self._listeners and not stopping.is_set():
            state = self._state()
            if state != seen:
                try:
                    told = _told(await asyncio.to_thread(self._payload))
                except Exception:
                    _log.exception("the stream %s could not look", self._event)
                else:
                    seen = state
                    if self._told is None or told.id != self._told.id:
                        self._told = told
                        news, self._news = self._news, asyncio.Event()
                        news.set()
            await _first_of(stopping, within=self._look_s)


async def _first_of(*events: asyncio.Event, within: float) -> bool:
    """Whether any of them was set in time."""
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        done, _ = await asyncio.wait(waiting, timeout=within, return_when=asyncio.FIRST_COMPLETED)
        return bool(done)
    finally:
        for one in waiting:
            one.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*waiting, return_exceptions=True)


def _told(payload: dict[str, Any]) -> Told:
    plain = json.dumps(payload, default=_plain, sort_keys=True)
    number = hashlib.sha256(plain.encode()).hexdigest()[:16]
    return Told(number, json.dumps({**payload, "time": _now()}, default=_plain))


def _wire(event: str, data: str, number: str = "") -> bytes:
    head = f"id: {number}\n" if number else ""
    return f"{head}event: {event}\ndata: {data}\n\n".encode()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, date | datetime):
        return value.isoformat()
    return str(value)
