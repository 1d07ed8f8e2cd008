"""The contest behind a verdict of the gate: all contenders walked forward over the same window.

Here belong the contenders' simulations and the yardsticks, from features and bars in memory. The
judgement is `gate`'s; which versions compete, and where the verdict goes, is the caller's business.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from hydra_pipelines.decision.signals import SignalRule
from hydra_pipelines.features.panel import FeaturePanel
from hydra_pipelines.market.bars import BarPanel
from hydra_pipelines.models.evaluation import (
    GROSS,
    TrainingData,
    TrainingError,
    evaluate,
    held,
    training_data,
)
from hydra_pipelines.models.gate import Contender, GateLimits, Verdict, annual_sharpe, judge
from hydra_pipelines.models.strategies import StrategySpec
from hydra_pipelines.models.validation import MIN_TRAIN_SESSIONS, walk_forward

SEEDS = (0, 1, 2)
"""For families that draw; the others have one result."""
ADV_SESSIONS = 63
YARDSTICK_SCORE = "momentum_12_1_z"


@dataclass(frozen=True)
class Capacity:
    """What orders are held against. capital: USD of the strategy. assumed_adv_usd: average daily
    value traded where the data has no volume."""

    capital: float
    assumed_adv_usd: float


def contest(
    candidate: StrategySpec,
    champion: StrategySpec,
    features: FeaturePanel,
    bars: BarPanel,
    as_of: date,
    earlier_trials: Sequence[float],
    capacity: Capacity,
    limits: GateLimits,
) -> Verdict:
    """The gate's verdict on a candidate's configuration against the champion's.

    Every contender learns from the past of each test year only, with the same purging, and is
    tested on the same years up to `as_of`. Equal weight and 12-1 momentum stand beside them.
    earlier_trials: annualised Sharpe ratios of the strategy's other trials. Raises TrainingError
    where the history does not allow a test.
    """
    specs = {"candidate": candidate, "champion": champion, **yardsticks(candidate)}
    data = {name: training_data(spec, features, bars, as_of) for name, spec in specs.items()}
    first_test = max(_first_test(specs[name], data[name]) for name in specs)
    contenders = {
        name: contender(name, spec, data[name], bars, capacity, first_test)
        for name, spec in specs.items()
    }
    tried = annual_sharpe(contenders["candidate"].mean_returns)
    return judge(
        contenders["candidate"],
        contenders["champion"],
        [contenders[name] for name in specs if name not in ("candidate", "champion")],
        [*earlier_trials, tried],
        limits,
    )


def yardsticks(spec: StrategySpec) -> dict[str, StrategySpec]:
    """The rules of thumb that any model has to stand beside: same universe, same horizon."""
    one_score = dataclasses.replace(
        spec, family="momentum", features=(YARDSTICK_SCORE,), parameters={}
    )
    everything = dataclasses.replace(
        one_score, family="equal_weight", signal=SignalRule(method="all")
    )
    return {"equal_weight": everything, "momentum": one_score}


def contender(
    name: str,
    spec: StrategySpec,
    data: TrainingData,
    bars: BarPanel,
    capacity: Capacity,
    first_test: int,
) -> Contender:
    """One strategy's results out of sample from the first test year on, one row per seed."""
    seeds = SEEDS if "seed" in spec.model_parameters else (None,)
    runs = [evaluate(spec, data, seed=seed, first_test=first_test) for seed in seeds]
    rank_ics = [run.figures["rank_ic"] for run in runs if "rank_ic" in run.figures]
    return Contender(
        name,
        np.stack([run.backtest.returns for run in runs]),
        # Equal predictions have no rank IC, and no leak either.
        rank_ic=float(np.mean(rank_ics)) if rank_ics else 0.0,
        turnover=float(np.mean([run.backtest.turnover for run in runs])),
        adv_share=_adv_share(spec, data, bars, capacity),
        features_present=bool(data.complete[-1].any()),
    )


def _first_test(spec: StrategySpec, data: TrainingData) -> int:
    folds = walk_forward(data.sessions, spec.label_horizon)
    if not folds:
        raise TrainingError(
            f"strategy {spec.id}: {len(data.sessions)} sessions with features end at "
            f"{data.sessions[-1]}; a first test year needs {MIN_TRAIN_SESSIONS} before it"
        )
    return int(folds[0].name)


def _adv_share(spec: StrategySpec, data: TrainingData, bars: BarPanel, capacity: Capacity) -> float:
    """Its largest order now, a whole position, over the least value that a name of its trades."""
    order = capacity.capital * GROSS / held(spec, len(data.symbols))
    volume = bars.field("volume")
    if volume is None:
        return order / capacity.assumed_adv_usd
    column = {symbol: i for i, symbol in enumerate(bars.symbols)}
    mine = [column[symbol] for symbol in data.symbols]
    last = int(np.searchsorted(bars.sessions, data.sessions[-1])) + 1
    window = slice(max(0, last - ADV_SESSIONS), last)
    traded = volume[window][:, mine] * bars.fields["close"][window][:, mine]
    known = ~np.isnan(traded)
    days = np.maximum(known.sum(axis=0), 1)
    values = np.where(known.any(axis=0), np.nansum(traded, axis=0) / days, capacity.assumed_adv_usd)
    live = data.complete[-1]
    if live.any():
        values = values[live]
    least = float(values.min())
    return order / least if least > 0 else float("inf")
