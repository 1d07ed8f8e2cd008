"""The dashboard in use: by keyboard, over refreshes, with hostile texts, with MLflow within it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from hydra_pipelines.components import Component
from hydra_pipelines.control import Control
from hydra_pipelines.ledger.store import Ledger
from hydra_pipelines.settings import load_settings
from hydra_pipelines_tests.browser.chromium import NEEDED, Watched, browser
from hydra_pipelines_tests.browser.test_switchboard import move_champion
from hydra_pipelines_tests.conftest import TradedDesk
from hydra_pipelines_tests.dashboard import stores
from hydra_pipelines_tests.dashboard.served import Client, dashboard
from hydra_pipelines_tests.day.versions import RIDGE, copy_of

pytestmark = NEEDED
HOSTILE = (
    "<script>window.pwned = 1</script>",
    "\"><img src=x onerror='window.pwned = 1'>",
    "'; DROP TABLE fills; --",
    "{{ 7 * 7 }}{% raw %}${7*7}",
    "safe\u202egnp.exe\u2066\u200f",
    "</textarea></script><svg onload=window.pwned=1>",
    "javascript:window.pwned=1",
    "W" * 10_000,
    "line\nbreak\ttab\x00null\x1b[31m",
)


@pytest.fixture(scope="module")
def window() -> Iterator[Any]:
    with browser() as opened:
        yield opened.new_context(timezone_id="Europe/Berlin", reduced_motion="reduce")


@pytest.fixture
def watched(window: Any) -> Iterator[Watched]:
    page = window.new_page()
    page.set_viewport_size({"width": 1280, "height": 900})
    yield Watched(page)
    page.close()


@pytest.fixture
def client(traded_desk: TradedDesk, tmp_path: Path) -> Iterator[Client]:
    folder = stores.copy_of(traded_desk.left, tmp_path / "desk")
    settings = load_settings(data_dir=folder, dashboard={"refresh_s": 1.5})
    with dashboard(settings) as made:
        yield made


def tab_to(page: Any, text: str, most: int = 80) -> None:
    """Presses Tab until what has the focus says the text."""
    for _ in range(most):
        page.keyboard.press("Tab")
        said = page.evaluate("document.activeElement.innerText || document.activeElement.name")
        if (said or "").strip().startswith(text):
            visible = page.evaluate(
                "getComputedStyle(document.activeElement).outlineStyle !== 'none' || "
                "getComputedStyle(document.activeElement).boxShadow !== 'none'"
            )
            assert visible, f"the focus on {text} can't be seen"
            return
    raise AssertionError(f"{text} can't be reached by Tab")


def test_the_main_flows_go_by_keyboard(client: Client, watched: Watched) -> None:
    page = watched.page
    watched.go(client.url)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    # Halt, with a reason, and back to where it is shown.
    watched.go(client.url)
    tab_to(page, "Halt trading")
    page.keyboard.press("Enter")
    page.wait_for_url("**/confirm/halt*")
    tab_to(page, "why")
    page.keyboard.type("by keyboard")
    tab_to(page, "Halt trading")
    page.keyboard.press("Enter")
    page.wait_for_url("**/done/*")
    assert "Trading is halted" in page.inner_text("main")
    assert Control(client.dash.settings.control_path).kill_switch
    # From a fill to its trace.
    watched.go(f"{client.url}/fills")
    tab_to(page, "symbol")
    page.keyboard.type("AAPL")
    page.keyboard.press("Enter")
    page.wait_for_url("**symbol=AAPL*")
    tab_to(page, "trace", 120)
    page.keyboard.press("Enter")
    page.wait_for_url("**/audit/fills/*")
    assert "The predictions" in page.inner_text("main")
    assert watched.wrong == []


def test_focus_and_what_is_typed_survive_refreshes(client: Client, watched: Watched) -> None:
    page = watched.page
    watched.go(f"{client.url}/fills")
    page.fill("input[name=symbol]", "not sent yet")
    page.locator("summary", has_text="As a table").first.click()
    page.locator("#t-fills a", has_text="trace").first.focus()
    focused = page.evaluate("document.activeElement.href")
    page.evaluate("document.getElementById('t-fills').kept = 'the same element'")
    seen = page.get_attribute("#asof", "data-at")
    page.wait_for_function(
        "seen => document.getElementById('asof').dataset.at !== seen", arg=seen, timeout=20_000
    )
    assert page.evaluate("document.activeElement.href") == focused
    assert page.input_value("input[name=symbol]") == "not sent yet"
    assert page.evaluate("document.getElementById('t-fills').kept")
    assert page.locator("details.asTable").first.get_attribute("open") is not None
    assert watched.wrong == []


def test_a_change_is_on_the_page_at_once_and_old_pages_say_so(
    traded_desk: TradedDesk, watched: Watched, tmp_path: Path
) -> None:
    page = watched.page
    folder = stores.copy_of(traded_desk.left, tmp_path / "desk")
    with dashboard(load_settings(data_dir=folder, dashboard={"refresh_s": 600})) as client:
        watched.go(client.url)
        page.wait_for_timeout(500)
        Control(folder / "control.sqlite").set_agent_paused(True, "test", "user:somebody")
        page.wait_for_selector("text=Agent paused", timeout=10_000)
        # Times are the reader's, and UTC for who points at them.
        stamp = page.locator("#asof time").first
        utc = stamp.get_attribute("datetime")
        assert stamp.get_attribute("title").startswith(utc[:10])
        assert page.inner_text("#zone") == "Europe/Berlin"
        page.evaluate("document.getElementById('live').dataset.refresh = '0.1'")
        assert not page.is_visible("#stale")
    # The server is gone.
    page.wait_for_selector("#stale:visible", timeout=20_000)
    assert "does not answer" in page.inner_text("#stale")


HIDE = """hidden => {
    Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
    document.dispatchEvent(new Event("visibilitychange"));
}"""


def test_the_stream_is_closed_while_the_tab_is_hidden(client: Client, watched: Watched) -> None:
    page, channel = watched.page, client.dash.channels["cycle"]
    control = Control(client.dash.settings.control_path)
    watched.go(client.url)
    until(lambda: channel._listeners == 1)
    page.evaluate(HIDE, True)
    until(lambda: channel._listeners == 0)
    control.set_agent_paused(True, "test", "user:somebody")
    page.wait_for_timeout(2000)
    assert "Agent paused" not in page.inner_text("#live"), "a hidden page asks for nothing"
    page.evaluate(HIDE, False)
    until(lambda: channel._listeners == 1)
    page.wait_for_selector("text=Agent paused")
    assert watched.wrong == []


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def hostile(folder: Path) -> None:
    """Texts that want to be more than texts, everywhere where others can write some."""
    ledger, control = Ledger(folder / "hydra.duckdb"), Control(folder / "control.sqlite")
    now = datetime.now(UTC)
    with ledger.transaction() as tx:
        for i, text in enumerate(HOSTILE):
            plain = text.replace("\x00", "")
            tx.insert(
                "executed_trades",
                [
                    stores.fill(800_000 + i, symbol=plain, strategies=plain, executed_at=now,
                                exec_id=f"{plain[:50]}{i}", exec_key=f"{plain[:50]}{i}"),
                ],
            )  # fmt: skip
            tx.insert(
                "audit_events",
                [
                    {"occurred_at": now, "event": "manual_action", "actor": plain,
                     "strategy_id": plain, "run_id": plain,
                     "details": json.dumps({"action": plain, "why": plain})},
                ],
            )  # fmt: skip
            tx.execute(
                "INSERT INTO live_positions BY NAME SELECT * REPLACE ($1 AS symbol) "
                "FROM live_positions LIMIT 1",
                [plain],
            )
            tx.execute(
                "INSERT INTO experiments (experiment_id, cycle_id, created_at, session, cause, "
                "hypothesis, mutation_type, difference, earlier_trials, attempts, decision, "
                "reason) VALUES ($1, 'c', $2, DATE '2019-01-02', $1, $1, $1, $3, '[]', 1, "
                "'failed', $1)",
                [plain, now, json.dumps({plain: [plain, plain]})],
            )
    ledger.publish()
    control.halt(HOSTILE[0] + HOSTILE[4], HOSTILE[1])
    parts = stores.desk_of(folder).components
    for i, text in enumerate(HOSTILE):
        parts.beat(
            Component(id=f"{i}{text}", kind=text, name=text, host=text, url=text, detail=text,
                      capabilities=(text,))
        )  # fmt: skip


def test_hostile_texts_are_shown_as_texts(client: Client, watched: Watched) -> None:
    folder = client.dash.settings.data_path
    hostile(folder)
    page = watched.page
    for path in (
        "/", "/positions", "/fills", "/orders", "/models", "/agent", "/audit", "/components",
        "/system", "/fills?symbol=%3Cscript%3Ewindow.pwned%3D1%3C%2Fscript%3E",
        "/audit?text=%22%3E%3Cimg%20src%3Dx%20onerror%3Dwindow.pwned%3D1%3E",
    ):  # fmt: skip
        watched.go(client.url + path)
        for scheme, width in (("light", 1280), ("dark", 375)):
            assert watched.look(scheme, width, axe=False) == [], path
        assert page.evaluate("window.pwned") is None, path
        assert page.locator("main img, main script").count() == 0, path
        text = page.inner_text("main")
        assert "\u202e" not in text and "\u2066" not in text, path
    watched.go(f"{client.url}/positions")
    text = page.inner_text("#t-positions")
    assert "<script>window.pwned = 1</script>".upper() in text.upper()
    assert "\\u202e" in text and "(10,000 characters)" in text
    # What is hostile in a link leads to this server and back to the same text.
    page.locator("#t-positions a", has_text="<script>").first.click()
    page.wait_for_url("**/fills?symbol=*")
    assert page.evaluate("window.pwned") is None
    watched.go(f"{client.url}/agent")
    assert "{{ 7 * 7 }}" in page.inner_text("#t-experiments")
    assert not [a for a in page.eval_on_selector_all("a", "all => all.map(a => a.href)")
                if not a.startswith(client.url)]  # fmt: skip


def test_an_alias_moved_in_the_embedded_mlflow_is_in_the_history(
    versions_made: Path, watched: Watched, tmp_path: Path
) -> None:
    desk = copy_of(versions_made, tmp_path / "desk")
    desk.ledger.publish()
    page = watched.page
    page.set_default_timeout(60_000)
    with dashboard(desk.settings) as client:
        watched.go(f"{client.url}/mlflow")
        assert page.get_attribute("iframe", "src").startswith("/mlflow/#/models")
        page.frame_locator("iframe").get_by_text(RIDGE).first.wait_for()
        move_champion(page, f"{client.url}/mlflow", 2)
        until = time.monotonic() + 60
        while "@127.0.0.1" not in client.get("/models").text:
            assert time.monotonic() < until
            time.sleep(0.2)
        watched.go(f"{client.url}/models")
        row = page.locator("#t-history tbody tr").first.inner_text()
    assert "moved by hand" in row and "@127.0.0.1" in row and RIDGE in row
    assert desk.registry.aliases(RIDGE)["champion"] == 2
    assert [one for one in watched.wrong if "/mlflow/" not in one] == []
