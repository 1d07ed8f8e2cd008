from __future__ import annotations

import dataclasses
import json
from datetime import date

import numpy as np
import pytest

from hydra_pipelines.market.bars import BarPanel
from hydra_pipelines.models import training
from hydra_pipelines.models.families import MomentumRule, build_pipeline
from hydra_pipelines.models.registry import RegistryUnavailable
from hydra_pipelines.models.training import TrainingError, evaluate, train, training_data
from hydra_pipelines.models.validation import walk_forward
from hydra_pipelines_tests.models.conftest import AS_OF, MOMENTUM, RIDGE


def retrain(spec, market, registry, as_of=AS_OF):
    return train(spec, market.features, market.bars, as_of, registry, code_version="1.0+test")


@pytest.mark.parametrize("spec", [RIDGE, MOMENTUM], ids=lambda spec: spec.family)
def test_the_same_data_give_the_same_model_bit_for_bit(spec, market, registry, trained):
    first, again = trained[spec.id], retrain(spec, market, registry)
    assert again.model.to_bytes() == first.model.to_bytes()
    assert (again.sha256, again.figures) == (first.sha256, first.figures)
    assert again.version == first.version + 1


def test_the_future_plays_no_part(market, registry, trained):
    cut = dataclasses.replace(
        market, features=market.features.up_to(AS_OF), bars=market.bars.up_to(AS_OF)
    )
    assert retrain(RIDGE, cut, registry).sha256 == trained[RIDGE.id].sha256


def test_training_data_end_with_the_labels_known(market):
    data = training_data(RIDGE, market.features, market.bars, AS_OF)
    assert data.sessions[-1].item() == AS_OF
    assert np.isnan(data.y[-6:]).all() and not np.isnan(data.y[:-6]).any()
    assert data.complete[0].any() and data.x.shape == (*data.y.shape, 15)
    assert data.snapshot == market.features.snapshot(AS_OF)
    row = int(np.searchsorted(market.bars.sessions, np.datetime64(AS_OF)))
    assert np.array_equal(data.prices[-1], market.bars.fields["adj_close"][row])


def test_each_year_is_predicted_by_what_was_known_before_it(market):
    data = training_data(RIDGE, market.features, market.bars, AS_OF)
    evaluation = evaluate(RIDGE, data)
    assert [fold.name for fold in evaluation.folds] == ["1997", "1998", "1999"]
    assert np.isnan(evaluation.predictions[: evaluation.folds[0].test_start]).all()
    fold = evaluation.folds[1]
    known = ~np.isnan(data.y)
    x, y = (a[: fold.train_stop][known[: fold.train_stop]] for a in (data.x, data.y))
    expected = build_pipeline(RIDGE).fit(x, y).predict(data.x[fold.test_start])
    assert np.array_equal(evaluation.predictions[fold.test_start], expected)
    # Labels from the gap on have no influence on the year: the purge does what it says.
    poisoned = data.y.copy()
    poisoned[fold.train_stop :] = 9.9
    again = evaluate(RIDGE, dataclasses.replace(data, y=poisoned))
    part = slice(fold.test_start, fold.test_stop)
    assert np.array_equal(again.predictions[part], evaluation.predictions[part])


def test_a_leak_would_show(market):
    """A feature that knows the label gives a rank IC that no honest model has."""
    data = training_data(RIDGE, market.features, market.bars, AS_OF)
    honest = evaluate(RIDGE, data).figures
    leaky = dataclasses.replace(data, x=data.x.copy())
    leaky.x[:, :, 0] = np.nan_to_num(data.y)
    assert abs(honest["rank_ic"]) < 0.08
    assert evaluate(RIDGE, leaky).figures["rank_ic"] > 0.9


def test_residual_sigma_is_out_of_sample(market, trained):
    data = training_data(MOMENTUM, market.features, market.bars, AS_OF)
    evaluation = evaluate(MOMENTUM, data)
    residuals = (data.y - evaluation.predictions).ravel()
    expected = np.sqrt(np.nanmean(residuals**2))
    assert trained[MOMENTUM.id].model.residual_sigma == pytest.approx(expected, rel=1e-12)
    assert 0.02 < expected < 0.06


def test_momentum_is_skill_times_volatility_times_score(market, trained):
    model = trained[MOMENTUM.id].model
    data = training_data(MOMENTUM, market.features, market.bars, AS_OF)
    assert model.coef[0] == pytest.approx(0.03 * np.sqrt(np.nanmean(data.y**2)), rel=1e-9)
    prediction, probability = model.predict(data.x[-1])
    assert np.array_equal(np.argsort(prediction), np.argsort(data.x[-1, :, 0]))
    assert ((probability > 0.5) == (prediction > 0)).all()


def test_the_rule_is_an_estimator_like_any_other():
    from sklearn.base import clone, is_regressor

    rule = MomentumRule(ic=0.05)
    assert clone(rule).get_params() == {"ic": 0.05} and is_regressor(rule)
    assert rule.set_params(ic=0.1).fit(np.ones((4, 1)), np.full(4, 2.0)).coef_ == [0.2]


@pytest.mark.parametrize("spec", [RIDGE, MOMENTUM], ids=lambda spec: spec.family)
def test_the_stored_pipeline_predicts_bit_for_bit_what_the_arrays_do(
    spec, market, registry, trained
):
    import mlflow
    import pandas as pd

    mlflow.set_tracking_uri(registry.uri)
    stored = mlflow.pyfunc.load_model(f"models:/{spec.id}/{trained[spec.id].version}")
    for session in (AS_OF, date(1999, 12, 31)):
        x = market.features.matrix(session, spec.features)
        expected = stored.predict(pd.DataFrame(x, columns=list(spec.features)))
        got, _ = trained[spec.id].model.predict(x)
        assert np.array_equal(np.asarray(expected).view(np.int64), got.view(np.int64))
    signature = stored.metadata.signature
    assert signature.inputs.input_names() == list(spec.features)
    assert stored.metadata.saved_input_example_info is not None


def test_what_the_run_tells(market, registry, trained):
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=registry.uri)
    result = trained[RIDGE.id]
    run = client.get_run(result.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["alpha"] == "1000.0" and run.data.params["as_of"] == "1999-06-30"
    assert run.data.params["data_snapshot"] == market.features.snapshot(AS_OF)
    assert run.data.params["features"] == ", ".join(RIDGE.features)
    assert run.data.tags["code_version"] == "1.0+test"
    for name, value in result.figures.items():
        assert run.data.metrics[name] == pytest.approx(value)
    years = client.get_metric_history(result.run_id, "fold_rank_ic")
    assert sorted(metric.step for metric in years) == [1997, 1998, 1999]
    paths = {
        item.path
        for folder in (None, "plots")
        for item in client.list_artifacts(result.run_id, folder)
    }
    assert {"folds.json", "plots/equity.svg", "plots/cumulative_rank_ic.svg"} <= paths
    tags = client.get_model_version(RIDGE.id, str(result.version)).tags
    assert json.loads(tags["features"]) == list(RIDGE.features)
    assert tags["inference_sha256"] == result.sha256 and float(tags["sharpe"])
    assert registry.champion(RIDGE.id) is None, "training moves no alias"


def test_the_reference_is_of_the_training_sessions(market, registry, trained):
    reference = registry.load_reference(registry.version(RIDGE.id, trained[RIDGE.id].version))
    assert reference.names == (*RIDGE.features, "prediction")
    data = training_data(RIDGE, market.features, market.bars, AS_OF)
    assert (reference.counts[:-1].sum(axis=1) == data.complete.sum()).all()
    assert reference.counts[-1].sum() == (~np.isnan(evaluate(RIDGE, data).predictions)).sum()


def test_what_can_not_be_trained_says_why(market, registry):
    with pytest.raises(TrainingError, match=r"HYP-2026-001: .* first test year needs 1260"):
        retrain(RIDGE, market, registry, as_of=date(1995, 6, 30))
    with pytest.raises(TrainingError, match="no symbol has all of its features"):
        retrain(RIDGE, market, registry, as_of=date(1990, 6, 29))
    with pytest.raises(TrainingError, match=r"HYP-2026-001: .*1999-07-04"):
        retrain(RIDGE, market, registry, as_of=date(1999, 7, 4))
    ranges = dataclasses.replace(RIDGE, features=("atr_14",))
    with pytest.raises(TrainingError, match=r"HYP-2026-001: .*no high and no low"):
        retrain(ranges, market, registry)
    raw = {"close": market.bars.fields["close"]}
    closes = BarPanel(market.bars.sessions, market.bars.symbols, raw)
    with pytest.raises(TrainingError, match=r"HYP-2026-001: .*adjusted closes"):
        training_data(RIDGE, market.features, closes, AS_OF)
    other = BarPanel(market.bars.sessions, market.bars.symbols[::-1], market.bars.fields)
    with pytest.raises(TrainingError, match="not of the same"):
        training_data(RIDGE, market.features, other, AS_OF)
    assert walk_forward(market.features.sessions[:10], 5) == ()


def test_a_registry_that_can_not_be_written_is_named(market, registry, trained, monkeypatch):
    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(registry, "add_files", full)
    with pytest.raises(RegistryUnavailable, match=r"HYP-2026-002 .*No space left"):
        retrain(MOMENTUM, market, registry)


def test_arrays_that_do_not_reproduce_the_pipeline_are_not_registered(
    market, registry, trained, monkeypatch
):
    real = training.export_linear

    def wrong(*arguments):
        model = real(*arguments)
        return dataclasses.replace(model, intercept=model.intercept + 1e-12)

    monkeypatch.setattr(training, "export_linear", wrong)
    with pytest.raises(TrainingError, match="do not reproduce"):
        retrain(RIDGE, market, registry)
