"""Bar sources by name, and the one function that opens them.

A new source is one class in one file of this folder and one entry in `SOURCES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hydra_pipelines.market.bars import BarSource, MarketDataError
from hydra_pipelines.market.sources.files import FileSource
from hydra_pipelines.market.sources.ibkr import IbkrSource
from hydra_pipelines.market.sources.sample import SampleSource
from hydra_pipelines.market.sources.yfinance import YfinanceSource

SOURCES: dict[str, Callable[..., BarSource]] = {
    "sample": SampleSource,
    "files": FileSource,
    "ibkr": IbkrSource,
    "yfinance": YfinanceSource,
}


def open_source(name: str, options: Mapping[str, object] | None = None) -> BarSource:
    """The source `name`, opened with its options (keyword arguments of its class).

    Raises MarketDataError for a name that is not in `SOURCES` or an option the source lacks.
    """
    if name not in SOURCES:
        raise MarketDataError(
            f"market.source: {name!r} is not a known source; choose one of {', '.join(SOURCES)}"
        )
    try:
        return SOURCES[name](**(options or {}))
    except TypeError as error:
        raise MarketDataError(f"market.options of source {name!r}: {error}") from error
