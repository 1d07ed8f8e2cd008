"""Model families: how each is built as a scikit-learn pipeline, and what remains of it to predict.

Here belong the estimators. What they are trained on, and where they are kept, does not. A family is
one entry in `BUILDERS`, with its parameters in `strategies.PARAMETERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hydra_pipelines.models.inference import LinearModel
from hydra_pipelines.models.strategies import StrategySpec

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

TRUSTED_TYPES = ["numpy.ascontiguousarray", f"{__name__}.MomentumRule"]
"""What a stored pipeline may contain besides scikit-learn's own types."""


class MomentumRule:
    """A rule as a model: expected return = IC x volatility x score, of one score.

    Grinold 1994, "Alpha is volatility times IC times score". `ic` is the skill one believes in,
    not fitted, so that the rule's direction is never learnt from noise; `fit` estimates the
    volatility of the label. It has scikit-learn's interface without importing scikit-learn.
    """

    def __init__(self, ic: float = 0.03):
        self.ic = ic

    def fit(self, x: np.ndarray, y: np.ndarray) -> MomentumRule:
        """x: scores (n, 1); y: labels (n,) with mean zero in each session."""
        volatility = np.sqrt(np.mean(np.square(y)))
        self.coef_ = np.array([self.ic * volatility])
        self.intercept_ = 0.0
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        return x @ self.coef_ + self.intercept_

    def get_params(self, deep: bool = True) -> dict[str, float]:
        return {"ic": self.ic}

    def set_params(self, **parameters: float) -> MomentumRule:
        for name, value in parameters.items():
            setattr(self, name, value)
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "coef_")

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, RegressorTags, Tags, TargetTags

        return Tags(
            estimator_type="regressor",
            target_tags=TargetTags(required=True),
            regressor_tags=RegressorTags(),
            input_tags=InputTags(),
        )


def _ridge(parameters: Mapping[str, float]) -> list[tuple[str, Any]]:
    from sklearn.linear_model import Ridge
    from sklearn.preprocessing import StandardScaler

    return [
        ("scale", StandardScaler()),
        ("ridge", Ridge(alpha=parameters["alpha"], solver="cholesky")),
    ]


def _momentum(parameters: Mapping[str, float]) -> list[tuple[str, Any]]:
    return [("rule", MomentumRule(ic=parameters["ic"]))]


BUILDERS: dict[str, Callable[[Mapping[str, float]], list[tuple[str, Any]]]] = {
    "ridge": _ridge,
    "momentum": _momentum,
}


def build_pipeline(spec: StrategySpec) -> Pipeline:
    """The unfitted pipeline of a strategy's family.

    Its first step makes the array row-major: sums inside a matrix product depend on the layout,
    and predictions must not depend on whether they were asked for by array or by data frame.
    """
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import FunctionTransformer

    steps = BUILDERS[spec.family](spec.model_parameters)
    return Pipeline([("rows", FunctionTransformer(np.ascontiguousarray)), *steps])


def export_linear(
    pipeline: Pipeline, features: tuple[str, ...], residual_sigma: float
) -> LinearModel:
    """The arrays with which a fitted pipeline predicts."""
    scale = pipeline.named_steps.get("scale")
    final = pipeline[-1]
    return LinearModel(
        features=features,
        mean=np.zeros(len(features)) if scale is None else np.array(scale.mean_),
        scale=np.ones(len(features)) if scale is None else np.array(scale.scale_),
        coef=np.array(final.coef_, np.float64),
        intercept=float(final.intercept_),
        residual_sigma=residual_sigma,
    )
