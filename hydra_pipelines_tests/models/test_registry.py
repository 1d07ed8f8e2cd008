from __future__ import annotations

import multiprocessing
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest

from hydra_pipelines.models.registry import (
    INFERENCE_FILE,
    ArtifactMismatch,
    ArtifactMissing,
    NoChampion,
    NoSuchVersion,
    Promotion,
    Registry,
    RegistryUnavailable,
)
from hydra_pipelines.models.training import TrainedModel
from hydra_pipelines_tests.models.conftest import AS_OF, RIDGE

STRATEGY = "HYP-2030-001"


def logged_model(registry: Registry, model: TrainedModel) -> str:
    """The id of the logged model behind a version."""
    version = registry._client().get_model_version(model.strategy_id, str(model.version))
    return version.source.removeprefix("models:/")


@pytest.fixture
def versions(registry, trained):
    """Three versions of a strategy of the test's own, without aliases; all by the ridge's model."""
    model = trained[RIDGE.id]
    client = registry._client()
    tags = client.get_model_version(RIDGE.id, str(model.version)).tags
    logged = logged_model(registry, model)
    yield [registry.register(STRATEGY, model.run_id, logged, tags) for _ in range(3)]
    client.delete_registered_model(STRATEGY)


def by_client(registry: Registry) -> Registry:
    """The same registry, spoken to as if it were a server: by MLflow's client only."""
    uri = registry.uri.replace("sqlite:///", "sqlite+pysqlite:///")
    return Registry(uri, registry.artifact_root)


def test_promotion_moves_champion_and_keeps_previous(registry, versions):
    first, second, third = versions
    assert registry.champion(STRATEGY) is None
    with pytest.raises(NoChampion, match=STRATEGY):
        registry.require_champion(STRATEGY)
    assert registry.promote(STRATEGY, first) == Promotion(STRATEGY, first, None, True)
    assert registry.champion(STRATEGY, "previous") is None
    assert registry.promote(STRATEGY, third) == Promotion(STRATEGY, third, first, True)
    assert registry.promote(STRATEGY, third) == Promotion(STRATEGY, third, first, False)
    assert registry.require_champion(STRATEGY).version == third
    assert registry.champion(STRATEGY, "previous").version == first
    with pytest.raises(NoSuchVersion, match="99"):
        registry.promote(STRATEGY, 99)
    assert registry.promote(STRATEGY, second).previous == third


def test_a_champion_is_described_and_loaded(registry, versions, trained):
    registry.promote(STRATEGY, versions[0])
    ref, model = registry.champion(STRATEGY), trained[RIDGE.id]
    assert (ref.sha256, ref.features, ref.run_id) == (model.sha256, RIDGE.features, model.run_id)
    assert (ref.data_snapshot, ref.as_of) == (model.data_snapshot, AS_OF.isoformat())
    loaded = registry.load_inference(ref, recorded_sha256=model.sha256)
    assert loaded.to_bytes() == model.model.to_bytes()


def test_by_sql_and_by_client_is_the_same(registry, versions):
    other = by_client(registry)
    assert other.champion(STRATEGY) is None
    other.promote(STRATEGY, versions[1])
    ref = registry.champion(STRATEGY)
    assert other.champion(STRATEGY) == ref and ref.version == versions[1]
    assert np.array_equal(other.load_inference(ref).coef, registry.load_inference(ref).coef)
    with pytest.raises(NoSuchVersion):
        other.version(STRATEGY, 99)
    with pytest.raises(NoChampion):
        other.require_champion("HYP-2030-999")


def test_an_alias_moved_or_a_version_deleted_by_hand_is_seen(registry, versions):
    client = registry._client()
    registry.promote(STRATEGY, versions[0])
    client.set_registered_model_alias(STRATEGY, "champion", str(versions[2]))
    assert registry.champion(STRATEGY).version == versions[2]
    client.delete_model_version(STRATEGY, str(versions[2]))
    assert registry.champion(STRATEGY) is None
    with pytest.raises(NoSuchVersion):
        registry.version(STRATEGY, versions[2])


def test_changed_arrays_are_not_used(registry, versions, trained):
    ref = registry.version(STRATEGY, versions[0])
    path = Path(unquote(urlsplit(ref.location).path), INFERENCE_FILE)
    content = path.read_bytes()
    try:
        path.write_bytes(content.replace(content[200:201], b"\xff", 1))
        with pytest.raises(ArtifactMismatch, match="the registry's tag"):
            registry.load_inference(ref)
        with pytest.raises(ArtifactMismatch):
            registry.promote(STRATEGY, versions[0])
        assert registry.champion(STRATEGY) is None
        path.unlink()
        for one in (registry, by_client(registry)):
            with pytest.raises(ArtifactMissing, match=r"inference\.npz"):
                one.load_inference(ref)
    finally:
        path.write_bytes(content)
    with pytest.raises(ArtifactMismatch, match="our record"):
        registry.load_inference(ref, recorded_sha256="0" * 64)
    assert registry.load_inference(ref, recorded_sha256=trained[RIDGE.id].sha256)


def test_a_version_made_by_hand_has_no_arrays(registry, trained):
    model = trained[RIDGE.id]
    logged = logged_model(registry, model)
    number = registry.register("HYP-2030-002", model.run_id, logged, {})
    with pytest.raises(ArtifactMissing, match="without inference arrays"):
        registry.promote("HYP-2030-002", number)
    mixed = {"inference_sha256": model.sha256, "features": '["return_1d"]'}
    number = registry.register("HYP-2030-002", model.run_id, logged, mixed)
    with pytest.raises(ArtifactMismatch, match="features differ"):
        registry.load_inference(registry.version("HYP-2030-002", number))


def test_a_registry_that_can_not_be_read_is_not_an_empty_one(tmp_path):
    missing = Registry(f"sqlite:///{tmp_path}/none.db", tmp_path)
    assert not missing.exists()
    with pytest.raises(RegistryUnavailable, match=r"none\.db"):
        missing.champion(STRATEGY)
    (tmp_path / "text.db").write_text("not a database, but long enough to be looked at" * 100)
    with pytest.raises(RegistryUnavailable, match=r"text\.db"):
        Registry(f"sqlite:///{tmp_path}/text.db", tmp_path).champion(STRATEGY)


def test_the_champion_is_found_without_heavy_imports(registry, versions):
    registry.promote(STRATEGY, versions[0])
    code = (
        "import sys; from hydra_pipelines.models.registry import Registry;"
        f"registry = Registry({registry.uri!r}, {str(registry.artifact_root)!r});"
        f"registry.load_inference(registry.require_champion({STRATEGY!r}));"
        "sys.exit(bool({'pandas', 'sklearn', 'scipy', 'mlflow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def _initialise(folder: str) -> str:
    return Registry(f"sqlite:///{folder}/mlflow.db", f"{folder}/artifacts").initialise()


def test_first_initialisations_at_a_time_agree(tmp_path):
    # What a first initialisation that was cut short left behind is no obstacle.
    (tmp_path / ".mlflow.db.new").write_text("half a database")
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        made = pool.map(_initialise, [str(tmp_path)] * 2)
    assert len(set(made)) == 1
    registry = Registry(f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "artifacts")
    assert registry.exists() and registry.champion(STRATEGY) is None
    assert registry.initialise() == made[0]
    registry._client().delete_experiment(made[0])
    assert registry.initialise() == made[0]
