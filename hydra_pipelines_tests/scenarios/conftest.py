"""Desks of their own for scenarios, each with its own venue process, ended with the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hydra_pipelines.desk import Desk
from hydra_pipelines.paper_gateway.control import GatewayControl
from hydra_pipelines.paper_gateway.launch import find_running
from hydra_pipelines.settings import load_settings

MakeDesk = Callable[..., Desk]


@pytest.fixture(scope="module")
def make_desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeDesk]:
    desks: list[Desk] = []
    # The exchange's calendar takes a second to make, and is the same for all.
    calendars = tmp_path_factory.mktemp("calendars")

    def make(**overrides: Any) -> Desk:
        folder = tmp_path_factory.mktemp("a desk")
        (folder / "cache").symlink_to(calendars)
        desk = Desk(load_settings(data_dir=folder, **overrides))
        desks.append(desk)
        return desk

    yield make
    for desk in desks:
        desk.close()
        running = find_running(desk.settings.venue_path)
        if running:
            GatewayControl(running).shutdown()
