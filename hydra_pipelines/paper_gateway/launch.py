"""Finds the gateway of a home, or starts one: a process of its own that outlives its starter.

A live gateway is known by the port file and by its answer to a control request, never by a
process id alone. However many start at once, the home's lock lets one live, and all find it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import hydra_pipelines
from hydra_pipelines.paper_gateway.control import GatewayControl, GatewayControlError
from hydra_pipelines.paper_gateway.money import to_units
from hydra_pipelines.paper_gateway.process import ALREADY_RUNNING, LOG_FILE, PORT_FILE, Endpoint
from hydra_pipelines.sessions import ClockError

_POLL = 0.01
_LOG_TAIL = 2_000


class GatewayStartError(ClockError):
    """No gateway could be found or started; the text ends with what its log says."""


@dataclass(frozen=True)
class GatewayOptions:
    """How to start a gateway; the command line of the module as a record.

    prices: the name of a market data source, with its options; or `prices_npz`, a file.
    calendar_cache: where calendars are kept; None is the gateway's home.
    """

    account: str = "DU0000001"
    cash: Decimal = Decimal("1000000.00")
    seed: int = 7
    first_session: date = date(2019, 1, 2)
    prices: str = "sample"
    prices_options: dict[str, Any] | None = None
    prices_npz: Path | None = None
    calendar: str = "XNYS"
    calendar_cache: Path | None = None
    allow_short: bool = False
    port: int = 0
    idle_timeout: float = 600.0
    script: Path | None = None
    """Faults to commit, see `faults`."""

    def arguments(self, home: Path) -> list[str]:
        """The command line, after the module's name."""
        source = (
            ["--prices-npz", str(self.prices_npz)] if self.prices_npz else ["--prices", self.prices]
        )
        options = self.prices_options
        return [
            "--home", str(home), "--account", self.account, "--cash", str(self.cash),
            "--seed", str(self.seed), "--first-session", self.first_session.isoformat(),
            *source, *(["--prices-options", json.dumps(options)] if options else []),
            "--calendar", self.calendar,
            *(["--calendar-cache", str(self.calendar_cache)] if self.calendar_cache else []),
            *(["--allow-short"] if self.allow_short else []),
            *(["--script", str(self.script)] if self.script else []),
            "--port", str(self.port), "--idle-timeout", str(self.idle_timeout),
        ]  # fmt: skip


def find_running(home: Path) -> Endpoint | None:
    """The live gateway of a home, or None."""
    try:
        record = json.loads((home / PORT_FILE).read_text())
        endpoint = Endpoint(**{field.name: record[field.name] for field in fields(Endpoint)})
    except (OSError, ValueError, KeyError, TypeError):
        return None
    try:
        status = GatewayControl(endpoint, timeout=5.0).status()
    except GatewayControlError:
        return None
    return endpoint if status.get("pid") == endpoint.pid else None


def ensure_running(
    home: Path, options: GatewayOptions | None = None, timeout: float = 15.0
) -> Endpoint:
    """The gateway of a home, started if there is none.

    Raises GatewayStartError when none answers within `timeout` seconds, or when the one that
    does was opened on other terms than `options`.
    """
    options = options or GatewayOptions()
    home.mkdir(parents=True, exist_ok=True)
    found = find_running(home)
    if found is None:
        found = _start(home, options.arguments(home), time.monotonic() + timeout)
    _require_same_terms(found, options, home)
    return found


def _start(home: Path, arguments: Sequence[str], deadline: float) -> Endpoint:
    process = _spawn(home, arguments)
    while time.monotonic() < deadline:
        found = find_running(home)
        if found:
            if found.pid != process.pid:
                process.terminate()
            return found
        code = process.poll()
        if code == ALREADY_RUNNING:
            # Another one holds the home: it is about to listen, or about to end.
            process = _spawn(home, arguments) if not _settle(home, deadline) else process
        elif code is not None:
            raise GatewayStartError(
                f"the paper gateway ended at once (exit code {code}). {_tail(home)}"
            )
        time.sleep(_POLL)
    raise GatewayStartError(f"the paper gateway did not answer in time. {_tail(home)}")


def _spawn(home: Path, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    package_root = str(Path(hydra_pipelines.__file__).resolve().parents[1])
    paths = [package_root, *filter(None, [os.environ.get("PYTHONPATH")])]
    with (home / LOG_FILE).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "hydra_pipelines.paper_gateway", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=home,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            start_new_session=True,
        )
    # It outlives us as a rule; if it ends first, somebody has to collect its exit code.
    threading.Thread(target=process.wait, daemon=True).start()
    return process


def _settle(home: Path, deadline: float) -> bool:
    """Gives the holder of the lock half a second to be found."""
    until = min(time.monotonic() + 0.5, deadline)
    while time.monotonic() < until:
        if find_running(home):
            return True
        time.sleep(_POLL)
    return False


def _require_same_terms(endpoint: Endpoint, options: GatewayOptions, home: Path) -> None:
    wanted = {
        "account": options.account,
        "opening_cash": str(to_units(str(options.cash))),
        "seed": str(options.seed),
        "first_session": options.first_session.isoformat(),
        "allow_short": str(options.allow_short),
    }
    terms = GatewayControl(endpoint).status()["terms"]
    for name, value in wanted.items():
        if terms[name] != value:
            raise GatewayStartError(
                f"the paper gateway in {home} was opened with {name} {terms[name]}, not {value}; "
                "keep that, or start over with another home"
            )


def _tail(home: Path) -> str:
    try:
        text = (home / LOG_FILE).read_text(errors="replace")[-_LOG_TAIL:].strip()
    except OSError:
        text = ""
    return f"Its log says:\n{text}" if text else "Its log is empty."
