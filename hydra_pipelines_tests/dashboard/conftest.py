"""Dashboards on desks in several states, each served once for the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hydra_pipelines_tests.conftest import TradedDesk
from hydra_pipelines_tests.dashboard import stores
from hydra_pipelines_tests.dashboard.served import Client, dashboard


@pytest.fixture(scope="module")
def traded(traded_desk: TradedDesk, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a traded desk, whose ledger and control store may be changed."""
    return stores.copy_of(traded_desk.left, tmp_path_factory.mktemp("seen") / "desk")


@pytest.fixture(scope="module")
def client(traded: Path) -> Iterator[Client]:
    """A client of a dashboard on that desk."""
    with dashboard(traded) as made:
        yield made
