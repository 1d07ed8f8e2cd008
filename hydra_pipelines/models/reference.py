"""Reference distributions: how features and predictions lay when the model was made.

Here belong the quantile bins that a drift check compares with later. The comparison does not.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BINS = 10


@dataclass(frozen=True)
class Reference:
    """Per column k: the inner bin edges (K, BINS - 1) and how many values fell in each of the
    BINS bins (K, BINS). Bin b holds edge[b - 1] < value <= edge[b]."""

    names: tuple[str, ...]
    edges: np.ndarray
    counts: np.ndarray

    def to_bytes(self) -> bytes:
        file = io.BytesIO()
        np.savez(file, names=np.array(self.names), edges=self.edges, counts=self.counts)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Reference:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return cls(tuple(arrays["names"].tolist()), arrays["edges"], arrays["counts"])


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
