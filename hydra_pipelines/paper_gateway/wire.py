"""The TWS socket format: length-prefixed frames of zero-terminated text fields.

Framing, reading typed fields and writing values belong here. What a message means does not.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

MIN_VERSION = 157
MAX_VERSION = 176
LAST_WITHOUT_ZONE = 175
"""The newest version that writes times of executions without their zone."""

ACCOUNT_ZONE = "America/New_York"
UNSET = "1.7976931348623157E308"
"""How the TWS API writes a float that has no value."""

MAX_FRAME = 0xFFFFFF
_UNSET_TEXTS = {"", "2147483647", "9223372036854775807"}
_ZONE = ZoneInfo(ACCOUNT_ZONE)
_INTEGER = re.compile(r"-?[0-9]{1,10}")


class ProtocolError(ValueError):
    """Bytes or fields that are not what the protocol says."""


class FrameReader:
    """Cuts a byte stream into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Whole payloads, in order; raises ProtocolError for a length no message can have."""
        self._buffer += data
        while len(self._buffer) >= 4:
            (length,) = struct.unpack_from(">I", self._buffer)
            if not 0 < length <= MAX_FRAME:
                raise ProtocolError(f"a message of {length} bytes")
            if len(self._buffer) < 4 + length:
                return
            payload = bytes(self._buffer[4 : 4 + length])
            del self._buffer[: 4 + length]
            yield payload


class Fields:
    """The fields of one message, read in order. Anything unexpected raises ProtocolError."""

    def __init__(self, values: Sequence[str]) -> None:
        self._values = values
        self._at = 0

    def text(self) -> str:
        if self._at >= len(self._values):
            raise ProtocolError(f"the message ends after {len(self._values)} fields")
        self._at += 1
        return self._values[self._at - 1]

    def texts(self, names: Sequence[str]) -> dict[str, str]:
        return {name: self.text() for name in names}

    def integer(self) -> int:
        """A whole number; an empty field is 0."""
        value = self.text()
        number = parse_integer(value or "0")
        if number is None:
            raise ProtocolError(f"field {self._at} is {value!r}, expected an integer")
        return number

    def count(self) -> int:
        """The length of a repeating group that follows."""
        value = self.integer()
        if not 0 <= value <= len(self._values) - self._at:
            raise ProtocolError(f"field {self._at} announces {value} entries")
        return value

    def flag(self) -> bool:
        value = self.text()
        if value.lower() not in ("", "0", "1", "true", "false"):
            raise ProtocolError(f"field {self._at} is {value!r}, expected 0 or 1")
        return value.lower() in ("1", "true")

    def finish(self) -> None:
        """To be called when all is read: fields left over mean a walk that went wrong."""
        if self._at != len(self._values):
            raise ProtocolError(
                f"the message has {len(self._values)} fields, expected {self._at} at this version"
            )


def parse_integer(text: str) -> int | None:
    """An integer of at most 32 bits, as the API has them; None for anything else."""
    if not _INTEGER.fullmatch(text):
        return None
    number = int(text)
    return number if -(2**31) <= number < 2**31 else None


def is_unset(value: str) -> bool:
    """Whether a numeric field carries no value, in any of the spellings clients use."""
    return value in _UNSET_TEXTS or value.upper().startswith("1.797693134862315")


def decode(payload: bytes) -> list[str]:
    """The fields of a payload."""
    if not payload.endswith(b"\0"):
        raise ProtocolError("the message does not end with a zero byte")
    return payload[:-1].decode(errors="backslashreplace").split("\0")


def frame(fields: Sequence[object]) -> bytes:
    """One message, ready for the socket."""
    body = "".join(f"{_written(value)}\0" for value in fields).encode()
    return struct.pack(">I", len(body)) + body


def whole_number(text: str) -> int | None:
    """A quantity such as `100` or `100.0`; None unless it is whole and within 32 bits."""
    try:
        value = Decimal(text)
        if not value.is_finite() or abs(value) >= 2**31 or value != value.to_integral_value():
            return None
    except ArithmeticError:
        return None
    return int(value)


def execution_time(instant: datetime, version: int) -> str:
    """A time in the account's zone, which only newer versions name."""
    local = instant.astimezone(_ZONE)
    if version <= LAST_WITHOUT_ZONE:
        return local.strftime("%Y%m%d  %H:%M:%S")
    return f"{local:%Y%m%d %H:%M:%S} {ACCOUNT_ZONE}"


def parse_time(text: str) -> datetime:
    """A request's time: `yyyymmdd hh:mm:ss zone`, without zone the account's, with `-` UTC.

    Raises ProtocolError for anything else.
    """
    stamp, _, rest = text.strip().replace("  ", " ").partition(" ")
    try:
        if "-" in stamp:
            instant = datetime.strptime(stamp, "%Y%m%d-%H:%M:%S").replace(tzinfo=UTC)
        else:
            clock, _, zone = rest.partition(" ")
            instant = datetime.strptime(f"{stamp} {clock or '00:00:00'}", "%Y%m%d %H:%M:%S")
            instant = instant.replace(tzinfo=ZoneInfo(zone) if zone else _ZONE)
        if not 1970 <= instant.year <= 9000:
            raise ValueError(f"the year {instant.year}")
        return instant
    except (ValueError, KeyError, OSError) as error:
        raise ProtocolError(f"{text!r} is no time; write yyyymmdd hh:mm:ss zone") from error


def _written(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "1" if value else "0"
    return str(value).replace("\0", "")
