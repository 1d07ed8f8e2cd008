"""Desks whose strategies have versions to move between."""

from __future__ import annotations

import shutil
from pathlib import Path

from hydra_pipelines import day
from hydra_pipelines.desk import Desk
from hydra_pipelines.features.panel import read_features
from hydra_pipelines.ledger import decisions
from hydra_pipelines.market.ingest import bar_panel
from hydra_pipelines.models.training import train
from hydra_pipelines.settings import load_settings

RIDGE, MOMENTUM = "HYP-2026-001", "HYP-2026-002"


def make_versions(folder: Path) -> Path:
    """A desk's folder with bars, features, and four versions of each deployed strategy.

    Version 1 trades; it is of 40 sessions ago. The others are of the session due, three times the
    same model. Nothing is predicted.
    """
    folder.mkdir(parents=True)
    desk = Desk(load_settings(data_dir=folder))
    due = desk.next_session_due()
    day.ingest_bars(desk, due)
    day.make_features(desk, due)
    assert all(c.error is None for c in day.ensure_champions(desk, desk.calendar.next(due, -40)))
    for spec in desk.strategies:
        model = train(
            spec,
            read_features(desk.features, last=due),
            bar_panel(desk.bars.view(), last=due),
            due,
            desk.registry,
            code_version=desk.code_version,
        )
        logged = desk.registry._client().get_model_version(spec.id, str(model.version))
        model_id = logged.source.removeprefix("models:/")
        again = desk.registry.version(spec.id, model.version)
        numbers = [model.version] + [
            desk.registry.register(spec.id, model.run_id, model_id, again.tags) for _ in range(2)
        ]
        with desk.ledger.transaction() as tx:
            for number in numbers:
                decisions.record_model_version(
                    tx,
                    {
                        "strategy_id": spec.id,
                        "version": number,
                        "mlflow_run_id": model.run_id,
                        "artifact_sha256": model.sha256,
                        "trained_through": due,
                        "data_snapshot_id": model.data_snapshot,
                        "code_version": desk.code_version,
                        "metrics": dict(model.figures),
                    },
                )
    return folder


def copy_of(made: Path, folder: Path) -> Desk:
    """A desk with a ledger and a registry of its own; bars, features and files are shared."""
    (folder / "mlruns").mkdir(parents=True)
    shutil.copy(made / "hydra.duckdb", folder)
    shutil.copy(made / "mlruns" / "mlflow.db", folder / "mlruns")
    for name in ("lake", "cache"):
        (folder / name).symlink_to(made / name)
    desk = Desk(load_settings(data_dir=folder))
    assert Path(desk.settings.registry_uri.removeprefix("sqlite:///")).parent.parent == folder
    return desk
