"""Model families: how each is built as a scikit-learn pipeline, and what remains of it to predict.

Here belong the estimators. What they are trained on, and where they are kept, does not. A family is
one entry in `BUILDERS`, with its parameters in `settings.families`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hydra_pipelines.models.inference import MAX_LEAVES, InferenceModel, LinearModel, TreeModel
from hydra_pipelines.models.strategies import StrategySpec

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.pipeline import Pipeline

TRUSTED_TYPES = [
    "numpy.ascontiguousarray",
    f"{__name__}.MomentumRule",
    f"{__name__}.EqualWeight",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
]
"""What a stored pipeline may contain besides scikit-learn's usual types."""


class _Rule:
    """A rule as a model of one score, in scikit-learn's interface without importing it."""

    coef_: np.ndarray
    intercept_: float

    def predict(self, x: np.ndarray) -> np.ndarray:
        return x @ self.coef_ + self.intercept_

    def get_params(self, deep: bool = True) -> dict[str, float]:
        return {}

    def set_params(self, **parameters: float) -> _Rule:
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


class MomentumRule(_Rule):
    """Expected return = IC x volatility x score.

    Grinold 1994, "Alpha is volatility times IC times score". `ic` is the skill one believes in,
    not fitted, so that the rule's direction is never learnt from noise; `fit` estimates the
    volatility of the label.
    """

    def __init__(self, ic: float = 0.03):
        self.ic = ic

    def fit(self, x: np.ndarray, y: np.ndarray) -> MomentumRule:
        """x: scores (n, 1); y: labels (n,) with mean zero in each session."""
        volatility = np.sqrt(np.mean(np.square(y)))
        self.coef_ = np.array([self.ic * volatility])
        self.intercept_ = 0.0
        return self

    def get_params(self, deep: bool = True) -> dict[str, float]:
        return {"ic": self.ic}


class EqualWeight(_Rule):
    """The yardstick: no opinion, so the same prediction for whoever has the one feature."""

    def fit(self, x: np.ndarray, y: np.ndarray) -> EqualWeight:
        self.coef_ = np.zeros(1)
        self.intercept_ = 0.0
        return self


def _ridge(parameters: Mapping[str, Any]) -> list[tuple[str, Any]]:
    from sklearn.linear_model import Ridge
    from sklearn.preprocessing import StandardScaler

    return [
        ("scale", StandardScaler()),
        ("model", Ridge(alpha=parameters["alpha"], solver="cholesky")),
    ]


def _boosting(parameters: Mapping[str, Any]) -> list[tuple[str, Any]]:
    from sklearn.ensemble import HistGradientBoostingRegressor

    own = {n: v for n, v in parameters.items() if n not in ("seed", *SAMPLING)}
    # Stopping early would take a random part of the past out as a test, against all purging.
    model = HistGradientBoostingRegressor(
        **own, random_state=parameters["seed"], early_stopping=False
    )
    return [("model", model)]


def _momentum(parameters: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [("model", MomentumRule(ic=parameters["ic"]))]


def _equal_weight(_: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [("model", EqualWeight())]


BUILDERS: dict[str, Callable[[Mapping[str, Any]], list[tuple[str, Any]]]] = {
    "ridge": _ridge,
    "hist_gradient_boosting": _boosting,
    "momentum": _momentum,
    "equal_weight": _equal_weight,
}
SAMPLING = ("window_sessions", "half_life_sessions")
"""Parameters that say what is learnt from, not how."""


def build_pipeline(spec: StrategySpec, seed: int | None = None) -> Pipeline:
    """The unfitted pipeline of a strategy's family; `seed` stands in for the family's own, if any.

    Its first step makes the array row-major: sums inside a matrix product depend on the layout,
    and predictions must not depend on whether they were asked for by array or by data frame.
    """
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import FunctionTransformer

    parameters = spec.model_parameters
    if seed is not None and "seed" in parameters:
        parameters["seed"] = seed
    steps = BUILDERS[spec.family](parameters)
    return Pipeline([("rows", FunctionTransformer(np.ascontiguousarray)), *steps])


def export(pipeline: Pipeline, features: tuple[str, ...], residual_sigma: float) -> InferenceModel:
    """The arrays with which a fitted pipeline predicts."""
    final = pipeline[-1]
    if hasattr(final, "_predictors"):
        return _export_trees(final, features, residual_sigma)
    scale = pipeline.named_steps.get("scale")
    return LinearModel(
        features=features,
        residual_sigma=residual_sigma,
        mean=np.zeros(len(features)) if scale is None else np.array(scale.mean_),
        scale=np.ones(len(features)) if scale is None else np.array(scale.scale_),
        coef=np.array(final.coef_, np.float64),
        intercept=float(final.intercept_),
    )


def _export_trees(
    fitted: HistGradientBoostingRegressor, features: tuple[str, ...], residual_sigma: float
) -> TreeModel:
    trees = [_flatten(iteration[0].nodes) for iteration in fitted._predictors]
    most = max(len(values) for _, values in trees)
    if most > MAX_LEAVES:
        raise ValueError(f"a tree has {most} leaves; the inference arrays hold {MAX_LEAVES}")
    word = next(w for w in (np.int8, np.int16, np.int32, np.int64) if most <= np.iinfo(w).bits)
    shape = (len(trees), max(most - 1, 1))
    feature, threshold = np.zeros(shape, np.int32), np.full(shape, np.inf)
    mask, leaves = np.full(shape, -1, word), np.zeros((len(trees), most))
    for t, (splits, values) in enumerate(trees):
        leaves[t, : len(values)] = values
        for i, (column, value, first, stop) in enumerate(splits):
            feature[t, i], threshold[t, i] = column, value
            mask[t, i] = ~((1 << stop) - (1 << first))
    return TreeModel(
        features=features,
        residual_sigma=residual_sigma,
        base=float(fitted._baseline_prediction[0, 0]),
        feature=feature,
        threshold=threshold,
        mask=mask,
        leaves=leaves,
    )


def _flatten(nodes: np.ndarray) -> tuple[list[tuple[int, float, int, int]], list[float]]:
    """One tree of scikit-learn as splits and the leaves' values, these from the left.

    A split is its column, its threshold and the leaves on its left side: from the first to before
    the last.
    """
    splits: list[tuple[int, float, int, int]] = []
    values: list[float] = []

    def walk(at: int) -> None:
        node = nodes[at]
        if node["is_leaf"]:
            values.append(float(node["value"]))
            return
        first = len(values)
        walk(int(node["left"]))
        splits.append((int(node["feature_idx"]), float(node["num_threshold"]), first, len(values)))
        walk(int(node["right"]))

    walk(0)
    return splits, values
