"""Predicting with numpy alone: the arrays that remain of a trained model.

Here belong the daily path's models, loaded from one small file in a millisecond. Training them, and
finding out which version trades, does not.
"""

from __future__ import annotations

import hashlib
import io
import math
from dataclasses import dataclass
from typing import Any, ClassVar
from zipfile import BadZipFile

import numpy as np

MAX_LEAVES = 64
"""Leaves of one tree: each is a bit of a word."""
_CHUNK = 8192
"""Rows worked on at once, so that what is between two operations stays in the cache."""


class ModelFileError(ValueError):
    """A file that holds no model this version can predict with."""


@dataclass(frozen=True, eq=False)
class InferenceModel:
    """What every model has. residual_sigma: root mean square of label less prediction, out of
    sample. features: names of the k columns of X."""

    kind: ClassVar[str]

    features: tuple[str, ...]
    residual_sigma: float

    def predict(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Predicted return relative to the universe and the probability that it is positive.

        x: float64 (n, k), columns in the order of `features`. Returns (n,) and (n,), NaN for rows
        with NaN. The probability is Phi(prediction / residual_sigma): residuals taken as normal.
        Raises ValueError where x does not have k columns.
        """
        if x.ndim != 2 or x.shape[1] != len(self.features):
            raise ValueError(
                f"the model takes {len(self.features)} features, got an array of shape {x.shape}"
            )
        prediction = self._predict(np.array(x, np.float64, order="C"))
        scores = prediction / (self.residual_sigma * math.sqrt(2.0))
        return prediction, np.array([0.5 * (1.0 + math.erf(score)) for score in scores.tolist()])

    def _predict(self, x: np.ndarray) -> np.ndarray:
        """(n, k) row-major, the caller's to change -> (n,)."""
        raise NotImplementedError

    def _arrays(self) -> dict[str, np.ndarray]:
        raise NotImplementedError

    def to_bytes(self) -> bytes:
        """The file's content; the same model gives the same bytes."""
        file = io.BytesIO()
        arrays: dict[str, Any] = {
            "kind": np.array(self.kind),
            "features": np.array(self.features),
            "residual_sigma": np.float64(self.residual_sigma),
            **self._arrays(),
        }
        np.savez(file, **arrays)
        return file.getvalue()


@dataclass(frozen=True, eq=False)
class LinearModel(InferenceModel):
    """prediction = ((X - mean) / scale) @ coef + intercept.

    mean, scale, coef: float64 (k,).
    """

    kind: ClassVar[str] = "linear-1"

    mean: np.ndarray
    scale: np.ndarray
    coef: np.ndarray
    intercept: float

    def _predict(self, x: np.ndarray) -> np.ndarray:
        x -= self.mean
        x /= self.scale
        return x @ self.coef + self.intercept

    def _arrays(self) -> dict[str, np.ndarray]:
        return {
            "mean": self.mean,
            "scale": self.scale,
            "coef": self.coef,
            "intercept": np.array(self.intercept, np.float64),
        }


@dataclass(frozen=True, eq=False)
class TreeModel(InferenceModel):
    """prediction = base + the value of the leaf that each of T trees leads to, added in order.

    A tree of L leaves, numbered from the left, has its splits in no particular order: feature
    (T, L - 1), a row goes right where its value is above threshold (T, L - 1), and mask (T, L - 1)
    has a zero bit for each leaf that is then out of reach: those left of the split. The leaf is the
    first that no split has put out of reach. Lucchese et al., "QuickScorer", SIGIR 2015. Smaller
    trees are filled up with splits that nothing is above. leaves: (T, L), L at most `MAX_LEAVES`.
    """

    kind: ClassVar[str] = "trees-1"

    base: float
    feature: np.ndarray
    threshold: np.ndarray
    mask: np.ndarray
    leaves: np.ndarray

    def _predict(self, x: np.ndarray) -> np.ndarray:
        out = np.full(len(x), self.base)
        for start in range(0, len(x), _CHUNK):
            self._add_trees(np.ascontiguousarray(x[start : start + _CHUNK].T), out[start:][:_CHUNK])
        out[np.isnan(x).any(axis=1)] = np.nan
        return out

    def _add_trees(self, columns: np.ndarray, out: np.ndarray) -> None:
        """columns: (k, n); out: (n,), to which every tree adds."""
        every_leaf = np.array(-1).astype(self.mask.dtype)
        thresholds, masks = self.threshold[:, :, None], self.mask[:, :, None]
        for t, leaves in enumerate(self.leaves):
            right = columns[self.feature[t]] > thresholds[t]
            within_reach = np.bitwise_and.reduce(np.where(right, masks[t], every_leaf), axis=0)
            first = within_reach & -within_reach
            # A power of two: its exponent is the number of the leaf.
            out += leaves[np.frexp(first.astype(np.float64))[1] - 1]

    def _arrays(self) -> dict[str, np.ndarray]:
        return {
            "base": np.array(self.base, np.float64),
            "feature": self.feature,
            "threshold": self.threshold,
            "mask": self.mask,
            "leaves": self.leaves,
        }


_KINDS: dict[str, type[InferenceModel]] = {m.kind: m for m in (LinearModel, TreeModel)}


def load_model(content: bytes) -> InferenceModel:
    """Read what `to_bytes` made. Raises ModelFileError for anything else."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = dict(file)
        kind = str(arrays.pop("kind"))
        if kind not in _KINDS:
            raise ModelFileError(
                f"the file holds a model of kind {kind!r}; this version knows {', '.join(_KINDS)}"
            )
        features = tuple(arrays.pop("features").tolist())
        values = {name: a if a.ndim else float(a) for name, a in arrays.items()}
        return _KINDS[kind](features=features, **values)
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(f"not a file of inference arrays: {error}") from error


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
