"""`hydra doctor`: what is wrong, each thing by itself."""

from __future__ import annotations

import json
import re
from typing import Any

from hydra_pipelines.ledger.store import Ledger
from hydra_pipelines.paper_gateway.launch import ensure_running
from hydra_pipelines_tests.conftest import TradedDesk
from hydra_pipelines_tests.desks import OK, REFUSED, CommandLine


def findings(hydra: CommandLine, code: int, **environment: str) -> dict[str, Any]:
    done = hydra.run("doctor", "--json", **environment)
    assert done.returncode == code, done.stderr
    said = json.loads(done.stdout)
    assert said["healthy"] is (code == OK)
    assert said["healthy"] is all(finding["ok"] for finding in said["findings"])
    return {f["check"]: f for f in said["findings"]}


def test_a_healthy_desk(traded_desk: TradedDesk) -> None:
    # Its venue ends by itself when the tests before this one left it alone for long.
    ensure_running(traded_desk.hydra.folder / "paper")
    found = findings(traded_desk.hydra, OK)
    assert {"python", "dagster", "data", "disk", "calendar", "market data", "strategies", "limits",
            "control", "ledger", "venue"} <= set(found)  # fmt: skip
    assert re.fullmatch(r"schema \d+, \d+ sessions planned", found["ledger"]["detail"])
    assert found["market data"]["detail"] == "sample: 20 symbols, 1990-01-02 to 2022-12-28"
    assert found["strategies"]["detail"] == "HYP-2026-001, HYP-2026-002"
    assert re.fullmatch(r"embedded, port \d+", found["venue"]["detail"])
    words = traded_desk.hydra.run("doctor").stdout
    assert words.count("\nok ") + 1 == len(found) and "WRONG" not in words


def test_a_desk_with_much_that_is_wrong(broken: CommandLine) -> None:
    """Each thing by itself: what is broken hides nothing of the rest."""
    (broken.folder / "control.sqlite").mkdir()
    ledger = Ledger(broken.folder / "hydra.duckdb")
    ledger.publish()
    ledger.path.write_bytes(b"damaged")  # the snapshot that readers use is sound
    magic = {"id": "HYP-2026-009", "title": "x", "family": "momentum", "features": ["magic"]}
    environment = {
        "HYDRA_MARKET__OPTIONS__PATH": str(broken.folder / "missing.parquet"),
        "HYDRA_STRATEGIES": json.dumps([{**magic, "status": "deployed"}]),
    }
    found = findings(broken, REFUSED, **environment)
    wrong = {name: finding["detail"] for name, finding in found.items() if not finding["ok"]}
    assert set(wrong) == {"market data", "strategies", "control", "control store", "ledger"}
    assert "missing.parquet" in wrong["market data"]
    assert "'magic'" in wrong["strategies"]
    assert "control.sqlite" in wrong["control"]
    assert "is damaged" in wrong["ledger"] and "hydra restore" in wrong["ledger"]
    done = broken.run("doctor", **environment)
    assert done.stdout.count("WRONG") == len(wrong)
    assert "see the lines marked WRONG" in done.stderr


def test_doctor_makes_no_ledger_and_starts_no_venue(empty: CommandLine) -> None:
    found = findings(empty, OK)
    assert found["ledger"]["detail"] == "none yet, made by the first cycle"
    assert found["venue"]["detail"] == "embedded, starts with a cycle"
    assert not (empty.folder / "hydra.duckdb").exists()
