"""The agent's records: healing cycles, the journal of experiments, watches, rules of signals.

What was tried never changes. What came of it is filled in as it becomes known, and the decision on
an experiment is an event of the audit trail each time that it changes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from hydra_pipelines.ledger import audit
from hydra_pipelines.ledger.audit import AuditEvent
from hydra_pipelines.ledger.store import LedgerError, Rows, Transaction

DONE = "done"
PENDING, PROMOTED, REJECTED, ROLLED_BACK, FAILED = (
    "pending",
    "promoted",
    "rejected",
    "rolled_back",
    "failed",
)
WATCHING = "watching"
_JSON = ("diagnoses", "choices", "difference", "configuration", "earlier_trials", "results",
         "figures", "instead_of", "signal")  # fmt: skip


# cycles


def open_cycle(
    tx: Transaction, cycle: Mapping[str, Any], experiments: Sequence[Mapping[str, Any]]
) -> None:
    """Write a new cycle with all that it is to try. One that is done already has no experiments."""
    now = datetime.now(UTC)
    tx.insert("healing_cycles", [_plain({**cycle, "started_at": now})])
    tx.insert(
        "experiments",
        [
            _plain({**one, "created_at": now, "attempts": 0, "decision": PENDING,
                    "reason": "to be measured"})
            for one in experiments
        ],
    )  # fmt: skip


def unfinished_cycle(rows: Rows) -> dict[str, Any] | None:
    """The cycle that is not done, the oldest first; None where all are."""
    return _decoded(
        rows.one(
            "SELECT * FROM healing_cycles WHERE stage <> ? ORDER BY started_at LIMIT 1", [DONE]
        )
    )


def cycle(rows: Rows, cycle_id: str) -> dict[str, Any]:
    """A cycle by its id. Raises LedgerError where there is none."""
    found = _decoded(rows.one("SELECT * FROM healing_cycles WHERE cycle_id = ?", [cycle_id]))
    if found is None:
        raise LedgerError(f"there is no healing cycle {cycle_id!r}")
    return found


def cycles(rows: Rows, limit: int) -> list[dict[str, Any]]:
    """The latest cycles first."""
    found = rows.query("SELECT * FROM healing_cycles ORDER BY started_at DESC LIMIT ?", [limit])
    return [_known(row) for row in found]


def set_stage(tx: Transaction, cycle_id: str, stage: str, **columns: Any) -> None:
    """Move a cycle on, with other columns of its row."""
    if stage == DONE:
        columns["ended_at"] = datetime.now(UTC)
    _update(tx, "healing_cycles", "cycle_id", cycle_id, {"stage": stage, **columns})


# experiments


def of_cycle(rows: Rows, cycle_id: str) -> list[dict[str, Any]]:
    """The experiments of a cycle, in the order in which they were planned."""
    found = rows.query(
        "SELECT * FROM experiments WHERE cycle_id = ? ORDER BY experiment_id", [cycle_id]
    )
    return [_known(row) for row in found]


def journal(rows: Rows, limit: int) -> list[dict[str, Any]]:
    """The latest experiments first."""
    found = rows.query(
        "SELECT * FROM experiments ORDER BY created_at DESC, experiment_id LIMIT ?", [limit]
    )
    return [_known(row) for row in found]


def counts(rows: Rows) -> dict[str, int]:
    """How many experiments there are by decision."""
    found = rows.query("SELECT decision, count(*) AS n FROM experiments GROUP BY ALL ORDER BY ALL")
    return {row["decision"]: row["n"] for row in found}


def waiting(rows: Rows) -> list[dict[str, Any]]:
    """Experiments that passed the gate and that nobody has decided on, of cycles that are done."""
    found = rows.query(
        "SELECT e.* FROM experiments e JOIN healing_cycles c USING (cycle_id) "
        "WHERE e.decision = ? AND e.passed AND c.stage = ? ORDER BY e.created_at",
        [PENDING, DONE],
    )
    return [_known(row) for row in found]


def rejected_since(rows: Rows, since: date) -> list[dict[str, Any]]:
    """Experiments as of `since` or later that were rejected or rolled back."""
    found = rows.query(
        "SELECT * FROM experiments WHERE decision IN (?, ?) AND session >= ?",
        [REJECTED, ROLLED_BACK, since],
    )
    return [_known(row) for row in found]


def count_attempt(tx: Transaction, experiment_id: str) -> None:
    """Note that an experiment is about to be run."""
    tx.execute(
        "UPDATE experiments SET attempts = attempts + 1 WHERE experiment_id = ?", [experiment_id]
    )


def record_result(tx: Transaction, experiment_id: str, **columns: Any) -> None:
    """What was measured; the decision comes later."""
    columns["measured_at"] = datetime.now(UTC)
    _update(tx, "experiments", "experiment_id", experiment_id, columns)


def decide(
    tx: Transaction,
    experiment: Mapping[str, Any],
    decision: str,
    reason: str,
    *,
    actor: str = "agent",
    run_id: str | None = None,
) -> None:
    """Put the decision on an experiment into the journal and the audit trail.

    The same decision again changes nothing but the reason.
    """
    now = tx.one(
        "SELECT decision, reason FROM experiments WHERE experiment_id = ?",
        [experiment["experiment_id"]],
    )
    if now == {"decision": decision, "reason": reason}:
        return
    _update(
        tx,
        "experiments",
        "experiment_id",
        experiment["experiment_id"],
        {"decision": decision, "reason": reason, "decided_at": datetime.now(UTC)},
    )
    audit.log(
        tx,
        AuditEvent.EXPERIMENT_FINISHED,
        {
            "experiment": experiment["experiment_id"],
            "cycle": experiment["cycle_id"],
            "mutation": experiment["mutation_type"],
            "hypothesis": experiment["hypothesis"],
            "decision": decision,
            "reason": reason,
            "candidate": experiment.get("candidate_version"),
            "champion": experiment["champion_version"],
        },
        actor=actor,
        strategy_id=experiment["strategy_id"],
        run_id=run_id,
    )


# watches


def open_watch(tx: Transaction, watch: Mapping[str, Any]) -> None:
    """Begin to watch a promoted version; one that is open for the experiment already stays."""
    known = tx.value(
        "SELECT count(*) FROM model_watches WHERE experiment_id = ? AND state = ?",
        [watch["experiment_id"], WATCHING],
    )
    if not known:
        opened = {"state": WATCHING, "figures": {}, "reason": "", "opened_at": datetime.now(UTC)}
        tx.insert("model_watches", [_plain({**watch, **opened})])


def open_watches(rows: Rows) -> list[dict[str, Any]]:
    found = rows.query("SELECT * FROM model_watches WHERE state = ? ORDER BY opened_at", [WATCHING])
    return [_known(row) for row in found]


def watches(rows: Rows, limit: int) -> list[dict[str, Any]]:
    """The latest watches first."""
    found = rows.query("SELECT * FROM model_watches ORDER BY opened_at DESC LIMIT ?", [limit])
    return [_known(row) for row in found]


def update_watch(tx: Transaction, watch_id: str, **columns: Any) -> None:
    """What a watch has seen, and how it ended."""
    if columns.get("state", WATCHING) != WATCHING:
        columns["closed_at"] = datetime.now(UTC)
    _update(tx, "model_watches", "watch_id", watch_id, columns)


# rules of signals


def record_signal_rule(
    tx: Transaction,
    strategy_id: str,
    version: int,
    instead_of: Mapping[str, Any],
    signal: Mapping[str, Any],
    experiment_id: str,
) -> None:
    """How a version's predictions become signals; the same again changes nothing."""
    known = tx.value(
        "SELECT count(*) FROM signal_rules WHERE strategy_id = ? AND version = ?",
        [strategy_id, version],
    )
    if not known:
        row = {"strategy_id": strategy_id, "version": version, "instead_of": instead_of,
               "signal": signal, "experiment_id": experiment_id,
               "recorded_at": datetime.now(UTC)}  # fmt: skip
        tx.insert("signal_rules", [_plain(row)])


def signal_rule(
    rows: Rows, strategy_id: str, version: int, settings: Mapping[str, Any]
) -> dict[str, Any] | None:
    """The rule of a version, if it was made while the settings said what they say; None for none.

    Whoever changes the settings has the last word.
    """
    row = _decoded(
        rows.one(
            "SELECT * FROM signal_rules WHERE strategy_id = ? AND version = ?",
            [strategy_id, version],
        )
    )
    return row["signal"] if row and row["instead_of"] == dict(settings) else None


# inside


def _update(tx: Transaction, table: str, key: str, value: str, columns: Mapping[str, Any]) -> None:
    plain = _plain(columns)
    setting = ", ".join(f"{name} = ?" for name in plain)
    tx.execute(f"UPDATE {table} SET {setting} WHERE {key} = ?", [*plain.values(), value])


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: json.dumps(value, default=str)
        if name in _JSON and value is not None and not isinstance(value, str)
        else value
        for name, value in row.items()
    }


def _known(row: dict[str, Any]) -> dict[str, Any]:
    for name in _JSON:
        if row.get(name) is not None:
            row[name] = json.loads(row[name])
    return row


def _decoded(row: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if row is None else _known(row)
