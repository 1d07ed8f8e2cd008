"""Every fault of the menu in a day of trading: the desk ends with the venue's books, or in doubt.

What came of each is kept as a table in docs/reliability.md, and compared with it. To write it anew:

    python -m hydra_pipelines_tests.scenarios.test_faults

Here run a few random schedules; for many, see `faulty`.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hydra_pipelines.paper_gateway.faults import MENU
from hydra_pipelines.sessions import Calendar
from hydra_pipelines_tests.scenarios.faulty import FaultyShop, Outcome, trade, trade_on

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
SEEDS = range(12)


@dataclass(frozen=True)
class Case:
    """A script, and a word on what it adds to the fault it is named for."""

    fault: str
    script: list[dict[str, Any]]
    more: str = ""

    @property
    def name(self) -> str:
        return f"{self.fault}{f' ({self.more})' if self.more else ''}"


def case(fault: str, more: str = "", *others: Mapping[str, Any], **options: Any) -> Case:
    return Case(fault, [{"fault": fault, **options}, *map(dict, others)], more)


BETA, LAST = {"symbol": "BETA"}, {"symbol": "THIN"}
"""LAST is the symbol whose order is written last: whether one after it was is a race."""
DROP = {"fault": "drop_after_place", **LAST}
SILENT = {"fault": "silent_order", **BETA}
CASES = (
    case("client_id_in_use", times=2),
    case("silent_greeting"),
    case("id_rollback", "before a retry", {"fault": "drop_before_place", **LAST}, after=1),
    case("drop_before_place", **LAST),
    case("drop_before_place", "and again at the retry", times=2, **LAST),
    case("drop_after_place", **LAST),
    case("silent_connection", **LAST),
    case("outage", "1101, fills in between never told", symbol="THIN", minutes=3, code=1101),
    case("outage", "1102, fills in between told late", symbol="THIN", minutes=3, told="late"),
    case("outage", "for longer than the work lasts", minutes=60, **LAST),
    case("read_only", times=0),
    case("read_only", "for three orders", after=3, times=3),
    case("silent_order", **BETA),
    case("silent_order", "an order that rests", symbol="THIN"),
    case("notice_10349", times=0),
    case("partial_then_reject", **BETA),
    case("overfill", shares=7, **BETA),
    case("correction", times=0, ticks=2),
    case("fill_after_cancel", symbol="THIN"),
    case("status_after_fill", times=0),
    case("duplicate_status", times=0),
    case("missing_status", times=0),
    case("reordered_status", times=0),
    case("late_status", times=0),
    case("late_commission", times=0),
    case("missing_commission", times=0),
    case("missing_commission", "nor told of when asked", DROP, times=0),
    *(
        case("missing_end", f"of {what}", of=what, after=after)
        for what, after in (
            ("openOrders", 0), ("executions", 1), ("positions", 1), ("completedOrders", 0),
            ("account", 0), ("contract", 0), ("snapshot", 0),
        )
    ),
    case("forgotten_executions", times=0),
    case("forgotten_executions", "of an order never told of", SILENT, times=0),
    case("no_zone", times=0),
    case("no_market_data", "354, delayed data instead", times=0),
    case("no_market_data", "10089, delayed data instead", times=0, code=10089),
    case("no_market_data", "354, no data at all", times=0, delayed=False),
    case("no_market_data", "10197, for one symbol", symbol="BETA", code=10197, delayed=False),
)  # fmt: skip
NOT_TRADED = {"no_history"}
"""Faults in what a day of trading never asks for; shown beside the gateway's own tests."""


@pytest.fixture(scope="module")
def calendar(tmp_path_factory: pytest.TempPathFactory) -> Calendar:
    return Calendar.load("XNYS", tmp_path_factory.mktemp("calendar"))


@pytest.fixture
def shop(calendar: Calendar, tmp_path: Path) -> Iterator[FaultyShop]:
    made = FaultyShop(tmp_path / "shop", calendar)
    yield made
    made.close()


def documented() -> dict[str, str]:
    """Case -> outcome, as the document has them."""
    table = DOCUMENT.read_text().split(BEGIN)[1].split(END)[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")]
    return {re.sub("`", "", row[0]).strip(): row[2].strip() for row in rows[2:]}


def row(case: Case, outcome: Outcome) -> str:
    what = f"`{case.fault}`{f' ({case.more})' if case.more else ''}"
    return f"| {what} | {MENU[case.fault].does} | {outcome.text} |"


def test_every_fault_of_the_menu_has_a_case() -> None:
    assert {case.fault for case in CASES} == set(MENU) - NOT_TRADED
    assert [case.name for case in CASES] == list(documented())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_fault_ends_in_agreement_or_in_doubt(
    case: Case, shop: FaultyShop, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = trade(shop, case.script)
    assert outcome.struck[case.fault] > 0, "the fault never came to its occasion"
    with capsys.disabled():
        print(f"\n{case.name:60} {outcome.text}", end="")
    assert documented()[case.name] == outcome.text


@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_schedule_ends_in_agreement_or_in_doubt(shop: FaultyShop, seed: int) -> None:
    day = trade_on if seed % 2 else trade
    day(shop, {"random": {"seed": seed}})


def main() -> None:
    """Writes the table of the document anew."""
    rows = ["| fault | what the gateway does | what comes of it |", "| --- | --- | --- |"]
    with tempfile.TemporaryDirectory() as folder:
        calendar = Calendar.load("XNYS", Path(folder))
        for number, case in enumerate(CASES):
            shop = FaultyShop(Path(folder) / str(number), calendar)
            try:
                rows.append(row(case, trade(shop, case.script)))
            finally:
                shop.close()
            print(rows[-1])
    text = DOCUMENT.read_text()
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    DOCUMENT.write_text("\n".join((f"{before}{BEGIN}", *rows, f"{END}{after}")))


if __name__ == "__main__":
    main()
