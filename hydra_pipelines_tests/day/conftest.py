"""Desks for the day's steps: a workshop's, and one whose strategies have several versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from hydra_pipelines.desk import Desk
from hydra_pipelines_tests.day.shop_desk import ShopDesk
from hydra_pipelines_tests.day.versions import copy_of
from hydra_pipelines_tests.execution.orders.conftest import home, shop, shops
from hydra_pipelines_tests.execution.orders.workshop import Shop

__all__ = ["home", "shop", "shops"]


@pytest.fixture
def desk(shop: Shop) -> ShopDesk:
    return ShopDesk(shop)


@pytest.fixture
def models_desk(versions_made: Path, tmp_path: Path) -> Desk:
    """A desk as `versions_made`, with a ledger and a registry of its own."""
    return copy_of(versions_made, tmp_path / "desk")
