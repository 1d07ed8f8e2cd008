"""Runs of the drift check with their verdicts and findings, and the scores of past sessions.

A run is appended and never changed, but for the place of its report, which is made afterwards.
What is computed, and when it counts as drift, is `monitoring`'s.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from hydra_pipelines.ledger.store import LedgerError, Rows, Transaction

SCORES = ("n", "rank_ic", "residual", "accuracy", "brier", "known_on")


def record_run(
    tx: Transaction,
    run: Mapping[str, Any],
    models: Sequence[Mapping[str, Any]],
    checks: Sequence[Mapping[str, Any]],
) -> tuple[int, bool]:
    """Append a run with its verdicts and checks; returns its number and whether it is new.

    run: `session`, `status`, `models_checked`, `models_drifted`, `failures` (a mapping), `run_id`.
    models, checks: columns of their tables without `run_no` and `session`; `details` a mapping.
    Where the latest run of the session found exactly the same, that one stands and its number is
    returned.
    """
    session = run["session"]
    new_models, new_checks = ([_plain(row) for row in rows] for rows in (models, checks))
    header = {**run, "failures": json.dumps(dict(run["failures"]), sort_keys=True)}
    known = _numbers_of(tx, session)
    if known and _same(tx, known[-1], header, new_models, new_checks):
        return known[-1], False
    tx.insert("drift_runs", [{**header, "rollbacks": 0, "recorded_at": datetime.now(UTC)}])
    number = _numbers_of(tx, session)[-1]
    for table, rows in (("drift_models", new_models), ("drift_checks", new_checks)):
        tx.insert(table, [{"run_no": number, "session": session, **row} for row in rows])
    return number, True


def record_rollback(tx: Transaction, run_no: int, strategy_id: str, to: int) -> None:
    """Note that a model of a run was set back because of it."""
    tx.execute(
        "UPDATE drift_models SET rolled_back_to = ? WHERE run_no = ? AND strategy_id = ?",
        [to, run_no, strategy_id],
    )
    tx.execute("UPDATE drift_runs SET rollbacks = rollbacks + 1 WHERE run_no = ?", [run_no])


def record_report(tx: Transaction, run_no: int, report: str) -> None:
    """Where the HTML report of a run lies, relative to the data folder."""
    tx.execute("UPDATE drift_runs SET report = ? WHERE run_no = ?", [report, run_no])


def runs(rows: Rows, limit: int | None = None) -> list[dict[str, Any]]:
    """The standing run of each session, the latest session first; `failures` decoded."""
    found = rows.query(
        "SELECT * FROM drift_runs QUALIFY row_number() OVER (PARTITION BY session "
        "ORDER BY run_no DESC) = 1 ORDER BY session DESC LIMIT ?",
        [limit],
    )
    return [{**row, "failures": json.loads(row["failures"])} for row in found]


def run_of(rows: Rows, session: date) -> dict[str, Any] | None:
    """The standing run of a session, or None."""
    numbers = _numbers_of(rows, session)
    return _run(rows, numbers[-1]) if numbers else None


def _run(rows: Rows, run_no: int) -> dict[str, Any]:
    row = rows.one("SELECT * FROM drift_runs WHERE run_no = ?", [run_no])
    if row is None:
        raise LedgerError(f"there is no drift run {run_no}")
    return {**row, "failures": json.loads(row["failures"])}


def models(rows: Rows, run_no: int) -> list[dict[str, Any]]:
    """The verdicts of a run by strategy; `details` decoded."""
    return _decoded(
        rows.query("SELECT * FROM drift_models WHERE run_no = ? ORDER BY strategy_id", [run_no])
    )


def checks(rows: Rows, run_no: int) -> list[dict[str, Any]]:
    """The checks of a run, those of the desk as a whole last; `details` decoded."""
    return _decoded(
        rows.query(
            "SELECT * FROM drift_checks WHERE run_no = ? "
            "ORDER BY strategy_id NULLS LAST, family, detector, subject",
            [run_no],
        )
    )


def check_history(
    rows: Rows,
    *,
    strategy_id: str | None = None,
    family: str | None = None,
    detector: str | None = None,
    subject: str | None = None,
    sessions: int | None = None,
) -> list[dict[str, Any]]:
    """Checks of the standing runs of the last `sessions` sessions checked, oldest first."""
    return _decoded(
        rows.query(
            """
            WITH standing AS (
                SELECT max(run_no) AS run_no FROM drift_runs GROUP BY session
                ORDER BY session DESC LIMIT $5)
            SELECT * FROM drift_checks WHERE run_no IN (SELECT run_no FROM standing)
              AND ($1 IS NULL OR strategy_id = $1) AND ($2 IS NULL OR family = $2)
              AND ($3 IS NULL OR detector = $3) AND ($4 IS NULL OR subject = $4)
            ORDER BY session, strategy_id NULLS LAST, family, detector, subject
            """,
            [strategy_id, family, detector, subject, sessions],
        )
    )


def scores(
    rows: Rows, strategy_id: str, version: int, until: date | None = None
) -> list[dict[str, Any]]:
    """Scores of a version by session, oldest first: those known by the session `until`."""
    return rows.query(
        "SELECT * FROM session_scores WHERE strategy_id = $1 AND model_version = $2 "
        "AND ($3 IS NULL OR known_on <= $3) ORDER BY session",
        [strategy_id, version, until],
    )


def replace_scores(
    tx: Transaction, strategy_id: str, version: int, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Put scores (`session` and `SCORES`) in the place of those of the same sessions."""
    if not rows:
        return
    tx.execute(
        "DELETE FROM session_scores WHERE strategy_id = ? AND model_version = ? "
        "AND session IN (SELECT unnest(?))",
        [strategy_id, version, [row["session"] for row in rows]],
    )
    now = datetime.now(UTC)
    tx.insert(
        "session_scores",
        [
            {"strategy_id": strategy_id, "model_version": version, **row, "recorded_at": now}
            for row in rows
        ],
    )


def predictions_by(
    rows: Rows, strategy_id: str, version: int, first: date | None, last: date
) -> dict[str, list[Any]]:
    """Columns session, symbol, prediction, probability_up of a version's stored predictions, from
    `first` to `last`, both included, by session and symbol."""
    found = rows.one(
        """
        SELECT list(session) AS session, list(symbol) AS symbol, list(prediction) AS prediction,
               list(probability_up) AS probability_up
        FROM (SELECT * FROM predictions WHERE strategy_id = $1 AND model_version = $2
              AND ($3 IS NULL OR session >= $3) AND session <= $4 ORDER BY session, symbol)
        """,
        [strategy_id, version, first, last],
    )
    names = ("session", "symbol", "prediction", "probability_up")
    return {name: (found or {}).get(name) or [] for name in names}


def last_predicted(rows: Rows) -> date | None:
    """The last session that anything was predicted for."""
    return rows.value("SELECT max(session) FROM predictions")


def first_unscored(rows: Rows, strategy_id: str, version: int, until: date | None) -> date | None:
    """The first session up to `until` that a version predicted and that has no score yet."""
    return rows.value(
        "SELECT min(session) FROM predictions p WHERE strategy_id = $1 AND model_version = $2 "
        "AND session <= $3 AND NOT EXISTS (FROM session_scores s WHERE s.session = p.session "
        "AND s.strategy_id = $1 AND s.model_version = $2)",
        [strategy_id, version, until],
    )


def _numbers_of(rows: Rows, session: date) -> list[int]:
    return [
        row["run_no"]
        for row in rows.query(
            "SELECT run_no FROM drift_runs WHERE session = ? ORDER BY run_no", [session]
        )
    ]


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "details": json.dumps(row["details"], default=str, sort_keys=True)}


def _decoded(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**row, "details": json.loads(row["details"])} for row in found]


def _same(
    tx: Transaction,
    run_no: int,
    header: Mapping[str, Any],
    new_models: Sequence[Mapping[str, Any]],
    new_checks: Sequence[Mapping[str, Any]],
) -> bool:
    """Whether a stored run found the same, whoever asked for it and whatever followed from it."""
    old = tx.one("SELECT * FROM drift_runs WHERE run_no = ?", [run_no])
    names = ("status", "models_checked", "models_drifted", "failures")
    if old is None or any(old[name] != header[name] for name in names):
        return False
    pairs = (
        (new_models, "drift_models", "rolled_back_to"),
        (new_checks, "drift_checks", ""),
    )
    return all(
        _keys(rows, but)
        == _keys(tx.query(f"SELECT * FROM {table} WHERE run_no = ?", [run_no]), but)
        for rows, table, but in pairs
    )


def _keys(rows: Sequence[Mapping[str, Any]], but: str) -> list[str]:
    left_out = {"run_no", "session", but}
    return sorted(
        json.dumps({k: v for k, v in row.items() if k not in left_out}, default=str, sort_keys=True)
        for row in rows
    )
