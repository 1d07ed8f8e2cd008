"""Is the gateway alive? A look that costs it next to nothing and takes no part of a conversation.

A greeting, the start of the API under a client id of its own, and what the gateway says by itself
then: no request, no order, no account. The full examination is `diagnose`.
"""

from __future__ import annotations

import socket
import struct
import time
from dataclasses import dataclass

PROBE_CLIENT_ID = 9_900
"""Added to the desk's client id, so that the probe never takes the place of a run."""
_LISTEN_S = 1.5
_VERSIONS = b"v157..176"
_START_API, _NEXT_VALID_ID, _ERROR = "71", "9", "4"
_SERVERS_LOST = {"1100": True, "2110": True, "1101": False, "1102": False}
"""What the gateway tells of its connection to IB's servers: True where it is gone."""
_SILENT = "the connection is accepted and never answered: log the gateway in"
_CLOSED = "the connection is closed at once: add this machine to the gateway's trusted IPs"


@dataclass(frozen=True)
class Pulse:
    """ok: an order could be sent now, as far as this can be told. detail: in a sentence."""

    ok: bool
    detail: str


def probe(host: str, port: int, client_id: int, timeout_s: float = 4.0) -> Pulse:
    """Ask a TWS socket for its greeting and listen to what it says next. Never raises."""
    began = time.monotonic()
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as link:
            link.sendall(b"API\0" + _framed(_VERSIONS))
            messages = _Messages(link, began + timeout_s)
            greeting = messages.next()
            if greeting is None:
                return Pulse(False, _CLOSED if messages.ended else _SILENT)
            link.sendall(
                _framed(f"{_START_API}\x002\x00{client_id + PROBE_CLIENT_ID}\x00\x00".encode())
            )
            return _listen(messages, greeting[0], began)
    except ConnectionRefusedError:
        return Pulse(False, f"nothing listens on {host}:{port}: the gateway does not run")
    except ConnectionError:
        return Pulse(False, _CLOSED)
    except (OSError, ValueError) as error:
        return Pulse(False, f"{host}:{port} can't be talked to: {error}")


def _listen(messages: _Messages, version: str, began: float) -> Pulse:
    """Whether the API starts, and whether the gateway says that IB's servers are gone."""
    started = False
    while (fields := messages.next()) is not None:
        if fields[0] == _NEXT_VALID_ID:
            started = True
            # What is the matter with the servers comes right behind it, or not at all.
            messages.deadline = min(messages.deadline, time.monotonic() + _LISTEN_S)
        elif fields[0] == _ERROR and len(fields) > 4:
            if _SERVERS_LOST.get(fields[3]):
                return Pulse(False, f"error {fields[3]}: {fields[4]}")
            if fields[3] in ("326", "502", "503", "504"):
                return Pulse(False, f"error {fields[3]}: {fields[4]}")
    if not started:
        return Pulse(False, "the API does not start: look at the gateway's screen")
    return Pulse(True, f"answers, server version {version}")


class _Messages:
    """Messages of a socket, one by one, until the deadline (monotonic seconds) or its end."""

    def __init__(self, link: socket.socket, deadline: float):
        self._link = link
        self.deadline = deadline
        self.ended = False
        """Whether the other side has closed the connection."""

    def next(self) -> list[str] | None:
        header = self._take(4)
        if header is None:
            return None
        (length,) = struct.unpack(">I", header)
        if not 0 < length < 0x100000:
            raise ValueError("it does not speak the TWS protocol")
        payload = self._take(length)
        return None if payload is None else payload.decode(errors="replace").split("\0")

    def _take(self, count: int) -> bytes | None:
        out = b""
        while len(out) < count:
            left = self.deadline - time.monotonic()
            if left <= 0:
                return None
            self._link.settimeout(left)
            try:
                part = self._link.recv(count - len(out))
            except TimeoutError:
                return None
            if not part:
                self.ended = True
                return None
            out += part
        return out


def _framed(payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + payload
