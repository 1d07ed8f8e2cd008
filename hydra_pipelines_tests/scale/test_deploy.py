"""What is in `deploy/`: that it is sound, gives nothing away, and names what exists.

No engine runs here. Linters of others check the form (`make lint-deploy`); these tests check what
only the project can know, and run the scripts.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from hydra_pipelines.cli.app import app
from hydra_pipelines.desk import Desk
from hydra_pipelines.settings import Settings, load_settings
from hydra_pipelines_tests.desks import shut_down

ROOT = Path(__file__).resolve().parent.parent.parent
DEPLOY = ROOT / "deploy"
POSTGRES_URL = "postgresql+psycopg2://hydra:x@127.0.0.1:5432/dagster"
FROM_FILES = {
    "HYDRA_DAGSTER__POSTGRES_URL": POSTGRES_URL,
    "HYDRA_DAGSTER__BROKER_URL": "redis://:x@127.0.0.1:6379/0",
}
SECRET = re.compile(r"(?i)passw|secret|token|credential|api_?key")
WITH_PASSWORD = re.compile(r"://[^/\s]*:[^/\s$]+@")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return compose["services"]


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    """The Helm chart's."""
    return yaml.safe_load((DEPLOY / "helm-values.yaml").read_text())


def filled_in(text: str) -> str:
    """With the defaults of compose's variables, and something where there is none."""
    return re.sub(r"\$\{\w+:[-?]([^}]*)\}", r"\1", text)


def settings_of(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """The settings of a container with this environment, its secrets read from their files."""
    for name, value in environment.items():
        plain = name.removesuffix("_FILE")
        monkeypatch.setenv(plain, FROM_FILES[plain] if plain != name else filled_in(str(value)))
    monkeypatch.setenv("HYDRA_DATA_DIR", str(tmp_path))
    return load_settings()


def walk(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value of nested ones, with its path."""
    if isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from walk(value, (*path, str(key)))
    else:
        yield path, node


# compose


def test_every_port_is_on_the_loopback_interface(services: dict[str, Any]) -> None:
    published = {name: s["ports"] for name, s in services.items() if "ports" in s}
    assert set(published) == {"ib-gateway", "postgres", "redis"}
    for ports in published.values():
        for port in ports:
            assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port), port
    # Those that share the host's network listen where their settings say.
    ours = {name for name, s in services.items() if s.get("network_mode") == "host"}
    assert ours == {"desk", "mlflow", "prepare", "worker-broker", "worker-research",
                    "worker-experiments"}  # fmt: skip
    assert "--host=127.0.0.1" in services["mlflow"]["command"]
    settings = load_settings()
    assert settings.up.host == settings.dashboard.host == "127.0.0.1"


def test_images_are_pinned(services: dict[str, Any], values: dict[str, Any]) -> None:
    images = {service["image"] for service in services.values()}
    images |= {
        f"{value['repository']}:{value['tag']}"
        for value in (values["dagsterWebserver"]["image"], values["dagsterDaemon"]["image"],
                      *(d["image"] for d in values["dagster-user-deployments"]["deployments"]))
    }  # fmt: skip
    images |= {value for path, value in walk(values["extraManifests"]) if path[-1] == "image"}
    images |= set(re.findall(r"^FROM (\S+)", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE))
    assert len(images) == 5
    for image in images:
        assert re.search(r":\d+\.\d+(\.\d+)?[\w.-]*$", image), image


def test_no_secret_is_in_any_file(services: dict[str, Any], values: dict[str, Any]) -> None:
    for path, value in [*walk(services), *walk(values)]:
        name = path[-1]
        if SECRET.search(name) and isinstance(value, str):
            is_a_place = name.endswith(("_FILE", "SecretName")) or value.startswith("secrets/")
            assert is_a_place, (path, value)
    for file in DEPLOY.iterdir():
        if file.is_file():
            assert not WITH_PASSWORD.search(
                file.read_text().replace("hydra:%s@", "").replace(":%s@", "")
            ), file
    assert "secrets/" in (DEPLOY / ".gitignore").read_text().split()


def test_secrets_are_files_that_somebody_makes(
    compose: dict[str, Any], services: dict[str, Any]
) -> None:
    made = set(re.findall(r"> (\w+)$", (DEPLOY / "make-secrets.sh").read_text(), re.MULTILINE))
    made |= set(re.findall(r"^make (\w+)$", (DEPLOY / "make-secrets.sh").read_text(), re.MULTILINE))
    named = {name: entry["file"] for name, entry in compose["secrets"].items()}
    assert named == {name: f"secrets/{name}" for name in made}
    used = {name for service in services.values() for name in service.get("secrets", ())}
    assert used == set(named)
    for service in services.values():
        for path, value in walk(service.get("environment", {})):
            if path[-1].endswith("_FILE"):
                assert Path(value).name in service["secrets"]


def test_the_desks_environment_is_made_of_settings(
    services: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(services["desk"]["environment"], tmp_path, monkeypatch)
    assert settings.mode == "paper" and settings.broker.venue == "ibkr"
    assert settings.dagster.executor == "celery" and settings.dagster.storage == "postgres"
    published = services["ib-gateway"]["ports"]
    assert f"127.0.0.1:{settings.broker.port}:4004" in published, "the paper account's"
    assert settings.mlflow_uri == "http://127.0.0.1:5000"
    for name in ("worker-broker", "worker-research", "worker-experiments", "prepare"):
        assert services[name]["environment"] == services["desk"]["environment"], name


def test_variables_of_compose_are_explained(compose: dict[str, Any]) -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    asked = set(re.findall(r"(?<!\$)\$\{(\w+)", text))
    given = set(re.findall(r"^(\w+)=", (DEPLOY / "env.example").read_text(), re.MULTILINE))
    assert asked == given


def test_commands_exist(services: dict[str, Any]) -> None:
    program: Any = typer.main.get_command(app)
    seen = []
    for service in services.values():
        command = service.get("command", [])
        if command[:1] != ["hydra"]:
            continue
        _, name, *arguments = [filled_in(part) for part in command]
        # Fails for an option, or a value, that the command doesn't take.
        program.commands[name].make_context(name, list(arguments))
        seen.append(shlex.join([name, *arguments]))
    assert sorted(seen) == [
        "instance",
        "up",
        "worker --queue broker",
        "worker --queue experiments",
        "worker --queue research --concurrency 2",
    ]


@pytest.mark.skipif(not os.environ.get("FULL_SCALE"), reason="set FULL_SCALE=1: a slow import")
def test_mlflows_command_exists(services: dict[str, Any]) -> None:
    from mlflow.cli import server

    _, _, *arguments = services["mlflow"]["command"]
    server.make_context("server", list(arguments))


def test_what_is_waited_for_says_when_it_is_there(services: dict[str, Any]) -> None:
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in services[other], (name, other)
            else:
                assert services[other]["restart"] == "no", (name, other)
    assert set(services["worker-broker"]["depends_on"]) == {
        "prepare", "redis", "mlflow", "ib-gateway",
    }  # fmt: skip


# Helm


def test_the_clusters_environment_is_made_of_settings(
    values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    monkeypatch.setenv("HYDRA_DAGSTER__POSTGRES_URL", POSTGRES_URL)
    settings = settings_of(deployment["env"], tmp_path, monkeypatch)
    assert settings.mode == "paper" and settings.dagster.executor == "k8s"
    services = {
        m["metadata"]["name"]: m for m in values["extraManifests"] if m["kind"] == "Service"
    }
    (port,) = services[settings.broker.host]["spec"]["ports"]
    assert port["port"] == settings.broker.port


def test_nothing_of_the_cluster_is_open_to_the_outside(values: dict[str, Any]) -> None:
    assert not values["ingress"]["enabled"] and not values["flower"]["enabled"]
    assert values["dagsterWebserver"]["service"]["type"] == "ClusterIP"
    manifests = values["extraManifests"]
    assert {m["spec"]["type"] for m in manifests if m["kind"] == "Service"} == {"ClusterIP"}
    closed = {m["metadata"]["name"] for m in manifests if m["kind"] == "NetworkPolicy"}
    assert closed == {"hydra-ib-gateway", "hydra-webserver"}


def test_the_clusters_instance_has_the_rules_of_the_projects(values: dict[str, Any]) -> None:
    ours, daemon = yaml.safe_load((ROOT / "dagster.yaml").read_text()), values["dagsterDaemon"]
    theirs = daemon["runCoordinator"]["config"]["queuedRunCoordinator"]

    def snake(given: dict[str, Any]) -> dict[str, Any]:
        return {re.sub(r"(?<!^)([A-Z])", r"_\1", k).lower(): v for k, v in given.items()}

    assert snake(theirs) == ours["run_queue"]
    assert snake(daemon["runMonitoring"]) == {
        **ours["run_monitoring"],
        "max_resume_run_attempts": 0,
    }
    assert daemon["runRetries"] == ours["run_retries"]
    assert values["telemetry"] == ours["telemetry"]
    kept = values["retention"]
    assert kept["schedule"]["purgeAfterDays"] == ours["retention"]["schedule"]["purge_after_days"]
    sensors = dict(kept["sensor"]["purgeAfterDays"])
    sensors.pop("started")
    assert sensors == ours["retention"]["sensor"]["purge_after_days"]


def test_the_pods_of_runs_are_configured_in_dagsters_terms(values: dict[str, Any]) -> None:
    from dagster._cli.api import grpc_command
    from dagster_k8s.job import UserDefinedDagsterK8sConfig

    launcher = values["runLauncher"]["config"]["k8sRunLauncher"]
    given = {
        "pod_spec_config": launcher["runK8sConfig"]["podSpecConfig"],
        "job_spec_config": launcher["runK8sConfig"]["jobSpecConfig"],
    }
    assert UserDefinedDagsterK8sConfig.from_dict(given).job_spec_config == {"backoff_limit": 0}
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    grpc_command.make_context("grpc", list(deployment["dagsterApiGrpcArgs"]))
    assert deployment["volumes"] == launcher["volumes"]
    (selector,) = {str(deployment["nodeSelector"]), str(given["pod_spec_config"]["node_selector"])}
    assert selector == "{'hydra/desk': 'true'}", "on the node whose kernel has the ledger's lock"


# image


def test_the_image_is_built_from_the_lock_by_somebody_without_rights() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    (install,) = re.findall(r"pip install ((?:.*\\\n)*.*requirements\.lock)", text)
    for option in ("--require-hashes", "--no-deps", "--only-binary"):
        assert option in install
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE) == ["10001:10001"]
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    copied = [
        source
        for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE)
        for source in line.split()[:-1]
    ]
    assert copied and ignored[0] == "*"
    assert {f"!{source}" for source in copied} == {line for line in ignored if line[0] == "!"}
    for source in copied:
        assert (ROOT / source).exists(), source
    entry = DEPLOY / "entrypoint.sh"
    assert f'ENTRYPOINT ["/srv/hydra/deploy/{entry.name}"]' in text and os.access(entry, os.X_OK)


def test_secrets_in_files_become_settings(tmp_path: Path) -> None:
    secret = tmp_path / "a secret"
    secret.write_text('redis://:it\'s "$HOME" & more@127.0.0.1/0\n')
    done = subprocess.run(
        [DEPLOY / "entrypoint.sh", "env"],
        env={
            "PATH": os.environ["PATH"],
            "HYDRA_DAGSTER__BROKER_URL_FILE": str(secret),
            "X_FILE": "x",
        },
        capture_output=True, text=True, timeout=20,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert 'HYDRA_DAGSTER__BROKER_URL=redis://:it\'s "$HOME" & more@127.0.0.1/0' in lines
    assert "X_FILE=x" in lines and not [x for x in lines if x.startswith("HYDRA_") and "_FILE" in x]


def test_a_secret_that_cant_be_read_stops_the_container(tmp_path: Path) -> None:
    done = subprocess.run(
        [DEPLOY / "entrypoint.sh", "true"],
        env={"PATH": os.environ["PATH"], "HYDRA_ALERTS__URLS_FILE": str(tmp_path / "none")},
        capture_output=True, text=True, timeout=20,
    )  # fmt: skip
    assert done.returncode == 78 and "HYDRA_ALERTS__URLS_FILE names" in done.stderr


# scripts


def test_secrets_are_made_once_and_shown_to_nobody(tmp_path: Path) -> None:
    script = tmp_path / "make-secrets.sh"
    shutil.copy(DEPLOY / script.name, script)

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [script], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20
        )

    without = run()
    assert without.returncode == 1 and "put the IB user's password there" in without.stderr
    folder = tmp_path / "secrets"
    (folder / "tws_password").write_text("mine")
    done = run()
    assert done.returncode == 0 and not done.stdout
    made = {file.name: file.read_text() for file in folder.iterdir()}
    assert len(made["postgres_password"]) == 48 and made["tws_password"] == "mine"
    assert made["postgres_password"] != made["redis_password"]
    assert f":{made['postgres_password']}@127.0.0.1:5432/" in made["postgres_url"]
    assert f":{made['redis_password']}@127.0.0.1:6379/" in made["redis_url"]
    assert folder.stat().st_mode & 0o777 == 0o700, "nobody else gets in"
    run()
    assert {file.name: file.read_text() for file in folder.iterdir()} == made


@pytest.fixture(scope="module")
def venue_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("handshake") / "my desk"
    yield Desk(load_settings(data_dir=folder)).venue.port
    shut_down(folder)


def handshake(port: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [DEPLOY / "ib_handshake.sh", str(port), "127.0.0.1", "2"],
        capture_output=True,
        text=True,
        timeout=20,
    )


def test_health_is_an_api_handshake(venue_port: int) -> None:
    done = handshake(venue_port)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"the API answers on 127.0.0.1:{venue_port}\n"


def test_a_port_that_is_open_is_not_health() -> None:
    """As that of a container's relay is before the gateway behind it is there."""
    with socket.create_server(("127.0.0.1", 0)) as relay:
        port = relay.getsockname()[1]
        done = handshake(port)
    assert done.returncode == 1 and f"no API handshake on 127.0.0.1:{port}" in done.stderr
    assert handshake(port).returncode == 1, "nor one that is closed"
