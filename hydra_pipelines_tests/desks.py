"""Desks in folders of their own, and the command line as a person would use it on them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

from hydra_pipelines.market.bars import BarPanel, BarSource
from hydra_pipelines.paper_gateway.control import GatewayControl
from hydra_pipelines.paper_gateway.launch import find_running

# What the console script `hydra` does, which is there only where the project is installed.
PROGRAM = "import sys; from hydra_pipelines.cli import main; sys.argv[0] = 'hydra'; main()"
HYDRA = [sys.executable, "-c", PROGRAM]

OK, FAILURE, USAGE, REFUSED = 0, 1, 2, 3
"""Exit codes."""


class CommandLine:
    """`hydra` on the desk in a folder."""

    def __init__(self, folder: Path, **environment: str):
        self.folder = folder
        self.environment = {**os.environ, "HYDRA_DATA_DIR": str(folder), **environment}

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*HYDRA, *arguments],
            env={**self.environment, **environment},
            cwd=self.folder.parent,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def json(self, *arguments: str) -> Any:
        """What a command says on stdout with `--json`; it must succeed."""
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    @property
    def venue(self) -> GatewayControl:
        """The control port of the desk's gateway, which must be running."""
        endpoint = find_running(self.folder / "paper")
        assert endpoint is not None
        return GatewayControl(endpoint)

    def orders_received(self) -> int:
        """How many order requests the venue was sent, ever."""
        return self.venue.messages()["count"]


def shut_down(folder: Path) -> None:
    """End the gateway of the desk in a folder, if it runs."""
    endpoint = find_running(folder / "paper")
    if endpoint is not None:
        GatewayControl(endpoint).shutdown()


class Flawed:
    """The sample with a price of one session that can't be."""

    name = "sample"
    adjusted_only = True

    def __init__(self, inner: BarSource, session: date, price: float):
        self._inner, self._session, self._price = inner, session, price

    def read(self, first: date | None = None, last: date | None = None) -> BarPanel:
        panel = self._inner.read(first, last)
        bad = panel.sessions.astype(object) == self._session
        fields = {name: values.copy() for name, values in panel.fields.items()}
        for values in fields.values():
            values[bad, 3] = self._price
        return BarPanel(panel.sessions, panel.symbols, fields)
