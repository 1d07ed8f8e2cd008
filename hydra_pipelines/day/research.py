"""The day up to the signals: bars, features, champions, predictions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from hydra_pipelines.day.champions import (
    ModelState,
    StrategyModel,
    Word,
    look_at_registry,
    words_of,
)
from hydra_pipelines.day.session import is_frozen
from hydra_pipelines.day.spreading import feature_shards
from hydra_pipelines.day.supply import FEATURES, PREDICTIONS, PRICES, Supply, age
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger import audit, decisions, experiments
from hydra_pipelines.ledger.audit import AuditEvent

if TYPE_CHECKING:
    from hydra_pipelines.features.panel import FeatureReport
    from hydra_pipelines.market.bars import BarPanel
    from hydra_pipelines.market.ingest import IngestReport
    from hydra_pipelines.market.quality import Finding
    from hydra_pipelines.models.registry import ChampionRef

CHECKED_SESSIONS = 63
"""How many sessions back the daily quality checks look."""


@dataclass(frozen=True)
class BarsResult:
    report: IngestReport
    findings: tuple[Finding, ...]
    closes: tuple[Mapping[str, Any], ...]
    """symbol, close and one-session return of the session, for people."""
    supply: Supply

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.severity == "error")


def ingest_bars(desk: Desk, session: date) -> BarsResult:
    """Bring the lake up to the session, never beyond, and check what it holds."""
    import numpy as np

    from hydra_pipelines.market.ingest import bar_panel, ingest
    from hydra_pipelines.market.quality import check_bars, source_findings
    from hydra_pipelines.market.universe import members

    report = ingest(desk.source, desk.bars, session, desk.calendar, datetime.now(UTC))
    view = desk.bars.view()
    start = desk.calendar.next(session, -CHECKED_SESSIONS)
    recent = bar_panel(view, first=start, last=session)
    before = [day.item() for day in recent.sessions if day.item() < session]
    expected = members(recent, before[-1]) if before else recent.symbols
    accepted = {(move.symbol, move.session) for move in desk.settings.market.accepted_moves}
    findings = (
        *check_bars(recent, session, desk.calendar, expected, accepted),
        *source_findings(report.problems, session),
    )
    closes: tuple[Mapping[str, Any], ...] = ()
    if len(recent.sessions) and recent.sessions[-1].item() == session:
        with desk.ledger.transaction() as tx:
            decisions.record_data_snapshot(
                tx, session, view.snapshot(session), report.source, report.symbols
            )
        close = recent.fields["close"]
        change = close[-1] / close[-2] - 1 if len(close) > 1 else np.full(close.shape[1], np.nan)
        closes = tuple(
            {"symbol": s, "close": float(c), "return": float(r)}
            for s, c, r in zip(recent.symbols, close[-1], change, strict=True)
        )
    return BarsResult(report, findings, closes, _prices(desk, session, recent))


def _prices(desk: Desk, session: date, recent: BarPanel) -> Supply:
    """Closes up to the session: those of the recent sessions, or all where these are too few."""
    import numpy as np

    from hydra_pipelines.market.ingest import bar_panel

    last = recent.sessions[-1].item() if len(recent.sessions) else None
    rows = int(np.isfinite(recent.fields["close"]).sum())
    if rows < PRICES.rows:
        whole = bar_panel(desk.bars.view(), last=session)
        rows = int(np.isfinite(whole.fields["close"]).sum())
    return Supply(PRICES, rows, age(desk.calendar, last, session))


def session_members(desk: Desk, session: date) -> tuple[str, ...]:
    """The universe of the session, by what was known on it."""
    from hydra_pipelines.market.ingest import bar_panel
    from hydra_pipelines.market.universe import members

    return members(bar_panel(desk.bars.view(), first=session, last=session), session)


@dataclass(frozen=True)
class FeaturesResult:
    report: FeatureReport
    supply: Supply


def make_features(desk: Desk, session: date) -> FeaturesResult:
    """Bring the lake of features up to the session."""
    from hydra_pipelines.features.panel import read_features, update_features

    shards = feature_shards(desk)
    report = update_features(desk.bars, desk.features, session, shards.made)
    shards.clear()
    panel = read_features(desk.features, last=session)
    last = panel.sessions[-1].item() if len(panel.sessions) else None
    rows = len(panel.sessions) * len(panel.symbols)
    return FeaturesResult(report, Supply(FEATURES, rows, age(desk.calendar, last, session)))


@dataclass(frozen=True)
class PredictionsResult:
    """rows: what is stored, by strategy; failures: strategy -> why it has no predictions."""

    status: str
    rows: Mapping[str, tuple[Mapping[str, Any], ...]]
    failures: Mapping[str, str]
    left_out: Mapping[str, tuple[str, ...]]
    kept: bool
    """True where the session was executed already, so that its predictions stay as they were."""
    supply: Supply


def make_predictions(desk: Desk, session: date, run_id: str) -> PredictionsResult:
    """Predict the session's universe with the version that the history names, strategy by strategy.

    Looks at the registry first. Where the predictions differ from those stored, what was made of
    these is removed: the session's signals and its draft plan.

    status: `success`, `partial_failure` (others go on) or `no_deployed_strategies`.
    """
    if is_frozen(desk, session):
        return _stored_predictions(desk, session)
    models = {model.strategy_id: model for model in look_at_registry(desk, verify=False)}
    # While the ledger is ours nobody writes into the history, so what predicts is what it names.
    with desk.ledger.session():
        if is_frozen(desk, session):
            return _stored_predictions(desk, session)
        return _predict(desk, session, run_id, models)


def _predict(
    desk: Desk, session: date, run_id: str, models: Mapping[str, StrategyModel]
) -> PredictionsResult:
    from hydra_pipelines.decision.predict import PredictionError, predict
    from hydra_pipelines.features.panel import FeatureError, read_features
    from hydra_pipelines.models.registry import RegistryError

    panel = read_features(desk.features, first=session, last=session)
    members = session_members(desk, session)
    rows: dict[str, tuple[Mapping[str, Any], ...]] = {}
    failures: dict[str, str] = {}
    left_out: dict[str, tuple[str, ...]] = {}
    with desk.ledger.transaction() as tx:
        words = words_of(tx, [spec.id for spec in desk.strategies])
    for spec in desk.strategies:
        try:
            ref, recorded = _named_by_history(desk, models[spec.id], words[spec.id])
            model = desk.registry.load_inference(ref, recorded)
            made = predict(
                model,
                panel.values[-1],
                panel.names,
                panel.symbols,
                [symbol for symbol in members if spec.trades(symbol)],
                in_order=spec.signal.method != "all",
            )
        except (RegistryError, PredictionError, FeatureError) as error:
            failures[spec.id] = str(error)
            continue
        left_out[spec.id] = made.left_out
        rows[spec.id] = tuple(
            {
                "symbol": symbol,
                "prediction": float(value),
                "probability_up": float(up),
                "model_version": ref.version,
                "data_snapshot_id": panel.snapshot(session),
            }
            for symbol, value, up in zip(
                made.symbols, made.values, made.probability_up, strict=True
            )
        )
    with desk.ledger.transaction() as tx:
        changed = _keys(decisions.predictions(tx, session)) != _keys(
            {"strategy_id": name, **row} for name, made in rows.items() for row in made
        )
        if changed:
            decisions.drop_derived(tx, session)
        decisions.replace_predictions(tx, session, rows)
        for strategy_id, made_rows in rows.items():
            audit.log(
                tx,
                AuditEvent.PREDICTION_GENERATED,
                {
                    "session": session,
                    "rows": len(made_rows),
                    "model_version": made_rows[0]["model_version"],
                    "data_snapshot_id": made_rows[0]["data_snapshot_id"],
                },
                strategy_id=strategy_id,
                run_id=run_id,
            )
    if changed:
        # For readers, and for those who look whether a promotion was followed.
        desk.ledger.publish()
    status = "partial_failure" if failures else "success"
    if not desk.strategies:
        status = "no_deployed_strategies"
    supply = _predicted(desk, session, rows)
    return PredictionsResult(status, rows, failures, left_out, kept=False, supply=supply)


def _predicted(
    desk: Desk, session: date, rows: Mapping[str, tuple[Mapping[str, Any], ...]]
) -> Supply:
    """The session's predictions, or else the latest ones before it."""
    if rows:
        return Supply(PREDICTIONS, sum(map(len, rows.values())), 0)
    with desk.ledger.transaction() as tx:
        last, count = decisions.latest_predictions(tx, session)
    return Supply(PREDICTIONS, count, age(desk.calendar, last, session))


def _named_by_history(desk: Desk, model: StrategyModel, word: Word) -> tuple[ChampionRef, str]:
    """The version that trades, and the recorded hash of its arrays. Raises RegistryError."""
    from hydra_pipelines.models.registry import NoChampion

    moved = word.champion != model.champion and model.state is not ModelState.REGISTRY_DOWN
    if moved and word.champion is not None and word.champion in word.hashes:
        # Since we looked.
        ref = desk.registry.version(model.strategy_id, word.champion)
    elif moved or model.ref is None or not model.ready:
        raise NoChampion(f"{model.state}: {model.why or 'its champion was moved just now'}")
    else:
        ref = model.ref
    return ref, word.hashes[ref.version]


def _keys(rows: Iterable[Mapping[str, Any]]) -> set[tuple[Any, ...]]:
    names = ("strategy_id", "symbol", "prediction", "model_version")
    return {tuple(row[name] for name in names) for row in rows}


def _stored_predictions(desk: Desk, session: date) -> PredictionsResult:
    with desk.ledger.transaction() as tx:
        stored = decisions.predictions(tx, session)
    rows: dict[str, tuple[Mapping[str, Any], ...]] = {}
    for row in stored:
        rows[row["strategy_id"]] = (*rows.get(row["strategy_id"], ()), row)
    supply = Supply(PREDICTIONS, len(stored), 0)
    return PredictionsResult("success", rows, {}, {}, kept=True, supply=supply)


@dataclass(frozen=True)
class SignalsResult:
    rows: Mapping[str, tuple[Mapping[str, Any], ...]]
    failures: Mapping[str, str]
    kept: bool

    @property
    def long(self) -> int:
        return sum(row["signal"] > 0 for rows in self.rows.values() for row in rows)


def make_session_signals(desk: Desk, session: date) -> SignalsResult:
    """Signals of each strategy from its stored predictions of the session.

    By the rule of the settings, or the one that the version was promoted with instead of that.
    """
    import numpy as np

    from hydra_pipelines.decision.signals import SignalError, SignalRule, make_signals

    frozen = is_frozen(desk, session)
    with desk.ledger.transaction() as tx:
        stored = decisions.predictions(tx, session)
        if frozen:
            kept: dict[str, tuple[Mapping[str, Any], ...]] = {}
            for row in decisions.signals(tx, session):
                kept[row["strategy_id"]] = (*kept.get(row["strategy_id"], ()), row)
            return SignalsResult(kept, {}, kept=True)
        rules = {
            (spec.id, version): SignalRule(**changed)
            for spec in desk.strategies
            for version in {row["model_version"] for row in stored}
            if (changed := experiments.signal_rule(tx, spec.id, version, vars(spec.signal)))
        }
    rows: dict[str, tuple[Mapping[str, Any], ...]] = {}
    failures: dict[str, str] = {}
    for strategy in desk.strategies:
        mine = [row for row in stored if row["strategy_id"] == strategy.id]
        if not mine:
            failures[strategy.id] = "no predictions"
            continue
        rule = rules.get((strategy.id, mine[0]["model_version"]), strategy.signal)
        try:
            signals = make_signals(np.array([row["prediction"] for row in mine]), rule)
        except SignalError as error:
            failures[strategy.id] = str(error)
            continue
        rows[strategy.id] = tuple(
            {
                "symbol": row["symbol"],
                "signal": int(signal),
                "prediction": row["prediction"],
            }
            for row, signal in zip(mine, signals.values, strict=True)
        )
    with desk.ledger.transaction() as tx:
        decisions.replace_signals(tx, session, rows)
    return SignalsResult(rows, failures, kept=False)
