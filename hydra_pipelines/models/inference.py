"""Predicting with numpy alone: the arrays that remain of a trained model.

Here belongs the daily path's model, loaded from one small file in a millisecond. Training it, and
finding out which version trades, does not.
"""

from __future__ import annotations

import hashlib
import io
import math
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

_KIND = "linear-1"


class ModelFileError(ValueError):
    """A file that holds no model this version can predict with."""


@dataclass(frozen=True)
class LinearModel:
    """prediction = ((X - mean) / scale) @ coef + intercept.

    features: names of the k columns of X; mean, scale, coef: float64 (k,).
    residual_sigma: root mean square of label less prediction, out of sample.
    """

    features: tuple[str, ...]
    mean: np.ndarray
    scale: np.ndarray
    coef: np.ndarray
    intercept: float
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
        scaled = np.array(x, np.float64, order="C")
        scaled -= self.mean
        scaled /= self.scale
        prediction = scaled @ self.coef + self.intercept
        scores = prediction / (self.residual_sigma * math.sqrt(2.0))
        return prediction, np.array([0.5 * (1.0 + math.erf(score)) for score in scores])

    def to_bytes(self) -> bytes:
        """The file's content; the same model gives the same bytes."""
        file = io.BytesIO()
        np.savez(
            file,
            kind=np.array(_KIND),
            features=np.array(self.features),
            mean=self.mean,
            scale=self.scale,
            coef=self.coef,
            intercept=np.float64(self.intercept),
            residual_sigma=np.float64(self.residual_sigma),
        )
        return file.getvalue()

    def save(self, path: Path) -> str:
        """Write the file and return its SHA-256 in hex."""
        content = self.to_bytes()
        path.write_bytes(content)
        return sha256(content)

    @classmethod
    def from_bytes(cls, content: bytes) -> LinearModel:
        """Read what `to_bytes` made. Raises ModelFileError for anything else."""
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                kind = str(arrays["kind"])
                if kind != _KIND:
                    raise ModelFileError(f"the file holds a model of kind {kind!r}, not {_KIND!r}")
                return cls(
                    features=tuple(arrays["features"].tolist()),
                    mean=arrays["mean"],
                    scale=arrays["scale"],
                    coef=arrays["coef"],
                    intercept=float(arrays["intercept"]),
                    residual_sigma=float(arrays["residual_sigma"]),
                )
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            if isinstance(error, ModelFileError):
                raise
            raise ModelFileError(f"not a file of inference arrays: {error}") from error


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
