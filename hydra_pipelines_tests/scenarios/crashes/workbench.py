"""Where cases are played: homes made by copy, a venue each, and runs that die and are run again.

A case is a day of one route, the runs of it that are killed and where, and the faults of the venue.
Playing it ends with a run in peace and the judgement of `faulty`, made stricter where nothing but
kills happened: then everything can be known, so nothing may be in doubt.
"""

from __future__ import annotations

import itertools
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb

from hydra_pipelines.sessions import Calendar
from hydra_pipelines_tests.execution.orders.workshop import NEXT, SESSION, SYMBOLS
from hydra_pipelines_tests.scenarios.crashes.boundaries import Kill
from hydra_pipelines_tests.scenarios.crashes.forks import KILLED, Answer, ForkServer
from hydra_pipelines_tests.scenarios.faulty import (
    LIVE,
    FaultyShop,
    Outcome,
    Plan,
    in_short,
    judge,
    once_each,
)

RUNS = 4
"""Runs of a case after those that are killed: the last one without faults."""
REPLY = timedelta(minutes=5)
"""Venue time until a run that the venue's faults have stopped is started again."""


_PATIENT = {"start": "10:00", "work_minutes": 30, "routing": "auto", "max_slippage_bps": 100}
ROUTES: Mapping[str, Mapping[str, Any]] = {
    "limit": {"start": "10:00", "work_minutes": 6, "routing": "market"},
    "patience": {**_PATIENT, "patience_s": 60, "steps": 3, "step_s": 60},
    "evening": {
        **_PATIENT,
        "send": "evening",
        "start": "09:30",
        "work_minutes": 1,
        "collar": 0.0001,
        "patience_s": 30,
        "steps": 1,
        "step_s": 30,
    },
    "TWAP": {**_PATIENT, "thin": SYMBOLS, "twap_minutes": 8, "twap_slices": 2, "steps": 2},
}
"""How the desk is set to work orders; the bound on slippage is beyond what a spread asks for.

Of the evening's orders the open fills some, one in part, and one not at all: with so narrow a
collar the night moves BETA away from its limit, and THIN has more to sell than a minute takes.
"""
DAYS = ("buys", "both sides")
"""The first day of a desk, and one that begins with positions: sales, then buys."""
OPENING: Plan = (("ALFA", "BUY", 300, 300), ("BETA", "BUY", 100, 100), ("THIN", "BUY", 60, 60))
LIQUID = ("ALFA", "BETA", "DEEP")
"""Whose orders come to their target when nothing but kills happens."""


@dataclass(frozen=True)
class Case:
    """kills: where the first, second ... run dies. faults: a script for the venue. pause_s: venue
    time until the next run. without: a layer of safety that is taken out of the runs after the
    first (see `trading`)."""

    route: str
    day: str = "both sides"
    kills: tuple[Kill, ...] = ()
    faults: Any = ()
    pause_s: int = 0
    one_connection: bool = True
    without: str = ""

    @property
    def in_time(self) -> bool:
        """Whether a run that takes over has the time that its orders were given."""
        return self.route == "limit" or not self.pause_s

    @property
    def name(self) -> str:
        dies = ", then ".join(kill.name for kill in self.kills) or "never killed"
        return f"{self.route}, {self.day}: {dies}" + (f"; {self.faults}" if self.faults else "")


@dataclass
class Played:
    """What came of a case. died: how many of its kills came to their boundary. wrong: what the
    judgement found, empty where it found nothing."""

    case: Case
    died: int = 0
    outcome: Outcome = field(default_factory=Outcome)
    wrong: str = ""

    @property
    def end(self) -> str:
        if self.wrong:
            return "wrong"
        return "frozen" if self.outcome.frozen else "agree"


class Workbench:
    """Plays cases, one after another, in a folder of its own. Use as a context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._calendar = Calendar.load("XNYS", folder / "calendar")
        self._numbers = itertools.count()
        self._templates: dict[str, tuple[Path, Plan]] = {}
        self.forks = ForkServer(folder / "calendar")

    def __enter__(self) -> Workbench:
        self.forks.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.forks.__exit__(*error)

    def enumerate(self, route: str, day: str = "both sides") -> list[Kill]:
        """Every boundary of a quiet run of a route's day, in their order."""
        with self.shop(Case(route, day)) as (shop, plan):
            answer = self.run(shop, Case(route, day), 0, tell=True)
            assert "report" in answer, answer
            judge(shop, Outcome(), plan, session_of(day), overfills=False)
            judge_kills_alone(shop, Outcome(), plan)
        counts: Counter[tuple[str, str]] = Counter()
        out = []
        for kind, side in answer["passed"]:
            counts[kind, side] += 1
            out.append(Kill(kind, counts[kind, side], side))
        return out

    def play(self, case: Case) -> Played:
        played = Played(case)
        with self.shop(case) as (shop, plan):
            try:
                self._play(shop, plan, played)
            except AssertionError as error:
                played.wrong = str(error) or repr(error)
        return played

    def _play(self, shop: FaultyShop, plan: Plan, played: Played) -> None:
        case, outcome = played.case, played.outcome
        shop.gateway.set_faults(case.faults or [])
        run = 0
        for kill in case.kills:
            answer = self.run(shop, case, run, kill=kill)
            run += 1
            if answer["status"] == KILLED:
                played.died += 1
                look_in_between(shop)
            elif "report" in answer:
                _hear(outcome, answer)
            else:
                outcome.stops.append(_in_short_of(answer))
            pause = case.pause_s if answer["status"] == KILLED else REPLY.seconds
            shop.clock.wait_until(shop.clock.now() + timedelta(seconds=pause))
        for last in range(run, run + RUNS):
            if last == run + RUNS - 1:
                outcome.struck = shop.gateway.faults()["struck"]
                shop.gateway.set_faults([])
            answer = self.run(shop, case, last)
            if "report" in answer:
                _hear(outcome, answer)
                break
            assert case.faults, f"a run that nothing disturbed stopped: {answer}"
            outcome.stops.append(_in_short_of(answer))
            shop.clock.wait_until(shop.clock.now() + REPLY)
        if case.faults:
            outcome.struck = outcome.struck or shop.gateway.faults()["struck"]
            shop.gateway.set_faults([])
            # What is in doubt still is looked at once more by a gateway that behaves.
            answer = self.run(shop, case, run + RUNS)
            _hear(outcome, answer)
        with shop.ledger.session():
            overfills = outcome.struck.get("overfill", 0) > 0
            judge(shop, outcome, plan, session_of(case.day), overfills=overfills)
            published(shop)
            if not case.faults:
                judge_kills_alone(shop, outcome, plan, in_time=case.in_time)

    def run(self, shop: FaultyShop, case: Case, number: int, **more: Any) -> Answer:
        """One run of the case's day, in a process of its own."""
        return self.forks.run(self.request(shop, case, number, **more))

    def request(
        self, shop: FaultyShop, case: Case, number: int, kill: Kill | None = None, **more: Any
    ) -> dict[str, Any]:
        return {
            "home": str(shop.home),
            "venue": asdict(shop.venue),
            "session": str(session_of(case.day)),
            "run_id": f"run-{number}",
            "work": ROUTES[case.route],
            "kill": asdict(kill) if kill else None,
            "one_connection": case.one_connection,
            "without": case.without if number else "",
            **more,
        }

    @contextmanager
    def shop(self, case: Case) -> Iterator[tuple[FaultyShop, Plan]]:
        """A home of its own for a case, with its plan made and a venue served, and thrown away."""
        if case.day not in self._templates:
            self._templates[case.day] = self._template(case.day)
        template, plan = self._templates[case.day]
        home = self._folder / f"case-{next(self._numbers)}"
        shutil.copytree(template, home)
        shop = FaultyShop(home, self._calendar)
        try:
            yield shop, plan
        finally:
            shop.close()
            shutil.rmtree(home)

    def _template(self, day: str) -> tuple[Path, Plan]:
        """A home with the day's plan, after a quiet first day where it needs one."""
        home = self._folder / f"template {day}"
        shop = FaultyShop(home, self._calendar)
        try:
            if day == "buys":
                plan, session = OPENING, SESSION
            else:
                shop.plan(*OPENING, session=SESSION)
                quiet = Case("limit", "buys")
                assert "report" in self.run(shop, quiet, 0)
                shop.clock.wait_until(self._calendar.close(NEXT))
                thin = shop.journal_positions()["THIN"]
                plan, session = both_sides(thin), NEXT
            shop.plan(*plan, session=session)
        finally:
            shop.close()
        return home, plan


def session_of(day: str) -> date:
    """The signal session that is worked on such a day."""
    return SESSION if day == "buys" else NEXT


def both_sides(thin: int) -> Plan:
    """Sales that reduce, one of which fills in parts; buys that add to a position and open one."""
    return (
        ("ALFA", "SELL", 200, 100), ("THIN", "SELL", thin - 4, 4),
        ("BETA", "BUY", 50, 150), ("DEEP", "BUY", 50, 50),
    )  # fmt: skip


def look_in_between(shop: FaultyShop) -> None:
    """What has to be true while nobody trades: no two orders work for one row, none is there twice,
    and readers can read."""
    truth = shop.truth()
    once_each(truth)
    live = Counter((o["symbol"], o["action"]) for o in truth["orders"] if o["status"] in LIVE)
    assert all(count == 1 for count in live.values()), f"several orders work at once: {live}"
    if shop.ledger.snapshot_path.exists():
        _trades_in(shop.ledger.snapshot_path)


def published(shop: FaultyShop) -> None:
    """What readers see is what the ledger has."""
    with shop.ledger.transaction() as tx:
        live = tx.value("SELECT count(*) FROM executed_trades")
    shown = _trades_in(shop.ledger.snapshot_path)
    assert shown == live, f"{shown} trades published of {live}"


def judge_kills_alone(
    shop: FaultyShop, outcome: Outcome, plan: Plan, *, in_time: bool = True
) -> None:
    """With a venue that behaves everything can be known: nothing is in doubt, nothing is lost.

    in_time: nothing was cancelled because its time went by while nobody traded.
    """
    assert not outcome.frozen, f"frozen, though the venue answers: {outcome.frozen}"
    if not in_time:
        return
    held = {p["symbol"]: p["quantity"] for p in shop.truth()["positions"]}
    for symbol, _, _, target in plan:
        if symbol in LIQUID:
            assert held.get(symbol, 0) == target, f"{symbol}: {held.get(symbol, 0)} of {target}"


def _trades_in(snapshot: Path) -> int:
    connection = duckdb.connect(":memory:")
    try:
        connection.execute(f"ATTACH '{snapshot}' AS ledger (READ_ONLY)")
        row = connection.execute("SELECT count(*) FROM ledger.executed_trades").fetchone()
        return row[0] if row else 0
    finally:
        connection.close()


def _hear(outcome: Outcome, answer: Answer) -> None:
    assert "report" in answer, f"stopped in peace: {answer}"
    outcome.notes += answer["report"]["notes"]


def _in_short_of(answer: Answer) -> str:
    return in_short(RuntimeError(answer["why"])).removeprefix("RuntimeError: ")
