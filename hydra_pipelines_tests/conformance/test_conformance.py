"""Other people's clients against the gateway: each walks the same scenario and sees the same.

`ib_insync` and `ib_async` belong to every run of the suite; `ibapi` (server version 157) and
`@stoqey/ib` (176) are for `make conformance`, which fetches them. One that can't be fetched is
skipped with the reason. Anything that a client reports as an error fails its test.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hydra_pipelines.paper_gateway.server import Connection
from hydra_pipelines.sessions import Calendar
from hydra_pipelines_tests.conformance import environments
from hydra_pipelines_tests.conformance.environments import Client, NotInstalled
from hydra_pipelines_tests.paper_gateway.served import ACCOUNT, Served, make_venue

FIELD_COUNTS = {
    176: {
        "openOrder": 136, "orderStatus": 12, "execDetails": 31, "commissionReport": 8,
        "completedOrder": 101, "error": 6, "position": 16,
    },
    157: {
        "openOrder": 128, "orderStatus": 12, "execDetails": 31, "commissionReport": 8,
        "completedOrder": 96, "error": 5, "position": 16,
    },
}  # fmt: skip
IDS = {
    5: "openOrder", 3: "orderStatus", 11: "execDetails", 59: "commissionReport",
    101: "completedOrder", 4: "error", 61: "position",
}  # fmt: skip

on_request = pytest.mark.skipif(
    os.environ.get("CONFORMANCE") != "1",
    reason="fetched by `make conformance` (or CONFORMANCE=1) only",
)


@pytest.fixture(scope="module")
def calendar(tmp_path_factory: pytest.TempPathFactory) -> Calendar:
    return Calendar.load("XNYS", tmp_path_factory.mktemp("calendar"))


@pytest.fixture
def served(calendar: Calendar, tmp_path: Path) -> Iterator[Served]:
    server = Served(lambda: make_venue(calendar, tmp_path / "venue.sqlite"))
    yield server
    server.stop()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[int]]:
    """The field counts, message id included, of what is sent."""
    counts: dict[str, set[int]] = {}
    send = Connection.send

    def count(connection: Connection, message: Any) -> None:
        if message[0] in IDS and len(message) > 2:
            counts.setdefault(IDS[message[0]], set()).add(len(message))
        send(connection, message)

    monkeypatch.setattr(Connection, "send", count)
    return counts


def walk(client: Client, served: Served) -> dict[str, Any]:
    at = served.endpoint
    done = subprocess.run(
        [*client.command, at.host, str(at.port), str(at.control_port), at.token],
        env={**os.environ, **client.environment}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])


def check(seen: dict[str, Any], served: Served, version: int) -> None:
    """What a client saw against the venue's own books."""
    truth = served.control.truth()
    assert seen["errors"] == []
    assert seen["version"] == version
    assert seen["accounts"] == [ACCOUNT]
    assert seen["first_id"] >= 1
    assert float(seen["summary"]["NetLiquidation"]) == 1_000_000
    con_id, symbol, currency = seen["contract"]
    assert con_id == served.venue.listing.named("ALFA").con_id
    assert (symbol, currency) == ("ALFA", "USD")
    bid, ask = seen["quote"]
    assert 0 < bid < ask < bid * 1.01
    assert seen["partial"][0] == "Submitted"
    assert 0 < seen["partial"][1] < 3000
    assert seen["filled"] == ["Filled", 3000]
    theirs = truth["executions"]
    assert seen["fills"] == [[e["exec_id"], e["shares"]] for e in theirs]
    assert seen["executions"] == [
        [e["exec_id"], e["shares"], float(e["price"]), "conformance/big"] for e in theirs
    ]
    assert seen["commissions"] == {e["exec_id"]: float(e["commission"]) for e in theirs}
    assert seen["working"] == ["conformance/far"]
    assert seen["cancelled"] == "Cancelled"
    assert seen["completed"] == [
        ["conformance/big", "Filled", 3000],
        ["conformance/far", "Cancelled", 0],
    ]
    assert seen["again"]["positions"] == {"ALFA": 3000}
    assert seen["again"]["open"] == ["conformance/rest"]
    assert seen["again"]["executions"] == len(theirs) > 1
    assert seen["again"]["next_id"] > max(o["order_id"] for o in truth["orders"])
    assert [o["status"] for o in truth["orders"]] == ["Filled", "Cancelled", "Submitted"]


def conforms(
    client: Client, served: Served, version: int, counted: dict[str, set[int]]
) -> dict[str, Any]:
    seen = walk(client, served)
    check(seen, served, version)
    assert counted == {name: {count} for name, count in FIELD_COUNTS[version].items()}
    return seen


def fetched(make: Callable[[Path], Client], folder: Path) -> Client:
    folder.mkdir()
    try:
        return make(folder)
    except NotInstalled as error:
        pytest.skip(f"not fetched: {error}")


def test_ib_insync(served: Served, counted: dict[str, set[int]]) -> None:
    conforms(environments.installed("ib_insync"), served, 176, counted)


def test_ib_async(served: Served, counted: dict[str, set[int]], tmp_path: Path) -> None:
    client = fetched(environments.ib_async, tmp_path / "environment")
    conforms(client, served, 176, counted)


@on_request
def test_ibapi(served: Served, counted: dict[str, set[int]], tmp_path: Path) -> None:
    conforms(fetched(environments.ibapi, tmp_path / "environment"), served, 157, counted)


@on_request
def test_stoqey(served: Served, counted: dict[str, set[int]], tmp_path: Path) -> None:
    conforms(fetched(environments.stoqey, tmp_path / "environment"), served, 176, counted)
