"""Every page on every state of the stores: it renders, and what it does not know it says."""

from __future__ import annotations

import html
import re
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hydra_pipelines.day.timetable import next_run, timetable
from hydra_pipelines.defs.instance import desk_instance
from hydra_pipelines.defs.switching import switch
from hydra_pipelines.desk import Desk
from hydra_pipelines.sessions import NEW_YORK
from hydra_pipelines.settings import load_settings
from hydra_pipelines_tests.conftest import TradedDesk
from hydra_pipelines_tests.dashboard import stores
from hydra_pipelines_tests.dashboard.served import PAGES, Client, dashboard

FRAGMENTS = ("/api/fills/recent", "/api/agent/state")
DATA = ("status", "positions", "fills", "orders", "equity", "models", "risk", "audit")
READS_LEDGER = ("/", "/positions", "/fills", "/orders", "/models", "/audit")


def words_of(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def visit(client: Client) -> dict[str, str]:
    """All pages, as text; each has to be there, and whole."""
    seen = {}
    for path in (*PAGES, *FRAGMENTS):
        answer = client.get(path)
        assert answer.status == 200, (path, answer.text)
        assert "Traceback" not in answer.text, path
        seen[path] = words_of(answer.text)
    for name in DATA:
        answer = client.get(f"/api/v1/{name}")
        assert answer.status == 200, (name, answer.text)
        assert answer.json().keys() == {"data", "why", "as_of"}
    assert client.get("/api/system/status").status == 200
    return seen


def test_without_any_stores_pages_say_what_to_do(tmp_path: Path) -> None:
    with dashboard(tmp_path / "nothing") as client:
        seen = visit(client)
        for path in READS_LEDGER:
            assert "No data." in seen[path] and "hydra cycle" in seen[path], path
        assert "No data. no run was recorded yet" in seen["/workflows"]
        assert "missing" in seen["/system"]
        assert client.get("/api/v1/positions").json()["why"].startswith("there is no ledger yet")
        status = client.get("/api/system/status").json()
        assert status["desk"]["last_cycle"] is None
        assert {s["name"]: s["state"] for s in status["stores"]}["ledger"] == "missing"
    assert not (tmp_path / "nothing" / "hydra.duckdb").exists()
    assert not (tmp_path / "nothing" / "dagster").exists()


def test_empty_stores_are_not_taken_for_missing_ones(tmp_path: Path) -> None:
    with dashboard(stores.empty(tmp_path / "desk")) as client:
        seen = visit(client)
        assert "No positions. They appear after the first cycle" in seen["/positions"]
        assert "No fills yet" in seen["/fills"]
        assert client.get("/api/v1/positions").json() | {"as_of": None} == {
            "data": [],
            "why": "",
            "as_of": None,
        }


def test_stores_of_an_older_schema_are_left_alone(traded: Path, tmp_path: Path) -> None:
    folder = stores.aged(stores.copy_of(traded, tmp_path / "desk"))
    before = {name: (folder / name).read_bytes() for name in ("hydra.duckdb",)}
    with dashboard(folder) as client:
        seen = visit(client)
        for path in READS_LEDGER:
            assert "schema version 1" in seen[path] and "hydra status" in seen[path], path
        assert "old" in seen["/system"]
    assert {name: (folder / name).read_bytes() for name in before} == before


def _damaged(folder: Path) -> None:
    (folder / "hydra.snapshot.duckdb").write_bytes(b"no database" * 1000)


def _unpublished(folder: Path) -> None:
    (folder / "hydra.snapshot.duckdb").unlink()


def _control_damaged(folder: Path) -> None:
    for left in folder.glob("control.sqlite*"):
        left.unlink()
    (folder / "control.sqlite").write_bytes(b"no database" * 1000)


def _no_control_access(folder: Path) -> None:
    for left in folder.glob("control.sqlite*"):
        left.unlink()
    (folder / "control.sqlite").mkdir()


@pytest.mark.parametrize(
    ("harm", "path", "said"),
    [
        (_damaged, "/fills", "can't be read"),
        (_unpublished, "/fills", "never published"),
        (_control_damaged, "/", "Controls unknown"),
        (_no_control_access, "/system", "Controls unknown"),
    ],
)
def test_a_store_that_can_not_be_used_is_told_in_its_place(
    traded: Path, tmp_path: Path, harm: Callable[[Path], None], path: str, said: str
) -> None:
    folder = stores.copy_of(traded, tmp_path / "desk")
    harm(folder)
    with dashboard(folder) as client:
        assert said in visit(client)[path]


def test_a_store_that_somebody_holds_is_told_and_the_rest_stays(
    traded: Path, tmp_path: Path
) -> None:
    folder = stores.copy_of(traded, tmp_path / "desk")
    held = sqlite3.connect(folder / "control.sqlite", isolation_level=None)
    held.execute("PRAGMA locking_mode = EXCLUSIVE")
    held.execute("PRAGMA journal_mode = DELETE")
    held.execute("BEGIN EXCLUSIVE")
    try:
        with dashboard(folder) as client:
            page = client.get("/positions")
            assert page.status == 200
            assert "Controls unknown" in page.text and "AAPL" in page.text
    finally:
        held.close()


def test_a_traded_desk_is_shown_with_its_own_figures(
    client: Client, traded_desk: TradedDesk
) -> None:
    seen = visit(client)
    account = traded_desk.status["account"]
    assert f"{float(account['equity']):,.2f} USD" in seen["/"]
    assert f"{len(traded_desk.trades)}" in seen["/"]
    for row in traded_desk.positions:
        assert f"{row['symbol']} {row['quantity']:,}" in seen["/positions"]
    first = traded_desk.trades[0]
    assert f"{first['symbol']} {first['side']} {first['quantity']:,}" in seen["/fills"]
    assert "daily_cycle success" in seen["/workflows"]
    assert "Dagster webserver does not answer" in seen["/workflows"]


def test_the_overview_says_whether_the_schedule_trades_and_when_next(
    client: Client, traded: Path
) -> None:
    """The switch is the instance's: the daemon goes by it, and so does the page."""
    desk = Desk(load_settings(data_dir=traded))
    s = desk.settings
    (slot,) = (one for one in timetable(s.schedule, s.execution.start) if one.name == "trading")
    said = words_of(client.get("/").text)
    assert "Not halted" in said and "Trading schedule off plans are worked by nobody" in said

    def due() -> str:
        found = next_run(slot, datetime.now(UTC), desk.calendar)
        assert found is not None
        return f"{found[0].astimezone(NEW_YORK):next %a %Y-%m-%d, %H:%M} New York"

    with desk_instance(desk) as instance:
        switch(instance, slot, True)
        before, said, after = due(), words_of(client.get("/").text), due()
        switch(instance, slot, False)
    assert any(f"Trading schedule on {when}" in said for when in (before, after)), said
    assert "Trading schedule off" in words_of(client.get("/").text)


def test_from_a_fill_one_comes_to_its_model_by_links(client: Client) -> None:
    fills = client.get("/fills").text
    trace = client.get(re.search(r'href="(/audit/fills/[^"]+)"', fills).group(1)).text
    order = client.get(re.search(r'href="(/orders/[^"?]+)"', trace).group(1)).text
    assert "approved" in order and "Risk gate" in order
    plan = client.get(html.unescape(re.search(r'href="(/orders\?session=[^"]+)"', order).group(1)))
    assert "Plan of session" in plan.text
    predicted = re.search(r'href="(/models\?session=[^"]+)"', plan.text).group(1)
    page = client.get(html.unescape(predicted)).text
    version = re.search(r'href="(/models/HYP[^"?]+\?version=\d+)"', page).group(1)
    assert "Figures of the version" in client.get(html.unescape(version)).text
    assert "Snapshot" in words_of(trace)


def test_filters_and_pages_of_fills_are_kept_in_the_address(
    client: Client, traded_desk: TradedDesk
) -> None:
    symbol = traded_desk.trades[0]["symbol"]
    wanted = [t for t in traded_desk.trades if t["symbol"] == symbol]
    page = client.get(f"/fills?symbol={symbol.lower()}&side=&first=&last=")
    assert f"Fit the filter {len(wanted)}" in words_of(page.text)
    rows = re.findall(r'data-label="Symbol"', page.text[: page.text.index('id="t-points"')])
    assert len(rows) == len(wanted)
    assert f'hx-get="/fills?symbol={symbol.lower()}&amp;side=' in page.text


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/nothing", 404),
        ("/orders/nothing", 404),
        ("/models/HYP-0000-000", 404),
        ("/workflows/nothing", 404),
        ("/audit/fills/nothing", 404),
        ("/drift/report/77", 404),
        ("/done/nothing", 404),
        ("/confirm/nothing", 404),
        ("/static/../app.py", 404),
        ("/fills?session=yesterday", 422),
        ("/fills?page=-1", 422),
        ("/orders?state=happy", 422),
        ("/workflows?status=happy", 422),
        ("/workflows?time=ever", 422),
    ],
)
def test_what_is_not_there_is_told_as_a_page(client: Client, path: str, status: int) -> None:
    answer = client.get(path)
    assert answer.status == status
    assert "Traceback" not in answer.text
    plain = client.get(path, accept="application/json")
    assert plain.status == status and "<html" not in plain.text


def test_a_refresh_gets_the_live_part_alone(client: Client) -> None:
    whole, part = client.get("/positions").text, client.get("/positions", hx_request="true").text
    assert "<!doctype html>" in whole and "<!doctype html>" not in part
    assert 'id="t-positions"' in part and "<nav" not in part


def test_the_api_reads_only_and_is_described(client: Client) -> None:
    schema = client.get("/api/openapi.json").json()
    methods = {m for operations in schema["paths"].values() for m in operations}
    assert methods == {"get"}
    assert "/api/v1/equity" in schema["paths"]
    docs = words_of(client.get("/docs").text)
    for path in schema["paths"]:
        assert f"GET {path}" in docs


def test_nothing_is_fetched_from_elsewhere(client: Client) -> None:
    for path in PAGES:
        fetched = re.findall(r'(?:<link[^>]*\shref|\ssrc)="([^"]*)"', client.get(path).text)
        assert len(fetched) > 5
        assert [address for address in fetched if not re.match(r"/[^/]", address)] == [], path
