from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_pipelines.models.inference import LinearModel, ModelFileError, sha256
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


def test_the_file_is_the_same_for_the_same_model(tmp_path):
    digest = MODEL.save(tmp_path / "model.npz")
    content = (tmp_path / "model.npz").read_bytes()
    assert content == MODEL.to_bytes() and sha256(content) == digest
    again = LinearModel.from_bytes(content)
    assert again.features == MODEL.features and again.to_bytes() == content
    x = np.random.default_rng(0).normal(size=(20, 2))
    assert np.array_equal(again.predict(x)[0], MODEL.predict(x)[0])


@pytest.mark.parametrize("damage", [lambda c: b"", lambda c: c[:-40], lambda c: b"x" + c[1:]])
def test_a_damaged_file_is_an_error(damage):
    with pytest.raises(ModelFileError):
        LinearModel.from_bytes(damage(MODEL.to_bytes()))


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
