"""The promotion history: every move of a champion, from what to what, by whom, why and when.

Append-only. A move that the desk makes itself is written before the alias is moved (`intended`) and
again when that is over (`done` or `abandoned`), under one move id; one that was found in the
registry is written once, as `done`. The last row of a strategy that is done says what trades.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from hydra_pipelines.ledger.store import Rows, Transaction

DONE = "done"
INTENDED = "intended"


def append(tx: Transaction, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add rows with every column of the table but `seq` and `recorded_at`; evidence is a mapping.

    The instants never go backwards in the order of the rows, whatever the machine's clock does.
    """
    latest = tx.value("SELECT max(recorded_at) FROM promotions")
    now = max(filter(None, (datetime.now(UTC), latest)))
    # One by one, so that their numbers come in the order given.
    for row in rows:
        evidence = json.dumps(dict(row["evidence"]), default=str)
        tx.insert("promotions", [{**row, "evidence": evidence, "recorded_at": now}])


@dataclass(frozen=True)
class Last:
    """The latest rows of a strategy. done: says what it trades with, None where nothing was ever
    done. unfinished: the intention of a move that did not come to its end, or None."""

    done: dict[str, Any] | None = None
    unfinished: dict[str, Any] | None = None


def latest(rows: Rows) -> dict[str, Last]:
    """Strategy -> its latest rows; a strategy without any is not in it."""
    found = rows.query(
        "SELECT * FROM promotions QUALIFY "
        "row_number() OVER (PARTITION BY strategy_id, stage = 'done' ORDER BY seq DESC) = 1 "
        "ORDER BY seq"
    )
    out: dict[str, Last] = {}
    for row in found:
        row["evidence"] = json.loads(row["evidence"])
        name, before = row["strategy_id"], out.get(row["strategy_id"], Last())
        if row["stage"] == DONE:
            # Later than the other: whatever was intended is over.
            out[name] = Last(done=row)
        else:
            out[name] = replace(before, unfinished=row if row["stage"] == INTENDED else None)
    return out


def history(
    rows: Rows, strategy_id: str | None = None, limit: int | None = None
) -> list[dict[str, Any]]:
    """What was done, the latest first, of one strategy or of all; evidence decoded."""
    found = rows.query(
        "SELECT * FROM promotions WHERE stage = 'done' AND ($1 IS NULL OR strategy_id = $1) "
        "ORDER BY seq DESC LIMIT $2",
        [strategy_id, limit],
    )
    return [{**row, "evidence": json.loads(row["evidence"])} for row in found]
