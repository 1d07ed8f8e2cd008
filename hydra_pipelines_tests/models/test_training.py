from __future__ import annotations

import dataclasses
import json
import tempfile
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from hydra_pipelines.market.bars import BarPanel
from hydra_pipelines.models import training
from hydra_pipelines.models.families import EqualWeight, MomentumRule
from hydra_pipelines.models.registry import RegistryUnavailable
from hydra_pipelines.models.report import vectorbt_report
from hydra_pipelines.models.training import TrainingError, evaluate, train, training_data
from hydra_pipelines.models.validation import walk_forward
from hydra_pipelines_tests.models.conftest import (
    AS_OF,
    EQUAL,
    FAMILIES,
    MOMENTUM,
    RIDGE,
    SMALL_BOOSTING,
)


def retrain(spec, market, registry, as_of=AS_OF, report=False):
    return train(
        spec,
        market.features,
        market.bars,
        as_of,
        registry,
        code_version="1.0+test",
        report=report,
    )


@pytest.mark.parametrize("spec", FAMILIES, ids=lambda spec: spec.family)
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
    assert clone(EqualWeight()).get_params() == {} and is_regressor(EqualWeight())


def test_equal_weight_has_no_opinion(market, trained):
    made = trained[EQUAL.id]
    data = training_data(EQUAL, market.features, market.bars, AS_OF)
    prediction, probability = made.model.predict(data.x[-1])
    assert prediction.tolist() == [0.0] * 20 and probability.tolist() == [0.5] * 20
    assert "rank_ic" not in made.figures, "equal predictions are in no order"
    # It holds every symbol from the second session on and goes back to equal weights each week.
    assert made.figures["turnover"] < 2.0 and made.figures["sharpe"] > 0.0
    growth = evaluate(EQUAL, data).backtest.equity
    prices = data.prices[evaluate(EQUAL, data).begin :]
    bought = 1.0 - 0.99 * 5e-4
    assert growth[2] == pytest.approx(bought + 0.99 * (prices[2] / prices[1] - 1).mean(), rel=1e-12)


@pytest.mark.parametrize("spec", FAMILIES, ids=lambda spec: spec.family)
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
    assert run.data.params["universe"] == "all"
    trees = client.get_run(trained[SMALL_BOOSTING.id].run_id).data.params
    assert (trees["max_iter"], trees["seed"], trees["learning_rate"]) == ("12", "3", "0.05")
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
    assert tags["leak_alarms"] == "none" and result.alarms == ()
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
    real = training.export

    def wrong(*arguments):
        model = real(*arguments)
        if hasattr(model, "intercept"):
            return dataclasses.replace(model, intercept=model.intercept + 1e-12)
        # One threshold in one of the trees, by the smallest step there is.
        threshold = model.threshold.copy()
        threshold[-1, 0] = np.nextafter(threshold[-1, 0], -np.inf)
        leaves = model.leaves.copy()
        leaves[3, 2] = np.nextafter(leaves[3, 2], 1.0)
        return dataclasses.replace(model, threshold=threshold, leaves=leaves)

    monkeypatch.setattr(training, "export", wrong)
    for spec in (RIDGE, SMALL_BOOSTING):
        with pytest.raises(TrainingError, match="do not reproduce"):
            retrain(spec, market, registry)


def test_vectorbt_has_the_second_word(market, registry, trained):
    import mlflow

    made = retrain(RIDGE, market, registry, report=True)
    assert made.sha256 == trained[RIDGE.id].sha256
    client = mlflow.MlflowClient(tracking_uri=registry.uri)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(client.download_artifacts(made.run_id, "backtest", folder))
        stats = json.loads((path / "vectorbt.json").read_text())
        equity = (path / "equity.csv").read_text().splitlines()
    data = training_data(RIDGE, market.features, market.bars, AS_OF)
    ours = evaluate(RIDGE, data).backtest
    assert stats["Max Drawdown [%]"] == pytest.approx(100 * ours.max_drawdown, rel=1e-9)
    assert stats["Total Fees Paid"] == pytest.approx(ours.costs, rel=1e-9)
    assert equity[0] == "session,equity,drawdown" and len(equity) == 1 + len(ours.equity)
    last, value, _ = equity[-1].split(",")
    assert (last, float(value)) == ("1999-06-30", pytest.approx(ours.equity[-1], rel=1e-9))
    assert not client.list_artifacts(trained[RIDGE.id].run_id, "backtest"), "only where asked for"


def test_two_simulations_that_differ_are_an_error(market):
    data = training_data(RIDGE, market.features, market.bars, AS_OF)
    evaluation = evaluate(RIDGE, data, first_test=1999)
    equity = evaluation.backtest.equity.copy()
    equity[-1] *= 1.0 + 3e-9
    wrong = dataclasses.replace(
        evaluation, backtest=dataclasses.replace(evaluation.backtest, equity=equity)
    )
    with pytest.raises(TrainingError, match=r"3\.0e-09 apart"):
        vectorbt_report(RIDGE, data, wrong)


def test_a_model_that_is_too_good_carries_the_alarm(market, registry, monkeypatch):
    """A feature that knows the label: trained all the same, and said on the version."""
    import mlflow

    real = training.training_data

    def leaky(*arguments):
        data = real(*arguments)
        data.x[:, :, 0] = np.nan_to_num(data.y)
        return data

    monkeypatch.setattr(training, "training_data", leaky)
    made = retrain(RIDGE, market, registry)
    assert len(made.alarms) == 2
    client = mlflow.MlflowClient(tracking_uri=registry.uri)
    tags = client.get_model_version(RIDGE.id, str(made.version)).tags
    assert "rank IC of" in tags["leak_alarms"] and "Sharpe" in tags["leak_alarms"]
