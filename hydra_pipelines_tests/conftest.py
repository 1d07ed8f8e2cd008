"""What every test run shares: a clean environment, hypothesis profiles, and who may be skipped.

Fixtures of a room belong beside its tests.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from hydra_pipelines_tests.desks import CommandLine
    from hydra_pipelines_tests.scenarios.year import Year

# A desk that the person at the keyboard has set up is none of the tests' business.
for name in list(os.environ):
    if name.startswith(("HYDRA_", "IBKR_", "DAGSTER_", "MLFLOW_")):
        del os.environ[name]
# Processes that tests start should find, and leave, compiled bytecode.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ.update(
    DAGSTER_DISABLE_TELEMETRY="true",
    MLFLOW_DISABLE_TELEMETRY="true",
    # Several threads a fit on busy cores cost more than they bring; set before numpy is imported.
    OMP_NUM_THREADS="1",
)

# Deadlines measure the machine, not the code. Every run draws the same examples, so that a red run
# is red again; HYPOTHESIS_PROFILE=search draws new ones, and many.
settings.register_profile("fixed", deadline=None, derandomize=True, max_examples=50)
settings.register_profile(
    "search",
    deadline=None,
    max_examples=1000,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))


@dataclass(frozen=True)
class TradedDesk:
    """A desk whose first session was traded by `hydra cycle --json`, and what was said of it then.

    cycle, status, positions, trades: what the command printed with `--json`; progress: what the
    cycle told beside. messages: the venue's log of order requests. left: a copy of the folder as
    the cycle left it, without the venue's, whatever others trade on this desk later.
    """

    hydra: CommandLine
    left: Path
    cycle: Any
    progress: str
    status: Any
    positions: Any
    trades: Any
    messages: Any
    truth: Any


@pytest.fixture(scope="session")
def traded_desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TradedDesk]:
    """One desk for all tests that look at what a cycle left. Some of them trade on with it."""
    # Not above: it imports numpy, for which the environment has to be as it should first.
    from hydra_pipelines_tests.desks import CommandLine, shut_down

    hydra = CommandLine(tmp_path_factory.mktemp("traded") / "my desk")
    try:
        done = hydra.run("cycle", "--json")
        assert done.returncode == 0, done.stderr
        left = hydra.folder.with_name("as it was left")
        shutil.copytree(hydra.folder, left, ignore=shutil.ignore_patterns("paper"))
        yield TradedDesk(
            hydra=hydra,
            left=left,
            cycle=json.loads(done.stdout),
            progress=done.stderr,
            status=hydra.json("status"),
            positions=hydra.json("positions"),
            trades=hydra.json("trades", "--limit", "1000"),
            messages=hydra.venue.messages(),
            truth=hydra.venue.truth(),
        )
    finally:
        shut_down(hydra.folder)


@pytest.fixture(scope="session")
def year(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Year]:
    """A desk that traded a year of the sample, or its beginning; made once. Only look at it."""
    from hydra_pipelines_tests.scenarios.year import trade_a_year

    with trade_a_year(tmp_path_factory.mktemp("a year")) as made:
        yield made


@pytest.fixture(scope="session")
def versions_made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A desk's folder whose strategies have several versions; tests work on copies of it."""
    from hydra_pipelines_tests.day.versions import make_versions

    return make_versions(tmp_path_factory.mktemp("versions") / "my desk")


# Files that take long, longest first. A run hands whole files to its workers in this order, so that
# no worker begins a long one when the others are nearly done. Only time depends on this list.
LONG = (
    "browser/",
    "day/test_healing",
    "scale/test_cluster",
    "operations/test_up",
    "operations/test_backup",
    "scenarios/",
    "models/test_training",
    "day/",
    "test_readme",
    "test_documents",
    "models/",
    "defs/",
    "cli/",
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Two a core: a test waits for processes, sockets and browsers about half of its time."""
    return 2 * len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 4


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _place(item.nodeid))
    if os.environ.get("IB_GATEWAY_HOST"):
        return
    skip = pytest.mark.skip(
        reason="set IB_GATEWAY_HOST to run it against a paper IB Gateway or TWS"
    )
    for item in items:
        if "ib_gateway" in item.keywords:
            item.add_marker(skip)


def _place(nodeid: str) -> int:
    inside = nodeid.removeprefix("hydra_pipelines_tests/")
    return next((i for i, name in enumerate(LONG) if inside.startswith(name)), len(LONG))
