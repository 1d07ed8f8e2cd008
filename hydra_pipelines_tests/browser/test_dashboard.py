"""Every page of the dashboard in Chromium, on every state of the stores, in light and dark, wide
and narrow: nothing scrolls sideways, is cut off, breaks the content policy or an axe rule.

The suite looks at each page in two of the four views; `make dashboard` at all, on a year of fills.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from hydra_pipelines_tests.browser.chromium import NEEDED, Watched, browser
from hydra_pipelines_tests.conftest import TradedDesk
from hydra_pipelines_tests.dashboard import stores
from hydra_pipelines_tests.dashboard.served import PAGES, Client, dashboard

FULL = bool(os.environ.get("FULL_DASHBOARD"))
ALL_VIEWS = [("light", 1280), ("dark", 1280), ("dark", 375), ("light", 375)]
VIEWS = ALL_VIEWS if FULL else [("light", 1280), ("dark", 375)]
MISSING = "/nothing-here"
STATES = ("nothing", "empty", "traded", "old", "written")

pytestmark = NEEDED


@pytest.fixture(scope="module")
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """The folder of a traded desk: of a year where all is looked at, else of a session."""
    if FULL:
        year = request.getfixturevalue("year")
        yield year.desk.settings.data_path
    else:
        traded: TradedDesk = request.getfixturevalue("traded_desk")
        yield traded.hydra.folder


@pytest.fixture(scope="module")
def window() -> Iterator[Any]:
    with browser() as opened:
        yield opened.new_context(timezone_id="Europe/Berlin", reduced_motion="reduce")


@pytest.fixture(params=STATES, scope="module")
def seen(
    request: pytest.FixtureRequest, made: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Client]]:
    """A state of the stores, and a dashboard on them."""
    folder = tmp_path_factory.mktemp(request.param) / "desk"
    failed: list[Exception] = []
    with ExitStack() as stack:
        if request.param == "empty":
            stores.empty(folder)
        elif request.param != "nothing":
            stores.copy_of(made, folder)
        if request.param == "old":
            stores.aged(folder)
        if request.param == "written":
            failed = stack.enter_context(stores.being_written(folder))
        yield request.param, stack.enter_context(dashboard(folder))
    # A page that is looked at holds nothing that a run needs.
    assert failed == []


def pages_of(client: Client) -> list[str]:
    """All pages, and one of each kind that is about one thing."""
    found = [*PAGES, "/confirm/halt", "/confirm/sync-positions", MISSING]
    for page, pattern in (
        ("/fills", r'href="(/audit/fills/[^"]+)"'),
        ("/fills", r'href="(/orders/[^"?]+)"'),
        ("/models", r'href="(/models/[^"?]+)"'),
        ("/positions", r'href="(/positions\?session=[^"]+)"'),
        ("/workflows", r'href="(/workflows/[^"?]+)"'),
    ):
        match = re.search(pattern, client.get(page).text)
        found += [match.group(1)] if match else []
    return found


def axe_looks(state: str, scheme: str) -> bool:
    """In the suite at what is there once, in both schemes; at what is not, in one of them."""
    return FULL or state == "traded" or (state != "written" and scheme == "dark")


def test_every_page_is_sound_in_every_view(seen: tuple[str, Client], window: Any) -> None:
    state, client = seen
    watched = Watched(window.new_page())
    bad: dict[tuple[str, str, int], list[str]] = {}
    try:
        for path in pages_of(client):
            watched.wrong.clear()
            if path == MISSING:
                watched.expected.add(client.url + path)
                watched.page.goto(client.url + path)
            else:
                watched.go(client.url + path)
            for scheme, width in VIEWS:
                found = watched.look(scheme, width, axe_looks(state, scheme))
                if found:
                    bad[path, scheme, width] = found
    finally:
        watched.page.close()
    assert bad == {}
