"""Runs from the dashboard's pages, with all of `hydra up` behind them: a run is watched, cancelled
and executed again in Chromium; one of the command line is shown and can't be cancelled there."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hydra_pipelines_tests.browser.chromium import NEEDED, Watched, browser
from hydra_pipelines_tests.dashboard.served import Client
from hydra_pipelines_tests.desks import HYDRA
from hydra_pipelines_tests.operations.upped import QUICK_TO_TRAIN, Upped, up, wait_for

pytestmark = [
    NEEDED,
    pytest.mark.skipif(
        not os.environ.get("FULL_DASHBOARD"), reason="set FULL_DASHBOARD=1, or: make dashboard"
    ),
]
SESSION = "2019-01-02"
SLOW_MS = 180_000


@pytest.fixture(scope="module")
def upped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upped]:
    folder = tmp_path_factory.mktemp("runs") / "desk"
    with up(folder, "--dashboard-port", "0", HYDRA_STRATEGIES=QUICK_TO_TRAIN) as made:
        wait_for(lambda: "Dashboard at" in made.said, 120, made)
        yield made


@pytest.fixture(scope="module")
def client(upped: Upped) -> Client:
    found = re.search(r"Dashboard at http://127\.0\.0\.1:(\d+)", upped.said)
    assert found is not None
    return Client(int(found.group(1)))


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    with browser() as opened:
        page = opened.new_page()
        page.set_default_timeout(SLOW_MS)
        yield Watched(page)


def press(page: Any, label: str) -> None:
    """A button of a page and then that of the question after it."""
    page.get_by_role("button", name=label).first.click()
    page.wait_for_url("**/confirm/**")
    page.locator("form button[type=submit]").click()
    page.wait_for_url("**/done/**")


def shows(page: Any, status: str) -> None:
    """Waits until the page, by itself, shows a run's status."""
    page.locator("#live .badge.big", has_text=re.compile(f"^{status}$")).wait_for()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + SLOW_MS / 1000
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_run_is_watched_cancelled_and_executed_again(
    upped: Upped, client: Client, watched: Watched
) -> None:
    page = watched.page
    run_id = upped.launch("daily_cycle", SESSION)
    watched.go(f"{client.url}/workflows")
    page.locator(f"a[href='/workflows/{run_id}']").click()
    page.wait_for_url(f"**/{run_id}")
    shows(page, "started")
    page.locator("#t-steps").get_by_text("features").wait_for()
    press(page, "Cancel")
    assert "told to end" in page.inner_text("main")
    watched.go(f"{client.url}/workflows/{run_id}")
    shows(page, "canceled")
    assert page.get_by_role("button", name="Cancel").count() == 0

    press(page, "Re-execute")
    page.get_by_text("Look at it").click()
    again = page.url.rpartition("/")[2]
    assert again != run_id
    page.get_by_text("Again of").wait_for()
    shows(page, "success")
    assert "executions" in page.inner_text("#t-steps")
    # Its fills are there by then, and what it cost.
    watched.go(f"{client.url}/workflows/{again}")
    assert re.search(r"\d USD commissions", page.inner_text("main"))
    assert watched.wrong == []
    until(lambda: "run reexecuted" in client.get("/audit").text)
    audit = client.get("/audit").text
    assert "run cancelled" in audit and "@127.0.0.1" in audit


def test_a_check_is_launched_from_the_page(upped: Upped, client: Client, watched: Watched) -> None:
    page = watched.page
    watched.go(f"{client.url}/positions")
    press(page, "Sync positions")
    assert f"Launched sync_positions for {SESSION}" in page.inner_text("main")
    page.get_by_text("Look at it").click()
    shows(page, "success")


def test_a_run_of_the_command_line_is_shown_and_not_cancelled_here(
    upped: Upped, client: Client
) -> None:
    process = subprocess.Popen(
        [*HYDRA, "predict"],
        env=upped.hydra.environment,
        cwd=upped.hydra.folder.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        seen: list[str] = []

        def look() -> bool:
            assert process.poll() is None or seen, "it ended before it was seen"
            found = re.search(
                r"/workflows/([0-9a-f-]{36})", client.get("/workflows?job=predict").text
            )
            if found:
                page = client.get(f"/workflows/{found.group(1)}").text
                if ">started<" in page:
                    seen[:] = [page]
            return bool(seen)

        until(look)
        assert "it was started from a terminal" in seen[0]
        assert "/confirm/cancel-run" not in seen[0]
        run_id = re.search(r"<code>([0-9a-f-]{36})</code>", seen[0]).group(1)
        _, done = client.act("cancel-run", run_id)
        assert "started from a terminal" in done.text or "has ended already" in done.text
    finally:
        assert process.wait(120) == 0, "the run went on as if nothing had been asked"
