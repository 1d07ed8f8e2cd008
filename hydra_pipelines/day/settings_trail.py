"""Settings that are other than at the last run, written into the audit trail.

They are changed in files and in the environment, by nobody who tells: so whoever works with them
first compares. Calibrations and switches have events of their own; secrets are no part of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from weakref import WeakSet

from hydra_pipelines.desk import Desk
from hydra_pipelines.ledger import audit
from hydra_pipelines.ledger.audit import AuditEvent
from hydra_pipelines.ledger.store import Transaction

_ELSEWHERE = frozenset({"root", "data_dir", "mlflow_uri", "alerts", "dashboard", "dagster"})
"""Where things are and who is told: no part of what is traded, and partly secret."""
_compared: WeakSet[Desk] = WeakSet()
"""Settings never change within a desk's life: once is enough."""


def note_settings(desk: Desk, tx: Transaction, run_id: str | None) -> int:
    """Append an event for each setting that changed since the last run; how many that were.

    The first run of a ledger writes down all of them.
    """
    if desk in _compared:
        return 0
    now = dict(_flat(desk.settings.model_dump(mode="json", exclude=set(_ELSEWHERE))))
    before = _last_seen(tx)
    events: list[Mapping[str, Any]]
    if before is None:
        events = [{"setting": "*", "after": now, "why": "the settings at the first run"}]
    else:
        events = [
            {
                "setting": name,
                "before": before.get(name),
                "after": now.get(name),
                "why": f"{name}: {_shown(before.get(name))} → {_shown(now.get(name))}",
                "noticed": True,
            }
            for name in sorted(before.keys() | now.keys())
            if before.get(name) != now.get(name)
        ]
    audit.log_many(tx, AuditEvent.SETTING_CHANGED, events, run_id=run_id)
    if not events:
        # Not before: this transaction may still come to nothing.
        _compared.add(desk)
    return len(events)


def _last_seen(tx: Transaction) -> dict[str, Any] | None:
    """The settings as the trail knows them: those of the first run, and what changed since."""
    known: dict[str, Any] | None = None
    for row in tx.query(
        "SELECT details FROM audit_events WHERE event = ? "
        "AND (details ->> '$.setting' = '*' OR (details ->> '$.noticed') = 'true') ORDER BY seq",
        [AuditEvent.SETTING_CHANGED.value],
    ):
        details = json.loads(row["details"])
        if details["setting"] == "*":
            known = dict(details["after"])
        elif known is not None:
            known[details["setting"]] = details["after"]
            if details["after"] is None:
                del known[details["setting"]]
    return known


def _flat(values: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by their dotted names, strategies by their ids; what is None is left out."""
    for name, value in values.items():
        path = f"{place}{name}"
        if isinstance(value, dict):
            yield from _flat(value, f"{path}.")
        elif isinstance(value, list) and value and all(_has_id(one) for one in value):
            yield from _flat({one["id"]: one for one in value}, f"{path}.")
        elif value is not None:
            yield path, value


def _has_id(value: Any) -> bool:
    return isinstance(value, dict) and "id" in value


def _shown(value: Any) -> str:
    return "unset" if value is None else str(value)
