"""Which process works on a run: noted on the run by that process, for who asks whether it lives.

The note names the run as well, since tags are copied to a run that is started anew from another.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime

from dagster import DagsterInstance, DagsterRun

from hydra_pipelines.operations.processes import is_the_one, machine

PROCESS_TAG = "hydra/process"
"""Machine, id of the process, when it said so, and the run."""


@dataclass(frozen=True)
class Whereabouts:
    """machine: as `processes.machine` names it. seen: when the process had this id for certain."""

    machine: str
    pid: int
    seen: datetime

    @property
    def is_here(self) -> bool:
        """Whether process ids of that machine, or container, are the ones seen here."""
        return self.machine == machine()

    @property
    def lives(self) -> bool:
        """Only to be asked where it is here."""
        return is_the_one(self.pid, self.seen)


def note(instance: DagsterInstance, run: DagsterRun) -> None:
    """Note this process on the run that it works on."""
    text = f"{machine()} {os.getpid()} {datetime.now(UTC).isoformat()} {run.run_id}"
    instance.add_run_tags(run.run_id, {PROCESS_TAG: text})


def noted(run: DagsterRun) -> Whereabouts | None:
    """What is noted on a run; None where nothing of this very run is."""
    match run.tags.get(PROCESS_TAG, "").split():
        case [where, pid, seen, run_id] if run_id == run.run_id:
            return Whereabouts(where, int(pid), datetime.fromisoformat(seen))
    return None
