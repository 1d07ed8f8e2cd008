"""Telling a person what can't wait: one function over `apprise`, which knows a hundred services.

Every alert is kept in the table `alerts` of the control store's file, sent or not. The same alert
is sent once within a window, and all together only so many an hour. Telling never fails a run and
never holds one up for long: what goes wrong with a channel is written beside the alert.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from hydra_pipelines.kept import connected

if TYPE_CHECKING:
    from hydra_pipelines.settings import AlertSettings

_TABLE = """
CREATE TABLE IF NOT EXISTS alerts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL, title TEXT NOT NULL,
    text TEXT NOT NULL, outcome TEXT NOT NULL, detail TEXT NOT NULL, repeats INTEGER NOT NULL
)
"""
_TIMEOUT_S = 2.0
CHANNEL_S = 10.0
"""How long a channel may take before it counts as failed and the run goes on."""
_ABANDONED_S = 120.0
"""An alert that is still being sent after so long belongs to a process that died."""

_log = logging.getLogger(__name__)


class AlertKind(StrEnum):
    JOB_FAILURE = "job_failure"
    DRIFT = "drift"
    ORDER_ERRORS = "order_errors"
    BREAKER = "breaker"
    UNKNOWN_ORDERS = "unknown_orders"
    BROKER_DOWN = "broker_down"
    SCHEDULE_MISSED = "schedule_missed"
    STALE_DATA = "stale_data"
    PROMOTION = "promotion"
    ROLLBACK = "rollback"
    COMPONENT_DOWN = "component_down"
    TEST = "test"


class Outcome(StrEnum):
    """What became of an alert; FAILED says that no channel took it for certain."""

    SENT = "sent"
    PARTLY = "partly"
    FAILED = "failed"
    RECORDED = "recorded"
    HELD_BACK = "held_back"
    SENDING = "sending"
    REPEATED = "repeated"
    LOST = "lost"


_REACHED = (Outcome.SENT, Outcome.PARTLY, Outcome.RECORDED)
_ATTEMPTED = (Outcome.SENT, Outcome.PARTLY, Outcome.FAILED, Outcome.SENDING)

Tell = Callable[[AlertKind, str, str, str], object]
"""(kind, key, title, text): how rooms that have something to tell are given `Alerts.send`."""


def silent(kind: AlertKind, key: str, title: str, text: str) -> None:
    """Tells nobody."""


@dataclass(frozen=True)
class Alert:
    """An alert as it was kept. repeats: how often it came again and was not sent again."""

    at: datetime
    kind: str
    key: str
    title: str
    text: str
    outcome: Outcome
    detail: str
    repeats: int


@dataclass(frozen=True)
class ChannelResult:
    """channel: the service's name and its number in the settings; never its URL, a secret."""

    channel: str
    ok: bool
    detail: str


class Alerts:
    """The alerts of one desk. path: of the control store's file."""

    def __init__(
        self,
        settings: AlertSettings,
        path: Path,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ):
        self._settings = settings
        self._path = path
        self._now = now

    @property
    def channels(self) -> int:
        return len(self._settings.urls)

    def send(self, kind: AlertKind, key: str, title: str, text: str) -> Outcome:
        """Tell a person, once. Never raises.

        key: what makes two alerts of a kind the same one. Without any channel it is kept only.
        HELD_BACK where the hour has had its share; LOST where it could not even be kept, and then
        it is sent all the same, since twice is better than never.
        """
        try:
            number, outcome, missed = self._claim(kind, key, title, text)
        except (sqlite3.Error, OSError) as error:
            _log.warning("alert %s could not be kept: %s", title, error)
            self._deliver(title, text)
            return Outcome.LOST
        if outcome is not Outcome.SENDING:
            return outcome
        if missed:
            text += f"\n({missed} alerts before this one were held back: `hydra risk` shows them.)"
        results = self._deliver(title, text)
        outcome = _summed_up(results)
        detail = "; ".join(f"{r.channel}: {r.detail}" for r in results if not r.ok)
        if detail:
            _log.warning("alert %s: %s", title, detail)
        with contextlib.suppress(sqlite3.Error, OSError), self._connect() as connection:
            connection.execute(
                "UPDATE alerts SET outcome = ?, detail = ? WHERE id = ?", (outcome, detail, number)
            )
        return outcome

    def test(self) -> tuple[ChannelResult, ...]:
        """Send a test over every channel, whatever was sent before. Never raises."""
        results = self._deliver("hydra: a test", "This is what an alert of the desk looks like.")
        outcome = _summed_up(results) if results else Outcome.RECORDED
        detail = "; ".join(f"{r.channel}: {r.detail}" for r in results if not r.ok)
        with contextlib.suppress(sqlite3.Error, OSError), self._connect() as connection:
            _insert(connection, self._now(), AlertKind.TEST, "test", "a test", "", outcome, detail)
        return results

    def told(self, kind: AlertKind, key: str) -> bool:
        """Whether a person was told of this before, however long ago; one held back counts."""
        if not self._path.exists():
            return False
        with self._connect() as connection:
            found = connection.execute(
                "SELECT 1 FROM alerts WHERE kind = ? AND key = ? "
                f"AND outcome IN {_in((*_REACHED, Outcome.SENDING, Outcome.HELD_BACK))} LIMIT 1",
                (kind, key),
            ).fetchone()
        return found is not None

    def recent(self, limit: int = 10) -> tuple[Alert, ...]:
        """The latest alerts first; empty where none was ever kept."""
        if not self._path.exists():
            return ()
        with self._connect() as connection:
            rows = connection.execute(
                "SELECT at, kind, key, title, text, outcome, detail, repeats FROM alerts "
                "ORDER BY id DESC LIMIT ?",
                (limit,),
            ).fetchall()
        return tuple(
            Alert(datetime.fromisoformat(at), kind, key, title, text, Outcome(o), detail, repeats)
            for at, kind, key, title, text, o, detail, repeats in rows
        )

    def _claim(self, kind: AlertKind, key: str, title: str, text: str) -> tuple[int, Outcome, int]:
        """Keep the alert and say whether this process is to send it: of many only one is.

        Returns its number, SENDING or why not, and how many were held back since the last sent.
        """
        now = self._now()
        with self._connect() as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(
                "UPDATE alerts SET outcome = ?, detail = ? WHERE outcome = ? AND at < ?",
                (Outcome.FAILED, "the process that sent it died", Outcome.SENDING,
                 _text(now - timedelta(seconds=_ABANDONED_S))),
            )  # fmt: skip
            before = connection.execute(
                "SELECT id FROM alerts WHERE kind = ? AND key = ? AND at > ? "
                f"AND outcome IN {_in((*_REACHED, Outcome.SENDING))} ORDER BY id DESC LIMIT 1",
                (kind, key, _text(now - timedelta(seconds=self._settings.repeat_after_s))),
            ).fetchone()
            if before:
                connection.execute(
                    "UPDATE alerts SET repeats = repeats + 1 WHERE id = ?", (before[0],)
                )
                connection.execute("COMMIT")
                return before[0], Outcome.REPEATED, 0
            (attempts,) = connection.execute(
                f"SELECT count(*) FROM alerts WHERE at > ? AND outcome IN {_in(_ATTEMPTED)}",
                (_text(now - timedelta(hours=1)),),
            ).fetchone()
            outcome = Outcome.SENDING
            if not self.channels:
                outcome = Outcome.RECORDED
            elif attempts >= self._settings.rate_per_hour:
                outcome = Outcome.HELD_BACK
            (missed,) = connection.execute(
                "SELECT count(*) FROM alerts WHERE outcome = ? AND id > "
                f"(SELECT coalesce(max(id), 0) FROM alerts WHERE outcome IN {_in(_REACHED)})",
                (Outcome.HELD_BACK,),
            ).fetchone()
            number = _insert(connection, now, kind, key, title, text, outcome, "")
            connection.execute("COMMIT")
        return number, outcome, missed

    def _deliver(self, title: str, text: str) -> tuple[ChannelResult, ...]:
        """Send over every channel at the same time; each has the same seconds."""
        results: dict[int, ChannelResult] = {}

        def deliver(number: int, url: str) -> None:
            results[number] = _over(number, url, title, text)

        urls = [url.get_secret_value() for url in self._settings.urls]
        threads = [
            threading.Thread(target=deliver, args=(i, url), daemon=True)
            for i, url in enumerate(urls)
        ]
        for thread in threads:
            thread.start()
        deadline = datetime.now(UTC) + timedelta(seconds=CHANNEL_S)
        for thread in threads:
            thread.join(max(0.0, (deadline - datetime.now(UTC)).total_seconds()))
        return tuple(
            results.get(i)
            or ChannelResult(_name(i, url), False, f"no answer within {CHANNEL_S:.0f} s")
            for i, url in enumerate(urls)
        )

    def _connect(self) -> AbstractContextManager[sqlite3.Connection]:
        return connected(self._path, _TABLE, _TIMEOUT_S)


def _over(number: int, url: str, title: str, text: str) -> ChannelResult:
    """Send over one channel. Whatever it raises is its own failure."""
    name = _name(number, url)
    try:
        import apprise

        channel = apprise.Apprise.instantiate(url)
        if channel is None:
            return ChannelResult(name, False, "its URL is not one that apprise understands")
        asset = apprise.AppriseAsset(async_mode=False)
        service = apprise.Apprise(asset=asset)
        service.add(channel)
        if service.notify(body=text, title=title, body_format=apprise.NotifyFormat.TEXT):
            return ChannelResult(name, True, "sent")
        return ChannelResult(name, False, "the service did not take it")
    except Exception as error:
        # Its text may hold the URL, which is a secret.
        return ChannelResult(name, False, f"{type(error).__name__} in its library")


def _name(number: int, url: str) -> str:
    scheme = url.partition("://")[0] if "://" in url else "?"
    return f"channel {number + 1} ({scheme})"


def _summed_up(results: Sequence[ChannelResult]) -> Outcome:
    good = sum(result.ok for result in results)
    if good == len(results):
        return Outcome.SENT
    return Outcome.PARTLY if good else Outcome.FAILED


def _insert(
    connection: sqlite3.Connection,
    at: datetime,
    kind: AlertKind,
    key: str,
    title: str,
    text: str,
    outcome: Outcome,
    detail: str,
) -> int:
    cursor = connection.execute(
        "INSERT INTO alerts (at, kind, key, title, text, outcome, detail, repeats) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, 0)",
        (_text(at), kind, key, title, text, outcome, detail),
    )
    return int(cursor.lastrowid or 0)


def _in(outcomes: Sequence[Outcome]) -> str:
    return "({})".format(", ".join(f"'{outcome}'" for outcome in outcomes))


def _text(at: datetime) -> str:
    """In UTC with microseconds, so that texts sort as instants do."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")
