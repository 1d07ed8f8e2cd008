"""Storage and executor by settings: what is refused, what the instance's file says, what is loaded.

That they do their work is shown in `test_cluster`.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from hydra_pipelines.cli.app import app
from hydra_pipelines.definitions import build_defs
from hydra_pipelines.defs.engines import experiment_runner
from hydra_pipelines.defs.instance import prepare_home
from hydra_pipelines.desk import Desk
from hydra_pipelines.settings import PROJECT_ROOT, Settings, SettingsError, load_settings
from hydra_pipelines_tests.desks import USAGE

POSTGRES_URL = "postgresql+psycopg2://hydra:hush@127.0.0.1:1/dagster"
REDIS_URL = "redis://:hush@127.0.0.1:1/0"
CLUSTER = {"storage": "postgres", "postgres_url": POSTGRES_URL, "broker_url": REDIS_URL}


# Dagster's own, of its own parts.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.*in beta")


def settings(folder: Path, **dagster: Any) -> Settings:
    return load_settings(data_dir=folder / "my desk", dagster=dagster)


@pytest.fixture(autouse=True)
def environment_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test lends to this process is taken back."""
    monkeypatch.setenv("HYDRA_DAGSTER__POSTGRES_URL", "")
    monkeypatch.delenv("HYDRA_DAGSTER__POSTGRES_URL")


# settings


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"storage": "postgres"}, "dagster.storage .*: postgres needs HYDRA_DAGSTER__POSTGRES_URL"),
        (
            {"storage": "postgres", "postgres_url": "postgresql://hydra:hush@127.0.0.1/dagster"},
            r"dagster.postgres_url .*: it begins with postgresql\+psycopg2://",
        ),
        ({"executor": "celery"}, "dagster.executor .*: celery needs storage: postgres"),
        ({"executor": "k8s"}, "dagster.executor .*: k8s needs storage: postgres"),
        (
            {"executor": "celery", "storage": "postgres", "postgres_url": POSTGRES_URL},
            "dagster.executor .*: celery needs HYDRA_DAGSTER__BROKER_URL",
        ),
        ({"executor": "dask"}, "dagster.executor .*'in_process', 'celery' or 'k8s'"),
        ({"feature_shards": 0}, "dagster.feature_shards .*greater than or equal to 1"),
    ],
)
def test_what_cant_work_is_refused_by_name(
    tmp_path: Path, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message) as refused:
        settings(tmp_path, **given)
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize("name", ["postgres_url", "broker_url", "results_url"])
def test_addresses_with_passwords_are_not_in_the_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "hydra.yaml").write_text(f"dagster:\n  {name}: anything\n")
    with pytest.raises(
        SettingsError, match=rf"dagster.{name} \(hydra.yaml, line 2\) is not set there: it is "
    ):
        load_settings(tmp_path)


def test_passwords_are_not_shown(tmp_path: Path) -> None:
    made = settings(tmp_path, executor="celery", **CLUSTER)
    assert "hush" not in f"{made!r} {made.model_dump_json()} {Desk(made).describe()}"


# the instance


def test_the_instances_file_is_the_projects(tmp_path: Path) -> None:
    home = prepare_home(Desk(settings(tmp_path)))
    assert (home / "dagster.yaml").read_text() == (PROJECT_ROOT / "dagster.yaml").read_text()


def test_postgres_is_added_to_it_and_its_password_lent_to_this_process(tmp_path: Path) -> None:
    prepare_home(Desk(settings(tmp_path)))
    home = prepare_home(Desk(settings(tmp_path, **CLUSTER)))
    content = yaml.safe_load((home / "dagster.yaml").read_text())
    ours = yaml.safe_load((PROJECT_ROOT / "dagster.yaml").read_text())
    url = {"env": "HYDRA_DAGSTER__POSTGRES_URL"}
    assert content == {**ours, "storage": {"postgres": {"postgres_url": url}}}
    assert os.environ["HYDRA_DAGSTER__POSTGRES_URL"] == POSTGRES_URL
    assert [file.name for file in home.iterdir()] == ["dagster.yaml"]


def test_two_storages_are_refused(tmp_path: Path) -> None:
    for name in ("hydra.yaml", "dagster.yaml"):
        shutil.copy(PROJECT_ROOT / name, tmp_path)
    with (tmp_path / "dagster.yaml").open("a") as file:
        file.write("storage:\n  sqlite:\n    base_dir: elsewhere\n")
    own = load_settings(tmp_path, dagster={})
    assert "elsewhere" in (prepare_home(Desk(own)) / "dagster.yaml").read_text()
    with pytest.raises(
        SettingsError, match=r"dagster.yaml names a storage, and dagster.storage is"
    ):
        prepare_home(Desk(load_settings(tmp_path, dagster=CLUSTER)))


# the definitions


@pytest.mark.parametrize("executor", ["celery", "k8s"])
def test_every_job_gets_the_executor_of_the_settings(tmp_path: Path, executor: str) -> None:
    made = settings(tmp_path, executor=executor, **CLUSTER)
    jobs = build_defs(made).get_repository_def().get_all_jobs()
    assert {job.executor_def.name for job in jobs} == {executor}
    assert (experiment_runner(Desk(made)) is None) is (executor == "k8s")


def test_parts_of_the_universe_come_before_the_features(tmp_path: Path) -> None:
    made = build_defs(settings(tmp_path, feature_shards=3))
    parts = {f"features_part_{n}_of_3" for n in (1, 2, 3)}
    graph = made.resolve_asset_graph()
    parents = {key.to_user_string(): node.parent_keys for key in graph.get_all_asset_keys()
               if (node := graph.get(key))}  # fmt: skip
    assert parts < parents.keys()
    assert {key.to_user_string() for key in parents["features"]} == {"bars", *parts}
    for job in ("predict", "train", "daily_cycle"):
        keys = made.resolve_job_def(job).asset_layer.executable_asset_keys
        assert parts < {key.to_user_string() for key in keys}, job


# the command


def hydra(folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    monkeypatch.setenv("HYDRA_DATA_DIR", str(folder))
    monkeypatch.setenv("DAGSTER_HOME", "restored afterwards")
    return CliRunner().invoke(app, arguments)


def test_a_worker_without_work_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = hydra(tmp_path, monkeypatch, "worker")
    assert done.exit_code == USAGE and "dagster.executor is in_process" in done.output
    done = hydra(tmp_path, monkeypatch, "worker", "--queue", "broker", "--concurrency", "2")
    assert done.exit_code == USAGE and "one step at a time" in done.output


def test_a_command_makes_the_instance_and_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = hydra(tmp_path, monkeypatch, "instance")
    assert done.stdout.strip() == str(tmp_path / "dagster"), done.output
    assert (tmp_path / "dagster" / "dagster.yaml").exists()
