"""A wire between a client and a gateway on which messages get lost, doubled and made up.

It stands between the real parts: frames pass in both directions, those of the gateway by way of a
function of the test.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Sequence

Message = list[str]
Meddle = Callable[["Proxy", Message], Sequence[Message]]
"""What the client gets for one message of the gateway: itself, nothing, or others."""

OPEN_ORDER, STATUS, EXECUTION, COMMISSION, ERROR, TIME = "5", "3", "11", "59", "4", "49"


def error(code: int, request_id: object = -1) -> Message:
    return [ERROR, "2", str(request_id), str(code), "made up", ""]


class Proxy:
    """Listens at `port` until the end of the `with` block.

    after_order: called with the number of placeOrder messages once one was passed on.
    """

    def __init__(
        self,
        target: int,
        meddle: Meddle = lambda _, message: [message],
        after_order: Callable[[Proxy, int], None] = lambda _, __: None,
    ) -> None:
        self._target = target
        self._meddle = meddle
        self._after_order = after_order
        self._sockets: list[socket.socket] = []
        self.orders = 0
        self.state: dict[str, int] = {}

    def __enter__(self) -> Proxy:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """End all connections at once."""
        for end in self._sockets:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                gateway = socket.create_connection(("127.0.0.1", self._target))
                for end in (client, gateway):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._sockets += [client, gateway]
                for work in (self._to_gateway, self._to_client):
                    threading.Thread(target=work, args=(client, gateway), daemon=True).start()

    def _to_gateway(self, client: socket.socket, gateway: socket.socket) -> None:
        with contextlib.suppress(OSError), client, gateway:
            stream = client.makefile("rb")
            gateway.sendall(stream.read(4))
            while message := _read(stream):
                gateway.sendall(_frame(message))
                if message[0] == "3":
                    self.orders += 1
                    self._after_order(self, self.orders)

    def _to_client(self, client: socket.socket, gateway: socket.socket) -> None:
        with contextlib.suppress(OSError), client, gateway:
            stream = gateway.makefile("rb")
            client.sendall(_frame(_read(stream)))
            while message := _read(stream):
                for said in self._meddle(self, message):
                    client.sendall(_frame(said))


def _read(stream: object) -> Message:
    head = stream.read(4)  # type: ignore[attr-defined]
    if len(head) < 4:
        return []
    body = stream.read(struct.unpack(">I", head)[0])  # type: ignore[attr-defined]
    fields: Message = body.decode().split("\0")
    # The handshake of a client ends without a zero byte, all else with one.
    return fields[:-1] if body.endswith(b"\0") else [*fields[:-1], fields[-1] + "\1"]


def _frame(message: Message) -> bytes:
    body = "\0".join(message).encode()
    body = body[:-1] if body.endswith(b"\1") else body + b"\0"
    return struct.pack(">I", len(body)) + body
