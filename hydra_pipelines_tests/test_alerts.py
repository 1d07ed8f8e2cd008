"""Alerts: each told once, to a mail server of the tests, and never at the cost of the run."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hydra_pipelines import alerts as module
from hydra_pipelines.alerts import Alert, AlertKind, Alerts, Outcome
from hydra_pipelines.day import alerting, trading
from hydra_pipelines.desk import Desk
from hydra_pipelines.execution.broker.guard import GuardRefused
from hydra_pipelines.execution.broker.messages import BrokerError
from hydra_pipelines.execution.orders.outcome import ExecutionReport, OrderOutcome
from hydra_pipelines.settings import AlertSettings, Settings
from hydra_pipelines_tests.mailbox import Mailbox

K = AlertKind
START = datetime(2019, 1, 3, 15, tzinfo=UTC)


class Teller:
    """Alerts over some channels, with a clock that is set by hand."""

    def __init__(self, folder: Path, *urls: str, **settings: Any):
        self.now = START
        self.path = folder / "control.sqlite"
        self.alerts = Alerts(AlertSettings(urls=urls, **settings), self.path, lambda: self.now)

    def tell(
        self, key: str = "drawdown", kind: AlertKind = K.BREAKER, text: str = "look"
    ) -> Outcome:
        return self.alerts.send(kind, key, f"hydra: {key}", text)

    def later(self, **span: float) -> None:
        self.now += timedelta(**span)

    @property
    def kept(self) -> list[Alert]:
        return [*reversed(self.alerts.recent(100))]


def test_each_kind_is_mailed_once(tmp_path: Path):
    with Mailbox() as box:
        teller = Teller(tmp_path, box.url)
        for kind in AlertKind:
            assert teller.tell(kind.value, kind, "a < b & c\nand more") is Outcome.SENT
            assert teller.tell(kind.value, kind) is Outcome.REPEATED
        assert box.subjects() == [f"hydra: {kind}" for kind in AlertKind]
        assert "a < b & c" in box.text().replace("&lt;", "<").replace("&amp;", "&")
    assert [(a.kind, a.outcome, a.repeats) for a in teller.kept] == [
        (kind, Outcome.SENT, 1) for kind in AlertKind
    ]


def test_the_same_alert_comes_again_after_its_window_only(tmp_path: Path):
    with Mailbox() as box:
        teller = Teller(tmp_path, box.url, repeat_after_s=3600)
        teller.tell()
        teller.later(seconds=3599)
        assert teller.tell() is Outcome.REPEATED
        assert teller.tell("another") is Outcome.SENT
        teller.later(seconds=2)
        assert teller.tell() is Outcome.SENT
        assert len(box.mails) == 3


def test_another_process_over_the_same_store_does_not_repeat_it(tmp_path: Path):
    with Mailbox() as box:
        Teller(tmp_path, box.url).tell()
        assert Teller(tmp_path, box.url).tell() is Outcome.REPEATED


def test_of_several_that_tell_the_same_at_once_one_does(tmp_path: Path):
    barrier = threading.Barrier(4)

    def tell(_: int) -> Outcome:
        teller = Teller(tmp_path, box.url)
        barrier.wait()
        return teller.tell()

    with Mailbox() as box, ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(tell, range(4))) == [Outcome.REPEATED] * 3 + [Outcome.SENT]
        assert len(box.mails) == 1


def test_an_hour_has_only_so_many_and_the_next_says_how_many_were_held_back(tmp_path: Path):
    with Mailbox() as box:
        teller = Teller(tmp_path, box.url, rate_per_hour=3)
        assert [teller.tell(f"no {i}") for i in range(5)] == [Outcome.SENT] * 3 + [
            Outcome.HELD_BACK
        ] * 2
        assert len(box.mails) == 3
        teller.later(hours=1, seconds=1)
        assert teller.tell("later") is Outcome.SENT
        assert "2 alerts before this one were held back" in box.text()
        teller.tell("last")
        assert "held back" not in box.text()
        assert teller.tell("no 4") is Outcome.SENT, "what was held back was not told yet"


# channels that fail


def test_a_channel_that_fails_fails_nothing_else_and_is_tried_again(tmp_path: Path, caplog: Any):
    with Mailbox(refuse="550 nobody here") as box, caplog.at_level(logging.WARNING):
        teller = Teller(tmp_path, box.url)
        assert teller.tell() is Outcome.FAILED
        (kept,) = teller.kept
        assert (kept.outcome, kept.detail) == (
            Outcome.FAILED, "channel 1 (mailto): the service did not take it",
        )  # fmt: skip
        assert "hydra: drawdown" in caplog.text
        box.refuse = ""
        assert teller.tell() is Outcome.SENT
        assert len(box.mails) == 1


def test_channels_do_not_depend_on_one_another(tmp_path: Path):
    with Mailbox() as box:
        teller = Teller(tmp_path, "json://127.0.0.1:1/", box.url, "nonsense://x", "no url at all")
        assert teller.tell() is Outcome.PARTLY
        assert len(box.mails) == 1
    assert teller.kept[0].detail == (
        "channel 1 (json): the service did not take it; "
        "channel 3 (nonsense): its URL is not one that apprise understands; "
        "channel 4 (?): its URL is not one that apprise understands"
    )


def test_a_channel_that_hangs_holds_the_run_up_no_longer_than_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "CHANNEL_S", 0.3)
    with Mailbox(silent=True) as box:
        teller = Teller(tmp_path, box.url, box.url)
        started = time.monotonic()
        assert teller.tell() is Outcome.FAILED
        assert time.monotonic() - started < 5
    assert "no answer within" in teller.kept[0].detail


def test_a_library_that_breaks_is_a_failed_channel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import apprise

    def broken(*_: object, **__: object) -> None:
        raise ValueError("secret://user:password@host")

    monkeypatch.setattr(apprise.Apprise, "notify", broken)
    teller = Teller(tmp_path, "json://127.0.0.1:1/")
    assert teller.tell() is Outcome.FAILED
    assert teller.kept[0].detail == "channel 1 (json): ValueError in its library"


def test_secrets_are_kept_nowhere(tmp_path: Path, caplog: Any):
    with caplog.at_level(logging.DEBUG):
        teller = Teller(tmp_path, "json://ann:sesame@127.0.0.1:1/", "hunter2://sesame")
        teller.tell()
        teller.alerts.test()
    assert "sesame" not in repr(Settings(alerts={"urls": ["json://ann:sesame@host"]}))
    assert b"sesame" not in teller.path.read_bytes()
    ours = [r.getMessage() for r in caplog.records if r.name.startswith("hydra")]
    assert ours and "sesame" not in " ".join(ours)


# without a channel, or a store


def test_without_a_channel_it_is_kept(tmp_path: Path):
    teller = Teller(tmp_path)
    assert teller.alerts.recent() == ()
    assert teller.tell() is Outcome.RECORDED
    assert teller.tell() is Outcome.REPEATED
    (kept,) = teller.kept
    assert (kept.at, kept.key, kept.text, kept.repeats) == (START, "drawdown", "look", 1)


def test_a_store_that_can_not_be_used_does_not_keep_it_from_being_told(tmp_path: Path):
    with Mailbox() as box:
        teller = Teller(tmp_path, box.url)
        teller.path.mkdir()
        assert teller.tell() is Outcome.LOST
        assert len(box.mails) == 1


def test_a_store_that_another_process_holds_is_not_waited_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "_TIMEOUT_S", 0.1)
    with Mailbox() as box:
        teller = Teller(tmp_path, box.url)
        teller.tell("first")
        with sqlite3.connect(teller.path, isolation_level=None) as other:
            other.execute("BEGIN EXCLUSIVE")
            assert teller.tell("second") is Outcome.LOST
        assert len(box.mails) == 2


def test_an_alert_whose_process_died_is_told_again_by_the_next(tmp_path: Path):
    with Mailbox() as box:
        teller = Teller(tmp_path, box.url)
        teller.tell()
        with sqlite3.connect(teller.path) as store:
            store.execute("UPDATE alerts SET outcome = 'sending'")
        teller.later(seconds=60)
        assert teller.tell() is Outcome.REPEATED, "it may still be on its way"
        teller.later(seconds=61)
        assert teller.tell() is Outcome.SENT
        assert [alert.outcome for alert in teller.kept] == [Outcome.FAILED, Outcome.SENT]


# what the day's work tells


def report(*states: str) -> ExecutionReport:
    orders = tuple(
        OrderOutcome(f"ref-{i}", "ALFA", "BUY", 10, 0, state, "no money")
        for i, state in enumerate(states)
    )
    return ExecutionReport("plan", date(2019, 1, 2), date(2019, 1, 3), orders, (), 1)


def test_unknown_and_rejected_orders_are_told(tmp_path: Path):
    with Mailbox() as box:
        teller = Teller(tmp_path, box.url)
        alerting.tell_of_orders(report("filled", "cancelled"), teller.alerts.send)
        assert box.mails == []
        alerting.tell_of_orders(report("unknown", "rejected", "rejected"), teller.alerts.send)
        assert box.subjects() == [
            "hydra: 1 orders in an unknown state", "hydra: the broker rejected 2 orders",
        ]  # fmt: skip
        assert "ref-0" in box.text(0) and "hydra resolve" in box.text(0)
        assert "no money" in box.text(1)
        alerting.tell_of_orders(report("unknown", "rejected", "rejected"), teller.alerts.send)
        assert len(box.mails) == 2
        alerting.tell_of_orders(report("unknown", "unknown"), teller.alerts.send)
        assert len(box.mails) == 3, "another one is news"


@pytest.mark.parametrize(
    ("port", "error", "kind"),
    [(1, BrokerError, "broker_down"), (4001, GuardRefused, "order_errors")],
)
def test_a_broker_that_is_not_there_is_told_and_raised(
    tmp_path: Path, port: int, error: type[Exception], kind: str
):
    broker = {"venue": "ibkr", "port": port, "connect_attempts": 1}
    desk = Desk(Settings(root=tmp_path, broker=broker))
    with pytest.raises(error), trading.at_work(desk, "run"):
        pass
    (alert,) = desk.alerts.recent()
    assert alert.kind == kind and str(port) in alert.text


def test_an_order_manager_is_given_the_desks_alerts(tmp_path: Path, monkeypatch: Any):
    given: dict[str, Any] = {}
    monkeypatch.setattr(
        "hydra_pipelines.execution.orders.manager.OrderManager",
        lambda **parts: given.update(parts) or SimpleNamespace(),
    )
    desk = Desk(Settings(root=tmp_path))
    broker = module.contextlib.nullcontext(SimpleNamespace(outages=0))
    monkeypatch.setattr(Desk, "broker", lambda self: broker)
    monkeypatch.setattr(Desk, "clock", None)
    monkeypatch.setattr(Desk, "calendar", None)
    with trading.at_work(desk, "run"):
        given["tell"](K.BREAKER, "k", "hydra: k", "text")
    assert desk.alerts.recent()[0].key == "k"


# the test call


def test_a_test_is_sent_however_often(tmp_path: Path):
    with Mailbox() as box:
        teller = Teller(tmp_path, box.url, "nonsense://x", rate_per_hour=1)
        for _ in range(3):
            good, bad = teller.alerts.test()
            assert (good.channel, good.ok) == ("channel 1 (mailto)", True)
            assert (bad.channel, bad.ok) == ("channel 2 (nonsense)", False)
        assert box.subjects() == ["hydra: a test"] * 3
    assert [alert.outcome for alert in teller.kept] == [Outcome.PARTLY] * 3
