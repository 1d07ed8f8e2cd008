"""`hydra risk`, `reset-breaker`, `alert-test`; `check-broker` with a breaker tripped, or live."""

from __future__ import annotations

import getpass
import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from hydra_pipelines.alerts import AlertKind, Alerts
from hydra_pipelines.control import Control
from hydra_pipelines.ledger.store import Ledger
from hydra_pipelines.settings import AlertSettings
from hydra_pipelines_tests.conftest import TradedDesk
from hydra_pipelines_tests.desks import OK, REFUSED, USAGE, CommandLine
from hydra_pipelines_tests.mailbox import Mailbox


def control_of(hydra: CommandLine) -> Control:
    return Control(hydra.folder / "control.sqlite")


def by_name(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in rows}


def test_before_any_cycle_nothing_is_known_and_nothing_is_zero(empty: CommandLine) -> None:
    state = empty.json("risk")
    assert (state["as_of"], state["account"]) == (None, None)
    breakers = by_name(state["breakers"])
    for name in ("daily_loss", "drawdown", "trade_loss", "order_rejects", "unknown_orders"):
        assert (breakers[name]["state"], breakers[name]["value"]) == ("unknown", None)
    assert (breakers["kill_switch"]["state"], breakers["agent_paused"]["state"]) == ("ok", "ok")
    assert all(row["use"] is None for row in state["limits"])
    done = empty.run("risk")
    assert done.returncode == OK and "Nothing was traded yet" in done.stderr
    assert "nobody is told while HYDRA_ALERTS__URLS is not set" in done.stdout


def test_uses_are_those_of_the_books(traded_desk: TradedDesk) -> None:
    state, positions = traded_desk.hydra.json("risk"), traded_desk.hydra.json("positions")
    account = traded_desk.hydra.json("status")["account"]
    assert state["as_of"] == account["session"]
    equity = Decimal(account["equity"])
    limits = by_name(state["limits"])
    largest = max(positions, key=lambda row: abs(Decimal(row["market_value"])))
    assert largest["symbol"] in limits["max_position_weight"]["about"]
    for name, amount, limit in (
        ("max_position_weight", Decimal(largest["market_value"]), 0.1),
        ("gross_cap", Decimal(account["gross"]), 1.0),
        ("net_cap", Decimal(account["net"]), 1.0),
    ):
        row = limits[name]
        assert row["limit"] == limit
        assert row["value"] == pytest.approx(float(amount / equity))
        assert row["use"] == pytest.approx(float(amount / equity) / limit)
    assert limits["max_positions"]["value"] == account["positions"] == len(positions)
    assert limits["cash_buffer"]["value"] == pytest.approx(float(Decimal(account["cash"]) / equity))
    breakers = by_name(state["breakers"])
    loss = max(
        0.0, float(-Decimal(account["daily_pnl"]) / (equity - Decimal(account["daily_pnl"])))
    )
    assert breakers["daily_loss"]["value"] == pytest.approx(loss)
    assert breakers["drawdown"]["value"] == pytest.approx(account["drawdown"], abs=1e-9)
    # Whichever session this desk has come to, in the sample's first days it may have lost too much.
    assert {name: row["state"] for name, row in breakers.items()} == {
        name: "due" if name == "daily_loss" and loss > 0.02 else "ok" for name in breakers
    }
    assert breakers["data_age"]["value"] == 0 and breakers["order_rejects"]["value"] == 0
    words = traded_desk.hydra.run("risk").stdout
    assert f"equity {equity:,.2f} USD" in words and "Limits" in words and "drawdown" in words


def test_what_is_tripped_denied_and_told_is_shown(traded_desk: TradedDesk) -> None:
    hydra = traded_desk.hydra
    control = control_of(hydra)
    control.trip("drawdown", "down 11 %", "2019-01-03")
    control.set_level("drawdown", 0.115, "2019-01-03")
    control.set_kill_switch(True, "a look first", "user:ann")
    Alerts(AlertSettings(), control.path).send(AlertKind.BREAKER, "k", "hydra: it tripped", "so")
    try:
        state, words = hydra.json("risk"), hydra.run("risk").stdout
        row = by_name(state["breakers"])["drawdown"]
        assert (row["state"], row["value"], row["why"], row["session"]) == (
            "tripped", 0.115, "down 11 %", "2019-01-03",
        )  # fmt: skip
        assert (row["latched"], row["auto_reset"]) == (True, False)
        assert {k: state["kill_switch"][k] for k in ("on", "by", "why")} == {
            "on": True, "by": "user:ann", "why": "a look first",
        }  # fmt: skip
        assert by_name(state["breakers"])["kill_switch"]["state"] == "tripped"
        assert state["alerts"][0]["title"] == "hydra: it tripped"
        for part in ("TRIPPED", "11.50%", "down 11 %", "KILL SWITCH", "ann: a look first",
                     "hydra: it tripped"):  # fmt: skip
            assert part in words
    finally:
        control.set_kill_switch(False, "the test is over")
        control.reset("drawdown")


# reset-breaker


def test_a_reset_needs_a_persons_word_and_is_written_down(traded_desk: TradedDesk) -> None:
    hydra, control = traded_desk.hydra, control_of(traded_desk.hydra)
    control.trip("drawdown", "down 12 %", "2019-01-03")
    control.set_level("drawdown", 0.12, "2019-01-03")
    try:
        done = hydra.run("reset-breaker", "drawdown")
        assert done.returncode == REFUSED and "--yes" in done.stderr
        assert "last seen at 12.00% in session 2019-01-03" in done.stderr
        assert "trips again at 14.50%" in done.stderr
        assert [b.name for b in control.tripped()] == ["drawdown"]
        with Mailbox() as box:
            done = hydra.run(
                "reset-breaker", "drawdown", "--why", "a split was booked late", "--yes",
                HYDRA_ALERTS__URLS=json.dumps([box.url]),
            )  # fmt: skip
            assert done.returncode == OK, done.stderr
            assert box.subjects() == [f"hydra: breaker drawdown is reset by {getpass.getuser()}"]
        assert control.tripped() == ()
        entry = control.last("breaker_reset")
        assert entry is not None and entry.actor == f"user:{getpass.getuser()}"
        assert entry.details["why"] == "a split was booked late"
        with Ledger(hydra.folder / "hydra.duckdb", 10).transaction() as tx:
            row = tx.one(
                "SELECT actor, details FROM audit_events WHERE event = 'breaker_reset' "
                "ORDER BY occurred_at DESC LIMIT 1"
            )
        assert row["actor"] == entry.actor and "a split was booked late" in row["details"]
        # It is acknowledged, and shown as what it is where its value still stands.
        level = control.levels()["drawdown"]
        assert level.value == 0.12 and level.acknowledged_at
        again = hydra.run("reset-breaker", "drawdown", "--yes")
        assert again.returncode == REFUSED and "not tripped" in again.stderr
    finally:
        control.reset("drawdown")
        control.forget_level("drawdown")


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("drawdown", REFUSED, "drawdown is not tripped: nothing to reset"),
        ("sunspots", USAGE, "there is no breaker sunspots; there are daily_loss, drawdown"),
        ("kill_switch", REFUSED, "hydra resume-trading"),
        ("agent_paused", REFUSED, "hydra resume-trading --agent"),
        ("unknown_orders", REFUSED, "hydra resolve"),
        ("data_age", REFUSED, "hydra data ingest"),
    ],
)
def test_what_can_not_be_reset(empty: CommandLine, name: str, code: int, says: str) -> None:
    done = empty.run("reset-breaker", name, "--yes")
    assert done.returncode == code and says in done.stderr and done.stdout == ""


def test_a_reset_works_without_a_ledger(empty: CommandLine) -> None:
    control = control_of(empty)
    control.trip("sunspots", "of a later version", "2019-01-03")
    done = empty.run("reset-breaker", "sunspots", "--yes")
    assert done.returncode == OK and control.tripped() == ()
    entry = control.last("breaker_reset")
    assert entry is not None and entry.details["why"] == "no reason given"
    assert not (empty.folder / "hydra.duckdb").exists()


# check-broker


def test_a_test_order_is_denied_while_a_breaker_is_tripped(traded_desk: TradedDesk) -> None:
    hydra, control = traded_desk.hydra, control_of(traded_desk.hydra)
    before = hydra.orders_received()
    control.trip("trade_loss", "lost 2 %", date(2019, 1, 3).isoformat())
    control.set_agent_paused(True, "a test")
    try:
        done = hydra.run("check-broker", "--test-order", "--json")
        assert done.returncode == REFUSED
        found = {f["check"]: f for f in json.loads(done.stdout)["findings"]}["test order"]
        assert not found["ok"]
        for part in ("denied by the risk gate", "breaker_trade_loss", "breaker_agent_paused"):
            assert part in found["detail"]
        assert hydra.orders_received() == before
    finally:
        control.set_agent_paused(False, "the test is over")
        control.reset("trade_loss")


def test_mode_live_is_refused_by_name_and_starts_nothing(broken: CommandLine) -> None:
    done = broken.run("check-broker", HYDRA_MODE="live")
    assert done.returncode == REFUSED
    assert "the embedded venue is paper" in done.stdout
    assert "HYDRA_LIVE_CONFIRMED" in done.stdout and "Traceback" not in done.stderr
    cycle = broken.run("cycle", HYDRA_MODE="live")
    assert cycle.returncode == USAGE and "broker.venue is embedded, which is paper" in cycle.stderr
    assert "Traceback" not in cycle.stderr
    assert not (broken.folder / "paper").exists()


# alert-test


def test_the_test_alert_arrives(empty: CommandLine) -> None:
    with Mailbox() as box:
        done = empty.run("alert-test", HYDRA_ALERTS__URLS=json.dumps([box.url]))
        assert done.returncode == OK and "ok     channel 1 (mailto)" in done.stdout
        assert box.subjects() == ["hydra: a test"]
        urls = json.dumps([box.url, "json://ann:sesame@127.0.0.1:1/"])
        done = empty.run("alert-test", "--json", HYDRA_ALERTS__URLS=urls)
    assert done.returncode == REFUSED
    assert [row["ok"] for row in json.loads(done.stdout)] == [True, False]
    assert "not every channel" in done.stderr and "sesame" not in done.stdout + done.stderr


def test_without_a_channel_the_test_says_how_to_set_one(empty: CommandLine) -> None:
    done = empty.run("alert-test")
    assert done.returncode == REFUSED and "HYDRA_ALERTS__URLS" in done.stderr
