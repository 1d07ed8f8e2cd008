"""The embedded sample: adjusted daily closes of 20 US large caps, 1990-01-02 to 2022-12-28.

Here belongs reading that one file. What it holds and where it comes from is told beside it, in
`data/sample/README.md`.

In the sample's world the adjusted series is the traded one: splits and dividends never happened,
every order would have been filled near the adjusted close. So `close` equals `adj_close`, and
there are no ranges, volumes or corporate actions.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np

from hydra_pipelines.market.bars import BarPanel, MarketDataError

SAMPLE_FILE = Path(__file__).resolve().parents[3] / "data" / "sample" / "us_large_caps.parquet"


class SampleSource:
    """Bars of the sample, optionally ending at `last_session` as if nothing later were known."""

    name = "sample"
    adjusted_only = True

    def __init__(self, last_session: date | str | None = None, path: Path | str = SAMPLE_FILE):
        try:
            self._end = (
                date.fromisoformat(last_session) if isinstance(last_session, str) else last_session
            )
        except ValueError as error:
            raise MarketDataError(
                f"last_session of the sample: {last_session!r} is not a date like 2022-12-28"
            ) from error
        self._path = Path(path)

    def read(self, first: date | None = None, last: date | None = None) -> BarPanel:
        sessions, symbols, close = _read_closes(self._path)
        ends = [end for end in (last, self._end) if end is not None]
        start = 0 if first is None else np.searchsorted(sessions, np.datetime64(first))
        stop = (
            np.searchsorted(sessions, np.datetime64(min(ends)), side="right")
            if ends
            else len(sessions)
        )
        close = close[start:stop]
        return BarPanel(sessions[start:stop], symbols, {"close": close, "adj_close": close})


def _read_closes(path: Path) -> tuple[np.ndarray, tuple[str, ...], np.ndarray]:
    """Sessions (S,), symbols and closes (S, N) of a Parquet file `session, <symbol>, ...`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            table = file.read(use_threads=False).combine_chunks()
    except (OSError, pa.ArrowException) as error:
        raise MarketDataError(
            f"the sample's prices can't be read from {path}: {error}; "
            "run from a checkout of the repository, or restore that file from it"
        ) from error
    days, *prices = (column.chunk(0) for column in table.columns)
    if days.type != pa.date32() or any(p.type != pa.float64() or p.null_count for p in prices):
        raise MarketDataError(
            f"{path}: expected a date column and float64 columns without nulls, "
            f"found {', '.join(f'{f.name} {f.type}' for f in table.schema)}"
        )
    # Buffers instead of to_numpy(): that one imports pandas, which costs more than the reading.
    return (
        np.frombuffer(days.buffers()[1], np.int32)[: len(days)].astype("datetime64[D]"),
        tuple(table.column_names[1:]),
        np.stack([np.frombuffer(p.buffers()[1], np.float64)[: len(p)] for p in prices], axis=1),
    )
