"""Chromium, and a page that keeps an account of what goes wrong on it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
NEEDED = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium on PATH: apt-get install chromium"
)
AXE = Path(__file__).parent / "vendor" / "axe-core-4.14.1" / "axe.min.js"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (e) =>
    window.violations.push(`${e.violatedDirective}: ${e.blockedURI} ${e.sample}`));
"""
CUT = """() => [...document.querySelectorAll("main, .tablebox, .metric, .card, article, .two > *")]
    .filter((e) => e.scrollWidth > e.clientWidth + 1).map((e) => e.outerHTML.slice(0, 120))"""


@contextmanager
def browser() -> Iterator[Any]:
    """A browser of its own, closed with the block."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        made = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            yield made
        finally:
            made.close()


@dataclass
class Watched:
    """A page with all that went wrong on it: errors of the console, of scripts, answers of 5xx.

    What the embedded MLflow UI says of itself is none of it, except for a 5xx.
    """

    page: Any
    wrong: list[str] = field(default_factory=list)
    expected: set[str] = field(default_factory=set)
    """Addresses that are not there, which a browser tells as an error."""

    def __post_init__(self) -> None:
        self.page.add_init_script(WATCH)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.wrong.append(f"script: {error}"))
        self.page.on("response", self._response)

    def _console(self, message: Any) -> None:
        where = message.location.get("url", "")
        if message.type == "error" and "/mlflow/" not in where and where not in self.expected:
            self.wrong.append(f"console: {message.text} ({where})")

    def _response(self, response: Any) -> None:
        if response.status >= 500:
            self.wrong.append(f"{response.status}: {response.url}")

    def go(self, url: str) -> None:
        answer = self.page.goto(url, wait_until="load")
        assert answer is not None and answer.status == 200, (url, answer)
        # Scripts have run: times are in the reader's zone by then.
        self.page.wait_for_function("document.getElementById('zone').textContent !== ''")

    def look(self, scheme: str, width: int, axe: bool = True) -> list[str]:
        """What is wrong with the page in a colour scheme at a width; empty where nothing is."""
        self.page.emulate_media(color_scheme=scheme)
        self.page.set_viewport_size({"width": width, "height": 900})
        found = list(self.wrong)
        scrolled = self.page.evaluate("document.documentElement.scrollWidth")
        if scrolled > width:
            found.append(f"scrolls to {scrolled} px")
        found += [f"cut off: {one}" for one in self.page.evaluate(CUT)]
        found += [f"policy: {one}" for one in self.page.evaluate("window.violations")]
        if axe:
            if not self.page.evaluate("'axe' in window"):
                self.page.evaluate(AXE.read_text())
            # The frame of another application is for its makers.
            outcome = self.page.evaluate(
                "axe.run({exclude: ['iframe']}, {resultTypes: ['violations'], iframes: false})"
            )
            found += [
                f"axe {one['id']}: {one['nodes'][0]['html'][:160]}" for one in outcome["violations"]
            ]
        return found
