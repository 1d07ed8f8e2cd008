"""Throw-away environments for other people's clients: made in a temporary folder, never kept.

Nothing is bundled or added to the project's own environment: each client is fetched from the
index that pip or npm is configured for, into a folder that its program alone looks at.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CLIENTS = Path(__file__).parent / "clients"
_PATIENCE_S = 180


class NotInstalled(RuntimeError):
    """A client could not be installed; the text says why."""


@dataclass(frozen=True)
class Client:
    """A program and the environment variables it needs."""

    command: Sequence[str]
    environment: dict[str, str]


def installed(library: str) -> Client:
    """A client of a library that the project's own environment has."""
    return Client((sys.executable, str(CLIENTS / "ib_library.py"), library), {})


def ib_async(folder: Path) -> Client:
    """Without its dependency on numpy, which it takes from here; with its own `eventkit`."""
    _pip(folder, "--no-deps", "ib_async>=2.1,<3", "aeventkit", "nest_asyncio")
    program = (sys.executable, str(CLIENTS / "ib_library.py"), "ib_async")
    return Client(program, {"PYTHONPATH": str(folder)})


def ibapi(folder: Path) -> Client:
    _pip(folder, "--no-deps", "--no-build-isolation", "ibapi==9.81.1.post1")
    program = (sys.executable, str(CLIENTS / "ibapi_client.py"))
    return Client(program, {"PYTHONPATH": str(folder)})


def stoqey(folder: Path) -> Client:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise NotInstalled("there is no node with npm")
    (folder / "package.json").write_text('{"private": true}')
    _run([npm, "install", "--no-audit", "--no-fund", "@stoqey/ib@1"], folder)
    program = (node, str(CLIENTS / "stoqey.cjs"))
    return Client(program, {"NODE_PATH": str(folder / "node_modules")})


def _pip(folder: Path, *what: str) -> None:
    _run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), *what], folder
    )


def _run(command: Sequence[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_PATIENCE_S,
            env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise NotInstalled(f"{command[-1]} took longer than {_PATIENCE_S} s") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise NotInstalled(f"{command[-1]}: {said[-1] if said else 'no reason given'}")
