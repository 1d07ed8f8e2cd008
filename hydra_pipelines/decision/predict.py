"""From a champion and the session's features to one prediction per member. Pure.

What can't be predicted is left out and named; what must not be traded on fails the strategy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


class Model(Protocol):
    """What predicts: numpy arrays with a name for each feature."""

    @property
    def features(self) -> tuple[str, ...]: ...

    def predict(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...


class PredictionError(ValueError):
    """The strategy's predictions can't be used; nothing is traded on them."""


@dataclass(frozen=True)
class Predictions:
    """Predictions of one strategy for the members it could predict, by symbol order.

    symbols: N names. values: float64 (N,), the expected excess return over the label's horizon.
    probability_up: float64 (N,). left_out: members without a full set of features.
    """

    symbols: tuple[str, ...]
    values: np.ndarray
    probability_up: np.ndarray
    left_out: tuple[str, ...]


def predict(
    model: Model,
    features: np.ndarray,
    names: Sequence[str],
    symbols: Sequence[str],
    members: Sequence[str],
    *,
    in_order: bool = True,
) -> Predictions:
    """Predict the members of the session.

    features: float64 (F, N), rows in the order of `names`, columns in the order of `symbols`.
    in_order: False where the signals do not depend on which name is predicted higher (method
    `all`): then all predictions may be the same.
    Raises PredictionError for a feature that the session doesn't have, for no predictable member,
    and for predictions that are not finite or all the same.
    """
    rows = {name: i for i, name in enumerate(names)}
    lacking = [name for name in model.features if name not in rows]
    if lacking:
        raise PredictionError(
            f"the model wants {', '.join(lacking)}, which the feature lake does not have: "
            "train it again on today's catalogue, or bring the feature back"
        )
    if not members:
        raise PredictionError("no symbol of its universe is a member of the session")
    columns = {symbol: i for i, symbol in enumerate(symbols)}
    wanted = [columns[symbol] for symbol in members]
    matrix = features[[rows[name] for name in model.features]][:, wanted].T
    complete = np.isfinite(matrix).all(axis=1)
    left_out = tuple(m for m, whole in zip(members, complete, strict=True) if not whole)
    if not complete.any():
        raise PredictionError(f"none of the {len(members)} members has all features")
    values, probability_up = model.predict(np.ascontiguousarray(matrix[complete]))
    if not (np.isfinite(values).all() and np.isfinite(probability_up).all()):
        raise PredictionError("the model gave predictions that are not finite")
    if in_order and len(values) > 1 and float(values.max() - values.min()) == 0.0:
        raise PredictionError(f"the model predicts {values[0]:g} for every member")
    return Predictions(
        symbols=tuple(m for m, whole in zip(members, complete, strict=True) if whole),
        values=values,
        probability_up=probability_up,
        left_out=left_out,
    )
