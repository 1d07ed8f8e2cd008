from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_pipelines.models.families import _export_trees
from hydra_pipelines.models.inference import (
    LinearModel,
    ModelFileError,
    TreeModel,
    load_model,
    sha256,
)
from hydra_pipelines.models.plots import line_chart
from hydra_pipelines.models.reference import Reference, count_bins, make_reference

MODEL = LinearModel(
    features=("return_1d", "rsi_14_rank"),
    mean=np.array([0.5, 1.0]),
    scale=np.array([2.0, 4.0]),
    coef=np.array([0.25, -1.0]),
    intercept=0.125,
    residual_sigma=0.5,
)


def test_prediction_and_probability():
    prediction, probability = MODEL.predict(np.array([[0.5, 1.0], [2.5, 1.0], [0.5, 5.0]]))
    assert prediction.tolist() == [0.125, 0.375, -0.875]
    expected = [0.5 * math.erfc(-p / 0.5 / math.sqrt(2)) for p in prediction]
    assert probability == pytest.approx(expected, rel=1e-12)


@given(value=st.floats(-5, 5))
def test_probability_is_on_the_side_of_the_prediction(value):
    prediction, probability = MODEL.predict(np.array([[value, 1.0]]))
    assert 0.0 <= probability[0] <= 1.0
    assert np.sign(probability[0] - 0.5) in (0.0, np.sign(prediction[0]))


def test_an_unknown_feature_concerns_its_row_only():
    x = np.array([[0.5, 1.0], [np.nan, 1.0], [2.5, 1.0]])
    prediction, probability = MODEL.predict(x)
    assert np.isnan(prediction).tolist() == np.isnan(probability).tolist() == [False, True, False]
    assert np.isnan(x[1, 0]) and x[0].tolist() == [0.5, 1.0]


@pytest.mark.parametrize("shape", [(3,), (3, 1), (3, 3)])
def test_other_columns_are_refused(shape):
    with pytest.raises(ValueError, match="takes 2 features"):
        MODEL.predict(np.zeros(shape))


# Two trees. The first: x0 <= 1 ? (x1 <= 0 ? 10 : 20) : 30. The second is a single leaf.
TREES = TreeModel(
    features=("return_1d", "rsi_14_rank"),
    residual_sigma=8.0,
    base=0.5,
    feature=np.array([[0, 1], [0, 0]], np.int32),
    threshold=np.array([[1.0, 0.0], [np.inf, np.inf]]),
    mask=np.array([[~0b011, ~0b001], [-1, -1]], np.int8),
    leaves=np.array([[10.0, 20.0, 30.0], [-4.0, 0.0, 0.0]]),
)


def test_a_tree_leads_each_row_to_its_leaf():
    x = np.array([[1.0, 0.0], [1.0, 0.1], [1.1, -5.0], [np.inf, -5.0], [-9.0, np.nan]])
    prediction, probability = TREES.predict(x)
    assert prediction[:4].tolist() == [6.5, 16.5, 26.5, 26.5]
    assert np.isnan(prediction[4]) and np.isnan(probability[4])
    assert probability[0] == pytest.approx(0.5 * math.erfc(-6.5 / 8.0 / math.sqrt(2)), rel=1e-12)


@pytest.mark.parametrize("leaves", [2, 7, 8, 9, 17, 33, 64])
def test_trees_predict_what_scikit_learn_does_bit_for_bit(leaves):
    """Ties with thresholds, columns of few values and one that is constant, rows never seen."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    rng = np.random.default_rng(leaves)
    x = rng.normal(size=(6000, 5))
    x[:, 1] = np.round(x[:, 1])
    x[:, 2] = 3.0
    y = x[:, 0] * x[:, 1] + np.sin(3.0 * x[:, 3]) + rng.normal(size=len(x))
    fitted = HistGradientBoostingRegressor(
        max_iter=9, max_leaf_nodes=leaves, min_samples_leaf=5, early_stopping=False
    ).fit(x, y)
    model = load_model(_export_trees(fitted, tuple("abcde"), 1.0).to_bytes())
    assert model.leaves.shape == (9, leaves)
    edges = np.concatenate([i[0].nodes["num_threshold"] for i in fitted._predictors])
    on_edges = rng.choice(edges, (500, 5))
    new = rng.normal(size=(9000, 5)) * 4.0
    for rows in (x, on_edges, np.nextafter(on_edges, np.inf), new):
        expected, (got, _) = fitted.predict(rows), model.predict(rows)
        assert np.array_equal(expected.view(np.int64), got.view(np.int64))


@pytest.mark.parametrize("model", [MODEL, TREES], ids=lambda model: model.kind)
def test_the_file_is_the_same_for_the_same_model(model):
    content = model.to_bytes()
    again = load_model(content)
    assert type(again) is type(model) and again.to_bytes() == content
    assert again.features == model.features and again.residual_sigma == model.residual_sigma
    assert sha256(again.to_bytes()) == sha256(content)
    x = np.random.default_rng(0).normal(size=(20, 2))
    assert np.array_equal(again.predict(x), model.predict(x))


@pytest.mark.parametrize("damage", [lambda c: b"", lambda c: c[:-40], lambda c: b"x" + c[1:]])
@pytest.mark.parametrize("model", [MODEL, TREES], ids=lambda model: model.kind)
def test_a_damaged_file_is_an_error(model, damage):
    with pytest.raises(ModelFileError):
        load_model(damage(model.to_bytes()))


def test_other_kinds_of_models_are_refused():
    class Later(LinearModel):
        kind = "linear-2"

    with pytest.raises(ModelFileError, match=r"'linear-2'; this version knows linear-1, trees-1"):
        load_model(Later(**vars(MODEL)).to_bytes())
    with pytest.raises(ModelFileError, match="not a file of inference arrays"):
        load_model(make_reference(("a",), [np.arange(9.0)]).to_bytes())


def test_predicting_needs_numpy_only():
    code = (
        "import sys, hydra_pipelines.models.inference, hydra_pipelines.models.registry;"
        "sys.exit(bool({'pandas', 'sklearn', 'scipy', 'mlflow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_a_reference_holds_deciles():
    values = np.append(np.random.default_rng(0).permutation(1000.0 * np.arange(100)), np.nan)
    reference = make_reference(("a", "b"), [values, np.zeros(5)])
    assert reference.counts[0].tolist() == [10] * 10
    assert reference.counts[1].tolist() == [5] + [0] * 9
    again = Reference.from_bytes(reference.to_bytes())
    assert again.names == ("a", "b") and np.array_equal(again.edges, reference.edges)
    assert again.to_bytes() == reference.to_bytes()
    with pytest.raises(ValueError, match="'c'"):
        make_reference(("c",), [np.array([np.nan])])


def test_bins_are_closed_above():
    assert count_bins(np.array([-9.0, 1.0, 1.5, 2.0, 99.0]), np.array([1.0, 2.0])).tolist() == [
        2,
        2,
        1,
    ]


def test_a_chart_shows_its_lines_and_gaps():
    sessions = np.arange("2019-06-01", "2022-01-01", dtype="datetime64[D]")
    up = np.linspace(0.0, 1.0, len(sessions))
    up[100] = np.nan
    svg = line_chart("Up & away", sessions, {"up": up, "flat": np.full(len(sessions), 0.5)})
    assert svg.startswith("<svg") and "Up &amp; away" in svg and ">2021</text>" in svg
    assert [part.count("M") for part in svg.split('fill="none"')[:2]][-1] >= 1
    assert "nan" not in svg and line_chart("none", sessions, {"x": up * np.nan})
