"""A spread of the crash matrix, and proof that it would notice if a layer of safety were missing.

All of it runs by `make crash-matrix`; see `matrix`. What a boundary is, is `boundaries`' business.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from hydra_pipelines_tests.scenarios.crashes import matrix
from hydra_pipelines_tests.scenarios.crashes.boundaries import KINDS, Kill
from hydra_pipelines_tests.scenarios.crashes.forks import KILLED
from hydra_pipelines_tests.scenarios.crashes.workbench import (
    OPENING,
    ROUTES,
    Case,
    Workbench,
    published,
)

SEEDS = (*range(15), *range(matrix.EVENINGS, matrix.EVENINGS + 3))
Points = Mapping[str, Sequence[Kill]]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    with Workbench(tmp_path_factory.mktemp("crashes")) as made:
        yield made


@pytest.fixture(scope="module")
def points(bench: Workbench) -> Points:
    """Every boundary of every route; enumerating them judges a quiet run of each as well."""
    return {route: bench.enumerate(route) for route in ROUTES}


def spread(points: Points) -> list[Case]:
    """Each kind, on one of the routes that have it."""
    chosen = []
    for number, kind in enumerate(KINDS):
        routes = [r for r, some in points.items() if any(point.kind == kind for point in some)]
        chosen.append((routes[number % len(routes)], kind))
    out = []
    for number, (route, kind) in enumerate(chosen):
        of_kind = [point for point in points[route] if point.kind == kind]
        kill = of_kind[len(of_kind) * (number + 1) // (len(chosen) + 1)]
        # Each third one dies a second time, while it reconciles.
        kills = (kill, Kill("", 5 + 2 * number)) if number % 3 == 1 else (kill,)
        out.append(Case(route, kills=kills, pause_s=matrix.PAUSES_S[number % 3]))
    return out


def test_there_are_enough_distinct_points(points: Points) -> None:
    assert sum(map(len, points.values())) >= 200
    kinds = {point.kind for some in points.values() for point in some}
    assert kinds == set(KINDS), "a boundary that no run comes by is none"
    # Repricing is the patient routes' own, and every route buys and sells.
    assert {r for r, some in points.items() if any(p.kind == "change write" for p in some)} == {
        "patience", "evening", "TWAP",
    }  # fmt: skip
    assert any(p.kind == "cancel write" for p in points["evening"])


def test_a_killed_run_is_picked_up_wherever_it_died(bench: Workbench, points: Points) -> None:
    cases = spread(points)
    assert {case.kills[0].kind for case in cases} == set(KINDS)
    played = [bench.play(case) for case in cases]
    assert all(one.died for one in played), [one.case.name for one in played if not one.died]
    assert sum(one.died > 1 for one in played) > 3, "restarted runs are to die too"
    assert not [(one.case.name, one.wrong) for one in played if one.wrong]
    assert {one.case.kills[0].side for one in played} == {"before", "after"}


@pytest.mark.parametrize("kind, side", [
    ("change write", "after"), ("cancel write", "before"), ("cancel write", "after"),
])  # fmt: skip
def test_the_run_that_takes_over_what_the_open_left_may_die(
    bench: Workbench, points: Points, kind: str, side: str
) -> None:
    played = bench.play(Case("evening", kills=(first(points["evening"], kind, side),)))
    assert played.died and not played.wrong


@pytest.mark.parametrize("seed", SEEDS)
def test_kills_and_faults_together_end_in_agreement_or_in_doubt(
    bench: Workbench, seed: int
) -> None:
    played = bench.play(matrix.schedule(seed))
    assert not played.wrong, played.case.name


# Layers of safety, taken out one at a time.

WRONG_WITHOUT = {
    "reconciliation": "frozen, though the venue answers",
    "de-duplication": "several attempts of one slice reached the venue",
    "memory of the row": "BETA: 100 of 150",
}
"""What the judgement finds."""


def first(points: Sequence[Kill], kind: str, side: str, nth: int = 1) -> Kill:
    return next(p for p in points if (p.kind, p.side, p.nth) == (kind, side, nth))


def case_that_needs(layer: str, points: Points) -> Case:
    """A case that only comes right with the layer."""
    match layer:
        case "reconciliation":
            # Four orders; all are written and the last two are in the air.
            return Case("limit", kills=(first(points["limit"], "order write", "after", 4),))
        case "de-duplication":
            # The first slices have ended when it dies; what the next run sends is looked at.
            next_order = Kill("order write", 1, "after")
            return Case(
                "TWAP", kills=(first(points["TWAP"], "order write", "before", 3), next_order)
            )
        case "memory of the row":
            return Case("patience", kills=(first(points["patience"], "change write", "after", 1),))
    raise AssertionError(layer)


@pytest.mark.parametrize("layer", WRONG_WITHOUT)
def test_the_matrix_fails_without(layer: str, bench: Workbench, points: Points) -> None:
    case = case_that_needs(layer, points)
    whole = bench.play(case)
    assert whole.died == len(case.kills) and not whole.wrong
    without = bench.play(replace(case, without=layer))
    assert without.died == len(case.kills)
    assert WRONG_WITHOUT[layer] in without.wrong, without.wrong


def test_only_the_overshoot_check_stands_when_the_ledger_is_lost(bench: Workbench) -> None:
    """A ledger restored from before the orders were sent knows nothing of them."""
    assert {s: q for s, q in positions_after_a_lost_ledger(bench, "").items() if s != "THIN"} == {
        "ALFA": 300, "BETA": 100,
    }  # fmt: skip
    lost = positions_after_a_lost_ledger(bench, "overshoot check")
    assert lost["ALFA"] > 300 or lost["BETA"] > 100, lost


def positions_after_a_lost_ledger(bench: Workbench, without: str) -> dict[str, int]:
    """What the venue holds after a day that was worked twice, with nothing known of the first."""
    case = Case("limit", "buys", without=without)
    with bench.shop(case) as (shop, _):
        kept = shop.home / "kept.duckdb"
        shutil.copy(shop.ledger.path, kept)
        assert "report" in bench.run(shop, case, 0)
        for file in shop.home.glob("desk.duckdb*"):
            file.unlink()
        shutil.copy(kept, shop.ledger.path)
        shop.clock.wait_until(shop.clock.now() + timedelta(minutes=5))
        bench.run(shop, case, 1)
        return {p["symbol"]: p["quantity"] for p in shop.truth()["positions"]}


# Several runs of one session.


@pytest.mark.parametrize("route", ROUTES)
def test_two_runs_at_once_send_one_set_of_orders(bench: Workbench, route: str) -> None:
    """A schedule that ticks twice: the second run waits for the first, and finds it all done."""
    case = Case(route, "buys")
    with bench.shop(case) as (shop, plan):
        requests = [bench.request(shop, case, number, lock_timeout_s=60) for number in (0, 1)]
        answers = bench.forks.run_at_once(requests)
        sent = sorted(answer["report"]["sent"] for answer in answers)
        orders = shop.truth()["orders"]
        assert sent == [0, len(orders)] and len(orders) >= len(plan)
        assert len({order["order_ref"] for order in orders}) == len(orders)
        # A retry of the same session, after all that.
        assert bench.run(shop, case, 2)["report"]["sent"] == 0
        assert len(shop.truth()["orders"]) == len(orders)
        published(shop)


def test_a_second_run_that_does_not_wait_is_refused_and_says_why(bench: Workbench) -> None:
    case = Case("limit", "buys")
    with bench.shop(case) as (shop, _):
        requests = [bench.request(shop, case, number, lock_timeout_s=0) for number in (0, 1)]
        worked, refused = sorted(
            bench.forks.run_at_once(requests), key=lambda answer: "stopped" in answer
        )
        assert worked["report"]["sent"] == 3
        assert refused["stopped"] == "LedgerBusy"
        assert "the execution of orders is held by process" in refused["why"]
        assert len(shop.truth()["orders"]) == 3


def test_who_takes_over_after_a_death_may_be_two_at_once(bench: Workbench) -> None:
    case = Case("limit", "buys")
    with bench.shop(case) as (shop, _):
        dies = bench.run(shop, case, 0, kill=Kill("order write", 2, "after"))
        assert dies["status"] == KILLED
        requests = [bench.request(shop, case, number, lock_timeout_s=60) for number in (1, 2)]
        answers = bench.forks.run_at_once(requests)
        # Two of three had been written; the third was announced and never left.
        assert sorted(answer["report"]["sent"] for answer in answers) == [0, 1]
        refs = [order["order_ref"] for order in shop.truth()["orders"]]
        assert len(refs) == len(set(refs)) == len(OPENING)


# The document.


def documented() -> list[list[str]]:
    """The rows of the matrix in docs/reliability.md, each a list of its cells."""
    return [
        [cell.strip() for cell in line.removeprefix("|").removesuffix("|").split("|")]
        for line in matrix.written("crash matrix").splitlines()
        if line.startswith("| ") and not line.startswith("| ---")
    ]


def test_the_documented_matrix_is_of_these_boundaries_and_has_nothing_wrong(
    points: Points,
) -> None:
    head, *rows, total = documented()
    assert head[1:] == list(ROUTES)
    for row in rows:
        for route, cell in zip(ROUTES, row[1:], strict=True):
            assert bool(cell) == any(p.kind == row[0] for p in points[route]), (row, route)
            assert not cell or cell.endswith(", 0 frozen, 0 wrong"), row
    assert [row[0] for row in rows] == [
        kind for kind in KINDS if any(p.kind == kind for some in points.values() for p in some)
    ]
    for column in range(1, 1 + len(ROUTES)):
        counts = [int(row[column].split(" points")[0]) for row in rows if row[column]]
        assert int(total[column].split(" points")[0]) == sum(counts)
    assert sum(int(cell.split(" points")[0]) for cell in total[1:]) >= 200
    counted = re.search(
        r"(\d+) schedules .*: (\d+) agree, (\d+) frozen, (\d+) wrong",
        matrix.written("crash matrix"),
    )
    assert counted is not None
    schedules, agree, frozen, wrong = map(int, counted.groups())
    assert schedules >= 1000 and wrong == 0 and agree + frozen == schedules


def test_every_reason_to_deny_is_documented_in_its_own_words() -> None:
    assert matrix.written("reasons").splitlines() == matrix.reasons(), (
        f"run python -m {matrix.__name__} --every 0 --schedules 0 --write"
    )
