"""A healing cycle killed at any boundary: the next one goes on, and nothing is done twice.

`make healing` kills at every boundary, the suite at some of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hydra_pipelines_tests.day.healing_desk import alarm, detect
from hydra_pipelines_tests.day.versions import copy_of
from hydra_pipelines_tests.scenarios.crashes.forks import KILLED
from hydra_pipelines_tests.scenarios.killed_healing import HealingServer

EVERY = bool(os.environ.get("HEALING"))
STEPS = {"auto": 9, "propose": 17}
"""Of the boundaries, the suite kills at every so many."""


@pytest.fixture(scope="module")
def server() -> Iterator[HealingServer]:
    with HealingServer() as started:
        yield started


def drifting(versions: Path, folder: Path) -> str:
    desk = copy_of(versions, folder)
    detect(desk, desk.next_session_due(), alarm())
    return str(folder)


@pytest.mark.parametrize("autonomy", STEPS)
def test_whatever_ends_a_cycle_it_is_as_if_nothing_had(
    autonomy: str, server: HealingServer, versions_made: Path, tmp_path: Path
) -> None:
    def cycle(folder: str, kill: int | None = None) -> dict[str, Any]:
        return server.run({"folder": folder, "autonomy": autonomy, "kill": kill})

    whole = cycle(drifting(versions_made, tmp_path / "whole"))
    boundaries = whole.pop("boundaries")
    assert boundaries > 15 and not whole["unfinished"]
    if autonomy == "auto":
        assert whole["moves"] == [["promoted", 1, 2, "agent"]]
        assert whole["aliases"] == {"champion": 2, "previous": 1}
        assert whole["watches"] == [[2, 1, "watching"]]
    else:
        assert whole["moves"] == [] and whole["aliases"] == {"champion": 1, "challenger": 2}
    for kill in range(0, boundaries, 1 if EVERY else STEPS[autonomy]):
        folder = drifting(versions_made, tmp_path / f"killed at {kill}")
        assert cycle(folder, kill)["status"] == KILLED
        after = cycle(folder)
        after.pop("boundaries")
        assert after == whole, f"killed at boundary {kill} of {boundaries}"
