"""The control port's other end: a small synchronous client, and a clock made of it.

For whoever drives or checks a gateway from outside; trading goes over the TWS port alone.
"""

from __future__ import annotations

import json
import os
import socket
from datetime import UTC, datetime
from typing import Any

from hydra_pipelines.paper_gateway.process import Endpoint
from hydra_pipelines.sessions import ClockError


class GatewayControlError(ClockError):
    """The gateway can't be reached, or refused; the text says why."""


class GatewayControl:
    """Control requests to one gateway, each over a connection of its own."""

    def __init__(self, endpoint: Endpoint, timeout: float = 60.0) -> None:
        """timeout: seconds without any answer before a request fails."""
        self._endpoint = endpoint
        self._timeout = timeout

    def status(self) -> dict[str, Any]:
        return self._call(op="status")

    def time(self) -> dict[str, Any]:
        """The part of `status` that a clock is made of."""
        return self._call(op="status", brief=True)

    def advance(self, to: datetime) -> dict[str, Any]:
        """Moves the venue's clock; the status after it."""
        return self._call(op="advance", to=to.isoformat())

    def reach(self, instant: datetime) -> None:
        """Moves the venue's clock, unless it is there or later already."""
        self._call(op="reach", to=instant.isoformat())

    def truth(self) -> dict[str, Any]:
        return self._call(op="truth")

    def balance(self) -> dict[str, Any]:
        """The part of `truth` that does not grow: cash and positions with their marks."""
        return self._call(op="balance")

    def pay(self, usd: str) -> dict[str, Any]:
        """Money into the account (above 0) or out of it, as its owner moves it; the balance."""
        return self._call(op="pay", usd=usd)

    def move_shares(self, symbol: str, shares: int) -> dict[str, Any]:
        """Shares into the account (above 0) or out of it, without a trade; the balance."""
        return self._call(op="move", symbol=symbol, shares=shares)

    def trade(self, action: str, symbol: str, shares: int) -> dict[str, Any]:
        """A trade that its owner makes by hand, at the last price; the balance."""
        return self._call(op="trade", action=action, symbol=symbol, shares=shares)

    def messages(self, since: int = 0) -> dict[str, Any]:
        """`count` of order requests received ever, and those after serial number `since`."""
        return self._call(op="messages", since=since)

    def set_faults(self, script: Any) -> dict[str, Any]:
        """From now on the faults of a script (see `faults`), and no others; [] for none."""
        return self._call(op="faults", script=script)

    def faults(self) -> dict[str, Any]:
        """`rules` of the script at work, and how often each fault `struck`."""
        return self._call(op="faults")

    def shutdown(self) -> None:
        self._call(op="shutdown")

    def _call(self, **request: Any) -> dict[str, Any]:
        line = json.dumps({"token": self._endpoint.token, **request}) + "\n"
        address = _address(self._endpoint)
        try:
            with socket.create_connection(address, timeout=self._timeout) as connection:
                connection.sendall(line.encode())
                with connection.makefile("rb") as stream:
                    answered = stream.readline()
        except OSError as error:
            raise _no_answer(self._endpoint, error) from error
        return _good(answered, self._endpoint)


class _OpenControl(GatewayControl):
    """The same over one connection, for who asks often. Only for questions and for requests that
    may be repeated: one whose connection has ended is made again over a new one."""

    _stream: tuple[int, socket.socket, Any] | None = None

    def _call(self, **request: Any) -> dict[str, Any]:
        line = (json.dumps({"token": self._endpoint.token, **request}) + "\n").encode()
        answered = b""
        # A child process that was forked must not read its parent's answers.
        if self._stream and self._stream[0] == os.getpid():
            try:
                self._stream[1].sendall(line)
                answered = self._stream[2].readline()
            except OSError:
                pass
        if not answered:
            return self._anew(line)
        return _good(answered, self._endpoint)

    def _anew(self, line: bytes) -> dict[str, Any]:
        self._stream = None
        try:
            connection = socket.create_connection(_address(self._endpoint), timeout=self._timeout)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            stream = connection.makefile("rb")
            connection.sendall(line)
            answered = stream.readline()
        except OSError as error:
            raise _no_answer(self._endpoint, error) from error
        self._stream = os.getpid(), connection, stream
        return _good(answered, self._endpoint)


class VenueClock:
    """The venue's time as a desk clock: waiting is what moves it."""

    moves_by_waiting = True

    def __init__(self, endpoint: Endpoint) -> None:
        self._control = _OpenControl(endpoint)

    def now(self) -> datetime:
        return _now(self._control.time())

    def wait_until(self, instant: datetime) -> None:
        self._control.reach(instant)


def _address(endpoint: Endpoint) -> tuple[str, int]:
    return "127.0.0.1", endpoint.control_port


def _good(answered: bytes, endpoint: Endpoint) -> dict[str, Any]:
    """An answer that is no error; raises GatewayControlError for any other."""
    try:
        answer: dict[str, Any] = json.loads(answered)
    except ValueError as error:
        raise _no_answer(endpoint, error) from error
    if "error" in answer:
        raise GatewayControlError(f"the paper gateway refused: {answer['error']}")
    return answer


def _no_answer(endpoint: Endpoint, error: Exception) -> GatewayControlError:
    host, port = _address(endpoint)
    return GatewayControlError(
        f"the paper gateway's control port {host}:{port} does not answer ({error}); is it running?"
    )


def _now(status: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(status["now"]).astimezone(UTC)
