"""Training: from features and bars to a validated model version in the registry.

Here belong the training set, walk-forward evaluation, the final fit and what is logged of it.
Splits and metrics are `validation`'s, estimators `families`', aliases and promotion `registry`'s.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from hydra_pipelines.features.panel import FeatureError, FeaturePanel
from hydra_pipelines.market.bars import BarPanel, MarketDataError
from hydra_pipelines.models.backtest import Backtest, backtest
from hydra_pipelines.models.families import TRUSTED_TYPES, build_pipeline, export_linear
from hydra_pipelines.models.inference import LinearModel, sha256
from hydra_pipelines.models.labels import make_labels
from hydra_pipelines.models.plots import line_chart
from hydra_pipelines.models.reference import Reference, make_reference
from hydra_pipelines.models.registry import (
    INFERENCE_FILE,
    REFERENCE_FILE,
    Registry,
    RegistryUnavailable,
    import_mlflow,
)
from hydra_pipelines.models.strategies import StrategySpec
from hydra_pipelines.models.validation import (
    MIN_TRAIN_SESSIONS,
    Fold,
    ic_figures,
    rank_ic,
    walk_forward,
)

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

COST_BPS = 5.0
"""Cost of each traded value in the backtest of an evaluation."""


class TrainingError(RuntimeError):
    """A strategy that can't be trained on this data, or a model that fails its own checks."""


@dataclass(frozen=True)
class TrainingData:
    """What a strategy learns from, as known on one session.

    x: features (S, N, k); y: labels (S, N), NaN where not realised by then; prices: adjusted
    closes (S, N); snapshot: identity of the bars up to the last session.
    """

    sessions: np.ndarray
    symbols: tuple[str, ...]
    x: np.ndarray
    y: np.ndarray
    prices: np.ndarray
    snapshot: str

    @property
    def complete(self) -> np.ndarray:
        """Which (session, symbol) has every feature: bool (S, N)."""
        return ~np.isnan(self.x).any(axis=2)


@dataclass(frozen=True)
class Evaluation:
    """Out-of-sample results of a walk-forward: predictions (S, N) and rank IC (S,) are NaN outside
    of the tests; `residual_sigma` is the root mean square of label less prediction."""

    folds: tuple[Fold, ...]
    predictions: np.ndarray
    ic: np.ndarray
    residual_sigma: float
    backtest: Backtest

    @property
    def figures(self) -> dict[str, float]:
        return {
            **ic_figures(self.ic),
            "sharpe": self.backtest.sharpe,
            "annual_return": self.backtest.annual_return,
            "max_drawdown": self.backtest.max_drawdown,
            "turnover": self.backtest.turnover,
            "costs": self.backtest.costs,
            "residual_sigma": self.residual_sigma,
        }


@dataclass(frozen=True)
class TrainedModel:
    """A model version as registered; `sha256` is that of its inference arrays."""

    strategy_id: str
    version: int
    run_id: str
    as_of: date
    data_snapshot: str
    sha256: str
    model: LinearModel
    figures: dict[str, float]


def train(
    spec: StrategySpec,
    features: FeaturePanel,
    bars: BarPanel,
    as_of: date,
    registry: Registry,
    *,
    code_version: str,
) -> TrainedModel:
    """Evaluate a strategy as of the close of a session, fit it on all that was known, register it.

    The same strategy on the same data gives the same inference arrays, bit for bit. No alias is
    moved: that is promotion. Raises TrainingError where the history is too short or a feature is
    missing, RegistryUnavailable where the registry can't be reached or written.
    """
    from threadpoolctl import threadpool_limits

    data = training_data(spec, features, bars, as_of)
    # One thread: sums split over threads depend on how many there are.
    with threadpool_limits(1):
        evaluation = evaluate(spec, data)
        pipeline = _fit(spec, data, len(data.sessions))
        model = export_linear(pipeline, spec.features, evaluation.residual_sigma)
        _check_parity(pipeline, model, data)
    reference = make_reference(
        (*spec.features, "prediction"),
        [*data.x[data.complete].T, evaluation.predictions[~np.isnan(evaluation.predictions)]],
    )
    try:
        run_id, model_id = _log(
            spec, data, evaluation, pipeline, model, reference, registry, as_of, code_version
        )
    except (import_mlflow().MlflowException, OSError) as error:
        raise RegistryUnavailable(f"strategy {spec.id} can't be logged: {error}") from error
    tags = {
        "inference_sha256": sha256(model.to_bytes()),
        "features": json.dumps(spec.features),
        "data_snapshot": data.snapshot,
        "as_of": as_of.isoformat(),
        "code_version": code_version,
        **{name: f"{value:.6g}" for name, value in evaluation.figures.items()},
    }
    number = registry.register(spec.id, run_id, model_id, tags)
    return TrainedModel(
        spec.id,
        number,
        run_id,
        as_of,
        data.snapshot,
        tags["inference_sha256"],
        model,
        evaluation.figures,
    )


def training_data(
    spec: StrategySpec, features: FeaturePanel, bars: BarPanel, as_of: date
) -> TrainingData:
    """Features, labels and prices as they were known at the close of `as_of`.

    Labels are made from bars that end there, so none uses a later price. Sessions before the
    first complete row of features are left out. Raises TrainingError where nothing is left.
    """
    features, bars = features.up_to(as_of), bars.up_to(as_of)
    try:
        snapshot = features.snapshot(as_of)
        columns = features.columns(spec.features)
        labels = make_labels(bars, spec.label_horizon)
    except (FeatureError, MarketDataError) as error:
        raise TrainingError(f"strategy {spec.id}: {error}") from error
    x = features.values[:, columns].transpose(0, 2, 1)
    started = np.flatnonzero((~np.isnan(x).any(axis=2)).any(axis=1))
    if not len(started):
        raise TrainingError(
            f"strategy {spec.id}: up to {as_of} no symbol has all of its features; they need "
            "more history than the bars have"
        )
    first = int(started[0])
    rows = np.searchsorted(bars.sessions, features.sessions[first:])
    if bars.symbols != features.symbols or not np.array_equal(
        bars.sessions[np.minimum(rows, len(bars.sessions) - 1)], features.sessions[first:]
    ):
        raise TrainingError("features and bars are not of the same sessions and symbols")
    return TrainingData(
        sessions=features.sessions[first:],
        symbols=features.symbols,
        x=np.ascontiguousarray(x[first:]),
        y=labels.values[rows],
        prices=bars.fields["adj_close"][rows],
        snapshot=snapshot,
    )


def evaluate(spec: StrategySpec, data: TrainingData) -> Evaluation:
    """Walk forward over the years: fit on the past, predict the year, put the years together.

    Raises TrainingError where the history does not allow a single fold.
    """
    folds = walk_forward(data.sessions, spec.label_horizon)
    if not folds:
        raise TrainingError(
            f"strategy {spec.id}: {len(data.sessions)} sessions with features end at "
            f"{data.sessions[-1]}; a first test year needs {MIN_TRAIN_SESSIONS} before it"
        )
    predictions = np.full(data.y.shape, np.nan)
    complete = data.complete
    for fold in folds:
        pipeline = _fit(spec, data, fold.train_stop)
        tested = np.zeros(complete.shape, bool)
        tested[fold.test_start : fold.test_stop] = complete[fold.test_start : fold.test_stop]
        if tested.any():
            predictions[tested] = pipeline.predict(data.x[tested])
    residuals = (data.y - predictions)[~np.isnan(data.y - predictions)]
    if not len(residuals):
        raise TrainingError(f"strategy {spec.id}: no label of its test years is known yet")
    begin = folds[0].test_start
    simulated = backtest(
        predictions[begin:],
        data.prices[begin:],
        top=max(1, int(spec.signal.top_fraction * len(data.symbols))),
        every=spec.label_horizon,
        cost_bps=COST_BPS,
    )
    return Evaluation(
        folds=folds,
        predictions=predictions,
        ic=rank_ic(predictions, data.y),
        residual_sigma=float(np.sqrt(np.mean(residuals * residuals))),
        backtest=simulated,
    )


def _fit(spec: StrategySpec, data: TrainingData, stop: int) -> Pipeline:
    rows = data.complete[:stop] & ~np.isnan(data.y[:stop])
    if not rows.any():
        raise TrainingError(f"strategy {spec.id}: no complete training row before session {stop}")
    return build_pipeline(spec).fit(data.x[:stop][rows], data.y[:stop][rows])


def _check_parity(pipeline: Pipeline, model: LinearModel, data: TrainingData) -> None:
    """The exported arrays must predict what the pipeline does, bit for bit."""
    complete = data.complete
    last = int(np.flatnonzero(complete.any(axis=1))[-1])
    for x in (data.x[complete], data.x[last][complete[last]]):
        expected, (got, _) = pipeline.predict(x), model.predict(x)
        if not np.array_equal(expected.view(np.int64), got.view(np.int64)):
            raise TrainingError("the inference arrays do not reproduce the pipeline's predictions")


def _log(
    spec: StrategySpec,
    data: TrainingData,
    evaluation: Evaluation,
    pipeline: Pipeline,
    model: LinearModel,
    reference: Reference,
    registry: Registry,
    as_of: date,
    code_version: str,
) -> tuple[str, str]:
    """Write one MLflow run with its model; returns the ids of the run and of the model."""
    mlflow = import_mlflow()
    import pandas as pd

    experiment = registry.initialise()
    mlflow.set_tracking_uri(registry.uri)
    sample = data.x[data.complete][-5:]
    with mlflow.start_run(experiment_id=experiment, run_name=f"{spec.id} {as_of}") as run:
        mlflow.set_tags({"strategy": spec.id, "title": spec.title, "code_version": code_version})
        mlflow.log_params(
            {
                "family": spec.family,
                **spec.model_parameters,
                "label_horizon": spec.label_horizon,
                "features": ", ".join(spec.features),
                "as_of": as_of.isoformat(),
                "data_snapshot": data.snapshot,
                "training_sessions": len(data.sessions),
                "symbols": len(data.symbols),
                "cost_bps": COST_BPS,
            }
        )
        _log_figures(mlflow, data, evaluation)
        info = mlflow.sklearn.log_model(
            pipeline,
            name="model",
            signature=mlflow.models.infer_signature(
                pd.DataFrame(sample, columns=list(spec.features)), model.predict(sample)[0]
            ),
            input_example=pd.DataFrame(sample, columns=list(spec.features)),
            pip_requirements=[
                f"{name}=={version(name)}" for name in ("numpy", "scikit-learn", "skops")
            ],
            skops_trusted_types=TRUSTED_TYPES,
        )
        registry.add_files(
            info.model_id,
            {INFERENCE_FILE: model.to_bytes(), REFERENCE_FILE: reference.to_bytes()},
        )
    return run.info.run_id, info.model_id


def _log_figures(mlflow: Any, data: TrainingData, evaluation: Evaluation) -> None:
    mlflow.log_metrics(evaluation.figures)
    table: dict[str, list[Any]] = {}
    for fold in evaluation.folds:
        figures = ic_figures(evaluation.ic[fold.test_start : fold.test_stop])
        if not figures["sessions"]:
            # The last year's labels may all lie ahead still.
            continue
        row = {
            "year": fold.name,
            "trained_through": str(data.sessions[fold.train_stop - 1]),
            "tested_from": str(data.sessions[fold.test_start]),
            **figures,
        }
        for name, value in row.items():
            table.setdefault(name, []).append(value)
        mlflow.log_metrics(
            {f"fold_{k}": v for k, v in figures.items() if np.isfinite(v)}, step=int(fold.name)
        )
    mlflow.log_table(table, "folds.json")
    tested = data.sessions[evaluation.folds[0].test_start :]
    ic = np.nan_to_num(evaluation.ic[-len(tested) :])
    mlflow.log_text(
        line_chart("Cumulative rank IC, out of sample", tested, {"rank IC": np.cumsum(ic)}),
        "plots/cumulative_rank_ic.svg",
    )
    mlflow.log_text(
        line_chart(
            "Equity, out of sample, net of costs", tested, {"equity": evaluation.backtest.equity}
        ),
        "plots/equity.svg",
    )
