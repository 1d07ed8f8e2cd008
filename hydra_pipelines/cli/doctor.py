"""`hydra doctor`: what this machine and desk are like, and what stands in the way of a cycle."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hydra_pipelines.cli.output import REFUSED, Json, fail, print_json, readable_errors, say

if TYPE_CHECKING:
    from hydra_pipelines.desk import Desk

PACKAGES = (
    "hydra-pipelines",
    "dagster",
    "duckdb",
    "mlflow",
    "ib_insync",
    "numpy",
    "pandas",
    "scikit-learn",
)
_NEEDED_BYTES = 500_000_000
_PATIENCE_S = 2


def doctor(
    clean: Annotated[
        bool, typer.Option("--clean", help="Remove what is older than the settings keep, too.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check versions, folders, stores, disk and venue; exit code 3 where something is wrong."""
    from hydra_pipelines.desk import Desk
    from hydra_pipelines.operations.retention import clean_up

    with readable_errors():
        desk = Desk.open()
    for text in clean_up(desk) if clean else ():
        say(text)
    findings = [{"check": name, "ok": ok, "detail": detail} for name, ok, detail in _examine(desk)]
    healthy = all(finding["ok"] for finding in findings)
    if as_json:
        print_json({"healthy": healthy, "findings": findings})
    else:
        for finding in findings:
            mark = "ok   " if finding["ok"] else "WRONG"
            typer.echo(f"{mark}  {finding['check']:<14} {finding['detail']}")
    if not healthy:
        fail("something stands in the way, see the lines marked WRONG", REFUSED)


def _examine(desk: Desk) -> Iterator[tuple[str, bool, str]]:
    from importlib.metadata import PackageNotFoundError, version

    from hydra_pipelines.operations.integrity import look_at_stores

    python = sys.version_info[:2]
    yield "python", (3, 11) <= python <= (3, 13), f"{sys.version.split()[0]} (3.11 to 3.13)"
    for package in PACKAGES:
        try:
            yield package, True, version(package)
        except PackageNotFoundError:
            yield package, False, "not installed: run `make env`"
    settings = desk.settings
    yield "settings", True, f"{settings.root / 'hydra.yaml'}, mode {settings.mode}"
    for name, path in (("data", settings.data_path), ("registry", settings.mlruns_path)):
        there = next(folder for folder in (path, *path.parents) if folder.exists())
        yield name, there.is_dir() and os.access(there, os.W_OK), str(path)
    free = shutil.disk_usage(settings.data_path).free
    yield "disk", free > _NEEDED_BYTES, f"{free / 1e9:.1f} GB free"
    yield _checked("calendar", lambda: f"{desk.calendar.name} to {desk.calendar.sessions[-1]}")
    yield _checked("market data", lambda: _describe_source(desk))
    yield _checked("strategies", lambda: ", ".join(s.id for s in desk.strategies) or "none")
    yield _checked("limits", lambda: _describe_limits(desk))
    yield _checked("control", lambda: f"kill switch {'on' if desk.control.kill_switch else 'off'}")
    for finding in look_at_stores(desk, _PATIENCE_S):
        yield finding.store, finding.ok, finding.detail
    yield _checked("venue", lambda: _describe_venue(desk))


def _checked(name: str, describe: Callable[[], str]) -> tuple[str, bool, str]:
    try:
        return name, True, describe()
    except Exception as error:  # whatever is wrong is what we are here to tell
        return name, False, f"{type(error).__name__}: {error}"


def _describe_source(desk: Desk) -> str:
    panel: Any = desk.source.read()
    return (
        f"{desk.settings.market.source}: {len(panel.symbols)} symbols, "
        f"{panel.sessions[0]} to {panel.sessions[-1]}"
    )


def _describe_limits(desk: Desk) -> str:
    plan, risk = desk.plan_limits, desk.risk_limits
    return (
        f"{plan.max_positions} positions of at most {plan.max_position_weight:.0%} planned; the "
        f"gate stops at {risk.max_positions} and {risk.max_position_weight:.0%}"
    )


def _describe_venue(desk: Desk) -> str:
    if not desk.embedded:
        broker = desk.settings.broker
        return f"{broker.host}:{broker.port}, client {broker.client_id} (not connected to here)"
    from hydra_pipelines.paper_gateway.launch import find_running

    running = find_running(desk.settings.venue_path)
    return f"embedded, port {running.port}" if running else "embedded, starts with a cycle"
