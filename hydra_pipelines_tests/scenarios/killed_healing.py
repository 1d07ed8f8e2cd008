"""Healing cycles that are killed at a boundary, each in a fork of a process without threads.

A boundary is a commit of the ledger, and the moment before and after an alias moves in the
registry. Aliases move by SQL here, in the tables of MLflow, whose import begins threads. Here
belongs killing and telling what is there; what has to hold is the test's business.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from hydra_pipelines import day
from hydra_pipelines.agent.experiment import ExperimentResult, ExperimentSpec
from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger import experiments, promotions
from hydra_pipelines.ledger.store import Ledger, Transaction
from hydra_pipelines.models.registry import Registry
from hydra_pipelines.settings import load_settings
from hydra_pipelines_tests.day.healing_desk import Given
from hydra_pipelines_tests.day.versions import RIDGE
from hydra_pipelines_tests.scenarios.crashes.forks import ForkServer, serve

MOVES = {
    "set_registered_model_alias": "INSERT OR REPLACE INTO registered_model_aliases "
    "(name, alias, version) VALUES (?, ?, CAST(? AS INTEGER))",
    "delete_registered_model_alias": "DELETE FROM registered_model_aliases "
    "WHERE name = ? AND alias = ?",
}


class HealingServer(ForkServer):
    """Requests: `folder` of the desk, `autonomy`, and `kill`, the number of a boundary or None."""

    def __init__(self) -> None:
        super().__init__(Path())

    def __enter__(self) -> HealingServer:
        self._server = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        return self


class ByMutation(Given):
    """Outcomes that belong to the change, whichever of them are still to be run."""

    OUTCOMES: Mapping[str, int | str] = {
        "recent_window": 2,
        "other_window": -3,
        "sample_weights": "x",
    }

    def run(self, specs: Sequence[ExperimentSpec]) -> Iterator[ExperimentResult]:
        for spec in specs:
            yield from Given(outcomes=(self.OUTCOMES[spec.mutation_type],)).run([spec])


class Boundaries:
    """Counts them, and kills this process at the one it is given."""

    def __init__(self, kill: int | None):
        self.kill, self.seen = kill, 0

    def reached(self) -> None:
        if self.seen == self.kill:
            os.kill(os.getpid(), signal.SIGKILL)
        self.seen += 1

    def watch(self) -> None:
        """From here on."""
        transaction = Ledger.transaction

        @contextmanager
        def counted(ledger: Ledger) -> Iterator[Transaction]:
            with transaction(ledger) as tx:
                yield tx
            self.reached()

        def asked(registry: Registry, method: str, *arguments: object, **options: object) -> Any:
            self.reached()
            move_alias(registry, MOVES[method], *arguments)
            self.reached()

        Ledger.transaction = counted  # type: ignore[method-assign, assignment]
        Registry._ask = asked  # type: ignore[method-assign]


def move_alias(registry: Registry, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(registry.uri.removeprefix("sqlite:///"))) as connection:
        connection.execute(statement, values)
        connection.commit()


def work(request: Mapping[str, Any]) -> dict[str, Any]:
    """One cycle on the desk in the folder, or the rest of one; what is there at its end."""
    desk = Desk(
        load_settings(
            data_dir=Path(request["folder"]), agent={"autonomy": request["autonomy"], "budget": 3}
        )
    )
    boundaries = Boundaries(request["kill"])
    boundaries.watch()
    with desk.ledger.transaction() as tx:
        cycles = experiments.cycles(tx, 1)
    if not cycles or cycles[0]["stage"] != experiments.DONE:
        day.heal(desk, desk.next_session_due(), "run", runner=ByMutation())
    seen = boundaries.seen
    boundaries.kill = None
    return {"boundaries": seen, **there(desk)}


def there(desk: Desk) -> dict[str, Any]:
    """All that a cycle leaves, but for times and numbers of cycles."""
    with desk.ledger.transaction() as tx:
        rows = experiments.journal(tx, 100)
        watches = experiments.watches(tx, 100)
        moves = [m for m in promotions.history(tx, RIDGE) if m["kind"] != "first_version"]
        open_moves = promotions.latest(tx)[RIDGE].unfinished
        audit = tx.query(
            "SELECT event, count(*) AS n FROM audit_events WHERE event IN "
            "('model_promoted', 'experiment_finished') GROUP BY event ORDER BY event"
        )
        unfinished = experiments.unfinished_cycle(tx)
    return {
        "aliases": desk.registry.aliases(RIDGE),
        "moves": [[m["kind"], m["from_version"], m["to_version"], m["actor"]] for m in moves],
        "half_moves": 0 if open_moves is None else 1,
        "decisions": sorted([r["mutation_type"], r["decision"]] for r in rows),
        "watches": [[w["version"], w["replaced_version"], w["state"]] for w in watches],
        "audit": {row["event"]: row["n"] for row in audit},
        "unfinished": unfinished is not None,
        "alerts": sorted({alert.kind for alert in desk.alerts.recent(50)}),
    }


if __name__ == "__main__":
    serve(work)
