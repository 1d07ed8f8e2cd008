"""How good predictions were, session by session, once their labels are known.

Here belong the scores of one session as functions of arrays: the same for the evaluation of a model
and for what it predicted later, so that the two can be compared. What follows from them does not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hydra_pipelines.models.validation import rank_ic


@dataclass(frozen=True)
class SessionScores:
    """Scores of S sessions, each array (S,), NaN where there is none.

    sessions: datetime64[D], ascending. n: predictions with a known label. rank_ic: Spearman's
    correlation of predictions and labels. residual: root mean square of label less prediction,
    over the model's `residual_sigma`. accuracy: share of predictions with the sign of the label.
    brier: mean of (probability of a rise - whether it rose)², Brier, "Verification of forecasts
    expressed in terms of probability", Monthly Weather Review 78 (1950).
    """

    sessions: np.ndarray
    n: np.ndarray
    rank_ic: np.ndarray
    residual: np.ndarray
    accuracy: np.ndarray
    brier: np.ndarray

    def take(self, chosen: np.ndarray | slice) -> SessionScores:
        """Some of the sessions, by index or mask."""
        return SessionScores(**{name: values[chosen] for name, values in vars(self).items()})


def score_sessions(
    sessions: np.ndarray,
    predictions: np.ndarray,
    probability_up: np.ndarray,
    labels: np.ndarray,
    residual_sigma: float,
) -> SessionScores:
    """Score predictions and probabilities against labels, all (S, N) with NaN where unknown.

    A pair counts where prediction and label are known. Sessions without any have n = 0.
    """
    known = ~np.isnan(predictions) & ~np.isnan(labels)
    n = known.sum(axis=1)

    def mean(values: np.ndarray) -> np.ndarray:
        total = np.where(known, values, 0.0).sum(axis=1)
        return np.where(n > 0, total / np.maximum(n, 1), np.nan)

    with np.errstate(invalid="ignore"):
        error = labels - predictions
        rose = labels > 0.0
        return SessionScores(
            sessions=sessions,
            n=n,
            rank_ic=rank_ic(predictions, labels),
            residual=np.sqrt(mean(error * error)) / residual_sigma,
            accuracy=mean((predictions > 0.0) == rose),
            brier=mean((probability_up - rose) ** 2),
        )


def probabilities_up(predictions: np.ndarray, residual_sigma: float) -> np.ndarray:
    """Phi(prediction / residual_sigma) of an array of any shape; NaN stays NaN."""
    scores = (predictions / (residual_sigma * math.sqrt(2.0))).ravel()
    values = [0.5 * (1.0 + math.erf(score)) for score in scores.tolist()]
    return np.array(values).reshape(predictions.shape)
