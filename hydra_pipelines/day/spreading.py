"""Parts of the day's work that other processes can do beforehand, side by side."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from hydra_pipelines.desk import Desk

if TYPE_CHECKING:
    from hydra_pipelines.features.shards import ShardReport, Shards


def feature_shards(desk: Desk) -> Shards:
    """Where parts of the universe's features lie until `make_features` joins them."""
    from hydra_pipelines.features.shards import Shards

    return Shards(desk.settings.lake_path / "feature-shards")


def make_feature_shard(desk: Desk, session: date, number: int, of: int) -> ShardReport:
    """Features up to the session of the symbols of part `number` (from 0) of `of`.

    `make_features` takes them if they fit and computes what is not there.
    """
    return feature_shards(desk).make(desk.bars, desk.features, session, number, of)
