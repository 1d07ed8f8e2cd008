"""What a stranger gets by cloning: the lock, the metadata, the make targets, clean files.

What is built with them (the environment, the cycle) is shown by running them.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("3.11", "3.12", "3.13")
SYSTEMS = ("linux", "darwin")

# Written so that none of them finds itself here.
UNFIT = {
    "a path of one machine": r"/(?:home|Users|ro{2}t|work|opt|farm)/[\w.]",
    "a registry's host": r"pypi[.]org|python{1}hosted[.]org|registry[.]npm|deb[.]debian[.]org",
    "a key": r"-{5}BEGIN [A-Z ]*PRIVATE KEY",
}


def entries(lock: str) -> list[tuple[Requirement, list[str]]]:
    """The requirements of a lock, each with its SHA-256 hashes."""
    logical = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", lock, flags=re.MULTILINE))
    return [
        (Requirement(line.split(" --hash")[0]), re.findall(r"--hash=sha256:([0-9a-f]{64})\b", line))
        for line in logical.splitlines()
        if line.strip()
    ]


@pytest.fixture(scope="module")
def lock() -> str:
    return (ROOT / "requirements.lock").read_text()


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_lock_gives_each_package_one_version_and_hashes(lock):
    names = []
    for requirement, hashes in entries(lock):
        assert re.fullmatch(r"==[^*,]+", str(requirement.specifier)), requirement
        assert requirement.url is None and not requirement.extras
        assert hashes, f"{requirement} has no hash"
        names.append(canonicalize_name(requirement.name))
    assert len(names) == len(set(names)) > 100


def test_lock_names_no_place(lock):
    """No index, host or folder: who installs it takes the registry that pip is set up for."""
    for line in lock.splitlines():
        fits = re.match(r"^(\S+==\S+( ;.*)? \\|    --hash=sha256:\w+( \\)?|    #.*)$", line)
        assert fits and "/" not in line, line


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("system", SYSTEMS)
def test_lock_holds_what_the_project_asks_for(lock, project, python, system):
    machine = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": system,
        "platform_system": {"linux": "Linux", "darwin": "Darwin"}[system],
    }
    locked = {
        canonicalize_name(requirement.name): next(iter(requirement.specifier)).version
        for requirement, _ in entries(lock)
        if requirement.marker is None or requirement.marker.evaluate(machine)
    }
    wanted = [
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["dev"],
        *project["build-system"]["requires"],
    ]
    for text in wanted:
        requirement = Requirement(text)
        version = locked.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement} is not in the lock"
        assert requirement.specifier.contains(version), f"{requirement}: the lock has {version}"
    assert python in SpecifierSet(project["project"]["requires-python"])
    assert locked.keys().isdisjoint({"torch", "ib-async"})


def test_dependencies_have_an_upper_bound(project):
    for text in project["project"]["dependencies"]:
        assert "<" in text, f"{text}: a new major version would be installed unseen"


def test_console_script_exists(project):
    module, _, function = project["project"]["scripts"]["hydra"].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_sample_is_the_one_described():
    folder = ROOT / "data" / "sample"
    described = dict(
        re.findall(r"`([\w.]+)` \(made\) \| `([0-9a-f]{64})`", (folder / "README.md").read_text())
    )
    found = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.iterdir()
        if file.name != "README.md"
    }
    assert found == described != {}


def test_files_name_no_machine_and_no_registry():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: nothing tells what is committed")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = []
    for name in filter(None, listed.split("\0")):
        file = ROOT / name
        if not file.is_file() or b"\0" in file.read_bytes()[:8192]:
            continue
        for number, line in enumerate(file.read_text().splitlines(), start=1):
            found += [f"{name}:{number}: {what}" for what, p in UNFIT.items() if re.search(p, line)]
    assert found == []


@pytest.mark.parametrize(
    "line",
    ["cd /ho" + "me/ada/desk", "at /Us" + "ers/ada/x", "pypi" + ".org/simple", "/ro" + "ot/.cache"],
)
def test_unfit_lines_are_noticed(line):
    assert any(re.search(pattern, line) for pattern in UNFIT.values())


def test_dagster_settings_are_those_of_a_desk(tmp_path):
    from dagster import DagsterInstance

    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    with DagsterInstance.from_config(str(tmp_path)) as instance:
        assert instance.storage_directory().startswith(str(tmp_path))
        assert instance.run_coordinator.dequeue_interval_seconds == 1
        assert instance.run_monitoring_enabled
        # 09:35 to the close, on the longest day.
        assert instance.run_monitoring_max_runtime_seconds > 6.5 * 3600
        # Nothing is tried again, or called over, behind the desk's back.
        assert not instance.run_retries_enabled
        assert instance.run_monitoring_max_resume_run_attempts == 0
        assert instance.run_monitoring_cancel_timeout_seconds > 24 * 3600
        limits = instance.get_concurrency_config().run_queue_config.tag_concurrency_limits
        assert limits == [{"key": "hydra/venue", "limit": 1}]
    settings = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    assert settings["telemetry"] == {"enabled": False}


def test_workspace_loads_the_package():
    assert yaml.safe_load((ROOT / "workspace.yaml").read_text()) == {
        "load_from": [{"python_module": "hydra_pipelines"}]
    }


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A desk that has run, in a folder with a space in its name."""
    folder = tmp_path / "my desk"
    for name in (
        "data/README.md",
        "data/sample/bars.parquet",
        "data/lake/2022/bars.bin",
        "data/hydra.duckdb",
        "data/.lock",
        "mlruns/README.md",
        "mlruns/mlflow.db",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    for name in ("Makefile", "bootstrap.py", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    return folder


def make(folder: Path, *arguments: str, path: str | None = None) -> subprocess.CompletedProcess:
    return subprocess.run(
        [shutil.which("make") or "make", "--no-print-directory", *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path or os.environ["PATH"]},
    )


def test_make_alone_explains_every_target():
    text = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^\.PHONY: (.*)$", text, flags=re.MULTILINE)[0].split()) - {"help"}
    explained = set(re.findall(r"^make ([\w-]+)", make(ROOT).stdout, flags=re.MULTILINE))
    there = set(re.findall(r"^([\w-]+):", text, flags=re.MULTILINE)) - {"help"}
    assert explained == targets == there


def test_clean_removes_what_is_made_and_nothing_else(checkout):
    assert make(checkout, "clean", "YES=1").returncode == 0
    left = {p.relative_to(checkout).as_posix() for p in checkout.rglob("*") if p.is_file()}
    assert {name for name in left if "/" in name} == {
        "data/README.md",
        "data/sample/bars.parquet",
        "mlruns/README.md",
    }


def test_clean_asks_first(checkout):
    before = sorted(checkout.rglob("*"))
    done = make(checkout, "clean")
    assert done.returncode != 0 and "Nothing was removed" in done.stdout
    assert sorted(checkout.rglob("*")) == before


def test_without_a_usable_python_it_says_what_to_do(checkout, tmp_path):
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "sh").symlink_to(shutil.which("sh") or "sh")
    # As with a version manager: the name is there, the interpreter is not.
    (bin_ / "python3").write_text("#!/bin/sh\nexit 127\n")
    (bin_ / "python3").chmod(0o755)
    done = make(checkout, "env", path=str(bin_))
    assert done.returncode != 0
    assert "3.11, 3.12 or 3.13" in done.stderr and "make env PYTHON=" in done.stderr
    assert not (checkout / ".venv").exists()


def test_environment_is_made_anew_only_for_a_new_lock_or_place(checkout, tmp_path):
    spec = importlib.util.spec_from_file_location("bootstrap", ROOT / "bootstrap.py")
    bootstrap = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bootstrap)

    made = bootstrap.made_from(checkout)
    assert bootstrap.recorded(checkout) == ()
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / "made-from").write_text("\n".join(made))
    assert bootstrap.recorded(checkout) == bootstrap.made_from(checkout)

    with (checkout / "pyproject.toml").open("a") as file:
        file.write("\n# a comment\n")
    lock_then, project_then = made
    lock_now, project_now = bootstrap.made_from(checkout)
    assert lock_now == lock_then and project_now != project_then
    with (checkout / "requirements.lock").open("a") as file:
        file.write("\n# a comment\n")
    assert bootstrap.made_from(checkout)[0] != lock_then

    (checkout / ".venv" / "made-from").write_text("\n".join(bootstrap.made_from(checkout)))
    moved = checkout.rename(tmp_path / "elsewhere")
    assert bootstrap.recorded(moved)[0] != bootstrap.made_from(moved)[0]


def test_ci_script_is_sound():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", script], check=True)
