"""Fixtures: a workshop with its own gateway process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hydra_pipelines.sessions import Calendar
from hydra_pipelines_tests.execution.orders.workshop import Shop


@pytest.fixture(scope="session")
def shops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all workshops, with the calendar they share."""
    folder = tmp_path_factory.mktemp("shops")
    Calendar.load("XNYS", folder / "calendar")
    return folder


@pytest.fixture
def home(shops: Path, request: pytest.FixtureRequest) -> Path:
    return shops / f"shop-{abs(hash(request.node.nodeid)):x}"


@pytest.fixture
def shop(home: Path) -> Iterator[Shop]:
    made = Shop(home)
    yield made
    made.close()
