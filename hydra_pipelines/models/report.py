"""The report of an evaluation's backtest by vectorbt, as a second opinion on our own simulation.

Here belongs what needs vectorbt, which takes seconds to import: never on the way to a trade.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from hydra_pipelines.models.evaluation import (
    COST_BPS,
    GROSS,
    Evaluation,
    TrainingData,
    TrainingError,
    held,
)
from hydra_pipelines.models.strategies import StrategySpec

if TYPE_CHECKING:
    from vectorbt import Portfolio

TOLERANCE = 1e-9
"""Relative difference of the two simulations' equity that rounding explains."""


def vectorbt_report(
    spec: StrategySpec, data: TrainingData, evaluation: Evaluation
) -> dict[str, str]:
    """Texts by path: vectorbt's figures as JSON, and its daily equity as CSV.

    Raises TrainingError where its equity is not the one that the evaluation found. Where a price is
    missing the two may differ (money that is stuck in a name that can't be sold is left alone by
    ours, and counted on by vectorbt's until the cash is gone); the difference is then reported.
    """
    begin = evaluation.begin
    portfolio = simulate(
        evaluation.predictions[begin:],
        data.prices[begin:],
        data.sessions[begin:],
        top=held(spec, len(data.symbols)),
        every=spec.label_horizon,
        cost_bps=COST_BPS,
        gross=GROSS,
    )
    equity = portfolio.value()
    ours = evaluation.backtest.equity
    worst = float(np.abs(equity.to_numpy() / ours - 1.0).max())
    if not worst <= TOLERANCE and np.isfinite(data.prices[begin:]).all():
        raise TrainingError(
            f"strategy {spec.id}: vectorbt's equity and ours are {worst:.1e} apart; one of the "
            "simulations is wrong"
        )
    figures = {**_figures(portfolio), "Largest difference to our simulation": worst}
    frame = equity.rename("equity").rename_axis("session").to_frame()
    frame["drawdown"] = 1.0 - frame["equity"] / frame["equity"].cummax()
    return {
        "backtest/vectorbt.json": json.dumps(figures, indent=2) + "\n",
        "backtest/equity.csv": frame.to_csv(date_format="%Y-%m-%d"),
    }


def simulate(
    scores: np.ndarray,
    prices: np.ndarray,
    sessions: np.ndarray,
    *,
    top: int,
    every: int,
    cost_bps: float,
    gross: float,
) -> Portfolio:
    """`backtest.backtest` by vectorbt: the same choice, each traded at the next close."""
    import pandas as pd
    import vectorbt as vbt

    size = np.full(prices.shape, np.nan)
    for decided in range(0, len(prices) - 1, every):
        chosen = np.argsort(-scores[decided], kind="stable")[:top]
        chosen = chosen[~np.isnan(scores[decided, chosen])]
        if len(chosen):
            size[decided + 1] = 0.0
            size[decided + 1, chosen] = gross / len(chosen)
    index = pd.DatetimeIndex(sessions.astype("datetime64[ns]"))
    return vbt.Portfolio.from_orders(
        pd.DataFrame(prices, index=index),
        size=pd.DataFrame(size, index=index),
        size_type="targetpercent",
        fees=cost_bps / 1e4,
        init_cash=1.0,
        group_by=True,
        cash_sharing=True,
        call_seq="auto",
        freq="1D",
    )


def _figures(portfolio: Portfolio) -> dict[str, Any]:
    """vectorbt's own table of figures, by its names."""
    stats = portfolio.stats(settings={"freq": "1D", "year_freq": "252D"})
    return {
        name: float(value) if isinstance(value, int | float | np.number) else str(value)
        for name, value in stats.items()
    }
