"""What a strategy learns from, and how it would have done: the walk-forward over the years.

Here belong the training set, the fit on a part of it and the evaluation out of sample, as functions
of arrays. Splits and metrics are `validation`'s, estimators `families`'; nothing is stored here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np

from hydra_pipelines.features.panel import FeatureError, FeaturePanel
from hydra_pipelines.market.bars import BarPanel, MarketDataError
from hydra_pipelines.models.backtest import Backtest, backtest
from hydra_pipelines.models.families import build_pipeline
from hydra_pipelines.models.labels import make_labels
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
GROSS = 0.99
"""Share of equity that it invests."""


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
    of the tests; `residual_sigma` is the root mean square of label less prediction. The backtest
    begins with the first test's first session."""

    folds: tuple[Fold, ...]
    predictions: np.ndarray
    ic: np.ndarray
    residual_sigma: float
    backtest: Backtest

    @property
    def begin(self) -> int:
        """Index of the first session out of sample."""
        return self.folds[0].test_start

    @property
    def figures(self) -> dict[str, float]:
        """By name; what is not known, such as the rank IC of equal predictions, is left out."""
        figures = {
            **ic_figures(self.ic),
            "sharpe": self.backtest.sharpe,
            "annual_return": self.backtest.annual_return,
            "max_drawdown": self.backtest.max_drawdown,
            "turnover": self.backtest.turnover,
            "costs": self.backtest.costs,
            "residual_sigma": self.residual_sigma,
        }
        return {name: value for name, value in figures.items() if np.isfinite(value)}


def training_data(
    spec: StrategySpec, features: FeaturePanel, bars: BarPanel, as_of: date
) -> TrainingData:
    """Features, labels and prices of the strategy's universe as known at the close of `as_of`.

    Labels are made from bars that end there, so none uses a later price. Sessions before the
    first complete row of features are left out. Raises TrainingError where nothing is left.
    """
    features, bars = features.up_to(as_of), bars.up_to(as_of)
    try:
        snapshot = features.snapshot(as_of)
        columns = features.columns(spec.features)
        x = features.values[:, columns]
        symbols, prices = bars.symbols, bars
        if spec.universe:
            universe = _universe(spec, features.symbols)
            x, symbols = x[:, :, universe], tuple(bars.symbols[i] for i in universe)
            fields = {name: values[:, universe] for name, values in bars.fields.items()}
            prices = BarPanel(bars.sessions, symbols, fields)
        labels = make_labels(prices, spec.label_horizon)
    except (FeatureError, MarketDataError) as error:
        raise TrainingError(f"strategy {spec.id}: {error}") from error
    x = x.transpose(0, 2, 1)
    started = np.flatnonzero((~np.isnan(x).any(axis=2)).any(axis=1))
    if not len(started):
        raise TrainingError(
            f"strategy {spec.id}: up to {as_of} no symbol has all of its features "
            f"({_missing(spec, x)}); they need more history than the bars have, or a formula of "
            "them gives no numbers"
        )
    first = int(started[0])
    rows = np.searchsorted(bars.sessions, features.sessions[first:])
    if bars.symbols != features.symbols or not np.array_equal(
        bars.sessions[np.minimum(rows, len(bars.sessions) - 1)], features.sessions[first:]
    ):
        raise TrainingError("features and bars are not of the same sessions and symbols")
    return TrainingData(
        sessions=features.sessions[first:],
        symbols=symbols,
        x=np.ascontiguousarray(x[first:]),
        y=labels.values[rows],
        prices=prices.fields["adj_close"][rows],
        snapshot=snapshot,
    )


def _missing(spec: StrategySpec, x: np.ndarray) -> str:
    """Which features are the matter; x: (S, N, F)."""
    never = np.isnan(x).all(axis=(0, 1))
    names = [name for name, gone in zip(spec.features, never, strict=True) if gone]
    return f"there is no value of {', '.join(names)}" if names else "never all at a time"


def _universe(spec: StrategySpec, symbols: tuple[str, ...]) -> np.ndarray:
    """Columns of the strategy's symbols."""
    unknown = [symbol for symbol in spec.universe if symbol not in symbols]
    if unknown:
        raise TrainingError(
            f"strategy {spec.id}: its universe has {', '.join(unknown)}, of which there are no bars"
        )
    return np.array([i for i, symbol in enumerate(symbols) if spec.trades(symbol)])


def evaluate(
    spec: StrategySpec,
    data: TrainingData,
    *,
    seed: int | None = None,
    first_test: int | None = None,
    workers: int | None = None,
) -> Evaluation:
    """Walk forward over the years: fit on the past, predict the year, put the years together.

    seed: instead of the strategy's own. first_test: the first year that is tested; as early as
    the history allows where not given. workers: folds at work at a time, one thread each; as many
    as there are processors where not given. The result does not depend on it, to the last bit.

    The simulation is long in the best `top_fraction` of the symbols (in all of them by method
    `all`), whatever the signal's method, and trades once per horizon. Raises TrainingError where
    the history does not allow a single fold.
    """
    folds = walk_forward(data.sessions, spec.label_horizon)
    folds = tuple(f for f in folds if first_test is None or int(f.name) >= first_test)
    if not folds:
        raise TrainingError(
            f"strategy {spec.id}: {len(data.sessions)} sessions with features end at "
            f"{data.sessions[-1]}; a first test year needs {MIN_TRAIN_SESSIONS} before it"
        )
    complete = data.complete

    def year(fold: Fold) -> tuple[np.ndarray, np.ndarray]:
        """Which (session, symbol) of the fold's test is predicted, and the predictions."""
        tested = complete[fold.test_start : fold.test_stop]
        pipeline = fit(spec, data, fold.train_stop, seed=seed, complete=complete)
        x = data.x[fold.test_start : fold.test_stop][tested]
        return tested, pipeline.predict(x) if len(x) else np.empty(0)

    predictions = np.full(data.y.shape, np.nan)
    with one_thread_each(min(workers or _processors(), len(folds))) as pool:
        for fold, (tested, values) in zip(folds, pool.map(year, folds), strict=True):
            predictions[fold.test_start : fold.test_stop][tested] = values
    residuals = (data.y - predictions)[~np.isnan(data.y - predictions)]
    if not len(residuals):
        raise TrainingError(f"strategy {spec.id}: no label of its test years is known yet")
    begin = folds[0].test_start
    return Evaluation(
        folds=folds,
        predictions=predictions,
        ic=rank_ic(predictions, data.y),
        residual_sigma=float(np.sqrt(np.mean(residuals * residuals))),
        backtest=backtest(
            predictions[begin:],
            data.prices[begin:],
            top=held(spec, len(data.symbols)),
            every=spec.label_horizon,
            cost_bps=COST_BPS,
            gross=GROSS,
        ),
    )


def held(spec: StrategySpec, symbols: int) -> int:
    """How many of so many symbols the simulation of a strategy holds."""
    if spec.signal.method == "all":
        return symbols
    return max(1, int(spec.signal.top_fraction * symbols))


def fit(
    spec: StrategySpec,
    data: TrainingData,
    stop: int,
    *,
    seed: int | None = None,
    complete: np.ndarray | None = None,
) -> Pipeline:
    """The pipeline of a strategy fitted on the sessions [0, stop) of the data.

    `window_sessions` takes the last of them only; by `half_life_sessions` a row weighs
    0.5 ** (sessions before the last / half-life). Call it inside `one_thread_each`, or sums depend
    on the number of processors. Raises TrainingError without a complete row.
    """
    parameters = spec.model_parameters
    start = max(0, stop - parameters.get("window_sessions", stop))
    complete = data.complete if complete is None else complete
    rows = complete[start:stop] & ~np.isnan(data.y[start:stop])
    if not rows.any():
        raise TrainingError(f"strategy {spec.id}: no complete training row before session {stop}")
    weights = {}
    if "half_life_sessions" in parameters:
        age = np.arange(stop - start - 1, -1, -1.0)
        weight = np.exp2(-age / parameters["half_life_sessions"])
        weights = {"model__sample_weight": np.repeat(weight, rows.sum(axis=1))}
    pipeline = build_pipeline(spec, seed)
    return pipeline.fit(data.x[start:stop][rows], data.y[start:stop][rows], **weights)


@contextmanager
def one_thread_each(workers: int) -> Iterator[ThreadPoolExecutor]:
    """A pool of threads in each of which numerical libraries use that one thread only.

    Sums that are split over threads depend on how many there are. scikit-learn and BLAS let go of
    the interpreter's lock, so that the pool's threads do work at the same time.
    """
    from threadpoolctl import threadpool_limits

    def limit() -> None:
        # OpenMP counts its threads for each thread that uses it.
        threadpool_limits(1, user_api="openmp")

    with threadpool_limits(1), ThreadPoolExecutor(workers, initializer=limit) as pool:
        yield pool


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
