"""Training: from features and bars to a validated model version in the registry.

Here belong the final fit, its export with the proof that both predict the same, and what is logged
of it. The walk-forward is `evaluation`'s, estimators `families`', aliases and promotion
`registry`'s.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from hydra_pipelines.features.panel import FeaturePanel
from hydra_pipelines.market.bars import BarPanel
from hydra_pipelines.models.evaluation import (
    COST_BPS,
    Evaluation,
    TrainingData,
    TrainingError,
    evaluate,
    fit,
    one_thread_each,
    training_data,
)
from hydra_pipelines.models.families import TRUSTED_TYPES, export
from hydra_pipelines.models.inference import InferenceModel, sha256
from hydra_pipelines.models.plots import line_chart
from hydra_pipelines.models.reference import History, Reference, make_reference
from hydra_pipelines.models.registry import (
    INFERENCE_FILE,
    REFERENCE_FILE,
    Registry,
    RegistryUnavailable,
    import_mlflow,
)
from hydra_pipelines.models.report import vectorbt_report
from hydra_pipelines.models.scores import probabilities_up, score_sessions
from hydra_pipelines.models.strategies import StrategySpec
from hydra_pipelines.models.validation import ic_figures, leak_alarms

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

_PARITY_ROWS = 1000


@dataclass(frozen=True)
class TrainedModel:
    """A model version as registered; `sha256` is that of its inference arrays."""

    strategy_id: str
    version: int
    run_id: str
    as_of: date
    data_snapshot: str
    sha256: str
    model: InferenceModel
    figures: dict[str, float]
    alarms: tuple[str, ...] = ()


def train(
    spec: StrategySpec,
    features: FeaturePanel,
    bars: BarPanel,
    as_of: date,
    registry: Registry,
    *,
    code_version: str,
    report: bool = False,
    tags: Mapping[str, str] = {},
) -> TrainedModel:
    """Evaluate a strategy as of the close of a session, fit it on all that was known, register it.

    The same strategy on the same data gives the same inference arrays, bit for bit. No alias is
    moved: that is promotion. report: let vectorbt simulate the evaluation too and log what it says;
    importing it takes seconds, so only where nobody waits to trade. tags: more tags for the run and
    the version, from their beginning. Raises TrainingError where the history is too short, a
    feature is missing or a check fails, RegistryUnavailable where the registry can't be reached or
    written.
    """
    data = training_data(spec, features, bars, as_of)
    evaluation = evaluate(spec, data)
    # In a thread of the pool, for the numerical libraries are held to one thread there.
    with one_thread_each(1) as pool:
        pipeline, model = pool.submit(_final, spec, data, evaluation.residual_sigma).result()
    files = {INFERENCE_FILE: model.to_bytes(), REFERENCE_FILE: _reference(spec, data, evaluation)}
    artifacts = _pictures(data, evaluation)
    if report:
        artifacts |= vectorbt_report(spec, data, evaluation)
    alarms = leak_alarms(evaluation.figures)
    try:
        run_id, model_id = _log(
            spec, data, evaluation, pipeline, model, registry, as_of,
            {**tags, "code_version": code_version}, artifacts, files,
        )  # fmt: skip
    except (import_mlflow().MlflowException, OSError) as error:
        raise RegistryUnavailable(f"strategy {spec.id} can't be logged: {error}") from error
    version_tags = {
        **tags,
        "inference_sha256": sha256(files[INFERENCE_FILE]),
        "features": json.dumps(spec.features),
        "configuration": spec.configuration,
        "data_snapshot": data.snapshot,
        "as_of": as_of.isoformat(),
        "code_version": code_version,
        "leak_alarms": "; ".join(alarms) or "none",
        **{name: f"{value:.6g}" for name, value in evaluation.figures.items()},
    }
    number = registry.register(spec.id, run_id, model_id, version_tags)
    return TrainedModel(
        spec.id,
        number,
        run_id,
        as_of,
        data.snapshot,
        version_tags["inference_sha256"],
        model,
        evaluation.figures,
        alarms,
    )


def _final(
    spec: StrategySpec, data: TrainingData, residual_sigma: float
) -> tuple[Pipeline, InferenceModel]:
    """The pipeline fitted on all sessions, and its arrays, which predict the same bits."""
    pipeline = fit(spec, data, len(data.sessions))
    model = export(pipeline, spec.features, residual_sigma)
    complete = data.complete
    last = int(np.flatnonzero(complete.any(axis=1))[-1])
    known = data.x[complete]
    # Beyond what was learnt from, and each column on its own: what no session has shown so far.
    low, high = known.min(axis=0), known.max(axis=0)
    spread = np.random.default_rng(0).uniform(-0.5, 1.5, (_PARITY_ROWS, len(low)))
    for x in (known, data.x[last][complete[last]], low + spread * (high - low)):
        expected, (got, _) = pipeline.predict(x), model.predict(x)
        if not np.array_equal(expected.view(np.int64), got.view(np.int64)):
            raise TrainingError(
                f"strategy {spec.id}: the inference arrays do not reproduce the pipeline's "
                "predictions"
            )
    return pipeline, model


def _reference(spec: StrategySpec, data: TrainingData, evaluation: Evaluation) -> bytes:
    predicted = evaluation.predictions[~np.isnan(evaluation.predictions)]
    reference: Reference = make_reference(
        (*spec.features, "prediction"), [*data.x[data.complete].T, predicted]
    )
    scores = score_sessions(
        data.sessions,
        evaluation.predictions,
        probabilities_up(evaluation.predictions, evaluation.residual_sigma),
        data.y,
        evaluation.residual_sigma,
    )
    history = History(
        scores.take(scores.n > 0),
        evaluation.backtest.returns,
        data.sessions[evaluation.begin + 1 :],
    )
    return replace(reference, history=history).to_bytes()


def _log(
    spec: StrategySpec,
    data: TrainingData,
    evaluation: Evaluation,
    pipeline: Pipeline,
    model: InferenceModel,
    registry: Registry,
    as_of: date,
    tags: Mapping[str, str],
    artifacts: dict[str, str],
    files: dict[str, bytes],
) -> tuple[str, str]:
    """Write one MLflow run with its model; returns the ids of the run and of the model.

    artifacts: text by its path in the run; files: what is put beside the model.
    """
    mlflow = import_mlflow()
    import pandas as pd

    experiment = registry.initialise()
    mlflow.set_tracking_uri(registry.uri)
    sample = data.x[data.complete][-5:]
    example = pd.DataFrame(sample, columns=list(spec.features))
    with mlflow.start_run(experiment_id=experiment, run_name=f"{spec.id} {as_of}") as run:
        mlflow.set_tags({**tags, "strategy": spec.id, "title": spec.title})
        mlflow.log_params(
            {
                "family": spec.family,
                **spec.model_parameters,
                "label_horizon": spec.label_horizon,
                "features": ", ".join(spec.features),
                "universe": ", ".join(spec.universe) or "all",
                "as_of": as_of.isoformat(),
                "data_snapshot": data.snapshot,
                "training_sessions": len(data.sessions),
                "symbols": len(data.symbols),
                "cost_bps": COST_BPS,
            }
        )
        _log_figures(mlflow, run.info.run_id, data, evaluation)
        for path, text in artifacts.items():
            mlflow.log_text(text, path)
        info = mlflow.sklearn.log_model(
            pipeline,
            name="model",
            signature=mlflow.models.infer_signature(example, model.predict(sample)[0]),
            input_example=example,
            pip_requirements=[
                f"{name}=={version(name)}" for name in ("numpy", "scikit-learn", "skops")
            ],
            skops_trusted_types=TRUSTED_TYPES,
        )
        registry.add_files(info.model_id, files)
    return run.info.run_id, info.model_id


def _log_figures(mlflow: Any, run_id: str, data: TrainingData, evaluation: Evaluation) -> None:
    now = int(time.time() * 1000)
    metrics = [mlflow.entities.Metric(n, v, now, 0) for n, v in evaluation.figures.items()]
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
        metrics += [
            mlflow.entities.Metric(f"fold_{name}", value, now, int(fold.name))
            for name, value in figures.items()
            if np.isfinite(value)
        ]
    # All at once: each call is a transaction of its own.
    mlflow.MlflowClient().log_batch(run_id, metrics=metrics)
    mlflow.log_table(table, "folds.json")


def _pictures(data: TrainingData, evaluation: Evaluation) -> dict[str, str]:
    tested = data.sessions[evaluation.begin :]
    ic = np.cumsum(np.nan_to_num(evaluation.ic[evaluation.begin :]))
    return {
        "plots/cumulative_rank_ic.svg": line_chart(
            "Cumulative rank IC, out of sample", tested, {"rank IC": ic}
        ),
        "plots/equity.svg": line_chart(
            "Equity, out of sample, net of costs", tested, {"equity": evaluation.backtest.equity}
        ),
    }
