"""What a drift check looks at, read as of a session: features, predictions, scores, returns.

Here belongs reading, and keeping the scores of sessions whose labels have become known. What it
says of a model is `monitoring.drift`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np

from hydra_pipelines.day.champions import StrategyModel, word_of
from hydra_pipelines.desk import Desk
from hydra_pipelines.features.panel import FeaturePanel
from hydra_pipelines.ledger import drift
from hydra_pipelines.market.bars import BarPanel

if TYPE_CHECKING:
    from hydra_pipelines.models.inference import InferenceModel
    from hydra_pipelines.models.registry import ChampionRef
    from hydra_pipelines.models.scores import SessionScores
    from hydra_pipelines.models.strategies import StrategySpec
    from hydra_pipelines.monitoring.drift import ModelDrift, Observed, Outcomes

STORED_SESSIONS = 252
"""So many sessions of stored predictions are read again at each check."""
_BLOCK = 1 << 18
"""Rows predicted at a time."""


@dataclass(frozen=True)
class Market:
    """Features and bars up to and including a session."""

    session: date
    features: FeaturePanel
    bars: BarPanel

    @classmethod
    def read(cls, desk: Desk, session: date) -> Market:
        """From the lake. Raises DriftError where the session is not in it."""
        from hydra_pipelines.day.drift import DriftError
        from hydra_pipelines.features.panel import FeatureError, read_features
        from hydra_pipelines.market.ingest import bar_panel
        from hydra_pipelines.market.lake import LakeError

        try:
            features = read_features(desk.features, last=session)
            features.index(session)
            return cls(session, features, bar_panel(desk.bars.view(), last=session))
        except (FeatureError, LakeError) as error:
            raise DriftError(f"no drift check of {session}: {error}") from error


class Columns(Mapping[str, np.ndarray]):
    """Features by name, (S, N) each, made when asked for: all at once would not fit everywhere.

    A value counts where its session and symbol have all of the model's features.
    """

    def __init__(self, values: np.ndarray, places: Mapping[str, int], complete: np.ndarray):
        self._values, self._places, self._complete = values, places, complete

    def __getitem__(self, name: str) -> np.ndarray:
        return np.where(self._complete, self._values[:, self._places[name]], np.nan)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


@dataclass(frozen=True)
class Watched:
    """A champion with all that a check of it needs. spec: as configured when it was trained.
    symbols: of its universe, picked: their columns. trained: sessions of `columns`, from the
    first, that it learnt from."""

    spec: StrategySpec
    ref: ChampionRef
    model: InferenceModel
    symbols: tuple[str, ...]
    picked: np.ndarray
    sessions: np.ndarray
    trained: int
    columns: Columns
    model_features: Mapping[str, tuple[str, ...]]


def watched(desk: Desk, market: Market, champion: StrategyModel) -> Watched:
    """Raises RegistryError, FeatureError or StrategyError."""
    spec = next(s for s in desk.strategies if s.id == champion.strategy_id)
    ref = champion.ref
    assert ref is not None
    configuration = ref.tags.get("configuration")
    spec = spec.as_configured(configuration) if configuration else spec
    with desk.ledger.transaction() as tx:
        recorded = word_of(tx, spec.id).hashes.get(ref.version)
    model = desk.registry.load_inference(ref, recorded)
    panel = market.features
    picked = np.flatnonzero([spec.trades(symbol) for symbol in panel.symbols])
    made_from = _sources(panel, model.features)
    places = dict(zip(made_from, panel.columns(list(made_from)), strict=True))
    values = panel.values if len(picked) == len(panel.symbols) else panel.values[:, :, picked]
    complete = np.ones((len(panel.sessions), len(picked)), dtype=bool)
    for name in model.features:
        complete &= ~np.isnan(values[:, places[name]])
    start = int(np.argmax(complete.any(axis=1)))
    as_of = np.datetime64(date.fromisoformat(ref.as_of), "D")
    return Watched(
        spec=spec,
        ref=ref,
        model=model,
        symbols=tuple(panel.symbols[i] for i in picked),
        picked=picked,
        sessions=panel.sessions[start:],
        trained=int(np.searchsorted(panel.sessions[start:], as_of, side="right")),
        columns=Columns(values[start:], places, complete[start:]),
        model_features=made_from,
    )


def _sources(panel: FeaturePanel, features: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """The features and what ranks and z-scores among them were made from, with what uses each."""
    out: dict[str, tuple[str, ...]] = {name: (name,) for name in features}
    for name in features:
        raw = name.removesuffix("_rank").removesuffix("_z")
        if raw != name and raw in panel.names:
            out[raw] = (*out.get(raw, ()), name)
    return out


def observe(desk: Desk, market: Market, champion: StrategyModel, share: float) -> ModelDrift:
    """Score what became known of a champion's predictions, and check it.

    share: of the months in which either joint statistic may say drift with nothing changed.
    """
    from hydra_pipelines.monitoring.drift import (
        Rules,
        enough_predictions,
        model_drift,
        not_judged,
    )

    settings = desk.settings.monitoring
    one = watched(desk, market, champion)
    made = _stored_predictions(desk, market, one)
    scores = _scored(desk, market, one, made)
    recent = desk.calendar.between(date.min, market.session)[-settings.recent_sessions :]
    days = np.repeat(made.sessions, (~np.isnan(made.values)).sum(axis=1)).astype(object)
    lacking = enough_predictions(days, recent, settings.min_predictions)
    if lacking:
        return not_judged(tuple(one.columns), lacking)
    return model_drift(
        observed(desk, one, made),
        _outcomes(market, one, made, scores),
        Rules(settings.window_sessions, share),
    )


@dataclass(frozen=True)
class Made:
    """Predictions as they were stored: values and probabilities (L, N), of the last L sessions."""

    sessions: np.ndarray
    values: np.ndarray
    probability_up: np.ndarray


def observed(desk: Desk, one: Watched, made: Made) -> Observed:
    """What the model was trained on, and what it is fed with now."""
    from hydra_pipelines.monitoring.drift import Observed

    predicted = ~np.isnan(made.values).all(axis=1)
    return Observed(
        sessions=one.sessions,
        trained=one.trained,
        columns=one.columns,
        model_features=one.model_features,
        reference=desk.registry.load_reference(one.ref),
        training_predictions=_training_predictions(one),
        predictions=made.values[predicted],
        prediction_sessions=made.sessions[predicted],
    )


def _training_predictions(one: Watched) -> np.ndarray:
    """What the model says of the sessions it was trained on: (trained, N)."""
    columns = [one.columns[name][: one.trained] for name in one.model.features]
    sessions, symbols = columns[0].shape
    out = np.full((sessions, symbols), np.nan)
    step = max(1, _BLOCK // max(symbols, 1))
    for first in range(0, len(out), step):
        block = slice(first, first + step)
        x = np.stack([column[block] for column in columns], axis=-1)
        known = ~np.isnan(x[..., 0])
        out[block][known] = one.model.predict(x[known])[0]
    return out


def _stored_predictions(desk: Desk, market: Market, one: Watched) -> Made:
    """Of the last `STORED_SESSIONS` sessions, from the first in which this version predicted on.

    Where sessions before that have no score yet, they come too. NaN where nothing was predicted.
    """
    horizon, through = one.spec.label_horizon, market.bars.sessions
    with desk.ledger.transaction() as tx:
        unscored = drift.first_unscored(
            tx, one.spec.id, one.ref.version, _known_until(through, horizon)
        )
        begin = max(0, len(through) - STORED_SESSIONS)
        if unscored is not None:
            begin = min(begin, int(np.searchsorted(through, np.datetime64(unscored, "D"))))
        rows = drift.predictions_by(
            tx, one.spec.id, one.ref.version, through[begin].item(), market.session
        )
    days = np.array(rows["session"], dtype="datetime64[D]")
    begin = int(np.searchsorted(through, days[0])) if len(days) else len(through)
    # A multiple of the horizon, so that the simulated portfolio trades on the same days.
    begin -= begin % horizon if len(days) else 0
    sessions = through[begin:]
    made = Made(sessions, *np.full((2, len(sessions), len(one.symbols)), np.nan))
    column = {symbol: i for i, symbol in enumerate(one.symbols)}
    places = np.array([column.get(symbol, -1) for symbol in rows["symbol"]], dtype=np.int64)
    at, kept = np.searchsorted(sessions, days), places >= 0
    made.values[at[kept], places[kept]] = np.array(rows["prediction"], np.float64)[kept]
    made.probability_up[at[kept], places[kept]] = np.array(rows["probability_up"], np.float64)[kept]
    return made


def _known_until(sessions: np.ndarray, horizon: int) -> date | None:
    """The last session whose labels are known by the last one."""
    return sessions[-2 - horizon].item() if len(sessions) > 1 + horizon else None


def _scored(desk: Desk, market: Market, one: Watched, made: Made) -> SessionScores:
    """All scores of the version known by the session; those that are new or changed are stored."""
    from hydra_pipelines.models.labels import make_labels
    from hydra_pipelines.models.scores import SessionScores, score_sessions

    bars, horizon = market.bars, one.spec.label_horizon
    begin = len(bars.sessions) - len(made.sessions)
    closes = bars.fields["adj_close"][begin:][:, one.picked]
    labels = make_labels(
        BarPanel(made.sessions, one.symbols, {"adj_close": closes}), horizon
    ).values
    fresh = score_sessions(
        made.sessions, made.values, made.probability_up, labels, one.model.residual_sigma
    )
    fresh = fresh.take(fresh.n > 0)
    known_on = made.sessions[np.searchsorted(made.sessions, fresh.sessions) + 1 + horizon]
    rows = [
        {
            "session": day.item(),
            "n": int(fresh.n[i]),
            **{
                name: None if np.isnan(value := getattr(fresh, name)[i]) else float(value)
                for name in ("rank_ic", "residual", "accuracy", "brier")
            },
            "known_on": known_on[i].item(),
        }
        for i, day in enumerate(fresh.sessions)
    ]
    with desk.ledger.transaction() as tx:
        stored = {r["session"]: r for r in drift.scores(tx, one.spec.id, one.ref.version)}
        changed = [
            row
            for row in rows
            if any(stored.get(row["session"], {}).get(name, ...) != row[name] for name in row)
        ]
        drift.replace_scores(tx, one.spec.id, one.ref.version, changed)
        known = drift.scores(tx, one.spec.id, one.ref.version, market.session)

    def column(name: str) -> np.ndarray:
        return np.array([np.nan if row[name] is None else row[name] for row in known], np.float64)

    return SessionScores(
        sessions=np.array([row["session"] for row in known], dtype="datetime64[D]"),
        n=column("n").astype(np.int64),
        rank_ic=column("rank_ic"),
        residual=column("residual"),
        accuracy=column("accuracy"),
        brier=column("brier"),
    )


def _outcomes(market: Market, one: Watched, made: Made, scores: SessionScores) -> Outcomes:
    """The scores, and the portfolio that the evaluation simulates, on the stored predictions."""
    from hydra_pipelines.models.backtest import backtest
    from hydra_pipelines.models.evaluation import COST_BPS, GROSS, held
    from hydra_pipelines.monitoring.drift import Outcomes

    begin = len(market.bars.sessions) - len(made.sessions)
    returns = np.empty(0)
    if len(made.sessions) > 1:
        returns = backtest(
            made.values,
            market.bars.fields["adj_close"][begin:][:, one.picked],
            top=held(one.spec, len(one.symbols)),
            every=one.spec.label_horizon,
            cost_bps=COST_BPS,
            gross=GROSS,
        ).returns
    return Outcomes(scores, returns, made.sessions[1:], one.spec.label_horizon)
