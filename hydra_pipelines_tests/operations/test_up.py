"""`hydra up`, once for all of this file, from a folder without anything: it serves and refuses,
outlives the death of any of its parts, and leaves nothing behind. The tests are in that order."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest

from hydra_pipelines.components import Health
from hydra_pipelines.defs.history import History
from hydra_pipelines.desk import Desk
from hydra_pipelines.settings import load_settings
from hydra_pipelines_tests.desks import HYDRA, REFUSED, USAGE
from hydra_pipelines_tests.operations.upped import (
    QUICK_TO_TRAIN,
    Upped,
    processes_of,
    up,
    wait_for,
)

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SERVES_WITHIN_S, ENDS_WITHIN_S = 30, 10
"""What is promised, on a machine that is not busy with something else."""
SESSION, RESEARCHED = "2019-01-02", "2019-01-03"
READ = json.dumps({"query": "{ version }"}).encode()
CHANGE = "mutation { setNuxSeen }"
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def upped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upped]:
    folder = tmp_path_factory.mktemp("up") / "my desk"
    with up(folder, "--dashboard-port", "0", HYDRA_STRATEGIES=QUICK_TO_TRAIN) as made:
        yield made


def busy() -> float:
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def test_it_serves_soon_and_says_what_runs(upped: Upped) -> None:
    assert upped.took_s < SERVES_WITHIN_S * busy()
    assert upped.ask("/server_info")[0] == 200
    assert upped.query("{ version }")["version"]
    expected = {"supervisor", "code-server", "webserver", "daemon", "gateway", "dashboard"}
    wait_for(lambda: upped.parts.keys() == expected, SERVES_WITHIN_S * busy(), upped)
    wait_for(lambda: "Dashboard at" in upped.said, SERVES_WITHIN_S * busy(), upped)
    now = datetime.now(UTC)
    assert {kept.health(now) for kept in upped.parts.values()} == {Health.WELL}
    assert upped.parts["webserver"].component.port == urlsplit(upped.url).port
    assert upped.parts["daemon"].component.pid == upped.pid("daemon")
    assert (
        "running: code-server, daemon, dashboard, webserver"
        in upped.parts["supervisor"].component.detail
    )
    # Whoever can reach the code server can run code: only its owner can.
    command = Path(f"/proc/{upped.pid('code-server')}/cmdline").read_text().split("\0")
    served = Path(command[command.index("--socket") + 1])
    assert served.is_socket() and served.parent.stat().st_mode & 0o077 == 0


def test_a_second_one_is_refused_and_told_who_runs(upped: Upped) -> None:
    second = upped.hydra.run("up", "--port", "0", "--no-dashboard")
    assert second.returncode == REFUSED
    assert f"process {upped.process.pid}" in second.stderr and upped.url in second.stderr
    assert "is up already" in second.stderr and "Traceback" not in second.stderr


def test_an_address_that_others_reach_needs_a_token(upped: Upped) -> None:
    open_to_all = upped.hydra.run("up", "--host", "0.0.0.0", "--port", "0")
    assert open_to_all.returncode == REFUSED and "--token-file" in open_to_all.stderr
    taken = upped.hydra.run("up", "--port", str(urlsplit(upped.url).port))
    assert taken.returncode == REFUSED and "choose another port with --port" in taken.stderr


def test_a_dashboard_of_its_own_serves_though_its_runner_finds_the_desk_up(upped: Upped) -> None:
    asked = {"HYDRA_START_RUNNER": "true", "HYDRA_UP__PORT": "0"}
    process = subprocess.Popen(
        [*HYDRA, "serve", "--port", "0"],
        env={**upped.hydra.environment, **asked},
        stderr=subprocess.PIPE,
        text=True,
    )
    said = ""
    try:
        assert process.stderr is not None
        while "Dashboard on" not in said or "were not started" not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        assert "is up already" in said and upped.url in said
    finally:
        process.terminate()
        assert process.wait(20) == 0
    wrong = upped.hydra.run("serve", HYDRA_START_RUNNER="perhaps")
    assert wrong.returncode == USAGE and "HYDRA_START_RUNNER is 'perhaps'" in wrong.stderr


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 403),
        ({"Origin": "{url}"}, 200),
        ({"Origin": "{url}", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "http://127.0.0.1:1", "Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "null", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "{url}", "Host": "evil.example"}, 403),
        ({"Origin": "http://evil.example:{port}", "Host": "evil.example:{port}"}, 403),
    ],
)
def test_only_its_own_pages_may_post(upped: Upped, headers: dict[str, str], expected: int) -> None:
    port = urlsplit(upped.url).port
    sent = {k: v.format(url=upped.url, port=port) for k, v in headers.items()}
    status, text = upped.ask("/graphql", READ, {**JSON, **sent})
    assert status == expected, text
    assert (expected == 200) == ('"version"' in text)


def test_nothing_is_asked_or_changed_by_get(upped: Upped) -> None:
    for query in (CHANGE, "{ version }"):
        for path in ("/graphql", "/graphql/"):
            status, text = upped.ask(f"{path}?{urlencode({'query': query})}")
            assert status == 405, text
    seen = "{ shouldShowNux }"
    before = upped.query(seen)
    # By a form of another page, with what it may send without asking first.
    form = {"Content-Type": "text/plain", "Origin": "http://evil.example"}
    assert upped.ask(f"/graphql?{urlencode({'query': CHANGE})}", b"x", form)[0] == 403
    assert upped.ask("/report_asset_materialization/bars", b"{}", form)[0] == 403
    assert upped.query(seen) == before
    playground, text = upped.ask("/graphql", headers={"Accept": "text/html"})
    assert playground == 200 and "graphiql" in text.lower()


def test_pages_can_not_be_framed(upped: Upped) -> None:
    import urllib.request

    with urllib.request.urlopen(upped.url, timeout=20) as answer:
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert "script-src 'nonce-" in answer.headers["Content-Security-Policy"]
    embedded = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    assert upped.ask("/", headers=embedded)[0] == 403


@pytest.mark.parametrize(
    ("origin", "expected"), [("{url}", 101), ("http://evil.example", 403), (None, 403)]
)
def test_subscriptions_are_opened_by_its_own_pages_alone(
    upped: Upped, origin: str | None, expected: int
) -> None:
    address = urlsplit(upped.url)
    assert address.hostname and address.port
    asked = [
        "GET /graphql HTTP/1.1", f"Host: {address.netloc}", "Connection: Upgrade",
        "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Protocol: graphql-ws",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
    ]  # fmt: skip
    asked += [f"Origin: {origin.format(url=upped.url)}"] if origin else []
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        connection.sendall("\r\n".join([*asked, "", ""]).encode())
        assert connection.recv(4096).split()[1] == str(expected).encode()


def test_a_run_that_is_cancelled_ends(upped: Upped) -> None:
    """Told once, which is all that its process is told, while a step works that is tried again."""
    run_id = upped.launch("predict", SESSION)
    history = History(Desk(load_settings(data_dir=upped.hydra.folder)))

    def begun() -> bool:
        story = history.story(run_id)
        return story is not None and "bars" in {step.key for step in story.steps}

    wait_for(begun, 60 * busy(), upped)
    assert history.cancel(run_id) == "The run was told to end"
    assert upped.end_of(run_id) == "CANCELED"
    story = history.story(run_id)
    assert story is not None and "predictions" not in {step.key for step in story.steps}


def test_a_run_that_is_killed_while_it_trades_is_over_and_the_next_trades_nothing_twice(
    upped: Upped,
) -> None:
    killed = upped.launch("daily_cycle", SESSION)
    process = upped.process_of(killed)
    wait_for(lambda: upped.hydra.orders_received() >= 3, 120, upped)
    os.kill(process, signal.SIGKILL)
    assert upped.end_of(killed, 20) == "FAILURE", "it is not called running for ever"

    # While the next one works, what launches runs and what has started this one die: it goes on.
    second = upped.launch("daily_cycle", SESSION)
    upped.process_of(second)
    before = {name: upped.pid(name) for name in ("daemon", "code-server")}
    at = time.time()
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: all(upped.pid(name) != pid for name, pid in before.items()), 30, upped)
    assert upped.end_of(second, 120) == "SUCCESS"
    # That the next one is launched again is seen in the UI, below.

    truth = upped.hydra.venue.truth()
    refs = Counter(order["order_ref"] for order in truth["orders"])
    assert len(refs) >= 3 and set(refs.values()) == {1}, "no order was sent twice"
    venue = {p["symbol"]: p["quantity"] for p in truth["positions"] if p["quantity"]}
    assert venue == {p["symbol"]: p["quantity"] for p in upped.hydra.json("positions")}
    wait_for(lambda: _sensors_ticked_after(upped, at), 60, upped)


def _sensors_ticked_after(upped: Upped, at: float) -> bool:
    query = (
        '{ sensorsOrError(repositorySelector: {repositoryName: "__repository__", '
        'repositoryLocationName: "hydra_pipelines"}) { ... on Sensors { results { name '
        "sensorState { ticks(limit: 1, statuses: [SKIPPED, SUCCESS]) { timestamp } } } } } }"
    )
    sensors = upped.query(query)["sensorsOrError"]["results"]
    ticks = {s["name"]: [t["timestamp"] for t in s["sensorState"]["ticks"]] for s in sensors}
    return any(tick > at for tick in ticks["promotion_sensor"])


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH: apt-get install chromium")
def test_an_asset_is_materialised_in_the_ui(upped: Upped) -> None:
    """After the deaths above: by the daemon and the code server that were started again."""
    playwright = pytest.importorskip("playwright.sync_api")
    refused, sockets = [], []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.set_default_timeout(60_000)
        page.on("response", lambda r: refused.append((r.status, r.url)) if r.status > 399 else None)
        page.on("websocket", lambda opened: sockets.append(opened.url))
        page.goto(f"{upped.url}/assets/bars?view=partitions&partition={RESEARCHED}")
        page.get_by_role("button", name="Materialize").first.click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_text("Show all partitions").click()
        chosen = dialog.locator("input[type=text]").first
        chosen.fill(RESEARCHED)
        chosen.press("Enter")
        dialog.get_by_role("button", name="Launch 1 run").click()
        dialog.wait_for(state="hidden")
        browser.close()
    latest = (
        '{ runsOrError(limit: 1, filter: {tags: [{key: "dagster/from_ui", value: "true"}]}) '
        "{ ... on Runs { results { runId assets { key { path } } } } } }"
    )
    wait_for(lambda: upped.query(latest)["runsOrError"]["results"], 20, upped)
    (run,) = upped.query(latest)["runsOrError"]["results"]
    assert upped.end_of(run["runId"]) == "SUCCESS"
    made = upped.query(latest)["runsOrError"]["results"][0]["assets"]
    assert {"key": {"path": ["bars"]}} in made
    assert refused == [] and sockets, "the guard lets the UI through, its subscriptions too"


def test_deaths_were_told_and_are_known(upped: Upped) -> None:
    for part in ("daemon", "code-server"):
        assert f"{part:<12} died: ended by SIGKILL" in upped.said
        assert upped.parts[part].component.pid == upped.pid(part)
        assert "[supervisor] died" in upped.log(part)
    told = upped.hydra.json("risk")["alerts"]
    assert {"component_down"} <= {alert["kind"] for alert in told}


def test_the_end_leaves_no_process(upped: Upped) -> None:
    assert len(processes_of(upped.hydra.folder)) >= 5
    upped.process_of(upped.launch("predict", RESEARCHED))
    took = upped.end()
    assert took < ENDS_WITHIN_S * busy()
    assert upped.process.returncode == 0, upped.said
    assert processes_of(upped.hydra.folder) == [], "not even the venue, or the run that went on"
    assert "Nothing runs any more." in upped.said
    assert upped.parts == {}
