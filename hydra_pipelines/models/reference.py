"""The reference stored with a model: how features and predictions lay, and how good it was.

Here belong the quantile bins and the scores out of sample that a drift check compares with later.
The comparison does not.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hydra_pipelines.models.scores import SessionScores

BINS = 10


@dataclass(frozen=True)
class History:
    """A model's walk-forward, session by session, out of sample.

    scores: of the sessions tested whose labels were known. returns: daily net returns of the
    simulated portfolio, float64 (R,); return_sessions: datetime64[D] (R,), the closes they end at.
    """

    scores: SessionScores
    returns: np.ndarray
    return_sessions: np.ndarray


@dataclass(frozen=True)
class Reference:
    """Per column k: the inner bin edges (K, BINS - 1) and how many values fell in each of the
    BINS bins (K, BINS). Bin b holds edge[b - 1] < value <= edge[b]. history: None for a model that
    was stored without one."""

    names: tuple[str, ...]
    edges: np.ndarray
    counts: np.ndarray
    history: History | None = None

    def to_bytes(self) -> bytes:
        file, history = io.BytesIO(), {}
        if self.history is not None:
            history = {
                _RETURNS: self.history.returns,
                _RETURN_SESSIONS: self.history.return_sessions,
                **{_SCORE + name: values for name, values in vars(self.history.scores).items()},
            }
        np.savez(file, names=np.array(self.names), edges=self.edges, counts=self.counts, **history)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Reference:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            history = None
            if _RETURNS in arrays:
                scores = {
                    name.removeprefix(_SCORE): arrays[name]
                    for name in arrays
                    if name.startswith(_SCORE)
                }
                history = History(
                    SessionScores(**scores), arrays[_RETURNS], arrays[_RETURN_SESSIONS]
                )
            names = tuple(arrays["names"].tolist())
            return cls(names, arrays["edges"], arrays["counts"], history)


_RETURNS, _RETURN_SESSIONS, _SCORE = "returns", "return_sessions", "score_"


def make_reference(names: Sequence[str], columns: Sequence[np.ndarray]) -> Reference:
    """Decile bins of each named column (1-D, NaN ignored); a column needs at least one value."""
    edges = np.empty((len(names), BINS - 1))
    counts = np.empty((len(names), BINS), np.int64)
    for i, (name, column) in enumerate(zip(names, columns, strict=True)):
        values = column[~np.isnan(column)]
        if not len(values):
            raise ValueError(f"no values of {name!r} to make a reference distribution from")
        edges[i] = np.quantile(values, np.arange(1, BINS) / BINS)
        counts[i] = count_bins(values, edges[i])
    return Reference(tuple(names), edges, counts)


def count_bins(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """How many values fall in each bin of ascending inner edges: int64 (len(edges) + 1,)."""
    return np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)
