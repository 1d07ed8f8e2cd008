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


def test_aliases_are_set_moved_and_dropped(registry, versions):
    first, second, third = versions
    assert registry.champion(STRATEGY) is None and registry.aliases(STRATEGY) == {}
    with pytest.raises(NoChampion, match=STRATEGY):
        registry.require_champion(STRATEGY)
    registry.set_alias(STRATEGY, "champion", first)
    registry.set_alias(STRATEGY, "previous", second)
    registry.set_alias(STRATEGY, "champion", third)
    for one in (registry, by_client(registry)):
        assert one.require_champion(STRATEGY).version == third
        assert one.aliases(STRATEGY) == {"champion": third, "previous": second}
        assert one.versions(STRATEGY) == (first, second, third)
        assert STRATEGY in one.models()
    with pytest.raises(NoSuchVersion, match="99"):
        registry.set_alias(STRATEGY, "champion", 99)
    registry.drop_alias(STRATEGY, "champion")
    registry.drop_alias(STRATEGY, "champion")
    assert registry.aliases(STRATEGY) == {"previous": second}


def test_tags_and_reports_are_found_again(registry, versions):
    ref = registry.version(STRATEGY, versions[0])
    registry.set_tags(STRATEGY, ref.version, {"gate": "passed", "as_of": "2019-01-02"})
    registry.add_report(ref.run_id, "gate.md", "# good\n")
    for one in (registry, by_client(registry)):
        again = one.version(STRATEGY, versions[0])
        assert again.tags["gate"] == "passed" and again.as_of == "2019-01-02"
    assert "gate.md" in {f.path for f in registry._client().list_artifacts(ref.run_id)}


def test_links_lead_to_the_page_of_the_version(registry):
    assert registry.link(STRATEGY, 2) == "#/models/HYP-2030-001/versions/2"
    server = Registry("http://127.0.0.1:5000/", "artifacts")
    assert server.link(STRATEGY) == "http://127.0.0.1:5000/#/models/HYP-2030-001"


def test_a_champion_is_described_and_loaded(registry, versions, trained):
    registry.set_alias(STRATEGY, "champion", versions[0])
    ref, model = registry.champion(STRATEGY), trained[RIDGE.id]
    assert (ref.sha256, ref.features, ref.run_id) == (model.sha256, RIDGE.features, model.run_id)
    assert (ref.data_snapshot, ref.as_of) == (model.data_snapshot, AS_OF.isoformat())
    loaded = registry.load_inference(ref, recorded_sha256=model.sha256)
    assert loaded.to_bytes() == model.model.to_bytes()


def test_by_sql_and_by_client_is_the_same(registry, versions):
    other = by_client(registry)
    assert other.champion(STRATEGY) is None
    other.set_alias(STRATEGY, "champion", versions[1])
    ref = registry.champion(STRATEGY)
    assert other.champion(STRATEGY) == ref and ref.version == versions[1]
    assert np.array_equal(other.load_inference(ref).coef, registry.load_inference(ref).coef)
    with pytest.raises(NoSuchVersion):
        other.version(STRATEGY, 99)
    with pytest.raises(NoChampion):
        other.require_champion("HYP-2030-999")


def test_an_alias_moved_or_a_version_deleted_by_hand_is_seen(registry, versions):
    client = registry._client()
    registry.set_alias(STRATEGY, "champion", versions[0])
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
        registry.load_inference(registry.version("HYP-2030-002", number))
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
    registry.set_alias(STRATEGY, "champion", versions[0])
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
