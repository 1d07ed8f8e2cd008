"""Predictions of a session: who is predicted, who is left out, and what must not be traded on."""

from __future__ import annotations

import numpy as np
import pytest

from hydra_pipelines.decision.predict import PredictionError, Predictions, predict
from hydra_pipelines.models.inference import LinearModel

NAN = float("nan")
SYMBOLS = ("A", "B", "C", "D")
NAMES = ("f", "g", "h")
FEATURES = np.array([[1.0, 2.0, NAN, 4.0], [0.0, 0.0, 0.0, 0.0], [10.0, 20.0, 30.0, 40.0]])


def model(coef: list[float], features: tuple[str, ...] = ("h", "f")) -> LinearModel:
    k = len(features)
    return LinearModel(
        features=features,
        residual_sigma=1.0,
        mean=np.zeros(k),
        scale=np.ones(k),
        coef=np.array(coef),
        intercept=0.5,
    )


def made(coef: list[float], members: tuple[str, ...] = SYMBOLS, **options: bool) -> Predictions:
    return predict(model(coef), FEATURES, NAMES, SYMBOLS, members, **options)


def test_columns_and_rows_are_found_by_name() -> None:
    got = made([1.0, 100.0], ("D", "A"))
    assert got.symbols == ("D", "A") and got.left_out == ()
    assert got.values.tolist() == [440.5, 110.5]
    assert (got.probability_up == 1.0).all()


def test_a_member_without_all_features_is_left_out_and_named() -> None:
    got = made([1.0, 100.0])
    assert got.symbols == ("A", "B", "D") and got.left_out == ("C",)


@pytest.mark.parametrize(
    ("coef", "members", "why"),
    [
        ([0.0, 0.0], SYMBOLS, "predicts 0.5 for every member"),
        ([1e308, 1e308], SYMBOLS, "not finite"),
        ([1.0, 1.0], ("C",), "none of the 1 members has all features"),
        ([1.0, 1.0], (), "no symbol of its universe is a member"),
    ],
)
def test_what_can_not_be_traded_on_fails_the_strategy(
    coef: list[float], members: tuple[str, ...], why: str
) -> None:
    with pytest.raises(PredictionError, match=why):
        made(coef, members)


def test_equal_predictions_pass_where_their_order_does_not_matter() -> None:
    got = made([0.0, 0.0], in_order=False)
    assert got.values.tolist() == [0.5] * 3 and got.left_out == ("C",)
    with pytest.raises(PredictionError, match="not finite"):
        made([1e308, 1e308], in_order=False)


def test_a_feature_that_the_lake_lacks_is_named() -> None:
    with pytest.raises(PredictionError, match="the model wants z, which"):
        predict(model([1.0, 1.0], ("h", "z")), FEATURES, NAMES, SYMBOLS, SYMBOLS)
