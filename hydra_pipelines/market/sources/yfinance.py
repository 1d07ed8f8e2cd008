"""Daily bars through the package yfinance, an optional extra: for research, not for trading on.

Here belongs turning one download into a panel. Its closes are adjusted for splits already, so the
`raw` prices of sessions before a split are not what was traded then; those since are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np

from hydra_pipelines.market.bars import BarPanel, MarketDataError, SourceProblem

_COLUMNS = {
    "Open": "open",
    "High": "high",
    "Low": "low",
    "Close": "close",
    "Volume": "volume",
    "Adj Close": "adj_close",
    "Dividends": "cash_dividend",
}
_START = date(1990, 1, 1)


class YfinanceSource:
    """Bars of the named symbols. download: what `yfinance.download` does, for tests."""

    name = "yfinance"
    adjusted_only = False

    def __init__(
        self,
        symbols: Sequence[str],
        start: date | str = _START,
        download: Callable[..., Any] | None = None,
    ):
        if isinstance(symbols, str) or not symbols:
            raise MarketDataError("market.options.symbols: a list of symbols is needed")
        try:
            self._start = date.fromisoformat(start) if isinstance(start, str) else start
        except ValueError as error:
            raise MarketDataError(f"market.options.start: {start!r} is not a date") from error
        self._symbols, self._download = tuple(dict.fromkeys(symbols)), download
        self.problems: tuple[SourceProblem, ...] = ()

    def read(self, first: date | None = None, last: date | None = None) -> BarPanel:
        download = self._download or _library()
        try:
            frame = download(
                list(self._symbols),
                start=(first or self._start).isoformat(),
                # The end is not included.
                end=(last + timedelta(days=1)).isoformat() if last else None,
                auto_adjust=False,
                actions=True,
                group_by="column",
                progress=False,
                threads=False,
            )
        except Exception as error:
            raise MarketDataError(f"yfinance: {type(error).__name__}: {error}") from error
        if frame is None or not len(frame):
            raise MarketDataError(
                f"yfinance gave no bars of {', '.join(self._symbols[:5])}; it may be rate limited, "
                "or the symbols unknown"
            )
        return self._panel(frame)

    def _panel(self, frame: Any) -> BarPanel:
        held = set(frame.columns)
        if not {("Close", s) for s in self._symbols} & held:
            raise MarketDataError(
                f"yfinance: unexpected columns {list(frame.columns)[:6]}; this version is not "
                "understood"
            )
        days = frame.index.tz_localize(None).normalize().to_numpy().astype("datetime64[D]")
        order = np.argsort(days, kind="stable")
        fields = {
            ours: np.stack(
                [
                    frame[(theirs, symbol)].to_numpy(float)[order]
                    if (theirs, symbol) in held
                    else np.full(len(days), np.nan)
                    for symbol in self._symbols
                ],
                axis=1,
            )
            for theirs, ours in _COLUMNS.items()
        }
        empty = np.isnan(fields["close"]).all(axis=0)
        self.problems = tuple(
            SourceProblem(symbol, "yfinance gave no bars")
            for symbol, none in zip(self._symbols, empty, strict=True)
            if none
        )
        symbols = tuple(s for s, none in zip(self._symbols, empty, strict=True) if not none)
        if not symbols:
            raise MarketDataError("yfinance gave no bars of any symbol")
        return BarPanel(days[order], symbols, {k: v[:, ~empty] for k, v in fields.items()})


def _library() -> Callable[..., Any]:
    try:
        import yfinance
    except ImportError as error:
        raise MarketDataError(
            "market.source yfinance: the package is not installed; "
            "python -m pip install 'hydra-pipelines[yfinance]'"
        ) from error
    return yfinance.download
