"""README's pictures, taken anew of a desk that traded ten sessions: `make pictures`.

The desk lives in a temporary folder. Its Dagster UI, dashboard and MLflow page are opened in the
system's Chromium as a person sees them; what comes out is small enough for the repository.
"""

from __future__ import annotations

import io
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from hydra_pipelines_tests.browser.chromium import CHROMIUM, browser
from hydra_pipelines_tests.desks import CommandLine, shut_down
from hydra_pipelines_tests.operations.upped import up

HERE = Path(__file__).resolve().parent / "pictures"
SIZE = {"width": 1440, "height": 960}
GRAPH = {"x": 370, "y": 240, "width": 900, "height": 520}
"""Where the graph is drawn on the page."""
MOST_KB = 150
GROUPS = ("market", "features", "models", "decision", "execution", "monitoring", "agent")
SETTLE_MS = 3000
"""Until what is drawn in steps stands still."""


def main() -> None:
    if CHROMIUM is None:
        sys.exit("no chromium on PATH: apt-get install chromium")
    HERE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "desk"
        hydra = CommandLine(folder)
        try:
            for words in ("replay --sessions 9", "cycle", "train HYP-2026-002"):
                print("hydra", words, flush=True)
                done = hydra.run(*words.split())
                if done.returncode:
                    sys.exit(done.stderr)
            with up(folder, "--dashboard-port", "0") as upped, browser() as chromium:
                dashboard = re.search(r"Dashboard at (\S+?)/?\s", upped.said + "\n")
                assert dashboard is not None, upped.said
                page = chromium.new_page(viewport=SIZE)
                _dagster(page, upped.url)
                _dashboard(page, dashboard[1])
                _mlflow(page, dashboard[1])
        finally:
            shut_down(folder)


def _dagster(page: Any, url: str) -> None:
    """The asset graph, with every group open."""
    opened = ",".join(f"global@global:{group}" for group in GROUPS)
    page.goto(f"{url}/asset-groups?expanded={opened}", wait_until="networkidle")
    page.get_by_text("Hide navigation").click()
    page.wait_for_timeout(2 * SETTLE_MS)
    _take(page, "dagster", clip=GRAPH)


def _dashboard(page: Any, url: str) -> None:
    page.set_viewport_size({**SIZE, "height": 1280})
    page.goto(f"{url}/", wait_until="load")
    page.wait_for_timeout(SETTLE_MS)
    _take(page, "dashboard")


def _mlflow(page: Any, url: str) -> None:
    """A registered model with its aliases, without what the UI says to newcomers."""
    page.set_viewport_size(SIZE)
    page.goto(f"{url}/mlflow", wait_until="load")
    frame = page.frame_locator("iframe")
    frame.get_by_role("button", name="Try it now").click()
    page.wait_for_timeout(SETTLE_MS)
    frame.get_by_role("button", name="Close", exact=True).filter(visible=True).click()
    frame.get_by_text("HYP-2026-002").first.click()
    frame.get_by_text("champion").first.wait_for()
    page.wait_for_timeout(SETTLE_MS)
    _take(page, "mlflow")


def _take(page: Any, name: str, **options: Any) -> None:
    """Save what the page shows, in as many colours as the size allows."""
    whole = Image.open(io.BytesIO(page.screenshot(**options))).convert("RGB")
    for colours in (256, 128, 64, 32):
        out = io.BytesIO()
        whole.quantize(colours, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
        if len(out.getvalue()) <= MOST_KB * 1000:
            break
    else:
        sys.exit(f"{name}: {len(out.getvalue()) // 1000} kB are too many")
    (HERE / f"{name}.png").write_bytes(out.getvalue())
    print(f"{name}.png: {len(out.getvalue()) // 1000} kB, {colours} colours", flush=True)


if __name__ == "__main__":
    main()
