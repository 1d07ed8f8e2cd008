"""The embedded desk started over: everything that it did is kept aside, and the next cycle is the
first one again.

Aside go the ledger, the venue's account, the control store, the models and Dagster's history:
models that were trained later than the first session would know its future, and what was promoted
is written in the ledger. The lake stays, since a session's data is the same whatever comes after.
What stops trading is stronger than a reset: a kill switch and a paused agent stay; breakers are of
the old account and go with it.
"""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hydra_pipelines.control import Control
from hydra_pipelines.ledger.locks import exclusive
from hydra_pipelines.operations.restore import end_venue, lead_elsewhere
from hydra_pipelines.operations.stack import only_one

if TYPE_CHECKING:
    from hydra_pipelines.desk import Desk

_PATIENCE_S = 2.0


class ResetRefused(ValueError):
    """This desk can't be started over; the message says why and what to do."""


@dataclass(frozen=True)
class Reset:
    """What was done. aside: where the old desk lies; None where there was none. first: the session
    that the next cycle decides on."""

    aside: Path | None
    moved: tuple[str, ...]
    first: date


def require_resettable(desk: Desk) -> None:
    """Raises ResetRefused for a desk that isn't the embedded one on paper."""
    settings = desk.settings
    if settings.mode == "live":
        raise ResetRefused("mode is live: real positions can't be started over")
    if not desk.embedded:
        raise ResetRefused(
            "broker.venue is ibkr, whose paper account is reset at IBKR (Client Portal, Settings, "
            "Paper Trading Account); `hydra paper reset` is for the embedded venue"
        )
    if not desk.registry.is_local:
        raise ResetRefused(
            f"the models are at {settings.registry_uri}, and those that were trained later would "
            "know the future of the first session: set another mlflow_uri, then move the ledger "
            f"({settings.ledger_path}) and {settings.venue_path} away by hand"
        )


def stores_there(desk: Desk) -> list[Path]:
    """What a reset would move aside."""
    return [path for path in _places(desk) if path.exists()]


def reset(desk: Desk, actor: str) -> Reset:
    """Begin anew. Raises ResetRefused, UpRefused where the desk is up, and LedgerBusy where a run
    or a replay works with it."""
    require_resettable(desk)
    settings, data = desk.settings, desk.settings.data_path
    desk.close()
    data.mkdir(parents=True, exist_ok=True)
    # In the order in which runs take them.
    locks = {
        "replay.lock": "the replay of this desk",
        "broker.lock": "the connection to the broker",
        "execution.lock": "the execution of orders",
        "promotions.lock": "the promotion of models",
        settings.ledger_path.with_suffix(".lock").name: "the ledger",
    }
    with ExitStack() as held:
        held.enter_context(only_one(desk, f"process {os.getpid()}, which starts it over"))
        for name, purpose in locks.items():
            held.enter_context(exclusive(data / name, _PATIENCE_S, purpose))
        end_venue(desk)
        halted, paused = _what_stops(settings.control_path)
        there = stores_there(desk)
        aside = data / f"before-reset-{datetime.now(UTC):%Y%m%dT%H%M%SZ}" if there else None
        if aside is not None:
            for path in there:
                _move(path, aside)
            _mend_registry(aside, settings.mlruns_path)
        desk.ledger.snapshot_path.unlink(missing_ok=True)
        (data / "replay.json").unlink(missing_ok=True)
        control = Control(settings.control_path)
        if halted:
            control.set_kill_switch(True, "it was on before the desk was started over", actor)
        if paused:
            control.set_agent_paused(True, "it was paused before the desk was started over", actor)
        control.note("paper_reset", actor, {"aside": aside.name if aside else None})
    moved = tuple(path.name for path in there)
    return Reset(aside, moved, settings.embedded.first_session)


def _places(desk: Desk) -> list[Path]:
    settings = desk.settings
    return [
        settings.ledger_path,
        settings.venue_path,
        settings.control_path,
        settings.mlruns_path / "mlflow.db",
        settings.mlruns_path / "artifacts",
        *([settings.dagster_home] if settings.dagster.storage == "sqlite" else []),
    ]


def _move(path: Path, aside: Path) -> None:
    """Each store with its write-ahead log."""
    aside.mkdir(parents=True, exist_ok=True)
    for suffix in ("", ".wal", "-wal", "-shm"):
        one = path.with_name(path.name + suffix)
        if one.exists():
            shutil.move(one, aside / one.name)


def _mend_registry(aside: Path, mlruns: Path) -> None:
    """The old models stay readable where they are now: MLflow keeps whole paths."""
    if (aside / "mlflow.db").exists():
        old, new = ((folder / "artifacts").resolve().as_uri() for folder in (mlruns, aside))
        lead_elsewhere(aside / "mlflow.db", old, new)


def _what_stops(path: Path) -> tuple[bool, bool]:
    """Kill switch, agent paused. Raises ControlError where that can't be read."""
    if not path.exists():
        return False, False
    control = Control(path)
    return control.kill_switch, control.agent_paused
