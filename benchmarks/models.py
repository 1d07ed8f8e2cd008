"""Models: the champion in a fresh process, an experiment's time, the gate's simulation, honesty.

    .venv/bin/python -m benchmarks.models [--quick]

P6b  the champion ready to predict in a fresh process, against `mlflow.pyfunc.load_model` by alias,
     after checking that both predict the same bits; and 3,000 symbols x 40 features, loading
     included.
P7   a ridge and a boosted candidate walked forward over 22 years of the sample, libraries imported.
P7b  the net backtest of 500 symbols x 10 years, weekly, the best tenth, against warm vectorbt,
     after checking that their equity is the same within 1e-9. It is what is done for every
     contender and seed of the gate; its bootstrap draws from the daily returns that come out.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np

from benchmarks.results import Result, Wrong, run_alone
from hydra_pipelines.desk import Desk
from hydra_pipelines.features.panel import FeaturePanel, read_features, update_features
from hydra_pipelines.market.bars import BarPanel
from hydra_pipelines.market.ingest import bar_panel, ingest
from hydra_pipelines.market.lake import Lake
from hydra_pipelines.market.sources import open_source
from hydra_pipelines.models.backtest import backtest
from hydra_pipelines.models.evaluation import evaluate, fit, one_thread_each, training_data
from hydra_pipelines.models.families import build_pipeline, export
from hydra_pipelines.models.inference import LinearModel, load_model
from hydra_pipelines.models.registry import CHAMPION, Registry
from hydra_pipelines.models.report import simulate
from hydra_pipelines.models.strategies import StrategySpec
from hydra_pipelines.models.training import train
from hydra_pipelines.models.validation import leak_alarms
from hydra_pipelines.sessions import Calendar
from hydra_pipelines.settings import load_settings

LAST = date(2022, 12, 28)
FIRST_TEST = 2001

FRESH = """
import json, sys, time
started = time.perf_counter()
import numpy as np
x = np.load(sys.argv[1])
{load}
ready = time.perf_counter()
json.dump([ready - started, prediction.view(np.int64).tolist()], open(sys.argv[2], "w"))
"""
OURS = """
from hydra_pipelines.models.registry import Registry
registry = Registry(sys.argv[3], ".")
model = registry.load_inference(registry.require_champion(sys.argv[4]))
prediction, _ = model.predict(x)
"""
PYFUNC = """
import mlflow, pandas as pd
mlflow.set_tracking_uri(sys.argv[3])
model = mlflow.pyfunc.load_model(f"models:/{sys.argv[4]}@champion")
names = model.metadata.signature.inputs.input_names()
prediction = np.asarray(model.predict(pd.DataFrame(x, columns=names)))
"""


def median_of(runs: int, work: Callable[[], object]) -> float:
    """Median seconds of several runs."""
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def sample(folder: Path) -> tuple[FeaturePanel, BarPanel]:
    """Bars and features of the whole sample."""
    bars, features = Lake(folder / "bars"), Lake(folder / "features")
    calendar = Calendar.load("XNYS", folder)
    ingest(open_source("sample"), bars, LAST, calendar, datetime(2023, 1, 1, tzinfo=UTC))
    update_features(bars, features, LAST)
    return read_features(features), bar_panel(bars.view())


def fresh(code: str, x: Path, uri: str, strategy: str, runs: int) -> tuple[float, list[int]]:
    """Median seconds of fresh processes, imports included, and the bits that they predict."""
    out = x.with_suffix(".json")
    seconds, bits = [], []
    for _ in range(runs):
        subprocess.run(
            [sys.executable, "-c", FRESH.replace("{load}", code), x, out, uri, strategy],
            check=True,
            stderr=subprocess.DEVNULL,
        )
        took, bits = json.loads(out.read_text())
        seconds.append(took)
    return statistics.median(seconds), bits


def champions(
    specs: list[StrategySpec], features: FeaturePanel, bars: BarPanel, folder: Path, runs: int
) -> list[Result]:
    results = []
    registry = Registry(f"sqlite:///{folder}/mlflow.db", folder / "artifacts")
    for spec in specs:
        made = train(spec, features, bars, LAST, registry, code_version="benchmark")
        registry.set_alias(spec.id, CHAMPION, made.version)
        x = folder / f"{spec.id}.npy"
        np.save(x, features.matrix(LAST, spec.features))
        ours, our_bits = fresh(OURS, x, registry.uri, spec.id, runs)
        theirs, their_bits = fresh(PYFUNC, x, registry.uri, spec.id, runs)
        if our_bits != their_bits:
            raise Wrong(f"{spec.family}: the arrays and pyfunc predict different bits")
        results.append(
            Result(
                "P6b", f"champion ready in a fresh process, {spec.family}", theirs / ours, "×", 10,
                higher=True,
                notes=f"equal to the bit; ours {ours:.3f} s, mlflow.pyfunc {theirs:.1f} s",
            )
        )  # fmt: skip
    return results


def predictions(specs: list[StrategySpec], runs: int) -> list[Result]:
    results = []
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 40))
    names = tuple(f"f{i}" for i in range(40))
    boosting = next(s for s in specs if s.family == "hist_gradient_boosting")
    linear = LinearModel(names, 1.0, np.zeros(40), np.ones(40), rng.normal(size=40), 0.0)
    fitted = build_pipeline(boosting).fit(np.tile(x, (10, 1)), rng.normal(size=30_000))
    for family, model in (("ridge", linear), (boosting.family, export(fitted, names, 1.0))):
        content = model.to_bytes()
        seconds = median_of(4 * runs, lambda content=content: load_model(content).predict(x))
        work = f"prediction, 3,000 symbols × 40 features, file read, {family}"
        results.append(Result("", work, seconds * 1e3, "ms", 50))
    return results


def experiments(
    specs: list[StrategySpec], features: FeaturePanel, bars: BarPanel, runs: int
) -> list[Result]:
    results = []
    for spec in specs:
        folds = 0

        def experiment(spec: StrategySpec = spec) -> None:
            nonlocal folds
            data = training_data(spec, features, bars, LAST)
            found = evaluate(spec, data, first_test=FIRST_TEST)
            if alarms := leak_alarms(found.figures):
                raise Wrong(f"{spec.family}: {'; '.join(alarms)}")
            folds = len(found.folds)
            with one_thread_each(1) as pool:
                pool.submit(fit, spec, data, len(data.sessions)).result()

        few = 1 if spec.family == "hist_gradient_boosting" else min(runs, 3)
        seconds = median_of(few, experiment)
        limit = {"ridge": 2, "hist_gradient_boosting": 12}.get(spec.family)
        work = f"train and validate, {folds} yearly folds of the sample, {spec.family}"
        results.append(Result("P7", work, seconds, "s", limit))
    return results


def simulation(runs: int) -> list[Result]:
    rng = np.random.default_rng(7)
    prices = 20.0 * np.exp(np.cumsum(rng.normal(0.0003, 0.02, (2520, 500)), axis=0))
    scores = rng.normal(size=prices.shape)
    sessions = np.datetime64("2012-01-02", "D") + np.arange(2520)
    options = {"top": 50, "every": 5, "cost_bps": 5.0, "gross": 0.99}
    ours = backtest(scores, prices, **options)
    theirs = simulate(scores, prices, sessions, **options).value().to_numpy()
    worst = float(np.abs(theirs / ours.equity - 1.0).max())
    if worst > 1e-9:
        raise Wrong(f"vectorbt's equity and ours differ by {worst:.1e}")
    # Its own simulation and equity alone: the choice of names is made before the clock starts.
    size = targets(scores, 50, 5, 0.99)
    slow = median_of(runs, lambda: vectorbt_equity(prices, size))
    fast = median_of(8 * runs, lambda: backtest(scores, prices, **options))
    return [
        Result(
            "P7b", "net backtest, 500 × 10 years, weekly, against warm vectorbt", slow / fast, "×",
            100, higher=True,
            notes=f"equal within {worst:.0e}; ours {fast * 1e3:.2f} ms, "
            f"vectorbt {slow * 1e3:.0f} ms",
        )
    ]  # fmt: skip


def targets(scores: np.ndarray, top: int, every: int, gross: float) -> np.ndarray:
    size = np.full(scores.shape, np.nan)
    for decided in range(0, len(scores) - 1, every):
        size[decided + 1] = 0.0
        size[decided + 1, np.argsort(-scores[decided], kind="stable")[:top]] = gross / top
    return size


def vectorbt_equity(prices: np.ndarray, size: np.ndarray) -> np.ndarray:
    import vectorbt as vbt

    portfolio = vbt.Portfolio.from_orders(
        prices,
        size=size,
        size_type="targetpercent",
        fees=5e-4,
        init_cash=1.0,
        group_by=True,
        cash_sharing=True,
        call_seq="auto",
    )
    return portfolio.value().to_numpy()


def measure(quick: bool = False) -> list[Result]:
    runs = 1 if quick else 5
    specs = list(Desk(load_settings()).candidates)
    if quick:
        specs = [s for s in specs if s.family != "hist_gradient_boosting"]
    with tempfile.TemporaryDirectory() as folder:
        features, bars = sample(Path(folder))
        # A model of one fixed feature alone learns nothing, and has no candidate's time.
        learning = [s for s in specs if s.features != ("return_1d",)]
        results = [
            *experiments(specs, features, bars, runs),
            *champions(learning, features, bars, Path(folder), runs),
        ]
    everything = list(Desk(load_settings()).candidates)
    return [*results, *predictions(everything, runs), *simulation(runs)]


if __name__ == "__main__":
    run_alone(__doc__, measure)
