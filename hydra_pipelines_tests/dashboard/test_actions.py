"""What may be done from a page: done once, and written down with who did it and from where."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hydra_pipelines.components import Component
from hydra_pipelines.control import Control
from hydra_pipelines.ledger.store import Ledger
from hydra_pipelines_tests.dashboard import stores
from hydra_pipelines_tests.dashboard.served import Client, dashboard
from hydra_pipelines_tests.dashboard.test_pages import words_of


@pytest.fixture
def acting(traded: Path, tmp_path: Path) -> Iterator[Client]:
    with dashboard(stores.copy_of(traded, tmp_path / "desk")) as made:
        yield made


def control_of(client: Client) -> Control:
    assert client.dash is not None
    return Control(client.dash.settings.control_path)


def audited(client: Client, event: str, within: float = 20) -> dict[str, object]:
    """The event in the published audit trail; it comes there by itself."""
    assert client.dash is not None
    ledger = Ledger(client.dash.settings.ledger_path)
    until = time.monotonic() + within
    while True:
        with ledger.snapshot() as rows:
            found = rows.query(
                "SELECT * FROM audit_events WHERE event = $1 OR details ->> '$.action' = $1 "
                "ORDER BY seq DESC LIMIT 1",
                [event],
            )
        if found and "@127.0.0.1" in found[0]["actor"]:
            return found[0]
        assert time.monotonic() < until, f"{event} did not come into the audit trail"
        time.sleep(0.1)


def test_the_agent_is_paused_and_resumed(acting: Client) -> None:
    control = control_of(acting)
    before = len(control.journal())
    _, done = acting.act("pause-agent")
    assert "The agent is paused" in done.text and control.agent_paused
    assert audited(acting, "agent_paused")["actor"].startswith("user:")
    assert "Agent paused" in words_of(acting.get("/").text)
    assert "was paused already" in acting.act("pause-agent")[1].text
    acting.act("resume-agent")
    assert not control.agent_paused
    paused = [e for e in control.journal()[before:] if e.event == "agent_paused"]
    assert len(paused) == 1 and paused[0].details["why"] == "a test"


def test_a_halt_stops_everything_and_only_the_command_line_lifts_it(acting: Client) -> None:
    control = control_of(acting)
    _, done = acting.act("halt")
    assert "Trading is halted" in done.text
    assert control.kill_switch and control.agent_paused
    assert audited(acting, "kill_switch_on")["actor"].endswith("@127.0.0.1")
    assert "Trading halted" in acting.get("/positions").text
    refused = words_of(acting.act("resume-agent")[1].text)
    assert "Not done." in refused and "hydra resume-trading --agent" in refused
    assert control.kill_switch and control.agent_paused
    assert acting.get("/confirm/resume-trading").status == 404
    assert acting.post("/actions/resume-trading").status == 404


def test_the_same_post_again_does_nothing_more(acting: Client) -> None:
    form = acting.form_of("pause-agent")
    first = acting.post("/actions/pause-agent", form)
    control_of(acting).set_agent_paused(False, "meanwhile", "user:somebody")
    again = acting.post("/actions/pause-agent", form)
    assert first.headers["location"] == again.headers["location"]
    assert not control_of(acting).agent_paused


def test_two_posts_at_the_same_time_are_one(acting: Client) -> None:
    before = len(control_of(acting).journal())
    form = acting.form_of("halt")
    acting.post("/nothing")
    threads = [
        threading.Thread(
            target=lambda: Client(acting.port, cookies=dict(acting.cookies)).post(
                "/actions/halt", form
            )
        )
        for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    journal = control_of(acting).journal()[before:]
    assert [e.event for e in journal if e.event == "kill_switch_on"] == ["kill_switch_on"]


def test_a_component_is_deregistered(acting: Client) -> None:
    assert acting.dash is not None
    parts = acting.dash.readings.desk.components
    parts.beat(Component(id="a <b>part</b>", kind="worker", name="A part", port=1234))
    assert "a &lt;b&gt;part&lt;/b&gt;" in acting.get("/components").text
    _, done = acting.act("deregister", "a <b>part</b>")
    assert "is deregistered" in done.text
    assert not any(p.component.kind == "worker" for p in parts.all())
    assert audited(acting, "component_deregistered")


def test_with_the_webserver_down_nothing_is_launched_and_pages_say_why(acting: Client) -> None:
    for name in ("sync-positions", "check-drift"):
        page = words_of(acting.get(f"/confirm/{name}").text)
        assert "does not answer" in page and "hydra up" in page
        assert "<form" not in acting.get(f"/confirm/{name}").text
    form = {**acting.form_of("pause-agent")}
    token = acting.dash.rules._sign(next(iter(acting.cookies.values())), "sync-positions")
    posted = acting.post("/actions/sync-positions", {**form, "token": token})
    done = words_of(acting.get(posted.headers["location"]).text)
    assert "Not done. Not launched" in done


def test_a_run_of_the_command_line_offers_no_cancel(acting: Client) -> None:
    import re

    run = re.search(r"/workflows/([0-9a-f-]{36})", acting.get("/workflows").text).group(1)
    page = acting.get(f"/workflows/{run}")
    assert "champion_models" in page.text and "confirm/cancel-run" not in page.text
    _, done = acting.act("cancel-run", run)
    assert "It has ended already" in words_of(done.text)
