"""What was decided, and from what: data snapshots, model versions, predictions, signals, plans."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from hydra_pipelines.ledger.store import LedgerError, Rows, Transaction


class VersionConflict(LedgerError):
    """A version number that belonged to another model before."""


def record_data_snapshot(
    tx: Transaction, session: date, snapshot_id: str, source: str, symbols: int
) -> None:
    """Keep which data the session saw; the same snapshot again changes nothing."""
    known = tx.value(
        "SELECT snapshot_id FROM data_snapshots WHERE session = ? "
        "ORDER BY recorded_at DESC, rowid DESC LIMIT 1",
        [session],
    )
    if known != snapshot_id:
        tx.insert(
            "data_snapshots",
            [
                {
                    "session": session,
                    "snapshot_id": snapshot_id,
                    "source": source,
                    "symbols": symbols,
                    "recorded_at": datetime.now(UTC),
                }
            ],
        )


def record_model_version(tx: Transaction, version: Mapping[str, Any]) -> None:
    """Keep a version and the hash of its inference arrays. It can't be changed afterwards."""
    known = model_version(tx, version["strategy_id"], version["version"])
    if known is None:
        tx.insert(
            "model_versions",
            [
                {
                    **version,
                    "metrics": json.dumps(version["metrics"]),
                    "recorded_at": datetime.now(UTC),
                }
            ],
        )
    elif known["artifact_sha256"] != version["artifact_sha256"]:
        raise VersionConflict(
            f"{version['strategy_id']} version {version['version']} is in the ledger with another "
            "artifact hash: the registry was changed under the desk; train again"
        )


def trial_sharpes(rows: Rows, strategy_id: str) -> dict[int, float]:
    """Annualised Sharpe ratio out of sample of every version ever trained, by version."""
    found = rows.query(
        "SELECT version, CAST(metrics ->> '$.sharpe' AS DOUBLE) AS sharpe FROM model_versions "
        "WHERE strategy_id = ? AND (metrics ->> '$.sharpe') IS NOT NULL",
        [strategy_id],
    )
    return {row["version"]: row["sharpe"] for row in found}


def model_version(rows: Rows, strategy_id: str, version: int) -> dict[str, Any] | None:
    return rows.one(
        "SELECT * FROM model_versions WHERE strategy_id = ? AND version = ?", [strategy_id, version]
    )


def artifact_hashes(rows: Rows) -> dict[str, dict[int, str]]:
    """Strategy -> version -> hash of its inference arrays as recorded when it was trained."""
    out: dict[str, dict[int, str]] = {}
    for row in rows.query("SELECT strategy_id, version, artifact_sha256 FROM model_versions"):
        out.setdefault(row["strategy_id"], {})[row["version"]] = row["artifact_sha256"]
    return out


def replace_predictions(
    tx: Transaction, session: date, rows: Mapping[str, Sequence[Mapping[str, Any]]]
) -> None:
    """Put each strategy's predictions of a session in the place of earlier ones."""
    _replace(tx, "predictions", session, rows)


def replace_signals(
    tx: Transaction, session: date, rows: Mapping[str, Sequence[Mapping[str, Any]]]
) -> None:
    """Put each strategy's signals of a session in the place of earlier ones."""
    _replace(tx, "signals", session, rows)


def _replace(
    tx: Transaction, table: str, session: date, rows: Mapping[str, Sequence[Mapping[str, Any]]]
) -> None:
    now = datetime.now(UTC)
    tx.execute(f"DELETE FROM {table} WHERE session = ?", [session])
    tx.insert(
        table,
        [
            {"session": session, "strategy_id": strategy_id, **row, "recorded_at": now}
            for strategy_id, strategy_rows in rows.items()
            for row in strategy_rows
        ],
    )


def predictions(rows: Rows, session: date) -> list[dict[str, Any]]:
    return rows.query(
        "SELECT * FROM predictions WHERE session = ? ORDER BY strategy_id, symbol", [session]
    )


def latest_predictions(rows: Rows, until: date) -> tuple[date | None, int]:
    """The last session until a date that has predictions, and how many; (None, 0) without any."""
    found = rows.one(
        "SELECT session, count(*) AS n FROM predictions WHERE session <= ? "
        "GROUP BY session ORDER BY session DESC LIMIT 1",
        [until],
    )
    return (found["session"], found["n"]) if found else (None, 0)


def signals(rows: Rows, session: date) -> list[dict[str, Any]]:
    return rows.query(
        "SELECT * FROM signals WHERE session = ? ORDER BY strategy_id, symbol", [session]
    )


def plan(rows: Rows, session: date) -> dict[str, Any] | None:
    """The plan of a session with its rows under `rows` and its notes decoded, or None."""
    header = rows.one("SELECT * FROM plans WHERE session = ?", [session])
    if header is None:
        return None
    header["notes"] = json.loads(header["notes"])
    header["rows"] = rows.query(
        "SELECT * FROM plan_rows WHERE plan_id = ? ORDER BY sequence", [header["plan_id"]]
    )
    return header


def plan_status(rows: Rows, session: date) -> str | None:
    """`draft`, `executing`, `done` or `expired`; None where the session has no plan."""
    return rows.value("SELECT status FROM plans WHERE session = ?", [session])


def save_plan(
    tx: Transaction,
    header: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    notes: Sequence[Mapping[str, Any]],
) -> None:
    """Write a draft; an earlier draft of the session goes. A plan being executed is kept."""
    old = plan(tx, header["session"])
    if old is not None:
        if old["status"] != "draft":
            raise LedgerError(
                f"the plan of {header['session']} is {old['status']} and can't be made anew"
            )
        tx.execute("DELETE FROM plan_rows WHERE plan_id = ?", [old["plan_id"]])
        tx.execute("DELETE FROM plans WHERE plan_id = ?", [old["plan_id"]])
    tx.insert(
        "plans",
        [
            {
                **header,
                "status": "draft",
                "notes": json.dumps(list(notes), default=str),
                "recorded_at": datetime.now(UTC),
            }
        ],
    )
    tx.insert("plan_rows", [{"plan_id": header["plan_id"], **row} for row in rows])


def set_plan_status(tx: Transaction, plan_id: str, status: str) -> None:
    tx.execute("UPDATE plans SET status = ? WHERE plan_id = ?", [status, plan_id])


def prediction_versions(rows: Rows, session: date) -> dict[str, set[int]]:
    """Strategy -> the versions that made its stored predictions of the session."""
    out: dict[str, set[int]] = {}
    for row in rows.query(
        "SELECT DISTINCT strategy_id, model_version FROM predictions WHERE session = ?", [session]
    ):
        out.setdefault(row["strategy_id"], set()).add(row["model_version"])
    return out


def was_predicted(rows: Rows, session: date, strategy_id: str) -> bool:
    """Whether a strategy ever predicted the session, also where the rows are gone."""
    return rows.value(
        "SELECT count(*) > 0 FROM audit_events WHERE event = 'prediction_generated' "
        "AND strategy_id = ? AND details->>'session' = ?",
        [strategy_id, session.isoformat()],
    )


def drop_derived(tx: Transaction, session: date) -> None:
    """Remove what was made from the session's predictions: its signals and its draft plan."""
    tx.execute("DELETE FROM signals WHERE session = ?", [session])
    drafts = "SELECT plan_id FROM plans WHERE session = ? AND status = 'draft'"
    tx.execute(f"DELETE FROM plan_rows WHERE plan_id IN ({drafts})", [session])
    tx.execute("DELETE FROM plans WHERE session = ? AND status = 'draft'", [session])


def mark_worked(tx: Transaction, session: date) -> None:
    """A plan that was made by a dry run is one no more once it is worked."""
    tx.execute("UPDATE plans SET dry_run = FALSE WHERE session = ? AND dry_run", [session])


def latest_worked_session(rows: Rows) -> date | None:
    """The latest session of whose plan orders may have been sent."""
    return rows.value("SELECT max(session) FROM plans WHERE status <> 'draft'")


def last_finished_session(rows: Rows) -> date | None:
    """The latest session that was worked to its end and whose account was read afterwards."""
    return rows.value(
        "SELECT max(session) FROM plans WHERE status IN ('done', 'expired') AND EXISTS "
        "(FROM account_snapshots a WHERE a.account = plans.account "
        "AND a.session >= plans.execution_session)"
    )
