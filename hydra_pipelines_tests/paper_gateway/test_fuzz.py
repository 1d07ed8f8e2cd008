"""Messages gone wrong in every way: the gateway answers or refuses, and its books stay right.

FUZZ_MESSAGES=10000 sends so many over the socket instead of the few of every run.
"""

from __future__ import annotations

import os
import random
import socket
import struct
from datetime import date, timedelta
from pathlib import Path

import pytest
from ib_insync import LimitOrder, Stock

from hydra_pipelines.paper_gateway.conversation import Conversation
from hydra_pipelines.paper_gateway.replies import Message
from hydra_pipelines.paper_gateway.wire import frame
from hydra_pipelines.sessions import Calendar
from hydra_pipelines_tests.paper_gateway.served import SYMBOLS, Served, connect, make_venue
from hydra_pipelines_tests.paper_gateway.test_venue import check_books
from hydra_pipelines_tests.paper_gateway.test_wire import sent

JUNK = (
    "", "0", "-1", "1", "99999999999999", "nan", "NaN", "Infinity", "-inf", "1e999999999",
    "1E-999999999", "x", "é", "٣", "1.7976931348623157e308", "BUY", "2147483647", "-2147483648",
    "0.00001", "1_0", "20190103 10:00:00 X/../Y", "20190103-10:00:00", "00010101-00:00:00",
    "0" * 5000, "9" * 30, "9 D", "10000 Y", "5000 M", "9" * 30 + " D",
)  # fmt: skip
STOCK = ["0", "ALFA", "STK", "", "0.0", "", "", "SMART", "", "USD", "", ""]
REQUESTS = (
    ["1", "11", "5", *STOCK, "0", "", "0", "0", ""],
    ["2", "2", "5"],
    ["4", "1", "3", ""],
    ["5", "1"],
    ["6", "2", "1", "DU0000001"],
    ["7", "3", "9", "0", "", "", "", "", "", ""],
    ["9", "8", "4", *STOCK, "0", "", "", ""],
    ["16", "1"],
    ["20", "6", *STOCK, "0", "", "1 day", "5 D", "1", "TRADES", "1", "0", ""],
    ["20", "6", *STOCK, "0", "20190103-10:00:00", "1 day", "5 D", "1", "TRADES", "1", "0", ""],
    ["49", "1"],
    ["58", "1"],
    ["61", "1"],
    ["62", "1", "9", "All", "NetLiquidation,$LEDGER:ALL"],
    ["76", "1", "8", "DU0000001", "", "0"],
    ["91", "26"],
    ["99", "0"],
)


MESSAGES = int(os.environ.get("FUZZ_MESSAGES", "2000"))
A_BATCH = 100


def mangled(rng: random.Random, fields: list[str]) -> list[str]:
    for _ in range(rng.choice([0, 1, 1, 2, 5])):
        at = rng.randrange(len(fields))
        match rng.randrange(6):
            case 0:
                fields = fields[:at]
            case 1:
                fields.insert(at, rng.choice(JUNK))
            case _:
                fields[at] = rng.choice(JUNK)
        fields = fields or [""]
    return fields


@pytest.mark.parametrize("seed", range(3))
def test_no_message_breaks_the_gateway(calendar: Calendar, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    venue = make_venue(calendar, tmp_path / "venue.sqlite")
    venue.advance(calendar.open(date(2019, 1, 3)))
    said: list[Message] = []
    client = Conversation(venue, 1, 176, said.append)
    for order_id in range(1, 1200):
        if rng.random() < 0.5:
            stock = Stock(rng.choice(SYMBOLS), "SMART", "USD")
            limit = rng.choice([0.4, 50.0, 300.0])
            order = LimitOrder(rng.choice(["BUY", "SELL"]), rng.randint(1, 300), limit, tif="DAY")
            fields = sent(176, stock, order)
            fields[1] = str(order_id)
        else:
            fields = list(rng.choice(REQUESTS))
        for report in client.receive(mangled(rng, fields)):
            client.tell(report)
        client.subscriptions.refresh()
    assert all(frame(message) for message in said)
    assert venue.truth()["executions"]
    check_books(venue, {order["perm_id"] for order in venue.truth()["orders"]})


def random_message(rng: random.Random, order_id: int, version: int) -> bytes:
    """A client's message with a few fields, and perhaps a few bytes, gone wrong."""
    if rng.random() < 0.5:
        stock = Stock(rng.choice(SYMBOLS), "SMART", "USD")
        order = LimitOrder(rng.choice(["BUY", "SELL"]), rng.randint(1, 300), 300.0, tif="DAY")
        fields = sent(version, stock, order)
        fields[1] = str(order_id)
    else:
        fields = list(rng.choice(REQUESTS))
    data = bytearray(frame(mangled(rng, fields)))
    for _ in range(rng.choice([0, 0, 0, 1, 3])):
        at = rng.randrange(len(data)) if data else 0
        match rng.randrange(3) if data else 1:
            case 0:
                data[at] = rng.randrange(256)
            case 1:
                data.insert(at, rng.randrange(256))
            case _:
                del data[at:]
    return bytes(data) or b"\0"


class RawClient:
    """A socket that shakes hands and then says whatever it is given."""

    def __init__(self, served: Served, client_id: int, version: int) -> None:
        at = served.endpoint
        self.socket = socket.create_connection((at.host, at.port), timeout=5)
        greeting = f"v{version}..{version}".encode()
        self.socket.sendall(b"API\0" + struct.pack(">I", len(greeting)) + greeting)
        self.socket.sendall(frame([71, 2, client_id, ""]))

    def say(self, data: bytes) -> bool:
        """Whether the other end was still there."""
        try:
            self.socket.sendall(data)
            self._hear()
        except OSError:
            return False
        return True

    def _hear(self) -> None:
        self.socket.setblocking(False)
        try:
            while self.socket.recv(1 << 16):
                pass
            raise ConnectionResetError
        except BlockingIOError:
            self.socket.settimeout(5)


@pytest.mark.parametrize("version", [157, 176])
def test_no_bytes_on_the_socket_break_the_gateway(
    served: Served, calendar: Calendar, version: int
) -> None:
    rng = random.Random(version)
    served.advance(calendar.open(date(2019, 1, 3)))
    raw = RawClient(served, 40, version)
    client_id, dropped = 40, 0
    for number in range(1, MESSAGES // 2 + 1):
        heard = raw.say(random_message(rng, number, version))
        # A length gone wrong may make it wait for more for ever, so begin anew now and then.
        if not heard or rng.random() < 0.1:
            raw.socket.close()
            dropped += 1
            client_id += 1
            raw = RawClient(served, client_id, version)
        if number % A_BATCH == 0:
            served.advance(served.venue.now + timedelta(minutes=1))
            assert served.control.status()["open"]
    raw.socket.close()
    ib = connect(served.endpoint, 7)
    assert ib.reqCurrentTime() == served.venue.now
    ib.disconnect()
    truth = served.control.truth()
    assert truth["executions"] and dropped
    assert served.control.messages()["count"] > MESSAGES // 40
