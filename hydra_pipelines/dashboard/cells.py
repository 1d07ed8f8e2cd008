"""Values as people read them, and tables made of them. Pure; templates only lay them out.

Numbers have their unit in the heading, a sign where it matters, and no more digits than mean
something. A tone is a colour and never says anything alone: the word or the sign says it too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal
from urllib.parse import quote, urlencode

Kind = Literal["text", "num", "time", "badge", "code", "svg"]
Tone = Literal["", "good", "bad", "warn", "quiet"]
LONGEST = 400
"""Characters of a text that a page shows; of a longer one it says how long it is."""
NOTHING = "–"
_MINUS = "−"
_BIDI = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_UNSEEN = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f{_BIDI}\u2028\u2029\ufeff\ud800-\udfff]")


def shown(value: Any) -> Any:
    """A text without what would hide or turn round other text; anything else as it is."""
    if type(value) is not str:
        return value
    text = _UNSEEN.sub(lambda found: f"\\u{ord(found.group()):04x}", value)
    if len(text) > LONGEST:
        return f"{text[:LONGEST]}… ({len(value):,} characters)"
    return text


@dataclass(frozen=True)
class Cell:
    """note: a second, quiet line. hint: what a pointer shows. at: the instant of a `time`
    cell, the picture of an `svg` cell."""

    text: str
    kind: Kind = "text"
    href: str = ""
    tone: Tone = ""
    note: str = ""
    hint: str = ""
    at: str = ""


@dataclass(frozen=True)
class Column:
    label: str
    unit: str = ""
    num: bool = False


@dataclass(frozen=True)
class Table:
    """name: of the table for people who can't see it, and the id of its element. empty: what to
    say, and what to do next, where there are no rows."""

    id: str
    name: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    empty: str
    total: Sequence[Cell] = field(default=())


def text(value: Any, href: str = "", *, note: str = "", hint: str = "", tone: Tone = "") -> Cell:
    return Cell(NOTHING if value in (None, "") else str(value), "text", href, tone, note, hint)


def code(value: Any, href: str = "") -> Cell:
    return Cell(NOTHING if value in (None, "") else str(value), "code", href)


def badge(word: Any, tone: Tone = "", href: str = "", hint: str = "") -> Cell:
    return Cell(NOTHING if word in (None, "") else str(word), "badge", href, tone, "", hint)


def side(value: str) -> Cell:
    """BUY green, SELL red, and in words."""
    return badge(value, "good" if value == "BUY" else "bad")


def number(value: Any, digits: int = 2, *, signed: bool = False, toned: bool = False) -> Cell:
    """signed: with + and −. toned: above 0 good, below it bad."""
    plain = figure(value, digits, signed=signed)
    tone: Tone = ""
    if toned and plain != NOTHING and float(value) != 0:
        tone = "good" if float(value) > 0 else "bad"
    return Cell(plain, "num", tone=tone)


def usd(value: Any, *, signed: bool = False) -> Cell:
    return number(value, 2, signed=signed, toned=signed)


def percent(value: Any, digits: int = 2, *, signed: bool = False) -> Cell:
    """A share as percent, without the sign: the heading has it."""
    given = None if value is None else float(value) * 100
    return number(given, digits, signed=signed, toned=signed)


def when(value: Any) -> Cell:
    """An instant: in UTC here, in the reader's zone once the page has run."""
    if value is None:
        return Cell(NOTHING)
    at = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return Cell(utc(at), "time", at=stamp(at))


def day(value: Any, href: str = "") -> Cell:
    """A session: a date, in no zone."""
    return text(value.isoformat() if isinstance(value, date) else value, href)


def figure(value: Any, digits: int = 2, *, signed: bool = False) -> str:
    """A number for people; a dash where there is none."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    exact = value if isinstance(value, int | Decimal) else float(value)
    out = f"{exact:{'+' if signed else ''},.{digits}f}"
    if not any(character in "123456789" for character in out):
        # Neither −0.00 nor +0.00.
        out = out.lstrip("+-")
    return out.replace("-", _MINUS)


def stamp(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")


def utc(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def duration(seconds: float | None) -> str:
    """A length of time in the two largest units that it has."""
    if seconds is None:
        return NOTHING
    seconds = max(0.0, seconds)
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, name, below, lower in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size} {name}" + (f" {rest} {lower}" if rest else "")
    return f"{whole} s"


def size(count: int | None) -> str:
    """Bytes for people."""
    if count is None:
        return NOTHING
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def words(name: Any) -> str:
    """`order_state_changed` as words."""
    return str(name).replace("_", " ")


def where(path: str, *parts: Any, **query: Any) -> str:
    """A link: parts are quoted path segments, query values that are None are left out."""
    tail = "".join(f"/{quote(str(part), safe='')}" for part in parts)
    asked = urlencode({key: str(value) for key, value in query.items() if value is not None})
    return f"{path}{tail}" + (f"?{asked}" if asked else "")


def cut(items: Iterable[Any], most: int) -> str:
    """The first items with commas between, and how many more there are."""
    all_of_them = [str(item) for item in items]
    more = len(all_of_them) - most
    return ", ".join(all_of_them[:most]) + (f" and {more} more" if more > 0 else "")
