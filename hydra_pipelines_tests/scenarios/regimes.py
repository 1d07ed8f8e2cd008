"""A stretch of the sample as its champions saw it: trained before, predictions replayed, no trade.

Making one takes seconds; afterwards the drift check can be asked as of any session of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from hydra_pipelines import day
from hydra_pipelines.decision.predict import predict
from hydra_pipelines.desk import Desk
from hydra_pipelines.features.panel import read_features
from hydra_pipelines.ledger import decisions
from hydra_pipelines.settings import load_settings


def regime_desk(folder: Path, as_of: date, last: date, **settings: object) -> Desk:
    """A desk whose champions were trained as of a session, with bars and features up to `last`,
    and what they predict of every session from `as_of` to there."""
    folder.mkdir(parents=True, exist_ok=True)
    desk = Desk(load_settings(data_dir=folder, embedded={"first_session": as_of}, **settings))
    day.ingest_bars(desk, last)
    day.make_features(desk, last)
    assert all(champion.error is None for champion in day.ensure_champions(desk, as_of))
    replay_predictions(desk, desk.calendar.between(as_of, last))
    return desk


def replay_predictions(desk: Desk, sessions: Sequence[date]) -> None:
    """Store the champions' predictions of sessions, as a cycle of each would have."""
    panel = read_features(desk.features, sessions[0], sessions[-1])
    ready = [model for model in day.look_at_registry(desk) if model.deployed and model.ready]
    loaded = {
        model.strategy_id: (model.champion, desk.registry.load_inference(model.ref))
        for model in ready
        if model.ref is not None
    }
    specs = {spec.id: spec for spec in desk.strategies}
    with desk.ledger.transaction() as tx:
        for i, session in enumerate(panel.sessions):
            rows = {}
            for name, (version, model) in loaded.items():
                members = [s for s in panel.symbols if specs[name].trades(s)]
                made = predict(model, panel.values[i], panel.names, panel.symbols, members)
                rows[name] = [
                    {
                        "symbol": symbol,
                        "prediction": float(value),
                        "probability_up": float(up),
                        "model_version": version,
                        "data_snapshot_id": panel.snapshot(session.item()),
                    }
                    for symbol, value, up in zip(
                        made.symbols, made.values, made.probability_up, strict=True
                    )
                ]
            decisions.replace_predictions(tx, session.item(), rows)
    desk.ledger.publish()
